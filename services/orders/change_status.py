"""Decides a move of an order's status the moment it is asked for: of two racing moves exactly one is accepted.

Owns the one way to move an order. Never writes Postgres: the move is an event, and the consumer records it.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import UUID

from opentelemetry.trace import SpanKind
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.queries import Order, find_order, order_of_checkout
from shared.errors import Unavailable
from shared.events import CheckoutCompleted, Status, StatusChanged, decode, encode, status_event_id
from shared.redis import Script, redis_or_unavailable
from shared.settings import Settings
from shared.streams import NAMES_LOADED, STREAM, order_key, overlay_key, user_digest
from shared.tracing import child_span, traceparent

_AWAY = "The order cannot be changed right now"
_SCRIPT = Script(__package__, "change_status.lua")

Move = Literal[Status.PAID, Status.CANCELLED]


@dataclass(frozen=True, slots=True)
class Changed:
    """The move was accepted now; its event is in the stream."""

    order: Order


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The order has the wanted status already."""

    order: Order


@dataclass(frozen=True, slots=True)
class Refused:
    """The order has gone the other way; `order` says which."""

    order: Order


@dataclass(frozen=True, slots=True)
class Unknown:
    """The user has no such order."""


Outcome = Changed | Unchanged | Refused | Unknown


async def change_status(
    redis: Redis, engine: AsyncEngine, settings: Settings, user_id: str, order_id: UUID, status: Move
) -> Outcome:
    """Moves the user's order from processing to `status`, once.

    Raises Unavailable when Redis is away, and when only Postgres could know the order and is away: nothing was
    changed then, or the same call answers Unchanged.
    """
    move = StatusChanged(user_id=user_id, order_id=order_id, status=status)
    event_id = status_event_id(user_id, order_id, status)
    ids = {"tillroll.order_id": str(order_id), "tillroll.event_id": str(event_id)}
    with child_span("change status", SpanKind.PRODUCER, ids) as span:
        outcome = await _ask(redis, engine, settings, user_id, order_id, status, str(event_id), encode(move))
        span.set_attribute("tillroll.outcome", type(outcome).__name__.lower())
    return outcome


async def look_up(redis: Redis, engine: AsyncEngine, settings: Settings, user_id: str, order_id: UUID) -> Order | None:
    """The user's order with its present status; nothing is changed. Raises as change_status does."""
    # A move to processing is never made: it is what the order has, or it is refused.
    outcome = await _ask(redis, engine, settings, user_id, order_id, Status.PROCESSING, "", b"")
    return None if isinstance(outcome, Unknown) else outcome.order


async def _ask(
    redis: Redis,
    engine: AsyncEngine,
    settings: Settings,
    user_id: str,
    order_id: UUID,
    wanted: Status,
    event_id: str,
    payload: bytes,
) -> Outcome:
    keys = [NAMES_LOADED, STREAM, overlay_key(user_id), order_key(order_id)]
    horizon = int(settings.identity_horizon.total_seconds() * 1000)

    async def run(known: str) -> list[Any]:
        async with redis_or_unavailable(_AWAY):
            args: list[str | bytes | int] = [event_id, payload, user_digest(user_id), wanted, known, horizon]
            args.append(traceparent())
            return list(await _SCRIPT.run(redis, keys, args))

    order: Order | None = None
    answer = await run(known="")
    if answer[0] == b"ask":
        # Its record expired: the archive knows it. If a racing move left a new record, the script goes by that one.
        order = await find_order(redis, engine, user_id, order_id)
        if order is None:
            return Unknown()
        answer = await run(known=order.status)
    match answer:
        case [b"changed", present, *kept]:
            return Changed(_present(order_id, order, present, kept))
        case [b"unchanged", present, *kept]:
            return Unchanged(_present(order_id, order, present, kept))
        case [b"refused", present, *kept]:
            return Refused(_present(order_id, order, present, kept))
        case [b"unknown"]:
            return Unknown()
        case _:
            raise Unavailable("Orders are being reloaded; try again")


def _present(order_id: UUID, found: Order | None, status: bytes, kept: list[bytes | None]) -> Order:
    """`kept` is the order as its record has it: acceptance in ms, checkout, payment session."""
    if found is None:
        accepted_at, payload, session = kept
        assert payload is not None, "the script asks for what its record lacks"
        assert accepted_at is not None, "as above"
        checkout = decode(payload)
        assert isinstance(checkout, CheckoutCompleted), "an order's record holds its checkout"
        found = order_of_checkout(order_id, int(accepted_at), checkout)
        if session is not None:
            found = replace(found, payment_session_id=session.decode())
    return replace(found, status=status.decode())
