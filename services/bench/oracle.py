"""The verdict at the end of every measurement: what was answered against what stands in the tables, by names.

Answers alone would not do: clients that are cut off at the end of a run have orders that nobody told them of.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from services.bench.contenders import Contender
from services.bench.shoppers import LINES, Shoppers
from services.bench.wrk import Answers
from services.checkout.names import key_name


@dataclass(frozen=True, slots=True)
class Row:
    """An order in the tables, with the name of the checkout that made it. Ids and names are None where none is."""

    order_id: UUID | None
    name: UUID | None
    total: Decimal | None
    lines: int


@dataclass(frozen=True)
class Verdict:
    """Counts of checkouts. `accepted` are names that were answered 201; `cut_off` are rows that nobody was told of."""

    accepted: int
    rows: int
    cut_off: int
    lost: int
    doubled: int
    strange: int
    differing: int
    refused: int

    @property
    def is_good(self) -> bool:
        """Whether every accepted checkout has exactly one row, and every row is a checkout that was sent."""
        return not (self.lost or self.doubled or self.strange or self.differing) and self.accepted > 0


def judge(names: Mapping[UUID, Decimal], answered: Iterable[UUID], rows: Sequence[Row], refused: int = 0) -> Verdict:
    """`names`: every checkout that was sent, with its total; `answered`: the order ids of the 201s."""
    given = Counter(answered)
    recorded = {row.order_id for row in rows if row.order_id is not None}
    by_name = Counter(row.name for row in rows)
    return Verdict(
        accepted=len(given),
        rows=len(rows),
        cut_off=len(recorded - given.keys()),
        lost=len(given.keys() - recorded),
        doubled=sum(count - 1 for count in by_name.values()) + sum(count - 1 for count in given.values()),
        strange=sum(name not in names for name in by_name),
        differing=sum(_differs(row, names) for row in rows),
        refused=refused,
    )


def _differs(row: Row, names: Mapping[UUID, Decimal]) -> bool:
    expected = names.get(row.name) if row.name is not None else None
    return expected is not None and (row.total, row.lines) != (expected, LINES)


def judge_answers(shoppers: Shoppers, runs: Sequence[Answers], rows: Sequence[Row]) -> Verdict:
    """The verdict on what wrk sent in `runs`."""
    names = {name: total for run in runs for name, total in shoppers.names(run.numbers)}
    answered = [UUID(order_id) for run in runs for order_id in run.order_ids]
    refused = sum(run.refused + run.duplicates + run.broken + run.timeouts for run in runs)
    return judge(names, answered, rows, refused)


def row_of(contender: Contender, record: Mapping[str, Any]) -> Row:
    """A record of the contender's own tables."""
    if contender.has_log:
        name = record["name"]
    else:
        name = key_name(record["user_id"], record["key"]) if record["key"] is not None else None
    return Row(record["id"], name, record["total"], record["lines"])
