"""`tillroll migrate`: the orders service's migrations, with one sentence where they cannot run."""

import asyncio
import sys
import time
from datetime import timedelta

import asyncpg
from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from services.cli.embedded import CannotStart
from services.cli.readiness import postgres_answers
from services.orders.migrate import migrate

ASK_EVERY = timedelta(seconds=1)


def await_database(database_url: str, patience: timedelta) -> None:
    """Returns when Postgres lets us in, saying so while it waits. Raises CannotStart after `patience`."""
    deadline, has_told = time.monotonic() + patience.total_seconds(), False
    while not asyncio.run(postgres_answers(database_url)):
        if time.monotonic() > deadline:
            raise CannotStart(f"Postgres has not answered for {patience.total_seconds():g} s.")
        if not has_told:
            print("tillroll: waiting for Postgres", file=sys.stderr, flush=True)
            has_told = True
        time.sleep(ASK_EVERY.total_seconds())


def migrate_database(database_url: str) -> None:
    """Brings the database to the newest migration. Raises CannotStart with the cause."""
    try:
        migrate(database_url)
    except (SQLAlchemyError, CommandError, asyncpg.PostgresError, OSError) as fault:
        raise CannotStart(f"The database could not be migrated: {str(fault).splitlines()[0]}") from fault
