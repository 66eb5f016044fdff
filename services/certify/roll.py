"""Every entry that was ever in the stream, read along while it runs: what is trimmed or erased later stays known here.

Reads with a connection of its own, below everything that the product's code would hide. Judges nothing.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.streams import GROUP, STREAM

_PAGE = 500
_EVERY = 0.25  # seconds

Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class RollEntry:
    """One entry as it is in the stream, equal names and all bytes kept."""

    entry_id: str
    fields: Fields

    def field(self, name: bytes) -> bytes | None:
        """The last value of that name."""
        return next((value for key, value in reversed(self.fields) if key == name), None)


class Roll:
    """The entries so far, in their order."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.entries: dict[str, RollEntry] = {}
        self._after = "0-0"

    async def follow(self) -> None:
        """Reads on for ever, whatever becomes of Redis."""
        while True:
            with suppress(RedisError, OSError, TimeoutError):
                await self.read_on()
            await asyncio.sleep(_EVERY)

    async def read_on(self) -> None:
        """Reads to the present end of the stream; raises what Redis raises."""
        async with open_redis(self._url) as redis:
            while page := await read_entries(redis, f"({self._after}", _PAGE):
                self.entries.update((entry.entry_id, entry) for entry in page)
                self._after = page[-1].entry_id


async def read_entries(redis: "Redis", start: str, count: int) -> list[RollEntry]:
    """Entries from `start` on; raises what Redis raises."""
    answer: list[Any] = await redis.execute_command("XRANGE", STREAM, start, "+", "COUNT", count)  # type: ignore[no-untyped-call]
    return [RollEntry(entry_id.decode(), tuple(zip(flat[::2], flat[1::2], strict=True))) for entry_id, flat in answer]


def open_redis(url: str, seconds: float = 5.0) -> "Redis":
    """A connection of our own, that shares no setting with the product's. Answers of XRANGE stay as they are sent."""
    client: Redis = Redis.from_url(
        url, protocol=2, socket_timeout=seconds, socket_connect_timeout=2, client_name="certify", max_connections=4
    )
    client.set_response_callback("XRANGE", lambda answer, **_: answer)  # type: ignore[arg-type]
    return client


@dataclass(frozen=True, slots=True)
class Backlog:
    """How far the group is. `behind`: entries that it has not been given; None = Redis (6.2) does not count them."""

    behind: int | None
    pending: int
    is_drained: bool

    def __str__(self) -> str:
        return f"{self.pending} pending, {'an unknown number' if self.behind is None else self.behind} unread"


async def read_backlog(redis: "Redis") -> Backlog | None:
    """None = there is no stream or no group. Raises what Redis raises."""
    try:
        groups: Any = await redis.xinfo_groups(STREAM)
        stream: Any = await redis.xinfo_stream(STREAM)
    except RedisError as fault:
        if "no such key" in str(fault):
            return None
        raise
    group = next((group for group in groups if group["name"] == GROUP.encode()), None)
    if group is None:
        return None
    is_read = group["last-delivered-id"] == stream["last-generated-id"]
    return Backlog(group.get("lag"), group["pending"], is_read and not group["pending"])
