"""What operators read of everybody's orders, page by page."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.auth import Role
from shared.events import Status
from shared.issuer import issue_development_token
from shared.settings import Settings
from shared.streams import GROUP, STREAM
from tests.builders import HEADPHONES, KEYBOARDS
from tests.integration.orders_stage import (
    MINUTE,
    MORNING,
    MOUSE_PAD,
    a_checkout,
    accept,
    move_id,
    read_all,
    record,
    serving,
    signed_in,
)
from tests.servers import Servers


@pytest.mark.parametrize("path", ["/api/admin/orders", "/api/admin/products/1/orders"])
async def test_only_an_operators_role_opens_the_admin_doors(settings: Settings, path: str) -> None:
    async with serving(settings) as http:
        visitor = await http.get(path)
        shopper = await http.get(path, headers=signed_in(settings))
        admin = await http.get(path, headers=signed_in(settings, "olga", admin=True))
        token = issue_development_token(settings, "vera", role=Role.VIEWER)
        viewer = await http.get(path, headers={"Authorization": f"Bearer {token}"})
    assert (visitor.status_code, visitor.json()) == (401, {"error": "Unauthorized"})
    assert (shopper.status_code, shopper.json()) == (403, {"error": "Admin access required"})
    assert (admin.status_code, admin.json()) == (200, {"data": [], "next": None, "accepted_not_recorded": 0})
    assert (viewer.status_code, viewer.json()) == (200, admin.json())


async def test_every_order_is_shown_with_its_lines_as_bought(engine: AsyncEngine, settings: Settings) -> None:
    order_id = await record(engine, a_checkout("anna", KEYBOARDS, MOUSE_PAD), status=Status.PAID)
    async with serving(settings) as http:
        answer = await http.get("/api/admin/orders", headers=signed_in(settings, "olga", admin=True))
    assert answer.json()["data"] == [
        {
            "id": str(order_id),
            "userId": "anna",
            "total": 337.5,
            "date": "2026-01-01T08:00:00.123Z",
            "status": "paid",
            "items": [
                {"id": "2", "quantity": 2, "title": "Mechanical Keyboard", "unitPrice": 149},
                {"id": "3", "quantity": 1, "title": "Gaming Mouse Pad", "unitPrice": 39.5},
            ],
        }
    ]


async def test_pages_hold_every_order_once_even_while_new_ones_arrive(engine: AsyncEngine, settings: Settings) -> None:
    # Pairs share a millisecond, so that a page ends between two orders of the same moment.
    ids = [await record(engine, a_checkout(), UUID(int=n), MORNING + (n // 2) * MINUTE) for n in range(1, 10)]
    headers = signed_in(settings, "olga", admin=True)
    async with serving(settings) as http:
        first = (await http.get("/api/admin/orders?limit=3", headers=headers)).json()
        await record(engine, a_checkout(), UUID(int=99), MORNING + 99 * MINUTE)
        rest = await read_all(http, headers, "/api/admin/orders", limit=3, cursor=first["next"])
        whole = (await http.get("/api/admin/orders?limit=9", headers=headers)).json()
    assert [order["id"] for order in first["data"] + rest] == [str(order_id) for order_id in reversed(ids)]
    assert len(whole["data"]) == 9
    assert whole["next"] is not None


async def test_every_filter_narrows_and_all_that_are_given_must_hold(engine: AsyncEngine, settings: Settings) -> None:
    anna = await record(engine, a_checkout("anna", HEADPHONES), accepted_at=MORNING)
    annas_second = await record(engine, a_checkout("anna", KEYBOARDS), accepted_at=MORNING + MINUTE, status=Status.PAID)
    boris = await record(
        engine, a_checkout("boris+shop@example.org", MOUSE_PAD, HEADPHONES, payment_session_id="cs_test_boris"),
        accepted_at=MORNING + 2 * MINUTE,
    )  # fmt: skip
    cases: list[tuple[dict[str, Any], list[UUID]]] = [
        ({}, [boris, annas_second, anna]),
        ({"user": "anna"}, [annas_second, anna]),
        ({"user": "boris+shop@example.org"}, [boris]),
        ({"status": "paid"}, [annas_second]),
        ({"product": "1"}, [boris, anna]),
        ({"product": "no-longer-sold"}, []),
        ({"from": "2026-01-01T08:01:00.123Z"}, [boris, annas_second]),
        ({"to": "2026-01-01T08:01:00.123Z"}, [anna]),
        ({"from": "2026-01-01T09:01:00+01:00", "to": "2026-01-01T08:02:00"}, [annas_second]),
        ({"from": "2026-01-01", "to": "2026-01-02"}, [boris, annas_second, anna]),
        ({"order": str(anna)}, [anna]),
        ({"event": str(anna)}, [anna]),
        ({"event": str(move_id("anna", annas_second, Status.PAID))}, [annas_second]),
        ({"event": str(UUID(int=6))}, []),
        ({"payment_session": "cs_test_boris"}, [boris]),
        ({"product": "1", "user": "anna", "status": "processing", "limit": "200"}, [anna]),
        ({"user": "", "status": "", "from": "", "cursor": "", "limit": ""}, [boris, annas_second, anna]),
    ]
    async with serving(settings) as http:
        headers = signed_in(settings, "olga", admin=True)
        for params, expected in cases:
            found = await read_all(http, headers, "/api/admin/orders", **params)
            assert [order["id"] for order in found] == [str(order_id) for order_id in expected], params


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"limit": "0"}, "Invalid filter: limit: Input should be greater than or equal to 1"),
        ({"limit": "201"}, "Invalid filter: limit: Input should be less than or equal to 200"),
        ({"limit": "many"}, "Invalid filter: limit: "),
        ({"status": "shipped"}, "Invalid filter: status: Input should be 'processing', 'paid' or 'cancelled'"),
        ({"order": "7"}, "Invalid filter: order: "),
        ({"event": "7"}, "Invalid filter: event: "),
        ({"from": "yesterday"}, "Invalid filter: from: "),
        ({"to": "0001-01-01T00:00:00+05:00"}, "Invalid filter: to: Value error, the year must be between"),
        ({"user": "a\x00b"}, "Invalid filter: user: "),
        ({"user": "a" * 256}, "Invalid filter: user: "),
        ({"product": "p" * 21}, "Invalid filter: product: "),
        ({"payment_session": "\x00"}, "Invalid filter: payment_session: "),
        ({"cursor": "yesterday"}, "Invalid filter: cursor: Value error, not a cursor of ours"),
        ({"cursor": "é"}, "Invalid filter: cursor: Value error, not a cursor of ours"),
        ({"cursor": "WzEsMiwzXQ"}, "Invalid filter: cursor: Value error, not a cursor of ours"),
        ({"statuss": "paid"}, "Invalid filter: statuss: Extra inputs are not permitted"),
    ],
)
async def test_a_filter_that_means_nothing_is_named_and_refused(
    settings: Settings, params: dict[str, str], text: str
) -> None:
    async with serving(settings) as http:
        answer = await http.get("/api/admin/orders", params=params, headers=signed_in(settings, "olga", admin=True))
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(text)


async def test_the_line_items_of_a_product_are_listed_with_their_orders(
    engine: AsyncEngine, settings: Settings
) -> None:
    twice = await record(engine, a_checkout("anna", MOUSE_PAD, HEADPHONES, MOUSE_PAD), accepted_at=MORNING)
    unpriced = replace(MOUSE_PAD, unit_price=None, quantity=9)
    newer = await record(engine, a_checkout("boris", unpriced), accepted_at=MORNING + MINUTE, status=Status.PAID)
    headers = signed_in(settings, "olga", admin=True)
    async with serving(settings) as http:
        path = "/api/admin/products/3/orders"
        found = await read_all(http, headers, path, limit=1)
        of_boris = await read_all(http, headers, path, user="boris")
        none = await read_all(http, headers, "/api/admin/products/4/orders")
        invalid = await http.get(f"/api/admin/products/{'p' * 21}/orders", headers=headers)
    assert [(line["orderId"], line["line"]) for line in found] == [(str(newer), 1), (str(twice), 3), (str(twice), 1)]
    assert of_boris == [
        {
            "orderId": str(newer),
            "userId": "boris",
            "status": "paid",
            "date": "2026-01-01T08:01:00.123Z",
            "line": 1,
            "title": "Gaming Mouse Pad",
            "unitPrice": None,
            "quantity": 9,
        }
    ]
    assert found[1]["unitPrice"] == 39.5
    assert none == []
    assert (invalid.status_code, invalid.json()) == (400, {"error": "Invalid product id"})


async def backlog(http: httpx.AsyncClient, settings: Settings) -> Any:
    """What the order list says is accepted and not yet recorded."""
    answer = await http.get("/api/admin/orders", headers=signed_in(settings, "olga", admin=True))
    assert answer.status_code == 200
    return answer.json()["accepted_not_recorded"]


async def test_the_list_says_how_many_are_accepted_and_not_yet_recorded(
    redis: Redis, settings: Settings, servers: Servers
) -> None:
    async with serving(settings) as http:
        assert await backlog(http, settings) == 0
        await accept(redis, a_checkout())
        assert await backlog(http, settings) is None, "a stream without its group: nobody knows what was recorded"

        await redis.xgroup_create(STREAM, GROUP, "0")
        for _order in range(6):
            await accept(redis, a_checkout())
        assert await backlog(http, settings) == 7
        given: Any = await redis.xreadgroup(GROUP, "consumer-1", {STREAM: ">"}, count=3)
        entry_ids = [entry_id for entry_id, _fields in given[0][1]]
        assert await backlog(http, settings) == 7
        await redis.xack(STREAM, GROUP, *entry_ids)
        assert await backlog(http, settings) == 4
        newest: Any = await redis.xrevrange(STREAM, count=1)
        await redis.xdel(STREAM, newest[0][0])
        assert await backlog(http, settings) == 3

        servers.redis.stop()
        assert await backlog(http, settings) is None
