"""What operators see of the stream: its length, groups, consumers, lag and entries. Reads only.

What cannot be known is None, never 0: Redis forgets the lag of a group when entries were deleted in its gap.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from services.orders.backlog import count_lag
from services.orders.dead_letters import fields_json
from services.orders.entries import Entry, entries_of, id_parts
from services.orders.replay_source import ReplayRange, last_of, raw_reader
from shared.streams import STREAM

_PAGE = 500  # entries read at a time
MAX_SCANNED = 20_000  # entries looked through in one look; the page then says where to go on


@dataclass(frozen=True, slots=True)
class Pending:
    """The oldest entry that was delivered and not acked. Seconds by Redis' clock."""

    entry_id: str
    age_seconds: float
    consumer: str
    idle_seconds: float
    deliveries: int


@dataclass(frozen=True, slots=True)
class Consumer:
    """A member of a group; `idle_seconds` since it last asked for anything."""

    name: str
    pending: int
    idle_seconds: float


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group. `lag_seconds` is the age of the oldest entry that it has not been given."""

    name: str
    last_delivered_id: str
    lag_entries: int | None
    lag_seconds: float | None
    pending: int
    oldest_pending: Pending | None
    consumers: list[Consumer] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class StreamLook:
    """The stream at one moment (`at`: seconds since 1970 by Redis' clock)."""

    stream: str
    at: float
    length: int
    first_id: str | None
    last_id: str | None
    groups: list[Group] = field(default_factory=list)

    def public(self) -> dict[str, Any]:
        """JSON of it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Entries, newest first; `next` is where an older page starts, None = there is none."""

    entries: list[Entry]
    next: str | None

    def public(self) -> dict[str, Any]:
        """JSON of it; what is no text is base64."""
        shown = [
            {"entry_id": entry.entry_id, "fields": json.loads(fields_json(entry.fields))} for entry in self.entries
        ]
        return {"entries": shown, "next": self.next}


async def look_at_stream(redis: "Redis") -> StreamLook:
    """One look; a stream that is not there is empty. Raises what Redis raises."""
    seconds, microseconds = await redis.time()
    at = int(seconds) + int(microseconds) / 1_000_000
    try:
        stream: dict[str, Any] = await redis.xinfo_stream(STREAM)
    except ResponseError as fault:
        if "no such key" in str(fault):
            return StreamLook(STREAM, at, 0, None, None)
        raise
    groups: list[dict[str, Any]] = await redis.xinfo_groups(STREAM)
    return StreamLook(
        stream=STREAM,
        at=at,
        length=stream["length"],
        first_id=_id_of(stream["first-entry"]),
        last_id=_id_of(stream["last-entry"]),
        groups=[await _look_at_group(redis, group, at) for group in groups],
    )


def lag_trend(before: StreamLook, after: StreamLook) -> dict[str, float | None]:
    """Entries a second by which each group's lag grew between two looks; None = unknown."""
    lags, seconds = {group.name: group.lag_entries for group in before.groups}, after.at - before.at
    trends: dict[str, float | None] = {}
    for group in after.groups:
        earlier = lags.get(group.name)
        is_known = earlier is not None and group.lag_entries is not None and seconds > 0
        trends[group.name] = (group.lag_entries - earlier) / seconds if is_known else None  # type: ignore[operator]
    return trends


def _id_of(entry: Any) -> str | None:
    return None if entry is None else entry[0].decode()


async def _look_at_group(redis: "Redis", group: dict[str, Any], at: float) -> Group:
    members: list[dict[str, Any]] = await redis.xinfo_consumers(STREAM, group["name"])
    return Group(
        name=group["name"].decode(),
        last_delivered_id=group["last-delivered-id"].decode(),
        lag_entries=await count_lag(redis, group),
        lag_seconds=await _lag_seconds(redis, group["last-delivered-id"], at),
        pending=group["pending"],
        oldest_pending=await _oldest_pending(redis, group["name"], at) if group["pending"] else None,
        consumers=[Consumer(one["name"].decode(), one["pending"], one["idle"] / 1000) for one in members],
    )


async def _lag_seconds(redis: "Redis", delivered: bytes, at: float) -> float:
    """Known even where the number of entries is not: the first of them tells it."""
    waiting: Any = await raw_reader(redis).xrange(STREAM, min=b"(" + delivered, count=1)
    return _age(entries_of(waiting)[0].entry_id, at) if waiting else 0.0


async def _oldest_pending(redis: "Redis", group: bytes, at: float) -> Pending | None:
    rows: list[dict[str, Any]] = await redis.xpending_range(STREAM, group, min="-", max="+", count=1)
    if not rows:
        return None
    [row] = rows
    entry_id = row["message_id"].decode()
    idle = row["time_since_delivered"] / 1000
    return Pending(entry_id, _age(entry_id, at), row["consumer"].decode(), idle, row["times_delivered"])


def _age(entry_id: str, at: float) -> float:
    return max(0.0, round(at - id_parts(entry_id)[0] / 1000, 3))


async def list_entries(redis: "Redis", chosen: ReplayRange, limit: int = 20, before: str | None = None) -> EntryPage:
    """At most `limit` entries of the range, newest first, older than `before`; raises what Redis raises."""
    raw = raw_reader(redis)
    end = f"({before}" if before else "+"
    if chosen.last is not None and (before is None or last_of(chosen.last) < id_parts(before)):
        end = "{}-{}".format(*last_of(chosen.last))
    found: list[Entry] = []
    for _ in range(MAX_SCANNED // _PAGE):
        answer: Any = await raw.execute_command("XREVRANGE", STREAM, end, chosen.first or "-", "COUNT", _PAGE)  # type: ignore[no-untyped-call]
        entries = entries_of(answer)
        for entry in entries:
            end = f"({entry.entry_id}"
            if chosen.matches(entry):
                found.append(entry)
                if len(found) == limit:
                    return EntryPage(found, entry.entry_id)
        if len(entries) < _PAGE:
            return EntryPage(found, None)
    return EntryPage(found, end.removeprefix("("))
