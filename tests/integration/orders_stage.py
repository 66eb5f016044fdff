"""Sets the stage for the orders service: what accepting leaves in Redis and what recording leaves in Postgres."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import httpx
from fastapi import FastAPI
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders import app as orders_app
from services.orders.record_events import record_batch
from shared.events import CheckoutCompleted, Event, Line, Status, StatusChanged, decode, encode, event_id_of
from shared.issuer import issue_development_token
from shared.settings import Settings
from shared.streams import STREAM, order_key, overlay_key, user_digest
from tests import builders
from tests.builders import HEADPHONES, a_change, an_entry, fields_of

MORNING = 1_767_254_400_123  # 2026-01-01T08:00:00.123Z in ms
MINUTE = 60_000  # ms

MOUSE_PAD = Line(product_id="3", title="Gaming Mouse Pad", unit_price=Decimal("39.50"), quantity=1)


def a_checkout(user_id: str = "anna", *lines: Line, **more: Any) -> CheckoutCompleted:
    """Anna buys headphones, unless told otherwise."""
    return builders.a_checkout(user_id, *(lines or (HEADPHONES,)), **more)


async def accept(redis: Redis, event: Event, event_id: UUID | None = None, accepted_at: int = MORNING) -> UUID:
    """Leaves `event` as accepting does: in the stream, in the user's overlay and, for a checkout, as its record."""
    event_id = event_id or uuid4()
    payload = encode(event)
    entry: Any = fields_of(event, event_id, accepted_at)
    await redis.xadd(STREAM, entry)
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
    status: Status = Status.PROCESSING,
) -> UUID:
    """Lets the consumer's own code record `checkout`, and its move to `status` if it has made one."""
    order_id = order_id or uuid4()
    batch = [an_entry(checkout, order_id, at=accepted_at)]
    if status is not Status.PROCESSING:
        move = a_change(order_id, status, checkout.user_id)
        batch.append(an_entry(move, move_id(checkout.user_id, order_id, status), at=accepted_at))
    result = await record_batch(engine, batch, "consumer-1")
    assert len(result.recorded) == len(batch)
    return order_id


def move_id(user_id: str, order_id: UUID, status: Status) -> UUID:
    """The event id of an order's move."""
    return event_id_of("status", user_id, str(order_id), status)


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


async def read_all(http: httpx.AsyncClient, headers: dict[str, str], path: str, **params: Any) -> list[Any]:
    """Every object of every page; with a `limit`, each page but the last is full."""
    found: list[Any] = []
    while True:
        answer = (await http.get(path, params=params, headers=headers)).raise_for_status().json()
        found += answer["data"]
        if answer["next"] is None:
            return found
        assert len(answer["data"]) == params.get("limit", len(answer["data"]))
        params["cursor"] = answer["next"]
