"""Puts the poison into the stream while it runs: every kind in a seeded order, again and again. Judges nothing."""

import asyncio
from random import Random
from uuid import UUID

import asyncpg
from redis.exceptions import RedisError

from services.certify.poison import KINDS, MARK, Poison, Target
from services.certify.roll import open_redis
from shared.streams import STREAM

_TARGET = """
SELECT id, user_id, status FROM orders
WHERE user_id LIKE 'shopper-%' AND (status = $1 OR $1 = 'any') ORDER BY created_at DESC LIMIT 1
"""
_NOBODY = Target(UUID(int=0), "", "")


class Poisoner:
    """Sends; `sent` counts what Redis has confirmed."""

    def __init__(self, seed: int, redis_url: str, database_url: str) -> None:
        self.sent = 0
        self._chance = Random(f"{seed}/poison")  # noqa: S311
        self._redis_url, self._database_url = redis_url, database_url
        self.gate = asyncio.Lock()
        """Held while nothing may be written."""

    async def run(self, entries: int, seconds: float) -> None:
        """Sends so many entries in so many seconds, later where a server is away."""
        kinds: list[Poison] = []
        for _ in range(entries):
            await asyncio.sleep(seconds / entries)
            if not kinds:
                kinds = self._chance.sample(KINDS, len(KINDS))
            await self._send(kinds.pop())

    async def _send(self, poison: Poison) -> None:
        """Tries until it is in: an attempt of unknown outcome may leave two entries, and then both are judged."""
        while True:
            try:
                target = await self._find_target(poison.needs)
                if target is None:
                    return  # no such order yet; the kind comes again in the next round
                fields = [*poison.make(self._chance, target), (MARK, poison.kind.encode())]
                async with self.gate, open_redis(self._redis_url) as redis:
                    await redis.execute_command("XADD", STREAM, "*", *[part for pair in fields for part in pair])  # type: ignore[no-untyped-call]
            except (RedisError, asyncpg.PostgresError, OSError, TimeoutError):
                await asyncio.sleep(0.5)
            else:
                self.sent += 1
                return

    async def _find_target(self, needs: str | None) -> Target | None:
        if needs is None:
            return _NOBODY
        connection = await asyncpg.connect(self._database_url, timeout=2)
        try:
            row = await connection.fetchrow(_TARGET, needs, timeout=5)
        finally:
            await connection.close(timeout=2)
        return None if row is None else Target(*row)
