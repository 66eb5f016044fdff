"""Orders, line items and statuses can be made anew from the archive alone, while everybody goes on."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.archive import LIVE
from services.orders.migrate import migrate
from services.orders.rebuild_checksum import CHECKSUM, Checksum, read_checksum
from services.orders.rebuild_tables import SCRATCH, CannotRebuild, rebuild
from services.orders.record_events import record_batch
from services.orders.reload_names import reload_names
from shared.events import Status
from shared.settings import Settings
from shared.streams import NAMES_LOADED
from tests.builders import MORNING, a_change, a_checkout, a_joined_key, an_entry
from tests.tables import execute

DAY = 150  # orders


@pytest.fixture
async def engine(engine: AsyncEngine, settings: Settings) -> AsyncIterator[AsyncEngine]:
    """The tables may be gone after a test that failed: the next one finds them again."""
    yield engine
    if await checksum(engine) is None or not await exists(engine, "dead_letters"):
        await execute(engine, f"DROP SCHEMA {LIVE} CASCADE", f"CREATE SCHEMA {LIVE}")
        await asyncio.to_thread(migrate, settings.database_url.get_secret_value())


async def checksum(engine: AsyncEngine) -> Checksum | None:
    async with engine.connect() as connection:
        return await read_checksum(connection, LIVE)


async def exists(engine: AsyncEngine, table: str) -> bool:
    async with engine.connect() as connection:
        return (await connection.execute(text(f"SELECT to_regclass('{table}')"))).scalar() is not None


def is_archive(table: str) -> bool:
    return re.fullmatch(r"events(_\d+)?", table) is not None


async def a_day(engine: AsyncEngine) -> list[UUID]:
    """A day's orders: a third paid, a sixth cancelled, some with a key that joined, a move that waits for its order."""
    orders = [uuid4() for _ in range(DAY)]
    batch = [an_entry(a_checkout(f"user_{n % 7}"), order, at=MORNING + n) for n, order in enumerate(orders)]
    for n, order in enumerate(orders):
        user = f"user_{n % 7}"
        if n % 6 in (0, 1, 2):
            status = Status.CANCELLED if n % 6 == 2 else Status.PAID
            batch.append(an_entry(a_change(order, status, user), at=MORNING + 1000 + n))
        if n % 10 == 0:
            batch.append(an_entry(a_joined_key(order, uuid4(), user), at=MORNING + 1000 + n))
    orphan = an_entry(a_change(uuid4()), at=MORNING + 5)
    await record_batch(engine, [orphan], "consumer-1")
    await record_batch(engine, batch, "consumer-1")
    return orders


async def test_the_new_tables_are_equal_to_the_old_ones(settings: Settings, engine: AsyncEngine) -> None:
    await a_day(engine)
    before = await checksum(engine)
    told: list[tuple[int, int]] = []
    rebuilt = await rebuild(settings, dry_run=False, tell=lambda done, total: told.append((done, total)))
    assert rebuilt.before == rebuilt.after == before == await checksum(engine)
    assert before is not None
    assert before.rows == {"orders": DAY, "order_items": 2 * DAY, "order_statuses": DAY + 1}
    assert told[-1] == (rebuilt.events, rebuilt.events)
    assert not await exists(engine, f"{SCRATCH}.orders")


async def test_damage_is_undone_and_the_checksums_say_that_there_was_some(
    settings: Settings, engine: AsyncEngine
) -> None:
    orders = await a_day(engine)
    sound = await checksum(engine)
    await execute(engine, f"UPDATE orders SET total = total + 1 WHERE id = '{orders[3]}'")
    await execute(engine, f"DELETE FROM order_items WHERE order_id = '{orders[4]}' AND line = 2")
    damaged = await checksum(engine)
    compared = await rebuild(settings, dry_run=True)
    assert (compared.before, compared.after, compared.is_swapped) == (damaged, sound, False)
    assert await checksum(engine) == damaged, "a dry run changes nothing"
    rebuilt = await rebuild(settings, dry_run=False)
    assert (rebuilt.before, rebuilt.after, rebuilt.is_swapped) == (damaged, sound, True)
    assert await checksum(engine) == sound


async def test_every_table_but_the_archive_may_be_gone_and_redis_too(
    settings: Settings, engine: AsyncEngine, redis: Redis
) -> None:
    orders = await a_day(engine)
    sound = await checksum(engine)
    async with engine.connect() as connection:
        tables = (await connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))).all()
    await execute(engine, f"DROP TABLE {', '.join(name for (name,) in tables if not is_archive(name))} CASCADE")
    async for key in redis.scan_iter():
        await redis.delete(key)
    rebuilt = await rebuild(settings, dry_run=False)
    assert rebuilt.before is None
    assert rebuilt.after == sound == await checksum(engine)
    async with engine.connect() as connection:
        after = (await connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))).all()
    assert sorted(after) == sorted(tables)
    await asyncio.to_thread(migrate, settings.database_url.get_secret_value())  # finds nothing to do
    within_horizon = settings.model_copy(update={"identity_days": 100_000})
    assert await reload_names(engine, redis, within_horizon) == DAY + DAY // 10
    assert await redis.exists(NAMES_LOADED)
    again = await record_batch(engine, [an_entry(a_checkout("user_0"), orders[0])], "consumer-1")
    assert len(again.duplicates) == 1


async def test_orders_recorded_meanwhile_are_neither_lost_nor_refused(settings: Settings, engine: AsyncEngine) -> None:
    await a_day(engine)
    recorded: list[UUID] = []
    is_over = asyncio.Event()

    async def consume(name: str) -> None:
        while not is_over.is_set():
            order = uuid4()
            batch = [an_entry(a_checkout(name), order), an_entry(a_change(order, user=name))]
            result = await record_batch(engine, batch, name)
            assert not result.buried
            recorded.append(order)

    consumers = [asyncio.create_task(consume(f"consumer-{number}")) for number in (1, 2, 3)]
    for _ in range(3):
        rebuilt = await rebuild(settings, dry_run=False)
        assert rebuilt.before == rebuilt.after
    is_over.set()
    await asyncio.gather(*consumers)
    assert recorded
    async with engine.connect() as connection:
        paid = set((await connection.execute(text("SELECT id FROM orders WHERE status = 'paid'"))).scalars())
    assert set(recorded) <= paid
    final = await rebuild(settings, dry_run=True)
    assert final.before == final.after


async def test_who_could_read_the_old_tables_can_read_the_new_ones(settings: Settings, engine: AsyncEngine) -> None:
    await a_day(engine)
    await execute(engine, "CREATE ROLE reporting")
    try:
        await execute(engine, "GRANT SELECT ON orders TO reporting")
        await rebuild(settings, dry_run=False)
        await execute(engine, "SET LOCAL ROLE reporting", "SELECT count(*) FROM orders")
        with pytest.raises(ProgrammingError, match="permission denied"):
            await execute(engine, "SET LOCAL ROLE reporting", "SELECT count(*) FROM order_items")
    finally:
        await execute(engine, "DROP OWNED BY reporting", "DROP ROLE reporting")


async def test_a_view_of_somebody_else_stops_the_swap_and_nothing_is_changed(
    settings: Settings, engine: AsyncEngine
) -> None:
    await a_day(engine)
    before = await checksum(engine)
    await execute(engine, "CREATE VIEW turnover AS SELECT sum(total) FROM orders")
    try:
        with pytest.raises(CannotRebuild, match="depend"):
            await rebuild(settings, dry_run=False)
        assert await checksum(engine) == before
    finally:
        await execute(engine, "DROP VIEW turnover")


async def test_two_rebuilds_never_run_at_once(settings: Settings, engine: AsyncEngine) -> None:
    await a_day(engine)
    outcomes = await asyncio.gather(*(rebuild(settings, dry_run=False) for _ in range(2)), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["CannotRebuild", "Rebuilt"]


def test_the_runbook_spells_the_checksum_as_it_is() -> None:
    runbook = (Path(__file__).parents[2] / "docs/runbooks/rebuild.md").read_text()
    assert CHECKSUM.format(schema=LIVE).strip() in runbook
