"""Reconciling names exactly the rows that are wrong, and fixing brings back exactly those that are missing."""

import asyncio
import random
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.archive import LIVE
from services.orders.rebuild_checksum import read_checksum
from services.orders.reconcile import Reconciled
from services.orders.reconcile_run import reconcile
from shared.events import Status, event_id_of
from shared.settings import Settings
from shared.streams import GROUP, STREAM
from tests.builders import a_change, a_checkout, a_joined_key, fields_of
from tests.integration.operators import consume, put
from tests.tables import execute, rows

ORDERS = 60


@pytest.fixture
async def orders(engine: AsyncEngine, redis: Redis, settings: Settings) -> list[UUID]:
    """A recorded day: paid and cancelled orders, a joined key, a duplicate, a dead letter, a move without its order."""
    orders = [await put(redis, a_checkout(f"user_{n}")) for n in range(ORDERS)]
    for n in range(0, ORDERS, 3):
        status = Status.CANCELLED if n % 2 else Status.PAID
        await put(redis, a_change(orders[n], status, f"user_{n}"), event_id_of("status", n))
    await put(redis, a_joined_key(orders[1], uuid4(), "user_1"))
    await put(redis, a_checkout("user_2"), orders[2])
    await put(redis, a_change(uuid4()))
    await redis.xadd(STREAM, {"event_id": "not a uuid", "payload": "{}"})
    await consume(engine, redis, settings)
    return orders


async def checksum(engine: AsyncEngine) -> Any:
    async with engine.connect() as connection:
        return await read_checksum(connection, LIVE)


def names(result: Reconciled) -> list[tuple[str, str, str]]:
    return sorted((str(found.kind), found.table, found.key) for found in result.discrepancies)


async def damage_rows(engine: AsyncEngine, statement: str, **values: Any) -> None:
    """Damage that Postgres itself would refuse, if it looked at its foreign keys."""
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.execute(text(statement), values)


async def test_a_sound_system_is_clean(settings: Settings, engine: AsyncEngine, orders: list[UUID]) -> None:
    result = await reconcile(settings, fix=False)
    assert (names(result), result.is_clean) == ([], True)
    assert result.orders == ORDERS + 1
    assert result.entries == ORDERS + ORDERS // 3 + 4


async def test_seventeen_random_rows_deleted_are_named_and_brought_back_exactly(
    settings: Settings, engine: AsyncEngine, orders: list[UUID]
) -> None:
    before = await checksum(engine)
    dice = random.Random(17)
    victims = dice.sample(orders, 14)
    deleted = []
    for number, order in enumerate(victims[:11]):
        if number % 3 == 0:
            await damage_rows(engine, "DELETE FROM orders WHERE id = :id", id=order)
            deleted.append(("missing", "orders", str(order)))
        elif number % 3 == 1:
            await damage_rows(engine, "DELETE FROM order_items WHERE order_id = :id AND line = 2", id=order)
            deleted.append(("missing", "order_items", f"{order}/2"))
        else:
            await damage_rows(engine, "DELETE FROM order_statuses WHERE order_id = :id", id=order)
            deleted.append(("missing", "order_statuses", str(order)))
    for order in victims[11:13]:  # an order with both its line items: three rows each
        await damage_rows(engine, "DELETE FROM order_items WHERE order_id = :id", id=order)
        await damage_rows(engine, "DELETE FROM orders WHERE id = :id", id=order)
        deleted += [("missing", "order_items", f"{order}/{line}") for line in (1, 2)]
        deleted.append(("missing", "orders", str(order)))
    assert len(deleted) == 17
    named = await reconcile(settings, fix=False)
    assert names(named) == sorted(deleted)
    assert not named.is_clean
    fixed = await reconcile(settings, fix=True)
    assert names(fixed) == sorted(deleted)
    assert fixed.is_clean
    assert fixed.fixed == 17
    assert await checksum(engine) == before
    assert (await reconcile(settings, fix=False)).discrepancies == []


@pytest.mark.parametrize(
    ("damage", "table", "expected", "found"),
    [
        ("UPDATE orders SET total = 1 WHERE id = :id", "orders", {"total": 427.0}, {"total": 1.0}),
        ("UPDATE orders SET user_id = 'eve' WHERE id = :id", "orders", {"user_id": "user_1"}, {"user_id": "eve"}),
        ("UPDATE orders SET status = 'paid' WHERE id = :id", "orders", {"status": "processing"}, {"status": "paid"}),
        ("UPDATE order_items SET unit_price = 1 WHERE order_id = :id AND line = 1", "order_items", None, None),
        ("UPDATE order_items SET quantity = 9 WHERE order_id = :id AND line = 1", "order_items", None, None),
        ("UPDATE orders SET created_at = created_at + interval '1s' WHERE id = :id", "orders", None, None),
        ("UPDATE order_statuses SET status = 'paid' WHERE order_id = :id", "order_statuses", None, None),
    ],
)
async def test_a_planted_fault_is_named_as_different_and_never_overwritten(
    settings: Settings, engine: AsyncEngine, orders: list[UUID], damage: str, table: str, expected: Any, found: Any
) -> None:
    await damage_rows(engine, damage, id=orders[1])
    damaged = await checksum(engine)
    for fix in (False, True):
        result = await reconcile(settings, fix=fix)
        [discrepancy] = result.discrepancies
        assert (discrepancy.kind, discrepancy.table, discrepancy.order_id) == ("different", table, str(orders[1]))
        assert not result.is_clean
        if expected:
            assert (discrepancy.expected, discrepancy.found) == (expected, found)
    assert await checksum(engine) == damaged


async def test_rows_that_no_event_explains_are_unexpected_and_left_alone(
    settings: Settings, engine: AsyncEngine, orders: list[UUID]
) -> None:
    stranger = uuid4()
    await execute(engine, "INSERT INTO orders VALUES (:id, 'eve', 1, 'paid', now(), NULL)", id=stranger)
    await execute(engine, "INSERT INTO order_items VALUES (:id, 3, '1', 'Free Lunch', 0, 1, 'user_1')", id=orders[1])
    for fix in (False, True):
        result = await reconcile(settings, fix=fix)
        assert names(result) == sorted(
            [("unexpected", "orders", str(stranger)), ("unexpected", "order_items", f"{orders[1]}/3")]
        )


async def test_events_and_dead_letters_missing_from_the_archive_are_recorded_from_the_stream(
    settings: Settings, engine: AsyncEngine, orders: list[UUID]
) -> None:
    before = await checksum(engine)
    moved = event_id_of("status", 0)
    await execute(engine, "DELETE FROM events WHERE event_id IN (:order, :move)", order=orders[5], move=moved)
    [(buried,)] = await rows(engine, "SELECT entry_id FROM dead_letters")
    await execute(engine, "DELETE FROM dead_letters")
    expected = [
        ("missing", "dead_letters", buried),
        ("missing", "events", str(moved)),
        ("missing", "events", str(orders[5])),
    ]
    assert names(await reconcile(settings, fix=False)) == sorted(expected)
    fixed = await reconcile(settings, fix=True)
    assert names(fixed) == sorted(expected)
    assert fixed.is_clean
    assert (await reconcile(settings, fix=False)).discrepancies == []
    assert await checksum(engine) == before
    assert await rows(engine, "SELECT entry_id FROM dead_letters") == [(buried,)]


async def test_an_order_lost_with_its_event_comes_back_from_the_stream_with_its_status(
    settings: Settings, engine: AsyncEngine, orders: list[UUID]
) -> None:
    before = await checksum(engine)
    for table, column in (("order_items", "order_id"), ("orders", "id"), ("events", "order_id")):
        await execute(engine, f"DELETE FROM {table} WHERE {column} = :id", id=orders[0])
    assert (await reconcile(settings, fix=True)).is_clean
    assert await checksum(engine) == before
    assert await rows(engine, "SELECT status FROM orders WHERE id = :id", id=orders[0]) == [("paid",)]


async def test_an_altered_payload_in_the_archive_is_named(
    settings: Settings, engine: AsyncEngine, orders: list[UUID]
) -> None:
    await execute(
        engine,
        "UPDATE events SET payload = CAST(replace(CAST(payload AS text), '427', '1') AS json) WHERE event_id = :id",
        id=orders[1],
    )
    result = await reconcile(settings, fix=True)
    assert ("different", "events", str(orders[1])) in names(result)
    assert not result.is_clean


async def test_an_order_in_flight_is_no_discrepancy(
    settings: Settings, engine: AsyncEngine, redis: Redis, orders: list[UUID]
) -> None:
    is_over = asyncio.Event()
    taken = 0

    async def shop() -> None:
        nonlocal taken
        while not is_over.is_set():
            order = await put(redis, a_checkout("user_live"))
            await put(redis, a_change(order, Status.PAID, "user_live"))
            await consume(engine, redis, settings)
            taken += 1

    shopping = asyncio.create_task(shop())
    for _ in range(5):
        for fix in (False, True):
            assert names(await reconcile(settings, fix=fix)) == []
    is_over.set()
    await shopping
    assert taken > 5


async def test_what_the_consumer_holds_is_no_discrepancy(
    settings: Settings, engine: AsyncEngine, redis: Redis, orders: list[UUID]
) -> None:
    await put(redis, a_checkout("user_late"))
    await redis.xreadgroup(GROUP, "consumer-1", {STREAM: ">"})
    await put(redis, a_checkout("user_later"))
    assert (await reconcile(settings, fix=True)).discrepancies == []
    assert await rows(engine, "SELECT 1 FROM orders WHERE user_id LIKE 'user_late%'") == []


async def test_of_two_contradictory_moves_either_may_have_counted(
    settings: Settings, engine: AsyncEngine, redis: Redis, orders: list[UUID]
) -> None:
    late: Any = fields_of(a_change(orders[1], Status.CANCELLED, "user_1"), accepted_at=2)
    early: Any = fields_of(a_change(orders[1], Status.PAID, "user_1"), accepted_at=1)
    for fields in (late, early):  # two consumers: the later one is recorded first
        await redis.xadd(STREAM, fields)
        await consume(engine, redis, settings)
    assert await rows(engine, "SELECT status FROM orders WHERE id = :id", id=orders[1]) == [("cancelled",)]
    assert (await reconcile(settings, fix=False)).discrepancies == []
