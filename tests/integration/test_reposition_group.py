"""The group can be moved back at will, forward over nothing that is not recorded, and trimming tells what would go."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders import trim_stream
from services.orders.entries import keep_raw
from services.orders.reposition_group import CannotReposition, reposition
from shared.redis import connect_redis
from shared.settings import Settings
from shared.streams import GROUP, STREAM
from tests.builders import a_checkout
from tests.integration.operators import consume, put


@pytest.fixture
async def raw(settings: Settings) -> AsyncIterator[Redis]:
    client = connect_redis(settings, "test-raw")
    keep_raw(client)
    yield client
    await client.aclose()


async def ids(redis: Redis) -> list[str]:
    return [entry_id.decode() for entry_id, _ in await redis.xrange(STREAM)]  # type: ignore[union-attr]


async def position(redis: Redis) -> str:
    [group] = await redis.xinfo_groups(STREAM)
    return str(group["last-delivered-id"].decode())


async def test_a_group_that_is_moved_back_gets_exactly_the_announced_entries_again_and_records_nothing_twice(
    settings: Settings, engine: AsyncEngine, redis: Redis, raw: Redis
) -> None:
    for number in range(25):
        await put(redis, a_checkout(f"user_{number}"))
    await consume(engine, redis, settings)
    entries = await ids(redis)
    planned = await reposition(raw, engine, entries[9], dry_run=True)
    assert (planned.before, planned.again, planned.passed) == (entries[-1], 15, 0)
    assert await position(redis) == entries[-1], "a dry run moves nothing"
    assert await reposition(raw, engine, entries[9], dry_run=False) == planned
    answer = await redis.xreadgroup(GROUP, "probe", {STREAM: ">"})
    assert len(answer[0][1]) == planned.again  # type: ignore[index]
    await redis.xgroup_setid(STREAM, GROUP, entries[9])
    await consume(engine, redis, settings)
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM orders"))).scalar() == 25


async def test_a_position_may_be_the_beginning_or_a_time(
    settings: Settings, engine: AsyncEngine, redis: Redis, raw: Redis
) -> None:
    for second in (1, 2, 3):
        await redis.xadd(STREAM, {"event_id": str(uuid4())}, id=f"{1_700_000_000_000 + second * 1000}-0")
    await consume(engine, redis, settings)
    assert (await reposition(raw, engine, "0", dry_run=True)).again == 3
    for time in ("2023-11-14T22:13:22Z", "2023-11-14T22:13:22", "2023-11-15T00:13:22+02:00"):
        assert (await reposition(raw, engine, time, dry_run=True)).again == 2
    with pytest.raises(CannotReposition, match="neither"):
        await reposition(raw, engine, "yesterday", dry_run=True)


async def test_the_group_never_passes_over_an_entry_that_is_not_recorded(
    settings: Settings, engine: AsyncEngine, redis: Redis, raw: Redis
) -> None:
    await put(redis, a_checkout("user_1"))
    await redis.xadd(STREAM, {"event_id": "buried"})
    await consume(engine, redis, settings)
    entries = await ids(redis)
    await reposition(raw, engine, "0", dry_run=False)
    moved = await reposition(raw, engine, entries[-1], dry_run=False)
    assert (moved.again, moved.passed) == (0, 2)
    await put(redis, a_checkout("user_2"))
    with pytest.raises(CannotReposition, match="not recorded"):
        await reposition(raw, engine, (await ids(redis))[-1], dry_run=False)
    assert await position(redis) == entries[-1]


async def test_without_a_group_there_is_nothing_to_move(
    settings: Settings, engine: AsyncEngine, raw: Redis, redis: Redis
) -> None:
    with pytest.raises(CannotReposition, match="no group"):
        await reposition(raw, engine, "0", dry_run=False)


async def test_a_dry_trim_counts_what_a_trim_takes_and_takes_nothing(
    settings: Settings, engine: AsyncEngine, redis: Redis, raw: Redis
) -> None:
    for number in range(7):
        await put(redis, a_checkout(f"user_{number}"))
    await consume(engine, redis, settings)
    await put(redis, a_checkout("user_waiting"))
    at_once = settings.model_copy(update={"stream_retention": 0.0})
    await redis.xadd(STREAM, {"event_id": "later"})
    planned = await trim_stream.run_once(engine, raw, at_once, dry_run=True)
    assert (planned.trimmed, await redis.xlen(STREAM)) == (7, 9)
    assert await trim_stream.run_once(engine, raw, at_once) == planned
    assert await redis.xlen(STREAM) == 2
