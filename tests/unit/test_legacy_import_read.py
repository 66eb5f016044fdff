"""What the old shop's keys hold is read as it is meant, and what cannot be read is told and kept."""

import json
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from services.orders.legacy_import_read import LegacyUser, read_user
from shared.events import Status, event_id_of
from tests.legacy_shop import an_order

KEY = "orders:user:user_old"
ID = UUID("0b0e9a52-4a3f-4d7e-8b39-0d9a1c6f2e11")


def read(*orders: Any) -> LegacyUser:
    return read_user(KEY, json.dumps(orders).encode(), {"2": "Mechanical Keyboard"})


def test_an_order_keeps_its_id_date_status_total_and_items() -> None:
    [order] = read(an_order(total=59.97, items=[{"id": "2", "quantity": 2}, {"id": "gone", "quantity": 1}])).orders
    assert (order.id, order.accepted_at, order.status) == (ID, 1_714_979_289_123, Status.PAID)
    assert order.event.total == Decimal("59.97")
    assert [(line.product_id, line.title, line.unit_price, line.quantity) for line in order.event.lines] == [
        ("2", "Mechanical Keyboard", None, 2),
        ("gone", "gone", None, 1),
    ]


def test_an_id_that_is_no_uuid_names_the_order_within_its_user() -> None:
    [order] = read(an_order(id="ORD-17")).orders
    assert order.id == event_id_of("legacy", "user_old", "ORD-17")
    other = read_user("orders:user:user_new", json.dumps([an_order(id="ORD-17", userId=...)]).encode(), {})
    assert other.orders[0].id != order.id


@pytest.mark.parametrize(
    ("change", "read_as"),
    [
        ({"total": "298.50"}, Decimal("298.50")),
        ({"total": 0.1 + 0.2}, Decimal("0.30")),
        ({"status": ...}, Status.PROCESSING),
        ({"status": None}, Status.PROCESSING),
        ({"userId": ...}, "user_old"),
        ({"date": 1_714_979_289_123}, 1_714_979_289_123),
        ({"date": "2024-05-06"}, 1_714_953_600_000),
        ({"items": [{"id": 2, "quantity": 2.0}]}, "2"),
    ],
)
def test_old_shapes_are_understood(change: dict[str, Any], read_as: Any) -> None:
    user = read(an_order(**change))
    assert not user.damages
    [order] = user.orders
    event = order.event
    assert read_as in (event.total, order.status, event.user_id, order.accepted_at, event.lines[0].product_id)


def test_an_order_without_a_date_stands_where_the_list_has_it() -> None:
    orders = read(
        an_order(id="newest", date=...), an_order(id="old", date="2024-01-01T00:00:00Z"), an_order(id="older", date="")
    ).orders
    assert [order.accepted_at for order in orders] == [1_704_067_200_000] * 3
    [alone] = read(an_order(date=...)).orders
    assert alone.accepted_at == 0


def test_two_copies_are_one_order_as_far_as_the_further_one() -> None:
    user = read(an_order(status="processing"), an_order(status="paid"), an_order(status="processing"))
    assert [order.status for order in user.orders] == [Status.PAID]
    assert not user.damages


@pytest.mark.parametrize("again", [{"total": 299}, {"items": [{"id": "2", "quantity": 3}]}, {"status": "cancelled"}])
def test_the_same_id_with_other_content_is_told(again: dict[str, Any]) -> None:
    user = read(an_order(), an_order(**again))
    assert len(user.orders) == 1
    [damage] = user.damages
    assert (damage.position, damage.order_id) == (1, str(ID))


@pytest.mark.parametrize(
    "change",
    [
        {"id": ...},
        {"id": True},
        {"total": ...},
        {"total": "a lot"},
        {"total": "NaN"},
        {"total": -1},
        {"total": 1e12},
        {"total": True},
        {"total": 10.005},
        {"userId": "mallory"},
        {"status": "teleported"},
        {"status": ["paid"]},
        {"date": "yesterday"},
        {"date": {"$date": 1}},
        {"date": 1e30},
        {"items": ...},
        {"items": []},
        {"items": [{"id": "2"}]},
        {"items": [{"id": "2", "quantity": 100}]},
        {"items": [{"id": "2", "quantity": 1.5}]},
        {"items": [{"id": "2" * 21, "quantity": 1}]},
        {"items": [{"id": "\x00", "quantity": 1}]},
        {"items": [{"id": "2", "quantity": 1}] * 51},
    ],
    ids=str,
)
def test_what_is_wrong_in_one_order_leaves_the_others_readable(change: dict[str, Any]) -> None:
    user = read(an_order(id="before"), an_order(**change), "not even an object", an_order(id="after"))
    assert len(user.orders) == 2
    assert [damage.position for damage in user.damages] == [1, 2]


@pytest.mark.parametrize("blob", [b"", b"{", b"{}", b"null", b'"[]"', b"\xff\xfe", b"[" * 100_000, b"[NaN]"])
def test_a_blob_that_is_no_list_is_one_damage(blob: bytes) -> None:
    user = read_user(KEY, blob, {})
    assert (user.orders, len(user.damages), user.damages[0].position) == ((), 1, None)
