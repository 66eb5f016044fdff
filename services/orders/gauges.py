"""The consumer's gauges, refreshed from the stream's group. Reads only."""

import math

from redis.asyncio import Redis

from services.orders.backlog import count_backlog
from shared.observability import LAG_ENTRIES, PENDING_ENTRIES
from shared.streams import GROUP, STREAM


async def refresh_gauges(redis: "Redis") -> None:
    """One look; raises what Redis raises, and then lag and pending are unknown."""
    LAG_ENTRIES.set(math.nan)
    PENDING_ENTRIES.set(math.nan)
    groups = await redis.xinfo_groups(STREAM)
    backlog = await count_backlog(redis)
    pending = next((group["pending"] for group in groups if group["name"] == GROUP.encode()), None)
    if pending is not None:
        PENDING_ENTRIES.set(pending)
        if backlog is not None:
            LAG_ENTRIES.set(max(0, backlog - pending))
