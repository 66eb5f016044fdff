"""The derived tables made anew from the archive, by the consumer's own rule, and swapped in at once.

They are built in a schema of their own while everything goes on. Never writes `events`, never touches a dead letter.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from alembic import command
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.orders.archive import COLUMNS, DERIVED, LIVE, arrivals_of, connect_operator, hold_writers
from services.orders.dead_letters import bury
from services.orders.entries import moment
from services.orders.migrate import migration_config
from services.orders.parse_entry import Arrival
from services.orders.rebuild_checksum import Checksum, read_checksum
from services.orders.write_orders import write_orders
from shared.errors import TillrollError
from shared.settings import Settings

SCRATCH = "tillroll_rebuild"
_REBUILT = ("event_owners", *DERIVED)
_PAGE = 2000  # events in one transaction
_LOCK = 7_411_013  # any constant; only rebuilds take it
_ATTEMPTS = 20  # times that the swap waits for the readers of the old tables
_PATIENCE = 2  # seconds of each: readers queue behind a waiting swap

Progress = Callable[[int, int], None]
"""Told how many events are done, of how many."""


class CannotRebuild(TillrollError):
    """The live tables are as they were; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """`before`: the live tables over the same events, None where one of them was not there."""

    events: int
    before: Checksum | None
    after: Checksum
    is_swapped: bool


async def rebuild(settings: Settings, *, dry_run: bool, tell: Progress = lambda _done, _total: None) -> Rebuilt:
    """Makes orders, line items and statuses anew; a table that is missing altogether comes back too, empty at first.

    Raises CannotRebuild, ArchiveUnreadable, SegmentUnreadable and what Postgres raises: the live tables are untouched.
    """
    engine = connect_operator(settings, "rebuild", f"{SCRATCH}, {LIVE}")
    async with engine.connect() as guard:
        await guard.execution_options(isolation_level="AUTOCOMMIT")
        if not (await guard.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK})).scalar():
            raise CannotRebuild("Another rebuild is running.")
        await _make_scratch(settings, guard)
        try:
            await _fill(engine, tell)
            for table in _REBUILT:
                await guard.execute(text(f"ANALYZE {SCRATCH}.{table}"))
            return await _finish(engine, dry_run=dry_run)
        finally:
            await guard.execute(text(f"DROP SCHEMA IF EXISTS {SCRATCH} CASCADE"))
            await engine.dispose()


async def _make_scratch(settings: Settings, guard: AsyncConnection) -> None:
    """The schema as the migrations build it; the archive itself is not copied."""
    if not (await guard.execute(text(f"SELECT to_regclass('{LIVE}.events')"))).scalar():
        raise CannotRebuild("There is no archive: the table `events` has to be restored first.")
    await guard.execute(text(f"DROP SCHEMA IF EXISTS {SCRATCH} CASCADE"))  # of a rebuild that was killed
    await guard.execute(text(f"CREATE SCHEMA {SCRATCH}"))
    alone = connect_operator(settings, "rebuild", SCRATCH)  # Alembic must not see the live version table
    async with alone.begin() as connection:
        await connection.run_sync(_migrate)
        await connection.execute(text(f"DROP TABLE {SCRATCH}.events CASCADE"))
    await alone.dispose()


def _migrate(connection: Connection) -> None:
    config = migration_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


_TOTAL = text(f"SELECT count(*) FROM {LIVE}.events")  # noqa: S608
_NEXT = text(f"""
SELECT {COLUMNS}, accepted_at FROM {LIVE}.events WHERE (accepted_at, event_id) > (:at, :after)
ORDER BY accepted_at, event_id LIMIT :page
""")  # noqa: S608


async def _fill(engine: AsyncEngine, tell: Progress) -> None:
    """Applies the whole archive, and then what was recorded meanwhile, until little is left."""
    async with engine.connect() as connection:
        total = int((await connection.execute(_TOTAL)).scalar_one())
    done, at, after = 0, moment(0), UUID(int=0)
    tell(done, total)
    while True:
        async with engine.begin() as connection:
            rows = (await connection.execute(_NEXT, {"at": at, "after": after, "page": _PAGE})).all()
            if not rows:
                break
            await _apply(connection, await arrivals_of(connection, rows))
        last: tuple[datetime, UUID] = (rows[-1].accepted_at, rows[-1].event_id)
        (at, after), done = last, done + len(rows)
        tell(done, max(done, total))
    applied = _PAGE
    while applied >= _PAGE:
        async with engine.begin() as connection:
            applied = await _catch_up(connection)


_LEFT = text(f"""
SELECT {COLUMNS} FROM {LIVE}.events WHERE event_id IN (
    SELECT event_id FROM {LIVE}.events EXCEPT SELECT event_id FROM {SCRATCH}.event_owners LIMIT :page
) ORDER BY accepted_at, event_id
""")  # noqa: S608


async def _catch_up(connection: AsyncConnection) -> int:
    """Applies a page of what is not applied yet: commits come in another order than acceptances."""
    rows = (await connection.execute(_LEFT, {"page": _PAGE})).all()
    await _apply(connection, await arrivals_of(connection, rows))
    return len(rows)


_CLAIM_IDS = text(f"""
INSERT INTO {SCRATCH}.event_owners SELECT * FROM unnest(CAST(:event_ids AS uuid[]), CAST(:user_ids AS text[]))
""")  # noqa: S608


async def _apply(connection: AsyncConnection, arrivals: list[Arrival]) -> None:
    refused = await write_orders(connection, arrivals)
    await bury(connection, refused, "rebuild")  # kept only where the live dead letters are gone
    owners = {arrival.event_id: arrival.event.user_id for arrival in arrivals}
    await connection.execute(_CLAIM_IDS, {"event_ids": list(owners), "user_ids": list(owners.values())})


async def _finish(engine: AsyncEngine, *, dry_run: bool) -> Rebuilt:
    """The last events, the checksums and the swap in one transaction, while nobody else writes."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            async with engine.begin() as connection:
                await hold_writers(connection, _PATIENCE)
                while await _catch_up(connection):
                    pass
                events = int((await connection.execute(_TOTAL)).scalar_one())
                before = await read_checksum(connection, LIVE)
                after = await read_checksum(connection, SCRATCH)
                assert after is not None
                if not dry_run:
                    await _swap(connection)
                return Rebuilt(events, before, after, is_swapped=not dry_run)
        except DBAPIError as fault:
            state = getattr(fault.orig, "sqlstate", None)
            if state == "2BP01":
                raise CannotRebuild(f"Something outside depends on a table: {_sentence(fault)}") from fault
            if state != "55P03" or attempt == _ATTEMPTS:  # lock_not_available
                raise
    raise AssertionError("the loop returns or raises")


def _sentence(fault: DBAPIError) -> str:
    return str(getattr(fault.orig, "__cause__", None) or fault.orig).splitlines()[0]


_TABLES = text("SELECT tablename FROM pg_tables WHERE schemaname = :schema")
_GRANTS = text("""
SELECT format('GRANT %s ON %I.%I TO %s%s', granted.privilege_type, CAST(:schema AS text), relation.relname,
              CASE granted.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(granted.grantee)) END,
              CASE WHEN granted.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM pg_class relation, aclexplode(relation.relacl) granted
WHERE relation.relnamespace = to_regnamespace(:live) AND relation.relname = ANY(CAST(:tables AS text[]))
  AND granted.grantee <> relation.relowner
""")


async def _swap(connection: AsyncConnection) -> None:
    """Puts the new tables where the old ones were; who might read those may read these."""

    async def tables_in(schema: str) -> set[str]:
        return set((await connection.execute(_TABLES, {"schema": schema})).scalars())

    old = [f"{LIVE}.{table}" for table in _REBUILT if table in await tables_in(LIVE)]
    if old:
        await connection.execute(text(f"LOCK TABLE {', '.join(old)} IN ACCESS EXCLUSIVE MODE"))
        grants: dict[str, Any] = {"schema": SCRATCH, "live": LIVE, "tables": list(_REBUILT)}
        for grant in (await connection.execute(_GRANTS, grants)).scalars().all():
            await connection.execute(text(grant))
        await connection.execute(text(f"DROP TABLE {', '.join(old)}"))
    for table in sorted(await tables_in(SCRATCH) - await tables_in(LIVE)):
        await connection.execute(text(f"ALTER TABLE {SCRATCH}.{table} SET SCHEMA {LIVE}"))
