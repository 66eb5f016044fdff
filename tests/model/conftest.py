"""Servers that answer quickly: what survives a power cut is judged elsewhere, here thousands of histories are run."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.postgres import connect_postgres
from shared.settings import AofPolicy, Settings
from tests.model.real_driver import RealDriver

IS_FULL = os.environ.get("TILLROLL_MODEL") == "full"
"""Everything, for a run by hand; `make test` runs a bounded part."""


@asynccontextmanager
async def connect_quickly(settings: Settings) -> AsyncIterator[Redis]:
    """A client with one connection of its own to a Redis that does not wait for its disk meanwhile."""
    url = settings.redis_url.get_secret_value()
    async with Redis.from_url(url, single_connection_client=True, protocol=2, socket_timeout=30) as redis:
        await redis.config_set("appendfsync", "no")
        try:
            yield redis
        finally:
            await redis.config_set("appendfsync", AofPolicy.ALWAYS)


def hurry(engine: AsyncEngine) -> AsyncEngine:
    """Lets its commits not wait for the disk."""

    @event.listens_for(engine.sync_engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        connection.run_async(lambda driver: driver.execute("SET synchronous_commit = off"))

    return engine


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """An engine on the test's PostgreSQL."""
    engine = hurry(connect_postgres(settings, "test"))
    yield engine
    await engine.dispose()


@pytest.fixture
async def quick_redis(settings: Settings) -> AsyncIterator[Redis]:
    """The clean Redis."""
    async with connect_quickly(settings) as redis:
        yield redis


@pytest.fixture
def driver(quick_redis: Redis, engine: AsyncEngine, settings: Settings) -> RealDriver:
    """The real shop, empty."""
    return RealDriver(quick_redis, engine, settings)
