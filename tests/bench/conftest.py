"""Keys and tokens of a benchmark, and a database for the afternoon version. TILLROLL_SLOW=1 asks for a whole run."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

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


@pytest.fixture
async def afternoon_url(settings: Settings) -> AsyncIterator[str]:
    """The afternoon version's empty database on the tests' own Postgres."""
    url = settings.database_url.get_secret_value()
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("DROP DATABASE IF EXISTS afternoon WITH (FORCE)")
        await connection.execute("CREATE DATABASE afternoon")
        own = url.replace("/tillroll?", "/afternoon?")
        await make_tables(own)
        yield own
        await connection.execute("DROP DATABASE afternoon WITH (FORCE)")
    finally:
        await connection.close()


@pytest.fixture
def token(shoppers: Shoppers) -> str:
    """The first shopper's."""
    return Path(shoppers.tokens_file).read_text().splitlines()[0]


@pytest.fixture
async def orders_url(settings: Settings) -> AsyncIterator[str]:
    """An empty database of the product on the tests' own Postgres."""
    url = settings.database_url.get_secret_value()
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("DROP DATABASE IF EXISTS growth WITH (FORCE)")
        await connection.execute("CREATE DATABASE growth")
        own = url.replace("/tillroll?", "/growth?")
        await asyncio.to_thread(migrate, own)
        yield own
        await connection.execute("DROP DATABASE growth WITH (FORCE)")
        await connection.execute("ALTER SYSTEM RESET full_page_writes")
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()
