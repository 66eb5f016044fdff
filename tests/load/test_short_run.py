"""Scenarios against a whole system, each a few seconds. Runs only with TILLROLL_SLOW=1 (conftest.py)."""

import tempfile
from pathlib import Path

import pytest

from services.cli.locate import settings_of_running
from tests.acceptance.system import System
from tests.load.run import LOCUST, run_scenario
from tests.load.scenario import read_scenario


@pytest.mark.parametrize("name", ["duplicate-storm", "flash-sale", "replay"])
def test_a_short_run_without_a_page_ends_with_a_good_verdict(name: str) -> None:
    if not LOCUST.exists():
        pytest.skip("Locust is not installed; `make load` installs it")
    scenario = read_scenario(name, users=8, spawn_rate=8, seconds=8, checkouts=400)
    with tempfile.TemporaryDirectory() as place, System(Path(place) / "data") as system:
        system.start()
        folder = Path(place) / "load"
        folder.mkdir()
        assert run_scenario(scenario, settings_of_running(system.folder), system.url, folder) == []
