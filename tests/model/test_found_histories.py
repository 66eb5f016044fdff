"""Histories on which model and shop once disagreed; longer than what `make test` has the time to go through."""

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
    ],
)
async def test_what_was_once_answered_otherwise_is_answered_as_the_model_answers_it(
    driver: RealDriver, history: tuple[str, ...]
) -> None:
    view, judge = View("ada", "bob", SESSION), Judge()
    for name in history:
        call = INTENTS[name](view)
        assert call is not None
        answer = await driver.make(call)
        judge.hear(call, answer)
        view = view.after(answer)
        for look in (ReadCart(SESSION), ReadOrders(("ada", "bob"))):
            judge.hear(look, await driver.make(look))
