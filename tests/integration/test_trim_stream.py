"""The stream loses only what every group has acked and the archive holds."""

from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.entries import entries_of
from services.orders.record_events import record_batch
from services.orders.trim_stream import TrimResult, run_once
from shared.settings import Settings
from shared.streams import GROUP, STREAM
from tests.builders import a_checkout, fields_of
from tests.waiting import until


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Nothing is young enough to be kept for its age."""
    return settings.model_copy(update={"stream_retention": 0.0})


async def add(redis: Redis, how_many: int) -> list[str]:
    """So many accepted checkouts, all of them in the past of Redis' clock."""
    ids = [(await redis.xadd(STREAM, fields_of(a_checkout()))).decode() for _ in range(how_many)]

    async def is_past() -> bool:
        seconds, microseconds = await redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000 > int(ids[-1].split("-")[0])

    await until(is_past)
    return ids


async def deliver(redis: Redis, engine: AsyncEngine, how_many: int, *, group: str = GROUP, acked: int) -> None:
    """Gives entries to a consumer of `group`, records all and acks the first `acked`."""
    answer: Any = await redis.xreadgroup(group, "consumer-1", {STREAM: ">"}, count=how_many)
    entries = entries_of(answer[0][1])
    await record_batch(engine, entries, "consumer-1")
    await redis.xack(STREAM, group, *[entry.entry_id for entry in entries[:acked]])


async def left(redis: Redis) -> list[str]:
    return [entry.entry_id for entry in entries_of(await redis.xrange(STREAM))]


async def test_acked_and_archived_entries_go_unread_ones_stay(
    reader: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    ids = await add(reader, 6)
    await deliver(reader, engine, 4, acked=4)
    assert await run_once(engine, reader, settings) == TrimResult(4)
    assert await left(reader) == ids[4:]
    assert await run_once(engine, reader, settings) == TrimResult(0)


async def test_nothing_from_the_oldest_pending_entry_on_goes(
    reader: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    ids = await add(reader, 6)
    await deliver(reader, engine, 6, acked=2)
    await reader.xack(STREAM, GROUP, ids[4])
    assert await run_once(engine, reader, settings) == TrimResult(2)
    assert await left(reader) == ids[2:]


async def test_every_group_counts_and_ours_must_exist(reader: Redis, engine: AsyncEngine, settings: Settings) -> None:
    ids = await add(reader, 5)
    await reader.xgroup_create(STREAM, "analytics", id="0")
    await deliver(reader, engine, 5, acked=5)
    assert await run_once(engine, reader, settings) == TrimResult(0)
    await deliver(reader, engine, 3, group="analytics", acked=3)
    assert await run_once(engine, reader, settings) == TrimResult(3)
    await reader.xgroup_destroy(STREAM, GROUP)
    await deliver(reader, engine, 2, group="analytics", acked=2)
    assert await run_once(engine, reader, settings) == TrimResult(0)
    assert await left(reader) == ids[3:]


async def test_an_acked_entry_that_no_table_holds_stays_with_all_that_follow(
    reader: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    ids = await add(reader, 2)
    await deliver(reader, engine, 2, acked=2)
    lost = (await reader.xadd(STREAM, fields_of(a_checkout(), uuid4()))).decode()
    answer: Any = await reader.xreadgroup(GROUP, "consumer-1", {STREAM: ">"})
    assert answer
    await reader.xack(STREAM, GROUP, lost)  # by hand: nobody recorded it
    last = await add(reader, 2)
    await deliver(reader, engine, 2, acked=2)
    assert await run_once(engine, reader, settings) == TrimResult(2, unarchived=lost)
    assert await left(reader) == [lost, *last]
    assert ids


async def test_a_dead_letter_counts_as_kept(reader: Redis, engine: AsyncEngine, settings: Settings) -> None:
    await reader.xadd(STREAM, {"payload": b"\xff"})
    await add(reader, 1)
    await deliver(reader, engine, 2, acked=2)
    assert await run_once(engine, reader, settings) == TrimResult(2)


async def test_young_entries_stay(reader: Redis, engine: AsyncEngine, settings: Settings) -> None:
    await add(reader, 3)
    await deliver(reader, engine, 3, acked=3)
    hour = settings.model_copy(update={"stream_retention": 3600.0})
    assert await run_once(engine, reader, hour) == TrimResult(0)


async def test_many_pages_go_at_once_and_no_stream_is_no_error(
    reader: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    await add(reader, 2500)
    await deliver(reader, engine, 2500, acked=2500)
    assert await run_once(engine, reader, settings) == TrimResult(2500)
    await reader.delete(STREAM)
    assert await run_once(engine, reader, settings) == TrimResult()
