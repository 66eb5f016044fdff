"""The figures of a benchmark as values: one measurement, the median of several, the ratios between contenders."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from services.bench.oracle import Verdict

ACCEPT, FULL, HALF, DRAIN, READS = "accept", "full", "half", "drain", "reads"
"""The parts: saturated on small tables, saturated on large tables, half of capacity, waiting events, the order list."""

GROWTH, MEMORY, REPLAY = "growth", "memory", "replay"
"""Parts that run alone and have reports of their own."""

COMPARED_AT = 32  # connections at which contenders are compared; the middle of the three


@dataclass(frozen=True)
class Figure:
    """One measurement, or the median of several. `connections` is 0 where nobody connects; CPU in seconds of 1000
    orders by process; `latency` in ms by name; rates a second; memory in MiB by process; bytes an order."""

    part: str
    contender: str
    connections: int
    values: Mapping[str, float]


@dataclass
class Results:
    """All that one run found."""

    environment: dict[str, Any]
    figures: list[Figure] = field(default_factory=list)
    verdicts: dict[str, list[Verdict]] = field(default_factory=dict)
    reads: list[dict[str, Any]] = field(default_factory=list)
    accidents: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        """Whether every oracle is content and every process lived."""
        return all(v.is_good for found in self.verdicts.values() for v in found) and not self.accidents

    def medians(self) -> list[Figure]:
        """One figure for each part, contender and number of connections, in the order of their first measurement."""
        return medians(self.figures)


def medians(figures: Iterable[Figure]) -> list[Figure]:
    """Value by value: a round with a disturbed latency may still have a sound rate."""
    groups: dict[tuple[str, str, int], list[Figure]] = {}
    for figure in figures:
        groups.setdefault((figure.part, figure.contender, figure.connections), []).append(figure)
    return [
        Figure(*key, {name: median(f.values[name] for f in group if name in f.values) for name in _names(group)})
        for key, group in groups.items()
    ]


def _names(group: Sequence[Figure]) -> list[str]:
    return list(dict.fromkeys(name for figure in group for name in figure.values))


def total_cpu(values: Mapping[str, float]) -> float:
    """CPU seconds of 1000 orders over all processes; the client is not among them."""
    return sum(value for name, value in values.items() if name.startswith("cpu:"))


def ratios_by_connections(figures: Iterable[Figure]) -> dict[int, dict[str, float | None]]:
    """The ratios of accepting at each number of connections that tillroll was measured with."""
    found = list(figures)
    levels = [figure.connections for figure in found if (figure.part, figure.contender) == (ACCEPT, "tillroll")]
    names = ("cpu_per_order_vs_afternoon", "accept_vs_afternoon", "accept_vs_floor_http")
    return {level: {name: ratios(found, level)[name] for name in names} for level in sorted(levels)}


def ratios(figures: Iterable[Figure], level: int = COMPARED_AT) -> dict[str, float | None]:
    """The ratios that the product is held to, from medians; None = one side was not measured in this run."""
    found = {(f.part, f.contender, f.connections): f.values for f in figures}

    def divide(name: str, ours: tuple[str, str, int], theirs: tuple[str, str, int]) -> float | None:
        mine, other = found.get(ours), found.get(theirs)
        if mine is None or other is None:
            return None
        above, below = (total_cpu(mine), total_cpu(other)) if name == "cpu" else (mine.get(name), other.get(name))
        return round(above / below, 4) if above is not None and below else None

    tillroll, afternoon = (ACCEPT, "tillroll", level), (ACCEPT, "afternoon", level)
    return {
        "cpu_per_order_vs_afternoon": divide("cpu", tillroll, afternoon),
        "cpu_per_order_one_process_vs_afternoon": divide("cpu", (ACCEPT, "tillroll-1", level), afternoon),
        "cpu_per_order_nginx_vs_afternoon": divide("cpu", (ACCEPT, "tillroll-nginx", level), afternoon),
        "accept_vs_afternoon": divide("rate", tillroll, afternoon),
        "accept_vs_floor_http": divide("rate", tillroll, (ACCEPT, "floor-http", level)),
        "accept_vs_floor_http_alone": divide("rate", tillroll, (ACCEPT, "floor-http-alone", level)),
        "accept_p99_at_half_load_vs_floor_http": divide("p99_ms", (HALF, "tillroll", 0), (HALF, "floor-http", 0)),
        "drain_vs_floor_drain": divide("rate", (DRAIN, "tillroll", 0), (DRAIN, "floor-drain", 0)),
        "drain_vs_afternoon": divide("rate", (DRAIN, "tillroll", 0), (DRAIN, "afternoon", 0)),
        "accept_full_vs_empty": divide("rate", (FULL, "tillroll", level), tillroll),
        "afternoon_full_vs_empty": divide("rate", (FULL, "afternoon", level), afternoon),
        "reads_cpu_large_vs_small": divide("cpu", (READS, "large", 0), (READS, "small", 0)),
        "reads_buffers_large_vs_small": divide("buffers", (READS, "large", 0), (READS, "small", 0)),
    }
