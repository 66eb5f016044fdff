"""What growth costs, as Markdown, JSON and one chart. Renders; measures nothing."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from services.bench.charts import draw_bars
from services.bench.measure_growth import FLAT, Growth, Step
from services.bench.report import markdown

_MB = 1e6
_LEFT_AT = 0.05  # of an index's page accesses missing: it no longer fits


def growth_json(growth: Growth) -> dict[str, Any]:
    """Everything, ratios first."""
    return {
        "is_flat": growth.is_flat,
        "flat_within": FLAT,
        "ratios": {
            str(step.rows): {part: round(step.ratio(part), 3) for part in ("inserts", "lists")} for step in growth.steps
        },
        "environment": growth.environment,
        "settings": growth.settings,
        "seconds": round(growth.seconds),
        "steps": [asdict(step) for step in growth.steps],
        "tight": [asdict(step) for step in growth.tight],
    }


def render_growth(growth: Growth) -> str:
    """For a terminal, and as Markdown all the same."""
    env = growth.environment
    settings = ", ".join(f"{name} {value}" for name, value in growth.settings.items())
    told = f"flat within {FLAT}" if growth.is_flat else f"NOT flat within {FLAT}"
    return "\n\n".join(
        (
            f"Commit {env['commit']}, {env['at']}, {env['machine']}, load average at the start {env['load_average']},"
            f" {env['file_system']}, Python {env['python']}, PostgreSQL {env['postgres']['version']}"
            f" ({settings}, fsync {env['postgres']['fsync']}); {growth.seconds:.0f} s in all.",
            f"## The cost of an order and of a list: {told}\n\n"
            "Beside a database that stays at the smallest size, in turn; medians of the rounds. Ratios are of CPU.\n\n"
            + markdown(_HEAD, [_row(step) for step in growth.steps]),
            "The same with PostgreSQL's default `shared_buffers`, 128 MB (told, not judged):\n\n"
            + markdown(_HEAD, [_row(step) for step in growth.tight]),
            "## Right after a checkpoint\n\n"
            "The first change of a page after a checkpoint writes the whole page to the WAL.\n\n"
            + markdown(("orders", "Postgres µs", "ms a batch of 500", "WAL B an order"), _after(growth.steps)),
            "## Reconcile\n\n"
            "`peak`: the resident memory of the measuring process, all parts before included.\n\n"
            + markdown(
                ("orders there", "compared", "s a million", "CPU own µs", "Postgres µs", "peak MiB", "count(*) s"),
                [row for step in growth.steps for row in _reconciled(step)],
            ),
            "## Tables and indexes, all partitions together, with 128 MB\n\n"
            "`misses an order`: pages that shared_buffers did not hold while fresh orders were recorded, each a read"
            " from the system's cache or the disk; `share`: of all accesses. A new page counts as read.\n\n"
            + markdown(_relation_head(growth.tight), _relations(growth.tight)),
            _leaving(growth.tight),
            f"With {growth.settings['shared_buffers']}, misses an order: "
            + ", ".join(f"{_misses(step):.2f} at {step.rows}" for step in growth.steps)
            + ".",
        )
    )


def write_growth(growth: Growth, folder: Path) -> None:
    """growth.json, growth.md and growth.svg in `folder`, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "growth.json").write_text(json.dumps(growth_json(growth), indent=1) + "\n")
    bars = [
        (f"{told}, {step.rows / 1e6:g} M", {kind: _middle(step, part, kind, "grown") for kind in kinds})
        for part, told, kinds in (
            ("inserts", "order", ("consumer", "postgres")),
            ("lists", "list", ("web", "postgres", "redis")),
        )
        for step in growth.steps
    ]
    svg = draw_bars("µs of CPU to record an order, and to list 20", bars, lambda value: f"{value:.0f}")
    (folder / "growth.svg").write_text(svg)
    text = render_growth(growth)
    (folder / "growth.md").write_text(f"# Growth\n\n{text}\n\n![µs by number of orders](growth.svg)\n")


_HEAD = (
    "orders",
    "insert: Postgres µs",
    "small beside it",
    "ratio",
    "ms a batch",
    "WAL B",
    "list: CPU µs",
    "small beside it",
    "ratio",
    "Postgres µs",
    "buffers",
    "lists/s",
)


def _row(step: Step) -> Sequence[str]:
    lists = {side: sum(_middle(step, "lists", kind, side) for kind in ("web", "postgres", "redis")) for side in _SIDES}
    return (
        str(step.rows),
        f"{_middle(step, 'inserts', 'postgres', 'grown'):.0f}",
        f"{_middle(step, 'inserts', 'postgres', 'small'):.0f}",
        f"{step.ratio('inserts'):.2f}",
        f"{_middle(step, 'inserts', 'ms', 'grown'):.0f}",
        f"{_middle(step, 'inserts', 'wal', 'grown'):.0f}",
        f"{lists['grown']:.0f}",
        f"{lists['small']:.0f}",
        f"{step.ratio('lists'):.2f}",
        f"{_middle(step, 'lists', 'postgres', 'grown'):.0f}",
        f"{_middle(step, 'lists', 'buffers', 'grown'):.0f}",
        f"{_middle(step, 'lists', 'rate', 'grown'):.0f}",
    )


_SIDES = ("small", "grown")


def _middle(step: Step, part: str, name: str, side: str) -> float:
    found: dict[str, list[dict[str, float]]] = getattr(step, part)
    return median(values[name] for values in found[side] if name in values)


def _after(steps: Sequence[Step]) -> list[Sequence[str]]:
    return [
        (str(step.rows), *(f"{step.after_checkpoint[name]:.0f}" for name in ("postgres", "ms", "wal")))
        for step in steps
    ]


def _reconciled(step: Step) -> list[Sequence[str]]:
    return [
        (
            str(step.rows),
            f"{values['orders']:.0f}" + (" (all)" if values["is_whole"] else ""),
            *(f"{values[name]:.0f}" for name in ("seconds", "consumer", "postgres", "peak")),
            f"{values['count_seconds']:.2f}" if "count_seconds" in values else "",
        )
        for values in step.reconciled
    ]


def _relation_head(steps: Sequence[Step]) -> Sequence[str]:
    columns = [f"{step.rows / 1e6:g} M {told}" for step in steps for told in ("MB", "misses an order", "share")]
    return ("relation", *columns)


def _relations(steps: Sequence[Step]) -> list[Sequence[str]]:
    names = [(relation.name, relation.is_index) for relation in steps[-1].relations]
    rows = []
    for name, is_index in names:
        row = [name if is_index else f"**{name}**"]
        for step in steps:
            relation = next((found for found in step.relations if found.name == name), None)
            row += (
                ["", "", ""]
                if relation is None
                else [
                    f"{relation.bytes / _MB:.0f}",
                    f"{relation.read / step.fresh:.2f}",
                    f"{relation.missing:.1%}",
                ]
            )
        rows.append(row)
    totals = ["all"]
    for step in steps:
        totals += [
            f"{sum(relation.bytes for relation in step.relations) / _MB:.0f}",
            f"{_misses(step):.2f}",
            "",
        ]
    return [*rows, totals]


def _misses(step: Step) -> float:
    return sum(relation.read for relation in step.relations) / step.fresh


def _leaving(steps: Sequence[Step]) -> str:
    lines = ["## Where an index leaves shared_buffers", ""]
    for before, step in zip((None, *steps), steps, strict=False):
        known = {r.name for r in before.relations if r.is_index and r.missing >= _LEFT_AT} if before else set()
        gone = [r for r in step.relations if r.is_index and r.missing >= _LEFT_AT and r.name not in known]
        told = ", ".join(f"`{r.name}` ({r.bytes / _MB:.0f} MB, {r.missing:.0%} of its accesses miss)" for r in gone)
        lines.append(f"- at {step.rows} orders: {told or 'none more'}")
    return "\n".join(lines)
