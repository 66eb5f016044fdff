"""A storefront as it exists: submits a checkout several times at once and retries as the first storefront does."""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from http.cookies import SimpleCookie
from typing import Any
from uuid import uuid4

import httpx

from services.cli.demo_plan import Checkout, Protection

TIMEOUT = 8  # seconds, as are the waits below: the first storefront's own
WAITS = (0.3, 0.6)
RETRIED = frozenset({429, 502, 503})


@dataclass(frozen=True)
class Answer:
    """What one submission got in the end: the last status (0 = none came) and the order or error in the body."""

    status: int
    order: Mapping[str, Any] | None
    error: str | None


class Shopper:
    """One lane of the demo: as many connections as a checkout is submitted at once."""

    def __init__(self, base_url: str, submissions: int, tls: ssl.SSLContext) -> None:
        self._clients = [
            httpx.AsyncClient(base_url=base_url, timeout=TIMEOUT, verify=tls, trust_env=False, cookies=_no_cookies())
            for _ in range(submissions)
        ]

    async def close(self) -> None:
        """Closes the connections."""
        for client in self._clients:
            await client.aclose()

    async def check_out(self, checkout: Checkout, token: str) -> list[Answer]:
        """The answers to all submissions of `checkout`, sent at once."""
        headers = {"Authorization": f"Bearer {token}"}
        if checkout.protection is Protection.KEY:
            headers["Idempotency-Key"] = f"demo-{uuid4()}"
        if checkout.protection is Protection.CART:
            cookie = await self._fill_cart(checkout.lines)
            if isinstance(cookie, Answer):
                return [cookie]
            headers["Cookie"] = cookie
        body = {"total": float(checkout.total), "items": checkout.lines}
        submissions = (_send(client, "POST", "/api/orders", headers, body) for client in self._clients)
        return [_answer(response) for response in await asyncio.gather(*submissions)]

    async def _fill_cart(self, lines: Sequence[Mapping[str, Any]]) -> str | Answer:
        """The Cookie header of a cart that holds `lines`, or the answer that says why there is none."""
        response = await _send(self._clients[0], "PUT", f"/api/cart/{uuid4()}", {}, {"items": lines})
        if isinstance(response, httpx.TransportError) or response.status_code != 200:
            return _answer(response)
        cookie = SimpleCookie(response.headers.get("Set-Cookie", ""))
        return "; ".join(f"{name}={morsel.value}" for name, morsel in cookie.items())


async def _send(
    client: httpx.AsyncClient, method: str, path: str, headers: Mapping[str, str], body: Mapping[str, Any]
) -> httpx.Response | httpx.TransportError:
    """The last answer, or why there was none."""
    for wait in (*WAITS, None):
        response: httpx.Response | httpx.TransportError
        try:
            response = await client.request(method, path, headers=headers, json=body)
        except httpx.TransportError as fault:
            response = fault
        if wait is None or (isinstance(response, httpx.Response) and response.status_code not in RETRIED):
            break
        await asyncio.sleep(wait)
    return response


def _answer(response: httpx.Response | httpx.TransportError) -> Answer:
    if isinstance(response, httpx.TransportError):
        return Answer(0, None, f"no answer: {type(response).__name__}")
    try:
        body = response.json()
    except ValueError:
        body = {"error": response.text[:200]}
    return Answer(response.status_code, body.get("data"), body.get("error"))


def _no_cookies() -> CookieJar:
    """Every checkout sends its own cookie; a jar would carry one into the next."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))
