"""POST /api/orders: what is accepted, what is refused, and in which order that is decided."""

from typing import Any

import pytest

from tests.contract.shopper import (
    HEADPHONES,
    INVALID_ITEMS,
    KEYBOARD,
    LIMIT,
    MALFORMED_BODIES,
    MOUSE_PAD,
    Items,
    Shopper,
    a_key,
    assert_data,
    assert_error,
    assert_order,
    line,
    named,
    worth,
)

PAYLOAD, PRICE, KEY = (
    "Invalid order payload",
    "Order total does not match catalog prices",
    "Invalid Idempotency-Key header",
)
INVALID_KEYS: list[str | bytes] = [
    "",
    " ",
    "\t",
    "short-7",
    "       short-7       ",
    "k" * 256,
    "two words",
    "tab\tinside",
    "slash/inside",
    "colon:inside",
    "quote'inside",
    "comma,inside",
    "ключключ".encode(),
    "schlüssel".encode(),
    "schlüssel".encode("latin-1"),
    "\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668".encode(),
    b"12345678\xa0",
]
INVALID_TOTALS = [
    b"null",
    b'"258"',
    b"true",
    b"[258]",
    b"{}",
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"0",
    b"0.0",
    b"-0.0",
    b"-258",
    b"1e400",
    b"-1e400",
    b"1000000.01",
    b"1000001",
    b"9" * 5000,
    b"0x102",
    b"258.",
]


def test_an_order_is_accepted_once_and_says_so(anna: Shopper) -> None:
    items = [line(KEYBOARD, 2), line(HEADPHONES)]
    answer = anna.order(items)
    order = assert_data(answer, 201)
    assert_order(order, items, anna.user)
    assert answer.headers["Event-Id"] == order["id"]
    assert "Idempotent-Replayed" not in answer.headers
    assert answer.json().keys() == {"data"}


def test_the_owner_sees_the_order_at_once(anna: Shopper) -> None:
    order = anna.bought([line(KEYBOARD)])
    assert anna.orders() == [order]


@pytest.mark.parametrize("total", [b"258", b"258.0", b"258.00", b"2.58e2", b"25800e-2"], ids=named)
def test_a_total_counts_by_value(anna: Shopper, total: bytes) -> None:
    body = b'{"items":[{"id":"1","quantity":2}],"total":' + total + b"}"
    order = assert_data(anna.send("POST", "/api/orders", body), 201)
    assert_order(order, [line(HEADPHONES, 2)], anna.user)


@pytest.mark.parametrize("quantity", [b"2", b"2.0", b"0.2e1"], ids=named)
def test_a_quantity_counts_by_value_and_further_keys_are_dropped(anna: Shopper, quantity: bytes) -> None:
    body = b'{"coupon":"X","items":[{"id":"1","price":0,"quantity":' + quantity + b'}],"total":258,"userId":"bob"}'
    order = assert_data(anna.send("POST", "/api/orders", body), 201)
    assert_order(order, [line(HEADPHONES, 2)], anna.user)


@pytest.mark.parametrize("items", INVALID_ITEMS, ids=named)
def test_items_that_no_cart_could_have_are_invalid(anna: Shopper, items: Any) -> None:
    assert_error(anna.order(items, 129), 400, PAYLOAD)
    assert anna.orders() == []


@pytest.mark.parametrize("total", INVALID_TOTALS, ids=named)
def test_a_total_that_is_no_amount_is_invalid(anna: Shopper, total: bytes) -> None:
    body = b'{"items":[{"id":"1","quantity":2}],"total":' + total + b"}"
    assert_error(anna.send("POST", "/api/orders", body), 400, PAYLOAD)


@pytest.mark.parametrize(
    "body",
    [*MALFORMED_BODIES, b"{}", b'{"items":[{"id":"1","quantity":2}]}', b'{"total":258}'],
    ids=named,
)
def test_a_malformed_body_is_an_invalid_order(anna: Shopper, body: bytes) -> None:
    assert_error(anna.send("POST", "/api/orders", body), 400, PAYLOAD)


@pytest.mark.parametrize("text", [b'"\\ud800"', b'"\\u0000"', b'{"\\udfff":"\\ud800\\ud800"}', b"1e999"], ids=named)
def test_a_key_that_nobody_reads_is_never_a_fault(anna: Shopper, text: bytes) -> None:
    body = b'{"items":[{"id":"1","quantity":2}],"total":258,"note":' + text + b"}"
    answer = anna.send("POST", "/api/orders", body)
    assert answer.status_code in (201, 400), "either it is dropped or it is no JSON"
    if answer.status_code == 400:
        assert_error(answer, 400, PAYLOAD)


@pytest.mark.parametrize(
    "total",
    [b"257", b"259", b"258.01", b"257.99", b"258.001", b"258.00000000001", b"0.01", b"1000000", b"1e6", b"1e-300"],
    ids=named,
)
def test_another_total_than_the_catalogues_is_refused_exactly(anna: Shopper, total: bytes) -> None:
    body = b'{"items":[{"id":"1","quantity":2}],"total":' + total + b"}"
    assert_error(anna.send("POST", "/api/orders", body), 400, PRICE)
    assert anna.orders() == []


def test_an_empty_order_has_no_total_that_matches(anna: Shopper) -> None:
    assert_error(anna.order([], 0), 400, PAYLOAD)
    assert_error(anna.order([], 129), 400, PRICE)


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([line(MOUSE_PAD, 9)], "Insufficient stock for Gaming Mouse Pad: requested 9, available 8"),
        ([line(HEADPHONES, 26)], "Insufficient stock for Wireless Headphones: requested 26, available 25"),
        ([line(KEYBOARD, 99)], "Insufficient stock for Mechanical Keyboard: requested 99, available 15"),
        (
            [line(MOUSE_PAD, 5), line(KEYBOARD), line(MOUSE_PAD, 4)],
            "Insufficient stock for Gaming Mouse Pad: requested 9, available 8",
        ),
    ],
    ids=named,
)
def test_more_than_the_stock_is_409_also_over_several_lines(anna: Shopper, items: Items, text: str) -> None:
    assert_error(anna.order(items), 409, text)
    assert anna.orders() == []


def test_all_of_the_stock_can_be_ordered_and_is_not_taken_away(anna: Shopper, bob: Shopper) -> None:
    items = [line(MOUSE_PAD, 5), line(MOUSE_PAD, 3)]
    assert_order(anna.bought(items), items, anna.user)
    assert_order(bob.bought(items), items, bob.user)


@pytest.mark.parametrize(
    "key",
    ["k" * 8, "k" * 255, "  padded-key  ", "\tpadded-key\t", "A.b_c-9.", "........", "________"],
    ids=named,
)
def test_a_key_of_8_to_255_plain_characters_is_a_key(anna: Shopper, key: str) -> None:
    items = [line(KEYBOARD)]
    order = assert_data(anna.send_as_is("/api/orders", body_of(items), {"Idempotency-Key": key.encode()}), 201)
    again = anna.send("POST", "/api/orders", body_of(items), {"Idempotency-Key": key.strip()})
    assert assert_data(again) == order


@pytest.mark.parametrize("key", INVALID_KEYS, ids=named)
def test_any_other_key_is_refused(anna: Shopper, key: str | bytes) -> None:
    sent = {"Idempotency-Key": key if isinstance(key, bytes) else key.encode()}
    answer = anna.send_as_is("/api/orders", body_of([line(KEYBOARD)]), sent)
    assert_error(answer, 400, KEY)
    assert anna.orders() == []


WRONG_TOTAL = {"items": [line(MOUSE_PAD, 9)], "total": 1}
TOO_MANY = {"items": [line(MOUSE_PAD, 9)], "total": worth([line(MOUSE_PAD, 9)])}


def body_of(items: Items) -> dict[str, Any]:
    """A payload whose total is right."""
    return {"items": items, "total": worth(items)}


@pytest.mark.parametrize(
    ("is_signed_in", "key", "body", "status", "text"),
    [
        (False, "bad", b"{", 401, "Unauthorized"),
        (False, None, TOO_MANY, 401, "Unauthorized"),
        (True, "bad", b"{", 400, KEY),
        (True, "bad", TOO_MANY, 400, KEY),
        (True, "good", b"{", 400, PAYLOAD),
        (True, "good", {"items": [line("4")], "total": "1"}, 400, PAYLOAD),
        (True, "known", {"items": [line("4")], "total": 1}, 400, PAYLOAD),
        (True, "known", WRONG_TOTAL, 422, None),
        (True, "known", TOO_MANY, 422, None),
        (True, "good", WRONG_TOTAL, 400, PRICE),
        (True, None, WRONG_TOTAL, 400, PRICE),
        (True, None, TOO_MANY, 409, "Insufficient stock for Gaming Mouse Pad: requested 9, available 8"),
    ],
)
def test_of_several_faults_the_first_in_the_contracts_order_is_told(
    anna: Shopper, visitor: Shopper, is_signed_in: bool, key: str | None, body: Any, status: int, text: str | None
) -> None:
    keys = {"bad": "bad", "good": a_key(), "known": a_key()}
    anna.bought([line(KEYBOARD)], key=keys["known"])
    headers = {} if key is None else {"Idempotency-Key": keys[key]}
    answer = (anna if is_signed_in else visitor).send("POST", "/api/orders", body, headers)
    assert_error(answer, status, text or answer.json()["error"])
    assert len(anna.orders()) == 1


def test_a_body_of_64_kib_is_read_and_a_longer_one_is_413(anna: Shopper, visitor: Shopper) -> None:
    text = b'{"items":[{"id":"1","quantity":2}],"total":258}'
    assert_error(anna.send("POST", "/api/orders", text + b" " * LIMIT), 413, "Request body too large")
    chunked = anna.place.http.post(
        "/api/orders",
        content=(text + b" " * 4096 for _ in range(17)),
        headers={"Authorization": f"Bearer {anna.token}", "Content-Type": "application/json"},
    )
    assert_error(chunked, 413, "Request body too large")
    assert_error(visitor.send("POST", "/api/orders", text + b" " * LIMIT), 413, "Request body too large")
    assert anna.orders() == []
    assert_data(anna.send("POST", "/api/orders", text + b" " * (LIMIT - len(text))), 201)
