"""How much is accepted and not yet recorded, from the stream and its group. Reads only."""

from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from shared.streams import GROUP, STREAM

_CHUNK = 1000  # entries a command; each carries its payload over the wire
_MOST = 10_000  # entries; counting more would cost more than the number is worth


async def count_backlog(redis: Redis) -> int | None:
    """Entries that the group has not been given, plus those it has not acked; None = unknown. Raises what Redis raises.

    Redis before 7.0 keeps no lag, and later ones lose it when entries were deleted: then the entries are counted.
    """
    try:
        groups = await redis.xinfo_groups(STREAM)
    except ResponseError as fault:
        if "no such key" in str(fault):
            return 0
        raise
    group = next((group for group in groups if group["name"] == GROUP.encode()), None)
    if group is None:
        return None
    lag = await count_lag(redis, group)
    return None if lag is None else lag + group["pending"]


async def count_lag(redis: Redis, group: Mapping[str, Any]) -> int | None:
    """Entries that `group` (a row of XINFO GROUPS) has not been given; None = unknown. Raises what Redis raises."""
    lag: int | None = group.get("lag")
    return await count_after(redis, group["last-delivered-id"]) if lag is None else lag


async def count_after(redis: Redis, entry_id: bytes) -> int | None:
    """Entries after `entry_id`; None = too many to be worth counting. Raises what Redis raises."""
    count = 0
    while count <= _MOST:
        entries: list[Any] = await redis.xrange(STREAM, min=b"(" + entry_id, count=_CHUNK)  # type: ignore[assignment]
        count += len(entries)
        if len(entries) < _CHUNK:
            return count
        entry_id = entries[-1][0]
    return None
