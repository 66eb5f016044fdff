"""The stream against the archive: what the group has acked must be an event of the same content, or a dead letter."""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.archive import LIVE, hold_writers
from services.orders.entries import Entry, entries_of
from services.orders.parse_entry import Arrival, parse_entry
from services.orders.reconcile import Discrepancy, Kind
from services.orders.reconcile_rows import make_shadows
from services.orders.record_events import record
from services.orders.trim_stream import acked_below, find_unarchived
from shared.errors import Unrecordable
from shared.events import CheckoutCompleted
from shared.streams import STREAM

_PAGE = 1000  # entries


async def compare_entries(
    engine: AsyncEngine, redis: "Redis", *, fix: bool
) -> AsyncIterator[tuple[int, list[Discrepancy]]] | None:
    """For each page, how many entries it had and what is wrong with them; None = no group has acked anything.

    `redis` is made raw by keep_raw. An ack comes after its commit: whatever lies below the acks is in the tables.
    """
    limit = await acked_below(redis)
    return None if limit is None else _pages(engine, redis, f"({limit[0]}-{limit[1]}", fix=fix)


async def _pages(
    engine: AsyncEngine, redis: "Redis", limit: str, *, fix: bool
) -> AsyncIterator[tuple[int, list[Discrepancy]]]:
    after = "-"
    while True:
        answer: Any = await redis.xrange(STREAM, min=after, max=limit, count=_PAGE)
        entries = entries_of(answer)
        if not entries:
            return
        missing = await find_unarchived(engine, entries)
        if missing and fix:
            await _record(engine, missing)
        fixed = set(missing) - set(await find_unarchived(engine, missing)) if fix else set()
        found = [_missing(entry, is_fixed=entry in fixed) for entry in missing]
        yield len(entries), found + await _different(engine, entries)
        after = f"({entries[-1].entry_id}"


def _missing(entry: Entry, *, is_fixed: bool) -> Discrepancy:
    try:
        arrival = parse_entry(entry)
    except Unrecordable as fault:
        expected = {"entry_id": entry.entry_id, "reason": fault.reason}
        return Discrepancy(Kind.MISSING, "dead_letters", entry.entry_id, None, expected, is_fixed=is_fixed)
    expected = {"entry_id": entry.entry_id, "type": arrival.event.type}
    return Discrepancy(
        Kind.MISSING, "events", str(arrival.event_id), str(arrival.order_id), expected, is_fixed=is_fixed
    )


_KNOWN_ORDERS = text(f"SELECT id FROM {LIVE}.orders WHERE id = ANY(CAST(:ids AS uuid[]))")  # noqa: S608


async def _record(engine: AsyncEngine, entries: Sequence[Entry]) -> None:
    """Records `entries` as the consumer would have; an order whose rows are there already keeps them as they are."""
    checkouts = {arrival.event_id: entry for entry in entries if (arrival := _checkout_in(entry))}
    async with engine.begin() as connection:
        await hold_writers(connection)
        known = set((await connection.execute(_KNOWN_ORDERS, {"ids": list(checkouts)})).scalars())
        there = [entry for event_id, entry in checkouts.items() if event_id in known]
        await record(connection, [entry for entry in entries if entry not in there], "reconcile")
    async with engine.begin() as connection:
        await hold_writers(connection)
        await make_shadows(connection)  # only the archive is written: the rows are compared with it afterwards
        await record(connection, there, "reconcile")


def _checkout_in(entry: Entry) -> Arrival | None:
    try:
        arrival = parse_entry(entry)
    except Unrecordable:
        return None
    return arrival if isinstance(arrival.event, CheckoutCompleted) else None


_ARCHIVED = text(f"""
SELECT event_id, content_hash, entry_id, CAST(payload AS text) AS payload
FROM {LIVE}.events WHERE event_id = ANY(CAST(:event_ids AS uuid[]))
""")  # noqa: S608
_BURIED = text(f"""
SELECT entry_id FROM {LIVE}.dead_letters WHERE stream = :stream AND entry_id = ANY(CAST(:entry_ids AS text[]))
""")  # noqa: S608


async def _different(engine: AsyncEngine, entries: Sequence[Entry]) -> list[Discrepancy]:
    """Entries whose event id the archive has with other content, and that are not set aside for it."""
    arrivals = []
    for entry in entries:
        try:
            arrivals.append(parse_entry(entry))
        except Unrecordable:
            continue
    async with engine.connect() as connection:
        ids: list[UUID] = [arrival.event_id for arrival in arrivals]
        rows = (await connection.execute(_ARCHIVED, {"event_ids": ids})).all()
        archived = {row.event_id: row for row in rows}
        differing = [arrival for arrival in arrivals if _differs(arrival, archived.get(arrival.event_id))]
        names = {"stream": STREAM, "entry_ids": [arrival.entry.entry_id for arrival in differing]}
        buried = set((await connection.execute(_BURIED, names)).scalars())
    return [
        Discrepancy(
            Kind.DIFFERENT,
            "events",
            str(arrival.event_id),
            str(arrival.order_id),
            {"entry_id": arrival.entry.entry_id, "payload": arrival.payload},
            {"entry_id": row.entry_id, "payload": row.payload},
        )
        for arrival in differing
        if arrival.entry.entry_id not in buried and (row := archived[arrival.event_id])
    ]


def _differs(arrival: Arrival, row: Any) -> bool:
    """The same entry must be the same bytes; another entry of that event, accepted again later, the same content.

    Of a payload that was moved out, the content's hash in its row is enough.
    """
    if row is None:
        return False
    return bool(
        row.payload != arrival.payload
        if row.entry_id == arrival.entry.entry_id and row.payload is not None
        else row.content_hash != arrival.content_hash
    )
