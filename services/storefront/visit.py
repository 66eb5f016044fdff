"""Somebody on our pages: who they are, their cart, and the API asked on their behalf. Renders nothing."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from fastapi import Request

from services.storefront.api import Answer, Api
from shared.auth import COOKIE, User
from shared.errors import ApiError, Unavailable
from shared.events import money_number

CART_COOKIE = "cart_session"
MAX_QUANTITY = 99  # of a line
_CART_NAME = re.compile(r"([0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12})(?:\.[0-9a-f]{16})?")
_CHANGES = 4  # tries to change a cart that is being changed elsewhere, too


@dataclass(frozen=True)
class Line:
    """A product of the catalogue and how many of it."""

    product: Mapping[str, Any]
    quantity: int

    @property
    def amount(self) -> Decimal:
        """What the line costs today."""
        return money(self.product["price"]) * self.quantity


@dataclass(frozen=True)
class Cart:
    """What is in the cart, one line a product. `name` is the cookie's text, None before the first item."""

    name: str | None
    lines: Sequence[Line] = ()
    etag: str = ""

    @property
    def count(self) -> int:
        """Units in all."""
        return sum(line.quantity for line in self.lines)

    @property
    def total(self) -> Decimal:
        """What a checkout would charge."""
        return sum((line.amount for line in self.lines), Decimal(0))

    @property
    def items(self) -> list[dict[str, Any]]:
        """The contract's items, by product."""
        return [{"id": line.product["id"], "quantity": line.quantity} for line in self.lines]

    @property
    def shown(self) -> list[tuple[str, int, Decimal]]:
        """Title, quantity and amount of each line, as a receipt prints them."""
        return [(line.product["title"], line.quantity, line.amount) for line in self.lines]

    @property
    def session(self) -> str | None:
        """The capability to the cart."""
        return session_of(self.name)


class Visit:
    """One request of a browser."""

    def __init__(self, request: Request, user: User | None) -> None:
        self.request = request
        self.user = user
        self._api: Api = request.app.state.api
        self._catalog: list[dict[str, Any]] | None = None

    @property
    def cart_name(self) -> str | None:
        """The cart cookie, when it is one."""
        name = self.request.cookies.get(CART_COOKIE, "")
        return name if _CART_NAME.fullmatch(name) else None

    def require_user(self) -> User:
        """The signed-in user; raises the contract's 401."""
        if self.user is None:
            raise ApiError(401, "Unauthorized")
        return self.user

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        """The API's answer to this visitor; the pages themselves have judged whether the cookie counts."""
        own = {"Content-Type": "application/json", **(headers or {})}
        if self.user is not None and "Authorization" not in self.request.headers:
            own["Authorization"] = f"Bearer {self.request.cookies[COOKIE]}"
        return await self._api.call(self.request, method, path, body, headers=own, params=params)

    async def products(self) -> list[dict[str, Any]]:
        """The catalogue, asked for once a visit."""
        if self._catalog is None:
            self._catalog = list((await self.call("GET", "/api/products")).data)
        return self._catalog

    async def product(self, product_id: str) -> dict[str, Any]:
        """One product; raises ApiError 404."""
        for product in await self.products():
            if product["id"] == product_id:
                return product
        raise ApiError(404, "We do not sell this product")

    async def cart(self) -> Cart:
        """The cart at today's prices. What has left the catalogue is not shown, and so not bought."""
        session = session_of(self.cart_name)
        if session is None:
            return Cart(None)
        answer = await self.call("GET", f"/api/cart/{session}")
        by_id = {product["id"]: product for product in await self.products()} if answer.data else {}
        units: dict[str, int] = {}
        for item in answer.data:
            units[item["id"]] = units.get(item["id"], 0) + item["quantity"]
        lines = [Line(by_id[product], quantity) for product, quantity in units.items() if product in by_id]
        return Cart(self.cart_name, lines, answer.headers["ETag"])

    async def change_cart(self, product_id: str, quantity: int, *, is_added: bool) -> Answer:
        """Sets a product's quantity in the cart, or adds to it; never more than there are, 0 removes it."""
        product = await self.product(product_id)
        for _ in range(_CHANGES):
            cart = await self.cart()
            units = {line.product["id"]: line.quantity for line in cart.lines}
            wanted = units.get(product_id, 0) + quantity if is_added else quantity
            units[product_id] = max(0, min(wanted, product["stock"], MAX_QUANTITY))
            items = [{"id": product, "quantity": quantity} for product, quantity in units.items() if quantity]
            path = f"/api/cart/{cart.session or uuid4()}"
            headers = {"If-Match": cart.etag} if cart.etag else None
            try:
                return await self.call("PUT", path, {"items": items}, headers)
            except ApiError as fault:
                if fault.status != 412:
                    raise
        raise Unavailable("The cart kept changing, please retry")

    async def order(self, order_id: str) -> dict[str, Any] | None:
        """The user's own order of that id."""
        orders = (await self.call("GET", "/api/orders")).data
        return next((order for order in orders if order["id"] == order_id), None)

    async def paid_order(self, session_id: str) -> dict[str, Any] | None:
        """The user's own order of that payment session; None = there is none yet. Raises ApiError for no session id."""
        try:
            order: dict[str, Any] = (await self.call("GET", "/api/orders", params={"session_id": session_id})).data
        except ApiError as fault:
            if fault.status != 404:
                raise
            return None
        return order if session_id else None

    async def change_order(self, order_id: str, *, is_paid: bool) -> dict[str, Any]:
        """Marks the order paid, or cancels it."""
        if is_paid:
            answer = await self.call("PATCH", "/api/orders", {"id": order_id})
        else:
            answer = await self.call("POST", f"/api/orders/{quote(order_id, safe='')}/cancel")
        order: dict[str, Any] = answer.data
        return order


async def open_visit(request: Request) -> Visit:
    """The visit of whoever the session cookie names.

    Also for a form's POST, where the cookie counts only with the form's token: whoever acts for the user checks that.
    """
    as_read = Request({**request.scope, "method": "GET"})
    return Visit(request, await request.app.state.verifier.find_user(as_read))


def session_of(cart_name: str | None) -> str | None:
    """The session in a cart cookie's text."""
    match = _CART_NAME.fullmatch(cart_name or "")
    return match[1] if match else None


def money(number: float) -> Decimal:
    """A JSON number as the amount that its sender wrote."""
    return Decimal(repr(number))


def json_number(amount: Decimal) -> int | float:
    """An amount as the API takes it."""
    return money_number(amount)
