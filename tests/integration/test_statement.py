"""A statement that goes past SQLAlchemy is part of its transaction, and its errors are SQLAlchemy's."""

from collections import deque

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.record_events import is_refusal
from services.orders.statement import Statement
from shared.postgres import connect_postgres
from shared.settings import Settings

OWN = Statement("""
INSERT INTO event_owners (event_id, user_id)
SELECT event_id, :user_id FROM unnest(CAST(:event_ids AS uuid[])) AS own (event_id)
ON CONFLICT DO NOTHING RETURNING user_id, :user_id::text
""")
ANNAS = {"user_id": "user_anna", "event_ids": ["00000000-0000-0000-0000-00000000000a"]}
OWNERS = text("SELECT count(*) FROM event_owners")


async def test_it_is_undone_with_its_transaction_also_as_the_first_of_it(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        assert [tuple(row) for row in await OWN.run(connection, ANNAS)] == [("user_anna", "user_anna")]
        await connection.rollback()
        assert (await connection.execute(OWNERS)).scalar_one() == 0


async def test_a_refusal_names_its_reason_and_no_value(engine: AsyncEngine) -> None:
    for wrong in ({"event_ids": ["no id of anything"]}, {"user_id": "user_\x00"}):
        with pytest.raises(DBAPIError) as told:
            async with engine.begin() as connection:
                await OWN.run(connection, ANNAS | wrong)
        assert is_refusal(told.value)
        assert "user_" not in str(told.value.params)
    async with engine.connect() as connection:
        assert (await connection.execute(OWNERS)).scalar_one() == 0


async def test_asyncpg_still_asks_where_it_is_answered_in_c(engine: AsyncEngine) -> None:
    with pytest.raises(DBAPIError, match="sized iterable"):
        async with engine.begin() as connection:
            await OWN.run(connection, ANNAS | {"event_ids": deque(ANNAS["event_ids"])})


async def test_a_connection_that_postgres_ended_is_replaced_after_one_failure(
    settings: Settings, engine: AsyncEngine
) -> None:
    writer = connect_postgres(settings, "consumer", pool_size=1, pings=False)

    async def end(pid: int) -> None:
        async with engine.connect() as other:
            await other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})

    async def record(*, is_ended: bool = False) -> int:
        """The connection's process. `is_ended`: with the transaction open."""
        async with writer.begin() as connection:
            pid: int = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            if is_ended:
                await end(pid)
            await OWN.run(connection, ANNAS)
            return pid

    try:
        await end(await record())
        with pytest.raises(DBAPIError):
            await record()
        await record()
        with pytest.raises(DBAPIError):
            await record(is_ended=True)
        await record()
    finally:
        await writer.dispose()
