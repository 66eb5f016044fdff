"""What the consumer tells of stream, dead letters, replays, overlay and Redis is what is there, or unknown."""

import math
from typing import Any

import pytest
from prometheus_client import Gauge
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders import gauges, replay
from services.orders.dead_letters import Reason
from services.orders.overlay_count import OverlayCount
from services.orders.replay import make_plan, plan_replay, send_page, start_replay
from services.orders.replay_source import ReplayRange, Source
from shared import observability as metrics
from shared.settings import Settings
from shared.streams import STREAM
from tests.integration.operators import OLGA, consume
from tests.integration.orders_stage import a_checkout, accept
from tests.servers import Servers


def told(gauge: Gauge) -> dict[str, float]:
    """Its value by label ('' = it has none)."""
    [family] = gauge.collect()
    return {"".join(sample.labels.values()): sample.value for sample in family.samples}


async def test_how_far_the_group_is_behind(redis: Redis, engine: AsyncEngine, settings: Settings) -> None:
    await accept(redis, a_checkout())
    await consume(engine, redis, settings)
    await gauges.refresh_stream_gauges(redis)
    assert [told(gauge)[""] for gauge in (metrics.LAG_ENTRIES, metrics.LAG_SECONDS)] == [0, 0]
    assert told(metrics.OLDEST_PENDING_SECONDS) == {"": 0}
    for _ in range(3):
        await accept(redis, a_checkout())
    now = int((await redis.time())[0])
    await redis.xreadgroup("orders", "a-dead-one", {STREAM: ">"}, count=2)
    await gauges.refresh_stream_gauges(redis)
    assert [told(gauge)[""] for gauge in (metrics.STREAM_ENTRIES, metrics.LAG_ENTRIES, metrics.PENDING_ENTRIES)] == [
        4,
        1,
        2,
    ]
    assert 0 <= told(metrics.OLDEST_PENDING_SECONDS)[""] <= int((await redis.time())[0]) - now + 5


async def test_dead_letters_that_wait_and_replays_that_run(
    redis: Redis, engine: AsyncEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "_SEND_PAGE", 2)
    for number in range(4):
        await accept(redis, a_checkout(f"user_{number}"))
    for payload in (b"{", b"\xff"):
        await redis.xadd(STREAM, {"event_id": "x", "payload": payload})
    await redis.xadd(STREAM, {"payload": b"{}"})
    await consume(engine, redis, settings)
    run = await plan_replay(engine, redis, Source.ARCHIVE, ReplayRange(), 5000, OLGA)
    await make_plan(engine, redis, run.run_id)
    await send_page(engine, redis, await start_replay(engine, run.run_id, OLGA))
    await gauges.refresh_table_gauges(engine)
    assert told(metrics.DEAD_LETTERS) == {Reason.INVALID_EVENT_ID: 2, Reason.MISSING_EVENT_ID: 1}
    assert told(metrics.REPLAYS) == {"running": 1}
    assert (told(metrics.REPLAY_PLANNED_EVENTS), told(metrics.REPLAY_SENT_EVENTS)) == ({"": 4}, {"": 2})


async def test_the_overlay_is_counted_over_all_users(redis: Redis) -> None:
    for user in ("anna", "boris", "boris"):
        await accept(redis, a_checkout(user))
    await gauges.refresh_overlay_gauge(redis, OverlayCount())
    assert told(metrics.OVERLAY_EVENTS) == {"": 3}


async def test_the_file_and_the_memory_of_redis(redis: Redis) -> None:
    await redis.config_set("maxmemory", "200mb")
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        await gauges.refresh_redis_gauges(redis)
        assert told(metrics.REDIS_NOEVICTION) == {"": 0}
    finally:
        await redis.config_set("maxmemory", "0")
        await redis.config_set("maxmemory-policy", "noeviction")
    assert (told(metrics.REDIS_AOF_ENABLED), told(metrics.REDIS_AOF_WRITE_OK)) == ({"": 1}, {"": 1})
    assert told(metrics.REDIS_MEMORY_LIMIT_BYTES) == {"": 200 * 1024 * 1024}
    assert 0 < told(metrics.REDIS_MEMORY_BYTES)[""] < 200 * 1024 * 1024
    assert (told(metrics.REDIS_EVICTED_KEYS), told(metrics.REDIS_AOF_PENDING_FSYNCS)) == ({"": 0}, {"": 0})


async def test_what_cannot_be_asked_is_unknown_and_not_what_it_was(
    redis: Redis, engine: AsyncEngine, settings: Settings, servers: Servers
) -> None:
    await accept(redis, a_checkout())
    await consume(engine, redis, settings)
    looks: list[Any] = [gauges.refresh_stream_gauges, gauges.refresh_redis_gauges]
    for look in looks:
        await look(redis)
    servers.redis.kill()
    for look in looks:
        with pytest.raises((RedisError, OSError)):
            await look(redis)
    for gauge in (metrics.LAG_ENTRIES, metrics.OLDEST_PENDING_SECONDS, metrics.REDIS_AOF_WRITE_OK):
        assert math.isnan(told(gauge)[""])
