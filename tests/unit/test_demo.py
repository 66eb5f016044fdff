"""The demo's plan cannot fool its verdict, and its verdict cannot be fooled by the answers."""

from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cli.demo_plan import Protection, plan_checkouts
from shared.errors import TillrollError

CATALOG = [
    {"id": "1", "price": 129, "stock": 25},
    {"id": "2", "price": 149, "stock": 15},
    {"id": "3", "price": 39, "stock": 8},
]


@settings(deadline=None, max_examples=30)  # thousands of checkouts each: slow on a busy machine, not wrong
@given(st.integers(1, 5000))
def test_no_two_checkouts_of_a_user_could_be_taken_for_one(count: int) -> None:
    plan = plan_checkouts(count, CATALOG)

    assert len({(checkout.user, frozenset(checkout.items.items())) for checkout in plan}) == count
    assert len({checkout.user for checkout in plan}) == min(100, count)


def test_every_checkout_is_one_that_the_shop_takes() -> None:
    stock = {product["id"]: product["stock"] for product in CATALOG}
    price = {str(product["id"]): product["price"] for product in CATALOG}
    for checkout in plan_checkouts(3000, CATALOG):
        assert checkout.items
        assert all(1 <= count <= min(stock[product], 99) for product, count in checkout.items.items())
        assert checkout.total == sum(price[product] * count for product, count in checkout.items.items())


def test_a_third_of_the_checkouts_has_each_protection() -> None:
    counts = Counter(checkout.protection for checkout in plan_checkouts(1000, CATALOG))

    assert sorted(counts) == sorted(Protection)
    assert set(counts.values()) == {333, 334}


def test_a_small_catalogue_gets_more_users_rather_than_equal_carts() -> None:
    plan = plan_checkouts(500, [{"id": "1", "price": 9.99, "stock": 2}])

    assert len({checkout.user for checkout in plan}) == 250
    assert {checkout.total for checkout in plan} == {Decimal("9.99"), Decimal("19.98")}


def test_two_runs_never_meet() -> None:
    assert plan_checkouts(1, CATALOG)[0].user != plan_checkouts(1, CATALOG)[0].user


def test_an_empty_shop_is_one_sentence() -> None:
    with pytest.raises(TillrollError, match="no product in stock"):
        plan_checkouts(1, [{"id": "1", "price": 129, "stock": 0}])
