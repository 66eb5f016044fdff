"""What was asked for and what came of it. Holds values; decides nothing."""

from dataclasses import dataclass, field

from services.certify.history import Finding
from services.certify.oracle import Figures
from services.certify.schedule import Planned
from services.certify.timeline import Timeline


@dataclass(frozen=True)
class Order:
    """What was asked for: the same one decides the same again."""

    seed: int
    minutes: float
    faults: str
    rate: float
    sabotage: str | None = None

    @property
    def purchases(self) -> int:
        """How many are begun at least."""
        return max(1, round(self.rate * self.minutes * 60))


@dataclass
class Outcome:
    """What came of it. Clean = no findings."""

    order: Order
    schedule: list[Planned]
    timeline: Timeline
    figures: Figures = field(default_factory=Figures)
    purchases: int = 0
    duplicates: int = 0
    submissions: int = 0
    entries: int = 0
    poison: dict[str, int] = field(default_factory=dict)
    lost_orders: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    load_seconds: float = 0
    seconds: float = 0
