"""The oracle: the rows, by plain SQL over a connection of its own, held against what was asked and answered.

Uses none of the product's queries; of its code it shares the definition of an event alone.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import asyncpg

from services.certify.history import Finding, History
from services.certify.plan import Move, Purchase

DIRECT_USER = "direct-"
"""Users of sound events that were put into the stream by hand, beside the poison."""

_ROWS = """
SELECT o.id::text AS id, o.user_id, o.total, o.status, s.status AS locked_status, i.items, i.total AS items_total
FROM orders o LEFT JOIN order_statuses s ON s.order_id = o.id LEFT JOIN LATERAL (
    SELECT array_agg(product_id || ':' || quantity ORDER BY line) AS items, sum(quantity * unit_price) AS total
    FROM order_items WHERE order_id = o.id) i ON true
"""
_CHECKOUTS = "SELECT count(*) FROM events WHERE type = 'checkout.completed'"


@dataclass
class Losses:
    """What a loss of Redis' disk under load has taken: accepted, and in no table at that moment."""

    entry_ids: set[str] = field(default_factory=set)
    order_ids: set[str] = field(default_factory=set)
    moves: set[tuple[str, str]] = field(default_factory=set)  # order id, status


@dataclass
class Figures:
    """Numbers of the run, from the rows."""

    orders: int = 0
    answered: int = 0
    unknown: int = 0
    recorded_of_unknown: int = 0
    total: Decimal = Decimal(0)


async def judge_rows(
    connection: "asyncpg.Connection[asyncpg.Record]", history: History, losses: Losses
) -> tuple[Figures, list[Finding]]:
    """Orders, line items and statuses against the purchases."""
    rows = {row["id"]: row for row in await connection.fetch(_ROWS)}
    figures = Figures(orders=len(rows), total=sum((row["total"] for row in rows.values()), Decimal(0)))
    findings = []
    by_content: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for row in rows.values():
        by_content[row["user_id"], tuple(row["items"] or ())].append(row["id"])
    given = {number: {a.order_id or "" for a in answers} for number, answers in history.given().items()}
    explained: set[str] = set()
    for number, purchase in history.purchases.items():
        own = by_content.get((purchase.user, _content(purchase)), [])
        explained.update(own)
        figures.answered += number in given
        figures.unknown += number not in given
        figures.recorded_of_unknown += number not in given and bool(own)
        if len(own) > 1:
            findings.append(Finding("nothing doubled", f"purchase {number} of {purchase.user} has rows {own}"))
        for order_id in given.get(number, ()):
            if order_id not in rows and order_id not in losses.order_ids:
                findings.append(Finding("nothing lost", f"{order_id} (purchase {number}) has no row"))
        findings += [_found for i in own if (_found := _judge_row(rows[i], purchase)) is not None]
    for order_id, row in rows.items():
        if order_id not in explained and not row["user_id"].startswith(DIRECT_USER):
            findings.append(Finding("nothing invented", f"order {order_id} of {row['user_id']} was never submitted"))
        if row["status"] != row["locked_status"]:
            told = f"order {order_id} is {row['status']}, its row in order_statuses {row['locked_status']}"
            findings.append(Finding("one status", told))
    checkouts = await connection.fetchval(_CHECKOUTS)
    if checkouts != len(rows):
        findings.append(Finding("every checkout is an order", f"{checkouts} checkouts archived, {len(rows)} orders"))
    findings += _judge_statuses(history, rows, losses)
    return figures, findings


def _content(purchase: Purchase) -> tuple[str, ...]:
    return tuple(f"{product}:{quantity}" for product, quantity in purchase.items)


def _judge_row(row: Mapping[str, Any], purchase: Purchase) -> Finding | None:
    if row["total"] == purchase.total and row["items_total"] == purchase.total:
        return None
    told = f"order {row['id']}: {row['total']} with items of {row['items_total']}, submitted {purchase.total}"
    return Finding("sums equal", told)


def _judge_statuses(history: History, rows: Mapping[str, Mapping[str, Any]], losses: Losses) -> list[Finding]:
    """A 200 is kept; a 404 or 409 was true; what nobody asked for did not happen."""
    findings = []
    asked: dict[str, set[Move]] = defaultdict(set)
    promised: dict[str, Counter[Move]] = defaultdict(Counter)
    for move in history.moves:
        asked[move.order_id].add(move.move)
        if move.status == 200:
            promised[move.order_id][move.move] += 1
        if move.status == 409 or (move.status == 404 and move.order_id not in losses.order_ids):
            promised[move.order_id][Move.CANCELLED if move.status == 404 else Move.PAID] += 1
    for order_id, row in rows.items():
        if row["user_id"].startswith(DIRECT_USER):
            continue
        kept = [move for move in promised[order_id] if (order_id, str(move)) not in losses.moves]
        allowed: set[str] = set(kept[:1]) or {"processing", *asked[order_id]}
        if len(kept) > 1:
            findings.append(Finding("one of two racing moves", f"{order_id} was promised {', '.join(sorted(kept))}"))
        elif row["status"] not in allowed:
            told = f"{order_id} is {row['status']}, promised or asked for: {', '.join(sorted(allowed))}"
            findings.append(Finding("a 200 is kept", told))
    return findings
