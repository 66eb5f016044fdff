"""Whatever a consumer was given is taken to its end: by itself, or by another once it stays away."""

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.claims import claim_stranded, ensure_group, take_own
from services.orders.intake import Intake
from shared.settings import Settings
from shared.streams import GROUP, STREAM
from tests.builders import a_checkout
from tests.integration.intake_stage import accept, consumer, pending, read_new
from tests.tables import count, reasons
from tests.waiting import until


async def test_the_group_starts_at_the_first_entry_ever_written(
    reader: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    await reader.xgroup_destroy(STREAM, GROUP)
    await accept(reader, a_checkout())
    assert await ensure_group(reader)
    assert not await ensure_group(reader)
    assert len(await read_new(reader, "consumer-1")) == 1


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
