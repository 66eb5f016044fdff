"""Histories with payment sessions and their money: the real scripts answer as the model does, and the rows are it.

Seeded walks over everything that a shopper, her second device and Stripe can do; then two of them at once, in every
order of their trips to Redis.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.entries import Entry
from services.orders.record_events import record_batch
from shared.settings import Settings
from tests.model.calls import Move, PutCart, PutSeen, Submit, SubmitSeen, Wait
from tests.model.checkout_model import WINDOW, Items
from tests.model.conftest import IS_FULL
from tests.model.consumer_step import read_rows
from tests.model.judge import Disagreement
from tests.model.linearize import Op, linearize
from tests.model.payment_model import LIFE
from tests.model.payment_shop import Open, OpenSeen, Pay, PaymentDriver, PaymentJudge, Till
from tests.model.turns import Choices, Client, Door, take_turns

HEADPHONES: Items = (("1", 1),)
PADS: Items = (("3", 1),)
KEYS = ("till-roll-1", "till-roll-2")
WALKS, LENGTH = (3000, 14) if IS_FULL else (150, 10)


@dataclass(frozen=True)
class View:
    """What a client knows."""

    user: str
    session: str
    generation: str | None = None
    payments: tuple[str, ...] = ()
    orders: tuple[UUID, ...] = ()

    def after(self, answer: Any) -> "View":
        match answer:
            case PutSeen(_, generation, _):
                return replace(self, generation=generation)
            case SubmitSeen(_, order_id):
                return replace(self, orders=(*self.orders, order_id))
            case OpenSeen(_, order_id, payment):
                seen = (payment,) if payment is not None and payment not in self.payments else ()
                return replace(self, orders=(*self.orders, order_id), payments=(*self.payments, *seen))
        return self


INTENTS: dict[str, Callable[[View], Any]] = {
    "put": lambda view: PutCart(view.session, HEADPHONES),
    "clear": lambda view: PutCart(view.session, ()),
    "buy": lambda view: Submit(view.user, HEADPHONES),
    "buy with cart": lambda view: Submit(view.user, HEADPHONES, None, view.session),
    "buy carrying": lambda view: (
        Submit(view.user, HEADPHONES, None, view.session, view.generation) if view.generation else None
    ),
    "buy with key 1": lambda view: Submit(view.user, HEADPHONES, KEYS[0]),
    "buy with key 2": lambda view: Submit(view.user, HEADPHONES, KEYS[1]),
    "buy pads with key 1": lambda view: Submit(view.user, PADS, KEYS[0]),
    "other user buys": lambda view: Submit(f"other of {view.user}", HEADPHONES),
    "open": lambda view: Open(view.user, HEADPHONES),
    "open with cart": lambda view: Open(view.user, HEADPHONES, None, view.session),
    "open carrying": lambda view: (
        Open(view.user, HEADPHONES, None, view.session, view.generation) if view.generation else None
    ),
    "open with key 1": lambda view: Open(view.user, HEADPHONES, KEYS[0]),
    "open with key 2": lambda view: Open(view.user, HEADPHONES, KEYS[1]),
    "open pads with key 1": lambda view: Open(view.user, PADS, KEYS[0]),
    "other user opens": lambda view: Open(f"other of {view.user}", HEADPHONES),
    "pay": lambda view: Pay(view.payments[-1]) if view.payments else None,
    "pay the first": lambda view: Pay(view.payments[0]) if view.payments else None,
    "cancel": lambda view: Move(view.user, view.orders[-1], "cancelled") if view.orders else None,
    "pay the demo way": lambda view: Move(view.user, view.orders[-1], "paid") if view.orders else None,
    "window passes": lambda _: Wait(WINDOW),
    "session passes": lambda _: Wait(LIFE + 1000),
}


@pytest.fixture
def driver(quick_redis: Redis, engine: AsyncEngine, settings: Settings) -> PaymentDriver:
    driver = PaymentDriver(quick_redis, engine, settings)
    driver.till = Till()
    return driver


async def rows_of(driver: PaymentDriver, entries: list[Entry]) -> dict[UUID, tuple[str, Items, str]]:
    """The rows after the log of all histories was delivered twice, in another order the second time."""
    for batch in (entries, entries[::-1]):
        await record_batch(driver.engine, batch, "consumer-1")
    return {
        order: (user, items, status) for order, (user, items, _, status) in (await read_rows(driver.engine)).items()
    }


def orders_in(judge: PaymentJudge) -> dict[UUID, tuple[str, Items, str]]:
    known = {name: real for real, name in judge.orders.items()}
    orders = ((known[name], judge.model.orders[number]) for name, number in judge.model.ids.items())
    return {real: (order.user, order.items, order.status) for real, order in orders}


async def test_every_walk_is_answered_as_the_model_answers_it(driver: PaymentDriver) -> None:
    entries: list[Entry] = []
    expected: dict[UUID, tuple[str, Items, str]] = {}
    for seed in range(WALKS):
        random, judge, view = Random(seed), PaymentJudge(), View(f"ada-{seed}", str(uuid4()))
        path = []
        while len(path) < LENGTH:
            name = random.choice(list(INTENTS))
            if (call := INTENTS[name](view)) is None:
                continue
            path.append(name)
            answer = await driver.make(call)
            try:
                judge.hear(call, answer)
            except Disagreement as fault:
                raise AssertionError(f"walk {seed}: {' > '.join(path)}: {fault}") from None
            view = view.after(answer)
        expected |= orders_in(judge)
        entries += [Entry(entry_id.decode(), tuple(fields.items())) for entry_id, fields in await driver.read_log()]
        await driver.forget()
    assert await rows_of(driver, entries) == expected
    print(f"{len(expected)} orders")


async def play(driver: PaymentDriver, judge: PaymentJudge, view: View, history: tuple[str, ...]) -> View:
    for name in history:
        call = INTENTS[name](view)
        answer = await driver.make(call)
        judge.hear(call, answer)
        view = view.after(answer)
    return view


@pytest.mark.parametrize(
    "history",
    [
        pytest.param(
            (
                *("buy with key 1", "open with key 2", "buy with key 2", "cancel"),
                *("open with key 1", "window passes", "buy"),
            ),
            id="a session takes the slot over from a cancelled order",
        ),
        pytest.param(
            ("open with key 1", "open with key 2", "buy with key 1", "cancel", "buy", "buy with key 2", "pay"),
            id="a key whose session has no slot does not join another order",
        ),
    ],
)
async def test_this_history_is_answered_as_the_model_answers_it(
    driver: PaymentDriver, history: tuple[str, ...]
) -> None:
    await play(driver, PaymentJudge(), View("ada", str(uuid4())), history)


PAIRS = [
    ((), ("open", "pay"), ("buy",)),
    ((), ("open", "pay"), ("buy with key 1",)),
    ((), ("open", "buy"), ("open with key 1", "buy with key 1")),
    (("put",), ("open carrying", "pay"), ("buy with cart", "put")),
    (("put",), ("open with cart",), ("buy carrying",)),
    (("open",), ("pay", "pay"), ("buy", "cancel")),
    (("open",), ("pay",), ("pay",)),
    (("put", "open carrying"), ("pay",), ("buy with cart",)),
    (("open with key 1",), ("pay",), ("buy with key 1",)),
    (("open with key 1",), ("buy with key 2",), ("open",)),
    (("open", "session passes"), ("pay the first",), ("open", "buy")),
]


@pytest.mark.parametrize(("beginning", "first", "second"), PAIRS, ids=[str(number) for number in range(len(PAIRS))])
async def test_two_at_once_are_answered_as_if_one_had_come_first(
    driver: PaymentDriver, quick_redis: Redis, beginning: Any, first: Any, second: Any
) -> None:
    choices = Choices()
    for _ in range(10_000 if IS_FULL else 60):
        await driver.forget()
        view, judge = View("ada", str(uuid4())), PaymentJudge()
        view = await play(driver, judge, view, beginning)
        behind = PaymentDriver(Door(connection_pool=quick_redis.connection_pool), driver.engine, driver._settings)
        behind.till = driver.till
        clients: Any = [
            Client(name, behind, view, [INTENTS[intent] for intent in program])  # type: ignore[arg-type]
            for name, program in (("first", first), ("second", second))
        ]
        await take_turns(quick_redis, clients, choices, None)
        ops: list[Op] = [op for client in clients for op in client.ops if op.began]
        if linearize(judge, ops) is None:  # type: ignore[arg-type]
            seen = "\n".join(f"  {op.began}-{op.ended}, {op.client}: {op.call} -> {op.answer}" for op in ops)
            pytest.fail(f"choices {choices}: no order explains\n{seen}")
        if not choices.go_on():
            break
