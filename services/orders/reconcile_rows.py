"""The archive against orders, line items and statuses, a page of orders at a time.

What the rows should be is not spelled here: the consumer's own rule makes them from the archived events, in temporary
tables that stand before the live ones. One snapshot sees an event and its rows together, or neither.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.orders.archive import DERIVED, LIVE, events_of, hold_writers
from services.orders.parse_entry import Arrival
from services.orders.reconcile import Discrepancy, Kind
from services.orders.write_orders import write_orders
from shared.events import StatusChanged, content_hash

_PAGE = 1000  # orders
_LAST = UUID(int=2**128 - 1)

Range = tuple[UUID, UUID]
"""The first and the last order id of a page, both included."""


async def count_orders(connection: AsyncConnection) -> int:
    """About how many orders there are to compare."""
    answer = await connection.execute(
        text(f"SELECT count(*) FROM {LIVE}.events WHERE type = 'checkout.completed'")  # noqa: S608
    )
    return int(answer.scalar_one())


async def compare_pages(
    engine: AsyncEngine, *, fix: bool, read_moved: bool = False
) -> AsyncIterator[tuple[int, int, list[Discrepancy]]]:
    """For each page, how many orders it had, how many were only looked for, and what is wrong with their rows.

    A checkout that was moved out is read back when its order misses rows, or with `read_moved`: pages go by order id,
    segments by time, so that each page would open nearly all of them. Raises SegmentUnreadable, and as Postgres does.
    """
    first: UUID | None = UUID(int=0)
    while first is not None:
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            last, orders = await _page_from(connection, first)
            page = (first, last)
            apart = [] if read_moved else await _moved_orders(connection, page)
            arrivals = await _make_expected(connection, page, apart)
            wrong = await _compare(connection, page, apart, arrivals)
        if fix and any(discrepancy.kind is Kind.MISSING for discrepancy in wrong):
            left = {discrepancy.name for discrepancy in await _fix(engine, page, apart)}
            wrong = [replace(discrepancy, is_fixed=discrepancy.name not in left) for discrepancy in wrong]
        yield orders, len(apart), wrong
        first = UUID(int=last.int + 1) if last != _LAST else None


_NEXT_IDS = text(f"""
SELECT id FROM (
    (SELECT DISTINCT order_id AS id FROM {LIVE}.events WHERE order_id >= :first ORDER BY 1 LIMIT :page)
    UNION (SELECT id FROM {LIVE}.orders WHERE id >= :first ORDER BY 1 LIMIT :page)
    UNION (SELECT order_id FROM {LIVE}.order_statuses WHERE order_id >= :first ORDER BY 1 LIMIT :page)
) AS known ORDER BY 1 LIMIT :page
""")  # noqa: S608


async def _page_from(connection: AsyncConnection, first: UUID) -> tuple[UUID, int]:
    """The last order id of the page that begins at `first`, and how many orders it has."""
    ids = (await connection.execute(_NEXT_IDS, {"first": first, "page": _PAGE})).scalars().all()
    return (ids[-1] if len(ids) == _PAGE else _LAST), len(ids)


_MOVED_ORDERS = text(f"""
SELECT order_id FROM {LIVE}.events moved
WHERE order_id BETWEEN :first AND :last AND moved_to IS NOT NULL
  AND EXISTS (SELECT FROM {LIVE}.orders there WHERE there.id = order_id AND there.user_id = moved.user_id)
  AND EXISTS (SELECT FROM {LIVE}.order_items there WHERE there.order_id = moved.order_id)
  AND EXISTS (SELECT FROM {LIVE}.order_statuses there WHERE there.order_id = moved.order_id)
""")  # noqa: S608


async def _moved_orders(connection: AsyncConnection, page: Range) -> list[UUID]:
    """The orders of `page` whose checkout was moved out and that have a row in every table."""
    bounds = {"first": page[0], "last": page[1]}
    return list((await connection.execute(_MOVED_ORDERS, bounds)).scalars())


_ORDERS_BETWEEN = text(f"""
SELECT DISTINCT order_id FROM {LIVE}.events
WHERE order_id BETWEEN :first AND :last AND order_id <> ALL(CAST(:apart AS uuid[]))
""")  # noqa: S608


async def _make_expected(connection: AsyncConnection, page: Range, apart: Sequence[UUID]) -> list[Arrival]:
    """Temporary tables with the rows that the archived events of `page` mean, but for the orders `apart`."""
    await make_shadows(connection)
    first, last = page
    bounds = {"first": first, "last": last, "apart": apart}
    ids = (await connection.execute(_ORDERS_BETWEEN, bounds)).scalars().all()
    arrivals = await events_of(connection, ids)
    await write_orders(connection, arrivals)
    return arrivals


async def make_shadows(connection: AsyncConnection) -> None:
    """Empty temporary tables before the live ones, until the end of this transaction."""
    # The path is named although temporary tables come first anyway: only a changed path is noticed by a statement
    # that was prepared before they were there.
    await connection.execute(text(f"SET LOCAL search_path = pg_temp, {LIVE}"))
    for table in DERIVED:
        await connection.execute(
            text(f"CREATE TEMPORARY TABLE {table} (LIKE {LIVE}.{table} INCLUDING INDEXES) ON COMMIT DROP")
        )


async def _fix(engine: AsyncEngine, page: Range, apart: Sequence[UUID]) -> list[Discrepancy]:
    """Adds the rows that are missing, while nobody else writes; returns what is still wrong."""
    async with engine.begin() as connection:
        await hold_writers(connection)
        arrivals = await _make_expected(connection, page, apart)
        for table in ("orders", "order_items", "order_statuses"):
            await connection.execute(
                text(f"INSERT INTO {LIVE}.{table} SELECT * FROM pg_temp.{table} ON CONFLICT DO NOTHING")  # noqa: S608
            )
        return await _compare(connection, page, apart, arrivals)


def _comparison(table: str, order_column: str, *keys: str, but: str = "") -> str:
    on = " AND ".join(f"expected.{key} = found.{key}" for key in keys)
    named = ", ".join(f"coalesce(expected.{key}, found.{key})" for key in keys)
    cut = f" - '{but}'" if but else ""
    return f"""
SELECT '{table}' AS name, concat_ws('/', {named}) AS key, coalesce(expected.{order_column}, found.{order_column}) AS id,
       to_jsonb(expected){cut} AS expected, to_jsonb(found){cut} AS found
FROM pg_temp.{table} expected FULL JOIN (
    SELECT * FROM {LIVE}.{table}
    WHERE {order_column} BETWEEN :first AND :last AND {order_column} <> ALL(CAST(:apart AS uuid[]))
) found ON {on}
WHERE to_jsonb(expected){cut} IS DISTINCT FROM to_jsonb(found){cut}
"""  # noqa: S608


_COMPARISONS = [
    text(_comparison("orders", "id", "id")),
    text(_comparison("order_items", "order_id", "order_id", "line")),
    # changed_at is the first touch, and which event touched an order first is decided by the race of two consumers
    text(_comparison("order_statuses", "order_id", "order_id", but="changed_at")),
]


async def _compare(
    connection: AsyncConnection, page: Range, apart: Sequence[UUID], arrivals: Sequence[Arrival]
) -> list[Discrepancy]:
    bounds = {"first": page[0], "last": page[1], "apart": apart}
    wrong = [row for query in _COMPARISONS for row in (await connection.execute(query, bounds)).all()]
    moves: dict[UUID, set[str]] = defaultdict(set)
    for arrival in arrivals:
        if isinstance(arrival.event, StatusChanged):
            moves[arrival.order_id].add(arrival.event.status)
    found = [_discrepancy(row) for row in wrong if not _is_contradictory_move(row, moves[row.id])]
    return [*_altered(arrivals), *found]


def _discrepancy(row: Row[Any]) -> Discrepancy:
    expected, found = row.expected, row.found
    if found is None:
        return Discrepancy(Kind.MISSING, row.name, row.key, str(row.id), expected)
    if expected is None:
        return Discrepancy(Kind.UNEXPECTED, row.name, row.key, str(row.id), found=found)
    differing = _differing(expected, found)
    return Discrepancy(
        Kind.DIFFERENT,
        row.name,
        row.key,
        str(row.id),
        {column: expected[column] for column in differing},
        {column: found[column] for column in differing},
    )


def _differing(expected: dict[str, Any], found: dict[str, Any]) -> Sequence[str]:
    return [column for column in expected if expected[column] != found.get(column)]


def _is_contradictory_move(row: Row[Any], moves: Iterable[str]) -> bool:
    """Of two moves that contradict each other the one that was recorded first counts; no clock knows which it was."""
    if row.expected is None or row.found is None or len(set(moves)) < 2:
        return False
    return list(_differing(row.expected, row.found)) == ["status"] and row.found["status"] in set(moves)


def _altered(arrivals: Sequence[Arrival]) -> list[Discrepancy]:
    """Events whose payload is not the one that was recorded."""
    return [
        Discrepancy(
            Kind.DIFFERENT,
            "events",
            str(arrival.event_id),
            str(arrival.order_id),
            {"content_hash": arrival.content_hash},
            {"content_hash": found},
        )
        for arrival in arrivals
        if (found := content_hash(arrival.event)) != arrival.content_hash
    ]
