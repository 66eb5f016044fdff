"""Histories longer than `make test` has the time to go through: model and shop once disagreed, or a rule needs them."""

import pytest

from tests.model.calls import ReadCart, ReadOrders
from tests.model.intents import INTENTS, View
from tests.model.judge import Judge
from tests.model.real_driver import RealDriver

SESSION = "5e5510c0-0000-4000-8000-000000000002"


@pytest.mark.parametrize(
    "history",
    [
        pytest.param(
            ("put headphones", "buy", "cancel", "buy with cart", "buy"),
            id="a checkout by its cart opens the window that the cancelled one had",
        ),
        pytest.param(
            (
                *("put headphones", "buy with key 1 carrying the last generation"),
                *("put two headphones", "buy with cart", "cancel"),
                *("buy with key 2 carrying the first generation", "day passes", "buy carrying the last generation"),
            ),
            id="a second order takes over the present generation from a cancelled one",
        ),
        pytest.param(
            ("buy", "half the window passes", "buy", "half the window passes", "buy"),
            id="a replay does not prolong the window",
        ),
        pytest.param(
            (
                *("put headphones", "buy with cart", "half the window passes", "put headphones"),
                *("half the window passes", "put headphones", "buy with cart"),
            ),
            id="an echo does not prolong the time of echoes",
        ),
    ],
)
async def test_this_history_is_answered_as_the_model_answers_it(driver: RealDriver, history: tuple[str, ...]) -> None:
    view, judge = View("ada", "bob", SESSION), Judge()
    for name in history:
        call = INTENTS[name](view)
        assert call is not None
        answer = await driver.make(call)
        judge.hear(call, answer)
        view = view.after(answer)
        for look in (ReadCart(SESSION), ReadOrders(("ada", "bob"))):
            judge.hear(look, await driver.make(look))
