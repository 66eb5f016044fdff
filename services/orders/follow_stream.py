"""One reader of the stream for all open connections of this process: tells each which orders of its user moved.

Reads only while somebody listens, and reads again whatever a listener missed. Keeps no event and writes nothing.
"""

import asyncio
import logging
from collections import defaultdict
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from services.orders.entries import Entry, entries_of, id_parts
from services.orders.listeners import WAITING, Listener, Moved
from services.orders.parse_entry import parse_entry
from services.orders.replay_source import raw_reader
from services.orders.stopping import when_stopping
from shared.errors import ApiError, Unavailable, Unrecordable
from shared.events import KeyJoined
from shared.observability import EVENT_STREAMS, SHED
from shared.redis import redis_or_unavailable
from shared.streams import STREAM

LISTENERS_PER_USER = 8  # in one process; a page listens only while it is seen, so this is eight windows
MAX_SCANNED = 5000  # entries looked through for what a listener missed; beyond that the present state is cheaper

_PAGE = 500  # entries a read
_BLOCK = 1000  # ms; below the socket's time-out
_COME_BACK_AFTER = 5  # seconds
_AWAY = "Live order status is unavailable right now"

log = logging.getLogger(__name__)


class Follower:
    """The listeners of this process, at most `limit`, and their one reader."""

    def __init__(self, redis: Redis, limit: int) -> None:
        self._redis = redis
        self._limit = limit
        self._listeners: dict[str, set[Listener]] = defaultdict(set)
        self._count = 0
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._is_stopping: bool | None = None  # None = nobody has told us yet where to hear of it
        self.position = "0-0"
        """The last entry that every listener was told of, if it concerned them."""

    async def join(self, user_id: str) -> Listener:
        """A listener that is told of everything after the present `position`. Who joins must leave.

        Raises 429 for more than a user's share, Unavailable when the process has no room or Redis is away.
        """
        if self._is_stopping is None:
            self._is_stopping = False
            when_stopping(self.stop)
        if self._is_stopping or self._count >= self._limit:
            SHED.labels("streams").inc()
            raise Unavailable("Too many open streams right now, please retry")
        if len(self._listeners.get(user_id, ())) >= LISTENERS_PER_USER:
            SHED.labels("streams").inc()
            raise ApiError(429, "Too many open streams of yours, please retry", {"Retry-After": str(_COME_BACK_AFTER)})
        listener = Listener(user_id)
        self._listeners[user_id].add(listener)
        self._count += 1
        EVENT_STREAMS.set(self._count)
        try:
            async with self._starting, redis_or_unavailable(_AWAY):
                if self._reader is None:
                    self.position = await _read_tail(self._redis)
                    self._reader = asyncio.create_task(self._read())
        except BaseException:
            self.leave(listener)
            raise
        return listener

    def leave(self, listener: Listener) -> None:
        """Gives the listener's place back; the last one ends the reader."""
        own = self._listeners[listener.user_id]
        own.discard(listener)
        if not own:
            del self._listeners[listener.user_id]
        self._count -= 1
        EVENT_STREAMS.set(self._count)
        if self._count == 0 and self._reader is not None:
            self._reader.cancel()
            self._reader = None

    def stop(self) -> None:
        """Ends every listener and takes no new one: the process is about to go."""
        self._is_stopping = True
        self._end_all()

    async def run_once(self) -> None:
        """One read, told to everybody whom it concerns; raises Unavailable."""
        async with redis_or_unavailable(_AWAY):
            answer: Any = await self._redis.xread({STREAM: self.position}, count=_PAGE, block=_BLOCK)
        for _, entries in answer or ():
            for entry_id, fields in entries:
                move = move_in(Entry(entry_id.decode(), tuple(fields.items())))
                if move is not None:
                    for listener in self._listeners.get(move.user_id, ()):
                        listener.tell(move)
                self.position = entry_id.decode()

    async def missed(self, user_id: str, after: str, until: str) -> list[Moved] | None:
        """The user's moves after one entry id up to another, oldest first; raises Unavailable.

        None = they are not to be had any more: trimmed away, too many to look for, or `after` is no id of this stream.
        """
        raw = raw_reader(self._redis)
        found: list[Moved] = []
        async with redis_or_unavailable(_AWAY):
            tail, start = await _read_tail(self._redis), after
            if id_parts(after) > id_parts(tail):
                return None
            for _ in range(MAX_SCANNED // _PAGE):
                entries = entries_of(await raw.xrange(STREAM, min=f"({start}", max=until, count=_PAGE))
                found += [move for move in map(move_in, entries) if move and move.user_id == user_id]
                if len(entries) < _PAGE:
                    break
                start = entries[-1].entry_id
            else:
                return None
            # Looked at last: what is trimmed while we read goes from this end.
            first = entries_of(await raw.xrange(STREAM, count=1))
        is_whole = after == tail or (first and id_parts(first[0].entry_id) <= id_parts(after))
        return found if is_whole and len(found) <= WAITING else None

    async def _read(self) -> None:
        try:
            while True:
                await self.run_once()
        except Unavailable:
            log.info("listeners_sent_away", extra={"listeners": self._count})
        finally:
            if self._reader is asyncio.current_task():
                self._reader = None
                self._end_all()

    def _end_all(self) -> None:
        for own in self._listeners.values():
            for listener in own:
                listener.end()


def move_in(entry: Entry) -> Moved | None:
    """What `entry` means for an order; None = nothing, or nobody can read it."""
    try:
        arrival = parse_entry(entry)
    except Unrecordable:
        return None  # a dead letter, soon
    if isinstance(arrival.event, KeyJoined):
        return None
    return Moved(entry.entry_id, arrival.event.user_id, arrival.order_id)


async def _read_tail(redis: Redis) -> str:
    """The id of the last entry there ever was; raises what Redis raises."""
    try:
        stream: dict[str, Any] = await redis.xinfo_stream(STREAM)
    except ResponseError as fault:
        if "no such key" in str(fault):
            return "0-0"
        raise
    last: bytes = stream["last-generated-id"]
    return last.decode()
