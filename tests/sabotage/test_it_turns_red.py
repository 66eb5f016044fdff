"""With each promise broken in a copy of the source, its directed test fails, and so does the short certification."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from services.certify.sabotage import MUTATIONS, sabotage
from tests.certification import ROOT, SHORT, certify
from tests.sabotage.directed import DIRECTED

TREES = ("services", "shared", "tests", "deploy")


@pytest.mark.parametrize("name", [mutation.name for mutation in MUTATIONS])
def test_the_directed_test_fails(name: str, tmp_path: Path) -> None:
    for tree in TREES:
        shutil.copytree(ROOT / tree, tmp_path / tree, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    sabotage(tmp_path, name)
    kept = {variable: value for variable, value in os.environ.items() if not variable.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", DIRECTED[name]],
        cwd=tmp_path,
        env={**kept, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 1, done.stdout
    assert re.search(r"\d+ failed", done.stdout), done.stdout
    assert " error" not in done.stdout.splitlines()[-1], done.stdout


@pytest.mark.parametrize("name", [mutation.name for mutation in MUTATIONS if mutation.is_seen_by_certify])
def test_the_short_certification_sees_it(name: str) -> None:
    code, report = certify(*SHORT, "--sabotage", name, seconds=600)
    assert code == 1
    assert report["findings"]
