"""Every history of one browser, step by step, up to a depth: the real functions answer as the model does.

Histories that lead to the same place are followed once. Places are kept as dumps of Redis, so that a step is made
once and not once for every history that begins with it. TILLROLL_MODEL=full goes deeper, in minutes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from tests.model.calls import ReadCart, ReadLife, ReadOrders
from tests.model.conftest import IS_FULL
from tests.model.intents import BOTH, HEADPHONES, INTENTS, KEYS, PADS, View
from tests.model.judge import Disagreement, Judge
from tests.model.real_driver import RealDriver, Snapshot
from tests.model.same_place import Alphabet, place_of

SESSION = "5e5510c0-0000-4000-8000-000000000001"
ALPHABET = Alphabet(("ada", "bob"), (HEADPHONES, PADS, BOTH), KEYS)
LOOKS = (ReadLife(SESSION), ReadOrders(ALPHABET.users), ReadCart(SESSION))
ALL = [name for name in INTENTS if name not in ("read", "half the window passes")]  # the cart is read anyway
MAIN = [
    "put headphones",
    "put both",
    "clear",
    "refill headphones",
    "buy",
    "buy with cart",
    "buy carrying the first generation",
    "buy with key 1 carrying the last generation",
    "buy with key 2 and cart",
    "other user buys with key 1 carrying the last generation",
    "cancel",
    "window passes",
]


@dataclass(frozen=True)
class Place:
    """The real shop and the model after a history."""

    path: tuple[str, ...]
    view: View
    judge: Judge
    shop: Snapshot


@pytest.mark.parametrize(("names", "depth"), [(MAIN, 5 if IS_FULL else 4), (ALL, 4 if IS_FULL else 3)])
async def test_every_short_history_is_answered_as_the_model_answers_it(
    driver: RealDriver, names: Sequence[str], depth: int
) -> None:
    places = [Place((), View("ada", "bob", SESSION), Judge(), await driver.take_snapshot())]
    known: set[str] = set()
    steps = 0
    for length in range(1, depth + 1):
        reached = []
        for place in places:
            for name in names:
                if (call := INTENTS[name](place.view)) is None:
                    continue
                await driver.restore(place.shop)
                judge, steps = place.judge.copy(), steps + 1
                answer = await driver.make(call)
                view = place.view.after(answer)
                try:
                    judge.hear(call, answer)
                    for look in LOOKS:
                        seen = await driver.make(look)
                        judge.hear(look, seen)
                        view = view.after(seen)
                except Disagreement as fault:
                    raise AssertionError(f"{' > '.join((*place.path, name))}: {fault}") from None
                if length < depth and (text := await place_of(driver.redis, judge, view, ALPHABET)) not in known:
                    known.add(text)
                    reached.append(Place((*place.path, name), view, judge, await driver.take_snapshot()))
        print(f"length {length}: {steps} steps so far, {len(reached)} new places")
        places = reached
