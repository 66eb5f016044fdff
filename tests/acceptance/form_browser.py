"""A shopper's browser without JavaScript before the composed app, in this process: cookies, forms and their tokens."""

import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from services.gateway.app import build as build_gateway
from shared.issuer import issue_development_token
from shared.settings import Settings

OWN = {"Origin": "http://localhost"}


class Browser:
    """Somebody's cookies before the composed app."""

    def __init__(self, app: Any) -> None:
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")

    async def sign_in(self, settings: Settings, user: str) -> None:
        self.http.cookies.set("__session", issue_development_token(settings, user), domain="localhost.local")

    async def fields(self, path: str, action: str) -> dict[str, str]:
        """The hidden fields of a form."""
        page = (await self.http.get(path)).text
        form = next(form for form in re.findall(r"<form.*?</form>", page, re.DOTALL) if f'action="{action}"' in form)
        return read_hidden(form)

    async def post(self, path: str, fields: dict[str, str], headers: Any = None) -> httpx.Response:
        return await self.http.post(path, data=fields, headers=OWN if headers is None else headers)

    async def fill(self, product: str = "2") -> None:
        answer = await self.post("/cart/items", await self.fields(f"/products/{product}", "/cart/items"))
        assert answer.status_code == 303, answer.text

    async def orders(self) -> list[Any]:
        return list((await self.http.get("/api/orders")).json()["data"])


def read_hidden(text: str) -> dict[str, str]:
    found = re.findall(r'<input type="hidden" name="(\w+)" value="(.*?)">', text)
    return {name: html.unescape(value) for name, value in found}


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Any]:
    """The composed app."""
    gateway: Any = build_gateway(settings)
    async with gateway.app.router.lifespan_context(gateway.app):
        yield gateway


async def a_shopper(app: Any, settings: Settings, user: str = "anna") -> Browser:
    """Signed in, with a keyboard in the cart."""
    browser = Browser(app)
    await browser.sign_in(settings, user)
    await browser.fill()
    return browser
