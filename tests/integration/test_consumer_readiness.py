"""The consumer says that it is not ready whenever it would record nothing, and its metrics say the same."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.claims import ensure_group
from services.orders.consumer import ConsumerApp, build
from services.orders.consumer_health import Health, look_at_state
from services.orders.intake import Intake
from shared.settings import Settings
from shared.streams import GROUP, STREAM
from tests.builders import a_checkout, fields_of
from tests.waiting import until


@asynccontextmanager
async def reading(settings: Settings) -> AsyncIterator[ConsumerApp]:
    """A consumer that is ready, in this event loop."""
    app = build(settings)
    async with app.start_lifespan_context():
        await until(lambda: is_ready(app))
        yield app


async def answer(app: ConsumerApp, path: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://consumer") as http:
        return await http.get(path)


async def is_ready(app: ConsumerApp) -> bool:
    return (await answer(app, "/ready")).status_code == 200


async def says(app: ConsumerApp, metric: str) -> float:
    page = (await answer(app, "/metrics")).text
    [line] = [line for line in page.splitlines() if line.startswith(f"{metric} ")]
    return float(line.split()[1])


async def test_a_reader_whose_loop_is_dead_is_neither_alive_nor_ready(settings: Settings) -> None:
    async with reading(settings) as consumer:
        assert await says(consumer, "tillroll_consumer_ready") == 1
        [reader] = consumer.brokers[0].subscribers
        await end(*reader.tasks)
        assert (await answer(consumer, "/ready")).json()["reading"] == "nobody reads the stream"
        assert (await answer(consumer, "/health")).status_code == 503
        assert await says(consumer, "tillroll_consumer_ready") == 0


async def test_a_consumer_whose_caretaker_died_is_neither_alive_nor_ready(settings: Settings) -> None:
    async with reading(settings) as consumer:
        await end(consumer.tasks[0])
        assert not await is_ready(consumer)
        assert (await answer(consumer, "/health")).status_code == 503


async def end(*tasks: Any) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def health(settings: Settings, redis: Redis, engine: AsyncEngine) -> Health:
    """What a reader that is alive and has begun asks, an hour after its start."""
    intake = Intake(engine, redis, settings)
    return Health(engine, redis, intake, settings, lambda: True, lambda: True, time.monotonic() - 3600)


async def test_it_is_not_ready_without_its_group(health: Health, redis: Redis) -> None:
    await ensure_group(redis)
    assert await health.is_ready()
    await redis.xgroup_destroy(STREAM, GROUP)
    assert (await look_at_state(health))["group"] == "gone"
    assert not await health.is_ready()


@pytest.mark.parametrize("is_delivered", [True, False])
async def test_an_entry_that_waits_past_the_bound_makes_it_not_ready(
    health: Health, redis: Redis, is_delivered: bool
) -> None:
    """Whether nobody was given it or somebody keeps it."""
    await ensure_group(redis)
    milliseconds = int((await redis.time())[0]) * 1000
    limit = int(health.settings.max_lag_age)
    await redis.xadd(STREAM, fields_of(a_checkout()), id=f"{milliseconds - 1000 * (limit - 20)}-0")
    if is_delivered:
        await redis.xreadgroup(GROUP, "another", {STREAM: ">"})
    assert await health.is_ready(), "it may wait for so long"
    await redis.delete(STREAM)
    await ensure_group(redis)
    await redis.xadd(STREAM, fields_of(a_checkout()), id=f"{milliseconds - 1000 * (limit + 1)}-0")
    if is_delivered:
        await redis.xreadgroup(GROUP, "another", {STREAM: ">"})
    assert "has waited for" in (await look_at_state(health))["waiting"]
    assert not await health.is_ready()


async def test_what_waited_before_its_start_is_not_held_against_it(
    settings: Settings, redis: Redis, engine: AsyncEngine
) -> None:
    await ensure_group(redis)
    await redis.xadd(STREAM, fields_of(a_checkout()), id="1719-0")
    just_begun = Health(engine, redis, Intake(engine, redis, settings), settings, lambda: True, lambda: True)
    assert await just_begun.is_ready()
