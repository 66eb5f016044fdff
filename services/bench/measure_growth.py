"""The cost of an order and of a list while one database grows, beside one that stays small.

Both are loaded in turn, each by a PostgreSQL of its own, so that a machine that does something else disturbs both. The
product's own code records, lists and reconciles. Judges by CPU: rates are told, and depend on who else is there.
"""

import asyncio
import os
import resource
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from services.bench.environment import describe_environment
from services.bench.grow import CHUNK, ORDERS_OF_A_USER, FreshCheckouts, connect, grow, readers
from services.bench.measure_reads import buffers_of_lists
from services.bench.processes import cpu_seconds
from services.bench.shoppers import Shoppers, prepare_shoppers
from services.bench.table_sizes import Relation, read_relations
from services.bench.world import Lent, World, open_world
from services.bench.wrk import ask_for_orders, require_wrk
from services.cart.catalog import load_catalog
from services.certify.readiness import is_ready, postgres_answers
from services.certify.world import DoesNotRun, Process, free_port
from services.orders.archive import connect_operator
from services.orders.entries import Entry
from services.orders.migrate import migrate
from services.orders.reconcile_rows import compare_pages, count_orders
from services.orders.record_events import record_batch
from shared.postgres import connect_postgres
from shared.settings import Settings

SIZES = (100_000, 1_000_000, 5_000_000)  # orders
BATCH = 500  # entries; the consumer's largest
FLAT = 1.5  # how much dearer an order or a list may be in the largest table than in the small one
_ROUNDS = 3
_BATCHES = 12  # a round and side
_WARM_BY = 100  # of this many orders that are there, one is recorded before it counts
_WARM = 4  # batches, at least
_READERS = 2000
_CONNECTIONS = 16
_WINDOW = 30_000  # orders
_WHOLE_UP_TO = 100_000  # orders; above it a window stands for the whole, because ids are spread evenly
_SIDES = ("small", "grown")
_SERVER = {"max_wal_size": "16GB", "checkpoint_timeout": "30min"}
"""What a server of such a size is given; with the default of 1 GB it would write checkpoints without end."""
_OF_MEMORY = 4  # shared_buffers is this part of the machine's memory, as PostgreSQL's manual advises
_TIGHT = "128MB"  # PostgreSQL's default, where indexes leave the cache soonest

Say = Callable[[str], None]


@dataclass
class Step:
    """What was found at one size. Costs in µs of CPU by side, one value a round; times in seconds."""

    rows: int
    inserts: dict[str, list[dict[str, float]]] = field(default_factory=lambda: {side: [] for side in _SIDES})
    lists: dict[str, list[dict[str, float]]] = field(default_factory=lambda: {side: [] for side in _SIDES})
    after_checkpoint: dict[str, float] = field(default_factory=dict)
    reconciled: list[dict[str, float]] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)
    fresh: int = 0
    """Orders that were recorded while the reads of `relations` were counted."""

    def ratio(self, part: str) -> float:
        """Cost in the grown database over cost in the small one, in turn: of `inserts` Postgres, of `lists` all."""
        found: dict[str, list[dict[str, float]]] = getattr(self, part)
        grown, small = (median(cost_of(part, values) for values in found[side]) for side in reversed(_SIDES))
        return grown / small


def cost_of(part: str, values: Mapping[str, float]) -> float:
    """µs of CPU by which this part is judged."""
    return values["postgres"] if part == "inserts" else values["postgres"] + values["web"] + values["redis"]


@dataclass
class Growth:
    """All that one run found."""

    environment: dict[str, Any]
    settings: dict[str, str]
    steps: list[Step] = field(default_factory=list)
    tight: list[Step] = field(default_factory=list)
    """The same sizes with the default shared_buffers. Told, not judged."""
    seconds: float = 0.0

    @property
    def is_flat(self) -> bool:
        """Whether an order and a list cost about the same in every size."""
        return all(step.ratio(part) <= FLAT for step in self.steps for part in ("inserts", "lists"))


@dataclass
class _Side:
    """One database with its server and gateway."""

    url: str
    postgres: Process
    gateway: Process
    port: int
    fresh: FreshCheckouts
    shoppers: Shoppers

    def pids(self, world: World) -> dict[str, int]:
        found = {"postgres": self.postgres.pid, "web": self.gateway.pid, "redis": world.redis.pid}
        return {name: pid for name, pid in found.items() if pid is not None}


def sizes_up_to(rows: int | None) -> Sequence[int]:
    """The sizes of a run whose largest has `rows` orders, in whole chunks."""
    if rows is None:
        return SIZES
    largest = -(-rows // CHUNK) * CHUNK
    return (*(size for size in SIZES if size < largest), largest)


async def measure_growth(sizes: Sequence[int], seconds: float, folder: Path, lent: Lent, say: Say) -> Growth:
    """One database that grows through `sizes`; `seconds` of lists a round. Raises TillrollError."""
    require_wrk()
    begun = time.monotonic()
    places = folder / "shoppers"
    places.mkdir()
    names = {size: readers(size, _READERS) for size in sizes}
    everybody = prepare_shoppers(
        places, load_catalog(Settings()), names=sorted({n for own in names.values() for n in own})
    )
    async with AsyncExitStack() as stack:
        say("starting the servers")
        world = await open_world(folder, lent, everybody)
        stack.push_async_callback(world.stop)
        growth = Growth(await describe_environment(world), {})
        sides = {side: await _open_side(world, side, stack) for side in _SIDES}
        for side in sides.values():
            await _set_up(side, {**_SERVER, "shared_buffers": f"{_memory_mib() // _OF_MEMORY}MB"})
        growth.settings = await _settings_of(sides["grown"].url)
        await grow(sides["small"].url, 0, min(sizes), say)
        present = 0
        for size in sizes:
            await grow(sides["grown"].url, present, size, say)
            present = size
            growth.steps.append(await _measure(world, sides, size, min(sizes), names, seconds, say))
            say(f"{size:>9} grown again with shared_buffers of {_TIGHT}")
            await _set_up(sides["grown"], {"shared_buffers": _TIGHT})
            growth.tight.append(await _measure_again(world, sides, size, seconds, say))
            await _set_up(sides["grown"], {"shared_buffers": growth.settings["shared_buffers"]})
    growth.seconds = time.monotonic() - begun
    return growth


async def _open_side(world: World, side: str, stack: AsyncExitStack) -> _Side:
    if side == "grown":
        postgres = world.postgres
    else:
        place = world.folder / side
        place.mkdir(mode=0o711)
        program = await asyncio.to_thread(world.lent.postgres, place)
        postgres = Process(program, world.folder / f"{side}.log", partial(postgres_answers, program.url))
        await postgres.start()
        stack.push_async_callback(_end, postgres)
        await asyncio.to_thread(migrate, program.url)
    port = free_port()
    web = world.program(f"gateway-{side}", world.lent.gateway_argv(port), DATABASE_URL=postgres.program.url)
    gateway = Process(web, world.folder / f"gateway-{side}.log", partial(is_ready, port))
    await gateway.start()
    stack.push_async_callback(_end, gateway)
    fresh = FreshCheckouts(load_catalog(Settings()), CHUNK)
    return _Side(postgres.program.url, postgres, gateway, port, fresh, world.shoppers)


async def _end(process: Process) -> None:
    process.may_die = True
    await process.end(signal.SIGTERM)


async def _set_up(side: _Side, settings: Mapping[str, str]) -> None:
    """Starts the server of `side` anew with `settings`."""
    connection = await connect(side.url)
    try:
        for name, value in settings.items():
            await connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
    side.postgres.may_die = True
    await side.postgres.end(signal.SIGINT)  # SIGTERM would wait for the gateway to hang up
    side.postgres.may_die = False
    await side.postgres.start()


def _memory_mib() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20


async def _settings_of(url: str) -> dict[str, str]:
    connection = await connect(url)
    try:
        names = ("shared_buffers", *_SERVER, "wal_compression", "autovacuum")
        return {name: str(await connection.fetchval(f"SHOW {name}")) for name in names}
    finally:
        await connection.close()


async def _measure(
    world: World,
    sides: dict[str, _Side],
    size: int,
    smallest: int,
    names: Mapping[int, Sequence[str]],
    seconds: float,
    say: Say,
) -> Step:
    step = Step(size)
    for side, rows in zip(_SIDES, (smallest, size), strict=True):
        own = sides[side]
        own.shoppers = _some_of(world.shoppers, names[rows], world.folder / f"tokens-{side}")
        if side == "grown":
            own.fresh = FreshCheckouts(load_catalog(Settings()), rows)
    await _measure_lists(world, sides, step, seconds, say)
    await _measure_inserts(world, sides, step, say)
    await _measure_reconcile(sides["grown"], step, say)
    return step


async def _measure_again(world: World, sides: dict[str, _Side], size: int, seconds: float, say: Say) -> Step:
    step = Step(size)
    await _measure_lists(world, sides, step, seconds, say)
    await _measure_inserts(world, sides, step, say)
    return step


def _some_of(shoppers: Shoppers, names: Sequence[str], file: Path) -> Shoppers:
    tokens = dict(zip(shoppers.users, shoppers.tokens_file.read_text().splitlines(), strict=True))
    file.write_text("\n".join(tokens[name] for name in names) + "\n")
    return replace(shoppers, users=tuple(names), tokens_file=file)


async def _measure_lists(world: World, sides: dict[str, _Side], step: Step, seconds: float, say: Say) -> None:
    for side in sides.values():
        await ask_for_orders(side.shoppers, world.folder, side.port, _CONNECTIONS, seconds)  # warm
    for number in range(_ROUNDS):
        for name, side in _in_turn(sides, number):
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
            step.lists[name].append(values)
            say(
                f"{step.rows:>9} {name:<5} list {cost_of('lists', values):6.0f} µs, Postgres {values['postgres']:4.0f}"
                f"  {values['rate']:6.0f} lists/s"
            )


async def _measure_inserts(world: World, sides: dict[str, _Side], step: Step, say: Say) -> None:
    grown = sides["grown"]
    await _execute(grown.url, "CHECKPOINT")
    step.after_checkpoint = await _record(grown, _BATCHES)
    say(f"{step.rows:>9} grown insert {step.after_checkpoint['postgres']:6.0f} µs right after a checkpoint")
    await _record(sides["small"], _WARM)
    await _record(grown, max(_WARM, step.rows // _WARM_BY // BATCH))
    await _execute(grown.url, "SELECT pg_stat_reset()")
    for number in range(_ROUNDS):
        for name, side in _in_turn(sides, number):
            values = await _record(side, _BATCHES)
            step.inserts[name].append(values)
            say(
                f"{step.rows:>9} {name:<5} insert {values['postgres']:6.0f} µs of Postgres"
                f"  {values['wal']:6.0f} B of WAL  {values['ms']:6.1f} ms a batch"
            )
    step.fresh = _ROUNDS * (_BATCHES + 1) * BATCH
    step.relations = await read_relations(grown.url)


async def _record(side: _Side, batches: int) -> dict[str, float]:
    """`batches` recorded by the consumer's own code, one after the other, after one that only warms."""
    waiting: Sequence[list[Entry]] = side.fresh.batches(batches + 1, BATCH)
    engine = connect_postgres(Settings(DATABASE_URL=side.url), "bench")
    assert side.postgres.pid is not None
    try:
        await record_batch(engine, waiting[0], "bench")
        wal = await _fetch(side.url, "SELECT pg_current_wal_lsn() - '0/0'")
        own, before, begun = time.process_time(), cpu_seconds([side.postgres.pid]), time.monotonic()
        recorded = [len((await record_batch(engine, batch, "bench")).recorded) for batch in waiting[1:]]
        taken = time.monotonic() - begun
        orders = batches * BATCH
        if sum(recorded) != orders:
            raise DoesNotRun(f"{orders - sum(recorded)} of {orders} fresh checkouts were not recorded")
        return {
            "postgres": (cpu_seconds([side.postgres.pid]) - before) / orders * 1e6,
            "consumer": (time.process_time() - own) / orders * 1e6,
            "ms": taken / batches * 1000,
            "wal": float(await _fetch(side.url, "SELECT pg_current_wal_lsn() - '0/0'") - wal) / orders,
        }
    finally:
        await engine.dispose()  # its server process tells what it read when it ends


async def _measure_reconcile(side: _Side, step: Step, say: Say) -> None:
    assert side.postgres.pid is not None
    engine = connect_operator(Settings(DATABASE_URL=side.url), "bench")
    try:
        for limit in [_WINDOW] + [2**62] * (step.rows <= _WHOLE_UP_TO):
            begun, own, before = time.monotonic(), time.process_time(), cpu_seconds([side.postgres.pid])
            orders = wrong = 0
            async for count, _moved, found in compare_pages(engine, fix=False):
                orders += count
                wrong += len(found)
                if orders >= limit:
                    break
            if wrong:
                raise DoesNotRun(f"reconcile finds {wrong} discrepancies in what was recorded")
            taken = time.monotonic() - begun
            values = {
                "orders": float(orders),
                "is_whole": float(limit > step.rows),
                "seconds": taken / orders * 1e6,
                "consumer": (time.process_time() - own) / orders * 1e6,
                "postgres": (cpu_seconds([side.postgres.pid]) - before) / orders * 1e6,
                "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
            step.reconciled.append(values)
            say(f"{step.rows:>9} reconcile of {orders} orders: {values['seconds']:.0f} s a million")
        begun = time.monotonic()
        async with engine.connect() as connection:
            await count_orders(connection)
        step.reconciled[0]["count_seconds"] = time.monotonic() - begun
    finally:
        await engine.dispose()


def _in_turn(sides: dict[str, _Side], number: int) -> Sequence[tuple[str, _Side]]:
    pairs = list(sides.items())
    return pairs if number % 2 == 0 else pairs[::-1]


async def _execute(url: str, statement: str) -> None:
    connection = await connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _fetch(url: str, query: str) -> Any:
    connection = await connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()
