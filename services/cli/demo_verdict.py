"""The verdict of a demo: what was asked and answered, held against the rows. Reads Postgres by plain SQL alone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import asyncpg
from pydantic import BaseModel, computed_field

from services.cli.demo_client import Answer
from services.cli.demo_plan import Checkout

SHOWN = 20  # differences in full; the numbers count all of them

_TOTALS = """
SELECT count(*) AS orders, count(DISTINCT user_id) AS users, coalesce(sum(total), 0) AS total
FROM orders WHERE user_id = ANY($1)
"""
_ITEMS_TOTAL = """
SELECT coalesce(sum(i.quantity * i.unit_price), 0)
FROM order_items i JOIN orders o ON o.id = i.order_id AND o.user_id = i.user_id WHERE o.user_id = ANY($1)
"""
_EVENTS = "SELECT count(*) FROM events WHERE type = 'checkout.completed' AND user_id = ANY($1)"
_BURIED = "SELECT count(*) FROM dead_letters WHERE user_id = ANY($1)"
_ROWS = """
SELECT o.id::text, o.user_id, o.total, i.product_id, i.quantity
FROM orders o JOIN order_items i ON i.order_id = o.id AND i.user_id = o.user_id WHERE o.user_id = ANY($1)
"""


class Verdict(BaseModel):
    """Numbers of rows (from Postgres) and of answers. `differences` is empty when all is as it must be."""

    checkouts: int
    submissions: int
    orders: int = 0
    users: int = 0
    events: int = 0
    dead_letters: int = 0
    lost: int = 0
    doubled: int = 0
    duplicates: int = 0
    duplicates_answered_alike: int = 0
    answered_without_201: int = 0
    """Checkouts whose 201 reached nobody: a connection broke, at the client or between a process and Redis, and the
    next attempt met the order that the first had made. Told, not judged: nobody outside can tell whether one broke."""
    total_submitted: Decimal = Decimal(0)
    total_recorded: Decimal = Decimal(0)
    total_of_items: Decimal = Decimal(0)
    seconds: float = 0
    differences: list[str] = []

    @computed_field  # type: ignore[prop-decorator]
    @property
    def is_good(self) -> bool:
        """Whether nothing was lost, doubled or answered differently."""
        return not self.differences


async def give_verdict(
    connection: "asyncpg.Connection[asyncpg.Record]",
    checkouts: Sequence[Checkout],
    answers: Sequence[Sequence[Answer]],
    duplicates: int,
) -> Verdict:
    """Holds the rows of the demo's users against what was submitted and answered."""
    users = sorted({checkout.user for checkout in checkouts})
    totals = await connection.fetchrow(_TOTALS, users)
    assert totals is not None
    verdict = Verdict(
        checkouts=len(checkouts),
        submissions=len(checkouts) * (1 + duplicates),
        orders=totals["orders"],
        users=totals["users"],
        events=await connection.fetchval(_EVENTS, users),
        dead_letters=await connection.fetchval(_BURIED, users),
        total_submitted=sum((checkout.total for checkout in checkouts), Decimal("0.00")),
        total_recorded=totals["total"],
        total_of_items=await connection.fetchval(_ITEMS_TOTAL, users),
    )
    differences = _judge_answers(verdict, checkouts, answers, duplicates)
    differences += _judge_rows(verdict, checkouts, answers, await connection.fetch(_ROWS, users))
    for name, found, expected in (
        ("orders", verdict.orders, len(checkouts)),
        ("users", verdict.users, len(users)),
        ("events", verdict.events, len(checkouts)),
        ("dead letters", verdict.dead_letters, 0),
        ("duplicates answered alike", verdict.duplicates_answered_alike, len(checkouts) * duplicates),
        ("total of the orders", verdict.total_recorded, verdict.total_submitted),
        ("total of the line items", verdict.total_of_items, verdict.total_submitted),
    ):
        if found != expected:
            differences.append(f"{name}: {found}, must be {expected}")
    verdict.differences = differences[:SHOWN]
    if len(differences) > SHOWN:
        verdict.differences.append(f"and {len(differences) - SHOWN} more")
    return verdict


def _judge_answers(
    verdict: Verdict, checkouts: Sequence[Checkout], answers: Sequence[Sequence[Answer]], duplicates: int
) -> list[str]:
    """At most one 201 a checkout, all others 200 with its body."""
    differences = []
    for checkout, given in zip(checkouts, answers, strict=True):
        good = [answer for answer in given if answer.status in (200, 201) and answer.order is not None]
        for answer in given:
            if answer not in good:
                differences.append(f"{_name(checkout)}: answered {answer.status} {answer.error}")
        if not good:
            continue
        first = next((answer for answer in good if answer.status == 201), good[0])
        alike = sum(_content(answer) == _content(first) for answer in good) - 1
        verdict.duplicates += len(good) - 1
        verdict.duplicates_answered_alike += alike
        created = sum(answer.status == 201 for answer in good)
        verdict.answered_without_201 += created == 0
        if created > 1:
            differences.append(f"{_name(checkout)}: {created} answers of 201, must be one at most")
    return differences


def _judge_rows(
    verdict: Verdict,
    checkouts: Sequence[Checkout],
    answers: Sequence[Sequence[Answer]],
    rows: Sequence[Mapping[str, Any]],
) -> list[str]:
    """Every checkout has one row under the id that was answered, with its user, items and total."""
    recorded: dict[str, tuple[str, Decimal, dict[str, int]]] = {}
    for row in rows:
        items = recorded.setdefault(row["id"], (row["user_id"], row["total"], {}))[2]
        items[row["product_id"]] = items.get(row["product_id"], 0) + row["quantity"]
    rows_of = Counter((user, frozenset(items.items())) for user, _, items in recorded.values())
    differences = []
    for checkout, given in zip(checkouts, answers, strict=True):
        found = rows_of[checkout.user, frozenset(checkout.items.items())]
        verdict.lost += found == 0
        verdict.doubled += max(0, found - 1)
        if found != 1:
            differences.append(f"{_name(checkout)}: {found} rows, must be one")
        for order_id in {str(answer.order["id"]) for answer in given if answer.order is not None}:
            order = recorded.get(order_id)
            if order != (checkout.user, checkout.total, dict(checkout.items)):
                differences.append(f"{_name(checkout)}: answered order {order_id} is recorded as {order}")
    return differences


def _content(answer: Answer) -> dict[str, Any]:
    """The order without its status, which is live."""
    return {name: value for name, value in (answer.order or {}).items() if name != "status"}


def _name(checkout: Checkout) -> str:
    items = " + ".join(f"{quantity} of {product}" for product, quantity in checkout.items.items())
    return f"{checkout.user} buys {items} (protected by {checkout.protection.value})"
