"""What is promised of a lost Redis, said of the model alone."""

import pytest

from tests.model.checkout_model import WINDOW, Answer, CartName
from tests.model.losing_model import LosingModel, NotLoaded

HEADPHONES = (("1", 1),)


def lost(*, recorded: int, key: str | None = None) -> LosingModel:
    """Ada bought headphones; so many events were recorded; then Redis was lost."""
    model = LosingModel()
    assert model.submit("ada", HEADPHONES, key=key) == Answer("accepted", 0)
    model.record(recorded)
    model.lose()
    return model


def test_nothing_is_accepted_or_moved_before_the_names_are_back() -> None:
    model = lost(recorded=1)
    with pytest.raises(NotLoaded):
        model.submit("bob", HEADPHONES)
    with pytest.raises(NotLoaded):
        model.cancel("ada", 0)


@pytest.mark.parametrize("key", [None, "k-00000001"])
def test_a_retry_of_what_was_recorded_finds_its_order(key: str | None) -> None:
    model = lost(recorded=1, key=key)
    model.reload()
    assert model.submit("ada", HEADPHONES, key=key) == Answer("replayed", 0)


def test_what_was_not_recorded_is_gone_until_the_client_retries() -> None:
    model = lost(recorded=0)
    model.reload()
    assert model.gone == {0}
    assert model.pay("ada", 0) == "unknown"
    assert model.submit("ada", HEADPHONES) == Answer("accepted", 1)


def test_a_window_that_ended_meanwhile_does_not_come_back() -> None:
    model = lost(recorded=1)
    model.now = WINDOW
    model.reload()
    assert model.submit("ada", HEADPHONES) == Answer("accepted", 1)


def test_a_move_that_was_not_recorded_did_not_happen() -> None:
    model = LosingModel()
    model.submit("ada", HEADPHONES)
    model.record(1)
    model.cancel("ada", 0)
    model.lose()
    model.reload()
    assert model.submit("ada", HEADPHONES) == Answer("replayed", 0)
    assert model.pay("ada", 0) == "paid"


def test_the_cart_is_gone_and_its_generation_still_leads_to_the_order() -> None:
    model = LosingModel()
    generation = model.put("s", HEADPHONES).generation
    model.submit("ada", HEADPHONES, cart=CartName("s", generation))
    model.record(1)
    model.lose()
    model.reload()
    assert model.cart("s").items == ()
    model.now = WINDOW
    assert model.submit("ada", HEADPHONES, cart=CartName("s", generation)) == Answer("replayed", 0)


def test_a_second_reload_takes_no_name_from_what_was_accepted_since() -> None:
    model = lost(recorded=1)
    model.reload()
    model.cancel("ada", 0)
    assert model.submit("ada", HEADPHONES) == Answer("accepted", 1)
    model.reload()
    assert model.submit("ada", HEADPHONES) == Answer("replayed", 1)
