"""Scratch tables in which the consumer's own code records without touching a live row: for previews and comparisons.

They are temporary tables of one connection that can see no live table by its bare name: should that connection be
replaced, there is no table left to write to, and whatever happens to this process, nothing of them remains.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from services.orders.entries import Entry
from services.orders.parse_entry import parse_entry
from services.orders.record_events import BatchResult, record_batch
from shared.errors import Unrecordable

TABLES = ("event_owners", "events", "orders", "order_items", "order_statuses", "dead_letters")
"""What the consumer writes."""

_CONSUMER = "scratch"


class Scratch:
    """The tables of one run. `engine` sees them alone; `live` is the quoted name of the schema of the live ones."""

    def __init__(self, engine: AsyncEngine, live: str) -> None:
        self.engine = engine
        self.live = live

    async def seed(self, entries: Sequence[Entry]) -> None:
        """Copies every live row that the consumer would look at for `entries`; what is here already stays as it is."""
        event_ids, order_ids = set(), set()
        for entry in entries:
            try:
                arrival = parse_entry(entry)
            except Unrecordable:
                continue
            event_ids.add(arrival.event_id)
            order_ids.add(arrival.order_id)
        if not event_ids:
            return
        ids = {"event_ids": list(event_ids), "order_ids": list(order_ids)}
        async with self.engine.begin() as connection:
            for table, chosen in _SEEDED.items():
                copied = f"SELECT * FROM {self.live}.{table} WHERE {chosen}"  # noqa: S608  names of our own
                await connection.execute(text(f"INSERT INTO {table} {copied} ON CONFLICT DO NOTHING"), ids)

    async def record(self, entries: Sequence[Entry]) -> BatchResult:
        """What the consumer makes of `entries`, in these tables."""
        return await record_batch(self.engine, entries, _CONSUMER)

    async def rows(self, query: str, **values: Any) -> list[Any]:
        """The rows of `query`; `{live}` in it stands for the schema of the live tables."""
        async with self.engine.connect() as connection:
            return list(await connection.execute(text(query.replace("{live}", self.live)), values))


_SEEDED = {
    "event_owners": "event_id = ANY(CAST(:event_ids AS uuid[]))",
    "events": "event_id = ANY(CAST(:event_ids AS uuid[])) OR order_id = ANY(CAST(:order_ids AS uuid[]))",
    "orders": "id = ANY(CAST(:order_ids AS uuid[]))",
    "order_statuses": "order_id = ANY(CAST(:order_ids AS uuid[]))",
}


@asynccontextmanager
async def open_scratch(engine: AsyncEngine) -> AsyncIterator[Scratch]:
    """Empty tables of the live ones' shape, constraints and defaults, gone at the end."""
    async with engine.connect() as connection:
        live = (await connection.execute(text("SELECT quote_ident(current_schema())"))).scalar_one()
    own = create_async_engine(
        engine.url,
        pool_size=1,
        max_overflow=0,
        hide_parameters=True,
        connect_args={
            "timeout": 3,  # seconds to connect
            "command_timeout": 60,  # seconds a statement
            "server_settings": {"application_name": "tillroll-scratch", "search_path": "pg_temp"},
        },
    )
    try:
        async with own.begin() as connection:
            for table in TABLES:
                await connection.execute(text(f"CREATE TEMP TABLE {table} (LIKE {live}.{table} INCLUDING ALL)"))
        yield Scratch(own, live)
    finally:
        await own.dispose()
