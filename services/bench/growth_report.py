"""What growth costs, as Markdown, JSON and one chart. Renders; measures nothing."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from services.bench.charts import draw_bars
from services.bench.growth import FLAT, FLAT_LISTS, GROWN, SMALL, Growth, Step
from services.bench.growth_tables import render_tables
from services.bench.report import markdown

_PARTS = ("inserts", "lists", "reconciled")


def growth_json(growth: Growth) -> dict[str, Any]:
    """Everything, ratios first."""
    return {
        "is_flat": growth.is_flat,
        "flat_within": {"inserts": FLAT, "lists": FLAT_LISTS, "reconciled": FLAT},
        "ratios": {
            str(step.rows): {part: {name: round(step.ratio(part, name), 3) for name in _JUDGED} for part in _PARTS}
            for step in growth.steps
        },
        "environment": growth.environment,
        "settings": growth.settings,
        "seconds": round(growth.seconds),
        "steps": [asdict(step) for step in growth.steps],
        "tight": [asdict(step) for step in growth.tight],
    }


_JUDGED = ("all", "postgres")


def render_growth(growth: Growth) -> str:
    """For a terminal, and as Markdown all the same."""
    env = growth.environment
    settings = ", ".join(f"{name} {value}" for name, value in growth.settings.items())
    told = "flat" if growth.is_flat else "NOT flat"
    return "\n\n".join(
        (
            f"Commit {env['commit']}, {env['at']}, {env['machine']}, load average at the start {env['load_average']},"
            f" {env['file_system']}, Python {env['python']}, PostgreSQL {env['postgres']['version']}"
            f" as the product starts it ({settings}, fsync {env['postgres']['fsync']}); {growth.seconds:.0f} s in all.",
            f"## The cost of an order and of a list: {told}\n\n"
            f"Allowed: {FLAT} for an order (PostgreSQL alone, and with the consumer), recorded or reconciled;"
            f" {FLAT_LISTS} for a list, and as many buffers.\n"
            "µs of CPU beside a database that stays at the smallest size, in turn; medians of the rounds.",
            "Recording an order:\n\n" + markdown(_INSERT_HEAD, [_insert_row(step) for step in growth.steps]),
            "A list of 20 orders:\n\n" + markdown(_LIST_HEAD, [_list_row(step) for step in growth.steps]),
            "Recording with PostgreSQL's default `shared_buffers`, 128 MB (told, not judged):\n\n"
            + markdown(_INSERT_HEAD, [_insert_row(step) for step in growth.tight]),
            "## Right after a checkpoint\n\n"
            "The first change of a page after a checkpoint writes the whole page to the WAL.\n\n"
            + markdown(("orders", "Postgres µs", "ms a batch of 500", "WAL B an order"), _after(growth.steps)),
            "## Reconcile\n\n"
            "The first 30 000 orders by id, a random sample of the whole; `count(*)`: once, at the start of a run.\n\n"
            + markdown(_RECONCILE_HEAD, [_reconcile_row(step) for step in growth.steps if step.count_seconds]),
            *render_tables(growth),
        )
    )


def write_growth(growth: Growth, folder: Path) -> None:
    """growth.json, growth.md and growth.svg in `folder`, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "growth.json").write_text(json.dumps(growth_json(growth), indent=1) + "\n")
    bars = [
        (f"{told}, {step.rows / 1e6:g} M", {kind: step.middle(part, kind, GROWN) for kind in kinds})
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


_INSERT_HEAD = (
    "orders",
    "Postgres µs",
    "small beside it",
    "ratio",
    "with consumer µs",
    "small beside it",
    "ratio",
    "ms a batch of 500",
    "WAL B",
)
_LIST_HEAD = ("orders", "CPU µs", "small beside it", "ratio", "Postgres µs", "ratio", "buffers", "small", "lists/s")
_RECONCILE_HEAD = ("orders", "CPU µs", "small beside it", "ratio", "Postgres µs", "ratio", "s a million", "count(*) s")


def _insert_row(step: Step) -> Sequence[str]:
    costs = [cell for name in ("postgres", "all") for cell in _beside(step, "inserts", name)]
    return (str(step.rows), *costs, *(f"{step.middle('inserts', name, GROWN):.0f}" for name in ("ms", "wal")))


def _list_row(step: Step) -> Sequence[str]:
    return (
        str(step.rows),
        *_beside(step, "lists", "all"),
        f"{step.middle('lists', 'postgres', GROWN):.0f}",
        f"{step.ratio('lists', 'postgres'):.2f}",
        *(f"{step.middle('lists', 'buffers', side):.0f}" for side in (GROWN, SMALL)),
        f"{step.middle('lists', 'rate', GROWN):.0f}",
    )


def _reconcile_row(step: Step) -> Sequence[str]:
    return (
        str(step.rows),
        *_beside(step, "reconciled", "all"),
        f"{step.middle('reconciled', 'postgres', GROWN):.0f}",
        f"{step.ratio('reconciled', 'postgres'):.2f}",
        f"{step.middle('reconciled', 'seconds', GROWN):.0f}",
        f"{step.count_seconds:.2f}",
    )


def _beside(step: Step, part: str, name: str) -> Sequence[str]:
    return *(f"{step.middle(part, name, side):.0f}" for side in (GROWN, SMALL)), f"{step.ratio(part, name):.2f}"


def _after(steps: Sequence[Step]) -> list[Sequence[str]]:
    return [
        (str(step.rows), *(f"{step.after_checkpoint[name]:.0f}" for name in ("postgres", "ms", "wal")))
        for step in steps
    ]
