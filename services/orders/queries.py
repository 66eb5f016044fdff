"""What shoppers read: recorded orders with what is accepted and not yet recorded folded over them. Writes nothing.

The overlay is read first and Postgres second. The consumer removes an event from the overlay after its commit; the
other way round an order that is recorded between the two reads would be in neither.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from redis.asyncio import Redis
from sqlalchemy.dialects.postgresql import JSON, aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.orders.cursors import cursor_at, position_of
from services.orders.entries import moment
from services.orders.overlay import Accepted, read_overlay
from services.orders.tables import events, order_items, orders
from shared.errors import Unavailable
from shared.events import CheckoutCompleted, KeyJoined, PaymentOpened, Status, StatusChanged, decode, order_json
from shared.postgres import postgres_or_unavailable
from shared.redis import redis_or_unavailable

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AWAY = "Orders cannot be read right now"


@dataclass(frozen=True, slots=True)
class Order:
    """An order as its owner sees it; `accepted_at` in ms since 1970, items in the order of their lines."""

    id: UUID
    user_id: str
    total: Decimal
    status: str
    accepted_at: int
    items: list[dict[str, Any]]
    payment_session_id: str | None

    def public(self) -> dict[str, Any]:
        """The contract's Order."""
        return order_json(
            self.id, self.user_id, self.total, self.accepted_at, self.status, self.items, self.payment_session_id
        )


@dataclass(frozen=True, slots=True)
class OwnOrders:
    """A user's orders, newest first. Partial: Redis was away, so only what is recorded is in it.

    `next`: the cursor of the page after it; None = there is none, or nobody asked for pages.
    """

    orders: list[Order]
    is_partial: bool
    next: str | None = None


async def list_orders(redis: Redis, engine: AsyncEngine, user_id: str) -> OwnOrders:
    """Every order of the user; raises Unavailable without Postgres."""
    return await _read_own(redis, engine, user_id, sa.true())


async def list_page(redis: Redis, engine: AsyncEngine, user_id: str, limit: int, cursor: str | None) -> OwnOrders:
    """The newest `limit` orders of the user, or those after `cursor`; raises Unavailable without Postgres.

    Raises ValueError for a cursor that is none of ours.
    """
    after = _after(cursor) if cursor is not None else None
    place = sa.tuple_(orders.c.created_at, orders.c.id)
    narrowed = sa.true() if after is None else place < sa.tuple_(sa.literal(moment(after[0])), sa.literal(after[1]))
    own = await _read_own(redis, engine, user_id, narrowed, limit + 1)
    left = [order for order in own.orders if after is None or (order.accepted_at, order.id) < after]
    shown = left[:limit]
    return OwnOrders(shown, own.is_partial, _cursor_of(shown[-1]) if len(left) > limit else None)


def _after(cursor: str) -> tuple[int, UUID]:
    """Milliseconds since 1970 and id of the last order that was shown."""
    microseconds, order_id, _line = position_of(cursor)
    return microseconds // 1000, order_id


def _cursor_of(order: Order) -> str:
    return cursor_at(moment(order.accepted_at), order.id)


async def find_order(redis: Redis, engine: AsyncEngine, user_id: str, order_id: UUID) -> Order | None:
    """The user's order of that id, or None; raises Unavailable without Postgres, or for a miss without Redis."""
    own = await _read_own(redis, engine, user_id, orders.c.id == order_id)
    return _first([order for order in own.orders if order.id == order_id], own.is_partial)


async def find_paid_by(redis: Redis, engine: AsyncEngine, user_id: str, payment_session_id: str) -> OwnOrders:
    """The user's order of that payment session, as a list of one or none; raises as find_order does."""
    if "\x00" in payment_session_id:  # Postgres cannot even be asked
        return OwnOrders([], is_partial=False)
    own = await _read_own(redis, engine, user_id, orders.c.payment_session_id == payment_session_id)
    found = _first([order for order in own.orders if order.payment_session_id == payment_session_id], own.is_partial)
    return replace(own, orders=[found] if found else [])


def _first(found: list[Order], is_partial: bool) -> Order | None:
    if not found and is_partial:
        raise Unavailable(_AWAY)
    return found[0] if found else None


async def _read_own(
    redis: Redis, engine: AsyncEngine, user_id: str, narrowed: sa.ColumnElement[bool], most: int | None = None
) -> OwnOrders:
    """The rows that `narrowed` means, at least the newest `most` of them, under everything in the overlay."""
    accepted: list[Accepted] = []
    is_partial = False
    try:
        async with redis_or_unavailable(_AWAY):
            accepted = await read_overlay(redis, user_id)
    except Unavailable:
        is_partial = True
    # A row also wins over its own overlay entry when the row is not among those asked for; and an entry may be about
    # a row that was recorded before.
    noted = [entry.event_id for entry in accepted if isinstance(entry.event, CheckoutCompleted)]
    noted += [entry.event.order_id for entry in accepted if isinstance(entry.event, PaymentOpened)]
    wanted = sa.or_(narrowed, _is_one_of(orders.c.id, noted)) if noted else narrowed
    statement = sa.select(orders, items_with()).where(orders.c.user_id == user_id, wanted)
    if most is not None:
        newest_first = orders.c.created_at.desc(), orders.c.id.desc()
        statement = statement.order_by(*newest_first).limit(most + len(noted))
    async with postgres_or_unavailable(_AWAY), engine.connect() as connection:
        # each statement is its own transaction anyway; this way BEGIN and ROLLBACK are no trips
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        rows = {row.id: order_of(row) for row in await connection.execute(statement)}
        ahead = await _recorded_ahead(connection, user_id, [order_id for order_id in noted if order_id not in rows])
    return OwnOrders(fold(rows.values(), [*ahead, *accepted]), is_partial)


async def _recorded_ahead(connection: AsyncConnection, user_id: str, order_ids: Sequence[UUID]) -> list[Accepted]:
    """What is recorded, and so gone from the overlay, before its orders are: another consumer has those."""
    if not order_ids:
        return []
    statement = sa.select(events.c.event_id, events.c.accepted_at, sa.cast(events.c.payload, sa.Text)).where(
        events.c.user_id == user_id,
        _is_one_of(events.c.order_id, order_ids),
        events.c.type.in_(("order.status_changed", "checkout.payment_opened")),
    )
    rows = await connection.execute(statement.order_by(events.c.accepted_at, events.c.event_id))
    return [Accepted(event_id, to_ms(accepted_at), decode(payload)) for event_id, accepted_at, payload in rows]


def _is_one_of(column: sa.ColumnElement[UUID], ids: Sequence[UUID]) -> sa.ColumnElement[bool]:
    """One array, not one parameter an id: Postgres takes no more than 32 767 of those."""
    return column == sa.any_(sa.literal(ids, sa.ARRAY(sa.Uuid)))


def items_with(**members: sa.ColumnElement[Any]) -> sa.Label[Any]:
    """The column `items`: the lines of an order, in order, as JSON objects of product, quantity and `members`."""
    shown = {"id": order_items.c.product_id, "quantity": order_items.c.quantity, **members}
    line = sa.func.json_build_object(*(part for name, column in shown.items() for part in (name, column)))
    lines = sa.func.json_agg(aggregate_order_by(line, order_items.c.line), type_=JSON)
    of_order = order_items.c.order_id == orders.c.id, order_items.c.user_id == orders.c.user_id
    return sa.select(lines).where(*of_order).scalar_subquery().label("items")


def order_of(row: sa.Row[Any]) -> Order:
    """The order in a row of `orders` with its `items`."""
    return Order(
        row.id, row.user_id, row.total, row.status, to_ms(row.created_at), row.items or [], row.payment_session_id
    )


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970, exactly."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def fold(rows: Iterable[Order], accepted: Iterable[Accepted]) -> list[Order]:
    """What the rows will be once everything in `accepted` is recorded, newest first.

    The consumer's own rule: a row wins over the checkout of the same id, and a status only moves forward.
    """
    folded = {row.id: row for row in rows}
    moves: list[StatusChanged] = []
    opened: list[PaymentOpened] = []
    for entry in accepted:
        match entry.event:
            case CheckoutCompleted() as checkout:
                folded.setdefault(entry.event_id, order_of_checkout(entry.event_id, entry.accepted_at, checkout))
            case StatusChanged() as move:
                moves.append(move)
            case PaymentOpened() as session:
                opened.append(session)
            case KeyJoined():
                pass
    for move in moves:
        order = folded.get(move.order_id)
        if order is not None and order.status == Status.PROCESSING:
            folded[order.id] = replace(order, status=move.status)
    for session in opened:
        if session.order_id in folded:
            folded[session.order_id] = replace(folded[session.order_id], payment_session_id=session.payment_session_id)
    return sorted(folded.values(), key=lambda order: (order.accepted_at, order.id), reverse=True)


def order_of_checkout(order_id: UUID, accepted_at: int, checkout: CheckoutCompleted) -> Order:
    """The order that a checkout is before anything moved it; `accepted_at` in ms."""
    return Order(
        order_id,
        checkout.user_id,
        checkout.total,
        Status.PROCESSING,
        accepted_at,
        [{"id": line.product_id, "quantity": line.quantity} for line in checkout.lines],
        checkout.payment_session_id,
    )
