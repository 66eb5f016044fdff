"""A shadow replay reports what the present code would do differently, and touches no live row."""

from uuid import UUID

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders import write_orders
from services.orders.replay_source import ReplayRange, Source
from services.orders.shadow_replay import shadow_replay
from services.orders.statement import Statement
from shared.events import Status
from shared.settings import Settings
from shared.streams import STREAM
from tests.builders import a_change, a_checkout, fields_of
from tests.integration.operators import checksum, consume
from tests.integration.orders_stage import MOUSE_PAD, accept
from tests.tables import rows

SOURCES = [Source.STREAM, Source.ARCHIVE]
ALL = ReplayRange()


async def a_busy_morning(engine: AsyncEngine, redis: Redis, settings: Settings) -> None:
    """Thirty orders, some with a mouse pad, a third paid; a poison and a conflicting copy between them."""
    for number in range(30):
        lines = (MOUSE_PAD,) if number % 5 == 0 else ()
        order_id = await accept(redis, a_checkout(f"user_{number}", *lines), UUID(int=number + 1))
        if number % 3 == 0:
            await accept(redis, a_change(order_id, Status.PAID, f"user_{number}"))
    await redis.xadd(STREAM, {"payload": "no name"})
    await redis.xadd(STREAM, fields_of(a_checkout("user_7", fingerprint="66" * 32), UUID(int=8)))
    await consume(engine, redis, settings)


@pytest.mark.parametrize("source", SOURCES)
async def test_sound_code_differs_nowhere_and_no_live_row_is_touched(
    engine: AsyncEngine, redis: Redis, settings: Settings, source: Source
) -> None:
    await a_busy_morning(engine, redis, settings)
    before = await checksum(engine, with_versions=True)
    report = await shadow_replay(engine, redis, source, ALL)
    assert (report.compared, report.differing, report.statuses_not_compared) == (30, 0, 0)
    assert report.events["insert"] == 40
    assert await checksum(engine, with_versions=True) == before
    assert await rows(engine, "SELECT count(*) FROM pg_class WHERE relname = 'chosen'") == [(0,)]


@pytest.mark.parametrize("source", SOURCES)
async def test_a_planted_pricing_bug_is_named_order_by_order(
    engine: AsyncEngine, redis: Redis, settings: Settings, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_busy_morning(engine, redis, settings)
    before = await checksum(engine, with_versions=True)
    right = write_orders._INSERT_ORDERS.sql
    monkeypatch.setattr(write_orders, "_INSERT_ORDERS", Statement(right.replace("AS numeric)", "AS numeric) + 1")))
    report = await shadow_replay(engine, redis, source, ReplayRange(product="3"))
    assert (report.compared, report.differing) == (6, 6)
    assert report.differences[0] == {
        "order_id": str(UUID(int=1)),
        "kind": "different",
        "columns": {"total": {"live": "39.50", "shadow": "40.50"}},
    }
    assert await checksum(engine, with_versions=True) == before


async def test_damaged_live_rows_are_named(engine: AsyncEngine, redis: Redis, settings: Settings) -> None:
    await a_busy_morning(engine, redis, settings)
    of_user = "SELECT id FROM orders WHERE user_id"
    async with engine.begin() as connection:
        for statement in (
            "UPDATE orders SET status = 'cancelled' WHERE user_id = 'user_3'",
            f"UPDATE order_items SET quantity = 9 WHERE line = 1 AND order_id = ({of_user} = 'user_4')",
            f"DELETE FROM order_items WHERE order_id = ({of_user} = 'user_5')",
            "DELETE FROM orders WHERE user_id = 'user_5'",
        ):
            await connection.execute(text(statement))
    report = await shadow_replay(engine, redis, Source.STREAM, ALL)
    found = {found["order_id"][-2:]: (found["kind"], sorted(found.get("columns", {}))) for found in report.differences}
    assert found == {
        "04": ("different", ["status"]),
        "05": ("different", ["items"]),
        "06": ("only in the shadow", []),
    }


async def test_a_status_is_not_compared_when_the_range_leaves_moves_out(
    engine: AsyncEngine, redis: Redis, settings: Settings
) -> None:
    await a_busy_morning(engine, redis, settings)
    report = await shadow_replay(engine, redis, Source.ARCHIVE, ReplayRange(type="checkout.completed"))
    assert (report.compared, report.differing, report.statuses_not_compared) == (30, 0, 10)


async def test_an_order_that_the_present_code_would_refuse_is_named(
    engine: AsyncEngine, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_busy_morning(engine, redis, settings)
    strict = (
        write_orders._INSERT_ORDERS.sql + " WHERE CAST(total AS numeric) / (CAST(total AS numeric) - 39.50) IS NOT NULL"
    )
    monkeypatch.setattr(write_orders, "_INSERT_ORDERS", Statement(strict))
    report = await shadow_replay(engine, redis, Source.STREAM, ReplayRange(type="checkout.completed"))
    assert report.events["insert"] == 24
    assert {found["kind"] for found in report.differences} == {"only in the live tables"}
    assert report.differing == 6
