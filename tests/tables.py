"""What Postgres holds, asked past the services: rows, counts, dead letters, and who waits for whom."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.waiting import until


async def rows(engine: AsyncEngine, query: str, **values: Any) -> list[Any]:
    """What `query` answers."""
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(query), values)]


async def count(engine: AsyncEngine, table: str) -> int:
    """How many rows; `table` may end with WHERE."""
    [(number,)] = await rows(engine, f"SELECT count(*) FROM {table}")
    return int(number)


async def reasons(engine: AsyncEngine) -> list[str]:
    """Of all dead letters, sorted."""
    return [reason for (reason,) in await rows(engine, "SELECT reason FROM dead_letters ORDER BY reason")]


async def execute(engine: AsyncEngine, *statements: str, **values: Any) -> None:
    """All of them in one transaction."""
    async with engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement), values)


async def blocked(engine: AsyncEngine, how_many: int = 1) -> None:
    """Returns when so many transactions wait for a lock."""

    async def is_so() -> bool:
        waiting = "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return await count(engine, waiting) >= how_many

    await until(is_so)
