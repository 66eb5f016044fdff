"""Accepting, measured: one contender, one number of connections, until everything accepted is recorded.

CPU and bytes are counted over the whole of that, so that no work is left to the next one's account.
"""

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
from services.bench.processes import cpu_seconds, memory_mib
from services.bench.world import World
from services.bench.wrk import Answers, check_out
from services.certify.roll import open_redis

HALF_CONNECTIONS = 64  # at half load; each thinks long enough that the rate is half of the capacity

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
    consumer = world.processes.get("consumer")
    pids = _pids(world, contender)
    written_before = await _read_written(world)
    cpu_before = _read_cpu(pids)
    begun = time.monotonic()
    if contender.is_alone and consumer is not None and consumer.pid is not None:
        os.kill(consumer.pid, signal.SIGSTOP)
        try:
            answers = await check_out(
                world.shoppers, world.folder, _port(world, contender), world.checkouts, connections, seconds
            )
        finally:
            os.kill(consumer.pid, signal.SIGCONT)
    else:
        answers = await check_out(
            world.shoppers, world.folder, _port(world, contender), world.checkouts, connections, seconds, think_ms
        )
    world.checkouts += answers.submitted
    if contender.has_log:
        await world.drained()
    taken = time.monotonic() - begun
    cpu = _read_cpu(pids)
    written = await _read_written(world)
    orders = max(1, len(answers.order_ids))
    values = {
        "rate": answers.rate,
        "recorded_rate": len(answers.order_ids) / taken,
        "p50_ms": answers.p50_ms,
        "p99_ms": answers.p99_ms,
        "orders": float(len(answers.order_ids)),
        "refused": float(answers.refused + answers.timeouts + answers.broken),
        "client_cpu": answers.client_cpu / orders * 1000,
        "wal": (written.wal - written_before.wal) / orders,
        **{f"cpu:{name}": (cpu[name] - cpu_before[name]) / orders * 1000 for name in pids},
        **{f"memory:{name}": memory_mib(found) for name, found in pids.items()},
    }
    if contender.has_log and written.aof >= written_before.aof:  # smaller: the file was rewritten meanwhile
        values["aof"] = (written.aof - written_before.aof) / orders
    return Figure(part, contender.name, connections, values), answers


async def measure_half(world: World, contender: Contender, capacity: float, seconds: float) -> tuple[Figure, Answers]:
    """The same at half of `capacity` (orders a second), with the time from acceptance to commit."""
    think_ms = max(0.0, HALF_CONNECTIONS / (capacity / 2) * 1000 - 2)
    figure, answers = await measure(world, contender, HALF, HALF_CONNECTIONS, seconds, think_ms)
    values = {**figure.values, "capacity": capacity}
    if contender.has_log and answers.order_ids:
        connection = await world.connect(contender.database)
        try:
            delays = await connection.fetchval(_COMMIT_DELAYS, [UUID(order_id) for order_id in answers.order_ids])
        finally:
            await connection.close()
        values |= {"to_row_p50_ms": delays[0], "to_row_p99_ms": delays[1]}
    return Figure(HALF, contender.name, 0, values), answers


async def judge_round(world: World, contender: Contender, since: datetime, runs: Sequence[Answers]) -> Verdict:
    """The oracle's verdict on all that `contender` was sent since `since`."""
    connection = await world.connect(contender.database)
    try:
        records = await connection.fetch(contender.rows, since)
    finally:
        await connection.close()
    return judge_answers(world.shoppers, runs, [row_of(contender, record) for record in records])


def now() -> datetime:
    """The clock that all servers of this machine share."""
    return datetime.now(UTC)


def _port(world: World, contender: Contender) -> int:
    return world.ports[contender.door]


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
