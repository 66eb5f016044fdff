"""The stage for several consumers: a shop, two of them behind gates, and what must be true of stream and rows."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.claims import claim_stranded, ensure_group, take_own
from services.orders.entries import entries_of, keep_raw
from services.orders.intake import Intake
from services.orders.reload_names import check_names
from shared.settings import Settings
from shared.streams import GROUP, STREAM
from tests.model.gates import Actor, GatedRedis, put_gates, rest
from tests.model.losing_shop import Lose, LosingShop

CONSUMERS = ("consumer-1", "consumer-2")
NOBODYS = b"nobody's"
"""Event id of an entry that nobody can read."""

_AT_ONCE = 0.0005  # seconds: XAUTOCLAIM counts in ms, so this is none
_KNOWN = text("SELECT CAST(event_id AS text) FROM events UNION SELECT entry_id FROM dead_letters")


class Stage:
    """One shop for many plays, each on an empty one. `redis` and `engine` have gates for actors alone."""

    def __init__(self, redis: Redis, engine: AsyncEngine, settings: Settings, asks: Any) -> None:
        self.redis = GatedRedis(connection_pool=redis.connection_pool)
        self.raw = GatedRedis(connection_pool=redis.connection_pool)
        keep_raw(self.raw)
        self.engine, self.settings, self.asks = engine, settings, asks
        self.shop = LosingShop(self.redis, engine, settings)
        self._plain_shop = LosingShop(redis, engine, settings)

    def consumer(self, name: str) -> Actor:
        """A consumer's process from its beginning to the end of the stream."""
        return Actor(name, self.consume(name))

    async def consume(self, name: str) -> None:
        """As consumer.py begins, reads and claims."""
        settings = self.settings.model_copy(update={"consumer": name, "batch_size": 3, "claim_after": _AT_ONCE})
        intake = Intake(self.engine, self.raw, settings)
        while True:
            try:
                await ensure_group(self.raw)
                await check_names(self.engine, self.raw, settings)
                await take_own(self.raw, settings, intake)
                while entries := await self._read(name):
                    await intake.take(entries)
                await claim_stranded(self.raw, settings, intake)
            except ResponseError as fault:
                if "NOGROUP" not in str(fault):
                    raise
            else:
                return

    async def erase(self) -> None:
        """Redis is lost at one moment, as an actor."""
        await rest("the disk is erased")
        await self._plain_shop.act(Lose())

    async def _read(self, name: str) -> Sequence[Any]:
        answer: Any = await self.raw.xreadgroup(GROUP, name, {STREAM: ">"}, count=3)
        return entries_of(answer[0][1]) if answer else ()

    async def nothing_left_too_early(self) -> None:
        """What is acked is in Postgres; what is in no overlay any more is, too."""
        async with self.redis.pipeline(transaction=False) as pipeline:
            pipeline.xrange(STREAM)
            pipeline.xinfo_groups(STREAM)
            pipeline.xpending_range(STREAM, GROUP, min="-", max="+", count=100)
            entries, groups, pending = await pipeline.execute()
        async with self.engine.connect() as connection:
            known = {row[0].encode() for row in await connection.execute(_KNOWN)}
        held = {row["message_id"] for row in pending}
        overlays = [key async for key in self.redis.scan_iter("till:{0}:accepted:*")]
        waiting = {field for key in overlays for field in await self.redis.hkeys(key)}
        last = _order(groups[0]["last-delivered-id"])
        for entry_id, fields in entries:
            if {entry_id, fields[b"event_id"]} & known:
                continue
            assert entry_id in held or _order(entry_id) > last, f"{entry_id} is acked and not in Postgres"
            if fields[b"event_id"] != NOBODYS:
                assert fields[b"event_id"] in waiting, f"{entry_id} left the overlay too early"

    async def everything_is_taken(self) -> None:
        """Nothing pending, nothing unread, no overlay."""
        [group] = await self.redis.xinfo_groups(STREAM)
        stream = await self.redis.xinfo_stream(STREAM)
        assert (group["pending"], group["last-delivered-id"]) == (0, stream["last-generated-id"])
        assert [key async for key in self.redis.scan_iter("till:{0}:accepted:*")] == []


def _order(entry_id: bytes) -> tuple[int, ...]:
    return tuple(map(int, entry_id.split(b"-")))


@asynccontextmanager
async def set_stage(redis: Redis, engine: AsyncEngine, settings: Settings) -> AsyncIterator[Stage]:
    """The stage, with gates at `engine`, and a connection of its own that looks for locks."""
    put_gates(engine)
    asks = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        yield Stage(redis, engine, settings, asks)
    finally:
        await asks.close()
