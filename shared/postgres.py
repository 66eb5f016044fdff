"""Connections to Postgres. Knows URLs, names and time-outs; knows no table."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from shared.errors import Unavailable
from shared.settings import Settings
from shared.trace_statements import trace_statements
from shared.tracing import is_on

log = logging.getLogger(__name__)


def sqlalchemy_url(database_url: str) -> URL:
    """The asyncpg form of a libpq URL, so that one DATABASE_URL serves psql and us."""
    return make_url(database_url).set(drivername="postgresql+asyncpg")


def connect_postgres(settings: Settings, process: str, pool_size: int = 8, *, pings: bool = True) -> AsyncEngine:
    """An engine whose connections show as `tillroll-<process>` in `pg_stat_activity`. Connects at first use.

    `pings` = a connection is tried, in three trips, before it is lent; needless for who repeats what fails.
    """
    engine = create_async_engine(
        sqlalchemy_url(settings.database_url.get_secret_value()),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=3,
        pool_pre_ping=pings,
        hide_parameters=True,  # errors are logged, users' names are not
        connect_args={
            "timeout": 3,  # seconds to connect
            "command_timeout": 30,  # seconds a statement
            "server_settings": {"application_name": f"tillroll-{process}"},
        },
    )
    if is_on():
        trace_statements(engine)
    return engine


@asynccontextmanager
async def postgres_or_unavailable(text: str) -> AsyncIterator[None]:
    """Turns an outage of Postgres into one 503 with `text`."""
    try:
        yield
    except (DBAPIError, OSError, TimeoutError, PoolTimeoutError) as fault:
        log.warning("postgres_unavailable", extra={"fault": f"{type(fault).__name__}: {fault}"})
        raise Unavailable(text) from fault
