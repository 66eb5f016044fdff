"""The short certification, as a user runs it: faults under load, and a clean verdict on every row."""

import re
from pathlib import Path

from tests.certification import FAULTS, SHORT, certify


def test_nothing_is_lost_or_doubled_while_processes_and_servers_die(tmp_path: Path) -> None:
    code, report = certify(*SHORT, "--report", str(tmp_path))
    assert (code, report["verdict"], report["findings"]) == (0, "clean", [])
    assert [fault["name"] for fault in report["timeline"]["faults"] if not fault["skipped"]] == list(FAULTS)
    assert report["purchases"] >= 600
    assert report["duplicates"] >= 250
    assert report["answered"] > 500
    page = (tmp_path / "report.html").read_text()
    assert "<svg" in page
    assert not re.search(r"https?://|<script|<link|@import|url\(", page)
    assert (tmp_path / "report.json").exists()


def test_an_unknown_fault_or_sabotage_is_one_sentence() -> None:
    from tests.acceptance.system import run_tillroll

    for option, value in (("--faults", "earthquake"), ("--sabotage", "no-coffee")):
        refused = run_tillroll("certify", "--minutes", "0.1", option, value)
        assert refused.returncode == 1
        assert refused.stderr.splitlines()[-1].startswith("tillroll: There is no ")
        assert "Traceback" not in refused.stderr
