"""A raw reader of the stream, a door at which shoppers listen, and the shop that is paid, with its consumer by hand."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.claims import ensure_group
from services.orders.entries import keep_raw
from shared.settings import Settings
from tests.integration.live_stage import Door, open_door
from tests.payments import PaidShop, Recorder, open_paid_shop, open_recorder
from tests.stripe_fake import FakeStripe


@pytest.fixture
async def reader(redis: Redis) -> Redis:
    """The test's client, reading streams raw, with the group created as the consumer does it."""
    keep_raw(redis)
    await ensure_group(redis)
    return redis


@pytest.fixture
async def door(settings: Settings) -> AsyncIterator[Door]:
    """The orders service, heard over HTTP."""
    async with open_door(settings) as door:
        yield door


@pytest.fixture
async def shop(settings: Settings, stripe: FakeStripe) -> AsyncIterator[PaidShop]:
    """The running shop."""
    stripe.outage = None
    async with open_paid_shop(settings, stripe) as shop:
        yield shop


@pytest.fixture
async def recorder(engine: AsyncEngine, settings: Settings) -> AsyncIterator[Recorder]:
    """Its consumer, which takes a step when it is told to."""
    async with open_recorder(engine, settings) as recorder:
        yield recorder
