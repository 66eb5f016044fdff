"""What a consumer has in hand when Redis' data is lost: in the archive before the names come back, or a dead letter.

Recorded after the reload, such an order would be in no name: a client that sends it again would get a second one.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.entries import Entry
from shared.streams import NAMES_LOADED, STREAM

_NO_BATCH = text("LOCK TABLE events IN SHARE MODE")  # reads go on; who writes waits, and is waited for


@asynccontextmanager
async def no_batch_under_way(engine: AsyncEngine) -> AsyncIterator[None]:
    """Inside, no transaction records an event: what one has recorded is in the archive, the next one begins after."""
    async with engine.begin() as connection:
        await connection.execute(_NO_BATCH)
        yield


async def are_left_behind(redis: "Redis", entries: Sequence[Entry]) -> bool:
    """Whether the names were reloaded without `entries`, a batch as it was read. Ask with the batch written and not
    committed: a reload that is still to come waits for that commit, so that only one that is over matters.
    """
    try:
        async with redis.pipeline(transaction=False) as pipeline:
            pipeline.exists(NAMES_LOADED)
            for entry in {entries[0].entry_id, entries[-1].entry_id}:
                pipeline.xrange(STREAM, min=entry, max=entry, count=1)
            is_loaded, *found = list[Any](await pipeline.execute())
    except (RedisError, OSError):
        return False
    return bool(is_loaded) and not any(found)
