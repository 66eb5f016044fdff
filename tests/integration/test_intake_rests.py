"""What comes soon after a batch shares the next one; a backlog is read on at once."""

import asyncio

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders import consumer as process
from services.orders.intake import Intake
from shared.settings import Settings
from tests.builders import a_checkout
from tests.integration.intake_stage import accept, consumer, pending, read_new, running
from tests.tables import count
from tests.waiting import until


async def test_the_consumer_rests_after_a_batch_that_was_not_full_and_after_no_other(
    reader: Redis, engine: AsyncEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_REST", 3600)
    mine = consumer(settings, batch_size=2)
    intake = Intake(engine, reader, mine)
    for number in range(5):
        await accept(reader, a_checkout(f"user_{number}"))
    for _ in range(2):
        await asyncio.wait_for(process._take(intake, await read_new(reader, mine.consumer, 2)), 30)
    async with running(process._take(intake, await read_new(reader, mine.consumer, 2))) as last:

        async def is_acked() -> bool:
            return await pending(reader) == 0

        await until(is_acked)
        assert await count(engine, "orders") == 5
        assert not last.done()
