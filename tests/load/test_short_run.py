"""Scenarios against a whole system, each a few seconds. Runs only with TILLROLL_SLOW=1 (conftest.py)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli.locate import settings_of_running
from tests.acceptance.system import System
from tests.load.run import LOCUST, run_scenario
from tests.load.scenario import CLASSES, read_scenario


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("load") / "data") as system:
        system.start()
        yield system


@pytest.mark.parametrize("name", CLASSES)
def test_a_short_run_without_a_page_ends_with_a_good_verdict(name: str, system: System, tmp_path: Path) -> None:
    if not LOCUST.exists():
        pytest.skip("Locust is not installed; `make load` installs it")
    scenario = read_scenario(name, users=8, spawn_rate=8, seconds=8, checkouts=400)
    assert run_scenario(scenario, settings_of_running(system.folder), system.url, tmp_path) == []
