"""What the benchmark says of a replay's cost: medians of pairs, and a judgement that can say no."""

import json
from typing import Any

import pytest

from services.bench.measure_replay import Beside, Window
from services.bench.oracle import Verdict
from services.bench.replay_report import render_replay, replay_json

_GOOD = Verdict(accepted=900, rows=901, cut_off=1, lost=0, doubled=0, strange=0, differing=0, refused=0)
_PLANNED = {"insert": 0, "already_there": 4000, "conflict": 0, "reject": 0, "total": 4000}
_WHERE = {
    "commit": "0123456789ab",
    "at": "2026-03-14T09:26:53+00:00",
    "machine": "Linux",
    "cores": 2,
    "load_average": 0.5,
    "file_system": "ext4",
    "python": "3.11",
    "redis": {"version": "7.0.15", "appendfsync": "always"},
    "postgres": {"version": "18.4"},
}


def _window(p99_ms: float, other_work: float = 0.1) -> Window:
    return Window(400, p99_ms / 4, p99_ms, {"gateway-1": 0.4, "replay": 0.05}, other_work, replayed=450)


def _beside(*p99: tuple[float, float], verdict: Verdict = _GOOD, result: dict[str, int] = _PLANNED) -> Beside:
    pairs = {"terminal, archive": [(_window(without), _window(with_it)) for without, with_it in p99]}
    run: dict[str, Any] = {"planned": _PLANNED, "result": result, "sent": 4000}
    return Beside(_WHERE, 1000, 4000, pairs, [run], verdict)


@pytest.mark.parametrize(("beside", "is_within"), [(10.9, True), (11.2, False)])
def test_a_replay_is_within_bounds_by_the_median_of_its_windows(beside: float, is_within: bool) -> None:
    found = _beside((10, beside), (10, 9), (10, 40))
    assert found.p99_ratio("terminal, archive") == pytest.approx(beside / 10)
    assert found.is_within is is_within
    assert ("NOT within" in render_replay(found)) is not is_within
    assert json.loads(json.dumps(replay_json(found)))["p99_ratios"] == {"terminal, archive": round(beside / 10, 3)}


def test_a_lost_order_or_a_replay_that_did_other_than_planned_is_not_good() -> None:
    assert _beside((10, 10)).is_exact
    lost = Verdict(accepted=900, rows=899, cut_off=0, lost=1, doubled=0, strange=0, differing=0, refused=0)
    other = {**_PLANNED, "insert": 1, "already_there": 3999}
    for found in (_beside((10, 10), verdict=lost), _beside((10, 10), result=other)):
        assert not found.is_exact
        assert "NOT GOOD" in render_replay(found)
