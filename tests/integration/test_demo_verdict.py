"""The demo's verdict is good for exactly one history, and names what differs in every other one."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from uuid import uuid4

import asyncpg
import pytest

from services.cli.demo_client import Answer
from services.cli.demo_plan import Checkout, plan_checkouts
from services.cli.demo_verdict import Verdict, give_verdict
from shared.settings import Settings

DUPLICATES = 3
CATALOG = [{"id": "1", "price": 129, "stock": 25}, {"id": "3", "price": 39, "stock": 8}]
Answers = list[list[Answer]]


@pytest.fixture
async def connection(settings: Settings) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    yield connection
    await connection.close()


async def record(connection: "asyncpg.Connection[asyncpg.Record]", plan: Sequence[Checkout]) -> Answers:
    """One order for each checkout, as the consumer would write it, and the answers of a system without fault."""
    answers = []
    for checkout in plan:
        order_id = uuid4()
        await connection.execute(
            "INSERT INTO events VALUES ($1, 'checkout.completed', $2, $1, '', '{}', 's', '1-0', now())",
            order_id,
            checkout.user,
        )
        await connection.execute(
            "INSERT INTO orders VALUES ($1, $2, $3, 'processing', now())", order_id, checkout.user, checkout.total
        )
        for line, (product, quantity) in enumerate(checkout.items.items()):
            price = next(entry["price"] for entry in CATALOG if entry["id"] == product)
            await connection.execute(
                "INSERT INTO order_items VALUES ($1, $2, $3, '', $4, $5, $6)",
                order_id,
                line,
                product,
                price,
                quantity,
                checkout.user,
            )
        order = {"id": str(order_id), "total": float(checkout.total), "status": "processing"}
        late = {**order, "status": "paid"}
        answers.append([Answer(200, late, None)] * DUPLICATES + [Answer(201, order, None)])
    return answers


async def test_one_row_one_201_and_equal_duplicates_are_good(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    plan = plan_checkouts(200, CATALOG)
    answers = await record(connection, plan)

    verdict = await give_verdict(connection, plan, answers, DUPLICATES)

    assert verdict.differences == []
    assert (verdict.orders, verdict.users, verdict.duplicates_answered_alike) == (200, 100, 600)
    assert verdict.answered_without_201 == 0
    assert verdict.total_recorded == verdict.total_of_items == verdict.total_submitted
    assert json.loads(verdict.model_dump_json())["is_good"] is True


DOUBLE = """
WITH copy AS (
    INSERT INTO orders SELECT gen_random_uuid(), user_id, total, status, created_at FROM orders LIMIT 1 RETURNING *
)
INSERT INTO order_items SELECT copy.id, i.line, i.product_id, i.title, i.unit_price, i.quantity, i.user_id
FROM copy, orders o JOIN order_items i ON i.order_id = o.id
WHERE o.id = (SELECT id FROM orders LIMIT 1)
"""
MISTAKE_THE_OWNER = """
SET session_replication_role = replica; -- the foreign key of the line items would refuse it
UPDATE orders SET user_id = 'mallory' WHERE id = (SELECT id FROM orders LIMIT 1);
"""
LOSE = "TRUNCATE orders, order_items"


@pytest.mark.parametrize(
    ("breakage", "difference"),
    [
        (LOSE, "orders: 0, must be 4"),
        (DOUBLE, "orders: 5, must be 4"),
        (DOUBLE, "2 rows, must be one"),
        ("UPDATE orders SET total = total + 1 WHERE id = (SELECT id FROM orders LIMIT 1)", "total of the orders"),
        ("UPDATE order_items SET quantity = quantity + 1", "total of the line items"),
        (MISTAKE_THE_OWNER, "0 rows, must be one"),
        ("UPDATE order_items SET product_id = '2'", "is recorded as"),
        ("DELETE FROM events", "events: 0, must be 4"),
        (
            "INSERT INTO dead_letters (stream, entry_id, fields_hash, reason, detail, fields, user_id, consumer)"
            " SELECT 's', '1-0', '', 'key_reused', '', '[]', user_id, 'c' FROM orders LIMIT 1",
            "dead letters: 1, must be 0",
        ),
    ],
)
async def test_every_fault_in_the_rows_is_named(
    connection: "asyncpg.Connection[asyncpg.Record]", breakage: str, difference: str
) -> None:
    plan = plan_checkouts(4, CATALOG)
    answers = await record(connection, plan)
    await connection.execute(breakage)

    verdict = await give_verdict(connection, plan, answers, DUPLICATES)

    assert_named(verdict, difference)


@pytest.mark.parametrize(
    ("which", "changes", "difference"),
    [
        (0, {"status": 201}, "2 answers of 201, must be one at most"),
        (1, {"order": {"id": "another", "total": 1}}, "duplicates answered alike: 11, must be 12"),
        (2, {"status": 503, "order": None, "error": "try again"}, "answered 503 try again"),
        (2, {"status": 0, "order": None, "error": "no answer"}, "answered 0 no answer"),
    ],
)
async def test_every_fault_in_the_answers_is_named(
    connection: "asyncpg.Connection[asyncpg.Record]", which: int, changes: dict[str, object], difference: str
) -> None:
    plan = plan_checkouts(4, CATALOG)
    answers = await record(connection, plan)
    answers[2][which] = replace(answers[2][which], **changes)  # type: ignore[arg-type]

    verdict = await give_verdict(connection, plan, answers, DUPLICATES)

    assert_named(verdict, difference)


async def test_a_checkout_whose_201_reached_nobody_is_told_and_no_fault(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    plan = plan_checkouts(4, CATALOG)
    answers = await record(connection, plan)
    answers[1][3] = replace(answers[1][3], status=200)

    verdict = await give_verdict(connection, plan, answers, DUPLICATES)

    assert (verdict.differences, verdict.answered_without_201) == ([], 1)


async def test_without_its_201_every_submission_must_still_be_answered_with_one_order(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    plan = plan_checkouts(4, CATALOG)
    answers = await record(connection, plan)
    answers[1][3] = replace(answers[1][3], status=200)
    answers[1][0] = replace(answers[1][0], order=answers[2][3].order)

    verdict = await give_verdict(connection, plan, answers, DUPLICATES)

    assert_named(verdict, "duplicates answered alike: ")
    assert_named(verdict, "is recorded as")


def assert_named(verdict: Verdict, difference: str) -> None:
    assert not verdict.is_good
    assert any(difference in line for line in verdict.differences), verdict.differences
