"""From the cart to the order: summary, review, submission, and what became of it.

Every checkout form carries an idempotency key that was minted with its page. The key names the cart's generation and
what the page showed, so two tabs, a reload and a double click name one checkout, and a cart filled again another.
"""

import hashlib
import time
from collections import Counter
from datetime import timedelta
from typing import Any

import pydantic_core
from fastapi import Request, Response
from starlette.datastructures import FormData

from services.storefront.pages import CONTENT_SECURITY_POLICY, Pages, go_to, page, page_router
from services.storefront.visit import Cart, Visit, json_number, open_visit
from shared.errors import ApiError
from shared.events import canonical, iso_date
from shared.settings import Mode

FIELDS = ("idempotency_key", "cart", "items", "total", "since", "payment")
CARD, DEMO, LATER = "card", "demo", "later"
"""How to pay: at Stripe, at once without money (the demo), or when the parcel comes."""
CART_CHANGED = "Your cart has changed since you opened this page. Nothing was ordered."
CLOCKS_DIFFER = timedelta(minutes=1)  # ours and the one that dates orders
ASK_AGAIN = {"Refresh": "3"}  # seconds; Stripe reports a payment within a few
PAGE_FAULTS = (400, 409, 422)  # the shopper can do something about them on the review page
LEADS_TO_STRIPE = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY.replace(
        "form-action 'self'", "form-action 'self' https://checkout.stripe.com"
    )
}

router = page_router()


@router.get("/checkout")
async def summary(request: Request) -> Response:
    """What will be bought, for whom and for how much."""
    visit = await open_visit(request)
    visit.require_user()
    return await page(visit, "checkout.html", cart=await visit.cart())


@router.get("/checkout/pay")
async def review(request: Request) -> Response:
    """Review and pay."""
    visit = await open_visit(request)
    visit.require_user()
    cart = await visit.cart()
    return await _review(visit, cart) if cart.lines else go_to("/cart")


@router.post("/checkout/pay")
async def submit(request: Request) -> Response:
    """Places the order that the form's page showed. Sending the form again finds the same order."""
    pages: Pages = request.app.state.pages
    visit = await open_visit(request)
    async with request.form() as form:
        pages.forms.check(request, form, visit.require_user())
        order, since = _read(form), str(form.get("since", ""))
        named = {"Idempotency-Key": str(form.get("idempotency_key", ""))}
        if form.get("cart"):
            named["X-Cart-Session"] = str(form["cart"])
        try:
            cart = await visit.cart()
            if not _covers(cart, order["items"]) and not await _was_bought(visit, order["items"], since):
                return await _review(visit, cart, 409, CART_CHANGED)
            if form.get("payment") == CARD:
                return go_to((await visit.call("POST", "/api/checkout/sessions", order, named)).data["url"])
            placed = (await visit.call("POST", "/api/orders", order, named)).data
        except ApiError as fault:
            if fault.status in PAGE_FAULTS:
                return await _review(visit, await visit.cart(), fault.status, fault.text)
            return await _failure(visit, fault, {name: str(form.get(name, "")) for name in FIELDS})
        if form.get("payment") == DEMO:
            await _pay(visit, placed["id"])
    return go_to(f"/checkout/success?order={placed['id']}")


@router.get("/checkout/success")
async def success(request: Request) -> Response:
    """The order that came of it, also for who comes back from Stripe before the money is booked.

    In development also the exhibit of a page that submits on every render.
    """
    visit = await open_visit(request)
    visit.require_user()
    is_exhibit = request.query_params.get("unguarded") == "1"
    if is_exhibit and request.app.state.settings.mode is Mode.DEVELOPMENT:
        return await _exhibit(visit)
    session_id = request.query_params.get("session_id")
    if session_id is None:
        order = await visit.order(request.query_params.get("order", ""))
    else:
        order = await visit.paid_order(session_id)
        if order is None:
            return await page(visit, "confirming.html", headers=ASK_AGAIN)
    if order is None:
        raise ApiError(404, "We cannot find this order. Your purchases list every order that was placed.")
    known = await titles(visit)
    # Without amounts: a price of today is not what was paid, and the API shows an order's total alone.
    shown = [(known.get(item["id"], f"Product {item['id']}"), item["quantity"], None) for item in order["items"]]
    return await page(visit, "success.html", order=order, shown=shown)


@router.get("/checkout/error")
async def failure(request: Request) -> Response:
    """Where a payment that did not work out leads."""
    return await _failure(await open_visit(request), None, {})


async def titles(visit: Visit) -> dict[str, str]:
    """Product id -> title, for orders that name products by id."""
    return {product["id"]: product["title"] for product in await visit.products()}


async def _review(visit: Visit, cart: Cart, status: int = 200, fault: str = "") -> Response:
    if not cart.lines:
        return await page(visit, "cart.html", cart=cart, status=status, fault=fault)
    items = pydantic_core.to_json(cart.items).decode()
    total = json_number(cart.total)
    form = {
        "idempotency_key": _key_of(cart),
        "cart": cart.name or "",
        "items": items,
        "total": total,
        "since": iso_date(int((time.time() - CLOCKS_DIFFER.total_seconds()) * 1000)),
    }
    settings = visit.request.app.state.settings
    headers = LEADS_TO_STRIPE if settings.leads_to_stripe else None
    return await page(visit, "pay.html", cart=cart, status=status, headers=headers, fault=fault, form=form)


def _key_of(cart: Cart) -> str:
    shown = [cart.name or "", *(f"{item['id']} {item['quantity']}" for item in cart.items), str(cart.total)]
    return f"page-{hashlib.sha256(canonical(shown)).hexdigest()[:40]}"


def _read(form: FormData) -> dict[str, Any]:
    """The submission as the API takes it. The API judges it; here it must only be what a page of ours could send."""
    try:
        items = pydantic_core.from_json(str(form.get("items", "")), allow_inf_nan=False)
        total = pydantic_core.from_json(str(form.get("total", "")), allow_inf_nan=False)
        is_ours = all(isinstance(item["id"], str) and isinstance(item["quantity"], int) for item in items)
    except (ValueError, TypeError, KeyError):
        is_ours = False
    if not is_ours:
        raise ApiError(400, "Invalid order payload")
    return {"items": items, "total": total}


def _covers(cart: Cart, items: list[dict[str, Any]]) -> bool:
    there = {line.product["id"]: line.quantity for line in cart.lines}
    return all(there.get(item["id"], 0) >= item["quantity"] for item in items)


async def _was_bought(visit: Visit, items: list[dict[str, Any]], since: str) -> bool:
    """Whether the items left the cart by being bought `since` the page was shown: the form is sent once more then."""
    orders = (await visit.call("GET", "/api/orders")).data
    return any(order["date"] >= since and _units(order["items"]) == _units(items) for order in orders)


def _units(items: list[dict[str, Any]]) -> Counter[str]:
    units: Counter[str] = Counter()
    for item in items:
        units[item["id"]] += item["quantity"]
    return units


async def _pay(visit: Visit, order_id: str) -> None:
    """The demo's payment. The order stands without it, so no fault of it is the checkout's."""
    try:
        await visit.change_order(order_id, is_paid=True)
    except ApiError as fault:
        if fault.status not in (404, 429, 503):
            raise


async def _failure(visit: Visit, fault: ApiError | None, retry: dict[str, str]) -> Response:
    is_unknown = fault is not None and fault.status in (429, 503)
    return await page(
        visit,
        "checkout_error.html",
        status=200 if fault is None else fault.status,
        headers=None if fault is None else fault.headers,
        text="" if fault is None else fault.text,
        retry=retry if is_unknown else {},
    )


async def _exhibit(visit: Visit) -> Response:
    cart = await visit.cart()
    known = [order["id"] for order in (await visit.call("GET", "/api/orders")).data]
    return await page(
        visit,
        "exhibit.html",
        cart=cart,
        items=pydantic_core.to_json(cart.items).decode(),
        total=json_number(cart.total),
        known=known,
    )
