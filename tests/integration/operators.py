"""Sets the stage for the operators' tools: a consumer's step over the real stream, and what all tables hold."""

from typing import Any
from uuid import UUID, uuid4

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.audit import Operator
from services.orders.claims import ensure_group
from services.orders.entries import Entry, entries_of, keep_raw
from services.orders.intake import Intake
from shared.events import Event
from shared.settings import Settings
from shared.streams import GROUP, STREAM
from tests.builders import fields_of
from tests.tables import rows

OLGA = Operator("olga", "test", "the mouse pads had no price")
TABLES = ("events", "orders", "order_items", "order_statuses", "dead_letters")


async def put(redis: Redis, event: Event, event_id: UUID | None = None) -> UUID:
    """One entry, as accepting writes it."""
    event_id = event_id or uuid4()
    await redis.xadd(STREAM, fields_of(event, event_id))  # type: ignore[arg-type]
    return event_id


async def consume(engine: AsyncEngine, redis: Redis, settings: Settings) -> int:
    """Takes all that the group has not been given, as the consumer does; how many entries."""
    raw: Redis = Redis(connection_pool=redis.connection_pool)
    keep_raw(raw)
    await ensure_group(redis)
    intake, taken = Intake(engine, redis, settings), 0
    while True:
        answer: Any = await raw.xreadgroup(GROUP, settings.consumer, {STREAM: ">"}, count=settings.batch_size)
        entries: list[Entry] = entries_of(answer[0][1]) if answer else []
        if not entries:
            return taken
        await intake.take(entries)
        taken += len(entries)


async def checksum(engine: AsyncEngine, *tables: str, with_versions: bool = False) -> str:
    """One hash of all rows of the tables that the consumer writes; `with_versions` sees a rewritten row too."""
    version = " || row.xmin::text || row.ctid::text" if with_versions else ""
    query = f"SELECT md5(string_agg(row::text{version}, '|' ORDER BY row::text))"
    return str([await rows(engine, f"{query} FROM {table} row") for table in tables or TABLES])
