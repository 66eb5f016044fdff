"""A replay that is killed with -9 in its middle and resumed does what its preview said, to the unit.

2,000 events here; 100,000 with TILLROLL_SLOW=1.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.cli.system import ROOT, free_port
from services.orders.record_events import record_batch
from shared.settings import Settings
from shared.streams import STREAM
from tests.builders import a_checkout, an_entry, fields_of
from tests.integration.operators import checksum
from tests.tables import rows
from tests.waiting import until

EVENTS = 100_000 if os.environ.get("TILLROLL_SLOW") == "1" else 2_000
LOST = EVENTS // 10
TABLES = ("orders", "order_items", "order_statuses")


@contextmanager
def process(settings: Settings, *argv: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process on the test's servers, killed at the end."""
    env = os.environ | {
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "TILLROLL_DATA_DIR": str(settings.data_dir),
    }
    with subprocess.Popen(
        [sys.executable, *argv], cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        try:
            yield running
        finally:
            running.kill()


async def test_a_replay_killed_in_its_middle_and_resumed_is_exact(
    engine: AsyncEngine, redis: Redis, settings: Settings
) -> None:
    for start in range(0, EVENTS, 500):
        checkouts = [(UUID(int=n + 1), a_checkout(f"user_{n % 97}")) for n in range(start, start + 500)]
        await record_batch(engine, [an_entry(event, order_id) for order_id, event in checkouts], "consumer-1")
        async with redis.pipeline(transaction=False) as pipeline:
            for order_id, event in checkouts:
                pipeline.xadd(STREAM, fields_of(event, order_id))
            await pipeline.execute()
    await redis.xgroup_create(STREAM, "orders", "$")
    whole = await checksum(engine, *TABLES)
    async with engine.begin() as connection:  # a tenth is lost
        for table, column in (
            ("order_items", "order_id"),
            ("orders", "id"),
            ("order_statuses", "order_id"),
            ("events", "event_id"),
        ):
            await connection.execute(
                text(f"DELETE FROM {table} WHERE {column} IN (SELECT event_id FROM events WHERE event_id <= :last)"),
                {"last": UUID(int=LOST)},
            )
    consumer = ["-m", "uvicorn", "--factory", "services.orders.consumer:create_app", "--port", str(free_port())]
    cli = ["-m", "services.cli", "replay"]
    with process(settings, *consumer, "--log-level", "critical"):
        with process(settings, *cli, "run", "--rate", "1000", "--why", "a tenth is lost") as killed:
            await until(lambda: _sent(engine, EVENTS // 3), 300)
            killed.send_signal(signal.SIGKILL)
            killed.wait()
        [(run_id, sent, status)] = await rows(engine, "SELECT run_id, sent, status FROM replays")
        assert EVENTS // 3 <= sent < EVENTS
        assert status == "running"
        with process(settings, *cli, "resume", str(run_id), "--why", "it was killed", "--json") as resumed:
            await until(lambda: _has_ended(resumed), 600)
            assert resumed.stdout is not None
            assert resumed.stderr is not None
            told = resumed.stdout.read()
            assert resumed.returncode == 0, told + resumed.stderr.read()
    result = json.loads(told)
    assert result["result"] == result["planned"] == {
        "insert": LOST, "already_there": EVENTS - LOST, "conflict": 0, "reject": 0, "total": EVENTS,
    }  # fmt: skip
    assert result["sent"] == EVENTS
    assert await redis.xlen(STREAM) == 2 * EVENTS, "no event went twice"
    assert await checksum(engine, *TABLES) == whole
    assert await rows(engine, "SELECT count(*), count(DISTINCT entry_id) FROM replayed_events") == [(EVENTS, EVENTS)]


async def _sent(engine: AsyncEngine, count: int) -> bool:
    found = await rows(engine, "SELECT sent FROM replays")
    return bool(found) and found[0][0] >= count


async def _has_ended(running: "subprocess.Popen[str]") -> bool:
    return running.poll() is not None


async def test_the_terminal_tells_previews_and_refuses_to_act_without_a_reason(
    engine: AsyncEngine, redis: Redis, settings: Settings
) -> None:
    await redis.xadd(STREAM, fields_of(a_checkout("anna"), UUID(int=1)))
    await redis.xadd(STREAM, {"payload": "no name"})

    def run(*argv: str) -> tuple[int, str, str]:
        with process(settings, "-m", "services.cli", *argv) as running:
            out, err = running.communicate(timeout=60)
            return running.returncode, out, err

    code, out, err = run("replay", "run", "--dry-run", "--each")
    assert (code, "planned: 1 insert, 0 already there, 0 conflict, 1 reject, 2 total" in out) == (1, True), out + err
    assert re.search(r"^insert\s+00000000-0000-0000-0000-000000000001", out, re.M)
    assert run("replay", "run", "--user", "anna", "--dry-run")[0] == 0
    assert run("replay", "run")[::2] == (1, "tillroll: A reason is required, of at most 1000 characters\n")
    assert "--from" in run("stream", "entries", "--from", "tomorrow")[2]
    assert [
        entry["entry_id"] for entry in json.loads(run("stream", "entries", "--user", "anna", "--json")[1])["entries"]
    ]
    assert json.loads(run("stream", "info", "--json")[1])["length"] == 2
    assert run("dead-letters", "requeue", "--why", "x")[0] == 2, "neither ids nor filters nor --all"
    assert run("audit", "verify")[0] == 0
    assert len(json.loads(run("replay", "list", "--json")[1])) == 2
