"""The operators' commands in processes of their own, and the runbook for restoring walked command by command."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from redis.asyncio import Redis
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from services.cli.embedded_postgres import find_postgres
from services.orders.archive import LIVE
from services.orders.rebuild_checksum import CHECKSUM, read_checksum
from shared.settings import Settings
from shared.streams import STREAM
from tests.builders import a_change, a_checkout
from tests.integration.operators import consume, put
from tests.legacy_shop import an_order, leave
from tests.tables import execute, rows

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "docs/runbooks"


@pytest.fixture
def environment(settings: Settings, tmp_path: Path) -> dict[str, str]:
    """What a shell of an operator has: the servers' URLs, the clients of PostgreSQL, `tillroll`."""
    command = tmp_path / "bin" / "tillroll"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m services.cli "$@"\n')
    command.chmod(0o755)
    return {
        "PATH": f"{command.parent}:{find_postgres()}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TILLROLL_DATA_DIR": str(tmp_path),
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "DATABASE_URL": settings.database_url.get_secret_value(),
    }


async def sh(environment: dict[str, str], script: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-euo", "pipefail", "-c", script]
    return await asyncio.to_thread(
        subprocess.run, command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


async def a_morning(engine: AsyncEngine, redis: Redis, settings: Settings) -> list[Any]:
    orders = [await put(redis, a_checkout(f"user_{number}")) for number in range(20)]
    await put(redis, a_change(orders[0], user="user_0"))
    await consume(engine, redis, settings)
    return orders


async def test_each_command_tells_its_finding_by_its_exit_code_and_as_json(
    settings: Settings, engine: AsyncEngine, redis: Redis, environment: dict[str, str], tmp_path: Path
) -> None:
    orders = await a_morning(engine, redis, settings)

    async def tillroll(arguments: str, code: int) -> Any:
        done = await sh(environment, f"tillroll {arguments} --json", tmp_path)
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout) if done.stdout else done.stderr

    assert (await tillroll("reconcile", 0))["is_clean"]
    await execute(engine, "DELETE FROM order_items WHERE order_id = :id AND line = 1", id=orders[3])
    found = await tillroll("reconcile", 1)
    assert [row["key"] for row in found["discrepancies"]] == [f"{orders[3]}/1"]
    assert "reason is required" in await tillroll("reconcile --fix", 1)
    assert (await tillroll("reconcile --fix --why 'a slip of the pen'", 0))["fixed"] == 1
    await execute(engine, "UPDATE orders SET total = 1 WHERE id = :id", id=orders[4])
    compared = await tillroll("rebuild --dry-run", 1)
    assert not compared["is_equal"]
    assert "reason is required" in await tillroll("rebuild", 1)
    assert (await tillroll("rebuild --why 'a wrong total'", 0))["is_swapped"]
    assert (await tillroll("reconcile", 0))["is_clean"]
    assert (await tillroll("stream reposition --to 0", 0))["again"] == 21
    assert (await tillroll("stream reposition --to 0 --yes --why drill", 0))["is_moved"]
    await consume(engine, redis, settings)
    environment["TILLROLL_STREAM_RETENTION"] = "0"
    assert (await tillroll("stream trim --dry-run", 0))["trimmed"] == 21
    assert await redis.xlen(STREAM) == 21
    assert (await tillroll("stream trim --why drill", 0))["trimmed"] == 21
    assert (await tillroll(f"explain {orders[0]}", 0))["status"] == "paid"
    await tillroll(f"explain {uuid4()}", 1)
    await leave(redis, "user_old", [an_order(), an_order(id="x", total=None)])
    planned = await tillroll("legacy import", 1)
    assert (planned["orders"]["published"], len(planned["orders"]["damages"])) == (1, 1)
    assert await redis.xlen(STREAM) == 0
    trail = await rows(engine, "SELECT action, why, phase FROM audit ORDER BY seq")
    assert [(action, phase) for action, _, phase in trail] == [
        (action, phase)
        for action in ("reconcile", "rebuild", "stream reposition", "stream trim")
        for phase in ("begun", "done")
    ]


async def test_the_runbook_restores_every_row_from_a_backup_and_the_stream(
    settings: Settings, engine: AsyncEngine, redis: Redis, environment: dict[str, str], tmp_path: Path
) -> None:
    await a_morning(engine, redis, settings)
    backup, restore, catch_up = re.findall(
        r"```sh\n(.*?)```", (RUNBOOKS / "backup-and-restore.md").read_text(), re.DOTALL
    )
    done = await sh(environment, backup, tmp_path)
    assert done.returncode == 0, done.stderr
    await a_morning(engine, redis, settings)  # after the backup
    async with engine.connect() as connection:
        lost = await read_checksum(connection, LIVE)
    assert lost is not None
    url = make_url(environment["DATABASE_URL"])
    admin = await asyncpg.connect(environment["DATABASE_URL"])
    await admin.execute("DROP DATABASE IF EXISTS restored")
    await admin.execute("CREATE DATABASE restored")
    try:
        environment["RESTORED_URL"] = url.set(database="restored").render_as_string(hide_password=False)
        for script in (restore, catch_up):
            done = await sh(environment, script, tmp_path)
            assert done.returncode == 0, done.stdout + done.stderr
        restored = await asyncpg.connect(environment["RESTORED_URL"])
        checksum, rows = await restored.fetchrow(CHECKSUM.format(schema=LIVE))
        await restored.close()
        assert (checksum, json.loads(rows)) == (lost.text, lost.rows)
    finally:
        await admin.execute("DROP DATABASE restored WITH (FORCE)")
        await admin.close()


@pytest.mark.parametrize("runbook", sorted(path.name for path in RUNBOOKS.glob("*.md")))
def test_every_command_of_the_runbooks_exists(runbook: str) -> None:
    scripts = re.findall(r"```sh\n(.*?)```", (RUNBOOKS / runbook).read_text(), re.DOTALL)
    for command in re.findall(r"tillroll ([a-z-]+(?: (?:import|trim|reposition))?)", "".join(scripts)):
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", *command.split(), "--help"],
            cwd=ROOT,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, command
