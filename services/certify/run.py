"""One certification: build the system, load it, strike it, heal it, wait, judge. The seed decides what happens."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

import asyncpg
from redis.exceptions import RedisError

from services.certify.build_world import Prepare, build_world, issue_tokens
from services.certify.deadline import end_all, within
from services.certify.faults import FAULTS
from services.certify.history import Finding, judge_history
from services.certify.http_client import Door
from services.certify.load import Load, read_catalog
from services.certify.oracle import judge_rows
from services.certify.oracle_stream import judge_redis, judge_stream
from services.certify.outcome import Order, Outcome
from services.certify.plan import Protection
from services.certify.poisoner import Poisoner
from services.certify.roll import Roll, open_redis
from services.certify.sabotage import find_mutation
from services.certify.schedule import Planned, plan_faults
from services.certify.stage import Stage
from services.certify.timeline import Blow, Timeline
from services.certify.world import CHECKOUTS, GATEWAYS, DoesNotRun

POISONED = 0.01  # poison entries to a purchase
ASKED_AGAIN = 300  # purchases of every kind of protection but the window, submitted once more at the end
LOADED_WITHIN = 600.0  # seconds, beside twice the time asked for: each fault may need its minutes to heal
CLOSED_WITHIN = 480.0  # seconds for the last retries and waits, each of which has a shorter limit of its own
JUDGED_WITHIN = 300.0  # seconds
TROUBLE = (DoesNotRun, RedisError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)

Say = Callable[[str], None]


async def certify(order: Order, folder: Path, prepare: Prepare, say: Say) -> Outcome:
    """The whole of a run in the empty `folder`; `say` gets a line for each thing that happens. Raises TillrollError
    when the system cannot be started at all; what goes wrong later is a finding."""
    schedule = plan_faults(order.seed, order.minutes * 60, order.faults)
    if order.sabotage is not None:
        find_mutation(order.sabotage)
    outcome = Outcome(order, schedule, Timeline())
    begun = time.monotonic()
    async with AsyncExitStack() as stack:
        say(f"starting the servers and {len(CHECKOUTS) + 2} processes in {folder}")
        built = await build_world(stack, folder, prepare, {planned.name for planned in schedule}, order.sabotage)
        ports = built.world.ports
        gateways = [Door(name, ports[name]) for name in GATEWAYS]
        doors = [*gateways, Door("checkout-1", built.client_port)]
        shelf = await read_catalog(gateways[0])
        tokens = await asyncio.to_thread(issue_tokens, folder)
        load = Load(order.seed, shelf, doors, gateways, tokens)
        stack.callback(load.close)
        redis_url, database_url = built.world.redis.program.url, built.world.postgres.program.url
        stage = Stage(
            built.world,
            load,
            Poisoner(order.seed, redis_url, database_url),
            Roll(redis_url),
            Random(f"{order.seed}/stage"),  # noqa: S311
            built.proxies,
            built.clocks,
            small_disk=built.small_disk,
        )
        await _run(stage, outcome, say)
    outcome.seconds = time.monotonic() - begun
    return outcome


async def _run(stage: Stage, outcome: Outcome, say: Say) -> None:
    order, load = outcome.order, stage.load
    outcome.timeline = Timeline()
    watching = [
        asyncio.create_task(stage.roll.follow()),
        asyncio.create_task(outcome.timeline.watch(load, stage.redis_url)),
    ]
    try:
        all_struck = asyncio.Event()
        begun = time.monotonic()
        loading = _load(stage, outcome, say, all_struck)
        await within(order.minutes * 120 + LOADED_WITHIN, loading, lambda: _what_pends(stage, all_struck))
        outcome.load_seconds = time.monotonic() - begun
        say(f"{load.begun} purchases and {load.duplicates} duplicates are submitted; waiting until all is recorded")
        await within(CLOSED_WITHIN, _close(stage, outcome, say), lambda: "the closing has not ended")
    except TROUBLE as fault:
        outcome.findings.append(Finding("the system comes back", f"{type(fault).__name__}: {fault}"))
    finally:
        await end_all(watching)
    try:
        await within(JUDGED_WITHIN, _judge(stage, outcome), lambda: "rows and entries are not read to their end")
    except TROUBLE as fault:
        outcome.findings.append(Finding("the rows can be read", f"{type(fault).__name__}: {fault}"))


async def _load(stage: Stage, outcome: Outcome, say: Say, all_struck: asyncio.Event) -> None:
    order = outcome.order
    async with asyncio.TaskGroup() as group:
        group.create_task(stage.load.run(order.purchases, order.rate, all_struck))
        group.create_task(stage.poisoner.run(max(1, round(order.purchases * POISONED)), order.minutes * 55))
        group.create_task(_strike_all(stage, outcome, say, all_struck))


def _what_pends(stage: Stage, all_struck: asyncio.Event) -> str:
    struck = "all faults have struck" if all_struck.is_set() else "not all faults have struck"
    sent = f"{stage.load.begun} purchases are begun, {stage.poisoner.sent} poison entries sent"
    return f"{sent}, {stage.load.in_flight} requests under way, {struck}"


async def _strike_all(stage: Stage, outcome: Outcome, say: Say, all_struck: asyncio.Event) -> None:
    try:
        for planned in outcome.schedule:
            if planned.at is not None:
                await asyncio.sleep(max(0.0, planned.at - outcome.timeline.now()))
                await _strike(stage, outcome, planned, say)
    finally:
        all_struck.set()


async def _strike(stage: Stage, outcome: Outcome, planned: Planned, say: Say) -> None:
    begun = outcome.timeline.now()
    fault = FAULTS[planned.name]
    skipped = fault.skip()
    if skipped is None:
        say(f"{begun:7.1f} s  {planned.name}: {fault.told}")
        try:
            await fault.strike(stage, planned.hold)
        except TROUBLE as trouble:
            told = f"after {planned.name}: {type(trouble).__name__}: {trouble}"
            outcome.findings.append(Finding("the system comes back", told))
    else:
        say(f"{begun:7.1f} s  {planned.name} is skipped: {skipped}")
    outcome.timeline.blows.append(Blow(planned.name, begun, outcome.timeline.now(), skipped))


async def _close(stage: Stage, outcome: Outcome, say: Say) -> None:
    """Everything healed, everything recorded; then late retries, which must all be answered with what is known."""
    world = stage.world
    await asyncio.gather(world.redis.start(), world.postgres.start())
    await world.start_apps()
    await stage.drained()
    history = stage.load.history
    named = [p for p in history.purchases.values() if p.protection is not Protection.BARE]
    known = history.given()
    say("everything is recorded; asking again")
    await stage.load.submit_again([p for p in named if p.number in known][-ASKED_AGAIN:], "at the end")
    await stage.drained()
    for planned in outcome.schedule:
        if planned.at is None:
            await _strike(stage, outcome, planned, say)
            await stage.drained()
    await stage.roll.read_on()


async def _judge(stage: Stage, outcome: Outcome) -> None:
    history, losses = stage.load.history, stage.losses
    outcome.findings += [Finding("processes live", told) for told in stage.world.accidents()]
    outcome.findings += judge_history(history, losses.order_ids)
    outcome.purchases, outcome.duplicates = stage.load.begun, stage.load.duplicates
    outcome.submissions, outcome.entries = len(history.answers), len(stage.roll.entries)
    outcome.lost_orders = sorted(losses.order_ids)
    try:
        connection = await asyncpg.connect(stage.database_url, timeout=10, command_timeout=JUDGED_WITHIN)
        async with open_redis(stage.redis_url) as redis:
            outcome.findings += await judge_redis(redis)
        try:
            outcome.figures, found = await judge_rows(connection, history, losses)
            outcome.poison, more = await judge_stream(connection, stage.roll, losses)
            outcome.findings += found + more
        finally:
            await connection.close(timeout=5)
    except TROUBLE as fault:
        outcome.findings.append(Finding("the rows can be read", f"{type(fault).__name__}: {fault}"))
