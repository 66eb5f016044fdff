"""Rows made by the server itself, as fast as it can, before anything is measured. Knows no table."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

import asyncpg

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_FILLERS = 2  # connections


async def make_rows(
    connect: Callable[[], Awaitable[Connection]],
    firsts: Iterable[int],
    make: Callable[[Connection, int], Awaitable[None]],
) -> None:
    """Calls `make` for each of `firsts`; then what autovacuum would do is done, and a checkpoint."""
    waiting = iter(firsts)

    async def fill() -> None:
        connection = await connect()
        try:
            # what is made here is sound: the checks of the foreign keys would only take their time
            await connection.execute("SET session_replication_role = replica")
            await connection.execute("SET synchronous_commit = off")
            for first in waiting:
                await make(connection, first)
        finally:
            await connection.close()

    connection = await connect()
    try:
        await _write_full_pages(connection, is_on=False)  # no crash is survived here, and nothing is measured yet
        await asyncio.gather(*(fill() for _ in range(_FILLERS)))
        await connection.execute("VACUUM ANALYZE")
        await _write_full_pages(connection, is_on=True)
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def _write_full_pages(connection: Connection, *, is_on: bool) -> None:
    await connection.execute(f"ALTER SYSTEM SET full_page_writes = {'on' if is_on else 'off'}")
    await connection.execute("SELECT pg_reload_conf()")
