"""The consumer of the last schema beside today's, as an upgrade runs both: yesterday's code on today's tables.

The code is git's: of the last commit before the newest migration was added, which nobody has to name.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis

from services.cli.system import ROOT, free_port
from shared.streams import STREAM
from tests.acceptance.system import TILLROLL, System, environment
from tests.servers import run_apart, wait_until

MIGRATIONS = "services/orders/migrations/versions"
RECORDED = "SELECT consumer, count(*) FROM events WHERE user_id LIKE $1 || '%' GROUP BY consumer"
BURIED = "SELECT consumer, reason FROM dead_letters WHERE entry_id = $1"


@pytest.fixture
def yesterday(tmp_path: Path) -> Path:
    """The code as it was before the newest migration; skips in a clone whose history does not reach back so far."""
    newest = max((ROOT / MIGRATIONS).glob("[0-9]*.py")).relative_to(ROOT)
    try:
        added = git("log", "--diff-filter=A", "--format=%H", "-1", "--", str(newest)).decode().strip()
        archive = git("archive", "--format=tar", f"{added}^" if added else "HEAD", "services", "shared")
    except (OSError, subprocess.CalledProcessError) as fault:
        pytest.skip(f"no history with the code before {newest.name}: git fetch --unshallow ({fault})")
    subprocess.run(["tar", "-x", "-C", str(tmp_path)], input=archive, check=True)
    assert (tmp_path / MIGRATIONS).is_dir()
    assert not (tmp_path / newest).exists()
    return tmp_path


def git(*command: str) -> bytes:
    """What git says about this clone, whoever owns its files."""
    return subprocess.run(
        ["git", "-C", str(ROOT), "-c", f"safe.directory={ROOT}", *command], capture_output=True, check=True
    ).stdout


@pytest.fixture
def till(place: Path) -> Iterator[System]:
    """Today's system; what a dead consumer had in hand is another's after 2 s."""
    with System(place / "till", env={"TILLROLL_CLAIM_AFTER": "2"}) as system:
        yield system.start()


@pytest.fixture
def old_consumer(yesterday: Path, till: System) -> Iterator[subprocess.Popen[bytes]]:
    """Yesterday's consumer on the stream and the tables of `till`, while today's stands still."""
    till.pause("consumer")
    env = environment(
        {
            "PYTHONPATH": str(yesterday),
            "REDIS_URL": till.state.redis_url,
            "DATABASE_URL": till.state.database_url,
            "TILLROLL_CONSUMER": "yesterday",
            "TILLROLL_CLAIM_AFTER": "2",
            "TILLROLL_DATA_DIR": str(yesterday / "data"),
        }
    )
    command = [sys.executable, "-m", "services.cli", "serve", "orders-consumer", "--host", "127.0.0.1"]
    with (yesterday / "consumer.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(free_port())], env=env, cwd=yesterday, stdout=log, stderr=log
        )
    yield process
    process.kill()
    process.wait()
    till.go_on("consumer")


def recorded(till: System, users: str) -> dict[str, int]:
    """Consumer -> events of users whose name begins so."""
    return select(till, RECORDED, users)


def select(till: System, query: str, argument: str) -> dict[str, Any]:
    """Rows of two columns."""
    found: dict[str, Any] = {}

    async def read() -> None:
        connection = await asyncpg.connect(till.state.database_url)
        found.update(await connection.fetch(query, argument))
        await connection.close()

    run_apart(read())
    return found


def test_yesterday_s_consumer_records_alone_and_beside_today_s_on_today_s_tables(
    old_consumer: subprocess.Popen[bytes], till: System
) -> None:
    bought = till.order("ottilie", {"1": 2}, 258.0).json()["data"]["id"]
    assert till.pay("ottilie", bought).status_code == 200
    with redis.Redis.from_url(till.state.redis_url) as client:
        poison = str(client.xadd(STREAM, {"event_id": "a till roll that got wet"}), "ascii")
    wait_until(lambda: recorded(till, "ottilie") == {"yesterday": 2}, "an order and its payment are recorded")
    [order] = till.orders("ottilie")
    assert (order["id"], order["status"]) == (bought, "paid")
    wait_until(lambda: select(till, BURIED, poison) == {"yesterday": "invalid_event_id"}, "the unreadable is buried")

    demo = subprocess.Popen(
        [*TILLROLL, "demo", "--checkouts", "400", "--json", "--data-dir", str(till.folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment({}),
        cwd="/",
    )
    wait_until(lambda: recorded(till, "demo-").get("yesterday", 0) >= 50, "the old one records alone")
    till.go_on("consumer")
    alone = recorded(till, "demo-")
    assert set(alone) == {"yesterday"}
    more = {"yesterday": alone["yesterday"] + 30, "consumer-1": 30}
    wait_until(lambda: all(recorded(till, "demo-").get(one, 0) >= many for one, many in more.items()), "both record")
    os.kill(old_consumer.pid, signal.SIGKILL)
    printed, progress = demo.communicate(timeout=120)

    verdict = json.loads(printed)
    assert verdict["is_good"], (verdict["differences"], progress)
    assert (verdict["orders"], verdict["duplicates_answered_alike"]) == (400, 1200)
    assert sum(recorded(till, "demo-").values()) == 400
