"""Shortens the stream, only below what every group has acked and the archive holds. Never guesses."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.entries import Entry, entries_of, id_parts
from services.orders.parse_entry import readable_event_id
from shared.settings import Settings
from shared.streams import GROUP, STREAM

_PAGE = 1000  # entries looked up at a time

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrimResult:
    """How many entries went. `unarchived`: an entry that was acked and is in no table; nothing from it on goes."""

    trimmed: int = 0
    unarchived: str | None = None


async def run_once(engine: AsyncEngine, redis: "Redis", settings: Settings, *, dry_run: bool = False) -> TrimResult:
    """Trims what is older than the retention (`redis` made raw by keep_raw); raises what Redis and Postgres raise.

    A dry run counts what would go.
    """
    limit = await acked_below(redis)
    if limit is None:
        return TrimResult()
    seconds, microseconds = await redis.time()
    oldest_kept = int(seconds) * 1000 + int(microseconds) // 1000 - int(settings.stream_retention * 1000)
    limit = min(limit, (max(0, oldest_kept), 0))
    trimmed, start = 0, "-"
    while True:
        answer: Any = await redis.xrange(STREAM, min=start, max=_exclusive(limit), count=_PAGE)
        entries = entries_of(answer)
        if not entries:
            return TrimResult(trimmed)
        gap = next((entry.entry_id for entry in await find_unarchived(engine, entries)), None)
        end = id_parts(gap) if gap else _next(id_parts(entries[-1].entry_id))
        start = f"{end[0]}-{end[1]}"
        if dry_run:
            trimmed += sum(id_parts(entry.entry_id) < end for entry in entries)
        else:
            trimmed += await redis.xtrim(STREAM, minid=start, approximate=False)
        if gap:
            log.error("acked_but_not_archived", extra={"entry_id": gap})
            return TrimResult(trimmed, gap)


async def acked_below(redis: "Redis") -> tuple[int, int] | None:
    """The first id that some group may still need; None = no group of ours, or no stream."""
    try:
        groups: list[dict[str, Any]] = await redis.xinfo_groups(STREAM)
    except ResponseError as fault:
        if "no such key" in str(fault):
            return None
        raise
    if GROUP.encode() not in [group["name"] for group in groups]:
        return None  # nothing has been delivered to it yet
    needed = [_next(id_parts(group["last-delivered-id"].decode())) for group in groups]
    for group in groups:
        if group["pending"]:
            summary: Any = await redis.xpending(STREAM, group["name"])
            if summary["min"]:
                needed.append(id_parts(summary["min"].decode()))
    return min(needed)


_ARCHIVED = text("SELECT event_id FROM events WHERE event_id = ANY(CAST(:event_ids AS uuid[]))")
_BURIED = text("""
SELECT entry_id FROM dead_letters WHERE stream = :stream AND entry_id = ANY(CAST(:entry_ids AS text[]))
UNION ALL -- what was put back and failed again is kept with the dead letter that it was
SELECT unnest(requeued_as) FROM dead_letters
WHERE stream = :stream AND requeued_as && CAST(:entry_ids AS text[])
""")


async def find_unarchived(engine: AsyncEngine, entries: Sequence[Entry]) -> list[Entry]:
    """Those of `entries` that are neither an event of the archive nor a dead letter."""
    ids = {entry.entry_id: readable_event_id(entry) for entry in entries}
    async with engine.connect() as connection:
        archived = set(
            (await connection.execute(_ARCHIVED, {"event_ids": [name for name in ids.values() if name]})).scalars()
        )
        rest = [entry_id for entry_id, event_id in ids.items() if event_id not in archived]
        buried = set((await connection.execute(_BURIED, {"stream": STREAM, "entry_ids": rest})).scalars())
    lost = set(rest) - buried
    return [entry for entry in entries if entry.entry_id in lost]


def _next(entry_id: tuple[int, int]) -> tuple[int, int]:
    return entry_id[0], entry_id[1] + 1


def _exclusive(entry_id: tuple[int, int]) -> str:
    return f"({entry_id[0]}-{entry_id[1]}"
