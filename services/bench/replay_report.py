"""What a replay costs the shoppers, as Markdown and JSON. Renders; measures nothing."""

import json
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from services.bench.measure_replay import SHARE, WITHIN, Beside, Window
from services.bench.report import markdown


def replay_json(beside: Beside) -> dict[str, Any]:
    """Everything, ratios first."""
    return {
        "p99_ratios": {way: round(beside.p99_ratio(way), 3) for way in beside.pairs},
        "within": WITHIN,
        "is_within": beside.is_within,
        "is_exact": beside.is_exact,
        **asdict(beside),
    }


def render_replay(beside: Beside) -> str:
    """For a terminal, and as Markdown all the same."""
    env = beside.environment
    told = f"p99 within {WITHIN:.2f}" if beside.is_within else f"p99 NOT within {WITHIN:.2f}"
    pairs = len(next(iter(beside.pairs.values())))
    others = [window.other_work for found in beside.pairs.values() for pair in found for window in pair]
    sent = sum(run["sent"] for run in beside.replays)
    parts = [
        f"Commit {env['commit']}, {env['at']}, {env['machine']}, load average {env['load_average']} when the windows"
        f" began, {env['file_system']}, Python {env['python']}, Redis {env['redis']['version']} appendfsync"
        f" {env['redis']['appendfsync']}, PostgreSQL {env['postgres']['version']}; {beside.seconds:.0f} s in all."
        f" Work of others during the windows: {median(others):.1f} cores of {env['cores']} (median),"
        f" {max(others):.1f} at most.",
        f"## Checkouts beside a replay: {told}",
        f"One gateway process and the consumer, checkouts at a constant {SHARE * beside.capacity:.0f} a second, {SHARE}"
        f" of the {beside.capacity:.0f} that the same client gets when it does not wait. Windows without a replay,"
        f" beside the preview and beside the sending of {beside.events} recorded events at the default rate, in turn;"
        f" medians of {pairs} pairs.",
        markdown(
            ("replay", "p50 ms", "beside it", "p99 ms", "beside it", "ratio", "ratio in each pair"),
            [_latency_row(beside, way) for way in beside.pairs],
        ),
        "Cores in use, without -> with a replay, by process:",
        markdown(
            ("replay", "gateway", "consumer", "Redis", "PostgreSQL", "its own process", "events/s", "orders/s"),
            [_cpu_row(beside, way) for way in beside.pairs],
        ),
        _verdict(beside, sent),
    ]
    return "\n\n".join(parts)


def write_replay(beside: Beside, folder: Path) -> None:
    """replay.json and replay.md in `folder`, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "replay.json").write_text(json.dumps(replay_json(beside), indent=1, default=str) + "\n")
    (folder / "replay.md").write_text(f"# Live checkouts beside a replay\n\n{render_replay(beside)}\n")


def _latency_row(beside: Beside, way: str) -> list[str]:
    p50, p99 = beside.medians(way, lambda window: window.p50_ms), beside.medians(way, lambda window: window.p99_ms)
    each = " ".join(f"{replayed.p99_ms / alone.p99_ms:.2f}" for alone, replayed in beside.pairs[way])
    return [way, *(f"{ms:.1f}" for ms in (*p50, *p99)), f"{beside.p99_ratio(way):.2f}", each]


def _cpu_row(beside: Beside, way: str) -> list[str]:
    def cores(process: str) -> str:
        without, with_it = beside.medians(way, lambda window: window.cpu.get(process, 0.0))
        return f"{without:.2f} -> {with_it:.2f}"

    def rate(window: Window) -> float:
        return window.replayed

    orders = beside.medians(way, lambda window: window.rate)
    return [
        way,
        *map(cores, ("gateway-1", "consumer", "redis", "postgres", "replay")),
        f"{beside.medians(way, rate)[1]:.0f}",
        f"{orders[0]:.0f} -> {orders[1]:.0f}",
    ]


def _verdict(beside: Beside, sent: int) -> str:
    verdict = beside.verdict
    assert verdict is not None
    told = "every replay did to the unit what its preview said" if beside.is_exact else "NOT GOOD"
    accidents = "".join(f"\n- {accident}" for accident in beside.accidents)
    return (
        f"The oracle: {verdict.accepted} checkouts accepted, {verdict.lost} lost, {verdict.doubled} doubled,"
        f" {verdict.strange} strange, {verdict.differing} differing, {verdict.refused} refused; {len(beside.replays)}"
        f" replays sent {sent} entries; {told}.{accidents}"
    )
