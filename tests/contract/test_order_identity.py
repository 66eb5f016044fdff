"""What is one checkout: duplicates by key, by cart and by window, and whose they are."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.contract.shopper import (
    HEADPHONES,
    KEYBOARD,
    MOUSE_PAD,
    Shopper,
    a_key,
    a_session,
    assert_data,
    assert_order,
    line,
)

ITEMS = [line(KEYBOARD), line(HEADPHONES, 2)]


def assert_replayed(answer: httpx.Response, order: Any) -> None:
    """200 with the same order, marked as a duplicate."""
    assert assert_data(answer) == order
    assert answer.headers["Idempotent-Replayed"] == "true"
    assert answer.headers["Event-Id"] == order["id"]
    assert answer.json().keys() == {"data"}


def assert_another(answer: httpx.Response, order: Any) -> Any:
    """201 with an order of its own."""
    other = assert_data(answer, 201)
    assert other["id"] != order["id"]
    assert "Idempotent-Replayed" not in answer.headers
    return other


def at_once(count: int, submit: Callable[[], httpx.Response]) -> list[httpx.Response]:
    with ThreadPoolExecutor(count) as threads:
        return [future.result() for future in [threads.submit(submit) for _ in range(count)]]


@pytest.mark.parametrize("way", ["bare", "key", "cart"])
def test_of_concurrent_duplicates_exactly_one_is_201(anna: Shopper, way: str) -> None:
    session, headers = a_session(), {}
    if way == "key":
        headers = {"key": a_key()}
    if way == "cart":
        anna.put_cart(session, ITEMS)
        headers = {"X_Cart_Session": session}
    answers = at_once(12, lambda: anna.order(ITEMS, **headers))
    assert sorted(answer.status_code for answer in answers) == [200] * 11 + [201]
    order = anna.orders()
    assert len(order) == 1
    assert all(answer.json()["data"] == order[0] for answer in answers)


def test_the_same_key_and_payload_is_the_same_order(anna: Shopper) -> None:
    key = a_key()
    order = anna.bought(ITEMS, key=key)
    assert_order(order, ITEMS, anna.user)
    assert_replayed(anna.order(ITEMS, key=key), order)
    assert_replayed(anna.order(ITEMS, 407.0, key=key), order)
    assert anna.orders() == [order]


@pytest.mark.parametrize(
    "items",
    [
        [line(HEADPHONES, 2), line(KEYBOARD)],
        [line(HEADPHONES), line(KEYBOARD), line(HEADPHONES)],
        [{"id": KEYBOARD, "quantity": 1.0, "title": "x"}, line(HEADPHONES, 2)],
    ],
    ids=["other order", "split lines", "other spelling"],
)
@pytest.mark.parametrize("has_key", [True, False], ids=["key", "bare"])
def test_a_payload_is_compared_as_summed_products(anna: Shopper, items: Any, has_key: bool) -> None:
    key = a_key() if has_key else None
    order = assert_data(anna.order(ITEMS, key=key), 201)
    assert_replayed(anna.order(items, key=key), order)


def test_a_key_with_another_payload_is_422_and_changes_nothing(anna: Shopper) -> None:
    key = a_key()
    order = anna.bought(ITEMS, key=key)
    answer = anna.order([line(MOUSE_PAD)], key=key)
    assert answer.status_code == 422
    assert isinstance(answer.json()["error"], str)
    assert anna.orders() == [order]


def test_a_second_key_asks_for_a_second_order(anna: Shopper) -> None:
    first = anna.bought(ITEMS, key=a_key())
    second = assert_another(anna.order(ITEMS, key=a_key()), first)
    assert anna.orders() == [second, first]


def test_a_key_joins_a_checkout_that_has_none_and_is_then_its_key(anna: Shopper) -> None:
    joined, another = a_key(), a_key()
    order = anna.bought(ITEMS)
    assert_replayed(anna.order(ITEMS, key=joined), order)
    assert anna.order([line(MOUSE_PAD)], key=joined).status_code == 422
    assert_another(anna.order(ITEMS, key=another), order)


def test_a_keyed_order_is_met_by_a_bare_retry(anna: Shopper) -> None:
    order = anna.bought(ITEMS, key=a_key())
    assert_replayed(anna.order(ITEMS), order)


def test_a_key_is_the_users_own(anna: Shopper, bob: Shopper) -> None:
    key = a_key()
    hers = anna.bought(ITEMS, key=key)
    his = assert_another(bob.order(ITEMS, key=key), hers)
    assert his["userId"] == bob.user
    assert_replayed(anna.order(ITEMS, key=key), hers)
    assert (anna.orders(), bob.orders()) == ([hers], [his])


def test_equal_bare_submissions_within_the_window_are_one_order(anna: Shopper, bob: Shopper) -> None:
    order = anna.bought(ITEMS)
    assert_replayed(anna.order(ITEMS), order)
    assert_another(anna.order([line(MOUSE_PAD)]), order)
    assert_another(bob.order(ITEMS), order)
    assert_replayed(anna.order(ITEMS), order)


def test_a_checkout_takes_the_cart_it_names(anna: Shopper) -> None:
    session = a_session()
    anna.put_cart(session, ITEMS)
    anna.bought(ITEMS, X_Cart_Session=session)
    assert anna.cart(session) == []


def test_what_was_not_bought_stays_in_the_cart(anna: Shopper) -> None:
    session = a_session()
    anna.put_cart(session, [line(KEYBOARD, 3), line(MOUSE_PAD)])
    anna.bought([line(KEYBOARD, 2)], X_Cart_Session=session)
    assert anna.cart(session) == [line(KEYBOARD), line(MOUSE_PAD)]


def test_the_browsers_cookie_names_the_cart_too(anna: Shopper) -> None:
    session = a_session()
    cookie = anna.put_cart(session, ITEMS).cookies["cart_session"]
    order = anna.bought(ITEMS, Cookie=f"cart_session={cookie}")
    assert anna.cart(session) == []
    assert_replayed(anna.order(ITEMS, Cookie=f"cart_session={cookie}"), order)


@pytest.mark.parametrize("carried", ["header", "cookie"])
def test_a_refilled_cart_is_a_new_checkout_and_the_old_generation_still_the_old_one(
    anna: Shopper, carried: str
) -> None:
    def carry(cookie: str) -> dict[str, str]:
        return {"X_Cart_Session": cookie} if carried == "header" else {"Cookie": f"cart_session={cookie}"}

    session = a_session()
    old = anna.put_cart(session, ITEMS).cookies["cart_session"]
    order = anna.bought(ITEMS, **carry(old))
    anna.put_cart(session, [])
    etag = anna.send("GET", f"/api/cart/{session}").headers["ETag"]
    new = anna.put_cart(session, ITEMS, If_Match=etag).cookies["cart_session"]
    assert new != old
    assert_replayed(anna.order(ITEMS, **carry(old)), order)
    assert_another(anna.order(ITEMS, **carry(new)), order)
    assert anna.cart(session) == []


def test_an_echo_of_what_was_bought_is_answered_and_stores_nothing(anna: Shopper) -> None:
    session = a_session()
    anna.put_cart(session, ITEMS)
    order = anna.bought(ITEMS, X_Cart_Session=session)
    assert assert_data(anna.put_cart(session, ITEMS)) == ITEMS
    assert anna.cart(session) == []
    assert_replayed(anna.order(ITEMS, X_Cart_Session=session), order)


def test_the_first_storefronts_way_through_leaves_one_paid_order_and_an_empty_cart(anna: Shopper) -> None:
    session = a_session()
    anna.put_cart(session, ITEMS)
    order = anna.bought(ITEMS)
    assert_replayed(anna.order(ITEMS), order)
    assert assert_data(anna.pay(order["id"]))["status"] == "paid"
    assert assert_data(anna.put_cart(session, [])) == []
    assert [(known["id"], known["status"]) for known in anna.orders()] == [(order["id"], "paid")]
    assert anna.cart(session) == []


def test_on_a_shared_browser_nobody_meets_the_others_order(anna: Shopper, bob: Shopper) -> None:
    session, key = a_session(), a_key()
    cookie = anna.put_cart(session, ITEMS).cookies["cart_session"]
    hers = anna.bought(ITEMS, key=key, X_Cart_Session=cookie)
    for headers in (
        {"X_Cart_Session": cookie},
        {"X_Cart_Session": session},
        {"Cookie": f"cart_session={cookie}"},
        {"key": key},
        {"key": key, "X_Cart_Session": cookie},
    ):
        his = bob.order(ITEMS, **headers)
        assert his.status_code in (200, 201)
        assert his.json()["data"]["userId"] == bob.user
        assert his.json()["data"]["id"] != hers["id"]
    assert anna.orders() == [hers]


@pytest.mark.parametrize("cart", ["", "x", "not-a-uuid.1234", "." * 300, "00000000-0000-0000-0000-000000000000.zz"])
def test_a_cart_name_that_is_none_names_nothing(anna: Shopper, cart: str) -> None:
    order = anna.bought(ITEMS, X_Cart_Session=cart)
    assert_replayed(anna.order(ITEMS), order)


def test_a_duplicate_shows_the_live_status(anna: Shopper) -> None:
    key = a_key()
    order = anna.bought(ITEMS, key=key)
    assert_data(anna.pay(order["id"]))
    assert_replayed(anna.order(ITEMS, key=key), {**order, "status": "paid"})


def test_after_a_cancellation_only_the_key_keeps_pointing_to_the_order(anna: Shopper) -> None:
    key, session = a_key(), a_session()
    anna.put_cart(session, ITEMS)
    order = anna.bought(ITEMS, key=key, X_Cart_Session=session)
    assert_data(anna.cancel(order["id"]))
    assert_replayed(anna.order(ITEMS, key=key), {**order, "status": "cancelled"})
    assert_another(anna.order(ITEMS), order)


def test_after_a_cancellation_the_cart_can_be_bought_again(anna: Shopper) -> None:
    session = a_session()
    cookie = anna.put_cart(session, ITEMS).cookies["cart_session"]
    order = anna.bought(ITEMS, X_Cart_Session=cookie)
    assert_data(anna.cancel(order["id"]))
    assert_another(anna.order(ITEMS, X_Cart_Session=cookie), order)
