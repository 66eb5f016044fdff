"""No wait of a certification is for ever, and each that ends in vain says what it waited for."""

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import pytest
from redis.asyncio import Redis

from services.certify.deadline import within
from services.certify.http_client import Door
from services.certify.load import Load
from services.certify.plan import Shelf, plan_purchase
from services.certify.poisoner import Poisoner
from services.certify.roll import Roll
from services.certify.shopper import Shopper
from services.certify.stage import Stage
from services.certify.world import DoesNotRun, Process, Program, World
from services.orders.claims import ensure_group
from shared.settings import Settings
from shared.streams import GROUP, INTAKE_PAUSED, STREAM
from tests.builders import a_checkout, fields_of

SHELF = Shelf.of([{"id": "1", "price": 129, "stock": 25}, {"id": "3", "price": 39, "stock": 8}])


@pytest.fixture
def stage(settings: Settings, tmp_path: Path) -> Stage:
    """No process of ours runs, and nobody is at the doors."""

    def server(name: str, url: str) -> Process:
        async def answers() -> bool:
            return True

        return Process(Program(name, [], {}, url=url), tmp_path / name, answers)

    redis_url, database_url = settings.redis_url.get_secret_value(), settings.database_url.get_secret_value()
    world = World(tmp_path, server("redis", redis_url), server("postgres", database_url))
    poisoner, roll = Poisoner(1, redis_url, database_url), Roll(redis_url)
    return Stage(world, Load(1, SHELF, [], [], {}), poisoner, roll, Random(1))


async def test_what_is_never_acked_or_read_is_told_by_its_number(stage: Stage, redis: Redis) -> None:
    await ensure_group(redis)
    for _ in range(3):
        entry: Any = fields_of(a_checkout())
        await redis.xadd(STREAM, entry)
    await redis.xreadgroup(GROUP, "consumer-1", {STREAM: ">"}, count=2)
    with pytest.raises(DoesNotRun, match=r"^not within 0.2 s: .*; 2 pending, (1|an unknown number) unread$"):
        await stage.drained(0.2)


async def test_a_pause_ends_the_wait_at_once(stage: Stage, redis: Redis) -> None:
    await ensure_group(redis)
    await redis.set(INTAKE_PAUSED, "100 dead letters in a row")
    with pytest.raises(DoesNotRun, match="intake is paused: 100 dead letters in a row"):
        await stage.drained(60)


async def test_a_process_that_never_answers_ends_the_late_retries(stage: Stage) -> None:
    async def say_nothing(_reader: Any, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    load = Load(1, SHELF, [Door("deaf", server.sockets[0].getsockname()[1])], [], {"shopper-000": "token"})
    purchase = plan_purchase(1, 0, SHELF)
    load.note_begin(Shopper(load, purchase))
    try:
        with pytest.raises(DoesNotRun, match=r"^after 0.2 s: 1 of 1 late retries have no answer$"):
            await load.submit_again([purchase], "at the end", 0.2)
        assert writers, "it was asked"
    finally:
        server.close()
        for writer in writers:
            writer.close()


async def test_work_that_takes_a_cancellation_for_something_else_is_ended_all_the_same() -> None:
    taken = 0

    async def stubborn() -> None:
        nonlocal taken
        while taken < 2:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                taken += 1

    with pytest.raises(DoesNotRun, match=r"^after 0.1 s: the closing has not ended$"):
        await within(0.1, stubborn(), lambda: "the closing has not ended")
    assert taken == 2


async def test_work_that_ends_in_time_is_not_disturbed() -> None:
    async def work() -> int:
        return 7

    assert await within(10, work(), lambda: "nothing") == 7

    async def fails() -> None:
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        await within(10, fails(), lambda: "nothing")
