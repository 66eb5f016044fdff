"""The afternoon version's own write path, measured without HTTP and tokens. It has no log that could be drained."""

import asyncio
import sys

from services.bench.contenders import AFTERNOON_DB
from services.bench.figures import DRAIN, Figure
from services.bench.oracle import Verdict
from services.bench.processes import cpu_seconds
from services.bench.world import WRITERS, World, make_afternoon_tables

_ROWS = """
SELECT count(*), count(*) FILTER (
    WHERE (SELECT count(*) FROM order_items i WHERE i.order_id = o.id) = 3
      AND EXISTS (SELECT FROM idempotency_keys k WHERE k.order_id = o.id))
FROM orders o
"""


async def measure_writes(world: World, seconds: float) -> tuple[Figure, Verdict]:
    """Orders written for `seconds` in as many processes as the web tier has, and the verdict on their rows."""
    await make_afternoon_tables(world)
    assert world.postgres.pid is not None
    before = cpu_seconds([world.postgres.pid])
    program = world.program(
        "afternoon",
        [sys.executable, "-m", "tests.bench.afternoon_writes", str(seconds)],
        DATABASE_URL=world.database_url(AFTERNOON_DB),
    )
    writers = [
        await asyncio.create_subprocess_exec(*program.argv, env=program.env, stdout=asyncio.subprocess.PIPE)
        for _ in range(WRITERS)
    ]
    told = [(await writer.communicate())[0].split() for writer in writers]
    rates = [int(written) / float(taken) for written, taken, _ in told]
    orders = sum(int(written) for written, _, _ in told)
    cpu = {
        "writer": sum(float(own) for _, _, own in told),
        "postgres": cpu_seconds([world.postgres.pid]) - before,
    }
    values = {"rate": sum(rates), "orders": float(orders)}
    values |= {f"cpu:{name}": used / orders * 1000 for name, used in cpu.items()}
    return Figure(DRAIN, "afternoon", 0, values), await _judge(world, orders)


async def _judge(world: World, written: int) -> Verdict:
    """By counting: every key of its load is another one, and nobody cuts it off."""
    connection = await world.connect(AFTERNOON_DB)
    try:
        rows, whole = await connection.fetchrow(_ROWS)
    finally:
        await connection.close()
    lost, strange = max(0, written - rows), max(0, rows - written)
    return Verdict(
        accepted=written, rows=rows, cut_off=0, lost=lost, doubled=0, strange=strange, differing=rows - whole, refused=0
    )
