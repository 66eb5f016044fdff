"""Recording, measured: a consumer that starts cold on many waiting events, in turn with its floor.

Rate and CPU count from the first acked batch on; the start of the process is a figure of its own.
"""

import asyncio
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from services.bench.contenders import DRAIN_DB
from services.bench.figures import DRAIN, Figure, Results
from services.bench.fill import fill_stream
from services.bench.measure_writes import measure_writes
from services.bench.oracle import Row, Verdict, judge
from services.bench.processes import cpu_seconds, memory_mib
from services.bench.world import World, make_database
from services.cart.catalog import load_catalog
from services.certify.readiness import redis_answers
from services.certify.roll import open_redis
from services.certify.world import DoesNotRun, Process, free_port
from services.orders.migrate import migrate
from shared.settings import Settings
from shared.streams import GROUP, STREAM

_POLL = 0.05  # seconds; the reader must not be part of what it reads
_TELL_EVERY = 10.0  # seconds
_WITHIN = 900.0  # seconds
_ROWS = """
SELECT o.id, e.event_id AS name, o.total,
       (SELECT count(*) FROM order_items i WHERE i.order_id = o.id AND i.user_id = o.user_id) AS lines
FROM events e LEFT JOIN orders o ON o.id = e.event_id AND o.user_id = e.user_id
"""

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Position:
    """How far the group is: entries given to consumers, and those of them that are acked."""

    given: int
    acked: int


async def measure_drain(world: World, results: Results, events: int, rounds: int, seconds: float, say: Say) -> None:
    """`events` waiting, drained by tillroll and by the floor `rounds` times in turn; then the afternoon's writes."""
    say(f"putting {events} accepted checkouts into a stream")
    waiting = world.folder / "waiting"
    waiting.mkdir()
    names = await _fill(world, waiting, events)
    for number in range(rounds):
        order = ("tillroll", "floor-drain") if number % 2 == 0 else ("floor-drain", "tillroll")
        for name in order:
            figure, verdict = await _drain(world, waiting, name, names, say)
            results.figures.append(figure)
            results.verdicts.setdefault(f"drain {name}", []).append(verdict)
            say(f"round {number + 1}  {name:<17}{events:>9} events {figure.values['rate']:10.0f} orders/s")
            if not verdict.is_good:
                say(f"drain  {name}: THE ORACLE OBJECTS: {verdict}")
        figure, verdict = await measure_writes(world, seconds)
        results.figures.append(figure)
        results.verdicts.setdefault("drain afternoon", []).append(verdict)
        say(f"round {number + 1}  afternoon's writes, without HTTP {figure.values['rate']:10.0f} orders/s")
    shutil.rmtree(waiting)


async def _fill(world: World, folder: Path, events: int) -> dict[UUID, Decimal]:
    redis = await _open_redis(world, folder)
    try:
        return await fill_stream(redis.program.url, world.shoppers, load_catalog(Settings()), events)
    finally:
        redis.may_die = True
        await redis.end(signal.SIGTERM)


async def _open_redis(world: World, folder: Path) -> Process:
    program = await asyncio.to_thread(world.lent.redis, folder)
    redis = Process(program, folder / "redis.log", partial(redis_answers, program.url))
    await redis.start()
    return redis


async def _drain(
    world: World, waiting: Path, name: str, names: dict[UUID, Decimal], say: Say
) -> tuple[Figure, Verdict]:
    await make_database(world, DRAIN_DB)
    database_url = world.database_url(DRAIN_DB)
    await asyncio.to_thread(migrate, database_url)
    folder = world.folder / "draining"
    await asyncio.to_thread(shutil.copytree, waiting, folder, ignore=shutil.ignore_patterns("*.sock"))
    redis = await _open_redis(world, folder)
    argv: Sequence[str]
    if name == "tillroll":
        argv = world.lent.consumer_argv(free_port())
    else:
        argv = [sys.executable, "-m", "tests.bench.floor_drain"]
    program = world.program(name, argv, REDIS_URL=redis.program.url, DATABASE_URL=database_url)
    consumer = Process(program, world.folder / f"drain-{name}.log", partial(redis_answers, redis.program.url))
    try:
        values = await _watch(world, redis, consumer, len(names), say)
        verdict = await _judge(world, names)
    finally:
        for process in (consumer, redis):
            process.may_die = True
            await process.end(signal.SIGTERM)
        shutil.rmtree(folder)
    return Figure(DRAIN, name, 0, values), verdict


async def _watch(world: World, redis: Process, consumer: Process, events: int, say: Say) -> dict[str, float]:
    """Starts the consumer and follows it to the end. Raises DoesNotRun."""
    assert redis.pid is not None
    assert world.postgres.pid is not None
    begun = time.monotonic()
    consumer.begin()
    pid = consumer.pid
    assert pid is not None
    pids = {"redis": redis.pid, "postgres": world.postgres.pid, "consumer": pid}
    first: tuple[float, int, dict[str, float]] | None = None
    told = begun
    async with open_redis(redis.program.url) as client:
        while True:
            position = await _read_position(client)
            now = time.monotonic()
            if first is None and position.acked:
                first = (now, position.acked, {name: cpu_seconds([pid]) for name, pid in pids.items()})
            if position.acked == events:
                break
            if now > told + _TELL_EVERY:
                say(f"         {consumer.program.name:<17}{position.acked:>9} of them so far")
                told = now
            if consumer.pid is None or now > begun + _WITHIN:
                raise DoesNotRun(f"the stream is not drained: {position}; the log is {consumer.log}")
            await asyncio.sleep(_POLL)
    cpu = {name: cpu_seconds([pid]) for name, pid in pids.items()}
    assert first is not None
    since, acked, before = first
    if acked == events:
        raise DoesNotRun(f"{events} events are drained at one look: there must be more of them")
    counted = events - acked
    return {
        "rate": counted / (now - since),
        "cold_rate": events / (now - begun),
        "start_seconds": since - begun,
        "orders": float(events),
        **{f"cpu:{name}": (cpu[name] - before[name]) / counted * 1000 for name in pids},
        "memory:consumer": memory_mib([pid]),
        "memory:redis": memory_mib([redis.pid]),
    }


async def _read_position(redis: Any) -> _Position:
    if not await redis.exists(STREAM):
        return _Position(0, 0)
    groups = await redis.xinfo_groups(STREAM)
    group = next((group for group in groups if group["name"] == GROUP.encode()), None)
    if group is None:
        return _Position(0, 0)
    given = int(group["last-delivered-id"].partition(b"-")[2])
    return _Position(given, given - int(group["pending"]))


async def _judge(world: World, names: dict[UUID, Decimal]) -> Verdict:
    connection = await world.connect(DRAIN_DB)
    try:
        rows = [Row(row["id"], row["name"], row["total"], row["lines"]) for row in await connection.fetch(_ROWS)]
    finally:
        await connection.close()
    return judge(names, iter(names), rows)
