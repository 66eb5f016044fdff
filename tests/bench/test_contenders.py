"""What tillroll is compared with does what tillroll does: the same bodies, the same answers, the same rows."""

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.bench.shoppers import Shoppers
from services.bench.world import NoContender, _nginx
from services.orders.entries import entries_of, keep_raw
from services.orders.record_events import record_batch
from shared.settings import Settings
from shared.streams import STREAM
from tests.bench import afternoon, floor_drain, floor_http
from tests.bench.afternoon_writes import write_for
from tests.builders import a_checkout, fields_of, names

BODY = {"items": [{"id": "1", "quantity": 2}, {"id": "3", "quantity": 1}], "total": 297}


async def _order(app: Any, token: str, body: Any = BODY, key: str = "ada-buys-headphones") -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
        return await client.post("/api/orders", json=body, headers=headers)


@pytest.fixture
async def open_afternoon(afternoon_url: str, shoppers: Shoppers, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DATABASE_URL", afternoon_url)
    monkeypatch.setenv("TILLROLL_JWKS", str(shoppers.jwks_file))
    app = afternoon.create_app()
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def open_floor(settings: Settings, shoppers: Shoppers) -> Any:
    app = floor_http.Floor(settings.redis_url.get_secret_value(), shoppers.jwks_file)
    await app.redis.load()
    yield app
    await app.redis.close()


async def test_the_afternoon_version_makes_one_order_of_ten_submissions_at_once(
    open_afternoon: Any, afternoon_url: str, token: str
) -> None:
    answers = await asyncio.gather(*(_order(open_afternoon, token) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] * 9 + [201]
    assert len({answer.text for answer in answers}) == 1
    order = answers[0].json()["data"]
    assert (order["userId"], order["total"], order["items"]) == ("shopper-00000", 297, BODY["items"])
    connection = await asyncpg.connect(afternoon_url)
    try:
        counts = (
            "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM order_items), count(*) FROM idempotency_keys"
        )
        assert tuple(await connection.fetchrow(counts)) == (1, 2, 1)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({**BODY, "total": 298}, 400, "Order total does not match catalog prices"),
        (
            {"items": [{"id": "3", "quantity": 9}], "total": 351},
            409,
            "Insufficient stock for Gaming Mouse Pad: requested 9, available 8",
        ),
    ],
)
async def test_the_afternoon_version_checks_prices_and_stock(
    open_afternoon: Any, token: str, body: Any, status: int, text: str
) -> None:
    answer = await _order(open_afternoon, token, body)
    assert (answer.status_code, answer.json()) == (status, {"error": text})


async def test_the_afternoon_version_refuses_a_forged_token_and_a_reused_key(open_afternoon: Any, token: str) -> None:
    head, claims, signature = token.split(".")
    assert (await _order(open_afternoon, f"{head}.{claims}.{signature[::-1]}")).status_code == 401
    assert (await _order(open_afternoon, token)).status_code == 201
    other = {"items": [{"id": "1", "quantity": 1}], "total": 129}
    assert (await _order(open_afternoon, token, other)).status_code == 422


async def test_the_write_path_of_the_afternoon_version_counts_what_it_wrote(
    afternoon_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", afternoon_url)
    written, seconds, cpu = await write_for(0.2)
    connection = await asyncpg.connect(afternoon_url)
    try:
        assert written == await connection.fetchval("SELECT count(*) FROM orders") > 0
    finally:
        await connection.close()
    assert 0 < cpu <= seconds * 2
    assert seconds >= 0.2


async def test_the_floor_of_accepting_prints_what_the_product_records(
    open_floor: Any, token: str, redis: Redis, engine: AsyncEngine
) -> None:
    answers = await asyncio.gather(*(_order(open_floor, token) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] * 9 + [201]
    order = next(answer.json()["data"] for answer in answers if answer.status_code == 201)
    assert (order["userId"], order["total"], order["items"]) == ("shopper-00000", 297, BODY["items"])
    keep_raw(redis)
    entries = entries_of(await redis.xrange(STREAM))
    result = await record_batch(engine, entries, "consumer-1")
    assert [str(arrival.event_id) for arrival in result.recorded] == [order["id"]]
    assert not result.buried


async def test_the_floor_of_accepting_refuses_what_it_must(open_floor: Any, token: str, redis: Redis) -> None:
    assert (await _order(open_floor, token + "x")).status_code == 401
    assert (await _order(open_floor, token, {**BODY, "total": 298})).status_code == 400
    assert (await _order(open_floor, token, {"items": [{"id": "9", "quantity": 1}], "total": 1})).status_code == 400
    assert not await redis.exists(STREAM)


async def test_the_floor_of_recording_writes_the_rows_that_the_consumer_writes(
    settings: Settings, redis: Redis, engine: AsyncEngine
) -> None:
    for number in range(3):
        event = a_checkout(f"user_{number}", names=names())
        await redis.xadd(STREAM, fields_of(event))
    keep_raw(redis)
    raw: Any = await redis.xrange(STREAM)
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    tables = ("orders", "order_items", "order_statuses")
    try:
        await floor_drain.record(connection, raw)
        by_floor = [await connection.fetch(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables]
        assert [len(rows) for rows in by_floor] == [3, 6, 3]
        archived = "SELECT event_id, user_id, payload, entry_id, accepted_at FROM events ORDER BY 1"
        archive = await connection.fetch(archived)
        await connection.execute("TRUNCATE events, orders, order_items, order_statuses CASCADE")
        await record_batch(engine, entries_of(raw), "consumer-1")
        assert [await connection.fetch(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables] == by_floor
        assert await connection.fetch(archived) == archive
    finally:
        await connection.close()


def test_the_bodies_of_the_load_are_the_ones_that_are_summed_up(shoppers: Shoppers) -> None:
    prices = {"1": 129, "2": 149, "3": 39}
    for body, total in zip(shoppers.bodies, shoppers.totals, strict=True):
        read = json.loads(body)
        assert sum(prices[item["id"]] * item["quantity"] for item in read["items"]) == read["total"] == total
    assert Path(shoppers.bodies_file).read_text().split("\n")[:-1] == list(shoppers.bodies)


def test_the_gateway_of_a_deployment_can_be_written_for_a_benchmark(tmp_path: Path) -> None:
    try:
        argv = _nginx(tmp_path, 8080, (8081, 8082))
    except NoContender as fault:
        pytest.skip(str(fault))
    text = (tmp_path / "nginx.conf").read_text()
    assert "listen 127.0.0.1:8080" in text
    assert text.count("server 127.0.0.1:8081 fail_timeout=1s; server 127.0.0.1:8082 fail_timeout=1s;") == 4
    assert "${" not in text
    assert str(tmp_path / "nginx.conf") in argv
