"""An outage of Postgres or Redis holds the batch: nothing is acked, nothing is buried, no death is counted."""

import asyncio

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.claims import claim_stranded, take_own
from services.orders.intake import Intake, Stopped
from shared.settings import Settings
from shared.streams import LONE_ATTEMPTS, overlay_key
from tests.builders import a_checkout
from tests.integration.intake_stage import ADA, accept, consumer, deliver_often, pending, read_new, running
from tests.servers import Servers
from tests.tables import blocked, count, reasons
from tests.waiting import until


async def test_an_outage_of_postgres_holds_the_batch_and_nothing_is_acked(
    reader: Redis, engine: AsyncEngine, settings: Settings, servers: Servers
) -> None:
    await accept(reader, a_checkout())
    intake = Intake(engine, reader, settings)
    servers.postgres.kill()
    async with running(intake.take(await read_new(reader, settings.consumer))) as work:
        await until(lambda: intake.is_waiting and intake.held_seconds > 0)
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
            await blocked(engine)
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
        await until(lambda: intake.is_waiting)
        intake.stop()
        with pytest.raises(Stopped):
            await asyncio.wait_for(work, 10)
    assert await pending(reader) == 1


async def test_no_outage_is_counted_as_a_death(
    reader: Redis, engine: AsyncEngine, settings: Settings, servers: Servers
) -> None:
    await accept(reader, a_checkout())
    await deliver_often(reader, settings, 9)
    for how in (servers.postgres.kill, servers.postgres.stop, servers.postgres.kill, servers.postgres.kill):
        how()
        intake = Intake(engine, reader, settings)
        async with running(take_own(reader, settings, intake)):  # and then the platform ends the process, too
            await until(lambda intake=intake: intake.is_waiting)
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
