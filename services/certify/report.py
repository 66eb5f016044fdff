"""The verdict for people and machines: text, JSON, one HTML file. Renders an outcome; judges nothing."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from services.certify.outcome import Outcome

SHOWN = 25  # findings in full in the text; JSON and HTML have all


def to_json(outcome: Outcome) -> dict[str, Any]:
    """Everything, as JSON values."""
    figures = asdict(outcome.figures)
    return {
        "verdict": "clean" if not outcome.findings else "NOT CLEAN",
        "asked_for": asdict(outcome.order),
        "schedule": [asdict(planned) for planned in outcome.schedule],
        "purchases": outcome.purchases,
        "duplicates": outcome.duplicates,
        "attempts": outcome.submissions,
        "entries": outcome.entries,
        "poison": outcome.poison,
        **figures,
        "total": str(outcome.figures.total),
        "lost_orders": outcome.lost_orders,
        "load_seconds": round(outcome.load_seconds, 1),
        "seconds": round(outcome.seconds, 1),
        "findings": [asdict(finding) for finding in outcome.findings],
        "timeline": outcome.timeline.public(),
    }


def render_text(outcome: Outcome) -> str:
    """For a terminal."""
    figures, timeline = outcome.figures, outcome.timeline
    struck = [blow for blow in timeline.blows if blow.skipped is None]
    kinds = sum(1 for count in outcome.poison.values() if count)
    lines = [
        f"purchases                 {outcome.purchases} and {outcome.duplicates} duplicates,"
        f" in {outcome.submissions} attempts, {outcome.load_seconds:.0f} s",
        f"answered with an id       {figures.answered}",
        f"of unknown outcome        {figures.unknown}, of which {figures.recorded_of_unknown} are recorded",
        f"orders                    {figures.orders}, worth {figures.total}",
        f"entries                   {outcome.entries}, of which {sum(outcome.poison.values())} put in by hand,"
        f" {kinds} kinds",
        f"faults                    {len(struck)}: {', '.join(blow.name for blow in struck) or 'none'}",
    ]
    lines += [f"skipped                   {b.name}: {b.skipped}" for b in timeline.blows if b.skipped is not None]
    if outcome.lost_orders:
        lines.append(f"lost with Redis' disk     {len(outcome.lost_orders)} accepted and unrecorded orders:")
        lines += [f"                          {order_id}" for order_id in outcome.lost_orders]
    if not outcome.findings:
        return "\n".join([*lines, f"verdict: clean (seed {outcome.order.seed})"])
    rules = ", ".join(f"{count} x {rule}" for rule, count in Counter(f.rule for f in outcome.findings).items())
    told = [f"  {finding.rule}: {finding.detail}" for finding in outcome.findings[:SHOWN]]
    if len(outcome.findings) > SHOWN:
        told.append(f"  and {len(outcome.findings) - SHOWN} more")
    return "\n".join([*lines, f"verdict: NOT CLEAN (seed {outcome.order.seed}): {rules}", *told])


def write_report(outcome: Outcome, folder: Path) -> None:
    """report.json and report.html in `folder`, which is made if need be."""
    from services.certify.report_html import render_html

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(to_json(outcome), indent=1) + "\n")
    (folder / "report.html").write_text(render_html(outcome))
