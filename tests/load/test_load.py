"""The load tests themselves: thresholds that can be missed, plans whose rows can be told apart."""

import json
import sys
from pathlib import Path

import pytest

from services.cart.catalog import load_catalog
from services.cli.demo_plan import Protection
from shared.settings import Settings
from tests.load.scenario import CLASSES, UnknownScenario, missed, read_scenario

FAST = {"requests": 10, "failed_share": 0.0, "p50_ms": 1, "p99_ms": 2}


@pytest.mark.parametrize("name", CLASSES)
def test_every_scenario_has_thresholds_that_a_good_run_keeps_and_a_bad_one_misses(name: str) -> None:
    scenario = read_scenario(name)
    assert scenario.limits
    assert missed(scenario, dict.fromkeys(scenario.limits, FAST)) == []
    slow = {request: {**FAST, "p99_ms": 60_000, "failed_share": 1.0} for request in scenario.limits}
    assert len(missed(scenario, slow)) == 2 * len(scenario.limits)
    assert len(missed(scenario, {})) == len(scenario.limits)


def test_an_unknown_scenario_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownScenario, match="flash-sale"):
        read_scenario("flash-mob")


@pytest.mark.parametrize("name", ["checkout-storm", "duplicate-storm", "flash-sale", "replay"])
def test_no_two_checkouts_of_a_user_are_alike(name: str) -> None:
    scenario = read_scenario(name)
    plan = scenario.plan([product.public() for product in load_catalog(Settings()).products()])
    assert len(plan) == scenario.checkouts
    assert len({(checkout.user, frozenset(checkout.items.items())) for checkout in plan}) == len(plan)
    assert {checkout.protection for checkout in plan} == {Protection.KEY if scenario.duplicates else Protection.CART}


def test_a_number_of_checkouts_means_nothing_to_a_scenario_that_buys_nothing() -> None:
    assert read_scenario("cart", checkouts=300, users=4).checkouts == 0
    assert read_scenario("replay", checkouts=300, users=4).checkouts == 300


def test_a_load_that_is_told_to_end_begins_no_further_purchase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkouts = [{"number": number} for number in range(3)]
    plan = {"duplicates": 0, "operator_token": "", "products": ["1"], "checkouts": checkouts}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    monkeypatch.setenv("LOAD_FOLDER", str(tmp_path))
    monkeypatch.delitem(sys.modules, "tests.load.journal", raising=False)
    from tests.load.journal import JOURNAL

    assert JOURNAL.next_checkout() == {"number": 0}
    JOURNAL.close_shop()
    assert JOURNAL.next_checkout() is None
    JOURNAL._answers.close()
    assert (tmp_path / "answers.jsonl").read_text() == '{"begun": 0}\n'
