"""Connections to Redis and the calling of our scripts. Knows time-outs and errors; knows no key."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.resources import files
from typing import Any

import hiredis
from opentelemetry.trace import SpanKind
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError, NoScriptError, RedisError

from shared.errors import Unavailable
from shared.settings import Settings
from shared.tracing import child_span
from shared.trips import SharedTrips

ANSWER_WITHIN = timedelta(seconds=5)  # a whole request's Redis work; the first storefront gives up after 8 s
_SOCKET_TIMEOUT = timedelta(seconds=2)
_POOL_SIZE = 64
_SYSTEM = {"db.system.name": "redis"}

log = logging.getLogger(__name__)


class _Own(AbstractConnection):
    """Packs a command's arguments in C (a script call has forty, and redis-py's own loop costs 50 us), and can be
    cancelled while it writes.
    """

    def pack_command(self, *args: Any) -> list[bytes]:
        return [hiredis.pack_command((*args[0].encode().split(), *args[1:]))]

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        # redis-py's own gives the write to `asyncio.wait_for`, which Python 3.11 lets swallow a cancellation that comes
        # just when the write is done: the caller would then wait on for its answer
        if not self.is_connected:
            await self.connect_check_health(check_health=False)
        if check_health:
            await self.check_health()  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(self.socket_timeout):
                await self._send_packed_command(command)
        except BaseException as fault:
            await self.disconnect(nowait=True)
            if isinstance(fault, OSError):  # TimeoutError is one
                raise ConnectionError(f"Error while writing to socket: {fault or 'time-out'}") from fault
            raise


def connect_redis(settings: Settings, process: str) -> "Redis":
    """A client named `tillroll-<process>` in `CLIENT LIST`. Connects at the first command."""
    retry = Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), 2)
    pool = BlockingConnectionPool.from_url(
        settings.redis_url.get_secret_value(),
        max_connections=_POOL_SIZE,
        timeout=_SOCKET_TIMEOUT.total_seconds(),
        socket_timeout=_SOCKET_TIMEOUT.total_seconds(),
        socket_connect_timeout=_SOCKET_TIMEOUT.total_seconds(),
        client_name=f"tillroll-{process}",
        protocol=2,
        retry=retry,
    )
    pool.connection_class = type("OwnConnection", (_Own, pool.connection_class), {})  # over TCP, TLS or a unix socket
    return SharedTrips.from_pool(pool)


class Script:
    """A Lua file beside its caller, sent by its SHA and loaded again when the server forgot it."""

    def __init__(self, package: str, name: str) -> None:
        self._name = name
        self._text = files(package).joinpath(name).read_text()
        self._sha = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, redis: "Redis", keys: Sequence[str], args: Sequence[str | bytes | int]) -> Any:
        """The script's raw answer. `keys` must name every key that the script touches."""
        with child_span(self._name, SpanKind.CLIENT, _SYSTEM):
            try:
                return await redis.evalsha(self._sha, len(keys), *keys, *args)
            except NoScriptError:
                return await redis.eval(self._text, len(keys), *keys, *args)


async def hash_fields(redis: "Redis", key: str, *fields: str) -> list[bytes | None]:
    """The values of `fields`, None for each that is absent."""
    values: list[Any] = await redis.hmget(key, *fields)
    return values


@asynccontextmanager
async def redis_or_unavailable(text: str) -> AsyncIterator[None]:
    """Turns every refusal, broken connection and delay of Redis into one 503 with `text`, in time for the client."""
    try:
        async with asyncio.timeout(ANSWER_WITHIN.total_seconds()):
            yield
    except (RedisError, OSError, TimeoutError) as fault:
        log.warning("redis_unavailable", extra={"fault": f"{type(fault).__name__}: {fault}"})
        raise Unavailable(text) from fault
