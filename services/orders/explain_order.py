"""All that is known of one order: its events, names, duplicates, dead letters and replays, from log and tables.

Reads only. What Redis alone knows (duplicates suppressed, an order not recorded yet) lives as long as its record
there, the identity horizon; beyond it the answer is unknown, never 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pydantic_core
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.orders.archive import COLUMNS, read_payloads
from services.orders.overlay import read_overlay
from services.orders.queries import to_ms
from shared.events import CheckoutCompleted, Event, KeyJoined, PaymentOpened, StatusChanged, decode, iso_date
from shared.streams import EVENT_ID, GROUP, STREAM, order_key

_NEAR = 1000  # ms that an entry id may be later than the acceptance that it was printed by
_MOST_NEAR = 2000  # entries looked through for one that is not recorded yet
_DUPLICATES = b"duplicates:"


@dataclass(frozen=True, slots=True)
class Explanation:
    """JSON objects and lists, ready to show. `duplicates`: kind of name -> submissions; None = unknown."""

    order_id: str
    state: str
    user_id: str
    total: str
    status: str
    events: list[dict[str, Any]]
    names: dict[str, Any]
    duplicates: dict[str, int] | None
    dead_letters: list[dict[str, Any]]
    replays: list[dict[str, Any]]

    def timeline(self) -> list[tuple[str, str]]:
        """Moment (ISO 8601) and sentence of everything that happened, oldest first."""
        moments = []
        for event in self.events:
            moments.append((event["accepted_at"], f"{event['what']}: accepted as event {event['event_id']}"))
            if event["recorded_at"]:
                by = f" by {event['consumer']}" if event["consumer"] else ""
                moments.append((event["recorded_at"], f"{event['what']}: recorded{by} from entry {event['entry_id']}"))
        for letter in self.dead_letters:
            moments.append((letter["first_failed_at"], f"entry {letter['entry_id']} buried: {letter['reason']}"))
        for replay in self.replays:
            became = replay["outcome"] or "not delivered yet"
            moments.append((replay["at"], f"replayed by {replay['who']} ({replay['why']}): {became}"))
        return sorted(moments)


async def explain_order(redis: Redis, engine: AsyncEngine, order_id: UUID) -> Explanation | None:
    """Everything about the order, or None when neither log nor tables know it; raises SegmentUnreadable too."""
    record: dict[bytes, bytes] = await redis.hgetall(order_key(order_id))  # type: ignore[assignment]
    async with engine.connect() as connection:
        # the overlay after the record and before the archive: an event is in one of the two at least
        known = decode(record[b"payload"]) if b"payload" in record else None
        user_id = known.user_id if known else await _owner(connection, order_id)
        accepted = [] if user_id is None else await read_overlay(redis, user_id)
        archived = (await connection.execute(_EVENTS, {"order": order_id})).all()
        row = (await connection.execute(_ORDER, {"order": order_id})).first()
        payloads = await read_payloads(connection, archived)
        events = [_archived(event, payloads[event.event_id]) for event in archived]
        ids = {event["event_id"] for event in events}
        for item in accepted:
            if _order_of(item.event_id, item.event) == order_id and str(item.event_id) not in ids:
                events.append(await _accepted(redis, item.event_id, item.event, item.accepted_at))
        events.sort(key=lambda event: event["accepted_at"])
        wanted = {"ids": [UUID(event["event_id"]) for event in events] or [order_id], "order": str(order_id)}
        letters = [_shown(letter) for letter in await connection.execute(_DEAD_LETTERS, wanted)]
        replays = [_shown(replay) for replay in await connection.execute(_REPLAYS, {"ids": wanted["ids"]})]
    if not events and row is None and not letters:
        return None
    checkout = known if isinstance(known, CheckoutCompleted) else _checkout_in(payloads, order_id)
    is_buried = any(letter["event_id"] == str(order_id) and letter["state"] != "requeued" for letter in letters)
    return Explanation(
        order_id=str(order_id),
        state="recorded" if row is not None else "buried" if is_buried else "accepted" if checkout else "unknown",
        user_id=row.user_id if row is not None else user_id or "unknown",
        total=str(row.total if row is not None else checkout.total if checkout else "unknown"),
        status=record.get(b"status", b"").decode() or (row.status if row is not None else "unknown"),
        events=events,
        names=pydantic_core.to_jsonable_python(checkout.names) if checkout else {},
        duplicates=_duplicates(record) if b"payload" in record else None,
        dead_letters=letters,
        replays=replays,
    )


_OWNER = text("SELECT user_id FROM events WHERE order_id = :order ORDER BY accepted_at LIMIT 1")
_EVENTS = text(f"""
SELECT {COLUMNS}, recorded_at, consumer FROM events WHERE order_id = :order ORDER BY accepted_at, event_id
""")  # noqa: S608
_ORDER = text("SELECT user_id, total, status FROM orders WHERE id = :order")
_DEAD_LETTERS = text("""
SELECT id, stream, entry_id, event_id, reason, detail, state, attempts, consumer, first_failed_at, last_failed_at
FROM dead_letters
WHERE event_id = ANY(CAST(:ids AS uuid[])) OR strpos(CAST(fields AS text), CAST(:order AS text)) > 0
ORDER BY first_failed_at
""")
_REPLAYS = text("""
SELECT run.run_id, run.source, run.who, run.why, run.status, replayed.event_id, replayed.planned, replayed.entry_id,
       replayed.outcome, run.created_at AS at
FROM replayed_events replayed JOIN replays run USING (run_id)
WHERE replayed.event_id = ANY(CAST(:ids AS uuid[])) ORDER BY run.created_at, replayed.number
""")


async def _owner(connection: AsyncConnection, order_id: UUID) -> str | None:
    owner: str | None = (await connection.execute(_OWNER, {"order": order_id})).scalar()
    return owner


def _order_of(event_id: UUID, event: Event) -> UUID:
    return event_id if isinstance(event, CheckoutCompleted) else event.order_id


def _archived(row: Any, payload: str) -> dict[str, Any]:
    event = decode(payload)
    return {
        "event_id": str(row.event_id),
        "type": event.type,
        "what": _what(event),
        "stream": row.stream,
        "entry_id": row.entry_id,
        "accepted_at": iso_date(row.accepted_ms),
        "recorded_at": iso_date(to_ms(row.recorded_at)),
        "consumer": row.consumer,
        "pending": None,
    }


async def _accepted(redis: Redis, event_id: UUID, event: Event, accepted_at: int) -> dict[str, Any]:
    """An event that the consumer has not recorded, and how far its entry is."""
    entry_id = await _find_entry(redis, event_id, accepted_at)
    return {
        "event_id": str(event_id),
        "type": event.type,
        "what": _what(event),
        "stream": STREAM,
        "entry_id": entry_id,
        "accepted_at": iso_date(accepted_at),
        "recorded_at": None,
        "consumer": None,
        "pending": None if entry_id is None else await _pending(redis, entry_id),
    }


async def _find_entry(redis: Redis, event_id: UUID, accepted_at: int) -> str | None:
    """An entry gets its id in the very moment of its acceptance, unless the server's clock went back."""
    entries: Any = await redis.xrange(STREAM, min=accepted_at, max=accepted_at + _NEAR, count=_MOST_NEAR)
    wanted = str(event_id).encode()
    return next((name.decode() for name, fields in entries if fields.get(EVENT_ID.encode()) == wanted), None)


async def _pending(redis: Redis, entry_id: str) -> dict[str, Any] | None:
    """Who has it and how often it was delivered; None = not delivered, or acked."""
    groups = {group["name"] for group in await redis.xinfo_groups(STREAM)}
    if GROUP.encode() not in groups:
        return None
    found: Any = await redis.xpending_range(STREAM, GROUP, min=entry_id, max=entry_id, count=1)
    if not found:
        return None
    [row] = found
    return {
        "consumer": row["consumer"].decode(),
        "deliveries": row["times_delivered"],
        "idle_ms": row["time_since_delivered"],
    }


def _what(event: Event) -> str:
    match event:
        case CheckoutCompleted():
            return "checkout"
        case KeyJoined():
            return f"key {event.key} joined"
        case StatusChanged():
            return f"status {event.status}"
        case PaymentOpened():
            return f"payment session {event.payment_session_id} opened"


def _checkout_in(payloads: Mapping[UUID, str], order_id: UUID) -> CheckoutCompleted | None:
    event = decode(payloads[order_id]) if order_id in payloads else None
    return event if isinstance(event, CheckoutCompleted) else None


def _duplicates(record: Mapping[bytes, bytes]) -> dict[str, int]:
    return {
        field.removeprefix(_DUPLICATES).decode(): int(count)
        for field, count in sorted(record.items())
        if field.startswith(_DUPLICATES)
    }


def _shown(row: Any) -> dict[str, Any]:
    """Times as the contract shows them, ids as text."""
    return {name: _readable(value) for name, value in row._mapping.items()}


def _readable(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    return iso_date(to_ms(value)) if hasattr(value, "tzinfo") else value
