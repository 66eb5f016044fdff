"""Two consumers over one stream, statement by statement, commit by commit, ack by ack, claims included; one may die.

Nothing leaves overlay or pending list before it is in Postgres, and in the end every row is there, once. The claim
time is none here: what the other one has in hand is taken, too, and done twice.
"""

from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.settings import Settings
from shared.streams import STREAM
from tests.model.calls import Answer
from tests.model.conftest import IS_FULL
from tests.model.consumer_step import read_rows
from tests.model.gates import Play, Turn
from tests.model.intents import INTENTS, View
from tests.model.losing_shop import LosingJudge, Record
from tests.model.real_driver import total_of
from tests.model.stream_stage import CONSUMERS, NOBODYS, Stage, set_stage

SESSION = "5e5510c0-0000-4000-8000-000000000004"
STORY = ("buy", "buy with key 1", "pay", "buy with key 2", "cancel", "other user buys with cart")
"""Six events: an order, a key that joins it, its payment, a second order, its cancelling, another user's order."""


@pytest.fixture
async def stage(quick_redis: Redis, engine: AsyncEngine, settings: Settings) -> AsyncIterator[Stage]:
    async with set_stage(quick_redis, engine, settings) as stage:
        yield stage


async def sell(stage: Stage) -> LosingJudge:
    """The story on an empty shop, then its first entry once more, and one that nobody can read."""
    await stage.shop.open()
    view, judge = View("ada", "bob", SESSION), LosingJudge()
    for name in STORY:
        call = INTENTS[name](view)
        assert call is not None
        answer = await stage.shop.act(call)
        judge.hear_all(call, answer)
        assert isinstance(answer, Answer)
        view = view.after(answer)
    judge.hear_all(Record(len(judge.model.log)), None)
    [(_, again), *_] = await stage.shop.read_log()
    await stage.redis.xadd(STREAM, again)  # type: ignore[arg-type]
    await stage.redis.xadd(STREAM, {"event_id": NOBODYS, "payload": b"\xff"})
    return judge


async def play(stage: Stage, turns: Sequence[Turn]) -> int:
    """Plays the turns, then lets a consumer finish what a dead one left. Returns how many steps the first one took."""
    judge = await sell(stage)
    actors = [stage.consumer(name) for name in CONSUMERS]
    told = "; ".join(f"{CONSUMERS[t.actor]} {t.steps} steps{' and dies' if t.dies else ''}" for t in turns)
    try:
        await Play(actors, stage.asks, stage.nothing_left_too_early, ("XACK", "pipeline of HDEL")).take(turns)
        if any(turn.dies for turn in turns):
            await stage.consume(CONSUMERS[1])
        await stage.everything_is_taken()
        rows = {
            order_id: (order.user, order.items, total_of(order.items), order.status)
            for order_id, number in judge.orders.items()
            for order in [judge.model.recorded[number]]
        }
        assert await read_rows(stage.engine) == rows
        async with stage.engine.connect() as connection:
            reasons = (await connection.execute(text("SELECT reason FROM dead_letters"))).scalars().all()
            events = (await connection.execute(text("SELECT count(*) FROM events"))).scalar_one()
        assert (reasons, events) == (["invalid_event_id"], len(STORY))
    except AssertionError as fault:
        did = "\n".join(f"{actor.name}: {', '.join(actor.done)}" for actor in actors)
        raise AssertionError(f"{told}: {fault}\n{did}") from None
    return len(actors[0].done)


def two_switches(first: int, second: int) -> Iterator[list[Turn]]:
    """The first consumer so many steps, the other so many, then the first to its end."""
    for one in range(0, 60, first):
        for two in range(1, 60, second):
            yield [Turn(0, one), Turn(1, two), Turn(0)]


async def test_two_consumers_that_meet_anywhere_record_everything_once(stage: Stage) -> None:
    longest = await play(stage, [])
    for turns in two_switches(1, 1) if IS_FULL else two_switches(6, 10):
        if max(turn.steps or 0 for turn in turns) <= longest:
            await play(stage, turns)


async def test_a_consumer_that_dies_anywhere_leaves_nothing_undone(stage: Stage) -> None:
    longest = await play(stage, [])
    for one in range(1, longest, 1 if IS_FULL else 3):
        for two in (0, 4, 9, 14, 19, 24) if IS_FULL else (one % 20,):
            await play(stage, [Turn(1, two), Turn(0, one, dies=True)])
