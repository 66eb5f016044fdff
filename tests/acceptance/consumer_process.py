"""The consumer as a process of its own, and what accepting leaves for it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.cli.system import ROOT, free_port
from shared.settings import Settings
from shared.streams import GROUP, STREAM, overlay_key
from tests.builders import a_checkout, fields_of, names
from tests.tables import count
from tests.waiting import until

UVICORN = ("-m", "uvicorn", "--factory", "--no-access-log")
APP = "services.orders.consumer:create_app"


class Consumer:
    """One consumer process."""

    def __init__(self, settings: Settings, log: Path, program: tuple[str, ...], env: dict[str, str]) -> None:
        self.port = free_port()
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


RunConsumer = Callable[..., Consumer]


@pytest.fixture
def run_consumer(settings: Settings, tmp_path: Path) -> Iterator[RunConsumer]:
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


async def pending(redis: Redis) -> int:
    return int((await redis.xpending(STREAM, GROUP))["pending"])


async def orders_are(engine: AsyncEngine, how_many: int) -> None:
    """Returns when so many are recorded."""

    async def it_is() -> bool:
        return await count(engine, "orders") == how_many

    await until(it_is, 30)


async def drained(redis: Redis) -> None:
    """Returns when everything is read and nothing is pending."""

    async def it_is() -> bool:
        [group] = await redis.xinfo_groups(STREAM)
        stream = await redis.xinfo_stream(STREAM)
        return not group["pending"] and group["last-delivered-id"] == stream["last-generated-id"]

    await until(it_is, 40)
