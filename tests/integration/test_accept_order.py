"""Accepting orders over the real Redis: one checkout is one event, whatever is sent, and a refusal leaves nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from shared.settings import Settings
from shared.streams import ACCEPTED_AT, EVENT_ID, NAMES_LOADED, PAYLOAD, STREAM, order_key, overlay_key
from tests.servers import Servers
from tests.shop import Shop, open_shop

HEADPHONES = {"1": 2}
PAD = {"3": 1}


@pytest.fixture
async def shop(settings: Settings) -> AsyncIterator[Shop]:
    async with open_shop(settings) as shop:
        yield shop


async def test_an_accepted_order_is_one_entry_with_its_id_and_is_noted_for_its_user(shop: Shop, redis: Redis) -> None:
    answer = await shop.order("ada", HEADPHONES)
    assert answer.status_code == 201
    order = answer.json()["data"]
    [(_, fields)] = await redis.xrange(STREAM)
    assert fields[EVENT_ID.encode()].decode() == order["id"] == answer.headers["Event-Id"]
    event = json.loads(fields[PAYLOAD.encode()])
    assert event["lines"] == [{"product_id": "1", "title": "Wireless Headphones", "unit_price": "129", "quantity": 2}]
    overlay = await redis.hgetall(overlay_key("ada"))
    [(event_id, noted)] = overlay.items()
    assert event_id.decode() == order["id"]
    assert json.loads(noted) == {"accepted_at": int(fields[ACCEPTED_AT.encode()]), "event": event}


async def test_two_hundred_equal_submissions_at_once_make_one_order_with_one_201(shop: Shop, redis: Redis) -> None:
    cart = await shop.fill(HEADPHONES)
    answers = await asyncio.gather(*(shop.order("ada", HEADPHONES, x_cart_session=cart) for _ in range(200)))
    assert sorted(answer.status_code for answer in answers) == [200] * 199 + [201]
    assert len({answer.text for answer in answers}) == 1
    assert await redis.xlen(STREAM) == 1


async def test_a_known_checkout_is_answered_though_its_price_has_changed(shop: Shop) -> None:
    first = await shop.order("ada", HEADPHONES, idempotency_key="till-roll-1")
    assert first.status_code == 201
    catalog = shop.checkout_app.state.catalog
    dearer = catalog.get("1").model_copy(update={"price": catalog.get("1").price + 1})
    shop.checkout_app.state.catalog = type(catalog)({**catalog._by_id, "1": dearer})
    for names in ({"idempotency_key": "till-roll-1"}, {}):
        again = await shop.order("ada", HEADPHONES, **names)
        assert (again.status_code, again.json()) == (200, first.json())
    new = await shop.order("ada", {"1": 3})
    assert (new.status_code, new.json()) == (400, {"error": "Order total does not match catalog prices"})


async def test_a_key_with_another_payload_is_refused_and_prints_nothing(shop: Shop, redis: Redis) -> None:
    await shop.order("ada", HEADPHONES, idempotency_key="till-roll-1")
    other = await shop.order("ada", PAD, idempotency_key="till-roll-1")
    assert other.status_code == 422
    assert isinstance(other.json()["error"], str)
    assert await redis.xlen(STREAM) == 1


@pytest.mark.parametrize("name", ["x_cart_session", "cookie", "idempotency_key"])
async def test_another_user_with_the_same_name_never_meets_the_order(shop: Shop, name: str) -> None:
    cart = await shop.fill(HEADPHONES)
    names = {"x_cart_session": cart, "cookie": f"cart_session={cart}", "idempotency_key": "till-roll-1"}
    ada = await shop.order("ada", HEADPHONES, **{name: names[name]})
    bob = await shop.order("bob", HEADPHONES, **{name: names[name]})
    assert (ada.status_code, bob.status_code) == (201, 201)
    assert ada.json()["data"]["id"] != bob.json()["data"]["id"]
    assert bob.json()["data"]["userId"] == "bob"


async def test_the_same_cookie_and_items_after_the_carts_day_are_a_second_order(shop: Shop, redis: Redis) -> None:
    session = str(uuid4())
    first = await shop.order("ada", HEADPHONES, cookie=f"cart_session={await shop.fill(HEADPHONES, session)}")
    for key in [*await redis.keys("till:*:cart:*"), *await redis.keys("till:*:name:*")]:
        if await redis.pttl(key) <= 86_400_000:  # a day passes: the cart and the window end, the names stay
            await redis.delete(key)
    second = await shop.order("ada", HEADPHONES, cookie=f"cart_session={await shop.fill(HEADPHONES, session)}")
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["data"]["id"] != second.json()["data"]["id"]


async def test_a_checkout_takes_from_the_cart_exactly_what_was_bought(shop: Shop) -> None:
    session = str(uuid4())
    cart = await shop.fill({"1": 3, "3": 1}, session)
    assert (await shop.order("ada", HEADPHONES, x_cart_session=cart)).status_code == 201
    assert (await shop.read(session)).json()["data"] == [{"id": "1", "quantity": 1}, {"id": "3", "quantity": 1}]


async def test_an_echo_of_the_bought_items_stores_nothing_but_a_put_that_read_the_cart_does(shop: Shop) -> None:
    session = str(uuid4())
    cart = await shop.fill(HEADPHONES, session)
    await shop.order("ada", HEADPHONES, x_cart_session=cart)
    echo = await shop.put(session, HEADPHONES)
    assert (echo.status_code, echo.json()["data"]) == (200, [{"id": "1", "quantity": 2}])
    read = await shop.read(session)
    assert read.json()["data"] == []
    again = await shop.put(session, HEADPHONES, if_match=read.headers["ETag"])
    assert again.status_code == 200
    assert (await shop.read(session)).json()["data"] == [{"id": "1", "quantity": 2}]
    assert (await shop.put(session, PAD, if_match=read.headers["ETag"])).status_code == 412


async def test_without_the_memory_of_names_nothing_new_is_accepted(shop: Shop, redis: Redis) -> None:
    await redis.delete(NAMES_LOADED)
    answer = await shop.order("ada", HEADPHONES, idempotency_key="till-roll-1")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert await redis.keys("*") == []


async def test_a_full_redis_refuses_and_leaves_nothing_half_done(shop: Shop, redis: Redis) -> None:
    session = str(uuid4())
    cart = await shop.fill(HEADPHONES, session)
    before = await redis.dump(f"till:{{0}}:cart:{session}")
    await redis.config_set("maxmemory", 1)
    try:
        answer = await shop.order("ada", HEADPHONES, x_cart_session=cart)
    finally:
        await redis.config_set("maxmemory", 0)
    assert answer.status_code == 503
    assert await redis.xlen(STREAM) == 0
    assert await redis.dump(f"till:{{0}}:cart:{session}") == before
    assert (await shop.order("ada", HEADPHONES, x_cart_session=cart)).status_code == 201


async def test_a_dead_redis_is_a_503_inside_the_clients_patience_and_a_retry_makes_one_order(
    shop: Shop, servers: Servers
) -> None:
    servers.redis.kill()
    async with asyncio.timeout(8):
        answer = await shop.order("ada", HEADPHONES, idempotency_key="till-roll-1")
    assert answer.status_code == 503
    servers.redis.start()
    answers = [await shop.order("ada", HEADPHONES, idempotency_key="till-roll-1") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]


async def test_what_was_answered_201_survives_a_kill_9_of_redis(shop: Shop, redis: Redis, servers: Servers) -> None:
    ids = [
        (await shop.order("ada", {"1": 1}, idempotency_key=f"till-roll-{n}")).json()["data"]["id"] for n in range(20)
    ]
    servers.redis.kill()
    servers.redis.start()
    assert [fields[EVENT_ID.encode()].decode() for _, fields in await redis.xrange(STREAM)] == ids
    again = await shop.order("ada", {"1": 1}, idempotency_key="till-roll-7")
    assert (again.status_code, again.json()["data"]["id"]) == (200, ids[7])


async def test_a_key_that_outlives_its_memory_gets_the_same_order_id(shop: Shop, redis: Redis) -> None:
    first = await shop.order("ada", HEADPHONES, idempotency_key="till-roll-1")
    order_id = first.json()["data"]["id"]
    await redis.delete(order_key(order_id), *await redis.keys("till:*:name:*"))
    later = await shop.order("ada", HEADPHONES, idempotency_key="till-roll-1")
    assert (later.status_code, later.json()["data"]["id"]) == (201, order_id)


async def test_the_application_may_not_erase_redis(redis: Redis) -> None:
    for command in ("FLUSHALL", "FLUSHDB"):
        with pytest.raises(Exception, match=r"(?i)permission"):
            await redis.execute_command(command)
    assert (await redis.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"
    assert (await redis.config_get("appendfsync"))["appendfsync"] == "always"
