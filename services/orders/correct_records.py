"""Redis' record of an order that was accepted again after the identity horizon: its status is brought to the row's."""

from collections.abc import Sequence
from uuid import UUID

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.redis import Script
from shared.streams import order_key

_CORRECT = Script(__package__, "correct_record.lua")
_MOVED = text("""
SELECT order_id, status FROM order_statuses
WHERE order_id = ANY(CAST(:order_ids AS uuid[])) AND status <> 'processing'
""")


async def correct_records(engine: AsyncEngine, redis: "Redis", order_ids: Sequence[UUID]) -> None:
    """Call it with checkouts that the archive knew already; raises what Redis and Postgres raise."""
    if not order_ids:
        return
    async with engine.connect() as connection:
        moved = (await connection.execute(_MOVED, {"order_ids": list(order_ids)})).all()
    for order_id, status in moved:
        await _CORRECT.run(redis, [order_key(order_id)], [status])
