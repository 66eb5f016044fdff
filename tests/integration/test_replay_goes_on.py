"""A replay that was paused or whose process died goes on where it was, at its rate, and no event goes twice."""

import asyncio
from collections.abc import Awaitable
from typing import Any
from uuid import UUID

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders import replay
from services.orders.audit import list_trail, verify_trail
from services.orders.replay import make_plan, pause_replay, plan_replay, run_replay, send_page, start_replay
from services.orders.replay_runs import Run, Status, read_run
from services.orders.replay_source import ReplayRange, Source
from shared.errors import ApiError
from shared.settings import Settings
from shared.streams import STREAM
from tests.builders import a_checkout
from tests.integration.operators import OLGA, consume
from tests.integration.orders_stage import accept
from tests.integration.replay_stage import consuming, counts, go, preview
from tests.tables import rows
from tests.waiting import until


async def test_what_a_replay_wrote_is_never_replayed_from_the_stream(
    engine: AsyncEngine, redis: Redis, settings: Settings
) -> None:
    for _ in range(3):
        await accept(redis, a_checkout())
    await consume(engine, redis, settings)
    for _ in range(3):
        run = await go(engine, redis, settings, await preview(engine, redis))
        assert run.sent == 3
    assert await redis.xlen(STREAM) == 12


async def test_a_replay_goes_on_where_it_was_wherever_its_process_died(
    engine: AsyncEngine, redis: Redis, settings: Settings
) -> None:
    for number in range(170):
        await accept(redis, a_checkout(f"user_{number}"), UUID(int=number + 1))
    await consume(engine, redis, settings)
    async with engine.begin() as connection:
        await connection.execute(text("TRUNCATE events, orders, order_items, order_statuses"))
    planned = await preview(engine, redis)
    await start_replay(engine, planned.run_id, OLGA)
    run = await send_page(engine, redis, await read_run(engine, planned.run_id))
    assert run.sent == 50
    note, died = replay.replay_runs.note_sent, asyncio.get_running_loop().create_future()

    async def die(*_args: Any) -> Any:
        died.set_result(True)
        raise ConnectionResetError

    replay.replay_runs.note_sent = die  # the page is in the stream, and no row says so
    try:
        with pytest.raises(ConnectionResetError):
            await send_page(engine, redis, run)
    finally:
        replay.replay_runs.note_sent = note
    assert (await read_run(engine, run.run_id)).sent == 50
    assert await redis.xlen(STREAM) == 270
    finished = await go(engine, redis, settings, run)
    assert (finished.sent, finished.result) == (170, counts(insert=170))
    assert await redis.xlen(STREAM) == 340, "no event went twice"
    assert await rows(engine, "SELECT count(*), count(DISTINCT entry_id) FROM replayed_events") == [(170, 170)]


async def test_two_processes_cannot_run_one_replay(engine: AsyncEngine, redis: Redis, settings: Settings) -> None:
    for number in range(400):
        await accept(redis, a_checkout(f"user_{number}"))
    await consume(engine, redis, settings)
    planned = await preview(engine, redis)
    async with consuming(engine, redis, settings):
        await start_replay(engine, planned.run_id, OLGA)
        both: list[Awaitable[Run]] = [run_replay(engine, redis, planned.run_id, OLGA) for _ in range(2)]
        outcomes = await asyncio.gather(*both, return_exceptions=True)
    assert sum(isinstance(outcome, Run) for outcome in outcomes) >= 1
    assert all(isinstance(outcome, Run | ApiError) for outcome in outcomes), outcomes
    assert (await read_run(engine, planned.run_id)).result == counts(already_there=400)
    assert await redis.xlen(STREAM) == 800


async def test_a_paused_replay_writes_nothing_until_it_goes_on(
    engine: AsyncEngine, redis: Redis, settings: Settings
) -> None:
    for number in range(120):
        await accept(redis, a_checkout(f"user_{number}"))
    await consume(engine, redis, settings)
    planned = await preview(engine, redis)
    with pytest.raises(ApiError, match="does not run"):
        await pause_replay(engine, planned.run_id, OLGA)
    await start_replay(engine, planned.run_id, OLGA)
    await send_page(engine, redis, await read_run(engine, planned.run_id))
    assert (await pause_replay(engine, planned.run_id, OLGA)).status == "paused"
    stopped = await run_replay(engine, redis, planned.run_id, OLGA)
    assert (stopped.status, stopped.sent, await redis.xlen(STREAM)) == (Status.PAUSED, 50, 170)
    finished = await go(engine, redis, settings, planned)
    assert (finished.sent, finished.result) == (120, planned.planned)
    trail = await list_trail(engine)
    assert {act["action"] for act in trail} == {"replay.run", "replay.pause", "replay.resume"}
    assert trail[0]["result"] == planned.planned
    assert trail[0]["dry_run"] == planned.planned
    assert (await verify_trail(engine)).findings == ()


async def _has_entries(redis: Redis, count: int) -> bool:
    return bool(await redis.xlen(STREAM) >= count)


async def _is_held(looked: list[bool]) -> bool:
    """Whether it has looked three times in a row and has had to wait each time."""
    return len(looked) > 3 and all(looked[-3:])


async def test_a_replay_keeps_its_rate_and_never_runs_far_ahead_of_the_consumer(
    engine: AsyncEngine, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[bool] = []

    async def look(client: Redis) -> bool:
        looked.append(await is_too_far_ahead(client))
        return looked[-1]

    is_too_far_ahead = replay._is_too_far_ahead
    monkeypatch.setattr(replay, "_is_too_far_ahead", look)
    monkeypatch.setattr(replay, "_AHEAD", 60)
    for number in range(200):
        await accept(redis, a_checkout(f"user_{number}"))
    await consume(engine, redis, settings)
    planned = await preview(engine, redis)
    await start_replay(engine, planned.run_id, OLGA)
    running = asyncio.create_task(run_replay(engine, redis, planned.run_id, OLGA))
    await until(lambda: _has_entries(redis, 300))
    await until(lambda: _is_held(looked))
    assert await redis.xlen(STREAM) == 300, "the page that crosses the limit is the last one"
    async with consuming(engine, redis, settings):
        assert (await running).result == counts(already_there=200)
    slow = await plan_replay(engine, redis, Source.STREAM, ReplayRange(first="0"), 400, OLGA)
    clock = asyncio.get_running_loop().time
    begun = clock()
    planned = await make_plan(engine, redis, slow.run_id)
    assert clock() - begun >= 100 / 400, "the second hundred waits for the first one's time"
    begun = clock()
    await go(engine, redis, settings, planned)
    assert clock() - begun >= 150 / 400
