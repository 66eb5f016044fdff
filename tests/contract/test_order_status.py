"""PATCH /api/orders and POST /api/orders/{id}/cancel: an order only moves forward, and only its owner moves it."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from tests.contract.shopper import (
    HEADPHONES,
    INVALID_UUIDS,
    KEYBOARD,
    MALFORMED_BODIES,
    Shopper,
    assert_data,
    assert_error,
    line,
    named,
    wait_until_status,
)

ITEMS = [line(KEYBOARD), line(HEADPHONES)]
PAID_STAYS = "Paid orders cannot be cancelled from this flow"


@pytest.mark.parametrize(("move", "status"), [("pay", "paid"), ("cancel", "cancelled")])
def test_a_move_answers_the_whole_order_and_a_repeat_is_the_same(anna: Shopper, move: str, status: str) -> None:
    order = anna.bought(ITEMS)
    for _ in range(3):
        assert assert_data(getattr(anna, move)(order["id"])) == {**order, "status": status}
    assert anna.orders() == [{**order, "status": status}]


@pytest.mark.parametrize("move", ["pay", "cancel"])
def test_an_id_counts_in_any_case(anna: Shopper, move: str) -> None:
    order = anna.bought(ITEMS)
    assert assert_data(getattr(anna, move)(order["id"].upper()))["id"] == order["id"]


@pytest.mark.parametrize("move", ["pay", "cancel"])
def test_nobody_moves_what_is_not_theirs(anna: Shopper, bob: Shopper, visitor: Shopper, move: str) -> None:
    order = anna.bought(ITEMS)
    assert_error(getattr(bob, move)(order["id"]), 404, "Order not found")
    assert_error(getattr(bob, move)(str(uuid4())), 404, "Order not found")
    assert_error(getattr(visitor, move)(order["id"]), 401, "Unauthorized")
    assert anna.orders() == [order]


@pytest.mark.parametrize("order_id", INVALID_UUIDS, ids=named)
def test_an_id_is_a_uuid_and_nothing_else(anna: Shopper, visitor: Shopper, order_id: str) -> None:
    assert_error(anna.pay(order_id), 400, "Invalid order id")
    assert_error(anna.cancel(order_id), 400, "Invalid order id")
    assert_error(visitor.pay(order_id), 401, "Unauthorized")
    assert_error(visitor.cancel(order_id), 401, "Unauthorized")


@pytest.mark.parametrize("order_id", [None, 7, 1.5, True, [], {}, "", "\x00" * 36, "\ud800" * 36], ids=named)
def test_an_id_is_a_string(anna: Shopper, order_id: Any) -> None:
    assert_error(anna.pay(order_id), 400, "Invalid order id")


@pytest.mark.parametrize("body", [*MALFORMED_BODIES, b"{}"], ids=named)
def test_a_malformed_body_names_no_order(anna: Shopper, visitor: Shopper, body: bytes) -> None:
    assert_error(anna.send("PATCH", "/api/orders", body), 400, "Invalid order id")
    assert_error(visitor.send("PATCH", "/api/orders", body), 401, "Unauthorized")


def test_further_keys_of_a_patch_change_nothing(anna: Shopper) -> None:
    order = anna.bought(ITEMS)
    answer = anna.send("PATCH", "/api/orders", {"id": order["id"], "status": "cancelled", "total": 1})
    assert assert_data(answer) == {**order, "status": "paid"}


def test_a_cancellation_reads_no_body(anna: Shopper) -> None:
    order = anna.bought(ITEMS)
    answer = anna.send("POST", f"/api/orders/{order['id']}/cancel", b"{")
    assert assert_data(answer) == {**order, "status": "cancelled"}


def test_a_paid_order_is_not_cancelled(anna: Shopper) -> None:
    order = anna.bought(ITEMS)
    assert_data(anna.pay(order["id"]))
    assert_error(anna.cancel(order["id"]), 409, PAID_STAYS)
    assert anna.orders() == [{**order, "status": "paid"}]


def test_a_cancelled_order_is_not_paid(anna: Shopper) -> None:
    order = anna.bought(ITEMS)
    assert_data(anna.cancel(order["id"]))
    assert_error(anna.pay(order["id"]), 404, "Order not found")
    assert anna.orders() == [{**order, "status": "cancelled"}]


def test_of_racing_moves_exactly_one_happens(anna: Shopper) -> None:
    with ThreadPoolExecutor(2) as threads:
        for quantity in range(1, 11):
            order = anna.bought([line(KEYBOARD, quantity)])
            paying, cancelling = threads.submit(anna.pay, order["id"]), threads.submit(anna.cancel, order["id"])
            verdict = (paying.result().status_code, cancelling.result().status_code)
            assert verdict in {(200, 409), (404, 200)}
            status = next(known["status"] for known in anna.orders() if known["id"] == order["id"])
            assert status == ("paid" if verdict == (200, 409) else "cancelled")


@pytest.mark.parametrize(("move", "status"), [("pay", "paid"), ("cancel", "cancelled")])
def test_a_move_is_recorded_with_its_order(anna: Shopper, admin: Shopper, move: str, status: str) -> None:
    order = anna.bought(ITEMS)
    assert_data(getattr(anna, move)(order["id"]))
    wait_until_status(admin, order["id"], status)
    assert anna.orders() == [{**order, "status": status}]
