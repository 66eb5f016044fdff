"""What every page of the console has alike: who may see which form, errors that say what to do, and its own frame.

The console asks the API like any client, and the API decides who may do what: here only a page or form is not shown.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.datastructures import FormData, QueryParams

from services.storefront import console_words
from services.storefront.pages import HEADERS, PageRoute, Pages, here, to_sign_in
from services.storefront.visit import Visit, open_visit
from shared.auth import Role, User, require_viewer
from shared.errors import ApiError

OPERATIONS = "/api/admin/operations"
SECTIONS = (
    ("/admin", "Overview"),
    ("/admin/streams", "Streams"),
    ("/admin/orders", "Orders"),
    ("/admin/dead-letters", "Dead letters"),
    ("/admin/replays", "Replays"),
    ("/admin/shadow", "Shadow"),
    ("/admin/reconcile", "Reconcile"),
    ("/admin/audit", "Audit trail"),
)


class ConsoleRoute(PageRoute):
    """Errors of the console are pages of the console; 401 leads to the sign-in and back again."""

    async def show_fault(self, request: Request, fault: ApiError) -> Response:
        """The console's page of an error."""
        if fault.status == 401:
            return to_sign_in(request, "/admin")
        return console_page(await open_visit(request), "error.html", fault.status, fault.headers, fault=fault)


def console_router() -> APIRouter:
    """A router of the console's pages; they are no part of the API's document."""
    return APIRouter(prefix="/admin", route_class=ConsoleRoute, include_in_schema=False)


async def enter(request: Request) -> Visit:
    """The visit of somebody with an operator's role; raises the contract's 401 and a 403."""
    visit = await open_visit(request)
    require_viewer(visit.require_user())
    return visit


async def check_form(visit: Visit, form: FormData) -> None:
    """Raises ApiError 403 unless the form is ours and was made for this user."""
    pages: Pages = visit.request.app.state.pages
    pages.forms.check(visit.request, form, visit.require_user())


def console_page(
    visit: Visit, template: str, status: int = 200, headers: Mapping[str, str] | None = None, **context: Any
) -> Response:
    """A page of the console."""
    pages: Pages = visit.request.app.state.pages
    path = visit.request.url.path
    shown = {
        "user": visit.user,
        "role": role_of(visit.user),
        "can_act": can_act(visit.user),
        "sections": SECTIONS,
        "path": path,
        "section": max((place for place, _ in SECTIONS if path.startswith(place)), key=len, default=""),
        "here": here(visit.request),
        "status_code": status,
        "form_token": pages.forms.mint(visit.user),
        "words": console_words,
        **context,
    }
    return Response(pages.render(f"console/{template}", shown), status, HEADERS | dict(headers or {}), "text/html")


def can_act(user: User | None) -> bool:
    """Whether forms that write are worth showing to `user`."""
    return user is not None and (user.is_admin or user.role is Role.OPERATOR)


def role_of(user: User | None) -> str:
    """The greatest role of `user` in one word, '' for a shopper."""
    if user is None:
        return ""
    return "admin" if user.is_admin else str(user.role or "")


def given(source: QueryParams | FormData, names: tuple[str, ...]) -> dict[str, str]:
    """The text fields of `names` that somebody filled in."""
    found = {name: source.get(name, "") for name in names}
    return {name: value.strip() for name, value in found.items() if isinstance(value, str) and value.strip()}
