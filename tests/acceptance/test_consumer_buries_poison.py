"""An entry that nobody can read, or that kills its reader, harms no other; a flood of them pauses intake."""

import signal
from pathlib import Path

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.streams import INTAKE_PAUSED, LONE_ATTEMPTS, STREAM, overlay_key
from tests.acceptance.consumer_process import APP, RunConsumer, accept, drained, orders_are
from tests.servers import wait_until
from tests.tables import count
from tests.waiting import until


async def test_poison_beside_good_entries_harms_nobody_and_a_flood_of_it_pauses_intake(
    run_consumer: RunConsumer, redis: Redis, engine: AsyncEngine
) -> None:
    consumer = run_consumer(TILLROLL_DEAD_LETTER_LIMIT="10")
    wait_until(consumer.is_ready, "ready")
    await accept(redis, 3, "good")
    await accept(redis, 1, "bad", payload=b"\xff\xfe")
    await redis.xadd(STREAM, {b"\xff": b"\xfe", "data": "{}"})
    await redis.xadd(STREAM, {"__data__": b"\x89BIN\r\n\x1a\n\x00\x01 nonsense"})
    await accept(redis, 3, "more")
    await drained(redis)
    assert (await count(engine, "orders"), await count(engine, "dead_letters")) == (6, 3)
    await accept(redis, 25, "flood", payload=b"{")
    await accept(redis, 2, "last")
    await until(lambda: redis.exists(INTAKE_PAUSED))
    wait_until(lambda: '"intake": "paused"' in consumer.body("/ready"), "it says that it is paused")
    assert (consumer.get("/health"), consumer.get("/ready")) == (200, 503)
    assert await count(engine, "dead_letters") == 13
    consumer.end(signal.SIGKILL)
    consumer.start()
    wait_until(lambda: consumer.get("/health") == 200, "alive")
    wait_until(lambda: '"intake": "paused"' in consumer.body("/ready"), "a start changes nothing")
    assert await count(engine, "dead_letters") == 13
    await redis.delete(INTAKE_PAUSED)

    async def is_paused_again() -> bool:
        return bool(await redis.exists(INTAKE_PAUSED)) and await count(engine, "dead_letters") == 23

    await until(is_paused_again)
    await redis.delete(INTAKE_PAUSED)
    await orders_are(engine, 8)
    await drained(redis)
    assert await count(engine, "dead_letters") == 28


async def test_an_entry_that_kills_the_process_is_found_and_buried_and_its_neighbours_are_recorded(
    run_consumer: RunConsumer, redis: Redis, engine: AsyncEngine, tmp_path: Path
) -> None:
    """The program is the real one, but for a decoder that dies of one user's name."""
    program = tmp_path / "deadly.py"
    program.write_text(
        "import os, signal, sys\n"
        "import uvicorn\n"
        "import services.orders.parse_entry as parse_entry\n"
        "decode = parse_entry.decode\n"
        "def deadly(payload):\n"
        "    if b'basilisk' in payload:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return decode(payload)\n"
        "parse_entry.decode = deadly\n"
        f"uvicorn.run({APP!r}, factory=True, port=int(sys.argv[2]), log_level='warning')\n"
    )
    await accept(redis, 4, "before")
    await accept(redis, 1, "basilisk")
    await accept(redis, 4, "after")
    consumer = run_consumer(program=(str(program),))
    deaths = 0
    # ready is not enough: it may be so for a moment before the first read
    while not (await count(engine, "dead_letters") and consumer.is_ready()):
        if consumer.is_dead():
            deaths += 1
            assert deaths < 10
            consumer.start()
    assert deaths == 5, "twice in a batch, three times alone"
    await drained(redis)
    assert await count(engine, "orders") == 8
    assert await count(engine, "dead_letters WHERE reason = 'kills_consumer'") == 1
    assert not await redis.exists(LONE_ATTEMPTS)
    assert await redis.hlen(overlay_key("basilisk_0")) == 1
