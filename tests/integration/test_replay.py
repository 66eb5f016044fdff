"""A replay delivers events again and changes nothing that is recorded; what its preview says is what happens."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders import replay
from services.orders.claims import ensure_group
from services.orders.entries import entries_of
from services.orders.replay_preview import open_preview
from services.orders.replay_runs import Status, list_run_events
from services.orders.replay_source import ReplayRange, raw_reader
from shared.events import Status as OrderStatus
from shared.settings import Settings
from shared.streams import STREAM, overlay_key
from tests.builders import MORNING, a_change, a_checkout, an_entry, fields_of
from tests.integration.operators import checksum, consume
from tests.integration.orders_stage import MOUSE_PAD, accept
from tests.integration.replay_stage import counts, go, preview
from tests.tables import rows


async def a_day_of_the_shop(engine: AsyncEngine, redis: Redis, settings: Settings) -> list[UUID]:
    """Recorded: two orders, one paid, a poison. Deleted from the tables since: one order and its events."""
    anna, boris, carla = [await accept(redis, a_checkout(name)) for name in ("anna", "boris", "carla")]
    await accept(redis, a_change(anna, OrderStatus.PAID, "anna"))
    await redis.xadd(STREAM, {"payload": "no name"})
    await redis.xadd(STREAM, fields_of(a_checkout("boris", fingerprint="66" * 32), boris))
    await consume(engine, redis, settings)
    async with engine.begin() as connection:
        for statement in (
            "DELETE FROM order_items WHERE order_id = :id",
            "DELETE FROM orders WHERE id = :id",
            "DELETE FROM order_statuses WHERE order_id = :id",
            "DELETE FROM events WHERE order_id = :id",
        ):
            await connection.execute(text(statement), {"id": carla})
    return [anna, boris, carla]


async def test_the_run_does_to_the_unit_what_its_preview_said(
    engine: AsyncEngine, redis: Redis, settings: Settings
) -> None:
    carla = (await a_day_of_the_shop(engine, redis, settings))[2]
    before = await checksum(engine, with_versions=True)
    planned = await preview(engine, redis)
    assert planned.planned == counts(insert=1, already_there=3, conflict=1, reject=1)
    assert (await checksum(engine, with_versions=True), await redis.xlen(STREAM)) == (before, 6)
    told = {row["planned"]: (row["event_id"], row["detail"]) for row in await list_run_events(engine, planned.run_id)}
    assert told["insert"] == (carla, "")
    assert told["reject"] == (None, "missing_event_id")
    assert told["conflict"][1] == "key_reused"
    finished = await go(engine, redis, settings, planned)
    assert (finished.status, finished.sent, finished.result) == (Status.FINISHED, 6, planned.planned)
    events = await list_run_events(engine, planned.run_id)
    assert [row["planned"] for row in events] == [row["outcome"] for row in events]
    assert await rows(engine, "SELECT count(*) FROM orders WHERE id = :id", id=carla) == [(1,)]


async def test_replaying_what_is_recorded_changes_no_row_and_no_overlay(
    engine: AsyncEngine, redis: Redis, settings: Settings
) -> None:
    for number in range(120):
        await accept(redis, a_checkout(f"user_{number % 7}"), UUID(int=number + 1))
    await accept(redis, a_change(UUID(int=1), OrderStatus.CANCELLED, "user_0"))
    await consume(engine, redis, settings)
    await redis.hset(overlay_key("user_0"), str(UUID(int=999)), b"of an order on its way")
    before = await checksum(engine, with_versions=True)
    for source in ("stream", "archive"):
        finished = await go(engine, redis, settings, await preview(engine, redis, source=source))
        assert finished.result == finished.planned == counts(already_there=121)
    assert await checksum(engine, with_versions=True) == before
    assert await redis.hkeys(overlay_key("user_0")) == [str(UUID(int=999)).encode()]


async def test_a_preview_sees_what_earlier_events_of_its_range_do(
    engine: AsyncEngine, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change before its order, the order twice, a second change that contradicts: across pages."""
    monkeypatch.setattr(replay, "_PLAN_PAGE", 1)
    order_id = uuid4()
    await accept(redis, a_change(order_id), accepted_at=MORNING + 1)
    await accept(redis, a_checkout(), order_id)
    await accept(redis, a_checkout(), order_id)
    await accept(redis, a_change(order_id, OrderStatus.CANCELLED), accepted_at=MORNING + 2)
    planned = await preview(engine, redis)
    assert [row["planned"] for row in await list_run_events(engine, planned.run_id)] == [
        "insert", "insert", "already_there", "reject",
    ]  # fmt: skip
    await ensure_group(redis)
    await redis.xgroup_setid(STREAM, "orders", "$")  # nobody has recorded them yet
    finished = await go(engine, redis, settings, planned)
    assert finished.result == planned.planned


async def test_a_preview_knows_that_a_change_is_refused_only_when_its_order_comes(
    engine: AsyncEngine, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "_PLAN_PAGE", 1)
    order_id = uuid4()
    await accept(redis, a_change(order_id, OrderStatus.CANCELLED), accepted_at=MORNING + 1)
    await accept(redis, a_change(order_id), accepted_at=MORNING + 2)
    await accept(redis, a_checkout(), order_id)
    planned = await preview(engine, redis)
    assert planned.planned == counts(insert=2, reject=1)
    await ensure_group(redis)
    await redis.xgroup_setid(STREAM, "orders", "$")
    monkeypatch.setattr(replay, "_SEND_PAGE", 1)
    one_by_one = settings.model_copy(update={"batch_size": 1})
    finished = await go(engine, redis, one_by_one, planned)
    assert finished.result == planned.planned
    events = await list_run_events(engine, planned.run_id)
    assert [(row["planned"], row["outcome"]) for row in events] == [
        ("insert", "insert"), ("reject", "reject"), ("insert", "insert"),
    ]  # fmt: skip


async def test_a_preview_whose_connection_is_cut_writes_no_live_row(engine: AsyncEngine, redis: Redis) -> None:
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tillroll-scratch'"
    async with open_preview(engine) as judge:
        await judge.judge([an_entry(a_checkout()).fields])
        await rows(engine, cut)
        for _ in range(3):
            with pytest.raises(DBAPIError):
                await judge.judge([an_entry(a_checkout()).fields])
    assert await rows(engine, "SELECT count(*) FROM events") == [(0,)]


async def test_every_filter_chooses_from_stream_and_archive_alike(
    engine: AsyncEngine, redis: Redis, settings: Settings
) -> None:
    anna = await accept(redis, a_checkout("anna"), accepted_at=MORNING)
    boris = await accept(redis, a_checkout("boris", MOUSE_PAD), accepted_at=MORNING + 60_000)
    paid = await accept(redis, a_change(anna, OrderStatus.PAID, "anna"), accepted_at=MORNING + 120_000)
    await consume(engine, redis, settings)
    ids = [entry.entry_id for entry in entries_of(await raw_reader(redis).xrange(STREAM))]
    minute = datetime.fromtimestamp(MORNING / 1000 + 60, UTC)
    cases: list[tuple[dict[str, Any], list[UUID]]] = [
        ({}, [anna, boris, paid]),
        ({"user": "anna"}, [anna, paid]),
        ({"order": anna}, [anna, paid]),
        ({"event": paid}, [paid]),
        ({"product": "3"}, [boris]),
        ({"type": "order.status_changed"}, [paid]),
        ({"from": minute}, [boris, paid]),
        ({"to": minute}, [anna]),
        ({"first": ids[1]}, [boris, paid]),
        ({"last": ids[1]}, [anna, boris]),
        ({"first": ids[1], "last": ids[1]}, [boris]),
        ({"first": ids[2].partition("-")[0], "last": ids[2].partition("-")[0], "event": paid}, [paid]),
        ({"user": "anna", "product": "3"}, []),
    ]
    for given, expected in cases:
        for source in ("stream", "archive"):
            run = await preview(engine, redis, ReplayRange(**given), source)
            found = [row["event_id"] for row in await list_run_events(engine, run.run_id)]
            assert found == expected, (given, source)
