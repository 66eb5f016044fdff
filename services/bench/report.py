"""The results for people and machines: JSON, Markdown, a table for the terminal. Renders; judges nothing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from services.bench.busy import QUIET_CORES, QUIET_LOAD
from services.bench.charts import draw_charts, draw_in_terminal
from services.bench.contenders import CONTENDERS
from services.bench.environment import is_durable
from services.bench.figures import (
    ACCEPT,
    DRAIN,
    FULL,
    HALF,
    READS,
    Figure,
    Results,
    ratios,
    ratios_by_connections,
    total_cpu,
)

PROCESSES = ("web", "consumer", "writer", "redis", "postgres")


def to_json(results: Results) -> dict[str, Any]:
    """Everything, ratios first."""
    found = results.medians()
    return {
        "ratios": ratios(found),
        "ratios_by_connections": ratios_by_connections(found),
        "is_good": results.is_good,
        "environment": results.environment,
        "seconds": round(results.seconds, 1),
        "medians": [_rounded(figure) for figure in found],
        "verdicts": {name: [asdict(v) for v in given] for name, given in results.verdicts.items()},
        "accidents": results.accidents,
        "rounds": [_rounded(figure) for figure in results.figures],
    }


def render_text(results: Results) -> str:
    """For a terminal, and as Markdown all the same."""
    found = results.medians()
    parts = [_environment(results), _ratio_table(found)]
    titles = {
        ACCEPT: "Accepting, saturated, on tables that were empty before",
        FULL: "Accepting, saturated, on tables that held the past already",
        HALF: "At half of capacity",
        DRAIN: "Recording events that waited",
        READS: "GET /api/orders",
    }
    for part, title in titles.items():
        figures = [figure for figure in found if figure.part == part]
        if figures:
            parts.append(f"## {title}\n\n{_table(part, figures)}")
    if drawn := draw_in_terminal(found):
        parts.append(f"```text\n{drawn}\n```")
    parts.append(_verdicts(results))
    return "\n\n".join(parts) + "\n"


def write_report(results: Results, folder: Path) -> None:
    """results.json, results.md and the charts in `folder`, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    charts = draw_charts(results.medians())
    for name, svg in charts.items():
        (folder / name).write_text(svg)
    (folder / "results.json").write_text(json.dumps(to_json(results), indent=1) + "\n")
    pictures = "\n".join(f"![{name.removesuffix('.svg')}]({name})" for name in charts)
    (folder / "results.md").write_text(f"# Benchmark results\n\n{render_text(results)}\n{pictures}\n")


def _rounded(figure: Figure) -> dict[str, Any]:
    return {**asdict(figure), "values": {name: round(value, 4) for name, value in figure.values.items()}}


def _environment(results: Results) -> str:
    env = results.environment
    redis, postgres = env["redis"], env["postgres"]
    durable = "on" if is_durable(env) else "OFF: these figures do not count"
    told = (
        f"Commit {env['commit']}, {env['at']}, {env['machine']}, load average at the start {env['load_average']}, "
        f"other work took {env['other_work']} cores meanwhile; {env['file_system']}, Python {env['python']}; "
        f"{results.seconds:.0f} s in all.\n"
        f"Durability is {durable}: Redis {redis['version']} appendonly {redis['appendonly']}, appendfsync "
        f"{redis['appendfsync']}; PostgreSQL {postgres['version']} fsync {postgres['fsync']}, synchronous_commit "
        f"{postgres['synchronous_commit']}, full_page_writes {postgres['full_page_writes']}."
    )
    was_busy = env["load_average"] > QUIET_LOAD * env["cores"] or env["other_work"] > QUIET_CORES
    busy = "**The machine was busy: rates and latencies mean little; compare CPU alone, and within this run.**"
    return f"{told}\n\n{busy}" if was_busy else told


def _ratio_table(found: Sequence[Figure]) -> str:
    rows = [(_spelled(name), f"{value:.3f}") for name, value in ratios(found).items() if value is not None]
    by_level = ratios_by_connections(found)
    table = "## Ratios\n\n" + markdown(("ratio", "value"), rows)
    if len(by_level) < 2:
        return table
    names = next(iter(by_level.values()))
    beside = [
        (_spelled(name), *("" if (value := by_level[level][name]) is None else f"{value:.3f}" for level in by_level))
        for name in names
    ]
    return f"{table}\n\n" + markdown(("by connections", *map(str, by_level)), beside)


def _spelled(name: str) -> str:
    return name.replace("_", " ")


def _table(part: str, figures: Sequence[Figure]) -> str:
    has_cpu = [name for name in PROCESSES if any(f"cpu:{name}" in figure.values for figure in figures)]
    head = ["contender"]
    head += ["connections"] if part in (ACCEPT, FULL) else []
    head += ["lists/s" if part == READS else "orders/s"]
    columns = {
        "asked": "asked/s",
        "recorded_rate": "recorded/s",
        "p50_ms": "p50 ms",
        "p99_ms": "p99 ms",
        "to_row_p50_ms": "to row p50 ms",
        "to_row_p99_ms": "to row p99 ms",
        "start_seconds": "start s",
        "buffers": "buffers",
        "wal": "WAL B",
        "aof": "AOF B",
    }
    shown = {key: title for key, title in columns.items() if any(key in figure.values for figure in figures)}
    head += list(shown.values())
    has_client = any("client_cpu" in figure.values for figure in figures)
    head += [f"CPU {name}" for name in has_cpu] + ["CPU s / 1000"] + ["(client)"] * has_client
    head += ["MiB"] * (part != READS)
    rows = []
    for figure in figures:
        values = figure.values
        row = [f"{values['rows']:.0f} orders" if part == READS else figure.contender]
        row += [str(figure.connections)] if part in (ACCEPT, FULL) else []
        row += [f"{values['rate']:.0f}"] + [_number(values, key) for key in shown]
        row += [_number(values, f"cpu:{name}", 3) for name in has_cpu] + [f"{total_cpu(values):.3f}"]
        row += [_number(values, "client_cpu", 3)] * has_client + [_memory(values)] * (part != READS)
        rows.append(row)
    return markdown(head, rows)


def _number(values: Mapping[str, float], name: str, digits: int = 1) -> str:
    if name not in values:
        return ""
    value = values[name]
    return f"{value:.0f}" if value >= 1000 or name in ("buffers", "wal", "aof") else f"{value:.{digits}f}"


def _memory(values: Mapping[str, float]) -> str:
    found = [(name, values[f"memory:{name}"]) for name in PROCESSES if f"memory:{name}" in values]
    return " + ".join(f"{name} {mib:.0f}" for name, mib in found)


def _verdicts(results: Results) -> str:
    rows = [
        (name, *(str(sum(getattr(v, part) for v in given)) for part in _COUNTS))
        for name, given in results.verdicts.items()
    ]
    told = "every accepted checkout has its one row" if results.is_good else "NOT GOOD"
    lines = [
        f"## The oracle: {told}",
        "",
        markdown(("contender", *(part.replace("_", " ") for part in _COUNTS)), rows),
    ]
    lines += [f"- {accident}" for accident in results.accidents]
    legend = [f"- `{contender.name}`: {contender.told}" for contender in CONTENDERS.values()]
    return "\n".join([*lines, "", *legend])


_COUNTS = ("accepted", "rows", "cut_off", "lost", "doubled", "strange", "differing", "refused")


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that reads well as text, too."""
    widths = [max(len(str(cell)) for cell in column) for column in zip(head, *rows, strict=True)]
    lines = [
        " | ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)
    ]
    rule = "-|-".join("-" * width for width in widths)
    return "\n".join(f"| {line} |" for line in (lines[0], rule, *lines[1:]))
