"""Sets the position of the consumer group: back, so that entries come again; forward only over what is recorded."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.entries import Entry, entries_of, id_parts
from services.orders.queries import to_ms
from services.orders.trim_stream import find_unarchived
from shared.errors import TillrollError
from shared.streams import GROUP, STREAM

_PAGE = 1000  # entries looked at a time
_LAST_OF_MS = 2**64 - 1
_ENTRY_ID = re.compile(r"[0-9]{1,15}(-[0-9]{1,19})?")


class CannotReposition(TillrollError):
    """The group is where it was; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Move:
    """From where to where. `again`: entries that will be delivered once more; `passed`: entries that no longer will."""

    before: str
    after: str
    again: int
    passed: int


async def reposition(redis: "Redis", engine: AsyncEngine, to: str, *, dry_run: bool) -> Move:
    """Moves the group to `to`: an entry id (it was the last one delivered), `0`, or an ISO time (from then on).

    `redis` is made raw by keep_raw. What is delivered again is a duplicate to the consumer. Raises CannotReposition
    when an entry that would be passed over is neither archived nor buried, and what Redis and Postgres raise.
    """
    before, after = await _position(redis), _parse(to)
    again = passed = 0
    if id_parts(after) < id_parts(before):
        async for entries in _between(redis, after, before):
            again += len(entries)
    else:
        async for entries in _between(redis, before, after):
            lost = await find_unarchived(engine, entries)
            if lost:
                raise CannotReposition(f"Entry {lost[0].entry_id} is not recorded: the group cannot pass over it.")
            passed += len(entries)
    if not dry_run:
        await redis.xgroup_setid(STREAM, GROUP, after)
    return Move(before, after, again, passed)


async def _position(redis: "Redis") -> str:
    try:
        groups: list[dict[str, Any]] = await redis.xinfo_groups(STREAM)
    except ResponseError as fault:
        if "no such key" not in str(fault):
            raise
        groups = []
    found = next((group for group in groups if group["name"] == GROUP.encode()), None)
    if found is None:
        raise CannotReposition(f"There is no group {GROUP}: the consumer makes it at the beginning of the stream.")
    position: bytes = found["last-delivered-id"]
    return position.decode()


def _parse(to: str) -> str:
    """The id of the last entry that counts as delivered."""
    if _ENTRY_ID.fullmatch(to):
        milliseconds, sequence = id_parts(to)
        return f"{milliseconds}-{sequence}"
    try:
        moment = datetime.fromisoformat(to)
        milliseconds = to_ms(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except ValueError as fault:
        raise CannotReposition(f"{to!r} is neither an entry id nor a time.") from fault
    return f"{milliseconds - 1}-{_LAST_OF_MS}" if milliseconds > 0 else "0-0"


async def _between(redis: "Redis", after: str, until: str) -> AsyncIterator[list[Entry]]:
    """Pages of the entries later than `after`, up to and with `until`."""
    while True:
        answer: Any = await redis.xrange(STREAM, min=f"({after}", max=until, count=_PAGE)
        entries = entries_of(answer)
        if not entries:
            return
        yield entries
        after = entries[-1].entry_id
