"""Previews and runs of replays beside a consumer that takes what comes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.replay import make_plan, plan_replay, run_replay, start_replay
from services.orders.replay_runs import Run
from services.orders.replay_source import ReplayRange, Source
from shared.settings import Settings
from tests.integration.operators import OLGA, consume

EVERYTHING = ReplayRange()


@asynccontextmanager
async def consuming(engine: AsyncEngine, redis: Redis, settings: Settings) -> AsyncIterator[None]:
    """A consumer that takes what comes."""

    is_over = asyncio.Event()

    async def work() -> None:
        while not is_over.is_set():
            await consume(engine, redis, settings)
            await asyncio.sleep(0.005)

    task = asyncio.create_task(work())
    try:
        yield
    finally:
        is_over.set()
        await task


async def preview(engine: AsyncEngine, redis: Redis, chosen: ReplayRange = EVERYTHING, source: str = "stream") -> Run:
    opened = await plan_replay(engine, redis, Source(source), chosen, 5000, OLGA)
    return await make_plan(engine, redis, opened.run_id)


async def go(engine: AsyncEngine, redis: Redis, settings: Settings, run: Run) -> Run:
    async with consuming(engine, redis, settings):
        await start_replay(engine, run.run_id, OLGA)
        return await run_replay(engine, redis, run.run_id, OLGA)


def counts(**found: int) -> dict[str, int]:
    return {"insert": 0, "already_there": 0, "conflict": 0, "reject": 0, "total": sum(found.values())} | found
