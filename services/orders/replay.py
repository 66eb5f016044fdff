"""Delivers a range of events again: planned first, then written into the stream for the consumer to take as ever.

Harmless by construction: an event keeps its id, so what is recorded stays as it is. Touches no overlay and no table
of orders. A replay that was killed goes on where it was: each page and its position are one atomic step in Redis.
"""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from opentelemetry.trace import Link, SpanKind
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders import replay_runs
from services.orders.audit import Act, Operator, audited, begin, end
from services.orders.backlog import count_backlog
from services.orders.entries import id_parts
from services.orders.replay_preview import count_outcomes, open_preview
from services.orders.replay_runs import Run, Status, read_run
from services.orders.replay_source import REPLAY, REPLAY_OF, Original, ReplayRange, Source, find_bound, read_page
from shared.errors import ApiError
from shared.redis import Script, hash_fields
from shared.streams import GROUP, PARTITION, STREAM, TRACEPARENT
from shared.tracing import context_in, span

DEFAULT_RATE = 50  # events a second: what live checkouts do not notice (ADR 0011)
MAX_RATE = 10_000
# A page is a second's events, for most of what it costs is that it is one; these bound how long others wait for it.
_PLAN_PAGE = 100  # events judged at once at most: ten milliseconds in which this process answers nobody else
_SEND_PAGE = 50  # entries in one call of Redis at most: half a millisecond in which no checkout is accepted
_SETTLE_PAGE = 500  # events looked up at once
_AHEAD = 200  # entries that may wait for the consumer: live ones wait behind them
_REST = 4  # times as long as a page took, at the default rate: on a busy machine pages take longer, and so do rests
_LOOK_AGAIN = 0.1  # seconds
_KEEP_POSITION = timedelta(days=30)
_SEND = Script(__package__, "replay_entries.lua")

Progress = Callable[[str, int, int | None], None]
"""Is told what is being done, how many events are, and of how many (None = not known yet)."""


def _ignore(_what: str, _done: int, _total: int | None) -> None:
    """Nobody watches."""


async def plan_replay(
    engine: AsyncEngine,
    redis: "Redis",
    source: Source,
    chosen: ReplayRange,
    rate: int,
    operator: Operator,
) -> Run:
    """Opens a run and fixes where its range ends; `make_plan` then judges its events. Writes nothing to the stream."""
    if not 1 <= rate <= MAX_RATE:
        raise ApiError(400, f"The rate must be between 1 and {MAX_RATE} events a second")
    bound = await find_bound(engine, redis, source)
    return await replay_runs.create_run(engine, source, chosen, bound, rate, operator)


async def make_plan(engine: AsyncEngine, redis: "Redis", run_id: UUID, progress: Progress = _ignore) -> Run:
    """Judges every event of the run. Safe to repeat after a crash: a plan that is not complete is made anew."""
    run = await read_run(engine, run_id)
    if run.status is not Status.PLANNING:
        return run
    await replay_runs.forget_plan(engine, run_id)
    outcomes: list[str] = []
    position, is_last, size = "", False, min(run.rate, _PLAN_PAGE)
    async with open_preview(engine) as preview:
        while not is_last:
            begun = time.monotonic()
            page = await read_page(engine, redis, run.source, run.chosen, run.bound, position, size)
            judged = await preview.judge([original.fields for original in page.originals])
            await replay_runs.note_plan(engine, run_id, len(outcomes), page.originals, judged)
            outcomes += [judgement.outcome for judgement in judged]
            position, is_last = page.position, page.is_last
            progress("planned", len(outcomes), None)
            if not is_last:
                await _rest(begun, run.rate, len(page.originals))
    for number, judgement in preview.revisions.items():
        outcomes[number] = judgement.outcome
    await replay_runs.end_plan(engine, run_id, json.dumps(count_outcomes(outcomes)), preview.revisions)
    return await read_run(engine, run_id)


async def start_replay(engine: AsyncEngine, run_id: UUID, operator: Operator) -> Run:
    """Lets a planned or paused run go on, or one whose process has died. Raises ApiError(409) for any other."""
    run = await read_run(engine, run_id)
    if run.status not in (Status.PLANNED, Status.PAUSED, Status.RUNNING, Status.SENT):
        raise ApiError(409, f"The replay {run_id} is {run.status}")
    act = _act_of(run, "replay.run" if run.status is Status.PLANNED else "replay.resume")
    begun = await begin(engine, operator, act)
    to = Status.SENT if run.status is Status.SENT else Status.RUNNING
    await replay_runs.move_status(engine, run_id, [run.status], to, begun)
    return await read_run(engine, run_id)


async def pause_replay(engine: AsyncEngine, run_id: UUID, operator: Operator) -> Run:
    """Stops a running replay after its present page; raises ApiError(409) when it does not run."""
    async with audited(engine, operator, Act("replay.pause", {"run_id": str(run_id)})) as outcome:
        await read_run(engine, run_id)
        if not await replay_runs.move_status(engine, run_id, [Status.RUNNING], Status.PAUSED):
            raise ApiError(409, f"The replay {run_id} does not run")
        outcome.result = {"paused": str(run_id)}
    return await read_run(engine, run_id)


async def run_replay(
    engine: AsyncEngine, redis: "Redis", run_id: UUID, operator: Operator, progress: Progress = _ignore
) -> Run:
    """Sends what is left of a started run, then waits until the consumer has taken it; returns when it is finished
    or somebody paused it. Raises what Redis and Postgres raise: the run goes on with `start_replay`.
    """
    run = await _catch_up(engine, redis, await read_run(engine, run_id))
    total = (run.planned or {}).get("total")
    while run.status is Status.RUNNING:
        progress("sent", run.sent, total)
        if await _is_too_far_ahead(redis):
            await asyncio.sleep(_LOOK_AGAIN)
        else:
            begun, before = time.monotonic(), run.sent
            run = await send_page(engine, redis, run)
            if run.status is Status.RUNNING:
                await _rest(begun, run.rate, run.sent - before)
        run = await read_run(engine, run_id)  # somebody may have paused it meanwhile
    if run.status is Status.PAUSED:
        await end(engine, operator, _act_of(run, "replay.run"), run.audit_seq, {"paused": True, "sent": run.sent})
    while run.status is Status.SENT:
        progress("sent, waiting for the consumer", run.sent, total)
        if await _is_taken(engine, redis, run):
            return await _finish(engine, run, operator)
        await asyncio.sleep(_LOOK_AGAIN)
        run = await read_run(engine, run_id)
    return run


async def send_page(engine: AsyncEngine, redis: "Redis", run: Run) -> Run:
    """One step: the next page into the stream, and the rows that say so. The run as it is afterwards."""
    size = min(run.rate, _SEND_PAGE)
    page = await read_page(engine, redis, run.source, run.chosen, run.bound, run.position, size)
    if page.originals:
        source_ids = [original.source_id for original in page.originals]
        args: list[str | bytes | int] = [run.position, page.position, int(_KEEP_POSITION.total_seconds() * 1000)]
        args.append(" ".join(source_ids))
        for original in page.originals:
            parts = [part for pair in _marked(run.run_id, original) for part in pair]
            args += [len(parts), *parts]
        told = {"tillroll.replay": str(run.run_id)}
        with span("replay page", SpanKind.PRODUCER, links=_traces_of(page.originals), attributes=told):
            word, *answer = await _SEND.run(redis, [STREAM, _progress_key(run.run_id)], args)
        if word == b"moved":
            raise ApiError(409, f"The replay {run.run_id} is running in another process")
        await replay_runs.note_sent(engine, run.run_id, page.position, source_ids, answer[0].decode().split())
    if page.is_last:
        await replay_runs.move_status(engine, run.run_id, [Status.RUNNING], Status.SENT)
    return await read_run(engine, run.run_id)


def _traces_of(originals: Sequence[Original]) -> list[Link]:
    """The traces in which the events were accepted; their entries keep them, so what is done again is told there."""
    found = (context_in(dict(original.fields).get(TRACEPARENT.encode())) for original in originals)
    return [Link(context) for context in found if context is not None]


def _marked(run_id: UUID, original: Original) -> tuple[tuple[bytes, bytes], ...]:
    marks = ((REPLAY, str(run_id)), (REPLAY_OF, original.source_id))
    return (*original.fields, *((name.encode(), value.encode()) for name, value in marks))


async def _catch_up(engine: AsyncEngine, redis: "Redis", run: Run) -> Run:
    """Notes the page that was sent just before a crash: Redis knows its position and its entries."""
    page = await hash_fields(redis, _progress_key(run.run_id), "position", "source_ids", "entry_ids")
    position, source_ids, entry_ids = (part.decode() if part else "" for part in page)
    if run.status is not Status.RUNNING or position in ("", run.position):
        return run
    await replay_runs.note_sent(engine, run.run_id, position, source_ids.split(), entry_ids.split())
    return await read_run(engine, run.run_id)


async def _rest(begun: float, rate: int, events: int = 0) -> None:
    """Leaves the machine to the live checkouts after a page of so many events, or a step of none, begun at `begun`.

    Who asks for more than the default rate gets shorter rests in proportion.
    """
    taken = time.monotonic() - begun
    await asyncio.sleep(max(events / rate - taken, _REST * taken * min(1.0, DEFAULT_RATE / rate)))


async def _is_too_far_ahead(redis: "Redis") -> bool:
    """Whether the consumer is behind, or nobody knows whether it is."""
    backlog = await count_backlog(redis)
    return backlog is None or backlog > _AHEAD


async def _is_taken(engine: AsyncEngine, redis: "Redis", run: Run) -> bool:
    """Whether the group has acked every entry of the run."""
    span = await replay_runs.entry_span(engine, run.run_id)
    if span is None:
        return True
    try:
        groups: list[dict[str, Any]] = await redis.xinfo_groups(STREAM)
    except ResponseError as fault:
        if "no such key" in str(fault):
            return False
        raise
    delivered = next((group["last-delivered-id"] for group in groups if group["name"] == GROUP.encode()), b"0-0")
    if id_parts(delivered.decode()) < id_parts(span[1]):
        return False
    return not await redis.xpending_range(STREAM, GROUP, min=span[0], max=span[1], count=1)


async def _finish(engine: AsyncEngine, run: Run, operator: Operator) -> Run:
    for first in range(0, (run.planned or {}).get("total", 0), _SETTLE_PAGE):
        begun = time.monotonic()
        await replay_runs.settle_events(engine, run.run_id, first, _SETTLE_PAGE)
        await _rest(begun, run.rate)
    result = await replay_runs.count_settled(engine, run.run_id)
    if await replay_runs.finish_run(engine, run.run_id, json.dumps(result)):
        await end(engine, operator, _act_of(run, "replay.run"), run.audit_seq, result)
    return await read_run(engine, run.run_id)


def _act_of(run: Run, action: str) -> Act:
    told = {"run_id": str(run.run_id), "source": str(run.source), "rate": run.rate, "range": run.chosen.told()}
    return Act(action, told, run.planned)


def _progress_key(run_id: UUID) -> str:
    return f"till:{PARTITION}:replay:{run_id}"
