"""What operators read: every user's recorded orders and the line items of a product, page by page. Writes nothing.

Pages follow a position, not an offset: an order that arrives between two pages moves nothing to another page.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import sqlalchemy as sa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.cursors import cursor_at, position_of
from services.orders.filters import Moment, conditions_of
from services.orders.queries import items_with, order_of, to_ms
from services.orders.tables import events, order_items, orders
from shared.events import ProductId, Status, UserId, iso_date, money_number
from shared.postgres import postgres_or_unavailable

MAX_PAGE = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_AWAY = "Orders cannot be read right now"


class Filters(BaseModel):
    """Which orders to show; every filter that is given must hold. `since` is included, `until` is not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: UserId | None = None
    status: Status | None = None
    since: Moment | None = Field(None, alias="from")
    until: Moment | None = Field(None, alias="to")
    order: UUID | None = None
    event: UUID | None = None
    payment_session: Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\x00]+$")] | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
    cursor: Annotated[str, AfterValidator(lambda cursor: position_of(cursor) and cursor)] | None = None


class OrderFilters(Filters):
    """The filters of the order list."""

    product: ProductId | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Public JSON objects, newest first, and the cursor of the page after it."""

    data: list[dict[str, Any]]
    next: str | None


async def list_all_orders(engine: AsyncEngine, filters: OrderFilters) -> Page:
    """Recorded orders with their line items as bought; raises Unavailable without Postgres."""
    items = items_with(title=order_items.c.title, unitPrice=order_items.c.unit_price)
    statement = sa.select(orders, sa.literal(0).label("line"), items)
    if filters.product is not None:
        bought = sa.select(order_items.c.order_id, order_items.c.user_id)
        bought = bought.where(order_items.c.product_id == filters.product)
        statement = statement.where(sa.tuple_(orders.c.id, orders.c.user_id).in_(bought))
    return await _read_page(
        engine, statement, [orders.c.created_at, orders.c.id], filters, lambda row: order_of(row).public()
    )


async def list_product_lines(engine: AsyncEngine, product_id: str, filters: Filters) -> Page:
    """Recorded line items of one product, with the order that each belongs to; raises Unavailable without Postgres."""
    statement = (
        sa.select(orders, order_items.c.line, order_items.c.title, order_items.c.unit_price, order_items.c.quantity)
        .join(order_items, sa.and_(order_items.c.order_id == orders.c.id, order_items.c.user_id == orders.c.user_id))
        .where(order_items.c.product_id == product_id)
    )
    return await _read_page(
        engine, statement, [orders.c.created_at, orders.c.id, order_items.c.line], filters, _line_json
    )


def _line_json(row: sa.Row[Any]) -> dict[str, Any]:
    return {
        "orderId": str(row.id),
        "userId": row.user_id,
        "status": row.status,
        "date": iso_date(to_ms(row.created_at)),
        "line": row.line,
        "title": row.title,
        "unitPrice": None if row.unit_price is None else money_number(row.unit_price),
        "quantity": row.quantity,
    }


async def _read_page(
    engine: AsyncEngine,
    statement: sa.Select[Any],
    order: Sequence[sa.ColumnElement[Any]],
    filters: Filters,
    render: Callable[[sa.Row[Any]], dict[str, Any]],
) -> Page:
    statement = statement.where(*_conditions(filters))
    if filters.cursor is not None:
        moment, order_id, line = position_of(filters.cursor)
        after = [_EPOCH + moment * _MICROSECOND, order_id, line][: len(order)]
        statement = statement.where(sa.tuple_(*order) < sa.tuple_(*map(sa.literal, after)))
    statement = statement.order_by(*(column.desc() for column in order)).limit(filters.limit + 1)
    async with postgres_or_unavailable(_AWAY), engine.connect() as connection:
        rows = (await connection.execute(statement)).all()
    shown = rows[: filters.limit]
    return Page([render(row) for row in shown], _cursor_of(shown[-1]) if len(rows) > filters.limit else None)


def _cursor_of(row: sa.Row[Any]) -> str:
    return cursor_at(row.created_at, row.id, row.line)


def _conditions(filters: Filters) -> list[sa.ColumnElement[bool]]:
    equal: dict[sa.Column[Any], Any] = {
        orders.c.user_id: filters.user,
        orders.c.status: filters.status,
        orders.c.id: filters.order,
        orders.c.payment_session_id: filters.payment_session,
    }
    conditions = conditions_of(equal, orders.c.created_at, filters.since, filters.until)
    if filters.event is not None:
        of_event = sa.select(events.c.order_id, events.c.user_id).where(events.c.event_id == filters.event)
        conditions.append(sa.tuple_(orders.c.id, orders.c.user_id).in_(of_event))
    return conditions
