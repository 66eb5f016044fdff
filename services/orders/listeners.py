"""What one open connection is told: moves of its user's orders, in the order of the stream, never more than WAITING."""

import asyncio
from dataclasses import dataclass
from uuid import UUID

from shared.errors import TillrollError

WAITING = 100  # moves that a listener may leave unread; one more and it has to come back and read them again


class ListenerEnded(TillrollError):
    """The listener must come back and resume: it read too slowly, Redis is away, or this process is stopping."""


@dataclass(frozen=True, slots=True)
class Moved:
    """An entry of the stream that made an order or moved it."""

    entry_id: str
    user_id: str
    order_id: UUID


class Listener:
    """One connection's moves, in the order of the stream. At most WAITING of them are kept."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self._moves: asyncio.Queue[Moved | None] = asyncio.Queue(WAITING + 1)
        self._has_ended = False

    @property
    def is_idle(self) -> bool:
        """Whether everything told was taken."""
        return self._moves.empty()

    async def next_move(self, seconds: float) -> Moved | None:
        """The next move, None when there was none for so long; raises ListenerEnded."""
        try:
            async with asyncio.timeout(seconds):
                move = await self._moves.get()
        except TimeoutError:
            return None
        if move is None or self._has_ended:
            raise ListenerEnded
        return move

    def tell(self, move: Moved) -> None:
        """Adds `move`, or ends the listener when too many wait."""
        if self._moves.qsize() >= WAITING:
            self.end()
        elif not self._has_ended:
            self._moves.put_nowait(move)

    def end(self) -> None:
        """Wakes whoever waits for a move with ListenerEnded."""
        if not self._has_ended:
            self._has_ended = True
            self._moves.put_nowait(None)  # there is always room for this one
