"""Whether Redis has room for carts. Carts and the product cache give way first, so that orders are accepted last."""

import time
from collections.abc import Callable
from datetime import timedelta

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

SHED_ABOVE = 0.9  # of maxmemory; the rest is for orders, until Redis itself refuses them, too
SAMPLE_EVERY = timedelta(seconds=1)


class Room:
    """Looks at Redis' memory at most once in SAMPLE_EVERY, whatever the number of requests.

    Without a `maxmemory`, or for a user who may not ask, there is always room: then Redis refuses by itself.
    """

    def __init__(self, redis: Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._clock = clock
        self._look_again_at = clock()
        self._is_short = False

    async def is_short(self) -> bool:
        """Whether more than SHED_ABOVE of the memory is used. Lets RedisError through."""
        now = self._clock()
        if now >= self._look_again_at:
            self._look_again_at = now + SAMPLE_EVERY.total_seconds()  # others go by the last look meanwhile
            try:
                memory = await self._redis.info("memory")
            except NoPermissionError:
                return self._is_short
            limit = int(memory.get("maxmemory", 0))
            self._is_short = limit > 0 and int(memory["used_memory"]) > SHED_ABOVE * limit
        return self._is_short
