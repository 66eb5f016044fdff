"""Watches every request from outside: one span, one observation and, where it is wanted, one log line.

By the route's template, never by the path: a path may name a shopper or be the capability to a cart.
"""

import logging
import time
from collections.abc import Iterable

from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from prometheus_client import Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import tracing
from shared.observability import HTTP_SECONDS

OPERATIONS = frozenset({"/health", "/ready", "/metrics"})

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})  # clients may invent others
_CLIENT_GONE, _FAULT = 499, 500  # told where no answer passed here: the layer outside answers a fault

log = logging.getLogger(__name__)


class RequestWatch:
    """The outermost of our layers: what the inner ones refuse counts as well. What the platform asks is not watched."""

    def __init__(self, app: ASGIApp, *, log_each: bool) -> None:
        self.app = app
        self._log_each = log_each
        self._bound: dict[tuple[str, str, int], Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  # ASGI's own signature
        if scope["type"] != "http" or scope["path"] in OPERATIONS:
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status: int | None = None
        event_id = b""

        async def note(message: Message) -> None:
            nonlocal status, event_id
            if message["type"] == "http.response.start":
                status = message["status"]
                self._observe(scope, status, time.perf_counter() - started)
                if self._log_each:
                    event_id = _header(message["headers"], b"event-id") or b""
            await send(message)

        sent = _header(scope["headers"], b"traceparent")
        with tracing.span(scope["method"], SpanKind.SERVER, parent=tracing.context_in(sent)) as span:
            outcome = _FAULT
            try:
                await self.app(scope, receive, note)
                outcome = _CLIENT_GONE
            finally:
                if status is None:
                    self._observe(scope, outcome, time.perf_counter() - started)
                if span.is_recording():
                    _describe(span, scope, status or outcome)
                if self._log_each:
                    self._tell(scope, status or outcome, event_id, time.perf_counter() - started)

    def _observe(self, scope: Scope, status: int, seconds: float) -> None:
        key = (scope["method"], _route(scope), status)
        bound = self._bound.get(key)
        if bound is None:
            method = key[0] if key[0] in _METHODS else "other"
            bound = HTTP_SECONDS.labels(method, key[1], str(status))
            if method == key[0]:
                self._bound[key] = bound
        bound.observe(seconds)

    def _tell(self, scope: Scope, status: int, event_id: bytes, seconds: float) -> None:
        told = {"method": scope["method"], "route": _route(scope), "status": status, "ms": round(seconds * 1000, 2)}
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
