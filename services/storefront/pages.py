"""What every page has alike: templates, headers, the cart's count in the corner; and errors that are pages, too."""

import hashlib
import mimetypes
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from decimal import Decimal
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined

from services.storefront.forms import FIELD, Forms
from services.storefront.visit import Cart, Visit, money, open_visit
from shared.errors import ApiError
from shared.settings import Mode, Settings

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers would send a form's origin as null
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "private, no-store",  # carts and tokens: going back must show what is true now
}
ASSET_HEADERS = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
ASSETS = (
    "styles.css",
    "shop.js",
    "live.js",
    "exhibit.js",
    "favicon.svg",
    "console.css",
    "console.js",
    "console-charts.js",
)


class Pages:
    """The templates and assets, read once, and what they need to know of the settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.forms = Forms(settings)
        self.assets = _read_assets()
        self._templates = Environment(
            loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
            lstrip_blocks=True,
        )  # fmt: skip
        self._templates.filters |= {"money": show_money, "day": show_day}
        self._templates.globals |= {
            "asset": self._asset_url,
            "form_field": FIELD,
            "is_development": settings.mode is Mode.DEVELOPMENT,
            "takes_cards": settings.leads_to_stripe,
            "takes_demo_payment": settings.demo_payment,
            "signs_in_here": settings.signs_in_here,
        }

    def render(self, template: str, context: Mapping[str, Any]) -> str:
        """The page as HTML."""
        return self._templates.get_template(template).render(context)

    def _asset_url(self, name: str) -> str:
        path = f"/static/{name}"
        return f"{path}?v={hashlib.sha256(self.assets[path][0]).hexdigest()[:8]}"


class PageRoute(APIRoute):
    """Errors of a page are pages: 401 leads to the sign-in and back again."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:  # noqa: D102  # FastAPI's own
        handle = super().get_route_handler()

        async def handle_page(request: Request) -> Response:
            try:
                return await handle(request)
            except ApiError as fault:
                return await self.show_fault(request, fault)

        return handle_page

    async def show_fault(self, request: Request, fault: ApiError) -> Response:
        """The page of an error."""
        if fault.status == 401:
            return to_sign_in(request)
        visit = await open_visit(request)
        return await page(visit, "error.html", status=fault.status, headers=fault.headers, text=fault.text)


def page_router() -> APIRouter:
    """A router of pages; they are no part of the API's document."""
    return APIRouter(route_class=PageRoute, include_in_schema=False)


async def page(
    visit: Visit,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    cart: Cart | None = None,
    **context: Any,
) -> Response:
    """A page of ours. The cart is looked up for its count if it was not given; no page fails for want of a count."""
    request = visit.request
    pages: Pages = request.app.state.pages
    if cart is None:
        try:
            cart = await visit.cart()
        except ApiError:
            cart = Cart(visit.cart_name)
    shown = {
        "user": visit.user,
        "cart": cart,
        "path": request.url.path,
        "here": here(request),
        "status_code": status,
        "form_token": pages.forms.mint(visit.user),
        "visitor_token": pages.forms.mint(None),
        "added": "added" in request.query_params,
        **context,
    }
    return Response(pages.render(template, shown), status, HEADERS | dict(headers or {}), "text/html")


def here(request: Request) -> str:
    """The path and query of a page, for the way back to it. A form's own address is no page."""
    if request.method != "GET":
        return "/"
    query = "&".join(f"{quote(k)}={quote(v)}" for k, v in request.query_params.multi_items() if k != "added")
    return request.url.path + (f"?{query}" if query else "")


def way_back(text: str, otherwise: str = "/") -> str:
    """`text` when it is a path on this site, and never the address of another."""
    is_path = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable() and text.isascii()
    return text if is_path else otherwise


def go_to(path: str) -> Response:
    """After a form: the browser asks for `path`, and a reload repeats that instead of the form."""
    return RedirectResponse(path, 303, HEADERS)


def to_sign_in(request: Request, after_form: str = "/my-purchases") -> Response:
    """To the sign-in and, after it, back to this page; a form's answer is no page to come back to."""
    if request.method == "GET":
        return RedirectResponse(f"/sign-in?next={quote(here(request), safe='/')}", 307, HEADERS)
    return go_to(f"/sign-in?next={after_form}")


def show_money(amount: Decimal | float) -> str:
    """`$1,234.50`, without cents when there are none."""
    exact = amount if isinstance(amount, Decimal) else money(amount)
    return f"${exact:,.0f}" if exact == exact.to_integral_value() else f"${exact:,.2f}"


def show_day(date: str) -> str:
    """`14 March 2025` from an ISO date."""
    moment = datetime.fromisoformat(date)
    return f"{moment.day} {moment:%B %Y}"


def _read_assets() -> dict[str, tuple[bytes, str]]:
    """Every public file by its path: nothing else can be asked for."""
    root = files(__package__).joinpath("static")
    found = {f"/static/{name}": root.joinpath(name) for name in ASSETS}
    found |= {f"/images/{entry.name}": entry for entry in root.joinpath("images").iterdir()}
    return {path: (entry.read_bytes(), mimetypes.guess_type(path)[0] or "") for path, entry in found.items()}
