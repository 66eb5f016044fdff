"""`tillroll migrate`: the orders service's migrations, with one sentence where they cannot run."""

import asyncpg
from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from services.cli.embedded import CannotStart
from services.orders.migrate import migrate


def migrate_database(database_url: str) -> None:
    """Brings the database to the newest migration. Raises CannotStart with the cause."""
    try:
        migrate(database_url)
    except (SQLAlchemyError, CommandError, asyncpg.PostgresError, OSError) as fault:
        raise CannotStart(f"The database could not be migrated: {str(fault).splitlines()[0]}") from fault
