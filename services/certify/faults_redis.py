"""Faults of Redis that leave its data: killed, loading, read-only, full, without its group."""

import asyncio
import signal

from redis.exceptions import BusyLoadingError, OutOfMemoryError, ReadOnlyError, RedisError

from services.certify.roll import open_redis
from services.certify.stage import PROBE, Stage
from services.certify.world import until
from shared.streams import GROUP, STREAM

_WORDS: dict[type[Exception], str] = {BusyLoadingError: "LOADING", ReadOnlyError: "READONLY", OutOfMemoryError: "OOM"}
_LEAST_COMMANDS = 4096  # it answers anybody only after each 1024 of them
_SHORTEST_SLEEP = 100  # µs, with what the kernel adds
_BYTES_A_COMMAND = 150  # in the append-only file, roughly: for the length of the slow loading alone


async def kill(stage: Stage, hold: float) -> None:
    """kill -9; with `appendfsync always` nothing that was answered is gone."""
    await stage.world.redis.end(signal.SIGKILL)
    await asyncio.sleep(hold)
    await stage.world.redis.start()


async def load_slowly(stage: Stage, hold: float) -> None:
    """kill -9, and a start that reads the file so slowly that LOADING is seen for about `hold` seconds."""
    async with open_redis(stage.redis_url) as redis, redis.pipeline(transaction=False) as pipeline:
        for _ in range(_LEAST_COMMANDS):
            pipeline.set(PROBE, b"")
        await pipeline.execute()
    await stage.world.redis.end(signal.SIGKILL)
    size = sum(file.stat().st_size for file in (stage.world.folder / "redis").rglob("*.aof"))
    commands = _LEAST_COMMANDS + size / _BYTES_A_COMMAND
    each = hold * 1_000_000 / commands
    # a negative delay sleeps after one command in so many: the shortest sleep is longer than what most files can bear
    delay = min(1000, int(each)) if each > _SHORTEST_SLEEP else -max(1, round(_SHORTEST_SLEEP / each))
    stage.world.redis.begin("--key-load-delay", str(delay))
    await _refused(stage, "LOADING", hold + 10)
    await stage.world.redis.start()


async def destroy_group(stage: Stage, hold: float) -> None:
    """The group is gone, and with it what was pending and how far it was; entries wait unread at that moment."""
    async with stage.held_batches():
        await asyncio.sleep(hold)
        async with open_redis(stage.redis_url) as redis:
            await redis.xgroup_destroy(STREAM, GROUP)


async def make_read_only(stage: Stage, hold: float) -> None:
    """A replica whose master does not answer: every write gets READONLY."""
    await _refusing(stage, hold, "READONLY", ("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"))


async def want_replicas(stage: Stage, hold: float) -> None:
    """Every write gets NOREPLICAS."""
    setting = ("CONFIG", "SET", "min-replicas-to-write")
    await _refusing(stage, hold, "NOREPLICAS", (*setting, "1"), (*setting, "0"))


async def fill_memory(stage: Stage, hold: float) -> None:
    """Every write that needs memory gets OOM; the consumer's acks do not."""
    setting = ("CONFIG", "SET", "maxmemory")
    await _refusing(stage, hold, "OOM", (*setting, "1mb"), (*setting, "0"))


async def _refusing(stage: Stage, hold: float, word: str, strike: tuple[str, ...], heal: tuple[str, ...]) -> None:
    async with open_redis(stage.redis_url) as redis:
        await redis.execute_command(*strike)  # type: ignore[no-untyped-call]
    try:
        await _refused(stage, word, 5)
        await asyncio.sleep(hold)
    finally:
        async with open_redis(stage.redis_url) as redis:
            await redis.execute_command(*heal)  # type: ignore[no-untyped-call]


async def _refused(stage: Stage, word: str, seconds: float) -> None:
    """Returns when a write is refused with `word`: a fault that does not bite proves nothing. Raises DoesNotRun."""

    async def it_is() -> bool:
        try:
            async with open_redis(stage.redis_url) as redis:
                await redis.set(PROBE, b"")
        except RedisError as fault:
            return word in str(fault) or word == _WORDS.get(type(fault))  # redis-py takes known words off the texts
        except OSError:
            pass
        return False

    await until(it_is, f"a write is refused with {word}", seconds)
