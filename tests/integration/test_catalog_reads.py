"""GET /api/products: to the letter of the contract, with the cache in Redis and without it."""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from services.cart.app import build
from shared.settings import Settings
from tests.integration.orders_stage import serving
from tests.servers import Servers

CACHED = "till:{0}:products:*"


@pytest.fixture
async def shop(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the cart service."""
    async with serving(settings, build(settings)) as http:
        yield http


@pytest.mark.parametrize(
    ("path", "ids"),
    [
        ("/api/products", ["1", "2", "3"]),
        ("/api/products?category=", ["1", "2", "3"]),
        ("/api/products?category=Audio", ["1"]),
    ],
)
async def test_products_are_listed_and_the_second_answer_comes_from_redis(
    shop: httpx.AsyncClient, path: str, ids: list[str]
) -> None:
    first, second = (await shop.get(path)).json(), (await shop.get(path)).json()
    assert [product["id"] for product in first["data"]] == ids
    assert first.keys() == {"data"}
    assert second == {**first, "source": "redis"}


async def test_one_product_is_shown_and_the_second_answer_comes_from_redis(shop: httpx.AsyncClient) -> None:
    first, second = (await shop.get("/api/products/2")).json(), (await shop.get("/api/products/2")).json()
    assert first["data"]["title"] == "Mechanical Keyboard"
    assert first["data"]["price"] == 149
    assert "discountPercent" not in first["data"]
    assert second == {**first, "source": "redis"}


async def test_a_cached_answer_lives_for_five_minutes(shop: httpx.AsyncClient, redis: Redis) -> None:
    await shop.get("/api/products")
    (key,) = await redis.keys(CACHED)
    assert 295 <= await redis.ttl(key) <= 300


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/api/products?category=Garden", "Invalid category"),
        ("/api/products?category=audio", "Invalid category"),
        ("/api/products?category=" + "A" * 51, "Invalid category"),
        ("/api/products/4", "Invalid product id"),
        ("/api/products/" + "1" * 21, "Invalid product id"),
        ("/api/products/1%00", "Invalid product id"),
        ("/api/products/1%2F2", "Invalid product id"),
        ("/api/products/%FF", "Invalid product id"),
    ],
)
async def test_what_the_catalogue_does_not_know_is_refused_and_never_cached(
    shop: httpx.AsyncClient, redis: Redis, path: str, text: str
) -> None:
    answer = await shop.get(path)
    assert (answer.status_code, answer.json()) == (400, {"error": text})
    assert await redis.keys(CACHED) == []


async def test_without_redis_the_catalogue_answers_at_once(shop: httpx.AsyncClient, servers: Servers) -> None:
    servers.redis.stop()
    began = time.monotonic()
    for path in ("/api/products", "/api/products/1"):
        answer = await shop.get(path)
        assert answer.status_code == 200
        assert answer.json().keys() == {"data"}
    assert time.monotonic() - began < 2


async def test_a_redis_that_hangs_does_not_hold_the_catalogue(shop: httpx.AsyncClient, redis: Redis) -> None:
    await shop.get("/api/products")
    await redis.client_pause(3_000)
    began = time.monotonic()
    answer = await shop.get("/api/products")
    assert answer.json().keys() == {"data"}
    assert time.monotonic() - began < 2
    await redis.client_unpause()


async def test_a_full_redis_is_no_error_of_the_catalogue(shop: httpx.AsyncClient, redis: Redis) -> None:
    await redis.config_set("maxmemory", 1)
    try:
        for _twice in range(2):
            answer = await shop.get("/api/products")
            assert (answer.status_code, answer.json().keys()) == (200, {"data"})
    finally:
        await redis.config_set("maxmemory", 0)


async def test_a_changed_catalogue_never_serves_what_the_old_one_cached(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "shop.json"
    changed = settings.model_copy(update={"catalog": path})
    async with serving(settings, build(settings)) as http:
        products: list[dict[str, Any]] = (await http.get("/api/products")).json()["data"]
    for price in (99, 98):
        path.write_text(json.dumps([{**products[0], "price": price}, *products[1:]]))
        async with serving(changed, build(changed)) as http:
            answer = (await http.get("/api/products")).json()
            assert answer["data"][0]["price"] == price
            assert "source" not in answer
