"""The figures as bar charts: SVG files without script, font or picture from anywhere, and lines for a terminal.

Draws medians.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from services.bench.figures import ACCEPT, COMPARED_AT, DRAIN, HALF, Figure, total_cpu

_LEFT, _WIDTH, _BAR, _GAP, _RIGHT = 150, 560, 18, 6, 90  # the chart's units
_COLORS = {
    "web": "#2e86c1",
    "consumer": "#b9770e",
    "writer": "#2e86c1",
    "redis": "#c0392b",
    "postgres": "#1e8449",
    "p50": "#2e86c1",
    "p99": "#b9770e",
    "orders": "#2e86c1",
}
_TERMINAL_BAR = 60  # characters of the longest
_SHADES = "█▓▒░"  # of the parts of a bar

_STYLE = """
svg { font: 12px system-ui, sans-serif; background: #fff } text { fill: #445 } .title { font-size: 15px; fill: #1c2733 }
@media (prefers-color-scheme: dark) { svg { background: #14181d } text { fill: #9aa4b1 } .title { fill: #e6e9ee } }
"""

Bars = Sequence[tuple[str, Mapping[str, float]]]
"""Label -> the parts of its bar, by what they are."""


@dataclass(frozen=True)
class Chart:
    """What is drawn; `shown` spells the sum of a bar."""

    title: str
    bars: Bars
    shown: Callable[[float], str]


def draw_charts(figures: Sequence[Figure]) -> dict[str, str]:
    """File name -> SVG, for what was measured."""
    return {f"{name}.svg": draw_bars(chart.title, chart.bars, chart.shown) for name, chart in _charts(figures).items()}


def draw_in_terminal(figures: Sequence[Figure]) -> str:
    """The same charts for a terminal that is 100 characters wide; empty when there is nothing to draw."""
    return "\n\n".join(map(_draw_lines, _charts(figures).values()))


def _charts(figures: Sequence[Figure]) -> dict[str, Chart]:
    at_level = [f for f in figures if f.part == ACCEPT and f.connections == COMPARED_AT]
    half = [f for f in figures if f.part == HALF]
    drain = [f for f in figures if f.part == DRAIN]
    rates = [(f"{f.contender}, {f.connections}", {"orders": f.values["rate"]}) for f in figures if f.part == ACCEPT]
    charts = {
        "cpu": Chart("CPU seconds of 1000 orders, client not counted", _parts(at_level), _two_digits),
        "rate": Chart("Orders accepted a second, by connections", rates, _whole),
        "latency": Chart("Accepting at half of capacity, ms", [_latency(f) for f in half], _two_digits),
        "drain": Chart("Waiting events recorded a second", [_rate(f) for f in drain], _whole),
        "drain-cpu": Chart("CPU seconds of 1000 events recorded", _parts(drain), _two_digits),
    }
    return {name: chart for name, chart in charts.items() if chart.bars}


def _parts(figures: Sequence[Figure]) -> Bars:
    cpu = [
        (f.contender, {n.removeprefix("cpu:"): v for n, v in f.values.items() if n.startswith("cpu:")})
        for f in figures
        if total_cpu(f.values)
    ]
    return sorted(cpu, key=lambda bar: sum(bar[1].values()))


def _latency(figure: Figure) -> tuple[str, Mapping[str, float]]:
    """p99 is drawn as what it adds to p50."""
    p50, p99 = figure.values["p50_ms"], figure.values["p99_ms"]
    return figure.contender, {"p50": p50, "p99": p99 - p50}


def _rate(figure: Figure) -> tuple[str, Mapping[str, float]]:
    return figure.contender, {"orders": figure.values["rate"]}


def draw_bars(title: str, bars: Bars, shown: Callable[[float], str]) -> str:
    """One chart as SVG; `shown` spells the sum of a bar."""
    most = max(sum(parts.values()) for _, parts in bars) or 1.0
    kinds = list(dict.fromkeys(kind for _, parts in bars for kind in parts))
    height = 58 + len(bars) * (_BAR + _GAP)
    drawn = [f'<text class="title" x="8" y="20">{escape(title)}</text>']
    x = float(_LEFT)
    for kind in kinds if len(kinds) > 1 else []:
        drawn.append(f'<rect x="{x:.0f}" y="31" width="10" height="10" fill="{_COLORS[kind]}"/>')
        drawn.append(f'<text x="{x + 14:.0f}" y="40">{escape(kind)}</text>')
        x += 24 + 8 * len(kind)
    for row, (label, parts) in enumerate(bars):
        y, x = 50 + row * (_BAR + _GAP), float(_LEFT)
        drawn.append(f'<text x="{_LEFT - 6}" y="{y + 13}" text-anchor="end">{escape(label)}</text>')
        for kind, value in parts.items():
            width = max(0.0, value) / most * _WIDTH
            drawn.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{_COLORS[kind]}"/>')
            x += width
        drawn.append(f'<text x="{x + 6:.1f}" y="{y + 13}">{shown(sum(parts.values()))}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + _RIGHT} {height}" role="img" '
        f'aria-label="{escape(title)}"><style>{_STYLE}</style>{"".join(drawn)}</svg>\n'
    )


def _draw_lines(chart: Chart) -> str:
    most = max(sum(parts.values()) for _, parts in chart.bars) or 1.0
    kinds = list(dict.fromkeys(kind for _, parts in chart.bars for kind in parts))
    shades = dict(zip(kinds, _SHADES, strict=False))
    legend = "  ".join(f"{shade} {kind}" for kind, shade in shades.items()) if len(kinds) > 1 else ""
    width = max(len(label) for label, _ in chart.bars)
    lines = [f"{chart.title}  {legend}".rstrip()]
    for label, parts in chart.bars:
        drawn, reached = "", 0.0
        for kind, value in parts.items():
            reached += max(0.0, value)
            drawn += shades[kind] * (round(reached / most * _TERMINAL_BAR) - len(drawn))
        lines.append(f"{label:>{width}} {drawn} {chart.shown(sum(parts.values()))}")
    return "\n".join(lines)


def _whole(value: float) -> str:
    return f"{value:.0f}"


def _two_digits(value: float) -> str:
    return f"{value:.2f}"
