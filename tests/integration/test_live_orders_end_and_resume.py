"""A stream ends with its life, its servers or its process, as a whole, and can be resumed."""

import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.cli.system import ROOT, free_port
from services.orders import live_orders
from services.orders.change_status import change_status
from shared.events import Status
from shared.issuer import issue_development_token
from shared.settings import Settings
from tests.events import EventSource
from tests.integration.live_stage import Door, seen
from tests.integration.orders_stage import a_checkout, accept
from tests.servers import Servers
from tests.waiting import until


async def test_a_stream_ends_after_its_life_and_can_be_resumed(
    door: Door, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_orders, "STREAM_LIFE", timedelta(milliseconds=200))
    await accept(redis, a_checkout())
    first = await door.listen()
    await first.next()
    assert await first.next_or_end() is None
    order = await accept(redis, a_checkout())
    second = await door.listen(last_seen=first.last_id)
    assert seen(await second.next()) == ("order", str(order), "processing")


async def test_without_redis_streams_end_and_are_refused_until_it_is_back(
    door: Door, redis: Redis, servers: Servers
) -> None:
    await accept(redis, a_checkout())
    anna = await door.listen()
    await anna.next()
    last_seen = anna.last_id
    servers.redis.stop()
    assert await anna.next_or_end() is None
    assert 1000 <= anna.retry <= 5000
    answer = await door.refused()
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    servers.redis.start()
    order = await accept(redis, a_checkout())
    resumed = await door.listen(last_seen=last_seen)
    assert seen(await resumed.next()) == ("order", str(order), "processing")


async def test_without_postgres_a_resumed_stream_goes_on_and_a_new_one_is_refused(
    door: Door, redis: Redis, servers: Servers, engine: AsyncEngine, settings: Settings
) -> None:
    order = await accept(redis, a_checkout())
    anna = await door.listen()
    await anna.next()
    servers.postgres.stop()
    assert (await door.refused()).status_code == 503
    resumed = await door.listen(last_seen=anna.last_id)
    await change_status(redis, engine, settings, "anna", order, Status.PAID)
    assert seen(await anna.next()) == ("order", str(order), "paid")
    assert seen(await resumed.next()) == ("order", str(order), "paid")


async def test_a_stopped_process_ends_its_streams_and_goes(settings: Settings, tmp_path: Path) -> None:
    port = free_port()
    env = {
        "PATH": os.environ["PATH"],
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "TILLROLL_DATA_DIR": str(settings.data_dir),
    }
    argv = [sys.executable, "-m", "uvicorn", "services.orders.app:create_app", "--factory", "--port", str(port)]
    with (tmp_path / "orders.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*argv, env=env, stdout=log, stderr=log, cwd=ROOT)
    headers = {"Authorization": f"Bearer {issue_development_token(settings, 'anna')}"}
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as http:
            await until(lambda: _is_ready(http))
            async with http.stream("GET", "/api/orders/events", headers=headers) as response:
                anna = EventSource(response)
                await anna.next()
                process.terminate()
                assert await anna.next_or_end() is None, "the stream ends as a whole, not as a broken connection"
            async with asyncio.timeout(10):
                await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
    assert "Finished server process" in (tmp_path / "orders.log").read_text()


async def _is_ready(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/ready")).status_code == 200
    except httpx.TransportError:
        return False
