"""Live checkouts beside a replay: windows of the same load on the same servers, in turn without and with one.

A replay is previewed and then sent, and both are measured: by what the shoppers notice, and by the CPU that it takes.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from services.bench.busy import OtherWork, warning_before
from services.bench.contenders import CONTENDERS, TILLROLL_DB
from services.bench.environment import describe_environment
from services.bench.figures import COMPARED_AT
from services.bench.measure_accept import HALF_CONNECTIONS, judge_round, now
from services.bench.oracle import Verdict
from services.bench.processes import cpu_seconds
from services.bench.replays import DOORS, Range, Replay
from services.bench.shoppers import prepare_shoppers
from services.bench.world import Lent, World, open_world
from services.bench.wrk import Answers, check_out, require_wrk
from services.cart.catalog import load_catalog
from services.certify.world import DoesNotRun
from shared.settings import Settings

PAIRS = 8
SECONDS = 6.0  # a window
WITHIN = 1.10  # of the p99 without a replay
SHARE = 0.4  # of capacity
_CONTENDER = CONTENDERS["tillroll-1"]  # one process: a replay from the console shares it with every checkout
_TRIED = 300  # events, in a replay that tells how many are previewed and sent in a window
_LONGER = 1.25  # than a window: what ended within it would leave the rest of it in peace
_BETWEEN = 1.0  # seconds

Say = Callable[[str], None]


@dataclass(frozen=True)
class Window:
    """One load. `rate`: orders a second; `cpu`: cores in use by process."""

    rate: float
    p50_ms: float
    p99_ms: float
    cpu: Mapping[str, float]
    other_work: float
    """Cores that were busy with something else."""
    replayed: float = 0.0
    """Events previewed or sent a second."""


@dataclass
class Beside:
    """What one run found. `pairs`: what a replay did -> windows without and with that, in pairs."""

    environment: dict[str, Any]
    capacity: float
    events: int
    """Events in each replay."""
    pairs: dict[str, list[tuple[Window, Window]]] = field(default_factory=dict)
    replays: list[dict[str, Any]] = field(default_factory=list)
    verdict: Verdict | None = None
    accidents: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def medians(self, way: str, figure: Callable[[Window], float]) -> tuple[float, float]:
        """Without and with a replay."""
        without, beside = zip(*self.pairs[way], strict=True)
        return median(map(figure, without)), median(map(figure, beside))

    def p99_ratio(self, way: str) -> float:
        """Of the medians."""
        without, beside = self.medians(way, lambda window: window.p99_ms)
        return beside / without

    @property
    def is_exact(self) -> bool:
        """Whether no order is lost or doubled, and every replay did to the unit what its preview said."""
        as_planned = all(run["result"] == run["planned"] for run in self.replays)
        return as_planned and self.verdict is not None and self.verdict.is_good and not self.accidents

    @property
    def is_within(self) -> bool:
        """Whether no way of replaying made the p99 of the checkouts worse than WITHIN."""
        return all(self.p99_ratio(way) <= WITHIN for way in self.pairs)


async def measure_beside_replay(pairs: int, seconds: float, folder: Path, lent: Lent, say: Say) -> Beside:
    """`pairs` pairs of windows for each act at each door. Raises TillrollError when something does not run."""
    require_wrk()
    begun, warning = time.monotonic(), warning_before()
    if warning:
        say(warning)
    shoppers = prepare_shoppers(folder, load_catalog(Settings()))
    async with AsyncExitStack() as stack:
        world = await open_world(folder, lent, shoppers)
        stack.push_async_callback(world.stop)
        await world.start([_CONTENDER.name])
        stack.push_async_callback(world.stop_processes)
        bench = _Bench(world, seconds, say)
        await bench.make_past()
        events = await bench.fitting_events()
        chosen = await bench.first(events)
        found = Beside(await describe_environment(world), bench.capacity, events)
        for number in range(pairs):
            for door, replay in DOORS.items():
                for act, pair in (await bench.round(replay(world, chosen), found, number)).items():
                    found.pairs.setdefault(f"{act}: {door}", []).append(pair)
                    say(_told(f"{act}: {door}", *pair))
        found.verdict = await judge_round(world, _CONTENDER, bench.since, bench.loads)
        found.accidents = world.accidents()
    found.seconds = time.monotonic() - begun
    return found


class _Bench:
    """One run on its way."""

    def __init__(self, world: World, seconds: float, say: Say) -> None:
        self.world, self.seconds, self.say = world, seconds, say
        self.since = now()
        self.loads: list[Answers] = []
        self.capacity = 0.0
        self.think_ms = 0.0

    async def make_past(self) -> None:
        """Accepts checkouts without waiting, which tells the capacity, and then at the rate of the windows."""
        await self._load(COMPARED_AT, 1)  # warm: imports, pools, prepared statements
        rates = []
        for _ in range(2):
            answers = await self._load(COMPARED_AT, self.seconds)
            if not answers.order_ids:
                raise DoesNotRun(f"no checkout is accepted: {answers.last_refusal}")
            rates.append(answers.rate)
            self.say(f"replay     saturated {answers.rate:8.0f} orders/s")
        self.capacity = median(rates)
        cycle = HALF_CONNECTIONS / (SHARE * self.capacity) * 1000
        self.think_ms = max(1.0, cycle - (await self._load(HALF_CONNECTIONS, 1, cycle)).p50_ms)
        await self.world.drained()

    async def fitting_events(self) -> int:
        """As many as make a preview and a sending a little longer than a window on this machine."""
        fastest = 0.0
        for make in DOORS.values():
            replay = make(self.world, await self.first(_TRIED))
            for begin in (replay.preview, replay.send):
                await begin()
                begun = time.monotonic()
                await replay.ended()
                fastest = max(fastest, _TRIED / (time.monotonic() - begun))
        return round(fastest * self.seconds * _LONGER)

    async def first(self, events: int) -> Range:
        """The `events` that were accepted first, or all of them if there are fewer."""
        connection = await self.world.connect(TILLROLL_DB)
        try:
            query = "SELECT accepted_at FROM events ORDER BY accepted_at OFFSET $1 LIMIT 1"
            end: datetime | None = await connection.fetchval(query, events)
        finally:
            await connection.close()
        return Range(self.since, end or now())

    async def round(self, replay: Replay, found: Beside, number: int) -> dict[str, tuple[Window, Window]]:
        """A window without a replay, one beside its preview, one beside its sending; the first is last in turn."""
        without = await self._window(None, None) if number % 2 == 0 else None
        previewed = await self._window(replay, replay.preview)
        await replay.ended()
        sent = await self._window(replay, replay.send)
        found.replays.append(await replay.ended())
        await self.world.drained()
        without = without or await self._window(None, None)
        return {"preview": (without, previewed), "sending": (without, sent)}

    async def _window(self, replay: Replay | None, begin: Callable[[], Awaitable[None]] | None) -> Window:
        await asyncio.sleep(_BETWEEN)
        if begin is not None:
            await begin()
        others, begun, before = OtherWork(), time.monotonic(), self._read_cpu(replay)
        answers = await self._load(HALF_CONNECTIONS, self.seconds, self.think_ms)
        after, taken, other_work = self._read_cpu(replay), time.monotonic() - begun, others.cores()
        cpu = {name: (used - before[name]) / taken for name, used in after.items()}
        previewed, sent = await replay.events() if replay is not None else (0, 0)
        return Window(answers.rate, answers.p50_ms, answers.p99_ms, cpu, other_work, (sent or previewed) / taken)

    async def _load(self, connections: int, seconds: float, think_ms: float = 0) -> Answers:
        world = self.world
        ports = [world.ports[door] for door in _CONTENDER.doors]
        answers = await check_out(
            world.shoppers, world.folder, ports, world.next_checkout, connections, seconds, think_ms
        )
        world.next_checkout = answers.next_first
        self.loads.append(answers)
        return answers

    def _read_cpu(self, replay: Replay | None) -> dict[str, float]:
        running = {"redis": self.world.redis, "postgres": self.world.postgres, **self.world.processes}
        pids = {name: process.pid for name, process in running.items()} | {
            "replay": replay.pid if replay is not None else None
        }
        return {name: cpu_seconds([pid]) for name, pid in pids.items() if pid is not None}


def _told(what: str, without: Window, beside: Window) -> str:
    return (
        f"{what:<27} p50 {without.p50_ms:6.1f} -> {beside.p50_ms:6.1f} ms  p99 {without.p99_ms:6.1f} ->"
        f" {beside.p99_ms:6.1f} ms at {without.rate:.0f} and {beside.rate:.0f} orders/s beside {beside.replayed:.0f}"
        f" events/s; other work {without.other_work:.1f} and {beside.other_work:.1f} cores"
    )
