"""PATCH and cancel as storefronts in production know them."""

from typing import Any
from uuid import UUID

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders import app as orders_app
from shared.events import Status
from shared.settings import Settings
from tests.integration.orders_stage import a_checkout, accept, moves_in_stream, record, serving, signed_in
from tests.servers import Servers

SOME_ID = "0d3c2a6e-6d2b-4c53-9b53-0f6f3c1f2a11"
NOT_IDS = ["", "7", SOME_ID + "\n", " " + SOME_ID, "{" + SOME_ID + "}", "urn:uuid:" + SOME_ID, SOME_ID.replace("-", "")]


async def test_paying_and_cancelling_are_repeatable_and_exclude_each_other(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    paid, cancelled = await accept(redis, a_checkout()), await record(engine, a_checkout())
    headers = signed_in(settings)
    async with serving(settings) as http:
        for _repeat in range(2):
            answer = await http.patch("/api/orders", json={"id": str(paid)}, headers=headers)
            assert (answer.status_code, answer.json()["data"]["status"]) == (200, "paid")
            answer = await http.post(f"/api/orders/{cancelled}/cancel", headers=headers)
            assert (answer.status_code, answer.json()["data"]["status"]) == (200, "cancelled")
        answer = await http.post(f"/api/orders/{paid}/cancel", headers=headers)
        assert (answer.status_code, answer.json()) == (
            409,
            {"error": "Paid orders cannot be cancelled from this flow"},
        )
        answer = await http.patch("/api/orders", json={"id": str(cancelled)}, headers=headers)
        assert (answer.status_code, answer.json()) == (404, {"error": "Order not found"})
    assert sorted(await moves_in_stream(redis)) == ["cancelled", "paid"]


async def test_an_order_id_counts_in_any_case(redis: Redis, settings: Settings) -> None:
    order_id = await accept(redis, a_checkout(), UUID("ABCDEFAB-cdef-4abc-8def-abcdefabcdef"))
    async with serving(settings) as http:
        answer = await http.patch("/api/orders", json={"id": str(order_id).upper()}, headers=signed_in(settings))
        assert answer.json()["data"]["id"] == str(order_id)
        answer = await http.post(f"/api/orders/{str(order_id).upper()}/cancel", headers=signed_in(settings))
        assert answer.status_code == 409


@pytest.mark.parametrize("given", NOT_IDS)
async def test_only_a_whole_uuid_is_an_order_id(settings: Settings, given: str) -> None:
    async with serving(settings) as http:
        answer = await http.patch("/api/orders", json={"id": given}, headers=signed_in(settings))
        assert (answer.status_code, answer.json()) == (400, {"error": "Invalid order id"})
        if given:
            quoted = given.replace("\n", "%0A").replace(" ", "%20").replace("{", "%7B").replace("}", "%7D")
            answer = await http.post(f"/api/orders/{quoted}/cancel", headers=signed_in(settings))
            assert (answer.status_code, answer.json()) == (400, {"error": "Invalid order id"})


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"7", b"{", b"\xff", b'{"id":null}', b'{"id":7}', b"{}", b'{"id":["x"]}']
)
async def test_a_malformed_body_is_an_invalid_order_id(settings: Settings, body: bytes) -> None:
    async with serving(settings) as http:
        answer = await http.patch("/api/orders", content=body, headers=signed_in(settings))
    assert (answer.status_code, answer.json()) == (400, {"error": "Invalid order id"})


async def test_an_order_that_nobody_placed_is_not_found(settings: Settings) -> None:
    async with serving(settings) as http:
        answers: list[Any] = [
            await http.patch("/api/orders", json={"id": SOME_ID}, headers=signed_in(settings)),
            await http.post(f"/api/orders/{SOME_ID}/cancel", headers=signed_in(settings)),
        ]
    assert [(answer.status_code, answer.json()) for answer in answers] == [(404, {"error": "Order not found"})] * 2


async def test_with_the_demo_payment_off_patch_marks_nothing(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    production = settings.model_copy(update={"demo_payment": False})
    accepted, recorded = await accept(redis, a_checkout()), await record(engine, a_checkout())
    cancelled, paid = await record(engine, a_checkout(), status=Status.CANCELLED), await accept(redis, a_checkout())
    async with serving(settings) as http:
        await http.patch("/api/orders", json={"id": str(paid)}, headers=signed_in(settings))
    async with serving(production, orders_app.build(production)) as http:
        for order_id, status in ((accepted, "processing"), (recorded, "processing"), (paid, "paid")):
            answer = await http.patch("/api/orders", json={"id": str(order_id)}, headers=signed_in(settings))
            assert (answer.status_code, answer.json()["data"]["status"]) == (200, status)
        for unseen in (str(cancelled), SOME_ID):
            answer = await http.patch("/api/orders", json={"id": unseen}, headers=signed_in(settings))
            assert answer.status_code == 404
        others = await http.patch("/api/orders", json={"id": str(paid)}, headers=signed_in(settings, "boris"))
        assert others.status_code == 404
    assert await moves_in_stream(redis) == ["paid"]


async def test_without_redis_a_move_is_unknown_and_may_be_retried(
    redis: Redis, engine: AsyncEngine, settings: Settings, servers: Servers
) -> None:
    order_id = await record(engine, a_checkout())
    servers.redis.stop()
    async with serving(settings) as http:
        paid = await http.patch("/api/orders", json={"id": str(order_id)}, headers=signed_in(settings))
        cancelled = await http.post(f"/api/orders/{order_id}/cancel", headers=signed_in(settings))
        assert [paid.status_code, cancelled.status_code] == [503, 503]
        assert paid.headers["retry-after"] == "1"
        servers.redis.start()
        again = await http.patch("/api/orders", json={"id": str(order_id)}, headers=signed_in(settings))
        assert again.status_code == 200
