"""GET /api/orders and the operators' lists."""

from typing import Any
from uuid import uuid4

import pytest

from tests.contract.shopper import (
    DATE,
    HEADPHONES,
    KEYBOARD,
    MOUSE_PAD,
    Shopper,
    assert_data,
    assert_error,
    assert_order,
    line,
    page,
    quoted,
    wait_until_recorded,
    wait_until_status,
)

ADMIN_PATHS = ["/api/admin/orders", "/api/admin/products/1/orders"]


def test_a_user_without_orders_has_an_empty_list(anna: Shopper) -> None:
    answer = anna.send("GET", "/api/orders")
    assert assert_data(answer) == []
    assert "Tillroll-Partial" not in answer.headers


def test_orders_are_the_users_own_and_newest_first(anna: Shopper, bob: Shopper) -> None:
    bob.bought([line(HEADPHONES)])
    placed = [anna.bought([line(KEYBOARD, quantity)]) for quantity in range(1, 6)]
    assert anna.orders() == placed[::-1]
    assert [order["userId"] for order in bob.orders()] == [bob.user]


def test_an_order_reads_the_same_before_and_after_it_is_recorded(anna: Shopper, admin: Shopper) -> None:
    items = [line(KEYBOARD, 2), line(MOUSE_PAD), line(KEYBOARD)]
    order = anna.bought(items)
    assert anna.orders() == [order]
    wait_until_recorded(admin, anna, 1)
    assert anna.orders() == [order]
    assert_order(anna.orders()[0], items, anna.user)


def test_an_empty_session_id_is_the_list(anna: Shopper) -> None:
    order = anna.bought([line(KEYBOARD)])
    assert assert_data(anna.send("GET", "/api/orders?session_id=")) == [order]


@pytest.mark.parametrize("session_id", ["1234567", "x" * 256, "x" * 5000, "ü" * 7])
def test_a_payment_session_of_another_length_is_invalid(anna: Shopper, session_id: str) -> None:
    assert_error(anna.send("GET", f"/api/orders?session_id={quoted(session_id)}"), 400, "Invalid session id")


@pytest.mark.parametrize("session_id", ["cs_test_unknown", "12345678", "x" * 255, "ü" * 8, "\x00" * 8, "%" * 8])
def test_an_unknown_payment_session_is_not_found(anna: Shopper, session_id: str) -> None:
    anna.bought([line(KEYBOARD)])
    assert_error(anna.send("GET", f"/api/orders?session_id={quoted(session_id)}"), 404, "Order not found")


def test_nobody_reads_orders_without_a_token(visitor: Shopper) -> None:
    for query in ("", "?session_id=", "?session_id=x", "?session_id=cs_test_unknown"):
        assert_error(visitor.send("GET", f"/api/orders{query}"), 401, "Unauthorized")


@pytest.mark.parametrize("path", ADMIN_PATHS)
def test_the_operators_lists_are_for_admins(anna: Shopper, visitor: Shopper, path: str) -> None:
    assert_error(visitor.send("GET", path), 401, "Unauthorized")
    assert_error(anna.send("GET", path), 403, "Admin access required")
    assert_error(anna.send("GET", f"{path}?limit=rubbish"), 403, "Admin access required")


@pytest.mark.parametrize("path", ADMIN_PATHS)
def test_an_operators_page_says_what_is_not_in_it_yet(admin: Shopper, path: str) -> None:
    answer = admin.send("GET", path)
    assert answer.status_code == 200, answer.text
    page = answer.json()
    assert {"data", "next"} < page.keys()
    assert isinstance(page["data"], list)
    assert page["next"] is None or isinstance(page["next"], str)
    assert page["accepted_not_recorded"] >= 0


def test_an_operator_finds_a_users_order_once_it_is_recorded(admin: Shopper, anna: Shopper) -> None:
    order = anna.bought([line(KEYBOARD, 2)])
    [found] = wait_until_recorded(admin, anna, 1)
    assert {**found, "items": without_prices(found["items"])} == order
    assert found["items"][0]["unitPrice"] == 149
    assert found["items"][0]["title"] == "Mechanical Keyboard"


@pytest.mark.parametrize("name", ["order", "event"])
def test_an_operator_finds_an_order_by_its_id(admin: Shopper, anna: Shopper, name: str) -> None:
    order = anna.bought([line(KEYBOARD)])
    wait_until_recorded(admin, anna, 1)
    assert [found["id"] for found in page(admin, f"{name}={order['id']}")["data"]] == [order["id"]]
    assert page(admin, f"{name}={uuid4()}")["data"] == []


def test_an_operators_filters_narrow_the_list(admin: Shopper, anna: Shopper) -> None:
    first, second = anna.bought([line(KEYBOARD)]), anna.bought([line(HEADPHONES)])
    assert_data(anna.pay(first["id"]))
    user = f"user={quoted(anna.user or '')}"
    wait_until_status(admin, first["id"], "paid")
    wait_until_recorded(admin, anna, 2)
    for query, expected in [
        ("status=paid", [first]),
        ("status=processing", [second]),
        ("status=cancelled", []),
        (f"product={HEADPHONES}", [second]),
        ("from=2099-01-01T00:00:00Z", []),
        ("to=2099-01-01T00:00:00Z", [second, first]),
        ("", [second, first]),
    ]:
        found = [order["id"] for order in page(admin, f"{user}&{query}")["data"]]
        assert found == [order["id"] for order in expected], query


@pytest.mark.parametrize(
    "query", ["status=lost", "order=x", "limit=0", "limit=x", "cursor=rubbish", "from=yesterday", "usr=a"]
)
def test_an_operators_filter_that_cannot_be_meant_is_400(admin: Shopper, query: str) -> None:
    answer = admin.send("GET", f"/api/admin/orders?{query}")
    assert_error(answer, 400, answer.json()["error"])


def test_pages_cover_every_order_once(admin: Shopper, anna: Shopper) -> None:
    placed = [anna.bought([line(MOUSE_PAD, quantity)])["id"] for quantity in range(1, 6)]
    wait_until_recorded(admin, anna, 5)
    seen: list[str] = []
    query = cursor = f"user={quoted(anna.user or '')}&limit=2"
    for _ in range(3):
        answer = page(admin, cursor)
        seen += [order["id"] for order in answer["data"]]
        cursor = f"{query}&cursor={quoted(answer['next'] or '')}"
    assert answer["next"] is None
    assert seen == placed[::-1]


def test_an_operator_sees_who_bought_a_product(admin: Shopper, anna: Shopper) -> None:
    order = anna.bought([line(KEYBOARD, 2), line(MOUSE_PAD)])
    anna.bought([line(HEADPHONES)])
    wait_until_recorded(admin, anna, 2)
    query = f"/api/admin/products/{KEYBOARD}/orders?user={quoted(anna.user or '')}"
    [sale] = assert_data(admin.send("GET", query))
    assert order["id"] in sale.values()
    assert any(DATE.fullmatch(str(value)) for value in sale.values())
    assert assert_data(admin.send("GET", f"/api/admin/products/gone/orders?user={quoted(anna.user or '')}")) == []


def without_prices(items: Any) -> Any:
    """The contract's line items, of an operator's richer ones."""
    return [{"id": item["id"], "quantity": item["quantity"]} for item in items]
