"""Brings the database to the newest migration. Several may run at once: an advisory lock lets one work at a time."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from shared.postgres import sqlalchemy_url

_LOCK = 7_411_011  # any constant; only migrations take it


def migrate(database_url: str) -> None:
    """Runs Alembic to head on `database_url` (libpq form). Raises SQLAlchemy's and asyncpg's errors."""
    asyncio.run(_migrate(database_url))


def migration_config() -> Config:
    """Alembic's configuration without a file: the scripts beside this module."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


async def _migrate(database_url: str) -> None:
    engine = create_async_engine(
        sqlalchemy_url(database_url),
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={"timeout": 10, "server_settings": {"application_name": "tillroll-migrate"}},
    )
    async with engine.connect() as guard, engine.connect() as connection:
        await guard.execution_options(isolation_level="AUTOCOMMIT")  # no snapshot held open while migrations work
        await guard.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})  # released with the connection
        await connection.run_sync(_upgrade)
        await connection.commit()
    await engine.dispose()


def _upgrade(connection: Connection) -> None:
    config = migration_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
