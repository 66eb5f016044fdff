"""The processes of a deployment, started before everything that they need."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from services.cli.healthcheck import ask
from services.cli.system import free_port
from tests.servers import Servers, wait_until

ROOT = Path(__file__).parents[2]
EMPTY = "not_migrated"


class Started:
    """A command of ours, its words in a file."""

    def __init__(self, folder: Path, name: str, *argv: str, **env: str) -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            argv = (sys.executable, "-m", "services.cli", *argv)
            self.process = subprocess.Popen(argv, env=os.environ | env, cwd=ROOT, stdout=log, stderr=log)

    def says(self, *words: str) -> bool:
        """Whether one line of the log has all of `words`."""
        return any(all(word in line for word in words) for line in self.log.read_text().splitlines())


@pytest.fixture
async def empty_database(servers: Servers) -> str:
    """The URL of a database that no migration has seen."""
    connection = await asyncpg.connect(servers.database_url)
    await connection.execute(f"DROP DATABASE IF EXISTS {EMPTY} WITH (FORCE)")
    await connection.execute(f"CREATE DATABASE {EMPTY}")
    await connection.close()
    return urlunsplit(urlsplit(servers.database_url)._replace(path=f"/{EMPTY}"))


@pytest.fixture
def no_servers(servers: Servers) -> Iterator[Servers]:
    """Neither Redis nor Postgres runs; the test may start them."""
    servers.clean()
    servers.redis.stop()
    servers.postgres.stop()
    yield servers
    servers.redis.start()
    servers.postgres.start()


def test_processes_that_start_before_everything_they_need_say_so_and_are_ready_once_it_is_there(
    empty_database: str, no_servers: Servers, tmp_path: Path
) -> None:
    env = {"REDIS_URL": no_servers.redis_url, "DATABASE_URL": empty_database, "TILLROLL_DATA_DIR": str(tmp_path)}
    ports = {name: free_port() for name in ("cart", "orders-consumer")}
    served = {
        name: Started(tmp_path, name, "serve", name, "--host", "127.0.0.1", "--port", str(port), **env)
        for name, port in ports.items()
    }
    migrate = Started(tmp_path, "migrate", "migrate", "--wait", "60", **env)
    try:
        wait_until(lambda: migrate.says("waiting for Postgres"), "migrate waits")
        wait_until(lambda: served["cart"].says('"waiting"', "error"), "the cart says what it waits for")
        wait_until(lambda: served["orders-consumer"].says('"waiting"', "redis"), "so does the consumer")
        assert ask(f"http://127.0.0.1:{ports['cart']}/health")[0], "alive while it waits"

        no_servers.redis.start()
        wait_until(lambda: served["cart"].says('"event": "ready"'), "the cart is ready without Postgres")
        assert not ask(f"http://127.0.0.1:{ports['orders-consumer']}/ready")[0]

        no_servers.postgres.start()
        assert migrate.process.wait(30) == 0
        wait_until(lambda: served["orders-consumer"].says('"event": "ready"'), "the consumer is ready")
        for one in served.values():
            one.process.send_signal(signal.SIGTERM)
        assert {one.process.wait(30) for one in served.values()} <= {0, -signal.SIGTERM}
    finally:
        for one in (*served.values(), migrate):
            one.process.kill()
            one.process.wait()


def test_production_without_an_issuer_to_trust_is_refused_in_one_sentence(tmp_path: Path) -> None:
    refused = Started(tmp_path, "cart", "serve", "cart", "--port", str(free_port()), TILLROLL_MODE="production")
    assert refused.process.wait(30) == 1
    [line] = refused.log.read_text().splitlines()
    assert line.startswith("tillroll: TILLROLL_JWKS must name")
