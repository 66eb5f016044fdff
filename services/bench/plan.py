"""What a benchmark measures, how often and how long: the two plans and what the command line changes in them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.bench.contenders import CONTENDERS
from services.bench.figures import ACCEPT, COMPARED_AT, DRAIN, FULL, HALF, READS
from shared.errors import TillrollError

PARTS = (ACCEPT, HALF, FULL, DRAIN, READS)


class UnknownPart(TillrollError):
    """--only names something that there is not."""


@dataclass(frozen=True)
class Plan:
    """What to measure. `seconds` a load, `rows` in the large tables, `events` waiting for a drain.

    The whole is meant for a quarter of an hour on two quiet cores, so one process is measured only when asked for.
    """

    parts: Sequence[str] = PARTS
    contenders: Sequence[str] = tuple(name for name in CONTENDERS if name != "tillroll-1")
    levels: Sequence[int] = (8, COMPARED_AT, 128)
    rounds: int = 3
    half_rounds: int = 3
    full_rounds: int = 3
    seconds: float = 3
    rows: int = 1_000_000
    events: int = 200_000
    drains: int = 2
    read_rows: Sequence[int] = (100_000, 5_000_000)


QUICK = Plan(
    parts=(ACCEPT, DRAIN),
    contenders=("tillroll", "afternoon", "floor-http"),
    levels=(COMPARED_AT,),
    rounds=3,  # of two, one that the machine disturbed would be half of the figure
    seconds=2,
    events=15_000,
    drains=1,
)


def plan_bench(
    *,
    quick: bool = False,
    seconds: float | None = None,
    rounds: int | None = None,
    only: str | None = None,
    rows: int | None = None,
    events: int | None = None,
) -> Plan:
    """The plan of these options; raises UnknownPart. `rows` is also the large table of the order list."""
    plan = QUICK if quick else Plan()
    words = [word.strip() for word in (only or "").split(",") if word.strip()]
    unknown = [word for word in words if word not in PARTS and word not in CONTENDERS]
    if unknown:
        raise UnknownPart(f"--only does not know {', '.join(unknown)}; it knows {', '.join((*PARTS, *CONTENDERS))}.")
    parts = tuple(part for part in PARTS if part in words)
    contenders = tuple(name for name in CONTENDERS if name in words)
    changes = {
        "parts": parts or None,
        "contenders": contenders or None,
        "seconds": seconds,
        "rounds": rounds,
        "half_rounds": rounds,
        "full_rounds": rounds,
        "drains": rounds,
        "rows": rows,
        "events": events,
        "read_rows": (min(rows, 100_000), rows) if rows is not None else None,
    }
    return replace(plan, **{name: value for name, value in changes.items() if value is not None})  # type: ignore[arg-type]
