"""What tables and indexes weigh in a grown database, and which of them memory no longer holds, as Markdown."""

from collections.abc import Sequence

from services.bench.growth import Growth, Step
from services.bench.report import markdown

_MB = 1e6
_LEFT_AT = 0.05  # of an index's page accesses missing: it no longer fits


def render_tables(growth: Growth) -> Sequence[str]:
    """Sections."""
    return (
        "## Tables and indexes, all partitions together, with 128 MB\n\n"
        "`misses an order`: pages that shared_buffers did not hold while fresh orders were recorded, each a read"
        " from the system's cache or the disk; `share`: of all accesses. A new page counts as read.\n\n"
        + markdown(_relation_head(growth.tight), _relations(growth.tight)),
        _leaving(growth.tight),
        f"With {growth.settings['shared_buffers']}, misses an order: "
        + ", ".join(f"{_misses(step):.2f} at {step.rows}" for step in growth.steps)
        + ".",
    )


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
