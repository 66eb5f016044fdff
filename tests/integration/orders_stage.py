"""Sets the stage for the orders service: what accepting leaves in Redis and what recording leaves in Postgres."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import httpx
import sqlalchemy as sa
from fastapi import FastAPI
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders import app as orders_app
from services.orders.tables import events, order_items, orders
from shared.auth import issue_development_token
from shared.events import CheckoutCompleted, Event, Line, StatusChanged, content_hash, decode, encode
from shared.settings import Settings
from shared.streams import STREAM, order_key, overlay_key, user_digest

MORNING = 1_767_254_400_123  # 2026-01-01T08:00:00.123Z in ms
MINUTE = 60_000  # ms

HEADPHONES = Line(product_id="1", title="Wireless Headphones", unit_price=Decimal(129), quantity=1)
TWO_KEYBOARDS = Line(product_id="2", title="Mechanical Keyboard", unit_price=Decimal(149), quantity=2)
MOUSE_PAD = Line(product_id="3", title="Gaming Mouse Pad", unit_price=Decimal("39.50"), quantity=1)


def a_checkout(user_id: str = "anna", *lines: Line, payment_session_id: str | None = None) -> CheckoutCompleted:
    """A checkout of Anna's headphones, unless told otherwise."""
    lines = lines or (HEADPHONES,)
    total = sum((line.unit_price or Decimal(0)) * line.quantity for line in lines)
    return CheckoutCompleted(
        user_id=user_id, lines=lines, total=Decimal(total), fingerprint="0" * 64, payment_session_id=payment_session_id
    )


async def accept(redis: Redis, event: Event, event_id: UUID | None = None, accepted_at: int = MORNING) -> UUID:
    """Leaves `event` as accepting does: in the stream, in the user's overlay and, for a checkout, as its record."""
    event_id = event_id or uuid4()
    payload = encode(event)
    await redis.xadd(STREAM, {"event_id": str(event_id), "payload": payload, "accepted_at": accepted_at})
    noted = b'{"accepted_at":%d,"event":%s}' % (accepted_at, payload)
    await redis.hset(overlay_key(event.user_id), str(event_id), noted)
    if isinstance(event, CheckoutCompleted):
        record: Any = {
            "user": user_digest(event.user_id),
            "fingerprint": event.fingerprint,
            "key": "",
            "status": "processing",
            "accepted_at": accepted_at,
            "payload": payload,
        }
        await redis.hset(order_key(event_id), mapping=record)
    return event_id


async def record(
    engine: AsyncEngine,
    checkout: CheckoutCompleted,
    order_id: UUID | None = None,
    accepted_at: int = MORNING,
    status: str = "processing",
) -> UUID:
    """Leaves `checkout` as recording does: archived, with its order and its line items."""
    order_id = order_id or uuid4()
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=accepted_at)
    archived = {
        "event_id": order_id,
        "type": checkout.type,
        "user_id": checkout.user_id,
        "order_id": order_id,
        "content_hash": content_hash(checkout),
        "payload": checkout.model_dump(mode="json"),
        "stream": STREAM,
        "entry_id": f"{accepted_at}-0",
        "accepted_at": moment,
    }
    order = {
        "id": order_id,
        "user_id": checkout.user_id,
        "total": checkout.total,
        "status": status,
        "created_at": moment,
        "payment_session_id": checkout.payment_session_id,
    }
    lines = [line.model_dump() | {"order_id": order_id, "line": n} for n, line in enumerate(checkout.lines)]
    async with engine.begin() as connection:
        await connection.execute(sa.insert(events), archived)
        await connection.execute(sa.insert(orders), order)
        await connection.execute(sa.insert(order_items), lines)
    return order_id


async def forget(redis: Redis, user_id: str, *event_ids: UUID) -> None:
    """Leaves the overlay as the consumer does after its commit."""
    await redis.hdel(overlay_key(user_id), *map(str, event_ids))


async def fields_in_stream(redis: Redis) -> list[Any]:
    """The fields of every entry, oldest first."""
    entries: Any = await redis.xrange(STREAM)
    return [fields for _entry_id, fields in entries]


async def moves_in_stream(redis: Redis) -> list[str]:
    """The statuses of all status changes that the stream holds."""
    written = [decode(fields[b"payload"]) for fields in await fields_in_stream(redis)]
    return [str(event.status) for event in written if isinstance(event, StatusChanged)]


@asynccontextmanager
async def serving(settings: Settings, app: FastAPI | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a running orders service (or of another `app`)."""
    app = app or orders_app.build(settings)
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://till") as http:
        yield http


def signed_in(settings: Settings, user_id: str = "anna", admin: bool = False) -> dict[str, str]:
    """The headers of a signed-in user."""
    return {"Authorization": f"Bearer {issue_development_token(settings, user_id, admin)}"}
