"""`tillroll status`: what runs, and how far the consumer is. Reads only; what it cannot find out is None, never 0."""

from typing import Any, Literal

import asyncpg
import httpx
from pydantic import BaseModel, computed_field
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.cli.readiness import TIMEOUT
from services.cli.run_state import find_running
from services.orders.backlog import count_backlog
from shared.redis import connect_redis
from shared.settings import Settings
from shared.streams import GROUP, INTAKE_PAUSED, NAMES_LOADED, STREAM

State = Literal["ok", "down"]


class Status(BaseModel):
    """One look at the system. Counts are entries or rows; None = unknown."""

    redis: State = "down"
    postgres: State = "down"
    gateway: State | None = None
    consumer: State | None = None
    redis_version: str | None = None
    postgres_version: str | None = None
    aof_policy: str | None = None
    names_loaded: bool | None = None
    stream_length: int | None = None
    lag: int | None = None
    pending: int | None = None
    paused: str | Literal[False] | None = None  # the reason, while intake is paused
    orders: int | None = None
    events: int | None = None
    dead_letters: int | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def is_up(self) -> bool:
        """Whether nothing is down, as far as it can be known."""
        return "down" not in (self.redis, self.postgres, self.gateway, self.consumer)


async def read_status(settings: Settings) -> Status:
    """One look at what `settings` names and what runs in its data folder."""
    status = Status()
    state = find_running(settings.data_dir)
    if state is not None:
        status.gateway = await _ask(state.gateway_url)
        status.consumer = await _ask(state.consumer_url)
    client = connect_redis(settings, "status")
    try:
        await _read_redis(client, status)
    except (RedisError, OSError):
        status.redis = "down"
    finally:
        await client.aclose()
    try:
        await _read_postgres(settings.database_url.get_secret_value(), status)
    except (asyncpg.PostgresError, OSError, TimeoutError):
        status.postgres = "down"
    return status


async def _ask(url: str) -> State:
    async with httpx.AsyncClient(timeout=2 * TIMEOUT, trust_env=False) as client:
        try:
            return "ok" if (await client.get(f"{url}/ready")).status_code == 200 else "down"
        except httpx.HTTPError:
            return "down"


async def _read_redis(client: Redis, status: Status) -> None:
    status.redis_version = (await client.info("server"))["redis_version"]
    configured = await client.config_get("append*")
    status.aof_policy = configured["appendfsync"] if configured["appendonly"] == "yes" else "off"
    status.names_loaded = bool(await client.exists(NAMES_LOADED))
    status.stream_length = await client.xlen(STREAM)
    reason = await client.get(INTAKE_PAUSED)
    status.paused = reason.decode(errors="replace") if isinstance(reason, bytes) else False
    groups: list[dict[str, Any]] = await client.xinfo_groups(STREAM) if status.stream_length else []
    status.pending = next((group["pending"] for group in groups if group["name"] == GROUP.encode()), None)
    backlog = await count_backlog(client)
    if backlog is not None:
        status.lag = max(0, backlog - (status.pending or 0))  # the two counts are moments apart
    status.redis = "ok"


async def _read_postgres(database_url: str, status: Status) -> None:
    connection = await asyncpg.connect(database_url, timeout=TIMEOUT, command_timeout=10)
    try:
        status.postgres_version = await connection.fetchval("SHOW server_version")
        status.orders = await connection.fetchval("SELECT count(*) FROM orders")
        status.events = await connection.fetchval("SELECT count(*) FROM events")
        status.dead_letters = await connection.fetchval("SELECT count(*) FROM dead_letters WHERE state = 'buried'")
    finally:
        await connection.close()
    status.postgres = "ok"
