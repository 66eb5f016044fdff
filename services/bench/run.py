"""The order of a benchmark: which part, which contender, which round. Measures nothing itself.

Contenders alternate within a round, each round begins with another one, and every round ends with the oracle.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path

from services.bench.contenders import CONTENDERS, Contender
from services.bench.environment import describe_environment
from services.bench.figures import ACCEPT, COMPARED_AT, DRAIN, FULL, READS, Results
from services.bench.fill import fill_tables
from services.bench.measure_accept import judge_round, measure, measure_half, now
from services.bench.measure_drain import measure_drain
from services.bench.measure_reads import measure_reads
from services.bench.plan import Plan
from services.bench.shoppers import prepare_shoppers
from services.bench.world import Lent, World, open_world
from services.bench.wrk import Answers, require_wrk
from services.cart.catalog import load_catalog
from services.certify.world import DoesNotRun
from shared.settings import Settings

FULL_CONTENDERS = ("tillroll", "afternoon")
WARM_UP = 1  # seconds; imports, pools, prepared statements

Say = Callable[[str], None]


async def run_bench(plan: Plan, folder: Path, lent: Lent, say: Say) -> Results:
    """Everything in `plan`, in the empty `folder`; `say` gets a line for each thing that happens.

    Raises TillrollError when something cannot be started; what an oracle finds is in the results.
    """
    require_wrk()
    begun = time.monotonic()
    shoppers = prepare_shoppers(folder, load_catalog(Settings()))
    async with AsyncExitStack() as stack:
        say("starting the servers")
        world = await open_world(folder, lent, shoppers)
        stack.push_async_callback(world.stop)
        results = Results(await describe_environment(world))
        bench = _Bench(plan, world, results, say)
        if {ACCEPT, FULL} & set(plan.parts):
            await bench.accept()
        await bench.end_processes()
        try:
            if DRAIN in plan.parts:
                await measure_drain(world, results, plan.events, plan.drains, plan.seconds * 2, say)
            if READS in plan.parts:
                await measure_reads(world, results, plan.read_rows, plan.seconds, say)
        except DoesNotRun as fault:  # what was measured before it still counts for a reader
            results.accidents.append(str(fault))
        results.accidents += world.accidents()
    results.seconds = time.monotonic() - begun
    return results


class _Bench:
    """One run on its way."""

    def __init__(self, plan: Plan, world: World, results: Results, say: Say) -> None:
        self.plan, self.world, self.results, self.say = plan, world, results, say

    async def accept(self) -> None:
        names = self.plan.contenders
        self.say(f"starting {', '.join(names)}")
        await self.world.start(names)
        await self._rounds("warm-up", [CONTENDERS[n] for n in names], (COMPARED_AT,), 1, WARM_UP, has_half_load=False)
        self.results.figures.clear()
        if ACCEPT in self.plan.parts:
            contenders = [CONTENDERS[name] for name in names]
            half = self.plan.has_half_load
            await self._rounds(
                ACCEPT, contenders, self.plan.levels, self.plan.rounds, self.plan.seconds, has_half_load=half
            )
        large = [CONTENDERS[name] for name in names if name in FULL_CONTENDERS]
        if FULL in self.plan.parts and large:
            await fill_tables(self.world, large, self.plan.rows, self.say)
            rounds = max(1, self.plan.rounds - 1)
            await self._rounds(FULL, large, (COMPARED_AT,), rounds, self.plan.seconds, has_half_load=False)

    async def end_processes(self) -> None:
        self.results.accidents += self.world.accidents()
        await self.world.stop_processes()

    async def _rounds(
        self,
        part: str,
        contenders: Sequence[Contender],
        levels: Sequence[int],
        rounds: int,
        seconds: float,
        *,
        has_half_load: bool,
    ) -> None:
        for number in range(rounds):
            for contender in _rotated(contenders, number):
                since, runs = now(), list[Answers]()
                for connections in (COMPARED_AT,) if contender.is_alone else levels:
                    runs.append(await self._saturate(part, contender, connections, seconds, number))
                if has_half_load and not contender.is_alone:
                    runs.append(await self._half(contender, runs, number))
                await self._judge(part, contender, since, runs)

    async def _saturate(
        self, part: str, contender: Contender, connections: int, seconds: float, number: int
    ) -> Answers:
        figure, answers = await measure(self.world, contender, part, connections, seconds)
        self.results.figures.append(figure)
        self.say(
            f"{part} {number + 1}  {contender.name:<17}{connections:>4} connections {answers.rate:8.0f} orders/s"
            f"  p50 {answers.p50_ms:6.1f} ms  p99 {answers.p99_ms:6.1f} ms{_refusals(answers)}"
        )
        return answers

    async def _half(self, contender: Contender, runs: Sequence[Answers], number: int) -> Answers:
        capacity = max(run.rate for run in runs)
        figure, answers = await measure_half(self.world, contender, capacity, self.plan.seconds)
        self.results.figures.append(figure)
        self.say(
            f"half {number + 1}    {contender.name:<17}  at half load  {answers.rate:8.0f} orders/s"
            f"  p50 {answers.p50_ms:6.1f} ms  p99 {answers.p99_ms:6.1f} ms{_refusals(answers)}"
        )
        return answers

    async def _judge(self, part: str, contender: Contender, since: datetime, runs: Sequence[Answers]) -> None:
        verdict = await judge_round(self.world, contender, since, runs)
        self.results.verdicts.setdefault(contender.name, []).append(verdict)
        if not verdict.is_good:
            self.say(f"{part}  {contender.name}: THE ORACLE OBJECTS: {verdict}")
        for name, process in self.world.processes.items():
            if process.pid is None:
                raise DoesNotRun(f"{name} has ended; its log is {process.log}")


def _rotated(contenders: Sequence[Contender], number: int) -> Iterator[Contender]:
    """Each round begins one further, so that none always follows the same one."""
    first = number % len(contenders)
    yield from (*contenders[first:], *contenders[:first])


def _refusals(answers: Answers) -> str:
    refused = answers.refused + answers.broken + answers.timeouts
    return f"  {refused} not accepted ({answers.last_refusal or 'broken or too late'})" if refused else ""
