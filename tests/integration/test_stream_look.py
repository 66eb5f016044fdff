"""What is seen of the stream is what is there; what cannot be known is said to be unknown."""

from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from services.orders import backlog
from services.orders.claims import ensure_group
from services.orders.look_at_stream import list_entries, look_at_stream
from services.orders.replay_source import ReplayRange
from shared.streams import GROUP, STREAM
from tests.builders import a_checkout, fields_of
from tests.waiting import until


async def add(redis: Redis, user: str = "user_ada", entry_id: str = "*") -> str:
    entry: Any = fields_of(a_checkout(user))
    return (await redis.xadd(STREAM, entry, id=entry_id)).decode()


async def test_an_empty_shop_has_an_empty_stream(redis: Redis) -> None:
    look = await look_at_stream(redis)
    assert (look.length, look.first_id, look.last_id, look.groups) == (0, None, None, [])


async def test_lag_pending_and_idle_are_told_in_entries_and_seconds(redis: Redis) -> None:
    seconds = int((await redis.time())[0])
    ids = [await add(redis, entry_id=f"{(seconds - age) * 1000}-0") for age in (50, 40, 30, 20)]
    await ensure_group(redis)
    await redis.xreadgroup(GROUP, "consumer-1", {STREAM: ">"}, count=2)
    await redis.xack(STREAM, GROUP, ids[0])
    await redis.xreadgroup(GROUP, "consumer-1", {STREAM: ids[0]}, count=1)  # delivered once more
    look = await look_at_stream(redis)
    [group] = look.groups
    assert (look.length, look.first_id, look.last_id) == (4, ids[0], ids[3])
    assert (group.name, group.lag_entries, group.pending, group.last_delivered_id) == ("orders", 2, 1, ids[1])
    assert group.lag_seconds == pytest.approx(30, abs=2)
    assert group.oldest_pending is not None
    assert (group.oldest_pending.entry_id, group.oldest_pending.consumer) == (ids[1], "consumer-1")
    assert group.oldest_pending.deliveries == 2
    assert group.oldest_pending.age_seconds == pytest.approx(40, abs=2)
    [consumer] = group.consumers
    assert (consumer.name, consumer.pending) == ("consumer-1", 1)
    await until(lambda: _has_rested(redis, 0.05))


async def _has_rested(redis: Redis, seconds: float) -> bool:
    return (await look_at_stream(redis)).groups[0].consumers[0].idle_seconds >= seconds


async def test_a_lag_that_redis_forgot_is_counted_or_unknown_and_never_zero(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ensure_group(redis)
    ids = [await add(redis) for _ in range(6)]
    await redis.xreadgroup(GROUP, "consumer-1", {STREAM: ">"}, count=1)
    await redis.xdel(STREAM, ids[3])
    [group] = (await look_at_stream(redis)).groups
    assert group.lag_entries == 4
    monkeypatch.setattr(backlog, "_CHUNK", 1)
    monkeypatch.setattr(backlog, "_MOST", 2)  # more than anyone would count
    [group] = (await look_at_stream(redis)).groups
    assert group.lag_entries is None
    assert group.lag_seconds is not None


async def test_a_group_that_has_been_given_everything_lags_zero_seconds(redis: Redis) -> None:
    await ensure_group(redis)
    await add(redis)
    await redis.xreadgroup(GROUP, "consumer-1", {STREAM: ">"})
    [group] = (await look_at_stream(redis)).groups
    assert (group.lag_entries, group.lag_seconds, group.pending) == (0, 0.0, 1)


async def test_entries_are_found_by_id_and_content_newest_first(redis: Redis) -> None:
    ids = [await add(redis, f"user_{number % 3}") for number in range(9)]
    await redis.xadd(STREAM, {b"payload": b"\xff"})
    assert [entry.entry_id for entry in (await list_entries(redis, ReplayRange(user="user_1"))).entries] == [
        ids[7], ids[4], ids[1],
    ]  # fmt: skip
    ranged = await list_entries(redis, ReplayRange(first=ids[2], last=ids[4]))
    assert [entry.entry_id for entry in ranged.entries] == [ids[4], ids[3], ids[2]]
    assert (await list_entries(redis, ReplayRange(event=uuid4()))).entries == []
    seen, before = [], None
    while True:
        page = await list_entries(redis, ReplayRange(), limit=4, before=before)
        seen += [entry.entry_id for entry in page.entries]
        before = page.next
        if before is None:
            break
    assert len(seen) == len(set(seen)) == 10
    assert seen[1:] == ids[::-1]
