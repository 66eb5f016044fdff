"""The consumer as a process of its own: killed, starved of its servers, poisoned, and still nothing lost or doubled."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.events import Status
from shared.settings import Settings
from shared.streams import GROUP, INTAKE_PAUSED, LONE_ATTEMPTS, NAMES_LOADED, STREAM, name_key, overlay_key
from tests.builders import a_change, a_checkout, fields_of, names
from tests.servers import Servers, wait_until
from tests.waiting import until

ROOT = Path(__file__).parents[2]

UVICORN = ("-m", "uvicorn", "--factory", "--no-access-log")
APP = "services.orders.consumer:create_app"


class Consumer:
    """One consumer process."""

    def __init__(self, settings: Settings, log: Path, program: tuple[str, ...], env: dict[str, str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = log
        self.argv = [sys.executable, *program, "--port", str(self.port)]
        self.env = os.environ | {
            "REDIS_URL": settings.redis_url.get_secret_value(),
            "DATABASE_URL": settings.database_url.get_secret_value(),
            "PYTHONPATH": str(ROOT),
            **env,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Consumer":
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.argv, env=self.env, stdout=log, stderr=log, cwd=ROOT)
        return self

    def get(self, path: str) -> int:
        """The status code; 0 = nobody answers."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=5, trust_env=False).status_code
        except httpx.TransportError:
            return 0

    def body(self, path: str) -> str:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=5, trust_env=False).text

    def is_ready(self) -> bool:
        return self.get("/ready") == 200

    def is_dead(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def end(self, how: signal.Signals = signal.SIGKILL) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(30)


Run = Callable[..., Consumer]


@pytest.fixture
def run(settings: Settings, tmp_path: Path) -> Iterator[Run]:
    """Starts consumers; all are killed at the end."""
    consumers: list[Consumer] = []

    def start(name: str = "consumer-1", program: tuple[str, ...] = (*UVICORN, APP), **env: str) -> Consumer:
        one = Consumer(settings, tmp_path / f"{name}.log", program, {"TILLROLL_CONSUMER": name, **env})
        consumers.append(one)
        return one.start()

    yield start
    for one in consumers:
        one.end()


async def accept(redis: Redis, how_many: int = 1, prefix: str = "user", **odd: Any) -> list[UUID]:
    """So many checkouts of so many users, as accepting leaves them; `odd` fields spoil them."""
    ids = [uuid4() for _ in range(how_many)]
    now = int((await redis.time())[0]) * 1000
    async with redis.pipeline(transaction=False) as pipeline:
        for number, event_id in enumerate(ids):
            event = a_checkout(f"{prefix}_{number}", names=names(key=event_id))
            pipeline.xadd(STREAM, fields_of(event, event_id, now) | odd)
            pipeline.hset(overlay_key(event.user_id), str(event_id), b"{}")
        await pipeline.execute()
    return ids


async def count(engine: AsyncEngine, table: str) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())


async def pending(redis: Redis) -> int:
    return int((await redis.xpending(STREAM, GROUP))["pending"])


async def is_drained(redis: Redis) -> bool:
    [group] = await redis.xinfo_groups(STREAM)
    [stream] = [await redis.xinfo_stream(STREAM)]
    return not group["pending"] and group["last-delivered-id"] == stream["last-generated-id"]


async def orders_are(engine: AsyncEngine, how_many: int) -> None:
    async def it_is() -> bool:
        return await count(engine, "orders") == how_many

    await until(it_is, 30)


async def drained(redis: Redis) -> None:
    async def it_is() -> bool:
        return await is_drained(redis)

    await until(it_is, 40)


async def test_a_consumer_records_what_was_accepted_before_its_first_start_and_after(
    run: Run, redis: Redis, engine: AsyncEngine
) -> None:
    before = await accept(redis, 30, "before")
    consumer = run()
    wait_until(consumer.is_ready, "ready")
    await accept(redis, 20, "after")
    await redis.xadd(STREAM, fields_of(a_change(before[0], Status.PAID, "before_0")))
    await drained(redis)
    assert await count(engine, "orders") == 50
    assert await count(engine, "orders WHERE status = 'paid'") == 1
    assert not [key async for key in redis.scan_iter("till:{0}:accepted:*")]
    assert consumer.get("/health") == 200
    assert "tillroll_recorded_total" in consumer.body("/metrics")
    assert "checkout.completed" in consumer.body("/asyncapi")
    assert consumer.end(signal.SIGTERM) in (0, -signal.SIGTERM)


async def test_kill_9_in_the_middle_of_a_batch_loses_and_doubles_nothing(
    run: Run, redis: Redis, engine: AsyncEngine
) -> None:
    consumer = run()
    wait_until(consumer.is_ready, "ready")
    expected = 0
    for round_number in range(4):
        async with engine.connect() as connection:
            transaction = await connection.begin()
            await connection.execute(text("LOCK TABLE order_items IN ACCESS EXCLUSIVE MODE"))
            await accept(redis, 150, f"round_{round_number}")
            expected += 150

            async def is_in_the_middle() -> int:
                return await count(
                    engine, "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )

            await until(is_in_the_middle)
            consumer.end(signal.SIGKILL)
            await transaction.rollback()
        consumer.start()
        await orders_are(engine, expected)
    await drained(redis)
    assert await count(engine, "events") == expected
    assert await count(engine, "order_items") == 2 * expected
    assert await count(engine, "dead_letters") == 0
    assert not await redis.exists(LONE_ATTEMPTS)


async def test_another_consumer_finishes_what_a_killed_one_left(run: Run, redis: Redis, engine: AsyncEngine) -> None:
    lost = run("consumer-lost", TILLROLL_CLAIM_AFTER="0.5")
    wait_until(lost.is_ready, "ready")
    async with engine.connect() as connection:
        transaction = await connection.begin()
        await connection.execute(text("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE"))
        await accept(redis, 40)

        async def is_in_the_middle() -> int:
            return await count(
                engine, "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )

        await until(is_in_the_middle)
        lost.end(signal.SIGKILL)
        await transaction.rollback()
    assert await pending(redis) > 0
    run("consumer-2", TILLROLL_CLAIM_AFTER="0.5")
    await orders_are(engine, 40)
    await drained(redis)


async def test_without_postgres_the_batch_is_held_and_the_process_says_so_and_lives(
    run: Run, redis: Redis, engine: AsyncEngine, servers: Servers
) -> None:
    consumer = run()
    wait_until(consumer.is_ready, "ready")
    servers.postgres.kill()
    await accept(redis, 25)
    wait_until(lambda: "held for" in consumer.body("/ready"), "it says how long it holds", 25)
    assert consumer.get("/ready") == 503
    assert consumer.get("/health") == 200
    assert await pending(redis) > 0
    servers.postgres.start()
    await orders_are(engine, 25)
    await drained(redis)
    wait_until(consumer.is_ready, "ready again")
    assert not consumer.is_dead()
    assert await count(engine, "dead_letters") == 0


async def test_it_starts_without_its_servers_and_takes_up_work_when_they_come(
    run: Run, redis: Redis, engine: AsyncEngine, servers: Servers
) -> None:
    await accept(redis, 5)
    servers.redis.kill()
    servers.postgres.kill()
    consumer = run()
    wait_until(lambda: consumer.get("/health") == 200, "alive")
    assert consumer.get("/ready") == 503
    servers.redis.start()
    servers.postgres.start()
    await orders_are(engine, 5)
    wait_until(consumer.is_ready, "ready")


async def test_a_redis_that_dies_and_comes_back_is_read_on(
    run: Run, redis: Redis, engine: AsyncEngine, servers: Servers
) -> None:
    consumer = run()
    wait_until(consumer.is_ready, "ready")
    await accept(redis, 5, "before")
    await drained(redis)
    servers.redis.kill()
    wait_until(lambda: consumer.get("/ready") == 503, "not ready")
    assert consumer.get("/health") == 200
    servers.redis.start()
    await accept(redis, 5, "after")
    await orders_are(engine, 10)
    wait_until(consumer.is_ready, "ready again")


async def test_the_loss_of_the_group_skips_nothing_and_needs_nobody(
    run: Run, redis: Redis, engine: AsyncEngine
) -> None:
    consumer = run()
    wait_until(consumer.is_ready, "ready")
    await accept(redis, 5, "before")
    await drained(redis)
    for round_number in range(2):
        await redis.xgroup_destroy(STREAM, GROUP)
        await accept(redis, 5, f"after_{round_number}")
        await orders_are(engine, 10 + 5 * round_number)
        wait_until(consumer.is_ready, "ready again")
    assert consumer.get("/health") == 200
    assert await count(engine, "dead_letters") == 0


async def test_the_loss_of_all_of_redis_brings_the_names_back(run: Run, redis: Redis, engine: AsyncEngine) -> None:
    consumer = run()
    wait_until(consumer.is_ready, "ready")
    names_before = await accept(redis, 5)
    await drained(redis)
    await redis.delete(*[key async for key in redis.scan_iter("*")])
    await until(lambda: redis.exists(NAMES_LOADED))
    assert [await redis.get(name_key(name)) for name in names_before] == [str(name).encode() for name in names_before]
    wait_until(consumer.is_ready, "ready again")
    await accept(redis, 3, "after")
    await orders_are(engine, 8)


async def test_a_read_only_redis_is_waited_out_without_a_hot_loop(run: Run, redis: Redis, engine: AsyncEngine) -> None:
    consumer = run()
    wait_until(consumer.is_ready, "ready")

    async def reads() -> int:
        stats = await redis.info("commandstats")
        return int(stats.get("cmdstat_xreadgroup", {}).get("calls", 0)) + int(
            stats.get("cmdstat_xreadgroup", {}).get("rejected_calls", 0)
        )

    await redis.config_set("min-replicas-to-write", 1)  # every write is refused: NOREPLICAS
    try:
        before = await reads()

        async def has_tried() -> bool:
            return await reads() > before + 3

        await until(has_tried)
        seconds = 3
        start, deadline = await reads(), (await redis.time())[0] + seconds

        async def is_later() -> bool:
            return (await redis.time())[0] >= deadline

        await until(is_later)
        assert await reads() - start < 20 * seconds
    finally:
        await redis.config_set("min-replicas-to-write", 0)
    await accept(redis, 5)
    await orders_are(engine, 5)
    assert consumer.get("/health") == 200


async def test_poison_beside_good_entries_harms_nobody_and_a_flood_of_it_pauses_intake(
    run: Run, redis: Redis, engine: AsyncEngine
) -> None:
    consumer = run(TILLROLL_DEAD_LETTER_LIMIT="10")
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
    run: Run, redis: Redis, engine: AsyncEngine, tmp_path: Path
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
    consumer = run(program=(str(program),))
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


async def test_sigterm_ends_a_consumer_that_holds_a_batch(
    run: Run, redis: Redis, engine: AsyncEngine, servers: Servers
) -> None:
    consumer = run()
    wait_until(consumer.is_ready, "ready")
    servers.postgres.kill()
    await accept(redis, 5)
    await until(lambda: pending(redis))
    wait_until(lambda: "batch_held" in consumer.log.read_text(), "it holds")
    assert consumer.process is not None
    consumer.process.send_signal(signal.SIGTERM)
    consumer.process.wait(10)
    assert await pending(redis) > 0
    servers.postgres.start()
    consumer.start()
    await orders_are(engine, 5)
    await drained(redis)
