"""A user's rows lie in one partition of each table, and nothing was lost on the way there."""

import asyncio
import os
import subprocess
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from alembic import command
from redis.asyncio import Redis
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from services.cli.embedded_postgres import find_postgres
from services.orders.archive import LIVE
from services.orders.migrate import migrate, migration_config
from services.orders.queries import find_order, find_paid_by, list_orders
from services.orders.rebuild_checksum import read_checksum
from services.orders.rebuild_tables import rebuild
from services.orders.record_events import record_batch
from shared.settings import Settings
from tests.builders import MORNING, a_change, a_checkout, an_entry
from tests.waiting import until

USERS = [f"user_{number}" for number in range(12)]
MANY = 3000  # orders of the old shop's database


@pytest.fixture
async def old_database(engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    """A database as version 0004 left it: no partitions, orders in it, somebody may read some of it."""
    name = f"old_{uuid4().hex}"
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text(f"CREATE DATABASE {name}"))
        old = create_async_engine(engine.url.set(database=name), poolclass=NullPool)
        await upgrade(old, "0004")
        await fill_as_0004(old)
        yield old
        await old.dispose()
        await connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        await connection.execute(text("DROP ROLE IF EXISTS bookkeeping"))


async def upgrade(engine: AsyncEngine, revision: str) -> None:
    def run(connection: Connection) -> None:
        config = migration_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    async with engine.begin() as connection:
        await connection.run_sync(run)


FILL_0004 = """
CREATE TEMPORARY TABLE made AS
SELECT gen_random_uuid() AS id, 'user_' || n % 97 AS user_id, timestamptz '2026-03-14' + n * interval '1s' AS at
FROM generate_series(1, :many) n;
INSERT INTO events (event_id, type, user_id, order_id, content_hash, payload, stream, entry_id, accepted_at)
SELECT id, 'checkout.completed', user_id, id, md5(user_id), json_build_object('of', id), 's', '1-0', at FROM made;
INSERT INTO order_statuses SELECT id, 'processing', at FROM made;
INSERT INTO orders SELECT id, user_id, 427, 'processing', at, NULL FROM made;
INSERT INTO order_items
    SELECT id, line, line::text, 'Wireless Headphones', 129, line FROM made, generate_series(1, 3) line;
CREATE ROLE bookkeeping; GRANT SELECT ON orders TO bookkeeping
"""


async def fill_as_0004(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        for statement in FILL_0004.split(";"):
            await connection.execute(text(statement), {"many": MANY} if ":many" in statement else {})


WRITE_AS_0005 = (
    "INSERT INTO event_owners VALUES (:id, :user) ON CONFLICT DO NOTHING RETURNING event_id",
    """INSERT INTO events
         (event_id, type, user_id, order_id, content_hash, payload, stream, entry_id, accepted_at, consumer)
       VALUES (:id, 'checkout.completed', :user, :id, 'hash', '{}', 's', '2-0', now(), 'consumer-1')
       ON CONFLICT DO NOTHING RETURNING event_id""",
    """INSERT INTO order_statuses (order_id, status, changed_at) VALUES (:id, 'processing', now())
       ON CONFLICT DO NOTHING""",
    """INSERT INTO orders (id, user_id, total, status, created_at, payment_session_id)
       VALUES (:id, :user, 129, 'processing', now(), NULL)""",
    """INSERT INTO order_items (order_id, line, product_id, title, unit_price, quantity, user_id)
       VALUES (:id, 1, '1', 'Wireless Headphones', 129, 1, :user)""",
)
"""What the consumer of 0005 says to Postgres; it does not change any more."""


async def consume_as_0005(engine: AsyncEngine, recorded: list[UUID], is_over: asyncio.Event) -> None:
    while not is_over.is_set():
        order = {"id": uuid4(), "user": f"user_{len(recorded) % 50}"}
        async with engine.begin() as connection:
            for statement in WRITE_AS_0005:
                await connection.execute(text(statement), order)
        recorded.append(order["id"])


UNOWNED = "SELECT event_id, user_id FROM events EXCEPT SELECT event_id, user_id FROM event_owners"
STRAYS = """
SELECT orders.id FROM order_items JOIN orders ON orders.id = order_id WHERE order_items.user_id <> orders.user_id
"""
GRANTED = """
SELECT has_table_privilege('bookkeeping', 'orders', 'SELECT'), has_table_privilege('bookkeeping', 'events', 'SELECT')
"""


async def test_every_row_is_carried_over_while_the_consumer_of_the_version_before_goes_on(
    old_database: AsyncEngine,
) -> None:
    async with old_database.connect() as connection:
        before = await contents(connection)
    await upgrade(old_database, "0005")
    async with old_database.begin() as connection:  # the consumer of 0004 beside 0005: it knows no owners
        late = uuid4()
        await connection.execute(text(WRITE_AS_0005[1]), {"id": late, "user": "user_late"})
        await connection.execute(text(WRITE_AS_0005[3]), {"id": late, "user": "user_late"})
        await connection.execute(text(f"INSERT INTO order_items VALUES ('{late}', 1, '1', 'Mat', 39, 1)"))
    recorded: list[UUID] = []
    is_over = asyncio.Event()
    consumer = asyncio.create_task(consume_as_0005(old_database, recorded, is_over))

    async def goes_on(since: int) -> bool:
        if consumer.done():
            consumer.result()
        return len(recorded) > since + 5

    await until(lambda: goes_on(0))
    url = old_database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    await asyncio.to_thread(migrate, url)
    so_far = len(recorded)
    await until(lambda: goes_on(so_far))
    is_over.set()
    await consumer
    async with old_database.connect() as connection:
        after = await contents(connection)
        assert {name: rows - before[name] for name, rows in before.items() if not rows <= after[name]} == {}
        new = {order_id for (order_id,) in await connection.execute(text("SELECT id FROM orders"))}
        assert new == {row[0] for row in before["orders"]} | set(recorded) | {late}
        assert (await connection.execute(text(UNOWNED))).all() == []
        assert (await connection.execute(text(STRAYS))).all() == []
        assert (await connection.execute(text(GRANTED))).one() == (True, False)
        assert await read_checksum(connection, LIVE) is not None


async def contents(connection: AsyncConnection) -> dict[str, set[tuple[Any, ...]]]:
    """The rows by table, in the columns that 0004 had."""
    columns = {
        "events": "event_id, type, user_id, order_id, content_hash, payload::text, entry_id, accepted_at, recorded_at",
        "orders": "id, user_id, total, status, created_at, payment_session_id",
        "order_items": "order_id, line, product_id, title, unit_price, quantity",
        "order_statuses": "order_id, status, changed_at",
    }
    return {
        table: {tuple(row) for row in await connection.execute(text(f"SELECT {names} FROM {table}"))}
        for table, names in columns.items()
    }


async def test_line_items_cannot_be_without_their_order_in_any_partition(engine: AsyncEngine) -> None:
    lost = text("INSERT INTO order_items VALUES (gen_random_uuid(), 1, '1', 'Mat', 39, 1, :user)")
    for user in USERS:
        async with engine.connect() as connection:
            with pytest.raises(sa.exc.IntegrityError, match="foreign key"):
                await connection.execute(lost, {"user": user})


async def test_what_one_shopper_asks_for_touches_one_partition_of_each_table(engine: AsyncEngine, redis: Redis) -> None:
    batch, orders = [], {}
    for number, user in enumerate(USERS):
        orders[user] = uuid4()
        bought = a_checkout(user, payment_session_id=f"cs_test_{number:08d}")
        batch += [an_entry(bought, orders[user], at=MORNING + number), an_entry(a_change(orders[user], user=user))]
    await record_batch(engine, batch, "consumer-1")
    asked = watch(engine)
    partitions: dict[str, set[str]] = defaultdict(set)
    for number, user in enumerate(USERS):
        asked.clear()
        assert len((await list_orders(redis, engine, user)).orders) == 1
        assert await find_order(redis, engine, user, orders[user]) is not None
        assert (await find_paid_by(redis, engine, user, f"cs_test_{number:08d}")).orders
        assert len(asked) == 3
        for statement, parameters in list(asked):
            touched = await scanned(engine, statement, parameters)
            assert len(touched) == len({table.rpartition("_")[0] for table in touched}) == 2, touched
            for table in touched:
                partitions[table.rpartition("_")[0]].add(table)
    assert {table: len(names) > 1 for table, names in partitions.items()} == {"orders": True, "order_items": True}


def watch(engine: AsyncEngine) -> list[tuple[str, Any]]:
    """Statements and parameters from here on, as they go to Postgres."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.startswith("SELECT"):
            asked.append((statement, parameters))

    sa.event.listen(engine.sync_engine, "before_cursor_execute", note)
    return asked


async def scanned(engine: AsyncEngine, statement: str, parameters: Any) -> set[str]:
    """The tables that the statement's plan really looked into."""
    async with engine.connect() as connection:
        raw = await connection.get_raw_connection()
        assert raw.driver_connection is not None
        plan = await raw.driver_connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *parameters)
    found: set[str] = set()

    def walk(node: dict[str, Any]) -> None:
        if "Relation Name" in node and node["Actual Loops"] > 0:
            found.add(node["Relation Name"])
        for child in node.get("Plans", ()):
            walk(child)

    walk(plan[0]["Plan"])
    return found


async def test_the_runbooks_backup_holds_every_event_and_its_restore_brings_all_back(
    engine: AsyncEngine, settings: Settings, tmp_path: Path
) -> None:
    batch = [an_entry(a_checkout(user), at=MORNING + number) for number, user in enumerate(USERS)]
    await record_batch(engine, batch, "consumer-1")
    runbook = (Path(__file__).parents[2] / "docs/runbooks/backup-and-restore.md").read_text().replace("\\\n", "")
    [dump] = [line for line in runbook.splitlines() if line.startswith("pg_dump")]
    [restore] = [line for line in runbook.splitlines() if line.startswith("pg_restore")]
    async with engine.connect() as connection:
        before = await read_checksum(connection, LIVE)
    url = settings.database_url.get_secret_value()
    place = {"PATH": f"{find_postgres()}:{os.environ['PATH']}", "DATABASE_URL": url, "RESTORED_URL": url}
    for step in (dump, "", restore):
        if step:
            await asyncio.to_thread(subprocess.run, step, shell=True, check=True, cwd=tmp_path, env=place)
        else:  # the empty database of the runbook
            async with engine.begin() as connection:
                await connection.execute(text("TRUNCATE events, event_owners, orders, order_items, order_statuses"))
    await rebuild(settings, dry_run=False)
    async with engine.connect() as connection:
        assert await read_checksum(connection, LIVE) == before
        assert (await connection.execute(text(UNOWNED))).all() == []
        assert (await connection.execute(text("SELECT count(*) FROM event_owners"))).scalar() == len(USERS)
