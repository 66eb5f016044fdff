"""Fixtures that every tier shares: real servers, clean for each test.

TILLROLL_TEST_REDIS=6.2|7.0 chooses the Redis. Skips are listed with their reasons at the end (-ra in pyproject.toml);
TILLROLL_REQUIRE=all turns each of them into a failure.
"""

import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.cli.embedded import open_data_folder
from services.cli.embedded_postgres import prepare_postgres
from services.cli.embedded_redis import bundled_redis, find_redis, prepare_redis, redis_version
from shared.postgres import connect_postgres
from shared.redis import connect_redis
from shared.settings import AofPolicy, Settings
from tests.servers import RunningServer, Servers, answers_postgres, answers_redis
from tests.stripe_fake import FakeStripe, open_stripe


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under TILLROLL_REQUIRE=all a skipped test failed."""
    report = yield
    _require(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself."""
    report = yield
    _require(report)
    return report


def _require(report: Any) -> None:
    if os.environ.get("TILLROLL_REQUIRE") == "all" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"TILLROLL_REQUIRE=all, but it was skipped: {report.longrepr[-1]}"


def redis_for_tests() -> Path:
    """The Redis binary that TILLROLL_TEST_REDIS asks for; skips when this machine has none of that version."""
    wanted = os.environ.get("TILLROLL_TEST_REDIS")
    if wanted is None:
        return find_redis()
    candidates = [bundled_redis(), *map(Path, filter(None, [shutil.which("redis-server")]))]
    for binary in filter(None, candidates):
        if redis_version(binary)[1].startswith(f"{wanted}."):
            return binary
    pytest.skip(f"no redis-server {wanted} on this machine")


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """A Redis and a PostgreSQL built by the migrations, for the whole run."""
    from services.orders.migrate import migrate

    binary = redis_for_tests()
    with tempfile.TemporaryDirectory(prefix="tillroll-test-", ignore_cleanup_errors=True) as place:
        folder = open_data_folder(Path(place))
        redis_server = prepare_redis(folder, AofPolicy.ALWAYS, binary)
        postgres_server = prepare_postgres(folder)
        redis = RunningServer(
            redis_server, folder / "redis.log", partial(answers_redis, redis_server.url), signal.SIGTERM
        )
        postgres = RunningServer(
            postgres_server, folder / "postgres.log", partial(answers_postgres, postgres_server.url), signal.SIGINT
        )
        try:
            redis.start()
            postgres.start()
            migrate(postgres.url)
            yield Servers(redis, postgres)
        finally:
            redis.stop()
            postgres.stop()


@pytest.fixture
def settings(servers: Servers, tmp_path: Path) -> Settings:
    """Settings of a system that has never taken an order: no key but the names' marker, no row."""
    servers.clean()
    return Settings(REDIS_URL=servers.redis_url, DATABASE_URL=servers.database_url, data_dir=tmp_path)


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    """A client of the test's Redis."""
    client = connect_redis(settings, "test")
    yield client
    await client.aclose()


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """An engine on the test's PostgreSQL."""
    engine = connect_postgres(settings, "test")
    yield engine
    await engine.dispose()


@pytest.fixture(scope="module")
def stripe() -> Iterator[FakeStripe]:
    """Stripe's fake, one for a module's tests."""
    with open_stripe() as stripe:
        yield stripe
