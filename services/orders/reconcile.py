"""Whether the log and the tables agree: the stream with the archive, the archive with orders, line items, statuses.

Each finding names its row. Fixing writes only rows that are missing, by the consumer's own rule; what is different
or unexpected is for a person to judge. Works beside the consumer: an order on its way is no finding.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from shared.errors import TillrollError

MOST_LISTED = 10_000  # findings told one by one; all are counted, and all that are missing are fixed

Progress = Callable[[int, int], None]
"""Told how many orders and entries are compared, of how many."""


class Kind(StrEnum):
    """What is wrong with a row, seen from the log."""

    MISSING = "missing"
    UNEXPECTED = "unexpected"
    DIFFERENT = "different"


class CannotReconcile(TillrollError):
    """Nothing was compared; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One row. `key`: its primary key as text; `expected` and `found`: all columns, or those that differ."""

    kind: Kind
    table: str
    key: str
    order_id: str | None = None
    expected: dict[str, Any] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)
    is_fixed: bool = False

    @property
    def name(self) -> tuple[str, str, str]:
        """What makes it this finding and no other."""
        return self.kind, self.table, self.key


@dataclass(slots=True)
class Reconciled:
    """`entries`: entries of the stream that were compared; None = there is no group that could have acked any.

    `moved`: of `orders` those whose rows were only looked for, because their checkout was moved out of Postgres.
    """

    orders: int = 0
    moved: int = 0
    entries: int | None = None
    counts: Counter[str] = field(default_factory=Counter)
    fixed: int = 0
    discrepancies: list[Discrepancy] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing is left that is wrong."""
        return self.counts.total() == self.fixed

    def add(self, discrepancy: Discrepancy) -> None:
        """Counts it, and lists it while the list is short enough for a person."""
        self.counts[discrepancy.kind] += 1
        self.fixed += discrepancy.is_fixed
        if len(self.discrepancies) < MOST_LISTED:
            self.discrepancies.append(discrepancy)

    def public(self) -> dict[str, Any]:
        """JSON's view of it."""
        return {
            "is_clean": self.is_clean,
            "orders": self.orders,
            "moved": self.moved,
            "entries": self.entries,
            "counts": {kind: self.counts[kind] for kind in Kind},
            "fixed": self.fixed,
            "discrepancies": [
                {
                    "kind": found.kind,
                    "table": found.table,
                    "key": found.key,
                    "order_id": found.order_id,
                    "expected": found.expected,
                    "found": found.found,
                    "is_fixed": found.is_fixed,
                }
                for found in self.discrepancies
            ],
        }
