"""The cut-over from the old shop's Redis loses nothing, doubles nothing and deletes nothing that is not proven."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.cart.model import CartItem
from services.cart.store import get_cart, put_cart
from services.cli.legacy_cutover import CutOver, cut_over
from services.orders import legacy_import
from services.orders.archive import LIVE
from services.orders.claims import ensure_group
from services.orders.legacy_import import ConsumerIdle
from services.orders.rebuild_checksum import read_checksum
from services.orders.reconcile_run import reconcile
from shared.settings import Settings
from shared.streams import STREAM
from tests.integration.operators import consume
from tests.legacy_shop import an_order, fill, leave
from tests.tables import rows

ORDER = UUID("0b0e9a52-4a3f-4d7e-8b39-0d9a1c6f2e11")


@asynccontextmanager
async def consuming(engine: AsyncEngine, redis: Redis, settings: Settings) -> AsyncIterator[None]:
    """A consumer at work."""

    stopping = asyncio.Event()  # not a cancel: that could leave a connection open

    async def work() -> None:
        while not stopping.is_set():
            await consume(engine, redis, settings)
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), 0.02)

    await ensure_group(redis)
    task = asyncio.create_task(work())
    try:
        yield
    finally:
        stopping.set()
        await task


async def run(settings: Settings, *, dry_run: bool = False, delete: bool = False, tell: Any = None) -> CutOver:
    return await cut_over(settings, None, dry_run=dry_run, with_deletion=delete, tell=tell or (lambda _d, _t: None))


async def checksum(engine: AsyncEngine) -> Any:
    async with engine.connect() as connection:
        return await read_checksum(connection, LIVE)


async def all_keys(redis: Redis, pattern: str = "*") -> set[bytes]:
    return {key async for key in redis.scan_iter(match=pattern, count=1000)}


async def test_a_dry_run_tells_what_a_run_does_and_writes_nothing(
    settings: Settings, engine: AsyncEngine, redis: Redis
) -> None:
    await fill(redis, users=20, orders=100, damaged=5)
    before = await all_keys(redis)
    planned = await run(settings, dry_run=True, delete=True)
    assert await all_keys(redis) == before
    assert await rows(engine, "SELECT 1 FROM events") == []
    async with consuming(engine, redis, settings):
        done = await run(settings)
    assert (planned.orders.published, planned.orders.damages) == (done.orders.published, done.orders.damages)
    assert (done.orders.orders, done.orders.published, done.orders.known, len(done.orders.damages)) == (100, 100, 0, 5)


SIZES = [(200, 1000, 20), *([(10_000, 50_000, 200)] if os.environ.get("TILLROLL_SLOW") == "1" else [])]


@pytest.mark.parametrize(("users", "orders", "damaged"), SIZES)
async def test_every_order_is_imported_once_twice_is_the_same_and_every_damage_is_told(
    settings: Settings, engine: AsyncEngine, redis: Redis, users: int, orders: int, damaged: int
) -> None:
    await fill(redis, users, orders, damaged)
    begun = time.monotonic()
    async with consuming(engine, redis, settings):
        first = await run(settings)
        imported, between = await checksum(engine), time.monotonic()
        length = await redis.xlen(STREAM)
        second = await run(settings)
    print(f"\n{orders} orders: first run {between - begun:.1f} s, second {time.monotonic() - between:.1f} s")
    assert (first.orders.users, first.orders.orders) == (users + damaged, orders)
    assert (first.orders.published, first.orders.known) == (orders, 0)
    assert (second.orders.published, second.orders.known) == (0, orders)
    assert len(first.orders.damages) == len(second.orders.damages) == damaged
    assert {damage.key.split("_")[0] for damage in first.orders.damages} == {"orders:user:lost"}
    assert await redis.xlen(STREAM) == length
    assert await checksum(engine) == imported
    assert imported.rows["orders"] == orders
    assert await rows(engine, "SELECT count(*) FROM order_items WHERE unit_price IS NOT NULL") == [(0,)]
    begun = time.monotonic()
    verdict = await reconcile(settings, fix=False)
    print(f"reconcile {time.monotonic() - begun:.1f} s")
    assert verdict.discrepancies == []
    keys = await all_keys(redis, "orders:*")
    deletion = (await run(settings, delete=True)).deletion
    assert deletion is not None
    assert (len(deletion.deleted), len(deletion.kept)) == (users, damaged)
    assert await all_keys(redis, "orders:*") == {
        key for key in keys if key.startswith((b"orders:user:lost_", b"orders:users"))
    }


async def test_an_order_is_recorded_as_it_was(settings: Settings, engine: AsyncEngine, redis: Redis) -> None:
    await leave(redis, "user_old", [an_order(total="298.50"), an_order(id="ORD-2", status="cancelled", date=...)])
    async with consuming(engine, redis, settings):
        await run(settings)
    assert await rows(
        engine, f"SELECT user_id, total::text, status, created_at::text FROM orders WHERE id = '{ORDER}'"
    ) == [("user_old", "298.50", "paid", "2024-05-06 07:08:09.123+00")]
    assert await rows(engine, "SELECT status FROM orders ORDER BY 1") == [("cancelled",), ("paid",)]
    assert await rows(engine, f"SELECT title, unit_price, quantity FROM order_items WHERE order_id = '{ORDER}'") == [
        ("Mechanical Keyboard", None, 2)
    ]


async def test_an_import_that_was_cut_off_goes_on_where_it_was(
    settings: Settings, engine: AsyncEngine, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(redis, users=50, orders=200, damaged=0)
    monkeypatch.setattr(legacy_import, "_PAGE", 10)

    def die(done: int, _total: int) -> None:
        if done >= 30:
            raise KeyboardInterrupt

    async with consuming(engine, redis, settings):
        with pytest.raises(KeyboardInterrupt):
            await run(settings, tell=die)
        again = await run(settings)
        assert again.orders.published + again.orders.known == 200
        assert (await run(settings)).orders.published == 0
    assert await rows(engine, "SELECT count(*), count(DISTINCT id) FROM orders") == [(200, 200)]
    assert await rows(engine, "SELECT count(*) FROM dead_letters") == [(0,)]


async def test_without_a_consumer_the_import_says_so_and_nothing_is_lost(
    settings: Settings, engine: AsyncEngine, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await leave(redis, "user_old", [an_order()])
    monkeypatch.setattr(legacy_import, "_GIVE_UP_AFTER", 0.3)
    with pytest.raises(ConsumerIdle):
        await run(settings)
    await consume(engine, redis, settings)
    assert (await run(settings)).orders.known == 1


async def test_a_missing_or_broken_index_hides_nobody(settings: Settings, engine: AsyncEngine, redis: Redis) -> None:
    await leave(redis, "user_old", [an_order()])
    assert (await run(settings, dry_run=True)).is_clean
    await redis.set("orders:users", "{")
    broken = await run(settings, dry_run=True)
    assert ([damage.key for damage in broken.orders.damages], broken.orders.orders) == (["orders:users"], 1)
    await redis.set("orders:users", '["user_old", "user_gone"]')
    assert [damage.key for damage in (await run(settings, dry_run=True)).orders.damages] == ["orders:user:user_gone"]


async def test_one_id_belongs_to_one_user(settings: Settings, engine: AsyncEngine, redis: Redis) -> None:
    await leave(redis, "anna", [an_order(userId="anna")])
    await leave(redis, "bert", [an_order(userId="bert")])
    async with consuming(engine, redis, settings):
        result = await run(settings, delete=True)
    assert [damage.key for damage in result.orders.damages] == ["orders:user:bert"]
    assert await rows(engine, "SELECT user_id FROM orders") == [("anna",)]
    assert await rows(engine, "SELECT count(*) FROM dead_letters") == [(0,)]
    assert await all_keys(redis, "orders:*") == {b"orders:user:bert"}


async def test_no_key_is_deleted_while_reconciling_finds_something(
    settings: Settings, engine: AsyncEngine, redis: Redis
) -> None:
    await leave(redis, "user_old", [an_order()])
    async with consuming(engine, redis, settings):
        await run(settings)
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE orders SET total = 1"))
        result = await run(settings, delete=True)
    assert (result.is_reconciled, result.deletion, result.is_clean) == (False, None, False)
    assert await redis.exists("orders:user:user_old")


async def test_a_key_written_meanwhile_is_kept(
    settings: Settings, engine: AsyncEngine, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await leave(redis, "user_old", [an_order()])
    not_archived = legacy_import._not_archived

    async def slowly(*args: Any) -> Any:
        answer = await not_archived(*args)
        await leave(redis, "user_old", [an_order(id="ORD-new"), an_order()])
        return answer

    async with consuming(engine, redis, settings):
        await run(settings)
        monkeypatch.setattr(legacy_import, "_not_archived", slowly)
        result = await legacy_import.delete_keys(redis, engine, {"2": "Mechanical Keyboard"}, dry_run=False)
    assert (result.deleted, result.kept) == ([], ["orders:user:user_old"])
    assert await redis.exists("orders:user:user_old")


async def test_old_carts_are_taken_over_and_never_overwrite_a_cart(settings: Settings, redis: Redis) -> None:
    full, taken, odd, gone = (str(uuid4()) for _ in range(4))
    for session in (full, taken):
        await redis.set(f"cart:{session}", '[{"id": "1", "quantity": 2, "title": "dropped"}]')
    await redis.set(f"cart:{odd}", "[{]")
    await redis.set(f"cart:{gone}", '[{"id": "tape deck", "quantity": 1}]')
    await redis.set("cart:not-a-uuid", "[]")
    await put_cart(redis, taken, [CartItem(id="3", quantity=1)], settings.window)
    for dry_run in (True, False):
        result = await run(settings, dry_run=dry_run)
        assert (result.carts.carts, result.carts.stored, result.carts.known) == (2, 1, 1)
        assert len(result.carts.damages) == 3
    assert (await get_cart(redis, full)).items == (CartItem(id="1", quantity=2),)
    assert (await get_cart(redis, taken)).items == (CartItem(id="3", quantity=1),)
    assert (await run(settings)).carts.stored == 0
    assert len(await all_keys(redis, "cart:*")) == 5
