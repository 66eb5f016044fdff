"""The consumer's gauges, each set refreshed from its one source. Reads only.

Every function raises what its source raises, and then what it tells is unknown (NaN), never the value of before.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import Gauge
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.look_at_stream import look_at_stream
from services.orders.overlay_count import OverlayCount
from services.orders.replay_runs import Status
from shared.observability import (
    DEAD_LETTERS,
    LAG_ENTRIES,
    LAG_SECONDS,
    OLDEST_PENDING_SECONDS,
    OVERLAY_EVENTS,
    PENDING_ENTRIES,
    REDIS_AOF_DELAYED_FSYNCS,
    REDIS_AOF_ENABLED,
    REDIS_AOF_PENDING_FSYNCS,
    REDIS_AOF_WRITE_OK,
    REDIS_EVICTED_KEYS,
    REDIS_MEMORY_BYTES,
    REDIS_MEMORY_LIMIT_BYTES,
    REDIS_NOEVICTION,
    REPLAY_PLANNED_EVENTS,
    REPLAY_SENT_EVENTS,
    REPLAYS,
    STREAM_ENTRIES,
)
from shared.streams import GROUP

_OF_STREAM = (LAG_ENTRIES, LAG_SECONDS, PENDING_ENTRIES, OLDEST_PENDING_SECONDS, STREAM_ENTRIES)
_OF_REDIS = {
    REDIS_AOF_ENABLED: "aof_enabled",
    REDIS_AOF_PENDING_FSYNCS: "aof_pending_bio_fsync",
    REDIS_AOF_DELAYED_FSYNCS: "aof_delayed_fsync",
    REDIS_MEMORY_BYTES: "used_memory",
    REDIS_MEMORY_LIMIT_BYTES: "maxmemory",
    REDIS_EVICTED_KEYS: "evicted_keys",
}


async def refresh_stream_gauges(redis: "Redis") -> None:
    """How far the group is behind."""
    with _unknown_unless_told(*_OF_STREAM):
        look = await look_at_stream(redis)
    STREAM_ENTRIES.set(look.length)
    group = next((group for group in look.groups if group.name == GROUP), None)
    LAG_ENTRIES.set(_number(group.lag_entries if group else None))
    LAG_SECONDS.set(_number(group.lag_seconds if group else None))
    PENDING_ENTRIES.set(_number(group.pending if group else None))
    oldest = group.oldest_pending if group else None
    OLDEST_PENDING_SECONDS.set(oldest.age_seconds if oldest else _number(0 if group else None))


async def refresh_redis_gauges(redis: "Redis") -> None:
    """The append-only file and the memory of the server itself."""
    with _unknown_unless_told(*_OF_REDIS, REDIS_AOF_WRITE_OK, REDIS_NOEVICTION):
        info: dict[str, Any] = await redis.info()
    for gauge, field in _OF_REDIS.items():
        gauge.set(_number(info.get(field)))  # those of the file exist while there is one
    REDIS_AOF_WRITE_OK.set(info.get("aof_last_write_status") == "ok")
    REDIS_NOEVICTION.set(info.get("maxmemory_policy") == "noeviction")


async def refresh_overlay_gauge(redis: "Redis", walk: OverlayCount) -> None:
    """Goes on with `walk`: the number is as old as its last round."""
    OVERLAY_EVENTS.set(_number(await walk.count(redis)))


_WAITING = text("SELECT reason, count(*) FROM dead_letters WHERE state = 'buried' GROUP BY reason")
_UNFINISHED = text("""
SELECT status, count(*) AS runs, coalesce(sum(CAST(planned->>'total' AS bigint)), 0) AS planned, sum(sent) AS sent
FROM replays WHERE status <> 'finished' GROUP BY status
""")
_SENDING = (Status.RUNNING, Status.PAUSED, Status.SENT)


async def refresh_table_gauges(engine: AsyncEngine) -> None:
    """What waits for an operator, and how far replays are."""
    with _unknown_unless_told(REPLAY_PLANNED_EVENTS, REPLAY_SENT_EVENTS):
        async with engine.connect() as connection:
            waiting = (await connection.execute(_WAITING)).all()
            unfinished = (await connection.execute(_UNFINISHED)).all()
    DEAD_LETTERS.clear()
    REPLAYS.clear()
    for reason, letters in waiting:
        DEAD_LETTERS.labels(reason).set(letters)
    for run in unfinished:
        REPLAYS.labels(run.status).set(run.runs)
    sending = [run for run in unfinished if run.status in _SENDING]
    REPLAY_PLANNED_EVENTS.set(sum(run.planned for run in sending))
    REPLAY_SENT_EVENTS.set(sum(run.sent for run in sending))


@contextmanager
def _unknown_unless_told(*gauges: Gauge) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for gauge in gauges:
            gauge.set(math.nan)
        raise


def _number(value: float | None) -> float:
    return math.nan if value is None else value
