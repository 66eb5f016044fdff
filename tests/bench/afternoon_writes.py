"""The afternoon version's write path alone, without HTTP and tokens: checks and writes orders for some seconds.

Prints how many it wrote, in how many seconds, and its own CPU seconds. Run with the seconds as its argument.
"""

import asyncio
import os
import sys
import time
from itertools import count
from uuid import uuid4

import uvloop

from tests.bench.afternoon_orders import OrderIn, check, place_order, read_catalog
from tests.bench.afternoon_tables import POOL, open_database


async def write_for(seconds: float) -> tuple[int, float, float]:
    """How many orders were written, the seconds it took and the CPU seconds of this process meanwhile; as many at once
    as the pool has connections.
    """
    engine, sessions = open_database(os.environ["DATABASE_URL"])
    catalog, numbers, run = read_catalog(), count(), uuid4().hex
    begun, cpu = time.monotonic(), time.process_time()

    async def write() -> None:
        while time.monotonic() < begun + seconds:
            number = next(numbers)
            items = [{"id": product, "quantity": 1 + number % 8} for product in ("1", "2", "3")]
            body = OrderIn.model_validate({"items": items, "total": 317 * (1 + number % 8)})
            check(catalog, body)
            await place_order(sessions, catalog, f"shopper-{number % 2000:04d}", f"{run}-{number}", body)

    await asyncio.gather(*(write() for _ in range(POOL)))
    taken, used = time.monotonic() - begun, time.process_time() - cpu
    await engine.dispose()
    return next(numbers), taken, used


if __name__ == "__main__":
    print(*uvloop.run(write_for(float(sys.argv[1]))))
