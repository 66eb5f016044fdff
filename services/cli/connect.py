"""Redis and Postgres for one command, closed at its end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.entries import keep_raw
from shared.postgres import connect_postgres
from shared.redis import connect_redis
from shared.settings import Settings


@asynccontextmanager
async def connect(settings: Settings, *, is_raw: bool = True) -> AsyncIterator[tuple[Redis, AsyncEngine]]:
    """Both; raw = streams as the server sent them. Connects at the first command."""
    redis, engine = connect_redis(settings, "terminal"), connect_postgres(settings, "terminal")
    if is_raw:
        keep_raw(redis)
    try:
        yield redis, engine
    finally:
        await redis.aclose()
        await engine.dispose()
