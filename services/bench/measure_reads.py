"""The order list, measured in a small and in a large table: buffers that its statements touch, CPU that it costs."""

import asyncio
import json
import signal
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from services.bench.figures import READS, Figure, Results
from services.bench.fill import fill_orders
from services.bench.processes import cpu_seconds
from services.bench.world import World, make_database
from services.bench.wrk import ask_for_orders
from services.certify.readiness import is_ready
from services.certify.roll import open_redis
from services.certify.world import DoesNotRun, Process, free_port
from services.orders.migrate import migrate
from services.orders.queries import list_orders
from shared.postgres import connect_postgres
from shared.settings import Settings

ORDERS_OF_A_USER = 20
ROUNDS = 3
_CONNECTIONS = 16
_EXPLAINED = 25  # users
_SIZES = ("small", "large")

Say = Callable[[str], None]


async def measure_reads(world: World, results: Results, rows: Sequence[int], seconds: float, say: Say) -> None:
    """GET /api/orders over the smallest and the largest of `rows` orders, in turn. Every user has as many orders."""
    sizes = dict(zip(_SIZES, (min(rows), max(rows)), strict=True))
    gateways = {}
    try:
        for size, count in sizes.items():
            gateways[size] = await _prepare(world, size, count, say)
        for number in range(ROUNDS):
            for size, (gateway, port) in gateways.items():
                figure = await _measure(world, gateway, port, size, sizes[size], seconds)
                results.figures.append(figure)
                say(
                    f"reads {number + 1}  {sizes[size]:>9} orders {figure.values['rate']:8.0f} lists/s"
                    f"  CPU {sum(v for n, v in figure.values.items() if n.startswith('cpu:')):.3f} s of 1000"
                    f"  {figure.values['buffers']:.0f} buffers"
                )
    finally:
        for gateway, _ in gateways.values():
            gateway.may_die = True
            await gateway.end(signal.SIGTERM)


async def _prepare(world: World, size: str, rows: int, say: Say) -> tuple[Process, int]:
    database = f"reads_{size}"
    await make_database(world, database)
    url = world.database_url(database)
    await asyncio.to_thread(migrate, url)
    await fill_orders(world, database, rows, rows // ORDERS_OF_A_USER, say)
    port = free_port()
    program = world.program(f"reads-{size}", world.lent.gateway_argv(port), DATABASE_URL=url)
    gateway = Process(program, world.folder / f"reads-{size}.log", partial(is_ready, port))
    await gateway.start()
    await ask_for_orders(world.shoppers, world.folder, port, _CONNECTIONS, 1)  # warm
    return gateway, port


async def _measure(world: World, gateway: Process, port: int, size: str, rows: int, seconds: float) -> Figure:
    assert gateway.pid is not None
    assert world.postgres.pid is not None
    assert world.redis.pid is not None
    pids = {"web": gateway.pid, "postgres": world.postgres.pid, "redis": world.redis.pid}
    before = {name: cpu_seconds([pid]) for name, pid in pids.items()}
    lists = await ask_for_orders(world.shoppers, world.folder, port, _CONNECTIONS, seconds)
    cpu = {name: cpu_seconds([pid]) - before[name] for name, pid in pids.items()}
    if lists.orders != lists.answered * ORDERS_OF_A_USER or lists.refused:
        raise DoesNotRun(f"the lists do not hold {ORDERS_OF_A_USER} orders each: {lists}")
    values = {
        "rows": float(rows),
        "rate": lists.answered / lists.seconds,
        "p50_ms": lists.p50_ms,
        "p99_ms": lists.p99_ms,
        "buffers": await buffers_of_lists(world.redis_url, world.database_url(f"reads_{size}"), world.shoppers.users),
        **{f"cpu:{name}": used / lists.answered * 1000 for name, used in cpu.items()},
    }
    return Figure(READS, size, 0, values)


async def buffers_of_lists(redis_url: str, url: str, users: Sequence[str]) -> float:
    """Pages of one list, the median over some of `users`: of the very statements that the product sends."""
    engine = connect_postgres(Settings(DATABASE_URL=url), "bench")
    connection = await asyncpg.connect(url, timeout=10, command_timeout=60)
    try:
        async with open_redis(redis_url) as redis:
            touched = []
            for user in users[:: max(1, len(users) // _EXPLAINED)]:
                statements = await _statements_of(engine, lambda user=user: list_orders(redis, engine, user))  # type: ignore[misc]
                touched.append(sum([await _explain(connection, *sent) for sent in statements]))
    finally:
        await engine.dispose()
        await connection.close()
    return median(touched)


async def _statements_of(engine: AsyncEngine, act: Callable[[], Any]) -> list[tuple[str, Sequence[Any]]]:
    sent: list[tuple[str, Sequence[Any]]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        sent.append((statement, parameters))

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    try:
        await act()
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", note)
    if not sent:
        raise DoesNotRun("the order list sends no statement through its engine")
    return sent


async def _explain(connection: Any, statement: str, parameters: Sequence[Any]) -> int:
    answer = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", *parameters)
    plan = json.loads(answer)[0]["Plan"]
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])
