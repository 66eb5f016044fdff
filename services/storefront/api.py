"""The public REST API as its client sees it. The storefront has no other way to carts and orders.

In the composed app a call is a function call; as a service of its own it asks the gateway at TILLROLL_API_URL.
Keeps nothing between two calls: one shopper's cookies never travel with another's request.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx
import pydantic_core
from fastapi import Request, Response
from starlette.types import ASGIApp

from shared.errors import ApiError, Unavailable
from shared.settings import Settings
from shared.tracing import traceparent

ANSWER_WITHIN = timedelta(seconds=7.5)  # nginx waits 7 s for a service; the first storefront gives up after 8 s
_AWAY = "The shop is unavailable right now, please retry"

# What a request is told by, the headers of the cookie's own-origin rule among them; the host is what it compares.
_FORWARDED = (
    b"authorization",
    b"cookie",
    b"idempotency-key",
    b"x-cart-session",
    b"host",
    b"origin",
    b"sec-fetch-site",
    b"content-type",
    b"traceparent",
)
_RETURNED = ("Set-Cookie", "Tillroll-Partial")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """A success: the envelope's members and the headers beside it."""

    body: dict[str, Any]
    headers: httpx.Headers

    @property
    def data(self) -> Any:
        """The envelope's `data`."""
        return self.body["data"]

    def pass_on(self, response: Response) -> None:
        """Lets the browser have what was meant for it: cookies, and the mark of an incomplete list."""
        for name in _RETURNED:
            for value in self.headers.get_list(name):
                response.headers.append(name, value)


class Api:
    """Calls the API on behalf of a request."""

    def __init__(self, transport: httpx.AsyncBaseTransport, url: str) -> None:
        keep_none = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        self._http = httpx.AsyncClient(
            transport=transport, base_url=url, cookies=keep_none, timeout=ANSWER_WITHIN.total_seconds()
        )

    @classmethod
    def within(cls, app: ASGIApp) -> "Api":
        """The API that `app` serves itself."""
        return cls(httpx.ASGITransport(app, raise_app_exceptions=False), "http://storefront.internal")

    @classmethod
    def over(cls, settings: Settings) -> "Api":
        """The API behind a gateway."""
        return cls(httpx.AsyncHTTPTransport(), settings.api_url)

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def call(
        self,
        request: Request,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        """Sends `method path` as the sender of `request`; `headers` replace the ones that would be forwarded.

        Raises ApiError with the API's own status and text; Unavailable for an outage and for a fault, after which
        the outcome is as unknown as after a broken connection.
        """
        own = {name.lower().encode(): value.encode() for name, value in (headers or {}).items()}
        if trace := traceparent():
            own[b"traceparent"] = trace.encode()  # below our own span, not beside it
        sent = [(name, value) for name, value in request.headers.raw if name in _FORWARDED and name not in own]
        content = None if body is None else pydantic_core.to_json(body)
        try:
            answer = await self._http.request(
                method, path, content=content, headers=[*sent, *own.items()], params=params
            )
            found = pydantic_core.from_json(answer.content)
        except (httpx.HTTPError, ValueError) as fault:
            log.warning("api_unavailable", extra={"fault": f"{type(fault).__name__}: {fault}"})
            raise Unavailable(_AWAY) from fault
        if not isinstance(found, dict) or answer.status_code >= 500:
            raise Unavailable(found.get("error", _AWAY) if answer.status_code == 503 else _AWAY)
        if answer.is_error:
            retry_after = answer.headers.get("Retry-After")
            raise ApiError(
                answer.status_code,
                str(found.get("error", _AWAY)),
                None if retry_after is None else {"Retry-After": retry_after},
            )
        return Answer(found, answer.headers)
