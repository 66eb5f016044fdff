"""Adding to a cart races with checking it out: each unit is in an order or in the cart, never both, never neither."""

import asyncio
import json
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from shared.events import CheckoutCompleted, decode
from shared.settings import Settings
from shared.streams import STREAM
from tests.shop import Shop, open_shop

ADDERS = 4
UNITS = 1000
PRODUCTS = ("1", "2", "3")
MOST = 99  # of a product in one line
DEADLINE = 120  # seconds


@pytest.fixture
def well_stocked(settings: Settings, tmp_path: Path) -> Settings:
    """The packaged catalogue with more of everything than a cart can hold."""
    products = json.loads(files("services.cart").joinpath("catalog.json").read_text())
    catalog = tmp_path / "catalog.json"
    catalog.write_text(json.dumps([{**product, "stock": UNITS} for product in products]))
    return settings.model_copy(update={"catalog": catalog})


async def test_a_thousand_units_added_while_the_cart_is_checked_out_are_each_sold_once_or_still_there(
    well_stocked: Settings, redis: Redis
) -> None:
    session = str(uuid4())
    async with open_shop(well_stocked) as shop, asyncio.timeout(DEADLINE):
        is_over = asyncio.Event()
        buying = asyncio.create_task(check_out_again_and_again(shop, session, is_over))
        added = await asyncio.gather(*(add_units(shop, session, UNITS // ADDERS) for _ in range(ADDERS)))
        is_over.set()
        sold = await buying
        left, _ = await read(shop, session)
    assert sold
    assert await in_the_log(redis) == sold
    assert sold + left == sum(added, Counter())


async def add_units(shop: Shop, session: str, units: int) -> Counter[str]:
    """One unit after the other, each by GET and PUT with If-Match, again on 412. Answers what was added."""
    added: Counter[str] = Counter()
    while added.total() < units:
        cart, etag = await read(shop, session)
        assert max(cart.values(), default=0) <= MOST
        product = PRODUCTS[added.total() % len(PRODUCTS)]
        if cart[product] == MOST:
            continue  # full until the next checkout
        cart[product] += 1
        answer = await shop.put(session, dict(cart), if_match=etag)
        assert answer.status_code in (200, 412), answer.text
        if answer.status_code == 200:
            added[product] += 1
    return added


async def check_out_again_and_again(shop: Shop, session: str, is_over: asyncio.Event) -> Counter[str]:
    """Buys what is read, each time with a double click; by turns the cart's generation and a key say that it is one.

    Answers what was sold.
    """
    sold: Counter[str] = Counter()
    number = 0
    while not is_over.is_set():
        cart, etag = await read(shop, session)
        if not cart:
            continue
        number += 1
        generation = etag.strip('"').split(".")[0]
        if number % 2:
            names = {"x_cart_session": f"{session}.{generation}"}
        else:
            names = {"x_cart_session": session, "idempotency_key": f"checkout-{number}"}
        answers = await asyncio.gather(*(shop.order("ada", dict(cart), **names) for _ in range(2)))
        fresh = [answer for answer in answers if answer.status_code == 201]
        assert len({answer.json()["data"]["id"] for answer in answers}) == 1
        assert len(fresh) <= 1
        if fresh:
            sold.update(cart)
    return sold


async def read(shop: Shop, session: str) -> tuple[Counter[str], str]:
    """What is in the cart, and its ETag."""
    answer = await shop.read(session)
    return Counter({item["id"]: item["quantity"] for item in answer.json()["data"]}), answer.headers["ETag"]


async def in_the_log(redis: Redis) -> Counter[str]:
    """What was sold by all accepted checkouts."""
    sold: Counter[str] = Counter()
    entries: Any = await redis.xrange(STREAM)
    for _, fields in entries:
        event = decode(fields[b"payload"])
        if isinstance(event, CheckoutCompleted):  # else a key joined one: what was left over were the same items again
            sold.update({line.product_id: line.quantity for line in event.lines})
    return sold
