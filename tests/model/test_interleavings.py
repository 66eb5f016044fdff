"""Two clients at once, one of them perhaps vanishing: every order of their trips to Redis has an explanation.

The explanation is an order of the calls in which the model answers what the clients were told (linearize.py). What
was accepted goes through the consumer's step, again and again: the rows are those orders, once.
`make test` plays some of the cases; TILLROLL_MODEL=full all of them with every crash, in many minutes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count, islice
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.entries import Entry
from shared.settings import Settings
from tests.model.calls import Call, ReadCart, ReadOrders
from tests.model.conftest import IS_FULL
from tests.model.consumer_step import Row, read_rows, record_with_redelivery
from tests.model.intents import INTENTS, View
from tests.model.judge import Judge
from tests.model.linearize import Op, linearize
from tests.model.programs import BEGINNINGS, LONG_STORIES, STORIES, Case, longer_programs, single_calls
from tests.model.real_driver import RealDriver, total_of
from tests.model.turns import Choices, Client, Door, take_turns


@dataclass
class Theatre:
    """Plays cases and keeps what the log said in all of them, and what the rows must say at the end."""

    redis: Redis
    engine: AsyncEngine
    settings: Settings
    histories: int = 0
    entries: list[Entry] = field(default_factory=list)
    rows: dict[UUID, Row] = field(default_factory=dict)

    async def load_scripts(self) -> None:
        """So that no script is sent twice, which would be a trip more."""
        driver, view = self._driver(), View("warm-up", "nobody", str(uuid4()))
        for name in ("put headphones", "buy with cart", "buy with key 1 carrying the last generation", "cancel"):
            view = view.after(await driver.make(INTENTS[name](view)))  # type: ignore[arg-type]
        await driver.forget()

    async def play_all(self, case: Case, *, with_crashes: bool) -> None:
        """Every order of the trips, and every order with either client vanishing after each of its trips."""
        await self._play_every_order(case, None)
        if with_crashes:
            for client in (0, 1):
                for trips in count(1):
                    if not await self._play_every_order(case, (client, trips)):
                        break

    async def _play_every_order(self, case: Case, vanishing: tuple[int, int] | None) -> bool:
        choices, has_vanished = Choices(), False
        while True:
            has_vanished |= await self._play(case, choices, vanishing)
            if not choices.go_on():
                return has_vanished

    async def _play(self, case: Case, choices: Choices, vanishing: tuple[int, int] | None) -> bool:
        self.histories += 1
        ada, bob, session = f"ada-{self.histories}", f"bob-{self.histories}", str(uuid4())
        driver, view, judge = self._driver(), View(ada, bob, session), Judge()
        for name in BEGINNINGS[case.beginning]:
            call = INTENTS[name](view)
            assert call is not None
            answer = await driver.make(call)
            judge.hear(call, answer)
            view = view.after(answer)
        behind_door = self._driver(Door(connection_pool=self.redis.connection_pool))
        clients = [
            Client(name, behind_door, view, [INTENTS[name] for name in program])
            for name, program in (("first", case.first), ("second", case.second))
        ]
        has_vanished = await take_turns(self.redis, clients, choices, vanishing)
        ops = [op for client in clients for op in client.ops if op.began]
        looks: list[Call] = [ReadCart(session), ReadOrders((ada, bob))]
        for number, look in enumerate(looks, 1000):
            ops.append(Op("afterwards", look, await driver.make(look), number, number, is_lost=False))
        told = linearize(judge, ops)
        if told is None:
            seen = "\n".join(f"  turns {op.began}-{op.ended}, {op.client}: {op.call} -> {op.answer}" for op in ops)
            pytest.fail(f"{case}, choices {choices}, vanishing {vanishing}: no order explains\n{seen}")
        for order_id, number in told.orders.items():
            order = told.model.orders[number]
            self.rows[order_id] = (order.user, order.items, total_of(order.items), order.status)
        for entry_id, fields in await driver.read_log():
            self.entries.append(Entry(entry_id.decode(), tuple(fields.items())))
        await driver.forget()
        return has_vanished

    def _driver(self, redis: Redis | None = None) -> RealDriver:
        return RealDriver(redis or self.redis, self.engine, self.settings)


@pytest.fixture
async def theatre(quick_redis: Redis, engine: AsyncEngine, settings: Settings) -> Theatre:
    theatre = Theatre(quick_redis, engine, settings)
    await theatre.load_scripts()
    return theatre


async def play_and_record(theatre: Theatre, cases: Iterable[Case], *, with_crashes: bool) -> None:
    for case in cases:
        await theatre.play_all(case, with_crashes=with_crashes)
    await record_with_redelivery(theatre.engine, theatre.entries)
    assert await read_rows(theatre.engine) == theatre.rows
    print(f"{theatre.histories} histories, {len(theatre.rows)} orders")


@pytest.mark.parametrize("beginning", BEGINNINGS)
async def test_any_two_calls_at_once_are_answered_as_if_one_had_come_first(theatre: Theatre, beginning: str) -> None:
    every = 1 if IS_FULL or beginning in ("nothing", "a cart", "a cart just bought") else 4
    await play_and_record(theatre, islice(single_calls(beginning), None, None, every), with_crashes=False)


@pytest.mark.parametrize("beginning", BEGINNINGS if IS_FULL else ["a cart", "a cart just bought"])
async def test_a_client_that_vanishes_in_the_middle_has_called_or_has_not(theatre: Theatre, beginning: str) -> None:
    every = 1 if IS_FULL else 5
    await play_and_record(theatre, islice(single_calls(beginning), None, None, every), with_crashes=True)


async def test_shoppers_who_buy_cancel_and_buy_again_at_once_are_answered_as_if_one_had_come_first(
    theatre: Theatre,
) -> None:
    stories = [*STORIES, *LONG_STORIES] if IS_FULL else STORIES
    await play_and_record(theatre, stories, with_crashes=IS_FULL)


@pytest.mark.parametrize("beginning", BEGINNINGS)
async def test_two_calls_beside_a_third_are_answered_as_if_in_some_order(theatre: Theatre, beginning: str) -> None:
    every = 1 if IS_FULL else 200
    await play_and_record(theatre, islice(longer_programs(beginning), None, None, every), with_crashes=False)
