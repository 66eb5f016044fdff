"""So many dead letters in a row pause intake, exactly at the limit, until an operator resumes it."""

import asyncio

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.claims import take_own
from services.orders.intake import Intake
from shared.settings import Settings
from shared.streams import INTAKE_PAUSED
from tests.builders import a_checkout
from tests.integration.intake_stage import accept, consumer, pending, poison, read_new, running
from tests.tables import count, execute, reasons
from tests.waiting import until


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
    await execute(engine, "ALTER TABLE orders ADD CONSTRAINT luck CHECK (user_id NOT LIKE 'unlucky%')")
    try:
        intake = Intake(engine, reader, mine)
        async with running(intake.take(await read_new(reader, mine.consumer))):
            await until(lambda: reader.exists(INTAKE_PAUSED))
            assert await reasons(engine) == ["refused_by_postgres"] * 5
            assert await pending(reader) == 7
    finally:
        await execute(engine, "ALTER TABLE orders DROP CONSTRAINT luck")


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
        await until(lambda: intake.is_paused)
        assert await count(engine, "orders") == 0
        await reader.delete(INTAKE_PAUSED)
        await asyncio.wait_for(work, 10)
    assert await count(engine, "orders") == 1
