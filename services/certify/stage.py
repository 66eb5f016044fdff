"""Where the faults strike: the running system, its load, and what both have seen. Spells no fault."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
from redis.exceptions import RedisError

from services.certify.load import Load
from services.certify.oracle import Losses
from services.certify.poisoner import Poisoner
from services.certify.proxy import Proxy
from services.certify.roll import Roll, open_redis, read_backlog
from services.certify.world import CONSUMERS, DoesNotRun, World, until
from shared.streams import INTAKE_PAUSED, NAMES_LOADED

DRAINED_WITHIN = 120.0  # seconds
ASKED_WITHIN = 60.0  # seconds a statement of ours may take, which waits for others' locks
PROBE = "certify:probe"
"""A key of our own, to see whether a fault bites."""
_AIM = 3.0  # seconds to wait for consumers to be in the middle of a batch
_IN_THE_MIDDLE = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'order_items'::regclass"
_COMMITTING = """
SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tillroll-consumer' AND state <> 'idle'
"""


@dataclass
class Stage:
    """All that a fault may need."""

    world: World
    load: Load
    poisoner: Poisoner
    roll: Roll
    chance: Random
    proxies: dict[str, Proxy] = field(default_factory=dict)
    clocks: dict[str, Path] = field(default_factory=dict)
    losses: Losses = field(default_factory=Losses)
    small_disk: Path | None = None

    @property
    def redis_url(self) -> str:
        """Straight to the server."""
        return self.world.redis.program.url

    @property
    def database_url(self) -> str:
        """Straight to the server."""
        return self.world.postgres.program.url

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection of our own to Postgres, on which nothing waits for ever."""
        return await asyncpg.connect(self.database_url, timeout=5, command_timeout=ASKED_WITHIN)

    @asynccontextmanager
    async def held_batches(self) -> AsyncIterator[None]:
        """Inside, the consumers are in the middle of their batches: nothing they do there can commit."""
        connection = await self.connect()

        async def in_the_middle() -> bool:
            return bool(await connection.fetchval(_IN_THE_MIDDLE) >= len(CONSUMERS))

        try:
            async with connection.transaction():
                await connection.execute("LOCK TABLE order_items IN ACCESS EXCLUSIVE MODE")
                with suppress(DoesNotRun):  # at a low rate one of them may have nothing to do
                    await until(in_the_middle, "every consumer is in the middle of a batch", _AIM)
                yield
        finally:
            await connection.close(timeout=5)

    async def batches_ended(self) -> None:
        """Returns when what the consumers have in hand is committed, though Redis may be away."""
        connection = await self.connect()
        try:
            quiet, deadline = 0, time.monotonic() + DRAINED_WITHIN
            while quiet < 5:
                quiet = 0 if await connection.fetchval(_COMMITTING) else quiet + 1
                if time.monotonic() > deadline:
                    raise DoesNotRun("the consumers do not end their batches")
                await asyncio.sleep(0.1)
        finally:
            await connection.close(timeout=5)

    @asynccontextmanager
    async def silence(self) -> AsyncIterator[None]:
        """Inside, nobody writes, everything is recorded and acked, and the roll has seen it."""
        async with self.load.empty_floor(), self.poisoner.gate:
            await self.drained()
            await self.roll.read_on()
            yield

    async def drained(self, seconds: float = DRAINED_WITHIN) -> None:
        """Returns when everything is recorded and acked; raises DoesNotRun, which says what still pends."""
        pends = ""

        async def it_is() -> bool:
            nonlocal pends
            try:
                async with open_redis(self.redis_url) as redis:
                    backlog = await read_backlog(redis)
                    paused: Any = await redis.get(INTAKE_PAUSED)
            except (RedisError, OSError) as fault:
                pends = f"Redis does not answer: {fault}"
                return False
            if paused:  # the poison is too thin for that: something sound is being buried
                raise DoesNotRun(f"intake is paused: {paused.decode()}")
            pends = "there is no group" if backlog is None else str(backlog)
            return backlog is not None and backlog.is_drained

        try:
            await until(it_is, "everything is recorded and acked", seconds)
        except DoesNotRun as fault:
            raise DoesNotRun(f"{fault}; {pends}") from None

    async def names_loaded(self) -> None:
        """Returns when checkouts are accepted again; raises DoesNotRun."""

        async def they_are() -> bool:
            try:
                async with open_redis(self.redis_url) as redis:
                    return bool(await redis.exists(NAMES_LOADED))
            except (RedisError, OSError):
                return False

        await until(they_are, "the names of past checkouts are loaded", DRAINED_WITHIN)
