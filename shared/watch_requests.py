"""Watches every request from outside: one span, one observation and, where it is wanted, one log line.

By the route's template, never by the path: a path may name a shopper or be the capability to a cart.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import tracing
from shared.observability import HTTP_SECONDS

OPERATIONS = frozenset({"/health", "/ready", "/metrics"})

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})  # clients may invent others
_CLIENT_GONE, _FAULT = 499, 500  # told where no answer passed here

log = logging.getLogger(__name__)


class RequestWatch:
    """The outermost of our layers: what the inner ones refuse counts as well. What the platform asks is not watched."""

    def __init__(self, app: ASGIApp, *, log_each: bool) -> None:
        self.app = app
        self._log_each = log_each
        self._observers: dict[tuple[str, str, int], Callable[[float], None]] = {}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[Any]:  # noqa: D102  # ASGI's signature
        if scope["type"] != "http" or scope["path"] in OPERATIONS:
            return self.app(scope, receive, send)
        return self._trace(scope, receive, send) if tracing.is_on() else self._serve(scope, receive, send)

    async def _trace(self, scope: Scope, receive: Receive, send: Send) -> None:
        parent = tracing.context_in(_header(scope["headers"], b"traceparent"))
        with tracing.span(scope["method"], SpanKind.SERVER, parent=parent) as span:
            status = _FAULT
            try:
                status = await self._serve(scope, receive, send)
            finally:
                _describe(span, scope, status)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> int:
        """The status of the answer; _CLIENT_GONE = there was none."""
        started = time.perf_counter()
        start: Message | None = None

        def note(message: Message) -> Awaitable[None]:  # no coroutine of its own: every message passes here
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                self._observe(scope, message["status"], time.perf_counter() - started)
            return send(message)

        outcome = _FAULT
        try:
            await self.app(scope, receive, note)
            outcome = _CLIENT_GONE
        finally:
            if start is None:
                self._observe(scope, outcome, time.perf_counter() - started)
            else:
                outcome = start["status"]
            if self._log_each:
                self._tell(scope, outcome, start, time.perf_counter() - started)
        return outcome

    def _observe(self, scope: Scope, status: int, seconds: float) -> None:
        key = (scope["method"], _route(scope), status)
        observe = self._observers.get(key)
        if observe is None:
            method = key[0] if key[0] in _METHODS else "other"
            observe = HTTP_SECONDS.labels(method, key[1], str(status)).observe
            if method == key[0]:
                self._observers[key] = observe
        observe(seconds)

    def _tell(self, scope: Scope, status: int, start: Message | None, seconds: float) -> None:
        told = {"method": scope["method"], "route": _route(scope), "status": status, "ms": round(seconds * 1000, 2)}
        event_id = _header(start["headers"], b"event-id") if start else None
        log.info("request", extra=told | ({"event_id": event_id.decode()} if event_id else {}))


def _describe(span: Span, scope: Scope, status: int) -> None:
    route = _route(scope)
    span.update_name(f"{scope['method']} {route}")
    span.set_attributes(
        {"http.request.method": scope["method"], "http.route": route, "http.response.status_code": status}
    )
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))


def _route(scope: Scope) -> str:
    """The template of the route that answers; `-` = none was reached."""
    return getattr(scope.get("route"), "path", None) or "-"


def _header(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> bytes | None:
    return next((value for name, value in headers if name == wanted), None)
