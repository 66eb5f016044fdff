"""A storefront's view of cart and checkout, in this process and over the real Redis: a shopper, a cart, an order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
from fastapi import FastAPI

from services.cart.app import build as build_cart
from services.checkout.app import build as build_checkout
from shared.issuer import issue_development_token
from shared.settings import Settings

PRICES = {"1": 129, "2": 149, "3": 39}  # the packaged catalogue


class Shop:
    """Speaks HTTP to the cart and the checkout app."""

    def __init__(self, settings: Settings, cart: FastAPI, checkout: FastAPI) -> None:
        self.settings = settings
        self.checkout_app = checkout
        self._carts = httpx.AsyncClient(transport=httpx.ASGITransport(cart), base_url="http://localhost")
        self._orders = httpx.AsyncClient(transport=httpx.ASGITransport(checkout), base_url="http://localhost")

    async def put(self, session: str, items: dict[str, int], **headers: str) -> httpx.Response:
        """PUT /api/cart/{session}."""
        body = {"items": [{"id": product, "quantity": quantity} for product, quantity in items.items()]}
        response = await self._carts.put(f"/api/cart/{session}", json=body, headers=_dashed(headers))
        self._carts.cookies.clear()
        return response

    async def read(self, session: str) -> httpx.Response:
        """GET /api/cart/{session}."""
        return await self._carts.get(f"/api/cart/{session}")

    async def fill(self, items: dict[str, int], session: str | None = None) -> str:
        """A cart with `items`; answers what the browser carries from then on."""
        response = await self.put(session or str(uuid4()), items)
        assert response.status_code == 200, response.text
        return str(response.cookies["cart_session"])

    async def order(self, user: str, items: dict[str, int], *, total: float | None = None, **headers: str) -> Any:
        """POST /api/orders; headers by name with underscores (`idempotency_key=`, `x_cart_session=`)."""
        body = {
            "items": [{"id": product, "quantity": quantity} for product, quantity in items.items()],
            "total": sum(PRICES[product] * quantity for product, quantity in items.items()) if total is None else total,
        }
        token = issue_development_token(self.settings, user, False)
        return await self._orders.post(
            "/api/orders", json=body, headers={"Authorization": f"Bearer {token}", **_dashed(headers)}
        )


@asynccontextmanager
async def open_shop(settings: Settings) -> AsyncIterator[Shop]:
    """A shop over `settings`, closed at the end."""
    apps = build_cart(settings), build_checkout(settings)
    try:
        yield Shop(settings, *apps)
    finally:
        for app in apps:
            await app.state.verifier.close()
            await app.state.redis.aclose()


def _dashed(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
