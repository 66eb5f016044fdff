"""What every HTTP service does alike: envelopes, body limit, bounded JSON, liveness and readiness.

One file beside the others of the contract, because the composed app and the separate services must answer equally.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pydantic_core
from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.auth import Verifier
from shared.errors import ApiError
from shared.observability import configure_logging
from shared.postgres import connect_postgres, postgres_or_unavailable
from shared.redis import connect_redis, redis_or_unavailable
from shared.settings import Settings

MAX_BODY = 64 * 1024  # bytes; CONTRACT: larger bodies are 413

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
    """Refuses a body of more than MAX_BODY bytes with 413, counted as it arrives."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  # ASGI's own signature
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        too_large = error_response(ApiError(413, "Request body too large", {"Connection": "close"}))
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if declared.isdigit() and int(declared) > MAX_BODY:
            await too_large(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > MAX_BODY:
                raise ApiError(413, "Request body too large", {"Connection": "close"})
            return message

        await self.app(scope, counted, send)


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

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await app.state.verifier.close()
        await app.state.redis.aclose()
        if uses_postgres:
            await app.state.engine.dispose()

    app = FastAPI(title=f"Tillroll {process}", lifespan=lifespan, docs_url=None, redoc_url=None)
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
    app.add_middleware(BodyLimit)
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
    log.error("unexpected_fault", exc_info=fault, extra={"method": request.method, "path": request.url.path})
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
