"""Redis' data erased at any point of a history, with any part of it recorded: what follows is what the model says.

After the loss everybody tries in vain, the names come back, twice, and every client sends everything once more.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.settings import Settings
from tests.model.calls import Move, PutCart, ReadCart, Submit
from tests.model.conftest import IS_FULL
from tests.model.consumer_step import read_rows
from tests.model.intents import INTENTS, View
from tests.model.judge import Disagreement
from tests.model.losing_shop import Call, Lose, LosingJudge, LosingShop, ReadShop, Record, Refused, Reload
from tests.model.real_driver import total_of

SESSION = "5e5510c0-0000-4000-8000-000000000003"
USERS = ("ada", "bob")
HISTORIES = [
    ("put headphones", "buy carrying the last generation", "cancel", "buy carrying the last generation"),
    ("put headphones", "buy with key 1 carrying the last generation", "pay", "buy with key 2 and cart"),
    ("buy", "buy with key 1", "buy with key 2", "cancel the first"),
    ("put both", "buy with cart", "other user buys with cart", "clear"),
    ("buy with key 1", "buy pads with key 1", "window passes", "buy"),
]
LONG_HISTORIES = [
    ("put headphones", "buy with cart", "read", "refill headphones", "buy with cart", "cancel the first"),
    ("buy with key 1", "cancel", "buy with key 2", "cancel", "buy", "buy with key 1"),
    ("put headphones", "buy", "buy with cart", "buy with key 1 carrying the last generation", "pay", "window passes"),
    ("put both", "buy both with cart", "put headphones", "buy carrying the first generation", "cancel", "buy"),
    ("put headphones", "other user buys with key 1 carrying the last generation", "buy with cart", "day passes"),
]


@dataclass
class Play:
    """One history on one shop."""

    shop: LosingShop
    view: View = field(default_factory=lambda: View(*USERS, SESSION))
    judge: LosingJudge = field(default_factory=LosingJudge)
    made: list[Call] = field(default_factory=list)

    async def intend(self, name: str) -> None:
        """The client does it, unless it has not seen what it would need."""
        call = INTENTS[name](self.view)
        if call is not None:
            await self.make(call)
            self.made.append(call)

    async def make(self, call: Call) -> None:
        answer = await self.shop.act(call)
        self.judge.hear_all(call, answer)
        if not isinstance(answer, Refused):
            self.view = self.view.after(answer)  # type: ignore[arg-type]

    async def look(self) -> None:
        """The cart and everybody's orders."""
        await self.make(ReadCart(SESSION))
        await self.make(ReadShop(USERS))

    async def everything_is_recorded(self) -> None:
        """The rows are the model's orders."""
        await self.make(Record(len(self.judge.model.log)))
        await self.look()
        rows = {
            order_id: (order.user, order.items, total_of(order.items), order.status)
            for order_id, number in self.judge.orders.items()
            for order in [self.judge.model.recorded[number]]
        }
        assert await read_rows(self.shop.engine) == rows


@pytest.fixture
async def shop(quick_redis: Redis, engine: AsyncEngine, settings: Settings) -> LosingShop:
    return LosingShop(quick_redis, engine, settings)


async def lose_and_come_back(play: Play, recorded: int) -> None:
    await play.make(Record(recorded))
    await play.make(Lose())
    for call in play.made:
        if isinstance(call, Submit | Move | PutCart):
            await play.make(call)
    await play.look()
    for reload in (Reload(), Reload(is_late=True)):
        await play.make(reload)
        await play.look()


def losses(history: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """(calls before the loss, events recorded by then), as many of those as there can be; the play takes what is."""
    for cut in range(1, len(history) + 1):
        for recorded in range(cut + 1):
            yield cut, recorded


@pytest.mark.parametrize("history", [*HISTORIES, *LONG_HISTORIES] if IS_FULL else HISTORIES, ids=" > ".join)
async def test_what_was_recorded_is_safe_and_what_was_not_is_gone_until_it_is_sent_again(
    shop: LosingShop, history: tuple[str, ...]
) -> None:
    for cut, recorded in losses(history):
        await shop.open()
        play = Play(shop)
        try:
            for name in history[:cut]:
                await play.intend(name)
            if recorded > len(play.judge.model.log):
                continue  # the same as with one less
            await lose_and_come_back(play, recorded)
            for call in list(play.made):
                await play.make(call)
            for name in history[cut:]:
                await play.intend(name)
            await play.look()
            await play.everything_is_recorded()
        except Disagreement as fault:
            before = " > ".join(history[:cut])
            raise AssertionError(f"lost after {before}, {recorded} events recorded: {fault}") from None
