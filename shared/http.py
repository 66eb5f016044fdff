"""What every HTTP service does alike: envelopes, limits of bodies and of load, liveness and readiness.

One file beside the others of the contract, because the composed app and the separate services must answer equally.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import pydantic_core
from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.auth import Verifier
from shared.direct_routes import DirectRoutes
from shared.errors import ApiError, Unavailable
from shared.observability import SHED, configure_logging
from shared.openapi import refusals
from shared.postgres import connect_postgres, postgres_or_unavailable
from shared.redis import connect_redis, redis_or_unavailable
from shared.settings import Settings
from shared.tracing import configure_tracing, end_tracing
from shared.watch_requests import OPERATIONS, RequestWatch

MAX_BODY = 64 * 1024  # bytes; the contract: larger bodies are 413
BODY_WITHIN = timedelta(seconds=5)  # of the whole body; nginx, which waits for it, passes it on at once

EVERYWHERE = {
    408: "Request body too slow",
    413: "Request body too large",
    503: "Unknown or not done: the same request may be sent again",
}

_is_within_request: ContextVar[bool] = ContextVar("is_within_request", default=False)

log = logging.getLogger(__name__)


def json_response(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`body` as JSON, serialised once."""
    return Response(pydantic_core.to_json(body), status, dict(headers or {}), "application/json")


def data_response(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The contract's success envelope."""
    return json_response({"data": data}, status, headers)


def error_response(fault: ApiError) -> Response:
    """The contract's failure envelope."""
    return json_response({"error": fault.text, **fault.members}, fault.status, fault.headers)


class BodyLimit:
    """Takes a request in whole before anything is done for it: 413 beyond MAX_BODY bytes, 408 beyond BODY_WITHIN.

    A client that sends its body drop by drop so holds none of the places that InFlightLimit counts.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  # ASGI's own signature
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(BODY_WITHIN.total_seconds()):
                body = await _read_whole(scope, receive)
        except TimeoutError:
            body = ApiError(408, "Request body too slow", {"Connection": "close"})
        if isinstance(body, ApiError):
            await error_response(body)(scope, receive, send)
            return
        if body is None:
            return
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def whole() -> Message:
            return unread.pop() if unread else await receive()

        await self.app(scope, whole, send)


async def _read_whole(scope: Scope, receive: Receive) -> bytes | ApiError | None:
    """The body; None = the client has gone, and nobody waits for an answer."""
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        is_whole = not message.get("more_body", False)
        if len(body) > MAX_BODY or (not is_whole and _declared(scope) > MAX_BODY):
            return ApiError(413, "Request body too large", {"Connection": "close"})
        if is_whole:
            return body


def _declared(scope: Scope) -> int:
    """The bytes that the client says it will send; 0 = it does not say."""
    value = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    return int(value) if value.isdigit() else 0


class InFlightLimit:
    """At most `limit` requests at once; one more is a 503 at once instead of a place in a queue without end.

    What the platform asks passes always. A call that this process makes to itself is part of the request within
    which it makes it. A stream of events gives its place back when it begins: it is idle from then on, and has a limit
    of its own (TILLROLL_MAX_STREAMS).
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  # ASGI's own signature
        if scope["type"] != "http" or scope["path"] in OPERATIONS or _is_within_request.get():
            await self.app(scope, receive, send)
            return
        if self._in_flight >= self.limit:
            SHED.labels("in_flight").inc()
            await error_response(Unavailable("Too busy right now, please retry"))(scope, receive, send)
            return
        self._in_flight += 1
        places = 1

        async def send_or_give_back(message: Message) -> None:
            nonlocal places
            if message["type"] == "http.response.start" and _begins_a_stream(message):
                self._in_flight -= places
                places = 0
            await send(message)

        within = _is_within_request.set(True)
        try:
            await self.app(scope, receive, send_or_give_back)
        finally:
            _is_within_request.reset(within)
            self._in_flight -= places


def _begins_a_stream(start: Message) -> bool:
    return any(
        name == b"content-type" and value.startswith(b"text/event-stream") for name, value in start.get("headers", ())
    )


class _App(FastAPI):
    """Our own layers lie around all of FastAPI's: a direct route passes none of those."""

    def __init__(self, direct: Sequence[APIRouter], settings: Settings, **options: Any) -> None:
        super().__init__(**options)
        self._direct = direct
        self._settings = settings

    def build_middleware_stack(self) -> ASGIApp:
        inner = DirectRoutes(super().build_middleware_stack(), self._direct, error_response, _answer_fault)
        limited = BodyLimit(InFlightLimit(inner, self._settings.max_in_flight))
        return RequestWatch(limited, log_each=self._settings.log_each)


def build_app(
    process: str,
    settings: Settings,
    routers: Sequence[APIRouter],
    *,
    uses_postgres: bool = False,
    prepare: Callable[[FastAPI], Awaitable[None] | None] | None = None,
) -> FastAPI:
    """A FastAPI app over `routers`. `app.state` holds settings, redis, verifier and, where it is used, engine.

    `prepare` may add what else a service's routes look up; nothing connects before the first request.
    """
    configure_logging(process)
    configure_tracing(process)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await app.state.verifier.close()
        await app.state.redis.aclose()
        if uses_postgres:
            await app.state.engine.dispose()
        await asyncio.to_thread(end_tracing)

    app = _App(
        routers,
        settings,
        title=f"Tillroll {process}",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # the public document is the one of all services
        telemetry={"tracing": False, "metrics": False, "logs": False},  # ours is RequestWatch
        responses=refusals(EVERYWHERE),
    )
    app.state.settings = settings
    app.state.redis = connect_redis(settings, process)
    app.state.verifier = Verifier(settings)
    if uses_postgres:
        app.state.engine = connect_postgres(settings, process)
    if prepare is not None:
        prepare(app)
    for router in routers:
        app.include_router(router)
    app.include_router(_operations(uses_postgres))
    app.add_exception_handler(ApiError, _answer_api_error)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(Exception, _answer_fault)
    return app


def _answer_api_error(_request: Request, fault: Exception) -> Response:
    assert isinstance(fault, ApiError)
    return error_response(fault)


def _answer_http_error(_request: Request, fault: Exception) -> Response:
    assert isinstance(fault, HTTPException)
    return error_response(ApiError(fault.status_code, str(fault.detail), fault.headers))


def _answer_fault(request: Request, fault: Exception) -> Response:
    route = getattr(request.scope.get("route"), "path", None)  # not the path: a cart's address is the capability to it
    log.error("unexpected_fault", exc_info=fault, extra={"method": request.method, "route": route})
    return error_response(ApiError(500, "Internal server error"))


def _operations(uses_postgres: bool) -> APIRouter:
    """Liveness, readiness and metrics: for the platform, not public."""
    router = APIRouter(include_in_schema=False)

    @router.get("/health")
    async def health() -> Response:
        return json_response({"status": "alive"})

    @router.get("/ready")
    async def ready(request: Request) -> Response:
        async with redis_or_unavailable("Redis is away"):
            await request.app.state.redis.ping()
        if uses_postgres:
            async with postgres_or_unavailable("Postgres is away"), request.app.state.engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        return json_response({"status": "ready"})

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router
