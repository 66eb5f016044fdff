"""Two clients at once, one of them perhaps vanishing: every order of their trips to Redis has an explanation.

The explanation is an order of the calls in which the model answers what the clients were told (linearize.py). What
was accepted goes through the consumer's step, twice, as after a crash before the ack: the rows are those orders.
TILLROLL_MODEL=full runs longer programs, in many minutes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations_with_replacement as pairs_of
from itertools import count, product
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.entries import Entry
from services.orders.record_events import record_batch
from services.orders.tables import dead_letters, order_items, orders
from shared.settings import Settings
from shared.streams import STREAM
from tests.model.calls import ReadCart, ReadOrders
from tests.model.checkout_model import canonical
from tests.model.conftest import IS_FULL
from tests.model.intents import INTENTS, View
from tests.model.judge import Judge
from tests.model.linearize import Op, linearize
from tests.model.real_driver import RealDriver, Snapshot
from tests.model.turns import Choices, Client, Door, take_turns

Program = tuple[str, ...]

SETTINGS: dict[str, Program] = {
    "nothing": (),
    "a cart": ("put headphones",),
    "a cart just bought": ("put headphones", "buy carrying the last generation"),
    "bought bare": ("put headphones", "buy"),
    "a cart just bought with key 1": ("put headphones", "buy with key 1 carrying the last generation"),
    "bought and refilled": ("put headphones", "buy with cart", "read", "refill headphones"),
}
CARTS: list[Program] = [("put headphones",), ("put both",), ("clear",), ("read", "refill headphones")]
BUYS: list[Program] = [
    ("buy",),
    ("buy with cart",),
    ("buy carrying the last generation",),
    ("buy with key 1",),
    ("buy with key 1 carrying the last generation",),
    ("buy with key 2 and cart",),
    ("buy pads with key 1",),
    ("other user buys with cart",),
]
MOVES: list[Program] = [("cancel",), ("pay",)]
STORIES: list[tuple[str, Program, Program]] = [
    ("a cart", ("buy with cart", "clear"), ("buy with cart",)),
    ("a cart", ("buy carrying the last generation", "clear"), ("put headphones", "buy with cart")),
    ("a cart", ("buy with cart", "cancel"), ("buy with cart",)),
    ("a cart", ("buy with key 1 carrying the last generation", "cancel"), ("buy with key 2 and cart",)),
    ("a cart just bought", ("cancel", "buy with cart"), ("put headphones", "buy with cart")),
    ("bought bare", ("buy with key 1",), ("buy with key 2", "cancel")),
    ("bought bare", ("buy with key 1",), ("cancel", "buy")),
]


@dataclass
class Verdicts:
    """What the log said of all histories, and what the rows must say."""

    entries: list[Entry] = field(default_factory=list)
    rows: dict[UUID, tuple[str, object, str]] = field(default_factory=dict)
    histories: int = 0


def cases() -> Iterator[tuple[str, Program, Program]]:
    """Each program against each, in every setting in which they can meet."""
    for setting in SETTINGS:
        for first, second in pairs_of([*BUYS, *MOVES], 2):
            yield setting, first, second
        for first, second in product(CARTS, [*CARTS, *BUYS, *MOVES]):
            yield setting, first, second
    yield from STORIES


async def play(
    redis: Redis, engine: AsyncEngine, settings: Settings, case: tuple[str, Program, Program],
    choices: Choices, vanish: tuple[int, int] | None, verdicts: Verdicts,
) -> bool:
    setting, *programs = case
    ada, bob, session = f"ada-{verdicts.histories}", f"bob-{verdicts.histories}", str(uuid4())
    verdicts.histories += 1
    view, judge = View(ada, bob, session), Judge()
    driver = RealDriver(redis, engine, settings)
    for name in SETTINGS[setting]:
        call = INTENTS[name](view)
        assert call is not None
        answer = await driver.make(call)
        judge.hear(call, answer)
        view = view.after(answer)
    behind_door = RealDriver(Door(connection_pool=redis.connection_pool), engine, settings)
    clients = [
        Client(f"client {number}", behind_door, view, [INTENTS[name] for name in program])
        for number, program in enumerate(programs)
    ]
    has_vanished = await take_turns(redis, clients, choices, vanish)
    ops = [op for client in clients for op in client.ops if op.began]
    for number, look in enumerate((ReadCart(session), ReadOrders((ada, bob))), 1000):
        ops.append(Op("afterwards", look, await driver.make(look), number, number, is_lost=False))
    found = linearize(judge, ops)
    seen = "\n".join(f"  {op.began:>2}-{op.ended:<2} {op.client}: {op.call} -> {op.answer}" for op in ops)
    assert found is not None, f"{case}, turns {choices}, vanishing {vanish}: no order explains\n{seen}"
    for order_id, number in found.orders.items():
        order = found.model.orders[number]
        verdicts.rows[order_id] = (order.user, order.items, order.status)
    for entry_id, fields in await redis.xrange(STREAM):
        verdicts.entries.append(Entry(entry_id.decode(), tuple(fields.items())))
    await driver.forget()
    return has_vanished


async def hand_to_consumer(engine: AsyncEngine, verdicts: Verdicts) -> None:
    """The consumer records, dies before its ack, and is given everything again."""
    half = verdicts.entries[: len(verdicts.entries) // 2]
    for batch in (half, verdicts.entries, verdicts.entries):
        result = await record_batch(engine, batch, "consumer-1")
        assert not result.buried
    assert not result.recorded, "everything was known at the last delivery"
    async with engine.connect() as connection:
        items = {
            row.order_id: canonical({})
            for row in await connection.execute(sa.select(order_items.c.order_id).distinct())
        }
        _ = items
        rows = await connection.execute(
            sa.select(
                orders.c.id,
                orders.c.user_id,
                orders.c.status,
                sa.func.array_agg(order_items.c.product_id).label("products"),
                sa.func.array_agg(order_items.c.quantity).label("quantities"),
            )
            .join(order_items, order_items.c.order_id == orders.c.id)
            .group_by(orders.c.id)
        )
        recorded = {
            row.id: (row.user_id, canonical(dict(zip(row.products, row.quantities, strict=True))), row.status)
            for row in rows
        }
        buried = await connection.scalar(sa.select(sa.func.count()).select_from(dead_letters))
    assert recorded == verdicts.rows
    assert buried == 0


async def test_whatever_two_clients_do_at_once_has_an_order_in_which_the_model_answers_the_same(
    quick_redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    verdicts = Verdicts()
    driver = RealDriver(quick_redis, engine, settings)
    view = View("warm-up", "nobody", str(uuid4()))
    for name in ("put headphones", "buy with cart", "buy with key 1 carrying the last generation", "cancel"):
        view = view.after(await driver.make(INTENTS[name](view)))  # the scripts are loaded: no trip is made twice
    await driver.restore((Snapshot({}, {}, 0)))
    import time
    t = time.time()
    n=0
    for case in cases():
        n+=1
        crashes: list[tuple[int, int] | None] = [None]
        choices = Choices()
        await explore(quick_redis, engine, settings, case, None, verdicts)
        for client in (0, 1):
            for trips in count(1):
                if not await explore(quick_redis, engine, settings, case, (client, trips), verdicts):
                    break
    print(n, verdicts.histories, time.time()-t)
    await hand_to_consumer(engine, verdicts)
    print(n, verdicts.histories, time.time()-t)


async def explore(redis, engine, settings, case, vanish, verdicts) -> bool:
    choices, ever = Choices(), False
    while True:
        ever |= await play(redis, engine, settings, case, choices, vanish, verdicts)
        if not choices.go_on():
            return ever
