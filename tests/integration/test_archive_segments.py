"""Payloads move out of Postgres and come back whenever they are read; wherever a move dies, nothing is lost."""

import asyncio
import gzip
import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from click.testing import Result
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner

from services.cli.main import app
from services.orders.archive import LIVE
from services.orders.explain_order import explain_order
from services.orders.move_payloads import CannotMove, Crash, Moved, Step, move_payloads, require_age
from services.orders.rebuild_checksum import Checksum, read_checksum
from services.orders.rebuild_tables import rebuild
from services.orders.reconcile import Kind
from services.orders.reconcile_run import reconcile
from services.orders.record_events import record_batch
from services.orders.reload_names import reload_names
from services.orders.replay import make_plan, plan_replay, run_replay, start_replay
from services.orders.replay_source import ReplayRange, Source
from services.orders.segments import SegmentStore, SegmentUnreadable
from services.orders.shadow_replay import shadow_replay
from services.orders.verify_segments import verify_segments
from shared.events import Status
from shared.settings import Settings
from shared.streams import order_key
from tests.builders import KEYBOARDS, MORNING, a_change, a_checkout, a_joined_key, an_entry
from tests.integration.operators import OLGA, consume
from tests.tables import execute, rows

A_MONTH = timedelta(days=30)
ORDERS = 24
KEPT = """
SELECT md5(string_agg(CAST(to_jsonb(event) - 'payload' - 'moved_to' AS text), ',' ORDER BY event_id)) FROM events event
"""


async def a_winter(engine: AsyncEngine) -> list[UUID]:
    """Old orders of two users, a third of them paid; every other one is of keyboards alone."""
    orders = [uuid4() for _ in range(ORDERS)]
    batch = []
    for n, order in enumerate(orders):
        bought = (KEYBOARDS,) if n % 2 else ()
        batch.append(an_entry(a_checkout(f"user_{n % 2}", *bought), order, at=MORNING + n))
        if n % 3 == 0:
            batch.append(an_entry(a_change(order, Status.PAID, f"user_{n % 2}"), at=MORNING + 1000 + n))
    await record_batch(engine, batch, "consumer-1")
    return orders


@pytest.fixture
def store(settings: Settings) -> SegmentStore:
    return SegmentStore(settings.archive_place)


async def move(engine: AsyncEngine, store: SegmentStore, crash_at: Step | None = None) -> Moved:
    """Ten events to a segment."""
    return await move_payloads(engine, store, A_MONTH, most=10, crash_at=crash_at)


async def checksum(engine: AsyncEngine) -> Checksum | None:
    async with engine.connect() as connection:
        return await read_checksum(connection, LIVE)


async def payloads_left(engine: AsyncEngine) -> int:
    return int((await rows(engine, "SELECT count(*) FROM events WHERE payload IS NOT NULL"))[0][0])


def file_of(settings: Settings, moved: Moved, number: int = 0) -> Path:
    return settings.data_dir / "archive" / f"{moved.segments[number].name}.jsonl.gz"


async def test_a_rebuild_from_segments_gives_the_same_rows_and_the_events_keep_all_else(
    settings: Settings, engine: AsyncEngine, store: SegmentStore
) -> None:
    await a_winter(engine)
    before, kept = await checksum(engine), await rows(engine, KEPT)
    would = await move_payloads(engine, store, A_MONTH, dry_run=True)
    assert (would.events, would.segments) == (ORDERS, [])
    assert await payloads_left(engine) == ORDERS + 8
    moved = await move(engine, store)
    assert [segment.events for segment in moved.segments] == [10, 10, 4]
    assert (moved.events, moved.bytes) == (would.events, would.bytes)
    assert await payloads_left(engine) == 8, "changes stay: the consumer reads them again"
    assert await rows(engine, KEPT) == kept
    rebuilt = await rebuild(settings, dry_run=False)
    assert rebuilt.before == rebuilt.after == before == await checksum(engine)
    verified = await verify_segments(engine, store.url)
    assert (verified.segments, verified.events, verified.findings, verified.left_over) == (3, ORDERS, [], [])
    assert (await move(engine, store)).events == 0


@pytest.mark.parametrize("step", Step)
async def test_a_move_that_dies_loses_nothing_and_goes_on(
    settings: Settings, engine: AsyncEngine, store: SegmentStore, step: Step
) -> None:
    await a_winter(engine)
    before = await checksum(engine)
    with pytest.raises(Crash):
        await move(engine, store, step)
    assert await payloads_left(engine) == ORDERS + 8 - (10 if step is Step.COMMITTED else 0)
    verified = await verify_segments(engine, store.url)
    assert verified.findings == []
    assert len(verified.left_over) == (0 if step is Step.COMMITTED else 1)
    await move(engine, store)
    verified = await verify_segments(engine, store.url)
    assert (verified.segments, verified.events, verified.findings, verified.left_over) == (3, ORDERS, [], [])
    assert (await rebuild(settings, dry_run=True)).after == before


class _ShortStore(SegmentStore):
    """Says that all was written, and keeps all but the last byte."""

    async def write(self, name: str, content: bytes) -> None:
        await super().write(name, content[:-1])


async def test_a_store_that_keeps_less_than_it_says_takes_no_payload(
    settings: Settings, engine: AsyncEngine, store: SegmentStore
) -> None:
    await a_winter(engine)
    with pytest.raises(SegmentUnreadable, match="not what was written"):
        await move(engine, _ShortStore(store.url))
    assert await payloads_left(engine) == ORDERS + 8
    await move(engine, store)
    assert (await verify_segments(engine, store.url)).findings == []


async def test_an_altered_event_is_not_moved(engine: AsyncEngine, store: SegmentStore) -> None:
    orders = await a_winter(engine)
    altered = "UPDATE events SET payload = CAST(replace(CAST(payload AS text), '5e5e', 'e5e5') AS json)"
    await execute(engine, f"{altered} WHERE event_id = '{orders[1]}'")
    with pytest.raises(CannotMove, match=str(orders[1])):
        await move(engine, store)
    assert await payloads_left(engine) == ORDERS + 8


async def test_what_redis_may_need_again_is_not_moved(
    settings: Settings, engine: AsyncEngine, redis: Redis, store: SegmentStore
) -> None:
    orders = await a_winter(engine)
    with pytest.raises(CannotMove, match="identity horizon"):
        require_age(timedelta(days=6), settings.identity_horizon)
    [(now,)] = await rows(engine, "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)")
    key, young = uuid4(), uuid4()
    await record_batch(engine, [an_entry(a_joined_key(orders[0], key, "user_0"), at=int(now))], "consumer-1")
    await record_batch(engine, [an_entry(a_checkout(), young, at=int(now))], "consumer-1")
    await move(engine, store)
    left = await rows(engine, "SELECT event_id FROM events WHERE type = 'checkout.completed' AND payload IS NOT NULL")
    assert {event_id for (event_id,) in left} == {orders[0], young}
    assert await reload_names(engine, redis, settings) == 2
    raised = settings.model_copy(update={"identity_days": 100_000})
    assert await reload_names(engine, redis, raised) == ORDERS + 2
    assert b"Keyboard" in (await redis.hget(order_key(orders[3]), "payload") or b"")  # type: ignore[misc,operator]


@pytest.mark.parametrize("chosen", [ReplayRange(), ReplayRange(product="1")])
async def test_a_replay_of_a_moved_range_does_what_its_preview_says(
    settings: Settings, engine: AsyncEngine, redis: Redis, store: SegmentStore, chosen: ReplayRange
) -> None:
    await a_winter(engine)
    await move(engine, store)
    expected = ORDERS + 8 if chosen.product is None else ORDERS // 2
    before = await checksum(engine)
    run = await plan_replay(engine, redis, Source.ARCHIVE, chosen, 5000, OLGA)
    planned = (await make_plan(engine, redis, run.run_id)).planned
    assert planned is not None
    assert (planned["total"], planned["already_there"]) == (expected, expected)
    await consume(engine, redis, settings)
    await start_replay(engine, run.run_id, OLGA)
    replay = asyncio.create_task(run_replay(engine, redis, run.run_id, OLGA))
    while not replay.done():
        await consume(engine, redis, settings)
        await asyncio.wait([replay], timeout=0.05)
    assert (await replay).result == planned
    assert await checksum(engine) == before


async def test_shadow_and_explain_read_back_what_was_moved(
    settings: Settings, engine: AsyncEngine, redis: Redis, store: SegmentStore
) -> None:
    orders = await a_winter(engine)
    told = await explain_order(redis, engine, orders[0])
    await move(engine, store)
    assert await explain_order(redis, engine, orders[0]) == told
    report = await shadow_replay(engine, redis, Source.ARCHIVE, ReplayRange())
    assert (report.events["insert"], report.compared, report.differing) == (ORDERS + 8, ORDERS, 0)


async def test_reconcile_looks_for_moved_orders_and_compares_them_when_told(
    settings: Settings, engine: AsyncEngine, redis: Redis, store: SegmentStore
) -> None:
    orders = await a_winter(engine)
    await move(engine, store)
    looked = await reconcile(settings, fix=False)
    assert (looked.is_clean, looked.orders, looked.moved) == (True, ORDERS, ORDERS)
    await execute(engine, f"UPDATE orders SET total = 1 WHERE id = '{orders[1]}'")
    await execute(engine, f"DELETE FROM order_items WHERE order_id = '{orders[2]}'")
    looked = await reconcile(settings, fix=True)
    assert {(found.kind, found.key, found.is_fixed) for found in looked.discrepancies} == {
        (Kind.MISSING, f"{orders[2]}/1", True),
        (Kind.MISSING, f"{orders[2]}/2", True),
    }
    compared = await reconcile(settings, fix=False, read_moved=True)
    assert [(found.kind, found.key) for found in compared.discrepancies] == [(Kind.DIFFERENT, str(orders[1]))]
    assert compared.moved == 0


async def test_a_moved_event_is_still_known(engine: AsyncEngine, store: SegmentStore) -> None:
    orders = await a_winter(engine)
    await move(engine, store)
    before = await checksum(engine)
    again = an_entry(a_checkout("user_0"), orders[0], at=MORNING)
    other = an_entry(a_checkout("user_0", KEYBOARDS, fingerprint="1d" * 32), orders[0], at=MORNING)
    stolen = an_entry(a_checkout("user_mallory"), orders[0], at=MORNING)
    result = await record_batch(engine, [again, other, stolen], "consumer-1")
    assert [arrival.entry for arrival in result.duplicates] == [again]
    assert {letter.entry: str(letter.reason) for letter in result.buried} == {
        other: "key_reused",
        stolen: "key_reused",
    }
    assert await checksum(engine) == before


def _missing(file: Path) -> None:
    file.unlink()


def _truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def _altered(file: Path) -> None:
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()).replace(b"Headphones", b"Earmuffs__"), mtime=0))


@pytest.fixture
async def reading(settings: Settings, engine: AsyncEngine, redis: Redis) -> dict[str, Any]:
    """Everything that reads payloads, by name."""

    async def plan() -> None:
        run = await plan_replay(engine, redis, Source.ARCHIVE, ReplayRange(), 1000, OLGA)
        await make_plan(engine, redis, run.run_id)

    return {
        "rebuild": lambda _order: rebuild(settings, dry_run=False),
        "replay": lambda _order: plan(),
        "shadow": lambda _order: shadow_replay(engine, redis, Source.ARCHIVE, ReplayRange()),
        "explain": lambda order: explain_order(redis, engine, order),
        "reconcile": lambda _order: reconcile(settings, fix=False, read_moved=True),
    }


@pytest.mark.parametrize("harm", [_missing, _truncated, _altered])
async def test_a_harmed_segment_is_found_and_refused_by_everything_that_reads(
    engine: AsyncEngine, store: SegmentStore, settings: Settings, harm: Any, reading: dict[str, Any]
) -> None:
    orders = await a_winter(engine)
    moved = await move(engine, store)
    before = await checksum(engine)
    harm(file_of(settings, moved))
    [finding] = (await verify_segments(engine, store.url)).findings
    assert finding.startswith(moved.segments[0].name)
    for read in reading.values():
        with pytest.raises(SegmentUnreadable, match=moved.segments[0].name):
            await read(orders[0])
    assert await checksum(engine) == before


async def test_a_row_that_its_segment_does_not_know_is_found_and_refused(
    settings: Settings, engine: AsyncEngine, store: SegmentStore
) -> None:
    orders = await a_winter(engine)
    await move(engine, store)
    await execute(engine, f"UPDATE events SET content_hash = 'forged' WHERE event_id = '{orders[3]}'")
    [finding] = (await verify_segments(engine, store.url)).findings
    assert f"event {orders[3]} is not what was recorded" in finding
    with pytest.raises(SegmentUnreadable, match=f"lacks event {orders[3]}"):
        await rebuild(settings, dry_run=True)


async def test_the_command_moves_with_a_reason_tells_its_segments_and_finds_a_harmed_one(
    settings: Settings, engine: AsyncEngine, store: SegmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_winter(engine)
    monkeypatch.setenv("REDIS_URL", settings.redis_url.get_secret_value())
    monkeypatch.setenv("DATABASE_URL", settings.database_url.get_secret_value())

    async def tillroll(*arguments: str) -> Result:
        command = ["archive", *arguments, "--json", "--data-dir", str(settings.data_dir)]
        return await asyncio.to_thread(CliRunner().invoke, app, command)

    assert "identity horizon" in str((await tillroll("move", "--older-than", "3d", "--why", "room")).exception)
    assert "reason is required" in str((await tillroll("move", "--older-than", "30d")).exception)
    would = json.loads((await tillroll("move", "--older-than", "30d", "--dry-run")).stdout)
    assert (would["events"], would["is_dry_run"], await payloads_left(engine)) == (ORDERS, True, ORDERS + 8)
    moved = json.loads((await tillroll("move", "--older-than", "30d", "--why", "the disk is full")).stdout)
    listed = json.loads((await tillroll("list")).stdout)
    assert [row["place"] for row in listed] == [row["place"] for row in moved["segments"]]
    assert (await tillroll("verify")).exit_code == 0
    _missing(Path(moved["segments"][0]["place"].removeprefix("file://")))
    verified = await tillroll("verify")
    assert (verified.exit_code, len(json.loads(verified.stdout)["findings"])) == (1, 1)
    trail = await rows(engine, "SELECT action, phase, why, result ->> 'events' FROM audit ORDER BY seq")
    assert trail == [
        ("archive move", "begun", "the disk is full", None),
        ("archive move", "done", "the disk is full", str(ORDERS)),
    ]
