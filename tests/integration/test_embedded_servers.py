"""The embedded servers give what the rest relies on: durability settings, no port, nobody else's data."""

import asyncpg
import pytest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from shared.settings import Settings
from tests.servers import Servers


async def test_redis_fsyncs_every_write_and_never_evicts(redis: Redis) -> None:
    assert await _configured(redis, "appendonly") == "yes"
    assert await _configured(redis, "appendfsync") == "always"
    assert await _configured(redis, "maxmemory-policy") == "noeviction"


@pytest.mark.parametrize("command", ["FLUSHALL", "FLUSHDB", "SWAPDB 0 1"])
async def test_the_application_cannot_empty_redis(redis: Redis, command: str) -> None:
    await redis.set("till:{0}:events", b"an accepted order")

    with pytest.raises(NoPermissionError):
        await redis.execute_command(*command.split())

    assert await redis.get("till:{0}:events") == b"an accepted order"


async def test_neither_server_listens_on_a_port(redis: Redis, settings: Settings) -> None:
    postgres = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        assert await postgres.fetchval("SHOW listen_addresses") == ""
        assert await postgres.fetchval("SHOW fsync") == "on"
    finally:
        await postgres.close()
    assert await _configured(redis, "port") == "0"


async def test_what_redis_acknowledged_survives_kill_9(servers: Servers, redis: Redis) -> None:
    await redis.set("till:receipt", b"1 keyboard")

    servers.redis.kill()
    servers.redis.start()

    assert await redis.get("till:receipt") == b"1 keyboard"


async def _configured(redis: Redis, name: str) -> str:
    value: str = (await redis.config_get(name))[name]
    return value
