"""Intake commits, then clears the overlay, then acks; it holds through outages and stops at the dead-letter limit."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.claims import claim_stranded, ensure_group, take_own
from services.orders.entries import Entry, entries_of, keep_raw
from services.orders.gauges import refresh_stream_gauges
from services.orders.intake import Intake, Stopped
from shared.events import Event, Status
from shared.observability import LAG_ENTRIES, PENDING_ENTRIES
from shared.settings import Settings
from shared.streams import GROUP, INTAKE_PAUSED, LONE_ATTEMPTS, STREAM, overlay_key
from tests.builders import a_change, a_checkout, fields_of
from tests.servers import Servers
from tests.waiting import until

ADA = "user_ada"


@pytest.fixture
async def reader(redis: Redis) -> Redis:
    """The test's client, reading streams raw, with the group created as the consumer does it."""
    keep_raw(redis)
    await ensure_group(redis)
    return redis


async def accept(redis: Redis, event: Event, event_id: UUID | None = None, **odd: Any) -> str:
    """Leaves an event in stream and overlay as accepting does; returns the entry id."""
    fields = fields_of(event, event_id) | odd
    await redis.hset(overlay_key(event.user_id), str(fields["event_id"]), b'{"accepted_at":1,"event":{}}')
    return (await redis.xadd(STREAM, fields)).decode()


async def poison(redis: Redis, how_many: int = 1) -> None:
    for _ in range(how_many):
        await redis.xadd(STREAM, {"payload": b"\xff"})


async def read_new(redis: Redis, consumer: str, how_many: int = 500) -> list[Entry]:
    answer = await redis.xreadgroup(GROUP, consumer, {STREAM: ">"}, count=how_many)
    return entries_of(answer[0][1]) if answer else []


async def pending(redis: Redis) -> int:
    return int((await redis.xpending(STREAM, GROUP))["pending"])


async def count(engine: AsyncEngine, table: str) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())


async def reasons(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        return list((await connection.execute(text("SELECT reason FROM dead_letters"))).scalars())


@asynccontextmanager
async def running(work: Any) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(work)
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def consumer(settings: Settings, name: str = "consumer-1", **more: Any) -> Settings:
    return settings.model_copy(update={"consumer": name, **more})


async def test_the_group_starts_at_the_first_entry_ever_written(
    reader: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    await reader.xgroup_destroy(STREAM, GROUP)
    await accept(reader, a_checkout())
    assert await ensure_group(reader)
    assert not await ensure_group(reader)
    assert len(await read_new(reader, "consumer-1")) == 1


async def test_what_is_committed_leaves_the_overlay_and_is_acked(
    reader: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    order_id, waiting = uuid4(), uuid4()
    await accept(reader, a_checkout(), order_id)
    await accept(reader, a_change(order_id, Status.PAID))
    await reader.hset(overlay_key(ADA), str(waiting), b"{}")  # accepted a moment later, not read yet
    await Intake(engine, reader, settings).take(await read_new(reader, settings.consumer))
    assert await reader.hkeys(overlay_key(ADA)) == [str(waiting).encode()]
    assert await pending(reader) == 0
    assert await count(engine, "events") == 2


async def test_a_buried_checkout_stays_visible_to_its_owner(
    reader: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    order_id = uuid4()
    await accept(reader, a_checkout(), order_id, accepted_at="yesterday")
    await Intake(engine, reader, settings).take(await read_new(reader, settings.consumer))
    assert await reader.hexists(overlay_key(ADA), str(order_id))
    assert await pending(reader) == 0
    assert await reasons(engine) == ["invalid_accepted_at"]


async def test_a_redelivery_after_the_commit_still_clears_the_overlay(
    reader: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    """The consumer died between its commit and the overlay."""
    order_id = uuid4()
    await accept(reader, a_checkout(), order_id)
    entries = await read_new(reader, settings.consumer)
    await Intake(engine, reader, settings).take(entries)
    await reader.hset(overlay_key(ADA), str(order_id), b"{}")
    await Intake(engine, reader, settings).take(entries)
    assert not await reader.exists(overlay_key(ADA))


async def test_own_pending_entries_are_taken_page_by_page(
    reader: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    mine = consumer(settings, batch_size=3)
    for number in range(8):
        await accept(reader, a_checkout(f"user_{number}"))
    assert len(await read_new(reader, mine.consumer)) == 8
    assert await take_own(reader, mine, Intake(engine, reader, mine)) == 8
    assert await pending(reader) == 0
    assert await count(engine, "orders") == 8


async def test_an_entry_deleted_while_pending_becomes_a_dead_letter(
    reader: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    entry_id = await accept(reader, a_checkout())
    await accept(reader, a_checkout("user_bob"))
    await read_new(reader, settings.consumer)
    await reader.xdel(STREAM, entry_id)
    await take_own(reader, settings, Intake(engine, reader, settings))
    assert await reasons(engine) == ["deleted"]
    assert await count(engine, "orders") == 1
    assert await pending(reader) == 0


async def test_entries_of_a_consumer_that_stays_away_are_claimed_in_large_pages(
    reader: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    for number in range(25):
        await accept(reader, a_checkout(f"user_{number}"))
    await read_new(reader, "consumer-lost")
    mine = consumer(settings, claim_after=0.05, batch_size=10)
    intake = Intake(engine, reader, mine)
    assert await until(lambda: claim_stranded(reader, mine, intake)) == 25
    assert await pending(reader) == 0
    assert await count(engine, "orders") == 25


async def test_an_answer_that_never_arrived_is_claimed_by_its_own_consumer(
    reader: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    """The connection broke after the server had given the entries: nobody reads them as new again."""
    await accept(reader, a_checkout())
    await read_new(reader, settings.consumer)
    mine = consumer(settings, claim_after=0.05)
    assert await until(lambda: claim_stranded(reader, mine, Intake(engine, reader, mine))) == 1
    assert await count(engine, "orders") == 1


async def test_young_entries_of_others_are_left_alone(reader: Redis, engine: AsyncEngine, settings: Settings) -> None:
    await accept(reader, a_checkout())
    await read_new(reader, "consumer-2")
    assert await claim_stranded(reader, settings, Intake(engine, reader, settings)) == 0
    assert await pending(reader) == 1


async def test_an_outage_of_postgres_holds_the_batch_and_nothing_is_acked(
    reader: Redis, engine: AsyncEngine, settings: Settings, servers: Servers
) -> None:
    await accept(reader, a_checkout())
    intake = Intake(engine, reader, settings)
    servers.postgres.kill()
    async with running(intake.take(await read_new(reader, settings.consumer))) as work:

        async def is_held() -> bool:
            return intake.is_waiting and intake.held_seconds > 0

        await until(is_held)
        assert await claim_stranded(reader, consumer(settings, claim_after=0.001), intake) == 0
        assert await pending(reader) == 1
        assert await reader.hlen(overlay_key(ADA)) == 1
        servers.postgres.start()
        await asyncio.wait_for(work, 30)
    assert await pending(reader) == 0
    assert await count(engine, "orders") == 1
    assert intake.held_seconds == 0


async def test_an_outage_of_redis_after_the_commit_is_waited_out(
    reader: Redis, engine: AsyncEngine, settings: Settings, servers: Servers
) -> None:
    await accept(reader, a_checkout())
    entries = await read_new(reader, settings.consumer)
    intake = Intake(engine, reader, settings)
    async with engine.connect() as connection:
        transaction = await connection.begin()
        await connection.execute(text("LOCK TABLE events IN ACCESS EXCLUSIVE MODE"))
        async with running(intake.take(entries)) as work:
            waiting = "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            await until(lambda: count(engine, waiting))
            servers.redis.kill()
            await transaction.rollback()
            await until(lambda: count(engine, "orders"))
            servers.redis.start()
            await asyncio.wait_for(work, 30)
    assert await pending(reader) == 0
    assert not await reader.exists(overlay_key(ADA))


async def test_a_held_batch_stays_pending_when_the_process_is_asked_to_end(
    reader: Redis, engine: AsyncEngine, settings: Settings, servers: Servers
) -> None:
    await accept(reader, a_checkout())
    intake = Intake(engine, reader, settings)
    servers.postgres.stop()
    async with running(intake.take(await read_new(reader, settings.consumer))) as work:

        async def is_held() -> bool:
            return intake.is_waiting

        await until(is_held)
        intake.stop()
        with pytest.raises(Stopped):
            await asyncio.wait_for(work, 10)
    assert await pending(reader) == 1


async def test_the_limit_of_dead_letters_pauses_intake_and_touches_nothing_beyond(
    reader: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    mine = consumer(settings, dead_letter_limit=5)
    await accept(reader, a_checkout("user_before"))
    await poison(reader, 9)
    await accept(reader, a_checkout("user_after"))
    intake = Intake(engine, reader, mine)
    async with running(intake.take(await read_new(reader, mine.consumer))) as work:
        await until(lambda: reader.exists(INTAKE_PAUSED))
        reason = (await reader.get(INTAKE_PAUSED)).decode()
        assert reason == "5 dead letters in a row; the last: missing_event_id"
        assert (await count(engine, "orders"), await count(engine, "dead_letters")) == (1, 5)
        assert await pending(reader) == 5
        assert intake.is_waiting
        await reader.delete(INTAKE_PAUSED)
        await asyncio.wait_for(work, 30)
    assert (await count(engine, "orders"), await count(engine, "dead_letters")) == (2, 9)
    assert await pending(reader) == 0


async def test_the_limit_is_exact_too_where_only_postgres_refuses(
    reader: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    mine = consumer(settings, dead_letter_limit=5)
    for number in range(12):
        await accept(reader, a_checkout(f"unlucky_{number}"))
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE orders ADD CONSTRAINT luck CHECK (user_id NOT LIKE 'unlucky%')"))
    try:
        intake = Intake(engine, reader, mine)
        async with running(intake.take(await read_new(reader, mine.consumer))):
            await until(lambda: reader.exists(INTAKE_PAUSED))
            assert await reasons(engine) == ["refused_by_postgres"] * 5
            assert await pending(reader) == 7
    finally:
        async with engine.begin() as connection:
            await connection.execute(text("ALTER TABLE orders DROP CONSTRAINT luck"))


async def test_a_whole_batch_is_one_transaction_although_it_is_longer_than_the_limit(
    reader: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    mine = consumer(settings, dead_letter_limit=5)
    for number in range(40):
        await accept(reader, a_checkout(f"user_{number}"))
        await poison(reader, 4 * (number % 10 == 0))
    await Intake(engine, reader, mine).take(await read_new(reader, mine.consumer))
    writers = "(SELECT xmin::text FROM events UNION SELECT xmin::text FROM dead_letters) AS transactions"
    assert await count(engine, writers) == 1
    assert (await count(engine, "orders"), await count(engine, "dead_letters")) == (40, 16)
    assert await pending(reader) == 0


async def test_nothing_is_acked_while_an_event_cannot_leave_the_overlay(
    reader: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    for user in ("user_before", ADA, "user_after"):
        await accept(reader, a_checkout(user))
    await reader.rename(overlay_key(ADA), "kept")
    await reader.set(overlay_key(ADA), "no hash")
    intake = Intake(engine, reader, settings)
    async with running(intake.take(await read_new(reader, settings.consumer))) as work:

        async def is_held() -> bool:
            return intake.is_waiting

        await until(is_held)
        assert (await count(engine, "orders"), await pending(reader)) == (3, 3)
        await reader.rename("kept", overlay_key(ADA))
        await asyncio.wait_for(work, 10)
    assert await pending(reader) == 0
    assert not await reader.exists(overlay_key(ADA))


async def test_one_good_entry_starts_the_count_again(reader: Redis, engine: AsyncEngine, settings: Settings) -> None:
    mine = consumer(settings, dead_letter_limit=4)
    intake = Intake(engine, reader, mine)
    for number in range(3):
        await poison(reader, 3)
        await accept(reader, a_checkout(f"user_{number}"))
    await intake.take(await read_new(reader, mine.consumer))
    await poison(reader, 2)
    await intake.take(await read_new(reader, mine.consumer))
    assert not await reader.exists(INTAKE_PAUSED)
    await poison(reader, 2)
    await intake.take(await read_new(reader, mine.consumer))
    assert await reader.exists(INTAKE_PAUSED)


async def test_a_consumer_that_starts_while_paused_stays_paused(
    reader: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    await reader.set(INTAKE_PAUSED, "an operator looks at it")
    await accept(reader, a_checkout())
    await read_new(reader, settings.consumer)
    intake = Intake(engine, reader, settings)
    async with running(take_own(reader, settings, intake)) as work:

        async def is_paused() -> bool:
            return intake.is_paused

        await until(is_paused)
        assert await count(engine, "orders") == 0
        await reader.delete(INTAKE_PAUSED)
        await asyncio.wait_for(work, 10)
    assert await count(engine, "orders") == 1


async def deliver_often(redis: Redis, settings: Settings, times: int) -> None:
    """What `times` starts that ended in a crash leave behind."""
    await read_new(redis, settings.consumer)
    for _ in range(times - 1):
        await redis.xreadgroup(GROUP, settings.consumer, {STREAM: "0"})


async def test_entries_delivered_too_often_are_tried_alone_and_recorded(
    reader: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    for number in range(4):
        await accept(reader, a_checkout(f"user_{number}"))
    await deliver_often(reader, settings, 3)
    await take_own(reader, settings, Intake(engine, reader, settings))
    writers = "(SELECT DISTINCT xmin::text FROM events) AS transactions"
    assert await count(engine, writers) == 4
    assert not await reader.exists(LONE_ATTEMPTS)
    assert await pending(reader) == 0


async def test_an_entry_that_died_alone_three_times_is_buried_unread(
    reader: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    order_id = uuid4()
    entry_id = await accept(reader, a_checkout(), order_id)
    await accept(reader, a_checkout("user_bob"))
    await deliver_often(reader, settings, 5)
    await reader.hset(LONE_ATTEMPTS, entry_id, 3)
    await take_own(reader, settings, Intake(engine, reader, settings))
    assert await reasons(engine) == ["kills_consumer"]
    assert await count(engine, "orders") == 1
    assert await reader.hexists(overlay_key(ADA), str(order_id))
    assert not await reader.exists(LONE_ATTEMPTS)
    assert await pending(reader) == 0


async def test_no_outage_is_counted_as_a_death(
    reader: Redis, engine: AsyncEngine, settings: Settings, servers: Servers
) -> None:
    await accept(reader, a_checkout())
    await deliver_often(reader, settings, 9)
    for how in (servers.postgres.kill, servers.postgres.stop, servers.postgres.kill, servers.postgres.kill):
        how()
        intake = Intake(engine, reader, settings)
        async with running(take_own(reader, settings, intake)):  # and then the platform ends the process, too

            async def is_held(intake: Intake = intake) -> bool:
                return intake.is_waiting

            await until(is_held)
        servers.postgres.start()
    assert not await reader.exists(LONE_ATTEMPTS)
    await take_own(reader, settings, Intake(engine, reader, settings))
    assert await count(engine, "orders") == 1
    assert await reasons(engine) == []


async def test_an_outage_in_the_middle_of_a_lone_attempt_takes_the_attempt_back(
    reader: Redis, engine: AsyncEngine, settings: Settings, servers: Servers
) -> None:
    await accept(reader, a_checkout())
    await deliver_often(reader, settings, 3)
    intake = Intake(engine, reader, settings)
    async with engine.connect() as connection:
        await connection.begin()
        await connection.execute(text("LOCK TABLE events IN ACCESS EXCLUSIVE MODE"))
        async with running(take_own(reader, settings, intake)):
            await until(lambda: reader.hlen(LONE_ATTEMPTS))
            servers.postgres.kill()

            async def is_taken_back() -> bool:
                return set(await reader.hvals(LONE_ATTEMPTS)) == {b"0"}

            await until(is_taken_back)
        await connection.invalidate()
    servers.postgres.start()
    await take_own(reader, settings, Intake(engine, reader, settings))
    assert await count(engine, "orders") == 1


async def test_lag_and_pending_are_counted_also_where_redis_keeps_no_lag(
    reader: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    for number in range(7):
        await accept(reader, a_checkout(f"user_{number}"))
    await read_new(reader, settings.consumer, 3)
    await refresh_stream_gauges(reader)
    assert (LAG_ENTRIES._value.get(), PENDING_ENTRIES._value.get()) == (4, 3)
