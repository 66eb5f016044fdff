"""A whole benchmark, as short as it can be. Runs only with TILLROLL_SLOW=1 (conftest.py)."""

import json
import subprocess
from pathlib import Path

from tests.acceptance.system import TILLROLL


def test_every_part_is_measured_and_judged(tmp_path: Path) -> None:
    command = [*TILLROLL, "bench", "--seconds", "1", "--rounds", "1", "--rows", "40000", "--events", "5000", "--json"]
    command += ["--report", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    missing = [name for name, ratio in results["ratios"].items() if ratio is None]
    assert missing == ["cpu_per_order_one_process_vs_afternoon"]
    assert all(verdict["lost"] == 0 for given in results["verdicts"].values() for verdict in given)
    assert {path.name for path in tmp_path.iterdir()} >= {"results.json", "results.md", "cpu.svg", "drain.svg"}


def test_checkouts_beside_a_replay_are_measured_and_judged(tmp_path: Path) -> None:
    command = [*TILLROLL, "bench", "--only", "replay", "--seconds", "2", "--rounds", "1", "--report", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    found = json.loads((tmp_path / "replay.json").read_text())
    assert found["is_exact"], done.stdout
    doors = ("terminal, archive", "console, stream")
    assert set(found["p99_ratios"]) == {f"{act}: {door}" for act in ("preview", "sending") for door in doors}
    assert done.returncode == (0 if found["is_within"] else 1), "two short windows are no verdict on the p99"
    assert "The oracle" in (tmp_path / "replay.md").read_text()
