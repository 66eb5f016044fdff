"""The oracle sees what it is for: each kind of poison meets its fate; a loss, a double, a wrong status is found."""

from random import Random
from uuid import UUID, uuid4

import asyncpg
import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.certify.history import Answer, History, MoveAnswer
from services.certify.oracle import Losses, judge_rows
from services.certify.oracle_stream import judge_stream
from services.certify.plan import Move, Shelf, plan_purchase
from services.certify.poison import KINDS, MARK, RECORDED, Poison, Target
from services.certify.roll import Roll
from services.orders.entries import entries_of, keep_raw
from services.orders.record_events import record_batch
from shared.events import CheckoutCompleted, Line, Status
from shared.settings import Settings
from shared.streams import STREAM
from tests.builders import a_change, a_checkout, an_entry

SHELF = Shelf.of([{"id": "1", "price": 129, "stock": 25}, {"id": "2", "price": 149, "stock": 15}])


async def _rules(settings: Settings, history: History, losses: Losses | None = None) -> list[str]:
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        _, findings = await judge_rows(connection, history, losses or Losses())
    finally:
        await connection.close()
    return [finding.rule for finding in findings]


async def _bought(engine: AsyncEngine) -> tuple[History, UUID]:
    """One purchase of the plan, answered and recorded."""
    purchase = plan_purchase(1, 700, SHELF)
    lines = tuple(
        Line(product_id=product, title="Bought", unit_price=price, quantity=dict(purchase.items)[product])
        for product, price, _ in SHELF.products
        if product in dict(purchase.items)
    )
    event: CheckoutCompleted = a_checkout(purchase.user, *lines)
    order_id = uuid4()
    await record_batch(engine, [an_entry(event, order_id)], "test")
    order = {"id": str(order_id), "userId": purchase.user, "total": float(purchase.total), "items": purchase.lines}
    history = History({purchase.number: purchase}, [Answer(purchase.number, "gateway-1", 1.0, 2.0, 201, order)])
    return history, order_id


async def test_a_row_for_each_answered_purchase_is_clean(settings: Settings, engine: AsyncEngine) -> None:
    history, _ = await _bought(engine)
    assert await _rules(settings, history) == []


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        ("DELETE FROM order_items; DELETE FROM orders; DELETE FROM events", "nothing lost"),
        ("UPDATE orders SET total = total + 1", "sums equal"),
        ("UPDATE orders SET status = 'paid'", "a 200 is kept"),
        ("UPDATE order_statuses SET status = 'paid'", "one status"),
        ("UPDATE orders SET user_id = 'mallory'", "nothing invented"),
    ],
)
async def test_damage_to_the_rows_is_found(settings: Settings, engine: AsyncEngine, damage: str, rule: str) -> None:
    history, _ = await _bought(engine)
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))  # or foreign keys refuse it
        for statement in damage.split(";"):
            await connection.execute(text(statement))
    assert rule in await _rules(settings, history)


async def test_a_second_row_of_one_purchase_is_found(settings: Settings, engine: AsyncEngine) -> None:
    history, _ = await _bought(engine)
    await _bought(engine)
    assert await _rules(settings, history) == ["nothing doubled"]


async def test_a_promised_move_that_was_not_made_is_found_unless_its_entry_was_lost(
    settings: Settings, engine: AsyncEngine
) -> None:
    history, order_id = await _bought(engine)
    history.moves.append(MoveAnswer(700, str(order_id), Move.PAID, "gateway-1", 200))
    assert await _rules(settings, history) == ["a 200 is kept"]
    assert await _rules(settings, history, Losses(moves={(str(order_id), "paid")})) == []


async def test_only_what_the_erased_disk_held_unrecorded_may_be_missing(settings: Settings) -> None:
    purchase = plan_purchase(1, 701, SHELF)
    order = {"id": "a-lost-one", "userId": purchase.user, "total": float(purchase.total), "items": purchase.lines}
    history = History({701: purchase}, [Answer(701, "gateway-1", 1.0, 2.0, 201, order)])
    assert await _rules(settings, history) == ["nothing lost"]
    assert await _rules(settings, history, Losses(order_ids={"a-lost-one"})) == []


@pytest.mark.parametrize("poison", KINDS, ids=lambda poison: poison.kind)
async def test_each_kind_of_poison_is_recorded_or_buried_as_the_oracle_says(
    settings: Settings, redis: Redis, engine: AsyncEngine, poison: Poison
) -> None:
    order_id, user = uuid4(), "shopper-007"
    history = [an_entry(a_checkout(user), order_id)]
    if poison.needs in (Status.PAID, Status.CANCELLED):
        history.append(an_entry(a_change(order_id, Status(poison.needs), user)))
    await record_batch(engine, history, "test")
    fields = [*poison.make(Random(7), Target(order_id, user, poison.needs or "")), (MARK, poison.kind.encode())]
    await redis.execute_command("XADD", STREAM, "*", *[part for pair in fields for part in pair])
    keep_raw(redis)
    [entry] = entries_of(await redis.xrange(STREAM))
    result = await record_batch(engine, [entry], "test")
    assert [letter.reason for letter in result.buried] == ([] if poison.reason == RECORDED else [poison.reason])
    roll = Roll(settings.redis_url.get_secret_value())
    await roll.read_on()
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        counts, findings = await judge_stream(connection, roll, Losses())
        assert (counts[poison.kind], findings) == (1, [])
        await connection.execute('UPDATE dead_letters SET fields = \'[["event_id", "cut short"]]\'')
        _, findings = await judge_stream(connection, roll, Losses())
        assert [found.rule for found in findings] == ["a dead letter is the whole entry"] * len(result.buried)
        await connection.execute("DELETE FROM dead_letters")
        await connection.execute("DELETE FROM events WHERE order_id <> $1", order_id)
        _, findings = await judge_stream(connection, roll, Losses())
        assert len(findings) == 1
    finally:
        await connection.close()
