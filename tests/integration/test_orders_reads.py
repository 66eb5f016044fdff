"""What a shopper reads of their own orders, whether the consumer has recorded them or not."""

import asyncio
from decimal import Decimal
from itertools import permutations
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.cart.model import CartItem
from services.checkout.accept_order import accept_order
from services.checkout.submission import Accepted, Submission
from services.orders.queries import find_order, list_orders
from services.orders.record_events import record_batch
from shared.events import Event, KeyJoined, Status, StatusChanged
from shared.settings import Settings
from shared.streams import overlay_key
from tests.builders import HEADPHONES, KEYBOARDS, a_change, an_entry
from tests.integration.orders_stage import (
    MINUTE,
    MORNING,
    MOUSE_PAD,
    a_checkout,
    accept,
    forget,
    move_id,
    record,
    serving,
    signed_in,
)
from tests.servers import Servers


async def test_an_order_reads_the_same_before_and_after_it_is_recorded(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    checkout = a_checkout("anna", KEYBOARDS, MOUSE_PAD, HEADPHONES, MOUSE_PAD, payment_session_id="cs_test_anna_1")
    order_id = await accept(redis, checkout)
    async with serving(settings) as http:
        accepted = await http.get("/api/orders", headers=signed_in(settings))
        await record(engine, checkout, order_id)
        between = await http.get("/api/orders", headers=signed_in(settings))
        await forget(redis, "anna", order_id)
        recorded = await http.get("/api/orders", headers=signed_in(settings))
    assert accepted.json() == {
        "data": [
            {
                "id": str(order_id),
                "userId": "anna",
                "total": 506,
                "date": "2026-01-01T08:00:00.123Z",
                "status": "processing",
                "items": [
                    {"id": "2", "quantity": 2},
                    {"id": "3", "quantity": 1},
                    {"id": "1", "quantity": 1},
                    {"id": "3", "quantity": 1},
                ],
                "stripeSessionId": "cs_test_anna_1",
            }
        ]
    }
    assert accepted.json() == between.json() == recorded.json()
    assert "tillroll-partial" not in recorded.headers


async def test_a_shopper_reads_their_own_writes_while_no_consumer_runs(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    submission = Submission("anna", (CartItem(id="2", quantity=2),), Decimal(298))
    outcome = await accept_order(redis, settings, submission, (KEYBOARDS,))
    assert isinstance(outcome, Accepted)
    async with serving(settings) as http:
        headers = signed_in(settings)
        assert (await http.get("/api/orders", headers=headers)).json() == {"data": [outcome.order]}
        paid = await http.patch("/api/orders", json={"id": outcome.order["id"]}, headers=headers)
        assert paid.json() == {"data": {**outcome.order, "status": "paid"}}
        assert (await http.get("/api/orders", headers=headers)).json() == {"data": [paid.json()["data"]]}


class PausedBeforeTheOverlay(Redis):
    """A real client that stops before it reads an overlay, until it is told to go on."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            connection_pool=Redis.from_url(settings.redis_url.get_secret_value(), protocol=2).connection_pool
        )
        self.reached, self.may_go_on = asyncio.Event(), asyncio.Event()

    async def hgetall(self, name: Any) -> Any:
        self.reached.set()
        await self.may_go_on.wait()
        return await super().hgetall(name)


async def test_an_order_that_is_recorded_while_it_is_read_is_never_missing(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    checkout = a_checkout()
    order_id = await accept(redis, checkout)
    async with PausedBeforeTheOverlay(settings) as paused:
        reading = asyncio.create_task(list_orders(paused, engine, "anna"))
        await paused.reached.wait()
        await record(engine, checkout, order_id)
        await forget(redis, "anna", order_id)
        paused.may_go_on.set()
        own = await reading
        await paused.connection_pool.disconnect()
    assert [order.id for order in own.orders] == [order_id]


async def test_orders_are_listed_newest_first_and_by_id_within_a_millisecond(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    ids = [UUID(int=n) for n in range(1, 6)]
    await record(engine, a_checkout(), ids[0], MORNING)
    await record(engine, a_checkout(), ids[1], MORNING + MINUTE)
    await accept(redis, a_checkout(), ids[2], MORNING + MINUTE)
    await accept(redis, a_checkout(), ids[3], MORNING - MINUTE)
    await record(engine, a_checkout(), ids[4], MORNING)
    own = await list_orders(redis, engine, "anna")
    assert [order.id.int for order in own.orders] == [3, 2, 5, 1, 4]


async def test_the_row_wins_the_content_and_a_status_only_moves_forward(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    recorded = await record(engine, a_checkout("anna", HEADPHONES))
    await accept(redis, a_checkout("anna", KEYBOARDS), recorded)
    await accept(redis, StatusChanged(user_id="anna", order_id=recorded, status=Status.PAID), None, MORNING + MINUTE)
    cancelled = await record(engine, a_checkout(), status=Status.CANCELLED)
    await accept(redis, StatusChanged(user_id="anna", order_id=cancelled, status=Status.PAID))
    await accept(redis, StatusChanged(user_id="anna", order_id=UUID(int=7), status=Status.PAID))
    await accept(redis, KeyJoined(user_id="anna", order_id=recorded, key=UUID(int=8)))

    own = {order.id: order for order in (await list_orders(redis, engine, "anna")).orders}
    assert own.keys() == {recorded, cancelled}
    assert own[recorded].items == [{"id": "1", "quantity": 1}]
    assert own[recorded].status == "paid"
    assert own[cancelled].status == "cancelled"


async def test_a_move_applies_whichever_of_checkout_and_move_was_accepted_first(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    order_id = await accept(redis, a_checkout(), None, MORNING + MINUTE)
    await accept(redis, StatusChanged(user_id="anna", order_id=order_id, status=Status.CANCELLED), None, MORNING)
    found = await find_order(redis, engine, "anna", order_id)
    assert found is not None
    assert found.status == "cancelled"


async def test_a_list_never_changes_while_its_events_are_recorded_whatever_the_order_of_recording(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    for number, arrival in enumerate(permutations(range(4))):
        user, paid, cancelled = f"anna-{number}", uuid4(), uuid4()
        accepted: list[tuple[UUID, Event]] = [
            (paid, a_checkout(user)),
            (move_id(user, paid, Status.PAID), a_change(paid, Status.PAID, user)),
            (cancelled, a_checkout(user, KEYBOARDS)),
            (move_id(user, cancelled, Status.CANCELLED), a_change(cancelled, Status.CANCELLED, user)),
        ]
        for position, (event_id, event) in enumerate(accepted):
            await accept(redis, event, event_id, MORNING + position * MINUTE)
        promised = (await list_orders(redis, engine, user)).orders
        assert [(order.id, order.status) for order in promised] == [(cancelled, "cancelled"), (paid, "paid")]
        for position in arrival:
            event_id, event = accepted[position]
            await record_batch(engine, [an_entry(event, event_id, at=MORNING + position * MINUTE)], "consumer-1")
            await forget(redis, user, event_id)
            assert (await list_orders(redis, engine, user)).orders == promised, (arrival, position)


async def test_nobody_sees_the_orders_of_another(redis: Redis, engine: AsyncEngine, settings: Settings) -> None:
    accepted = await accept(redis, a_checkout("anna", payment_session_id="cs_test_anna_1"))
    recorded = await record(engine, a_checkout("anna", payment_session_id="cs_test_anna_2"))
    async with serving(settings) as http:
        boris = signed_in(settings, "boris", admin=True)
        assert (await http.get("/api/orders", headers=boris)).json() == {"data": []}
        for session in ("cs_test_anna_1", "cs_test_anna_2"):
            answer = await http.get("/api/orders", params={"session_id": session}, headers=boris)
            assert (answer.status_code, answer.json()) == (404, {"error": "Order not found"})
        for order_id in (accepted, recorded):
            paid = await http.patch("/api/orders", json={"id": str(order_id)}, headers=boris)
            cancelled = await http.post(f"/api/orders/{order_id}/cancel", headers=boris)
            assert [paid.status_code, cancelled.status_code] == [404, 404]
        for method, path in (("GET", "/api/orders"), ("PATCH", "/api/orders"), ("POST", "/api/orders/x/cancel")):
            visitor = await http.request(method, path)
            assert (visitor.status_code, visitor.json()) == (401, {"error": "Unauthorized"})


async def test_an_overlay_entry_that_belongs_to_another_is_not_shown(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    await accept(redis, a_checkout("anna"))
    for field, value in (await redis.hgetall(overlay_key("anna"))).items():
        await redis.hset(overlay_key("boris"), field, value)
    assert (await list_orders(redis, engine, "boris")).orders == []


async def test_an_unreadable_overlay_entry_hides_itself_alone(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    order_id = await accept(redis, a_checkout())
    await redis.hset(overlay_key("anna"), str(UUID(int=1)), b'{"accepted_at":1,"event":{"type":"from.tomorrow"}}')
    await redis.hset(overlay_key("anna"), str(UUID(int=2)), b"\xff\x00")
    await redis.hset(overlay_key("anna"), b"\xff", b"{}")
    assert [order.id for order in (await list_orders(redis, engine, "anna")).orders] == [order_id]


@pytest.mark.parametrize("is_recorded", [True, False])
async def test_an_order_is_found_by_its_payment_session(
    redis: Redis, engine: AsyncEngine, settings: Settings, is_recorded: bool
) -> None:
    checkout = a_checkout(payment_session_id="cs_test_anna_1")
    order_id = await (record(engine, checkout) if is_recorded else accept(redis, checkout))
    await record(engine, a_checkout(payment_session_id="cs_test_anna_2"))
    async with serving(settings) as http:
        found = await http.get("/api/orders?session_id=cs_test_anna_1", headers=signed_in(settings))
        assert found.json()["data"]["id"] == str(order_id)
        assert found.json()["data"]["stripeSessionId"] == "cs_test_anna_1"
        listed = await http.get("/api/orders?session_id=", headers=signed_in(settings))
        assert len(listed.json()["data"]) == 2


@pytest.mark.parametrize(
    ("session_id", "status", "text"),
    [
        ("x" * 7, 400, "Invalid session id"),
        ("x" * 256, 400, "Invalid session id"),
        ("x" * 8, 404, "Order not found"),
        ("x" * 255, 404, "Order not found"),
        ("\x00" * 8, 404, "Order not found"),
    ],
)
async def test_a_payment_session_is_looked_up_to_the_letter(
    settings: Settings, session_id: str, status: int, text: str
) -> None:
    async with serving(settings) as http:
        answer = await http.get("/api/orders", params={"session_id": session_id}, headers=signed_in(settings))
    assert (answer.status_code, answer.json()) == (status, {"error": text})


async def test_without_redis_the_list_shows_what_is_recorded_and_a_miss_is_unknown(
    redis: Redis, engine: AsyncEngine, settings: Settings, servers: Servers
) -> None:
    await accept(redis, a_checkout(payment_session_id="cs_test_anna_1"))
    recorded = await record(engine, a_checkout(payment_session_id="cs_test_anna_2"))
    servers.redis.stop()
    async with serving(settings) as http:
        listed = await http.get("/api/orders", headers=signed_in(settings))
        assert [order["id"] for order in listed.json()["data"]] == [str(recorded)]
        assert listed.headers["tillroll-partial"] == "accepted"
        missed = await http.get("/api/orders?session_id=cs_test_anna_1", headers=signed_in(settings))
        assert (missed.status_code, missed.headers["retry-after"]) == (503, "1")
        found = await http.get("/api/orders?session_id=cs_test_anna_2", headers=signed_in(settings))
        assert (found.status_code, found.headers["tillroll-partial"]) == (200, "accepted")


async def test_without_postgres_orders_cannot_be_read(redis: Redis, settings: Settings, servers: Servers) -> None:
    order_id = await accept(redis, a_checkout())
    servers.postgres.stop()
    async with serving(settings) as http:
        for path in ("/api/orders", "/api/orders?session_id=cs_test_anna_1", "/api/admin/orders"):
            answer = await http.get(path, headers=signed_in(settings, admin=True))
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), path
        paid = await http.patch("/api/orders", json={"id": str(order_id)}, headers=signed_in(settings))
        assert paid.status_code == 200
