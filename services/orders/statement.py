"""SQL that goes past SQLAlchemy to asyncpg, within SQLAlchemy's transaction: a third of the time that Core takes.

For what every batch executes. Knows no table.
"""

import re
from collections.abc import Mapping
from typing import Any

import asyncpg
from asyncpg.protocol import protocol
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.trace_statements import statement_span

_PARAMETER = re.compile(r"(?<!:):([a-z_]+)")
_BEGIN = text("SELECT 1")

# asyncpg asks abstract base classes of each element whether it is an array itself, of a text even two: a sixth of what
# an order cost the consumer. These two are asked in C; from here on nothing else is taken for an array.
protocol.IterableABC = (list, tuple)


class Statement:
    """SQL with `:named` parameters, prepared once for each connection."""

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self._names = list(dict.fromkeys(_PARAMETER.findall(sql)))
        self._numbered = _PARAMETER.sub(lambda found: f"${self._names.index(found[1]) + 1}", sql)

    async def run(self, connection: AsyncConnection, values: Mapping[str, Any]) -> list[Any]:
        """The rows of the answer; raises what Core would: DBAPIError around asyncpg's own, OSError, TimeoutError."""
        driver: Any = connection.sync_connection.connection.driver_connection  # type: ignore[union-attr]
        if not driver.is_in_transaction():
            await connection.execute(_BEGIN)  # SQLAlchemy begins with the first statement that it executes itself
        with statement_span(self.sql):
            try:
                rows: list[Any] = await driver.fetch(self._numbered, *(values[name] for name in self._names))
            except (asyncpg.PostgresError, asyncpg.InterfaceError) as fault:
                raise DBAPIError(self.sql, None, fault, hide_parameters=True) from fault
        return rows
