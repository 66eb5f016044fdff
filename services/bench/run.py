"""The order of a benchmark: which part, which contender, which round. Measures nothing itself.

Contenders alternate within a round, every other round goes backwards, and whatever a contender was sent ends with the
oracle.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import median

from services.bench.busy import OtherWork, warning_before
from services.bench.contenders import CONTENDERS, Contender
from services.bench.environment import describe_environment, is_durable
from services.bench.figures import ACCEPT, COMPARED_AT, DRAIN, FULL, HALF, READS, Figure, Results
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
from shared.errors import TillrollError
from shared.settings import Settings

FULL_CONTENDERS = ("tillroll", "afternoon")
OUR_PACE = ("tillroll", "floor-http")
"""At half load these are asked for the same: half of what tillroll can do. The others for half of what they can."""

WARM_UP = 1  # seconds; imports, pools, prepared statements, and the tokens that were verified too long ago

Say = Callable[[str], None]


async def run_bench(plan: Plan, folder: Path, lent: Lent, say: Say) -> Results:
    """Everything in `plan`, in the empty `folder`; `say` gets a line for each thing that happens.

    Raises TillrollError when nothing can be started. What an oracle finds, and a part that broke off, is in the
    results: what was measured counts for a reader all the same.
    """
    require_wrk()
    begun = time.monotonic()

    def tell(line: str) -> None:
        say(f"{time.monotonic() - begun:5.0f} s  {line}")

    other_work = OtherWork()
    if warning := warning_before():
        tell(warning)
    tell("starting the servers")
    shoppers = prepare_shoppers(folder, load_catalog(Settings()))
    async with AsyncExitStack() as stack:
        world = await open_world(folder, lent, shoppers)
        stack.push_async_callback(world.stop)
        results = Results(await describe_environment(world))
        bench = _Bench(plan, world, results, tell)
        await bench.start()
        for number, part in enumerate(plan.parts, 1):
            tell(f"part {number} of {len(plan.parts)}: {part}")
            try:
                await bench.measure(part)
            except TillrollError as fault:
                results.accidents.append(f"{part} broke off: {fault}")
                tell(results.accidents[-1])
        results.accidents += world.accidents()
        if is_durable(results.environment) and not is_durable(await describe_environment(world)):
            results.accidents.append("durability was switched off during the run")
        results.environment["other_work"] = other_work.cores()
    results.seconds = time.monotonic() - begun
    return results


class _Bench:
    """One run on its way."""

    def __init__(self, plan: Plan, world: World, results: Results, say: Say) -> None:
        self.plan, self.world, self.results, self.say = plan, world, results, say
        self._contenders = [CONTENDERS[name] for name in plan.contenders]

    async def start(self) -> None:
        """The web tiers and the consumer, if a part needs them."""
        if {ACCEPT, HALF, FULL} & set(self.plan.parts):
            self.say(f"starting {', '.join(self.plan.contenders)}")
            await self.world.start(self.plan.contenders)

    async def measure(self, part: str) -> None:
        """One part; raises TillrollError when it cannot go on."""
        if part in (DRAIN, READS):  # they start their own
            self.results.accidents += self.world.accidents()
            await self.world.stop_processes()
        steps = {ACCEPT: self._accept, HALF: self._half, FULL: self._full, DRAIN: self._drain, READS: self._reads}
        await steps[part]()

    async def _accept(self) -> None:
        await self._rounds(self.plan.rounds, self._contenders, partial(self._saturate, ACCEPT, self.plan.levels))

    async def _half(self) -> None:
        loaded = [contender for contender in self._contenders if not contender.is_alone]
        await self._rounds(self.plan.half_rounds, loaded, self._keep_pace)

    async def _full(self) -> None:
        large = [contender for contender in self._contenders if contender.name in FULL_CONTENDERS]
        await fill_tables(self.world, large, self.plan.rows, self.say)
        await self._rounds(self.plan.full_rounds, large, partial(self._saturate, FULL, (COMPARED_AT,)))

    async def _drain(self) -> None:
        await measure_drain(self.world, self.results, self.plan.events, self.plan.drains, self.plan.seconds, self.say)

    async def _reads(self) -> None:
        await measure_reads(self.world, self.results, self.plan.read_rows, self.plan.seconds, self.say)

    async def _rounds(
        self,
        rounds: int,
        contenders: Sequence[Contender],
        load: Callable[[Contender, str], Awaitable[list[Answers]]],
    ) -> None:
        for number in range(rounds):
            for contender in in_turn(contenders, number):
                since = now()
                answers = await load(contender, f"round {number + 1}")
                await self._judge(contender, since, answers)

    async def _saturate(self, part: str, levels: Sequence[int], contender: Contender, label: str) -> list[Answers]:
        _, warm = await measure(self.world, contender, part, COMPARED_AT, WARM_UP)
        runs = [warm]
        for connections in (COMPARED_AT,) if contender.is_alone else levels:
            figure, answers = await measure(self.world, contender, part, connections, self.plan.seconds)
            self._note(figure, answers, f"{label}  {contender.name:<17}{connections:>4} connections")
            runs.append(answers)
        return runs

    async def _keep_pace(self, contender: Contender, label: str) -> list[Answers]:
        rate = self._half_of_capacity(contender)
        figure, runs = await measure_half(self.world, contender, rate, self.plan.seconds)
        self._note(figure, runs[-1], f"{label}  {contender.name:<17} asked {rate:8.0f}/s")
        return runs

    def _half_of_capacity(self, contender: Contender) -> float:
        paced = "tillroll" in self.plan.contenders and contender.name in OUR_PACE
        name = "tillroll" if paced else contender.name
        rates: dict[int, list[float]] = {}
        for figure in self.results.figures:
            if (figure.part, figure.contender) == (ACCEPT, name):
                rates.setdefault(figure.connections, []).append(figure.values["rate"])
        if not rates:
            raise DoesNotRun(f"nobody knows the capacity of {name}: that takes the part {ACCEPT}")
        return max(map(median, rates.values())) / 2

    def _note(self, figure: Figure, answers: Answers, label: str) -> None:
        self.results.figures.append(figure)
        self.say(
            f"{label} {answers.rate:8.0f} orders/s  p50 {answers.p50_ms:6.1f} ms  p99 {answers.p99_ms:6.1f} ms"
            f"{_refusals(answers)}"
        )

    async def _judge(self, contender: Contender, since: datetime, runs: Sequence[Answers]) -> None:
        verdict = await judge_round(self.world, contender, since, runs)
        self.results.verdicts.setdefault(contender.name, []).append(verdict)
        if not verdict.is_good:
            self.say(f"{contender.name}: THE ORACLE OBJECTS: {verdict}")
        for name, process in self.world.processes.items():
            if process.pid is None:
                raise DoesNotRun(f"{name} has ended; its log is {process.log}")

    async def _end_processes(self) -> None:
        self.results.accidents += self.world.accidents()
        await self.world.stop_processes()


def in_turn(contenders: Sequence[Contender], number: int) -> Sequence[Contender]:
    """Each round begins one further and goes the other way than the one before, so that none always follows another."""
    first = number % len(contenders)
    turned = (*contenders[first:], *contenders[:first])
    return turned[::-1] if number % 2 else turned


def _refusals(answers: Answers) -> str:
    refused = answers.refused + answers.broken + answers.timeouts
    return f"  {refused} not accepted ({answers.last_refusal or 'broken or too late'})" if refused else ""
