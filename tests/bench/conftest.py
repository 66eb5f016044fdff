"""Keys and tokens of a benchmark, and a database for the afternoon version. TILLROLL_SLOW=1 asks for a whole run."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from asyncpg import Record

from services.bench.shoppers import Shoppers, prepare_shoppers
from services.cart.catalog import load_catalog
from services.orders.migrate import migrate
from shared.settings import Settings
from tests.bench.afternoon_tables import make_tables

collect_ignore = [] if os.environ.get("TILLROLL_SLOW") == "1" else ["test_whole_run.py"]


@pytest.fixture(scope="session")
def shoppers(tmp_path_factory: pytest.TempPathFactory) -> Shoppers:
    """Three of them."""
    return prepare_shoppers(tmp_path_factory.mktemp("shoppers"), load_catalog(Settings()), users=3)


@asynccontextmanager
async def empty_database(settings: Settings, name: str) -> AsyncIterator[tuple[str, "asyncpg.Connection[Record]"]]:
    """The url of one on the tests' own Postgres, and a connection beside it."""
    url = settings.database_url.get_secret_value()
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {name}")
        yield url.replace("/tillroll?", f"/{name}?"), connection
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


@pytest.fixture
async def afternoon_url(settings: Settings) -> AsyncIterator[str]:
    """The afternoon version's empty database."""
    async with empty_database(settings, "afternoon") as (own, _):
        await make_tables(own)
        yield own


@pytest.fixture
def token(shoppers: Shoppers) -> str:
    """The first shopper's."""
    return Path(shoppers.tokens_file).read_text().splitlines()[0]


@pytest.fixture
async def orders_url(settings: Settings) -> AsyncIterator[str]:
    """An empty database of the product."""
    async with empty_database(settings, "growth") as (own, beside):
        await asyncio.to_thread(migrate, own)
        yield own
        await beside.execute("ALTER SYSTEM RESET full_page_writes")
        await beside.execute("SELECT pg_reload_conf()")
