"""The load tests themselves: thresholds that can be missed, plans whose rows can be told apart."""

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
