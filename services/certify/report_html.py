"""The report as one HTML file: figures, findings, and a chart of throughput, lag and faults over time.

Self-contained: no script, no font and no picture from anywhere. Renders an outcome; judges nothing.
"""

from collections.abc import Iterable, Sequence
from html import escape

from services.certify.faults import FAULTS
from services.certify.outcome import Outcome
from services.certify.timeline import Blow, Sample, Timeline

_WIDTH, _HEIGHT, _LEFT, _GAP = 1000, 150, 60, 34  # the chart's units
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --paper: #fff; --quiet: #667; --rule: #d5dae1; --blow: #f2b8a066 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --paper: #14181d; --quiet: #9aa4b1; --rule: #333b45 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 66rem;
  margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse } th, td { text-align: left; padding: .15rem 1.2rem .15rem 0; vertical-align: top;
  border-bottom: 1px solid var(--rule) } th { font-weight: 500; color: var(--quiet) }
svg { width: 100%; height: auto } svg text { fill: var(--quiet); font-size: 12px } .bad { color: #c0392b }
.clean { color: #1e8449 } .axis { stroke: var(--rule) } .blow { fill: var(--blow) }
.line { fill: none; stroke-width: 1.5 }
"""


def render_html(outcome: Outcome) -> str:
    """The whole page."""
    is_clean = not outcome.findings
    verdict = "clean" if is_clean else f"not clean: {len(outcome.findings)} findings"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Certification, seed {outcome.order.seed}: {verdict}</title><style>{_STYLE}</style></head><body>
<h1>Certification: <span class="{"clean" if is_clean else "bad"}">{verdict}</span></h1>
<p>tillroll certify {escape(arguments(outcome))}</p>
{_table(_figures(outcome))}
<h2>Throughput, backlog and faults</h2>
{_chart(outcome.timeline)}
<table><tr><th>#</th><th>fault</th><th>from</th><th>to</th><th></th></tr>{_blows(outcome.timeline.blows)}</table>
<h2>Poison, put into the stream by hand</h2>
{_table((kind, str(count)) for kind, count in outcome.poison.items())}
{_findings(outcome)}{_losses(outcome)}
</body></html>
"""


def arguments(outcome: Outcome) -> str:
    """What to type to run this one again."""
    order = outcome.order
    text = f"--seed {order.seed} --minutes {order.minutes:g} --rate {order.rate:g} --faults {order.faults}"
    return text + (f" --sabotage {order.sabotage}" if order.sabotage else "")


def _figures(outcome: Outcome) -> list[tuple[str, str]]:
    figures = outcome.figures
    return [
        ("purchases", f"{outcome.purchases}"),
        ("duplicates of them", f"{outcome.duplicates}"),
        ("attempts, with retries", f"{outcome.submissions}"),
        ("answered with an order id", f"{figures.answered}"),
        ("of unknown outcome", f"{figures.unknown}, of which {figures.recorded_of_unknown} are recorded"),
        ("orders in Postgres", f"{figures.orders}, worth {figures.total}"),
        ("entries of the stream", f"{outcome.entries}"),
        ("load", f"{outcome.load_seconds:.0f} s of {outcome.seconds:.0f} s"),
    ]


def _table(rows: Iterable[tuple[str, str]]) -> str:
    return "<table>" + "".join(f"<tr><th>{escape(a)}</th><td>{escape(b)}</td></tr>" for a, b in rows) + "</table>"


def _blows(blows: Sequence[Blow]) -> str:
    return "".join(
        f"<tr><td>{number}</td><td>{escape(blow.name)}</td><td>{blow.begun:.1f} s</td><td>{blow.ended:.1f} s</td>"
        f"<td>{escape(f'skipped: {blow.skipped}' if blow.skipped else FAULTS[blow.name].told)}</td></tr>"
        for number, blow in enumerate(blows, 1)
    )


def _findings(outcome: Outcome) -> str:
    if not outcome.findings:
        return ""
    return "<h2>Findings</h2>" + _table((finding.rule, finding.detail) for finding in outcome.findings)


def _losses(outcome: Outcome) -> str:
    if not outcome.lost_orders:
        return ""
    told = "Accepted and in no table when Redis' disk was erased under load: exactly these were lost with it."
    return f"<h2>Lost with Redis' disk</h2><p>{told}</p><p>{escape(', '.join(outcome.lost_orders))}</p>"


def _chart(timeline: Timeline) -> str:
    samples = timeline.samples
    seconds = max([sample.at for sample in samples] + [blow.ended for blow in timeline.blows] + [1.0])
    rows = [
        ("answered a second", "#2e86c1", _rates(samples, "answered")),
        ("of unknown outcome a second", "#c0392b", _rates(samples, "unknown")),
        ("entries not yet recorded", "#b9770e", [(s.at, _backlog(s)) for s in samples]),
    ]
    height = len(rows) * (_HEIGHT + _GAP) + _GAP
    parts = [
        f'<svg viewBox="0 0 {_WIDTH + _LEFT + 10} {height}" role="img" aria-label="Throughput, backlog and faults">'
    ]
    for number, blow in enumerate(timeline.blows, 1):
        x, width = _x(blow.begun, seconds), max(2.0, _x(blow.ended, seconds) - _x(blow.begun, seconds))
        parts.append(f'<rect class="blow" x="{x:.1f}" y="{_GAP}" width="{width:.1f}" height="{height - _GAP}"/>')
        parts.append(f'<text x="{x:.1f}" y="{_GAP - 18 + 12 * (number % 2)}">{number}</text>')
    for row, (label, color, points) in enumerate(rows):
        parts.append(_draw(label, color, points, seconds, _GAP + row * (_HEIGHT + _GAP)))
    return "".join([*parts, "</svg>"])


def _draw(label: str, color: str, points: Sequence[tuple[float, float | None]], seconds: float, top: float) -> str:
    most = max([value for _, value in points if value is not None], default=0) or 1
    bottom = top + _HEIGHT
    lines, current = [], ""
    for at, value in points:  # a gap where Redis could not be asked
        if value is None:
            lines.append(current)
            current = ""
        else:
            current += f"{_x(at, seconds):.1f},{bottom - value / most * (_HEIGHT - 20):.1f} "
    drawn = "".join(
        f'<polyline class="line" stroke="{color}" points="{line.strip()}"/>' for line in [*lines, current] if line
    )
    return (
        f'<line class="axis" x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{bottom}" y2="{bottom}"/>{drawn}'
        f'<text x="{_LEFT + 4}" y="{top + 12}">{label}</text><text x="4" y="{top + 26}">{most:.0f}</text>'
        f'<text x="4" y="{bottom}">0</text><text x="{_LEFT}" y="{bottom + 14}">0 s</text>'
        f'<text x="{_LEFT + _WIDTH - 40}" y="{bottom + 14}">{seconds:.0f} s</text>'
    )


def _x(at: float, seconds: float) -> float:
    return _LEFT + at / seconds * _WIDTH


def _rates(samples: Sequence[Sample], name: str) -> list[tuple[float, float | None]]:
    """Increase a second over a second and a half, so that the sampling does not draw teeth."""
    found: list[tuple[float, float | None]] = []
    for before, after in zip(samples, samples[3:], strict=False):
        elapsed = after.at - before.at
        if elapsed > 0:
            found.append((after.at, (getattr(after, name) - getattr(before, name)) / elapsed))
    return found


def _backlog(sample: Sample) -> float | None:
    return None if sample.pending is None else float((sample.behind or 0) + sample.pending)
