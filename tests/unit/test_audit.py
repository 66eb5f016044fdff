"""The dependency audit never passes in silence: what nobody could be asked about is said, and is no zero."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

AUDIT = Path(__file__).parents[2] / ".ci/audit.py"


def test_without_a_way_to_the_advisories_it_says_so_and_is_no_pass() -> None:
    nowhere = {"PATH": os.environ["PATH"], "https_proxy": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, AUDIT], capture_output=True, text=True, check=False, env=nowhere)
    assert done.returncode == 75
    assert done.stderr.startswith("NOT AUDITED: https://api.osv.dev/ cannot be reached: ")
    assert done.stdout == ""


def test_a_vulnerable_package_and_one_that_was_skipped_are_findings() -> None:
    report = {
        "dependencies": [
            {"name": "jinja2", "version": "3.1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.1.6"]}]},
            {"name": "redis", "version": "8.1.0", "vulns": []},
            {"name": "ours", "skip_reason": "not found"},
        ]
    }
    assert runpy.run_path(str(AUDIT))["judge"](report) == (
        3,
        ["jinja2 3.1.0 is vulnerable: PYSEC-1; mended in 3.1.6", "ours was not audited: not found"],
    )
