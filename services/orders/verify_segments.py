"""Whether every segment is there, whole, and holds what its events say. Reads only."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.archive import LIVE, find_segments
from services.orders.move_payloads import hash_of
from services.orders.segments import Segment, SegmentStore, SegmentUnreadable, lines_of

Progress = Callable[[int, int], None]
"""Told how many segments are verified, of how many."""


@dataclass(slots=True)
class Verified:
    """`left_over`: segments that no event is in; a move that was killed leaves one, and the next makes it its own."""

    segments: int = 0
    events: int = 0
    findings: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)

    def public(self) -> dict[str, Any]:
        """JSON's view of it."""
        return {name: getattr(self, name) for name in ("segments", "events", "findings", "left_over")}


_ROWS = text(f"""
SELECT CAST(event_id AS text) AS event_id, content_hash FROM {LIVE}.events
WHERE moved_to = :name AND accepted_at BETWEEN :first AND :last
""")  # noqa: S608
_UNLISTED = text(f"""
SELECT moved_to, count(*) FROM {LIVE}.events WHERE moved_to IS NOT NULL
AND moved_to NOT IN (SELECT name FROM {LIVE}.archive_segments) GROUP BY moved_to ORDER BY moved_to
""")  # noqa: S608


async def verify_segments(engine: AsyncEngine, url: str, tell: Progress = lambda _done, _total: None) -> Verified:
    """Reads every segment whole, and looks for left-over ones at `url`; raises what Postgres raises."""
    verified = Verified()
    async with engine.connect() as connection:
        segments = await find_segments(connection)
        for name, events in await connection.execute(_UNLISTED):
            verified.findings.append(f"{name}: the table archive_segments lacks it, and {events} events are in it")
    for segment in segments.values():
        async with engine.connect() as connection:
            bounds = {"first": segment.first_accepted_at, "last": segment.last_accepted_at}
            answer = await connection.execute(_ROWS, {"name": segment.name, **bounds})
            rows = {row.event_id: row.content_hash for row in answer}
        try:
            content = await SegmentStore(segment.url).read(segment.name)
            fault = await asyncio.to_thread(_fault_in, segment, content, rows)
        except SegmentUnreadable as unreadable:
            fault = str(unreadable)
        if fault is not None:
            verified.findings.append(f"{segment.name}: {fault}")
        verified.segments += 1
        verified.events += len(rows)
        tell(verified.segments, len(segments))
    verified.left_over = sorted(await SegmentStore(url).names() - set(segments))
    return verified


def _fault_in(segment: Segment, content: bytes, rows: dict[str, str]) -> str | None:
    held = {line["event_id"]: line for line in lines_of(segment, content)}
    if len(held) != segment.events or rows.keys() - held.keys():
        return f"it holds {len(held)} events, {segment.events} were written, and {len(rows)} rows name it"
    for event_id, digest in rows.items():
        if held[event_id]["content_hash"] != digest or hash_of(held[event_id]["payload"]) != digest:
            return f"event {event_id} is not what was recorded"
    return None
