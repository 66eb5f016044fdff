"""Moves payloads of old events out of Postgres into segments. Event id, content hash and all else stay for ever.

A payload leaves its row only after its segment was read back and found whole; each segment is one transaction.
Moves checkouts alone: the consumer reads the others again beside what is new, and so never waits for a segment.
"""

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.orders.archive import LIVE
from services.orders.entries import moment
from services.orders.segments import MOST_EVENTS, MOST_TEXT, Segment, SegmentStore, lines_of, pack
from shared.errors import TillrollError, Unrecordable
from shared.events import content_hash, decode

_LOCK = 7_411_014  # any constant; only moves take it

Progress = Callable[[int, int], None]
"""Told how many events are moved, of how many."""


class CannotMove(TillrollError):
    """What was moved before stays moved; the sentence says why nothing more is."""


class Step(StrEnum):
    """Where a move may die."""

    WRITTEN = "written"
    VERIFIED = "verified"
    MARKED = "marked"  # within the transaction, before its commit
    COMMITTED = "committed"


class Crash(Exception):
    """The process dies here, in a test."""


@dataclass(slots=True)
class Moved:
    """`events` and `bytes` of payload that left Postgres (of a dry run: that would), and the segments they are in."""

    events: int = 0
    bytes: int = 0
    segments: list[Segment] = field(default_factory=list)

    def public(self) -> dict[str, Any]:
        """JSON's view of it."""
        segments = [{**asdict(segment), "place": segment.place} for segment in self.segments]
        return {"events": self.events, "bytes": self.bytes, "segments": segments}


def require_age(older_than: timedelta, horizon: timedelta) -> None:
    """Raises CannotMove for an age below the identity horizon: Redis' names are reloaded from those payloads."""
    if older_than < horizon:
        raise CannotMove(
            f"What is younger than the identity horizon ({horizon.days} days, TILLROLL_IDENTITY_DAYS) stays in "
            "Postgres: the names of checkouts are reloaded from it when Redis is lost."
        )


async def move_payloads(
    engine: AsyncEngine,
    store: SegmentStore,
    older_than: timedelta,
    *,
    dry_run: bool = False,
    tell: Progress = lambda _done, _total: None,
    most: int = MOST_EVENTS,
    crash_at: Step | None = None,
) -> Moved:
    """Moves the checkout of every order to which nothing has happened for `older_than`, which require_age has let pass.

    Killed anywhere, it has lost and doubled nothing, and is simply run again. At most `most` events make a segment.
    Raises CannotMove, SegmentUnreadable and what Postgres raises.
    """
    async with engine.connect() as guard:
        await guard.execution_options(isolation_level="AUTOCOMMIT")
        if not (await guard.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK})).scalar():
            raise CannotMove("Another move is running.")
        try:
            now: datetime = (await guard.execute(text("SELECT clock_timestamp()"))).scalar_one()
            before = now - older_than
            total, size = (await guard.execute(_TOTAL, {"before": before})).one()
            if dry_run:
                return Moved(total, size)
            moved = Moved()
            at, after = moment(0), UUID(int=0)
            tell(0, total)
            while page := (await _read(engine, before, at, after, most)):
                moved.segments.append(await _move(engine, store, page, crash_at))
                moved.events += len(page)
                moved.bytes += sum(len(row.payload.encode()) for row in page)
                at, after = page[-1].accepted_at, page[-1].event_id
                tell(moved.events, max(moved.events, total))
            return moved
        finally:
            await guard.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})


_ELIGIBLE = f"""
type = 'checkout.completed' AND payload IS NOT NULL AND accepted_at < :before
AND NOT EXISTS ( -- a key that joined lately is reloaded with its checkout, however old that is
    SELECT FROM {LIVE}.events young WHERE young.order_id = event.order_id AND young.accepted_at >= :before)
"""
_TOTAL = text(f"""
SELECT count(*), CAST(coalesce(sum(octet_length(CAST(payload AS text))), 0) AS bigint)
FROM {LIVE}.events event WHERE {_ELIGIBLE}
""")  # noqa: S608
_PAGE = text(f"""
WITH page AS (
    SELECT event_id, type, user_id, order_id, content_hash, CAST(payload AS text) AS payload, stream, entry_id,
           accepted_at, recorded_at, consumer, traceparent
    FROM {LIVE}.events event WHERE (accepted_at, event_id) > (:at, :after) AND {_ELIGIBLE}
    ORDER BY accepted_at, event_id LIMIT :most
), sized AS (
    SELECT *, sum(octet_length(payload)) OVER (ORDER BY accepted_at, event_id) - octet_length(payload) AS text_before
    FROM page
)
SELECT * FROM sized WHERE text_before < :most_text ORDER BY accepted_at, event_id
""")  # noqa: S608


async def _read(engine: AsyncEngine, before: datetime, at: datetime, after: UUID, most: int) -> list[Any]:
    bounds = {"before": before, "at": at, "after": after, "most": most, "most_text": MOST_TEXT}
    async with engine.connect() as connection:
        return list((await connection.execute(_PAGE, bounds)).all())


async def _move(engine: AsyncEngine, store: SegmentStore, page: list[Any], crash_at: Step | None) -> Segment:
    segment, content = await asyncio.to_thread(pack, page, store.url)
    await store.write(segment.name, content)
    _die(Step.WRITTEN, crash_at)
    await asyncio.to_thread(_verify, segment, await store.read(segment.name), page)
    _die(Step.VERIFIED, crash_at)
    async with engine.begin() as connection:
        await _mark(connection, segment, page)
        _die(Step.MARKED, crash_at)
    _die(Step.COMMITTED, crash_at)
    return segment


def _die(step: Step, crash_at: Step | None) -> None:
    if step is crash_at:
        raise Crash(step)


def _verify(segment: Segment, content: bytes, page: list[Any]) -> None:
    """What was read back holds these rows, and each is what was recorded: an altered payload is not moved."""
    held = [(line["event_id"], line["payload"], line["content_hash"]) for line in lines_of(segment, content)]
    if held != [(str(row.event_id), row.payload, row.content_hash) for row in page]:
        raise CannotMove(f"The segment {segment.place} does not hold what was written to it: nothing of it was moved.")
    for event_id, payload, digest in held:
        if hash_of(payload) != digest:
            raise CannotMove(f"Event {event_id} is not what was recorded, and stays: see `tillroll reconcile`.")


def hash_of(payload: str) -> str | None:
    """The hash of a payload's content; None = no event can be read from it."""
    try:
        return content_hash(decode(payload))
    except Unrecordable:
        return None


_LIST = text(f"""
INSERT INTO {LIVE}.archive_segments (name, url, events, first_accepted_at, last_accepted_at, sha256, bytes)
VALUES (:name, :url, :events, :first_accepted_at, :last_accepted_at, :sha256, :bytes)
ON CONFLICT (name) DO UPDATE SET url = excluded.url -- a backup from before its move was restored
""")  # noqa: S608
_MARK = text(f"""
UPDATE {LIVE}.events SET payload = NULL, moved_to = :name
FROM unnest(CAST(:event_ids AS uuid[]), CAST(:user_ids AS text[])) AS moved (event_id, user_id)
WHERE events.event_id = moved.event_id AND events.user_id = moved.user_id AND payload IS NOT NULL
""")  # noqa: S608


async def _mark(connection: AsyncConnection, segment: Segment, page: list[Any]) -> None:
    await connection.execute(_LIST, asdict(segment))
    ids = {"event_ids": [row.event_id for row in page], "user_ids": [row.user_id for row in page]}
    marked: Any = await connection.execute(_MARK, {"name": segment.name, **ids})
    if marked.rowcount != len(page):
        raise CannotMove(f"Of {len(page)} events {marked.rowcount} are as they were read: nothing of them was moved.")
