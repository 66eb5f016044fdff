"""A payment session is a name of its checkout: whoever comes first, POST, session or payment, there is one order."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.reload_names import reload_names
from shared.settings import Settings
from shared.streams import NAMES_LOADED, STREAM
from tests.payments import PaidShop, Recorder
from tests.stripe_fake import FakeStripe

HEADPHONES = {"1": 1}
PADS = {"3": 2}


async def fill(shop: PaidShop, items: dict[str, int], session: str | None = None) -> str:
    body = {"items": [{"id": product, "quantity": quantity} for product, quantity in items.items()]}
    answer = await shop.http.put(f"/api/cart/{session or uuid4()}", json=body)
    shop.http.cookies.clear()
    return str(answer.cookies["cart_session"])


async def test_session_first_a_submission_gets_the_id_that_the_session_fixed_and_is_201_once(shop: PaidShop) -> None:
    session_id, order_id = await shop.session("ada", HEADPHONES)
    assert (await shop.find("ada", session_id)).status_code == 404
    first, again = [await shop.order("ada", HEADPHONES) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert first.json()["data"]["id"] == order_id
    assert first.json()["data"]["stripeSessionId"] == session_id


async def test_post_first_the_session_shares_the_orders_id(shop: PaidShop, stripe: FakeStripe) -> None:
    order_id = (await shop.order("ada", HEADPHONES)).json()["data"]["id"]
    session_id, shared_id = await shop.session("ada", HEADPHONES)
    assert shared_id == order_id == stripe.sessions[session_id]["metadata"]["event_id"]


async def test_payment_first_the_order_exists_paid_and_a_submission_finds_it(shop: PaidShop, redis: Redis) -> None:
    session_id, order_id = await shop.session("ada", HEADPHONES)
    assert (await shop.pay(session_id)).json() == {"received": True}
    late = await shop.order("ada", HEADPHONES)
    assert (late.status_code, late.json()["data"]["id"], late.json()["data"]["status"]) == (200, order_id, "paid")
    assert await redis.xlen(STREAM) == 3, "the session, the order, the payment"


async def test_a_payment_that_comes_again_and_again_is_booked_once(
    shop: PaidShop, redis: Redis, recorder: Recorder
) -> None:
    session_id, order_id = await shop.session("ada", HEADPHONES)
    await asyncio.gather(*(shop.pay(session_id) for _ in range(5)))
    await recorder.record()
    await shop.pay(session_id)
    assert await redis.xlen(STREAM) == 3
    assert await recorder.rows() == [(order_id, "ada", "paid", session_id)]
    assert await recorder.letters() == []


@pytest.mark.parametrize("is_post_first", [False, True])
async def test_the_order_is_found_by_its_session_from_the_first_moment_and_by_its_owner_alone(
    shop: PaidShop, recorder: Recorder, is_post_first: bool
) -> None:
    if is_post_first:
        await shop.order("ada", HEADPHONES)
        await recorder.record()
    session_id, order_id = await shop.session("ada", HEADPHONES)
    if not is_post_first:
        await shop.order("ada", HEADPHONES)
    for _ in ("accepted", "recorded"):
        found = await shop.find("ada", session_id)
        assert found.status_code == 200, found.text
        assert (found.json()["data"]["id"], found.json()["data"]["stripeSessionId"]) == (order_id, session_id)
        assert (await shop.find("bob", session_id)).status_code == 404
        paid = await shop.call("ada", "PATCH", "/api/orders", {"id": order_id})
        assert paid.json()["data"]["stripeSessionId"] == session_id
        await recorder.record()
    assert await recorder.rows() == [(order_id, "ada", "paid", session_id)]


async def test_a_session_that_is_recorded_before_its_order_still_reaches_the_row(
    shop: PaidShop, recorder: Recorder
) -> None:
    session_id, order_id = await shop.session("ada", HEADPHONES)
    assert await recorder.record() == 1
    await shop.order("ada", HEADPHONES)
    await recorder.record()
    assert await recorder.rows() == [(order_id, "ada", "processing", session_id)]


async def test_opening_again_and_at_once_is_the_same_session_and_one_event(
    shop: PaidShop, stripe: FakeStripe, redis: Redis
) -> None:
    made = len(stripe.sessions)
    answers = await asyncio.gather(*(shop.open("ada", HEADPHONES) for _ in range(8)))
    assert {answer.json()["data"]["id"] for answer in answers} == {list(stripe.sessions)[-1]}
    assert len(stripe.sessions) == made + 1
    assert await redis.xlen(STREAM) == 1


async def test_another_user_with_the_same_items_has_a_session_and_an_order_of_her_own(shop: PaidShop) -> None:
    ada, bob = [await shop.session(user, HEADPHONES) for user in ("ada", "bob")]
    assert ada[0] != bob[0]
    assert ada[1] != bob[1]
    assert (await shop.order("bob", HEADPHONES)).json()["data"]["id"] == bob[1]


async def test_the_session_keeps_the_price_of_its_day(shop: PaidShop) -> None:
    session_id, order_id = await shop.session("ada", HEADPHONES)
    state: Any = shop.http._transport.app.app.state  # type: ignore[attr-defined]
    catalog = state.catalog
    dearer = catalog.get("1").model_copy(update={"price": catalog.get("1").price + 1})
    state.catalog = type(catalog)({**catalog._by_id, "1": dearer})
    placed = await shop.order("ada", HEADPHONES)
    assert (placed.status_code, placed.json()["data"]["id"]) == (201, order_id)
    assert (await shop.pay(session_id)).status_code == 200


async def test_a_key_is_shared_by_session_and_submission_and_a_second_key_means_a_second_order(shop: PaidShop) -> None:
    _, order_id = await shop.session("ada", HEADPHONES, idempotency_key="till-roll-1")
    keyless = await shop.order("ada", HEADPHONES)
    keyed = await shop.order("ada", HEADPHONES, idempotency_key="till-roll-1")
    assert [answer.json()["data"]["id"] for answer in (keyless, keyed)] == [order_id] * 2
    assert [answer.status_code for answer in (keyless, keyed)] == [201, 200]
    second = await shop.order("ada", HEADPHONES, idempotency_key="till-roll-2")
    assert (second.status_code, second.json()["data"]["id"] != order_id) == (201, True)
    other = await shop.order("ada", PADS, idempotency_key="till-roll-1")
    assert other.status_code == 422


async def test_a_second_key_while_a_session_is_open_leaves_the_session_its_order(shop: PaidShop) -> None:
    session_id, order_id = await shop.session("ada", HEADPHONES, idempotency_key="till-roll-1")
    second = await shop.order("ada", HEADPHONES, idempotency_key="till-roll-2")
    assert (second.status_code, second.json()["data"]["id"] != order_id) == (201, True)
    await shop.pay(session_id)
    listed = (await shop.call("ada", "GET", "/api/orders")).json()["data"]
    assert {order["id"]: order["status"] for order in listed} == {
        order_id: "paid",
        second.json()["data"]["id"]: "processing",
    }


async def test_a_new_key_joins_the_checkout_of_a_session_that_was_opened_without_one(shop: PaidShop) -> None:
    session_id, order_id = await shop.session("ada", HEADPHONES)
    await shop.pay(session_id)
    keyed = await shop.order("ada", HEADPHONES, idempotency_key="till-roll-1")
    assert (keyed.status_code, keyed.json()["data"]["id"]) == (200, order_id)


async def test_a_key_whose_session_is_open_is_refused_with_another_payload(shop: PaidShop) -> None:
    await shop.session("ada", HEADPHONES, idempotency_key="till-roll-1")
    assert (await shop.order("ada", PADS, idempotency_key="till-roll-1")).status_code == 422
    assert (await shop.open("ada", PADS, idempotency_key="till-roll-1")).status_code == 422


async def test_the_payment_takes_the_cart_that_its_session_was_opened_with(shop: PaidShop) -> None:
    cart = await fill(shop, HEADPHONES)
    session_id, order_id = await shop.session("ada", HEADPHONES, x_cart_session=cart)
    await shop.pay(session_id)
    assert (await shop.http.get(f"/api/cart/{cart.partition('.')[0]}")).json() == {"data": []}
    late = await shop.order("ada", HEADPHONES, x_cart_session=cart)
    assert (late.status_code, late.json()["data"]["id"]) == (200, order_id)


async def test_there_is_nothing_to_pay_for_an_order_that_is_paid_or_cancelled(shop: PaidShop) -> None:
    key = {"idempotency_key": "till-roll-1"}
    session_id, order_id = await shop.session("ada", HEADPHONES, **key)
    await shop.pay(session_id)
    paid = await shop.open("ada", HEADPHONES, **key)
    assert (paid.status_code, paid.json()) == (409, {"error": "The order is paid already", "orderId": order_id})
    placed = await shop.order("ada", PADS, idempotency_key="till-roll-2")
    await shop.call("ada", "POST", f"/api/orders/{placed.json()['data']['id']}/cancel")
    assert (await shop.open("ada", PADS, idempotency_key="till-roll-2")).status_code == 409
    fresh = await shop.open("ada", PADS)
    assert fresh.json()["data"]["orderId"] != placed.json()["data"]["id"], "a cancel ends the weak names"


async def test_fifty_lines_and_a_user_of_255_characters_fit_into_stripes_metadata(shop: PaidShop) -> None:
    user = "ä" * 255
    items = [{"id": "1", "quantity": 1} for _ in range(25)] + [{"id": "2", "quantity": 1} for _ in range(15)]
    body = {"items": items, "total": 25 * 129 + 15 * 149}
    body["items"] += [{"id": "3", "quantity": 1}] * 8
    body["total"] += 8 * 39
    opened = await shop.call(user, "POST", "/api/checkout/sessions", body)
    assert opened.status_code == 200, opened.text
    assert (await shop.pay(opened.json()["data"]["id"])).status_code == 200
    [order] = (await shop.call(user, "GET", "/api/orders")).json()["data"]
    assert (order["items"], order["status"]) == (body["items"], "paid")


async def test_all_of_it_comes_back_after_redis_lost_its_data(
    shop: PaidShop, redis: Redis, recorder: Recorder, engine: AsyncEngine, settings: Settings
) -> None:
    session_id, order_id = await shop.session("ada", HEADPHONES)
    order = (await shop.order("bob", PADS)).json()["data"]["id"]
    of_bob, _ = await shop.session("bob", PADS)
    await recorder.record()
    for key in await redis.keys("till:*"):
        if b":events" not in key:
            await redis.delete(key)
    assert (await shop.order("ada", HEADPHONES)).status_code == 503
    assert (await shop.open("ada", HEADPHONES)).status_code == 503
    assert (await shop.pay(session_id)).status_code == 500, "Stripe sends it again"
    await reload_names(engine, redis, settings)
    assert await redis.exists(NAMES_LOADED)
    assert (await shop.session("bob", PADS)) == (of_bob, order)
    placed = await shop.order("ada", HEADPHONES)
    assert (placed.status_code, placed.json()["data"]["id"]) == (201, order_id)
    assert placed.json()["data"]["stripeSessionId"] == session_id
    assert (await shop.find("bob", of_bob)).json()["data"]["id"] == order


async def test_a_payment_after_everything_was_forgotten_is_the_same_order(
    shop: PaidShop, redis: Redis, recorder: Recorder
) -> None:
    """Beyond the horizon, or before anything of the session was recorded: its metadata says it all."""
    session_id, order_id = await shop.session("ada", HEADPHONES)
    of_bob, order_of_bob = await shop.session("bob", PADS)
    await shop.order("bob", PADS)
    await recorder.record()
    for key in await redis.keys("till:*:*:*"):
        await redis.delete(key)
    await shop.pay(session_id)
    await shop.pay(of_bob)
    await recorder.record()
    assert await recorder.rows() == [(order_of_bob, "bob", "paid", of_bob), (order_id, "ada", "paid", session_id)]
    assert (await shop.find("ada", session_id)).json()["data"]["status"] == "paid"
    assert await recorder.letters() == []
