"""What was found about growth, and the judgement: cost in a large database over one in a small. Measures nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from services.bench.grow import CHUNK
from services.bench.table_sizes import Relation

SIZES = (100_000, 1_000_000, 5_000_000)  # orders
SMALL, GROWN = SIDES = ("small", "grown")
FLAT = 1.5  # how much dearer an order, recorded or reconciled, may be in the largest database than in the small one
FLAT_LISTS = 1.3  # the same of a list
SAME_BUFFERS = 1.05  # a page more here and there is the depth of an index

Costs = dict[str, list[dict[str, float]]]


def _sides() -> Costs:
    return {side: [] for side in SIDES}


@dataclass
class Step:
    """What was found at one size. Costs in µs of CPU by side, one value a round; times in seconds."""

    rows: int
    inserts: Costs = field(default_factory=_sides)
    lists: Costs = field(default_factory=_sides)
    reconciled: Costs = field(default_factory=_sides)
    after_checkpoint: dict[str, float] = field(default_factory=dict)
    count_seconds: float = 0.0
    relations: list[Relation] = field(default_factory=list)
    fresh: int = 0
    """Orders that were recorded while the reads of `relations` were counted."""

    def middle(self, part: str, name: str, side: str) -> float:
        """The median over the rounds; 0 = not measured. `all`: every process' CPU."""
        found: Costs = getattr(self, part)
        values = [total(each) if name == "all" else each[name] for each in found[side] if name == "all" or name in each]
        return median(values) if values else 0.0

    def ratio(self, part: str, name: str = "all") -> float:
        """The grown database's cost over the small one's, in turn with it; 0 = not measured."""
        small = self.middle(part, name, SMALL)
        return self.middle(part, name, GROWN) / small if small else 0.0

    @property
    def is_flat(self) -> bool:
        """Whether an order, a list and a reconciled order cost about what they cost in the small database."""
        return (
            self.ratio("inserts", "postgres") <= FLAT
            and self.ratio("inserts") <= FLAT
            and self.ratio("lists") <= FLAT_LISTS
            and self.ratio("lists", "buffers") <= SAME_BUFFERS
            and self.ratio("reconciled") <= FLAT
        )


def total(values: Mapping[str, float]) -> float:
    """µs of CPU of every process that was counted."""
    return sum(values[name] for name in ("postgres", "consumer", "web", "redis") if name in values)


@dataclass
class Growth:
    """All that one run found."""

    environment: dict[str, Any]
    settings: dict[str, str]
    steps: list[Step] = field(default_factory=list)
    tight: list[Step] = field(default_factory=list)
    """The same sizes with PostgreSQL's default shared_buffers. Told, not judged."""
    seconds: float = 0.0

    @property
    def is_flat(self) -> bool:
        """Whether every size is."""
        return all(step.is_flat for step in self.steps)


def sizes_up_to(rows: int | None) -> Sequence[int]:
    """The sizes of a run whose largest has `rows` orders, in whole chunks."""
    if rows is None:
        return SIZES
    largest = -(-rows // CHUNK) * CHUNK
    return (*(size for size in SIZES if size < largest), largest)
