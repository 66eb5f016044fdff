"""The migrations build what the tables say, also when two processes run them at once."""

import asyncio
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from services.orders.migrate import migrate
from services.orders.tables import metadata
from shared.postgres import sqlalchemy_url


@pytest.fixture
async def empty_database(engine: AsyncEngine):
    """The URL of a database that nobody has migrated."""
    name = f"empty_{uuid4().hex}"
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text(f"CREATE DATABASE {name}"))
        yield sqlalchemy_url(engine.url.render_as_string(hide_password=False)).set(database=name)
        await connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def differences(connection: Connection) -> list[object]:
    """What the models say and the migrations do not; partitions are no models."""
    partitions = set(connection.scalars(text("SELECT inhrelid::regclass::text FROM pg_inherits")))
    options = {"include_name": lambda name, kind, _parents: kind != "table" or name not in partitions}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


async def test_two_migrations_at_once_both_succeed_and_build_the_tables(empty_database) -> None:
    url = empty_database.set(drivername="postgresql").render_as_string(hide_password=False)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(pool, migrate, url) for _ in range(2)))
    engine = create_async_engine(empty_database, poolclass=NullPool)
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()
