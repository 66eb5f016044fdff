"""Intake commits, then clears the overlay, then acks: a whole batch in one transaction, whatever happens between."""

import asyncio
from uuid import uuid4

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.intake import Intake
from shared.events import Status
from shared.settings import Settings
from shared.streams import overlay_key
from tests.builders import a_change, a_checkout
from tests.integration.intake_stage import ADA, accept, consumer, pending, poison, read_new, running
from tests.tables import count, reasons
from tests.waiting import until


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
        await until(lambda: intake.is_waiting)
        assert (await count(engine, "orders"), await pending(reader)) == (3, 3)
        await reader.rename("kept", overlay_key(ADA))
        await asyncio.wait_for(work, 10)
    assert await pending(reader) == 0
    assert not await reader.exists(overlay_key(ADA))
