"""The archive as operators read it: whole orders of events, as the consumer's own arrivals. Writes nothing.

Whoever makes rows from it opens connections here: their search path says which tables the consumer's rule writes.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from services.orders.entries import Entry
from services.orders.parse_entry import Arrival
from services.orders.segments import Segment, SegmentStore, SegmentUnreadable, payloads_in
from shared.errors import TillrollError, Unrecordable
from shared.events import decode
from shared.postgres import sqlalchemy_url
from shared.settings import Settings
from shared.streams import ACCEPTED_AT, EVENT_ID, PAYLOAD

LIVE = "public"
"""The schema of the tables that everybody reads."""

DERIVED = ("orders", "order_items", "order_statuses")
"""The tables that are made from the archive alone. Dead letters are not: their entries never became events."""

COLUMNS = """
event_id, order_id, CAST(extract(epoch FROM accepted_at) * 1000 AS bigint) AS accepted_ms, content_hash,
CAST(payload AS text) AS payload, moved_to, stream, entry_id
"""


class ArchiveUnreadable(TillrollError):
    """An event of the archive cannot be read by this version: nothing was changed."""


def connect_operator(settings: Settings, process: str, search_path: str = LIVE) -> AsyncEngine:
    """An engine of fresh connections without a limit on a statement's time: an operator's statement may be long.

    Never pooled: a prepared statement does not notice a table that comes to stand before another in the path.
    """
    return create_async_engine(
        sqlalchemy_url(settings.database_url.get_secret_value()),
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={
            "timeout": 10,
            "server_settings": {"application_name": f"tillroll-{process}", "search_path": search_path},
        },
    )


_WRITTEN_FIRST = text(f"""
SELECT name FROM unnest(ARRAY['{LIVE}.event_owners', '{LIVE}.events']) WITH ORDINALITY AS first (name, position)
WHERE to_regclass(name) IS NOT NULL ORDER BY position -- before a rebuild a table may be missing
""")  # noqa: S608


async def hold_writers(connection: AsyncConnection, seconds: int = 5) -> None:
    """Makes this transaction the only writer until its end. Readers go on; raises DBAPIError after `seconds`.

    The first statements of every batch insert into these two, in this order: who waits there holds no other lock yet.
    """
    await connection.execute(text(f"SET LOCAL lock_timeout = '{seconds}s'"))
    there = (await connection.execute(_WRITTEN_FIRST)).scalars().all()
    await connection.execute(text(f"LOCK TABLE {', '.join(there)} IN SHARE ROW EXCLUSIVE MODE"))


_EVENTS_OF = text(f"""
SELECT {COLUMNS} FROM {LIVE}.events WHERE order_id = ANY(CAST(:order_ids AS uuid[])) ORDER BY accepted_at, event_id
""")  # noqa: S608  names of ours


async def events_of(connection: AsyncConnection, order_ids: Sequence[UUID]) -> list[Arrival]:
    """Every archived event of these orders, in the order of acceptance; raises as arrivals_of does."""
    return await arrivals_of(connection, (await connection.execute(_EVENTS_OF, {"order_ids": order_ids})).all())


async def arrivals_of(connection: AsyncConnection, rows: Sequence[Row[Any]]) -> list[Arrival]:
    """Rows of COLUMNS as the consumer had them before it; raises ArchiveUnreadable and SegmentUnreadable."""
    payloads = await read_payloads(connection, rows)
    return [_arrival(row, payloads[row.event_id]) for row in rows]


async def read_payloads(connection: AsyncConnection, rows: Iterable[Row[Any]]) -> dict[UUID, str]:
    """The payload of each row (of event_id, payload, moved_to, content_hash), from the row or from its segment.

    Opens each segment once and holds one at a time; raises SegmentUnreadable, never leaves a row out.
    """
    payloads: dict[UUID, str] = {}
    moved: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        if row.payload is not None:
            payloads[row.event_id] = row.payload
        else:
            moved[row.moved_to][str(row.event_id)] = row.content_hash
    segments = await find_segments(connection, list(moved)) if moved else {}
    for name, wanted in moved.items():
        if name not in segments:
            raise SegmentUnreadable(f"The table archive_segments lacks {name}: restore it together with `events`.")
        content = await SegmentStore(segments[name].url).read(name)
        found = await asyncio.to_thread(payloads_in, segments[name], content, wanted.items())
        payloads |= {UUID(event_id): payload for event_id, payload in found.items()}
    return payloads


_SEGMENTS = text(f"""
SELECT name, url, events, first_accepted_at, last_accepted_at, sha256, bytes FROM {LIVE}.archive_segments
WHERE CAST(:names AS text[]) IS NULL OR name = ANY(CAST(:names AS text[])) ORDER BY first_accepted_at, name
""")  # noqa: S608


async def find_segments(connection: AsyncConnection, names: Sequence[str] | None = None) -> dict[str, Segment]:
    """The segments of these names, or all of them, oldest first."""
    rows = await connection.execute(_SEGMENTS, {"names": names})
    return {row.name: Segment(*row) for row in rows}


def _arrival(row: Row[Any], payload: str) -> Arrival:
    fields = ((EVENT_ID, str(row.event_id)), (PAYLOAD, payload), (ACCEPTED_AT, str(row.accepted_ms)))
    entry = Entry(row.entry_id, tuple((name.encode(), value.encode()) for name, value in fields), row.stream)
    try:
        event = decode(payload)
    except Unrecordable as fault:
        raise ArchiveUnreadable(f"Event {row.event_id} of the archive cannot be read: {fault.detail}") from fault
    return Arrival(entry, row.event_id, row.accepted_ms, event, row.content_hash, payload)
