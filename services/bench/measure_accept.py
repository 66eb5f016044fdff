"""Accepting, measured: one contender, one number of connections, until everything accepted is recorded.

CPU and bytes are counted over the whole of that and divided by the orders that came of it, those that the client was
cut off from included: no work is left to the next one's account, and none is shared out among too few.
"""

import asyncio
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from services.bench.contenders import Contender
from services.bench.figures import HALF, Figure
from services.bench.oracle import Verdict, judge_answers, row_of
from services.bench.processes import TICK, cpu_seconds, memory_mib
from services.bench.world import World
from services.bench.wrk import Answers, check_out
from services.certify.roll import open_redis
from services.certify.world import until

HALF_CONNECTIONS = 128  # at half load; each thinks, so long that together they keep the rate

_IDLE = 0.2  # seconds in which a web tier that has nothing to do uses at most _IDLE_TICKS of the CPU
_IDLE_TICKS = 3
_IDLE_WITHIN = 60.0  # seconds
_ROWS = "SELECT count(*) FROM orders WHERE created_at >= $1"
_COMMIT_DELAYS = """
SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (
    ORDER BY extract(epoch FROM pg_xact_commit_timestamp(xmin) - accepted_at) * 1000)
FROM events WHERE event_id = ANY($1)
"""


@dataclass(frozen=True)
class _Written:
    """Bytes that the servers have written since they began."""

    wal: int
    aof: int


async def measure(
    world: World, contender: Contender, part: str, connections: int, seconds: float, think_ms: float = 0
) -> tuple[Figure, Answers]:
    """One load and its figures. Raises TillrollError when something does not run."""
    pids = _pids(world, contender)
    written_before = await _read_written(world)
    since, begun, cpu_before = now(), time.monotonic(), _read_cpu(pids)
    answers = await _load(world, contender, connections, seconds, think_ms)
    taken = await _settled(world, contender, pids["web"]) - begun
    cpu = _read_cpu(pids)
    written = await _read_written(world)
    rows = max(1, await _count_rows(world, contender, since))
    values = {
        "rate": answers.rate,
        "recorded_rate": rows / taken,
        "p50_ms": answers.p50_ms,
        "p99_ms": answers.p99_ms,
        "orders": float(rows),
        "refused": float(answers.refused + answers.timeouts + answers.broken),
        "client_cpu": answers.client_cpu / rows * 1000,
        "wal": (written.wal - written_before.wal) / rows,
        **{f"cpu:{name}": (cpu[name] - cpu_before[name]) / rows * 1000 for name in pids},
        **{f"memory:{name}": memory_mib(found) for name, found in pids.items()},
    }
    if contender.has_log and written.aof >= written_before.aof:  # smaller: the file was rewritten meanwhile
        values["aof"] = (written.aof - written_before.aof) / rows
    return Figure(part, contender.name, connections, values), answers


async def measure_half(world: World, contender: Contender, rate: float, seconds: float) -> tuple[Figure, list[Answers]]:
    """The same at `rate` orders a second, which is half of a capacity, with the time from acceptance to commit.

    A short load before it, whose answers come first, warms up and tells how long to think.
    """
    cycle = HALF_CONNECTIONS / rate * 1000
    _, tried = await measure(world, contender, HALF, HALF_CONNECTIONS, 1, cycle)
    think_ms = cycle - min(tried.p50_ms, cycle / 4)  # a machine that stalled in that second must not be asked for more
    figure, answers = await measure(world, contender, HALF, HALF_CONNECTIONS, seconds, think_ms)
    values = {**figure.values, "asked": rate}
    if contender.has_log and answers.order_ids:
        connection = await world.connect(contender.database)
        try:
            delays = await connection.fetchval(_COMMIT_DELAYS, [UUID(order_id) for order_id in answers.order_ids])
        finally:
            await connection.close()
        values |= {"to_row_p50_ms": delays[0], "to_row_p99_ms": delays[1]}
    return Figure(HALF, contender.name, 0, values), [tried, answers]


async def judge_round(world: World, contender: Contender, since: datetime, runs: Sequence[Answers]) -> Verdict:
    """The oracle's verdict on all that `contender` was sent since `since`, once it is recorded."""
    if contender.has_log:
        await world.drained()
    connection = await world.connect(contender.database)
    try:
        records = await connection.fetch(contender.rows, since)
    finally:
        await connection.close()
    return judge_answers(world.shoppers, runs, [row_of(contender, record) for record in records])


def now() -> datetime:
    """The clock that all servers of this machine share."""
    return datetime.now(UTC)


async def _load(world: World, contender: Contender, connections: int, seconds: float, think_ms: float) -> Answers:
    consumer = world.processes["consumer"].pid if contender.is_alone else None
    ports = [world.ports[door] for door in contender.doors]
    if consumer is not None:
        os.kill(consumer, signal.SIGSTOP)
    try:
        answers = await check_out(
            world.shoppers, world.folder, ports, world.next_checkout, connections, seconds, think_ms
        )
    finally:
        if consumer is not None:
            os.kill(consumer, signal.SIGCONT)
    world.next_checkout = answers.next_first
    return answers


async def _settled(world: World, contender: Contender, web: Sequence[int]) -> float:
    """Returns when nothing is under way any more: the moment (monotonic) when all that was answered was recorded."""
    if contender.has_log:
        await world.drained()
    recorded = time.monotonic()

    async def is_idle() -> bool:
        before = cpu_seconds(web)
        await asyncio.sleep(_IDLE)
        return round((cpu_seconds(web) - before) / TICK) <= _IDLE_TICKS

    await until(is_idle, f"{contender.name} has answered all that was asked", _IDLE_WITHIN)
    if contender.has_log:
        await world.drained()
    return recorded


async def _count_rows(world: World, contender: Contender, since: datetime) -> int:
    connection = await world.connect(contender.database)
    try:
        return int(await connection.fetchval(_ROWS, since))
    finally:
        await connection.close()


def _pids(world: World, contender: Contender) -> dict[str, list[int]]:
    """The processes that work for `contender`, by what they are."""
    parts = {"web": [world.processes[name] for name in contender.processes], "postgres": [world.postgres]}
    if contender.has_log:
        parts |= {"consumer": [world.processes["consumer"]], "redis": [world.redis]}
    return {name: [p.pid for p in processes if p.pid is not None] for name, processes in parts.items()}


def _read_cpu(pids: Mapping[str, Sequence[int]]) -> dict[str, float]:
    return {name: cpu_seconds(found) for name, found in pids.items()}


async def _read_written(world: World) -> _Written:
    """Never between the two readings of the CPU: this costs Postgres a backend."""
    connection = await world.connect("postgres")
    try:
        wal = int(await connection.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'"))
    finally:
        await connection.close()
    async with open_redis(world.redis_url) as redis:
        aof = int((await redis.info("persistence"))["aof_current_size"])
    return _Written(wal, aof)
