"""How many accepted events are not recorded yet, over all users. Reads only.

No counter is kept, because every checkout would pay for it: the keys are walked, a bounded number at each look.
"""

from typing import Any

from redis.asyncio import Redis

from shared.redis import Script
from shared.streams import overlay_key_of

_KEYS = 1000  # walked in one command
_COUNT = Script(__package__, "count_overlay.lua")
_COMMANDS = 5  # at one look: a million keys are walked in 200 looks


class OverlayCount:
    """A walk through the keyspace that goes on from look to look."""

    def __init__(self) -> None:
        self._cursor = 0
        self._so_far = 0
        self._last: int | None = None

    async def count(self, redis: "Redis") -> int | None:
        """The result of the last whole walk, None before there is one; raises what Redis raises."""
        for _ in range(_COMMANDS):
            answer: Any = await redis.scan(self._cursor, match=overlay_key_of("*"), count=_KEYS)
            self._cursor, keys = int(answer[0]), answer[1]
            if keys:  # one command for all of them: a thousand would hold up the consumer, which runs beside this
                self._so_far += await _COUNT.run(redis, keys, [])
            if self._cursor == 0:
                self._last, self._so_far = self._so_far, 0
                break
        return self._last
