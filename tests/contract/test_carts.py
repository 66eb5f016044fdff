"""GET and PUT /api/cart/{sessionId}: the UUID is the capability."""

import re
from typing import Any
from uuid import uuid1, uuid4

import pytest

from tests.contract.shopper import (
    HEADPHONES,
    INVALID_ITEMS,
    INVALID_UUIDS,
    KEYBOARD,
    LIMIT,
    MALFORMED_BODIES,
    Shopper,
    a_session,
    assert_data,
    assert_error,
    line,
    named,
    quoted,
)


def test_an_absent_cart_is_empty(visitor: Shopper) -> None:
    assert visitor.cart(a_session()) == []


def test_a_cart_is_what_was_put(visitor: Shopper) -> None:
    session, items = a_session(), [line(KEYBOARD, 2), line(HEADPHONES)]
    assert assert_data(visitor.put_cart(session, items)) == items
    assert visitor.cart(session) == items
    assert assert_data(visitor.put_cart(session, [line(HEADPHONES, 99)])) == [line(HEADPHONES, 99)]
    assert visitor.cart(session) == [line(HEADPHONES, 99)]


def test_an_empty_cart_clears(visitor: Shopper) -> None:
    session = a_session()
    assert assert_data(visitor.put_cart(session, [])) == []
    assert_data(visitor.put_cart(session, [line(KEYBOARD)]))
    assert assert_data(visitor.put_cart(session, [])) == []
    assert visitor.cart(session) == []


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (b'[{"id":"1","quantity":2.0}]', [line("1", 2)]),
        (b'[{"id":"1","quantity":1e1}]', [line("1", 10)]),
        (b'[{"id":"1","quantity":990e-1}]', [line("1", 99)]),
        (b'[{"id":"1","quantity":1,"title":"Free","price":0}]', [line("1", 1)]),
        (b'[{"id":"1","quantity":1},{"id":"1","quantity":2}]', [line("1", 1), line("1", 2)]),
        (b"[" + b",".join([b'{"id":"3","quantity":99}'] * 50) + b"]", [line("3", 99)] * 50),
        (b'[{"\\u0069d":"\\u0031","quantity":1}]', [line("1", 1)]),
    ],
    ids=named,
)
def test_numbers_count_by_value_and_further_keys_are_dropped(visitor: Shopper, sent: bytes, stored: Any) -> None:
    session = a_session()
    answer = visitor.send("PUT", f"/api/cart/{session}", b'{"items":' + sent + b',"coupon":"X"}')
    assert assert_data(answer) == stored
    assert all(isinstance(item["quantity"], int) for item in answer.json()["data"])
    assert visitor.cart(session) == stored


@pytest.mark.parametrize("items", INVALID_ITEMS, ids=named)
def test_a_cart_that_no_order_could_have_is_invalid(visitor: Shopper, items: Any) -> None:
    session = a_session()
    assert_data(visitor.put_cart(session, [line(KEYBOARD)]))
    assert_error(visitor.put_cart(session, items), 400, "Invalid cart payload")
    assert visitor.cart(session) == [line(KEYBOARD)]


@pytest.mark.parametrize("body", [*MALFORMED_BODIES, b"{}"], ids=named)
def test_a_malformed_body_is_an_invalid_cart(visitor: Shopper, body: bytes) -> None:
    assert_error(visitor.send("PUT", f"/api/cart/{a_session()}", body), 400, "Invalid cart payload")


@pytest.mark.parametrize("session", INVALID_UUIDS, ids=named)
def test_a_session_is_a_uuid_and_nothing_else(visitor: Shopper, session: str) -> None:
    assert_error(visitor.send("GET", f"/api/cart/{quoted(session)}"), 400, "Invalid session id")
    assert_error(visitor.put_cart(session, [line(KEYBOARD)]), 400, "Invalid session id")
    assert_error(visitor.send("PUT", f"/api/cart/{quoted(session)}", b"{"), 400, "Invalid session id")


@pytest.mark.parametrize(
    "session",
    [
        str(uuid4()),
        str(uuid1()),
        str(uuid4()).upper(),
        "00000000-0000-0000-0000-000000000000",
        "f" * 8 + "-ffff" * 3 + "-" + "f" * 12,
    ],
    ids=["version 4", "version 1", "upper case", "nil", "max"],
)
def test_any_uuid_in_any_case_is_a_session(visitor: Shopper, session: str) -> None:
    assert_data(visitor.put_cart(session, [line(KEYBOARD)]))
    assert visitor.cart(session) == [line(KEYBOARD)]
    assert visitor.cart(session.swapcase()) == [line(KEYBOARD)]
    assert_data(visitor.put_cart(session, []))


def test_nobody_asks_who_puts_a_cart(visitor: Shopper, anna: Shopper) -> None:
    session = a_session()
    assert_data(anna.put_cart(session, [line(KEYBOARD)]))
    assert visitor.cart(session) == [line(KEYBOARD)]
    assert_data(visitor.put_cart(session, [], Authorization="Bearer rubbish"))


def test_the_etag_names_a_version_and_a_stale_write_is_412(visitor: Shopper) -> None:
    session = a_session()
    first = visitor.put_cart(session, [line(KEYBOARD)])
    read = visitor.send("GET", f"/api/cart/{session}")
    assert read.headers["ETag"] == first.headers["ETag"]
    assert re.fullmatch(r'"[^"]+"', read.headers["ETag"])
    second = visitor.put_cart(session, [line(KEYBOARD, 2)], If_Match=first.headers["ETag"])
    assert assert_data(second) == [line(KEYBOARD, 2)]
    assert second.headers["ETag"] != first.headers["ETag"]
    stale = visitor.put_cart(session, [line(KEYBOARD, 3)], If_Match=first.headers["ETag"])
    assert stale.status_code == 412
    assert isinstance(stale.json()["error"], str)
    assert visitor.cart(session) == [line(KEYBOARD, 2)]


def test_of_racing_writes_with_one_etag_one_wins(visitor: Shopper) -> None:
    session = a_session()
    etag = visitor.send("GET", f"/api/cart/{session}").headers["ETag"]
    answers = [visitor.put_cart(session, [line(KEYBOARD, n)], If_Match=etag).status_code for n in (1, 2, 3)]
    assert answers == [200, 412, 412]


def test_an_invalid_cart_is_400_before_it_is_stale(visitor: Shopper) -> None:
    answer = visitor.send("PUT", f"/api/cart/{a_session()}", {"items": None}, {"If-Match": '"stale"'})
    assert_error(answer, 400, "Invalid cart payload")


def test_a_cart_with_something_in_it_is_remembered_by_the_browser(visitor: Shopper) -> None:
    session = a_session()
    answer = visitor.put_cart(session, [line(KEYBOARD)])
    [cookie] = answer.headers.get_list("set-cookie")
    value, *attributes = [part.strip() for part in cookie.split(";")]
    assert re.fullmatch(rf"cart_session={session}\.[\w-]+", value)
    properties = {attribute.lower() for attribute in attributes}
    assert {"httponly", "samesite=lax", "path=/", "max-age=2592000"} <= properties
    is_local = re.match(r"http://(localhost|127\.0\.0\.1|\[::1\])(:|/|$)", visitor.place.url)
    assert ("secure" in properties) is not bool(is_local)
    assert not any(attribute.startswith("domain") for attribute in properties)


def test_clearing_reading_and_failing_set_no_cookie(visitor: Shopper) -> None:
    session = a_session()
    visitor.put_cart(session, [line(KEYBOARD)])
    for answer in (
        visitor.put_cart(session, []),
        visitor.send("GET", f"/api/cart/{session}"),
        visitor.send("PUT", f"/api/cart/{session}", b"{"),
        visitor.put_cart(session, [line(KEYBOARD)], If_Match='"stale"'),
    ):
        assert "set-cookie" not in answer.headers


def test_the_generation_stays_while_the_cart_is_not_checked_out_and_is_unguessable(visitor: Shopper) -> None:
    session = a_session()
    values = [visitor.put_cart(session, [line(KEYBOARD, n)]).cookies["cart_session"] for n in (1, 2)]
    visitor.put_cart(session, [])
    values.append(visitor.put_cart(session, [line(HEADPHONES)]).cookies["cart_session"])
    assert len(set(values)) == 1
    other = visitor.put_cart(a_session(), [line(HEADPHONES)]).cookies["cart_session"]
    assert other.partition(".")[2] != values[0].partition(".")[2]


def test_a_body_over_64_kib_is_413_and_changes_nothing(visitor: Shopper) -> None:
    session = a_session()
    text = b'{"items":[{"id":"1","quantity":1}]}'
    assert_data(visitor.send("PUT", f"/api/cart/{session}", text + b" " * (LIMIT - len(text))))
    assert_error(
        visitor.send("PUT", f"/api/cart/{session}", b'{"items":[]}' + b" " * LIMIT), 413, "Request body too large"
    )
    assert visitor.cart(session) == [line("1")]
