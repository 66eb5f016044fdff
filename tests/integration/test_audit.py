"""The trail of the operators cannot be changed unseen."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.audit import Act, Operator, audited, begin, list_trail, verify_trail
from services.orders.pause import lift_pause, read_pause
from shared.errors import ApiError
from shared.streams import INTAKE_PAUSED
from tests.integration.operators import OLGA
from tests.tables import rows


async def leave_trail(engine: AsyncEngine, operations: int = 4) -> None:
    for number in range(operations):
        async with audited(engine, OLGA, Act("replay", {"user": f"grüße {number}"}, {"insert": number})) as outcome:
            outcome.result = {"insert": number, "rate": 0.1}


async def test_an_untouched_trail_is_sound(engine: AsyncEngine) -> None:
    assert (await verify_trail(engine)).findings == ()
    await leave_trail(engine)
    verdict = await verify_trail(engine)
    assert (verdict.rows, verdict.findings) == (8, ())


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        ("UPDATE audit SET why = 'a nicer reason' WHERE seq = 3", "row 3 was changed"),
        ("UPDATE audit SET who = 'mallory' WHERE seq = 8", "row 8 was changed"),
        ("UPDATE audit SET at = at - interval '1 microsecond' WHERE seq = 1", "row 1 was changed"),
        ("UPDATE audit SET result = NULL WHERE seq = 2", "row 2 was changed"),
        ("UPDATE audit SET dry_run = '{\"insert\": 7}' WHERE seq = 5", "row 5 was changed"),
        ("UPDATE audit SET hash = repeat('0', 64) WHERE seq = 4", "row 4 was changed"),
        ("DELETE FROM audit WHERE seq IN (3, 4)", "between row 2 and row 5 rows were removed"),
        ("DELETE FROM audit WHERE seq IN (1, 2)", "between row 0 and row 3 rows were removed"),
        ("DELETE FROM audit WHERE seq = 8", "row 7 is the last one"),
        ("DELETE FROM audit", "the newest row should be 8"),
        ("UPDATE audit SET seq = CASE seq WHEN 6 THEN 8 ELSE 6 END WHERE seq IN (6, 8)", "row 6"),
        ("DELETE FROM audit WHERE seq = 8; UPDATE audit SET seq = 8 WHERE seq = 6; DELETE FROM audit WHERE seq = 6",
         "between row 5 and row 7"),
    ],
)  # fmt: skip
async def test_every_changed_removed_or_moved_row_is_found(engine: AsyncEngine, damage: str, finding: str) -> None:
    await leave_trail(engine)
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE audit DROP CONSTRAINT audit_begun_fkey"))
        await connection.execute(text("ALTER TABLE audit DROP CONSTRAINT audit_pkey"))
        try:
            for statement in damage.split("; "):
                await connection.execute(text(statement))
        finally:
            await connection.execute(text("ALTER TABLE audit ADD PRIMARY KEY (seq)"))
    try:
        assert finding in "; ".join((await verify_trail(engine)).findings)
    finally:
        async with engine.begin() as connection:
            await connection.execute(text("TRUNCATE audit, audit_head"))
            await connection.execute(text("ALTER TABLE audit ADD FOREIGN KEY (begun) REFERENCES audit (seq)"))


async def test_operators_at_the_same_time_write_one_chain(engine: AsyncEngine) -> None:
    await asyncio.gather(*(leave_trail(engine, 5) for _ in range(6)))
    verdict = await verify_trail(engine)
    assert (verdict.rows, verdict.findings) == (60, ())


@pytest.mark.parametrize("why", ["", "   ", "x" * 1001, "a\x00b"])
def test_nobody_acts_without_a_reason(why: str) -> None:
    with pytest.raises(ApiError, match="A reason is required"):
        Operator("olga", "test", why)


async def test_an_operation_that_failed_or_was_cut_off_is_told_as_such(engine: AsyncEngine) -> None:
    with pytest.raises(ZeroDivisionError):
        async with audited(engine, OLGA, Act("requeue", {})):
            1 / 0  # noqa: B018
    await begin(engine, OLGA, Act("replay", {"user": "anna"}))
    cut_off, failed = await list_trail(engine)
    assert (cut_off["phase"], cut_off["filter"], cut_off["result"]) == ("begun", {"user": "anna"}, None)
    assert (failed["phase"], failed["result"]) == ("failed", {"fault": "ZeroDivisionError: division by zero"})
    assert (await verify_trail(engine)).findings == ()


async def test_lifting_the_pause_leaves_a_trace(engine: AsyncEngine, redis: Redis) -> None:
    assert await lift_pause(engine, redis, OLGA) is None
    await redis.set(INTAKE_PAUSED, "100 dead letters in a row")
    assert await lift_pause(engine, redis, OLGA) == "100 dead letters in a row"
    assert await read_pause(redis) is None
    told: list[Any] = await rows(engine, "SELECT action, phase, who, why FROM audit ORDER BY seq")
    assert told == [("resume", "begun", "olga", OLGA.why), ("resume", "done", "olga", OLGA.why)]
