"""Orders, line items and statuses from events that are new to the archive. Runs in its caller's transaction.

Any order of arrival and any number of consumers give the same rows: whoever touches an order first takes its row of
`order_statuses`, so that of an order and a change of it the second to be recorded always sees the first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.orders.dead_letters import DeadLetter, Reason
from services.orders.entries import MOMENT, Entry, id_parts
from services.orders.parse_entry import Arrival
from services.orders.statement import Statement
from services.orders.write_sessions import write_sessions
from shared.events import CheckoutCompleted, PaymentOpened, Status, StatusChanged, decode
from shared.streams import ACCEPTED_AT, EVENT_ID, PAYLOAD


@dataclass(slots=True)
class _Order:
    """What a change is judged by. `moved_at`: acceptance (ms) of the change that moved it in this transaction."""

    owner: str
    status: Status
    moved_at: int | None = None


async def write_orders(connection: AsyncConnection, recorded: Sequence[Arrival]) -> list[DeadLetter]:
    """Writes what `recorded` (events inserted by this transaction) means; returns the changes that may not be made."""
    checkouts = {item.order_id: item for item in recorded if isinstance(item.event, CheckoutCompleted)}
    changes = {item.event_id: item for item in recorded if isinstance(item.event, StatusChanged)}
    opened = [item for item in recorded if isinstance(item.event, PaymentOpened)]
    touched = {item.order_id: item.accepted_at for item in (*opened, *changes.values(), *checkouts.values())}
    if not touched:
        return []
    others = await _take_statuses(connection, touched)
    orders = {order_id: _Order(item.event.user_id, Status.PROCESSING) for order_id, item in checkouts.items()}
    if others:
        movers = {item.order_id: item.event.user_id for item in changes.values()}
        others_of = {key: movers[key] for key in others if key in movers and key not in checkouts}
        orders |= await _recorded_orders(connection, others_of)
        changes |= await _waiting_changes(connection, [order_id for order_id in others if order_id in checkouts])
    refused = _move(orders, changes.values())
    await _insert_orders(connection, checkouts, orders)
    await _update_statuses(connection, orders)
    waiting = [checkouts[order_id] for order_id in others if order_id in checkouts]
    await write_sessions(connection, {item.order_id: item.event.user_id for item in (*opened, *waiting)})
    return refused


_INSERT_STATUSES = Statement(f"""
INSERT INTO order_statuses (order_id, status, changed_at)
SELECT order_id, 'processing', {MOMENT}
FROM unnest(CAST(:order_ids AS uuid[]), CAST(:moments AS bigint[])) AS touched (order_id, ms)
ORDER BY order_id -- the order in which every consumer takes its locks
ON CONFLICT DO NOTHING
RETURNING order_id
""")  # noqa: S608  MOMENT is our own
_LOCK_STATUSES = text("""
SELECT order_id
FROM unnest(CAST(:order_ids AS uuid[])) AS touched (order_id) JOIN order_statuses status USING (order_id)
ORDER BY order_id FOR UPDATE OF status
""")


async def _take_statuses(connection: AsyncConnection, touched: Mapping[UUID, int]) -> list[UUID]:
    """Holds the status row of every touched order until the end of the transaction.

    Returns the orders whose row was there before: whoever wrote it has committed, and every later statement of this
    transaction (READ COMMITTED takes a new snapshot for each) sees all that it wrote. A row that this transaction
    inserted proves that no event of that order has been recorded yet.
    """
    answer = await _INSERT_STATUSES.run(connection, {"order_ids": list(touched), "moments": list(touched.values())})
    inserted = {order_id for (order_id,) in answer}
    others = [order_id for order_id in touched if order_id not in inserted]
    if others:
        await connection.execute(_LOCK_STATUSES, {"order_ids": others})
    return others


_OWN_ORDERS = text("""
SELECT id, recorded.user_id, recorded.status
FROM unnest(CAST(:order_ids AS uuid[]), CAST(:user_ids AS text[])) AS own (id, user_id)
JOIN orders recorded USING (id, user_id)
""")
_ANYBODYS_ORDERS = text("SELECT id, user_id, status FROM orders WHERE id = ANY(CAST(:order_ids AS uuid[]))")


async def _recorded_orders(connection: AsyncConnection, user_ids: Mapping[UUID, str]) -> dict[UUID, _Order]:
    """The orders that are recorded; `user_ids`: order id -> the user who says that it is theirs."""
    told = {"order_ids": list(user_ids), "user_ids": list(user_ids.values())}
    rows = (await connection.execute(_OWN_ORDERS, told)).all()
    found = {row.id for row in rows}
    if others := [order_id for order_id in user_ids if order_id not in found]:  # every partition is asked
        rows = [*rows, *await connection.execute(_ANYBODYS_ORDERS, {"order_ids": others})]
    return {order_id: _Order(owner, Status(status)) for order_id, owner, status in rows}


_WAITING_CHANGES = text("""
SELECT stream, entry_id, event_id, CAST(extract(epoch FROM accepted_at) * 1000 AS bigint), content_hash,
       CAST(payload AS text)
FROM events WHERE order_id = ANY(CAST(:order_ids AS uuid[])) AND type = 'order.status_changed'
""")


async def _waiting_changes(connection: AsyncConnection, order_ids: Sequence[UUID]) -> dict[UUID, Arrival]:
    """The changes, by event id, that were recorded before their orders."""
    changes = {}
    for stream, entry_id, event_id, at, digest, payload in await connection.execute(
        _WAITING_CHANGES, {"order_ids": order_ids}
    ):
        fields = ((EVENT_ID, str(event_id)), (PAYLOAD, payload), (ACCEPTED_AT, str(at)))
        entry = Entry(entry_id, tuple((name.encode(), value.encode()) for name, value in fields), stream)
        changes[event_id] = Arrival(entry, event_id, at, decode(payload), digest, payload)
    return changes


def _move(orders: Mapping[UUID, _Order], changes: Iterable[Arrival]) -> list[DeadLetter]:
    """Moves `orders` forward by `changes`, oldest acceptance first. One whose order is unknown waits in the archive."""
    refused = []
    for item in sorted(changes, key=lambda change: (change.accepted_at, id_parts(change.entry.entry_id))):
        assert isinstance(item.event, StatusChanged)
        order = orders.get(item.order_id)
        if order is None or (order.owner == item.event.user_id and order.status == item.event.status):
            continue
        if order.owner != item.event.user_id:
            refused.append(_refused(item, Reason.NOT_OWNER, "the order is another user's"))
        elif order.status is Status.PROCESSING:
            order.status, order.moved_at = item.event.status, item.accepted_at
        elif order.status is Status.CANCELLED:
            refused.append(_refused(item, Reason.PAID_AFTER_CANCEL, "paid money on a cancelled order"))
        else:
            refused.append(_refused(item, Reason.CANCELLED_AFTER_PAID, "a paid order stays paid"))
    return refused


def _refused(item: Arrival, reason: Reason, detail: str) -> DeadLetter:
    return DeadLetter(item.entry, reason, f"order {item.order_id}: {detail}", item.event_id, item.event.user_id)


# amounts go as text, and only here are made numbers: their binary form is made of Python's tuples of digits
_INSERT_ORDERS = Statement(f"""
INSERT INTO orders (id, user_id, total, status, created_at, payment_session_id)
SELECT id, user_id, CAST(total AS numeric), status, {MOMENT}, session
FROM unnest(CAST(:ids AS uuid[]), CAST(:user_ids AS text[]), CAST(:totals AS text[]), CAST(:statuses AS text[]),
            CAST(:moments AS bigint[]), CAST(:sessions AS text[])) AS made (id, user_id, total, status, ms, session)
""")  # noqa: S608  MOMENT is our own
_INSERT_ITEMS = Statement("""
INSERT INTO order_items (order_id, line, product_id, title, unit_price, quantity, user_id)
SELECT * FROM unnest(CAST(:order_ids AS uuid[]), CAST(:lines AS smallint[]), CAST(:product_ids AS text[]),
                     CAST(:titles AS text[]), CAST(CAST(:prices AS text[]) AS numeric[]),
                     CAST(:quantities AS integer[]), CAST(:user_ids AS text[]))
""")


async def _insert_orders(
    connection: AsyncConnection, checkouts: Mapping[UUID, Arrival], orders: Mapping[UUID, _Order]
) -> None:
    if not checkouts:
        return
    events = [(key, item.event) for key, item in checkouts.items() if isinstance(item.event, CheckoutCompleted)]
    await _INSERT_ORDERS.run(
        connection,
        {
            "ids": list(checkouts),
            "user_ids": [event.user_id for _, event in events],
            "totals": [str(event.total) for _, event in events],
            "statuses": [str(orders[order_id].status) for order_id in checkouts],
            "moments": [item.accepted_at for item in checkouts.values()],
            "sessions": [event.payment_session_id for _, event in events],
        },
    )
    lines = [
        (order_id, number, line, event.user_id)
        for order_id, event in events
        for number, line in enumerate(event.lines, 1)
    ]
    await _INSERT_ITEMS.run(
        connection,
        {
            "order_ids": [order_id for order_id, _, _, _ in lines],
            "lines": [number for _, number, _, _ in lines],
            "product_ids": [line.product_id for _, _, line, _ in lines],
            "titles": [line.title for _, _, line, _ in lines],
            "prices": [None if line.unit_price is None else str(line.unit_price) for _, _, line, _ in lines],
            "quantities": [line.quantity for _, _, line, _ in lines],
            "user_ids": [user_id for _, _, _, user_id in lines],
        },
    )


_UPDATE_STATUSES = text(f"""
WITH moved AS (
    SELECT order_id, user_id, status, {MOMENT} AS moved_at
    FROM unnest(CAST(:order_ids AS uuid[]), CAST(:user_ids AS text[]), CAST(:statuses AS text[]),
                CAST(:moments AS bigint[])) AS moved (order_id, user_id, status, ms)
), noted AS (
    UPDATE order_statuses SET status = moved.status, changed_at = moved.moved_at
    FROM moved WHERE order_statuses.order_id = moved.order_id
)
UPDATE orders SET status = moved.status
FROM moved WHERE orders.id = moved.order_id AND orders.user_id = moved.user_id AND orders.status <> moved.status
""")  # noqa: S608  MOMENT is our own


async def _update_statuses(connection: AsyncConnection, orders: Mapping[UUID, _Order]) -> None:
    moved = {order_id: order for order_id, order in orders.items() if order.moved_at is not None}
    if moved:
        await connection.execute(
            _UPDATE_STATUSES,
            {
                "order_ids": list(moved),
                "user_ids": [order.owner for order in moved.values()],
                "statuses": [str(order.status) for order in moved.values()],
                "moments": [order.moved_at for order in moved.values()],
            },
        )
