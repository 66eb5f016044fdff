"""The names of past checkouts come back while clients submit, while consumers die at it, while a second one does it.

Redis is lost with everything recorded, or with a consumer anywhere on its way with a batch in hand. Whatever a client
is told afterwards is what the model says once the names are there; until then it is refused.
"""

from collections.abc import AsyncIterator, Sequence
from itertools import product

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.settings import Settings
from shared.streams import NAMES_LOADED
from tests.model.calls import Answer, Submit, SubmitSeen
from tests.model.conftest import IS_FULL
from tests.model.consumer_step import read_rows
from tests.model.gates import Actor, Play, Turn, rest
from tests.model.intents import INTENTS, View
from tests.model.losing_shop import Call, Lose, LosingJudge, Record, Refused, Reload
from tests.model.real_driver import total_of
from tests.model.stream_stage import CONSUMERS, Stage, set_stage

SESSION = "5e5510c0-0000-4000-8000-000000000005"
STORIES = [
    ("put headphones", "buy with key 1 carrying the last generation", "buy with key 2 and cart", "cancel the first"),
    ("buy", "cancel", "buy with key 1", "buy"),
]
AFTERWARDS = ("cancel", "buy", "buy carrying the last generation")
FIRST, SECOND, CLIENT = range(3)


@pytest.fixture
async def stage(quick_redis: Redis, engine: AsyncEngine, settings: Settings) -> AsyncIterator[Stage]:
    async with set_stage(quick_redis, engine, settings) as stage:
        yield stage


class Shopper:
    """Sends everything once more and goes on, each call until it is answered."""

    def __init__(self, stage: Stage, plain: Redis) -> None:
        self.stage, self.plain = stage, plain
        self.view, self.judge = View("ada", "bob", SESSION), LosingJudge()
        self.made: list[Call] = []

    async def live(self, story: Sequence[str]) -> None:
        """Before the loss."""
        for name in story:
            await self._make(name)

    async def come_back(self) -> None:
        """After it."""
        for call in list(self.made):
            await self._insist(call)
        for name in AFTERWARDS:
            await self._make(name)

    async def _make(self, name: str) -> None:
        if (call := INTENTS[name](self.view)) is not None:
            await self._insist(call)
            self.made.append(call)

    async def _insist(self, call: Call) -> None:
        while True:
            was_loaded = await self.plain.exists(NAMES_LOADED)
            answer = await self.stage.shop.act(call)
            if not isinstance(answer, Refused):
                break
            assert not was_loaded, f"{call} was refused with all names there"
            await rest()
        if not self.judge.model.is_loaded and isinstance(call, Submit) and isinstance(answer, SubmitSeen):
            self.judge.hear_all(Reload(), None)
        self.judge.hear_all(call, answer)
        assert isinstance(answer, Answer)
        self.view = self.view.after(answer)


async def play(stage: Stage, plain: Redis, story: Sequence[str], turns: Sequence[Turn]) -> int:
    """Everything is recorded and lost; the turns; the rows. Returns how many steps the first consumer took."""
    await stage.shop.open()
    shopper = Shopper(stage, plain)
    await shopper.live(story)
    await stage.consume(CONSUMERS[0])
    shopper.judge.hear_all(Record(len(shopper.judge.model.log)), None)
    await stage.shop.act(Lose())
    shopper.judge.hear_all(Lose(), None)
    actors = [*map(stage.consumer, CONSUMERS), Actor("client", shopper.come_back())]
    try:
        await Play(actors, stage.asks).take(turns)
        await stage.consume(CONSUMERS[0])
        await stage.everything_is_taken()
        model = shopper.judge.model
        model.record(len(model.log))
        assert await read_rows(stage.engine) == {
            order_id: (order.user, order.items, total_of(order.items), order.status)
            for order_id, number in shopper.judge.orders.items()
            for order in [model.recorded[number]]
        }
    except Exception as fault:
        did = "\n".join(f"{actor.name}: {', '.join(actor.done)}" for actor in actors)
        raise AssertionError(f"{story}, {turns}: {fault!r}\n{did}") from fault
    return len(actors[FIRST].done)


@pytest.mark.parametrize("story", STORIES, ids=" > ".join)
async def test_clients_that_submit_while_names_are_reloaded_meet_all_of_them_or_none(
    stage: Stage, quick_redis: Redis, story: Sequence[str]
) -> None:
    longest = await play(stage, quick_redis, story, [])
    every = range(1, longest)
    for one, two in product(every, every) if IS_FULL else product(range(4, 14, 2), (1, 9)):
        turns = [Turn(FIRST, one), Turn(SECOND, two), Turn(CLIENT, 6), Turn(FIRST), Turn(CLIENT, 3), Turn(SECOND)]
        await play(stage, quick_redis, story, turns)


@pytest.mark.parametrize("story", STORIES if IS_FULL else STORIES[:1], ids=" > ".join)
async def test_a_consumer_that_dies_in_the_middle_of_a_reload_leaves_the_shop_closed_until_another_has_done_it(
    stage: Stage, quick_redis: Redis, story: Sequence[str]
) -> None:
    longest = await play(stage, quick_redis, story, [])
    for one in range(1, longest, 1 if IS_FULL else 3):
        await play(stage, quick_redis, story, [Turn(FIRST, one, dies=True), Turn(CLIENT, 4), Turn(SECOND)])


BUYERS = {
    "bare": ("buy",),
    "with a key": ("buy with key 1",),
    "with a cart": ("put headphones", "buy carrying the last generation"),
}


class Buyer(Shopper):
    """Buys once, is not told, and sends it again after the loss until there is an answer."""

    told: Answer = None

    async def come_back(self) -> None:
        while isinstance(answer := await self.stage.shop.act(self.made[-1]), Refused):
            await rest()
        assert isinstance(answer, SubmitSeen)
        self.told = answer


async def play_with_a_batch_in_hand(stage: Stage, buyer: Buyer, story: Sequence[str], one: int, two: int) -> None:
    """The first consumer takes `one` steps, Redis is lost, the second takes `two`, the buyer is back; then all end."""
    await stage.shop.open()
    await buyer.live(story)
    first = stage.consumer(CONSUMERS[0])
    await Play([first, Actor("disk", stage.erase())], stage.asks).take([Turn(0, one), Turn(1)], is_all=False)
    actors = [first, stage.consumer(CONSUMERS[1]), Actor("client", buyer.come_back())]
    await Play(actors, stage.asks).take([Turn(SECOND, two), Turn(CLIENT, 3), Turn(SECOND), Turn(CLIENT)])
    await stage.consume(CONSUMERS[1])
    rows = await read_rows(stage.engine)
    did = "\n".join(f"{actor.name}: {', '.join(actor.done)}" for actor in actors)
    assert isinstance(buyer.told, SubmitSeen)
    assert list(rows) == [buyer.told.order_id], f"{one} and {two} steps: {rows}\n{did}"


@pytest.mark.parametrize("story", BUYERS.values(), ids=BUYERS)
async def test_a_batch_in_hand_when_redis_is_lost_doubles_no_order_of_a_client_that_sends_it_again(
    stage: Stage, quick_redis: Redis, story: Sequence[str]
) -> None:
    """It is recorded before the names come back, and then known, or set aside."""
    for one in range(1, 20, 1 if IS_FULL else 3):
        for two in range(2, 14, 1 if IS_FULL else 6):
            await play_with_a_batch_in_hand(stage, Buyer(stage, quick_redis), story, one, two)
