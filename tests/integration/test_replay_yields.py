"""A replay leaves the machine to live checkouts: it rests the longer the busier it is, and reads bounded pages."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders import replay, replay_runs
from services.orders.entries import Entry, entries_of
from services.orders.replay import make_plan, pause_replay, plan_replay, run_replay, start_replay
from services.orders.replay_runs import Status, read_run
from services.orders.replay_source import Source, find_bound, read_page
from shared.settings import Settings
from tests.integration.operators import OLGA, consume
from tests.integration.orders_stage import a_checkout, accept
from tests.integration.replay_stage import EVERYTHING, counts, go
from tests.waiting import until


async def test_a_replay_leaves_the_machine_to_live_checkouts_for_longer_the_busier_it_is(
    engine: AsyncEngine, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its default rate; who asks for more is given more."""
    clock = asyncio.get_running_loop().time
    pages: list[tuple[float, float]] = []

    def on_a_busy_machine(step: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def slowly(*given: Any) -> Any:
            begun = clock()
            await asyncio.sleep(0.02)
            done = await step(*given)
            pages.append((begun, clock()))
            return done

        return slowly

    for number in range(120):
        await accept(redis, a_checkout(f"user_{number}"))
    await consume(engine, redis, settings)
    monkeypatch.setattr(replay, "DEFAULT_RATE", 1000)
    monkeypatch.setattr(replay, "_PLAN_PAGE", 50)
    monkeypatch.setattr(replay, "_SETTLE_PAGE", 50)
    monkeypatch.setattr(replay, "read_page", on_a_busy_machine(read_page))
    monkeypatch.setattr(replay_runs, "settle_events", on_a_busy_machine(replay_runs.settle_events))
    for rate, rest in ((1000, 4.0), (10_000, 0.4)):
        pages.clear()
        opened = await plan_replay(engine, redis, Source.ARCHIVE, EVERYTHING, rate, OLGA)
        planned = await make_plan(engine, redis, opened.run_id)
        assert (await go(engine, redis, settings, planned)).result == counts(already_there=120)
        assert len(pages) == 9, "three are planned, three sent, three settled"
        for first in (0, 3, 6):
            for (begun, ended), (next_one, _) in pairwise(pages[first : first + 3]):
                assert next_one - ended >= rest * (ended - begun), (rate, pages)


async def test_a_replay_that_is_paused_while_it_rests_sends_no_further_page(
    engine: AsyncEngine, redis: Redis, settings: Settings
) -> None:
    for number in range(60):
        await accept(redis, a_checkout(f"user_{number}"))
    await consume(engine, redis, settings)
    run_id = (await plan_replay(engine, redis, Source.ARCHIVE, EVERYTHING, 50, OLGA)).run_id
    await make_plan(engine, redis, run_id)
    await start_replay(engine, run_id, OLGA)
    running = asyncio.create_task(run_replay(engine, redis, run_id, OLGA))

    async def has_sent() -> bool:
        return (await read_run(engine, run_id)).sent > 0

    await until(has_sent)
    await pause_replay(engine, run_id, OLGA)  # within the second that the page's fifty events stand for
    stopped = await running
    assert (stopped.status, stopped.sent) == (Status.PAUSED, 50)


async def test_a_page_of_the_stream_reads_no_entry_that_it_does_not_send(
    engine: AsyncEngine, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(230):
        await accept(redis, a_checkout(f"user_{number}"))
    read: list[int] = []

    def count(answer: Any) -> list[Entry]:
        entries = entries_of(answer)
        read.append(len(entries))
        return entries

    monkeypatch.setattr("services.orders.replay_source.entries_of", count)
    bound, position, is_last = await find_bound(engine, redis, Source.STREAM), "", False
    while not is_last:
        page = await read_page(engine, redis, Source.STREAM, EVERYTHING, bound, position, 50)
        position, is_last = page.position, page.is_last
    assert read == [50, 50, 50, 50, 30]
