"""Redis or Postgres away: 503 where the outcome would be unknown, never a false no, and nothing half done."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.contract.place import Place
from tests.contract.shopper import (
    HEADPHONES,
    KEYBOARD,
    Shopper,
    a_key,
    a_session,
    assert_data,
    assert_error,
    line,
    wait_until_recorded,
    wait_until_status,
)
from tests.servers import RunningServer, wait_until

ITEMS = [line(KEYBOARD), line(HEADPHONES)]


@contextmanager
def away(server: RunningServer, watcher: Shopper) -> Iterator[None]:
    """`server` is stopped; afterwards it runs and is used again."""
    server.stop()
    try:
        yield
    finally:
        server.start()
        wait_until(lambda: _is_well(watcher), "the shop is open again")


def _is_well(watcher: Shopper) -> bool:
    answer = watcher.send("GET", "/api/orders")
    return answer.status_code == 200 and "Tillroll-Partial" not in answer.headers


@pytest.fixture
def without_redis(local: Place, anna: Shopper, bob: Shopper, admin: Shopper) -> Iterator[dict[str, object]]:
    """Redis is away; anna has one recorded order, which is the fixture's value."""
    assert local.servers is not None
    order = anna.bought(ITEMS)
    wait_until_recorded(admin, anna, 1)
    with away(local.servers.redis, anna):
        yield order


@pytest.fixture
def without_postgres(local: Place, anna: Shopper) -> Iterator[None]:
    assert local.servers is not None
    with away(local.servers.postgres, anna):
        yield


def assert_unknown(answer: httpx.Response) -> None:
    """503: retry is safe, and soon."""
    assert_error(answer, 503, answer.json()["error"])
    assert answer.headers["Retry-After"] == "1"
    assert answer.elapsed.total_seconds() < 8, "the first storefront gives up after 8 s"


def test_without_redis_nothing_is_accepted_and_the_client_may_retry(
    anna: Shopper, bob: Shopper, without_redis: dict[str, object]
) -> None:
    session = a_session()
    assert_unknown(bob.order(ITEMS))
    assert_unknown(bob.order(ITEMS, key=a_key()))
    assert_unknown(bob.put_cart(session, ITEMS))
    assert_unknown(bob.send("GET", f"/api/cart/{session}"))


def test_without_redis_a_faulty_request_is_still_told_so(bob: Shopper, without_redis: dict[str, object]) -> None:
    assert_error(bob.order([line("4")], 1), 400, "Invalid order payload")
    assert_error(bob.put_cart("x", []), 400, "Invalid session id")
    assert_error(bob.pay("x"), 400, "Invalid order id")


def test_without_redis_the_list_shows_what_is_recorded_and_says_so(
    anna: Shopper, without_redis: dict[str, object]
) -> None:
    answer = anna.send("GET", "/api/orders")
    assert assert_data(answer) == [without_redis]
    assert answer.headers["Tillroll-Partial"] == "accepted"


def test_without_redis_a_look_up_that_misses_is_unknown_and_never_a_no(
    anna: Shopper, without_redis: dict[str, object]
) -> None:
    assert_unknown(anna.send("GET", "/api/orders?session_id=cs_test_unknown"))
    assert_unknown(anna.pay("3f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6f"))
    assert_unknown(anna.cancel("3f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6f"))


def test_without_redis_the_catalogue_is_open(visitor: Shopper, without_redis: dict[str, object]) -> None:
    answer = visitor.send("GET", "/api/products")
    assert len(assert_data(answer)) == 3
    assert "source" not in answer.json()


def test_without_postgres_orders_are_accepted_moved_and_recorded_later(
    local: Place, anna: Shopper, admin: Shopper
) -> None:
    assert local.servers is not None
    with away(local.servers.postgres, anna):
        paid, cancelled = anna.bought(ITEMS), anna.bought([line(KEYBOARD)])
        assert assert_data(anna.order(ITEMS)) == paid
        assert assert_data(anna.pay(paid["id"]))["status"] == "paid"
        assert assert_data(anna.cancel(cancelled["id"]))["status"] == "cancelled"
        assert_unknown(anna.send("GET", "/api/orders"))
        assert_unknown(admin.send("GET", "/api/admin/orders"))
    wait_until_recorded(admin, anna, 2)
    for order, status in ((paid, "paid"), (cancelled, "cancelled")):
        wait_until_status(admin, order["id"], status)
    assert anna.orders() == [{**cancelled, "status": "cancelled"}, {**paid, "status": "paid"}]


def test_without_postgres_a_move_that_redis_cannot_decide_is_unknown(anna: Shopper, without_postgres: None) -> None:
    assert_unknown(anna.pay("3f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6f"))
    assert_unknown(anna.cancel("3f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6f"))


def test_without_postgres_carts_and_refusals_are_as_ever(anna: Shopper, without_postgres: None) -> None:
    session = a_session()
    assert assert_data(anna.put_cart(session, ITEMS)) == ITEMS
    assert anna.cart(session) == ITEMS
    assert_error(anna.order(ITEMS, 1), 400, "Order total does not match catalog prices")


def test_an_order_that_was_refused_by_an_outage_can_be_sent_again(local: Place, anna: Shopper) -> None:
    assert local.servers is not None
    key, session = a_key(), a_session()
    anna.put_cart(session, ITEMS)
    with away(local.servers.redis, anna):
        assert_unknown(anna.order(ITEMS, key=key, X_Cart_Session=session))
    assert anna.cart(session) == ITEMS
    order = assert_data(anna.order(ITEMS, key=key, X_Cart_Session=session), 201)
    assert anna.cart(session) == []
    assert anna.orders() == [order]
