"""Hands what was accepted to the consumer's own step, as after a crash before its ack, and reads the rows."""

from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.entries import Entry
from services.orders.record_events import record_batch
from services.orders.tables import order_items, orders
from tests.model.checkout_model import Items, canonical

Row = tuple[str, Items, Decimal, str]
"""User, items, total, status."""


async def record_with_redelivery(engine: AsyncEngine, entries: Sequence[Entry]) -> None:
    """Records half, "crashes", is given everything, crashes, is given everything again."""
    for batch in (entries[: len(entries) // 2], entries, entries):
        result = await record_batch(engine, batch, "consumer-1")
        assert not result.buried, result.buried
    assert not result.recorded, "at the last delivery everything was known"


async def read_rows(engine: AsyncEngine) -> dict[UUID, Row]:
    """Every order that is recorded."""
    lines = (order_items.c.product_id, order_items.c.quantity)
    statement = (
        sa.select(
            orders.c.id,
            orders.c.user_id,
            orders.c.total,
            orders.c.status,
            *(sa.func.array_agg(column) for column in lines),
        )
        .outerjoin(order_items, order_items.c.order_id == orders.c.id)
        .group_by(orders.c.id, orders.c.user_id, orders.c.total, orders.c.status)
    )
    async with engine.connect() as connection:
        return {
            order_id: (user, canonical(dict(zip(products, quantities, strict=True))), total, status)
            for order_id, user, total, status, products, quantities in await connection.execute(statement)
        }
