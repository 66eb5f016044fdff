"""An entry that keeps killing its consumer is tried alone, and buried unread when it killed three times."""

from uuid import uuid4

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.claims import take_own
from services.orders.intake import Intake
from shared.settings import Settings
from shared.streams import LONE_ATTEMPTS, overlay_key
from tests.builders import a_checkout
from tests.integration.intake_stage import ADA, accept, deliver_often, pending
from tests.tables import count, reasons


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
