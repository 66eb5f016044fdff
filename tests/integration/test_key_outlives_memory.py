"""A key that comes back after the identity horizon: the same order, with the status that its row has."""

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.change_status import Refused, change_status
from services.orders.claims import ensure_group, take_own
from services.orders.entries import keep_raw
from services.orders.intake import Intake
from services.orders.queries import list_orders
from shared.events import Status
from shared.redis import connect_redis
from shared.settings import Settings
from shared.streams import GROUP, STREAM, order_key
from tests.shop import open_shop


async def _record_all(engine: AsyncEngine, settings: Settings) -> None:
    redis = connect_redis(settings, "test-consumer")
    keep_raw(redis)
    try:
        await ensure_group(redis)
        await redis.xreadgroup(GROUP, settings.consumer, {STREAM: ">"})
        await take_own(redis, settings, Intake(engine, redis, settings))
    finally:
        await redis.aclose()


@pytest.mark.parametrize(("made", "wanted"), [(Status.PAID, Status.CANCELLED), (Status.CANCELLED, Status.PAID)])
async def test_an_order_that_was_moved_cannot_be_moved_again_by_its_old_key(
    settings: Settings, redis: Redis, engine: AsyncEngine, made: Status, wanted: Status
) -> None:
    async with open_shop(settings) as shop:
        first = (await shop.order("ada", {"1": 1}, idempotency_key="till-roll-1")).json()["data"]
        order_id = first["id"]
        await change_status(redis, engine, settings, "ada", order_id, made)  # type: ignore[arg-type]
        await _record_all(engine, settings)
        await redis.delete(order_key(order_id), *await redis.keys("till:*:name:*"))
        again = await shop.order("ada", {"1": 1}, idempotency_key="till-roll-1")
    assert (again.status_code, again.json()["data"]["id"]) == (201, order_id)
    await _record_all(engine, settings)
    outcome = await change_status(redis, engine, settings, "ada", order_id, wanted)  # type: ignore[arg-type]
    assert isinstance(outcome, Refused)
    assert outcome.order.status == made
    [order] = (await list_orders(redis, engine, "ada")).orders
    assert (order.public()["date"], order.status) == (first["date"], made)
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM orders"))).scalar_one() == 1
