"""Real servers for tests: started once, stopped, killed and started again on the same data. Knows no table or key."""

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import redis

from services.cli.children import spawn_options
from services.cli.embedded import Server
from shared.streams import NAMES_LOADED

DEADLINE = 60  # seconds; for what is true within one on a quiet machine
_ENDS_WITHIN = 180  # seconds; a shutdown writes all that is dirty, and a disk may be busy with something else


class RunningServer:
    """One server process that a test may stop or kill and start again; its data stays."""

    def __init__(self, server: Server, log: Path, answers: Callable[[], bool], stop_signal: signal.Signals) -> None:
        self.url = server.url
        self.version = server.version
        self.process: subprocess.Popen[bytes] | None = None
        self._server = server
        self.log = log
        self._answers = answers
        self._stop_signal = stop_signal

    def start(self) -> None:
        """Returns when the server answers; does nothing when it runs already."""
        if self.process is not None and self.process.poll() is None:
            return
        options = spawn_options(self._server.account, self._stop_signal)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._server.argv,
                env=self._server.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                **options,
            )
        wait_until(self._answers, f"{self._server.name} answers; its log is {self.log}")

    def stop(self) -> None:
        """A clean shutdown."""
        self._end(self._stop_signal)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(_ENDS_WITHIN)
            self.process = None


class Servers:
    """A Redis and a migrated PostgreSQL."""

    def __init__(self, redis: RunningServer, postgres: RunningServer) -> None:
        self.redis = redis
        self.postgres = postgres

    @property
    def redis_url(self) -> str:
        """`unix://...`"""
        return self.redis.url

    @property
    def database_url(self) -> str:
        """libpq form, over a unix socket."""
        return self.postgres.url

    def clean(self) -> None:
        """Both running, every key deleted, every table but the migrations' own emptied, the names marked as loaded."""
        self.redis.start()
        self.postgres.start()
        with redis.Redis.from_url(self.redis_url) as client:
            for keys in iter(lambda: client.scan(0, count=100_000)[1], []):
                client.delete(*keys)
            client.set(NAMES_LOADED, b"1")
        run_apart(_truncate(self.database_url))


def answers_redis(url: str) -> bool:
    """Whether the server has loaded its data and takes commands."""
    try:
        with redis.Redis.from_url(url) as client:
            return bool(client.ping())
    except (redis.RedisError, OSError):
        return False


def answers_postgres(url: str) -> bool:
    """Whether the server lets us in."""

    async def ask() -> None:
        connection = await asyncpg.connect(url, timeout=5)
        await connection.close()

    try:
        run_apart(ask())
    except (asyncpg.PostgresError, OSError, TimeoutError):
        return False
    return True


def run_apart(work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` in a thread with an event loop of its own, so that sync fixtures never touch the test's loop."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


def wait_until(fact: Callable[[], bool], sentence: str, seconds: float = DEADLINE) -> None:
    """Polls `fact`; fails the test with `sentence` when it has not become true in time."""
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, f"not within {seconds} s: {sentence}"
        time.sleep(0.02)


async def _truncate(database_url: str) -> None:
    connection = await asyncpg.connect(database_url, server_settings={"lock_timeout": "5s"})
    try:
        tables = await connection.fetch(
            "SELECT relation.oid::regclass::text, relation.relkind = 'p' FROM pg_class relation"
            " WHERE relation.relnamespace = 'public'::regnamespace AND relation.relkind IN ('r', 'p')"
            " AND NOT relation.relispartition AND relation.relname <> 'alembic_version'"
        )
        full = [table for table, is_parted in tables if not is_parted or await _has_rows(connection, table)]
        if full:  # the files of an empty partitioned table are many, and truncating it makes all of them anew
            await connection.execute(f"TRUNCATE {', '.join(full)} RESTART IDENTITY CASCADE")
    finally:
        await connection.close()


async def _has_rows(connection: "asyncpg.Connection[asyncpg.Record]", table: str) -> bool:
    return bool(await connection.fetchval(f"SELECT EXISTS (SELECT FROM {table})"))
