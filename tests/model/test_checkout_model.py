"""What CONTRACT says of one checkout, said of the model alone: the model must be right before it judges."""

from tests.model.checkout_model import CART_TTL, WINDOW, Answer, CartName, CheckoutModel

HEADPHONES = (("1", 1),)
HEADPHONES_AND_PAD = (("1", 1), ("3", 2))
PAD = (("3", 2),)


def test_an_effect_that_fires_twice_makes_one_order() -> None:
    model = CheckoutModel()
    assert model.submit("ada", HEADPHONES) == Answer("accepted", 0)
    assert model.submit("ada", HEADPHONES) == Answer("replayed", 0)


def test_the_window_is_counted_from_the_first_acceptance_and_does_not_slide() -> None:
    model = CheckoutModel()
    model.submit("ada", HEADPHONES)
    model.now = WINDOW - 1
    assert model.submit("ada", HEADPHONES).outcome == "replayed"
    model.now = WINDOW
    assert model.submit("ada", HEADPHONES) == Answer("accepted", 1)


def test_the_same_key_with_another_payload_is_refused() -> None:
    model = CheckoutModel()
    model.submit("ada", HEADPHONES, key="k-00000001")
    assert model.submit("ada", PAD, key="k-00000001").outcome == "key_reused"


def test_a_key_joins_a_keyless_checkout_and_a_second_key_means_a_second_order() -> None:
    model = CheckoutModel()
    model.submit("ada", HEADPHONES)
    assert model.submit("ada", HEADPHONES, key="k-first-one") == Answer("replayed", 0)
    assert model.submit("ada", HEADPHONES, key="k-second-one") == Answer("accepted", 1)
    assert model.submit("ada", HEADPHONES, key="k-first-one") == Answer("replayed", 0)


def test_a_refilled_cart_is_a_new_checkout_inside_the_window() -> None:
    model = CheckoutModel()
    first = model.put("s", HEADPHONES).generation
    model.submit("ada", HEADPHONES, cart=CartName("s", first))
    assert model.put("s", HEADPHONES).outcome == "echo"
    assert model.put("s", HEADPHONES_AND_PAD).outcome == "stored"
    second = model.put("s", HEADPHONES).generation
    assert second != first
    assert model.submit("ada", HEADPHONES, cart=CartName("s", second)) == Answer("accepted", 1)
    assert model.submit("ada", HEADPHONES, cart=CartName("s", first)) == Answer("replayed", 0)


def test_a_late_retry_after_a_refill_with_other_goods_finds_its_order() -> None:
    model = CheckoutModel()
    model.put("s", HEADPHONES)
    model.submit("ada", HEADPHONES, cart=CartName("s", None))
    model.now = WINDOW + 1
    model.put("s", PAD)
    assert model.submit("ada", HEADPHONES, cart=CartName("s", None)) == Answer("replayed", 0)


def test_a_put_that_read_the_empty_cart_is_never_an_echo() -> None:
    model = CheckoutModel()
    model.put("s", HEADPHONES)
    model.submit("ada", HEADPHONES, cart=CartName("s", None))
    cart = model.cart("s")
    assert model.put("s", HEADPHONES, if_match=(cart.generation, cart.version)).outcome == "stored"


def test_a_cancel_ends_window_and_generation_but_not_the_key() -> None:
    model = CheckoutModel()
    generation = model.put("s", HEADPHONES).generation
    model.submit("ada", HEADPHONES, key="k-00000001", cart=CartName("s", generation))
    model.cancel("ada", 0)
    assert model.submit("ada", HEADPHONES, key="k-00000001") == Answer("replayed", 0)
    assert model.submit("ada", HEADPHONES, cart=CartName("s", generation)) == Answer("accepted", 1)
    assert model.submit("ada", HEADPHONES) == Answer("replayed", 1)


def test_another_user_with_the_same_cart_never_meets_the_order() -> None:
    model = CheckoutModel()
    generation = model.put("s", HEADPHONES).generation
    model.submit("ada", HEADPHONES, key="k-00000001", cart=CartName("s", generation))
    answer = model.submit("bob", HEADPHONES, key="k-00000001", cart=CartName("s", generation))
    assert answer == Answer("accepted", 1)


def test_the_same_session_and_items_after_the_carts_day_are_a_second_order() -> None:
    model = CheckoutModel()
    model.put("s", HEADPHONES)
    model.submit("ada", HEADPHONES, cart=CartName("s", None))
    model.now = CART_TTL
    model.put("s", HEADPHONES)
    assert model.submit("ada", HEADPHONES, cart=CartName("s", None)) == Answer("accepted", 1)
