"""Lists, inserts and reconcile, each in a small and in a large database in turn, by the product's own code.

Judges by CPU: rates are told, and depend on who else is there.
"""

import time
from collections.abc import Mapping, Sequence

from services.bench.grow import ORDERS_OF_A_USER
from services.bench.growth import Step, total
from services.bench.growth_sides import Say, Side
from services.bench.measure_reads import buffers_of_lists
from services.bench.processes import cpu_seconds
from services.bench.table_sizes import read_relations
from services.bench.world import World
from services.bench.wrk import ask_for_orders
from services.certify.world import DoesNotRun
from services.orders.archive import connect_operator
from services.orders.reconcile_rows import compare_pages, count_orders
from services.orders.record_events import record_batch
from shared.settings import Settings

BATCH = 500  # entries
_ROUNDS = 3
_BATCHES = 12  # a round and side
_WARM_BY = 100  # of this many orders that are there, one is recorded before it counts
_WARM = 4  # batches, at least
_CONNECTIONS = 16
_WINDOW = (
    30_000  # orders to reconcile, a round and side; ids are spread evenly, so that any window stands for the whole
)

Sides = Mapping[str, Side]


async def measure_lists(world: World, sides: Sides, step: Step, seconds: float, say: Say) -> None:
    """GET /api/orders, 20 orders each, for `seconds` a round and side."""
    for side in sides.values():
        await side.let_vacuum(is_on=False)  # what it owes to earlier inserts is none of a list's cost
        await ask_for_orders(side.shoppers, world.folder, side.port, _CONNECTIONS, 2 * seconds)  # warm
    for number in range(_ROUNDS):
        for side in _in_turn(sides, number):
            pids = side.pids(world)
            before = {process: cpu_seconds([pid]) for process, pid in pids.items()}
            lists = await ask_for_orders(side.shoppers, world.folder, side.port, _CONNECTIONS, seconds)
            used = {process: cpu_seconds([pid]) - before[process] for process, pid in pids.items()}
            if lists.orders != lists.answered * ORDERS_OF_A_USER or lists.refused:
                raise DoesNotRun(f"the lists do not hold {ORDERS_OF_A_USER} orders each: {lists}")
            values = {process: cpu / lists.answered * 1e6 for process, cpu in used.items()}
            values |= {"rate": lists.answered / lists.seconds, "p50_ms": lists.p50_ms, "p99_ms": lists.p99_ms}
            if number == 0:
                values["buffers"] = await buffers_of_lists(world.redis_url, side.url, side.shoppers.users)
            step.lists[side.name].append(values)
            say(
                f"{step.rows:>9} {side.name:<5} list {total(values):6.0f} µs, Postgres {values['postgres']:4.0f}"
                f"  {values['rate']:6.0f} lists/s"
            )
    for side in sides.values():
        await side.let_vacuum(is_on=True)


async def measure_inserts(sides: Sides, step: Step, say: Say) -> None:
    """Batches of fresh checkouts: right after a checkpoint, then, warm, in turn with the small database."""
    small, grown = sides.values()
    await grown.execute("CHECKPOINT")
    step.after_checkpoint = await _record(grown, _BATCHES)
    say(f"{step.rows:>9} grown insert {step.after_checkpoint['postgres']:6.0f} µs right after a checkpoint")
    await _record(small, _WARM)
    await _record(grown, max(_WARM, step.rows // _WARM_BY // BATCH))
    await grown.execute("SELECT pg_stat_reset()")
    for number in range(_ROUNDS):
        for side in _in_turn(sides, number):
            values = await _record(side, _BATCHES)
            step.inserts[side.name].append(values)
            say(
                f"{step.rows:>9} {side.name:<5} insert {values['postgres']:6.0f} µs of Postgres"
                f"  {values['wal']:6.0f} B of WAL  {values['ms']:6.1f} ms a batch"
            )
    step.fresh = _ROUNDS * (_BATCHES + 1) * BATCH
    await grown.engine.dispose()  # its server process tells what it read when it ends
    step.relations = await read_relations(grown.url)


async def _record(side: Side, batches: int) -> dict[str, float]:
    """`batches` recorded by the consumer's own code, one after the other, after one that only warms."""
    waiting = side.fresh.batches(batches + 1, BATCH)
    assert side.postgres.pid is not None
    await record_batch(side.engine, waiting[0], "bench")
    wal = await side.fetch("SELECT pg_current_wal_lsn() - '0/0'")
    own, before, begun = time.process_time(), cpu_seconds([side.postgres.pid]), time.monotonic()
    recorded = [len((await record_batch(side.engine, batch, "bench")).recorded) for batch in waiting[1:]]
    taken = time.monotonic() - begun
    orders = batches * BATCH
    if sum(recorded) != orders:
        raise DoesNotRun(f"{orders - sum(recorded)} of {orders} fresh checkouts were not recorded")
    return {
        "postgres": (cpu_seconds([side.postgres.pid]) - before) / orders * 1e6,
        "consumer": (time.process_time() - own) / orders * 1e6,
        "ms": taken / batches * 1000,
        "wal": float(await side.fetch("SELECT pg_current_wal_lsn() - '0/0'") - wal) / orders,
    }


async def measure_reconcile(sides: Sides, step: Step, say: Say) -> None:
    """The first orders by id, which are a random sample; then the count that a whole run begins with."""
    for number in range(_ROUNDS):
        for side in _in_turn(sides, number):
            values = await _reconcile(side)
            step.reconciled[side.name].append(values)
            say(f"{step.rows:>9} {side.name:<5} reconcile {total(values):6.0f} µs an order")
    engine = connect_operator(Settings(DATABASE_URL=sides["grown"].url), "bench")
    begun = time.monotonic()
    try:
        async with engine.connect() as connection:
            await count_orders(connection)
    finally:
        await engine.dispose()
    step.count_seconds = time.monotonic() - begun


async def _reconcile(side: Side) -> dict[str, float]:
    assert side.postgres.pid is not None
    engine = connect_operator(Settings(DATABASE_URL=side.url), "bench")
    orders = wrong = 0
    begun, own, before = time.monotonic(), time.process_time(), cpu_seconds([side.postgres.pid])
    try:
        async for count, _moved, found in compare_pages(engine, fix=False):
            orders += count
            wrong += len(found)
            if orders >= _WINDOW:
                break
    finally:
        await engine.dispose()
    if wrong:
        raise DoesNotRun(f"reconcile finds {wrong} discrepancies in what was recorded")
    return {
        "postgres": (cpu_seconds([side.postgres.pid]) - before) / orders * 1e6,
        "consumer": (time.process_time() - own) / orders * 1e6,
        "orders": float(orders),
        "seconds": (time.monotonic() - begun) / orders * 1e6,
    }


def _in_turn(sides: Sides, number: int) -> Sequence[Side]:
    both = list(sides.values())
    return both if number % 2 == 0 else both[::-1]
