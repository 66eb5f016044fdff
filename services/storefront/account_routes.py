"""Sign-in, sign-up, sign-out, and the user's own orders with their cancellation.

The local issuer vouches for any name, so it signs in nobody in production mode; a real issuer has pages of its own.
"""

from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from pydantic import ValidationError

from services.storefront.checkout_routes import titles
from services.storefront.pages import HEADERS, Pages, go_to, page, page_router, way_back
from services.storefront.visit import open_visit
from shared.auth import COOKIE, Role
from shared.errors import ApiError
from shared.issuer import DEVELOPMENT_LIFETIME, issue_development_token
from shared.settings import Settings

_LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}

router = page_router()


@router.get("/sign-in")
@router.get("/sign-up")
async def ask_who(request: Request) -> Response:
    """The issuer's page, or the local issuer's form."""
    settings: Settings = request.app.state.settings
    target = way_back(request.query_params.get("next", ""))
    issuer = settings.sign_up_url if _is_sign_up(request) else settings.sign_in_url
    if issuer is not None:
        back = urlencode({"redirect_url": str(request.url.replace(path="", query="")) + target})
        return RedirectResponse(f"{issuer}{'&' if '?' in issuer else '?'}{back}", 303, HEADERS)
    if not settings.signs_in_here:
        raise ApiError(503, "Sign-in is not set up here")
    visit = await open_visit(request)
    return await page(visit, "sign_in.html", is_sign_up=_is_sign_up(request), target=target, name="", fault="")


@router.post("/sign-in")
@router.post("/sign-up")
async def sign_in(request: Request) -> Response:
    """Signs in whoever they say they are, with a token of the local issuer in the session cookie."""
    pages: Pages = request.app.state.pages
    settings: Settings = request.app.state.settings
    if not settings.signs_in_here:
        raise ApiError(403, "The local issuer signs in nobody here")
    async with request.form() as form:
        pages.forms.check(request, form, None)
        name, target = str(form.get("name", "")).strip(), way_back(str(form.get("next", "")))
        chosen = str(form.get("role", ""))
    try:
        role = Role(chosen) if chosen in set(Role) else None
        token = issue_development_token(settings, name, chosen == "admin", role)
    except ValidationError:
        fault = "Please enter a name of 1 to 255 characters."
        visit = await open_visit(request)
        shown: dict[str, Any] = {"is_sign_up": _is_sign_up(request), "target": target, "name": name, "fault": fault}
        return await page(visit, "sign_in.html", status=400, **shown)
    response = go_to(target)
    is_local = request.url.scheme == "http" and request.url.hostname in _LOCAL_HOSTS
    response.set_cookie(
        COOKIE,
        token,
        max_age=int(DEVELOPMENT_LIFETIME.total_seconds()),
        path="/",
        secure=not is_local,
        httponly=True,
        samesite="lax",
    )
    return response


@router.post("/sign-out")
async def sign_out(request: Request) -> Response:
    """Forgets the session; the cart stays."""
    pages: Pages = request.app.state.pages
    visit = await open_visit(request)
    async with request.form() as form:
        pages.forms.check(request, form, visit.user)
    response = go_to("/")
    response.delete_cookie(COOKIE, path="/")
    return response


@router.get("/my-purchases")
async def list_purchases(request: Request) -> Response:
    """Own orders, newest first."""
    return await _purchases(request)


@router.post("/my-purchases/{order_id}/cancel")
async def cancel(request: Request, order_id: str) -> Response:
    """Cancels an order that is not paid."""
    pages: Pages = request.app.state.pages
    visit = await open_visit(request)
    async with request.form() as form:
        pages.forms.check(request, form, visit.require_user())
    try:
        await visit.change_order(order_id, is_paid=False)
    except ApiError as fault:
        if fault.status not in (400, 404, 409):
            raise
        return await _purchases(request, fault)
    return go_to("/my-purchases?cancelled=1")


async def _purchases(request: Request, fault: ApiError | None = None) -> Response:
    visit = await open_visit(request)
    visit.require_user()
    orders = await visit.call("GET", "/api/orders")
    return await page(
        visit,
        "purchases.html",
        status=200 if fault is None else fault.status,
        orders=orders.data,
        titles=await titles(visit),
        is_partial="Tillroll-Partial" in orders.headers,
        is_cancelled="cancelled" in request.query_params,
        fault="" if fault is None else fault.text,
    )


def _is_sign_up(request: Request) -> bool:
    return request.url.path == "/sign-up"
