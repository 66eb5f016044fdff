"""From the raw fields of an entry to an event that can be recorded, or the reason why there is none."""

import re
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from asyncpg.pgproto import pgproto

from services.orders.dead_letters import Reason
from services.orders.entries import Entry
from shared.errors import Unrecordable
from shared.events import CheckoutCompleted, Event, content_hash, decode
from shared.streams import ACCEPTED_AT, EVENT_ID, PAYLOAD, TRACEPARENT

_EVENT_ID, _ACCEPTED_AT, _PAYLOAD, _TRACE = (name.encode() for name in (EVENT_ID, ACCEPTED_AT, PAYLOAD, TRACEPARENT))
_UUID = re.compile(rb"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TRACEPARENT = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_MILLISECONDS = re.compile(rb"[0-9]{1,15}")
_LAST_MOMENT = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp() * 1000)  # what Python and Postgres can both hold


class Arrival(NamedTuple):
    """A readable entry. `accepted_at` is in milliseconds since 1970; `payload` is the event's JSON as it came.

    `traceparent` is the trace that it says it was accepted in; None = it says none, or something else.
    """

    entry: Entry
    event_id: UUID
    accepted_at: int
    event: Event
    content_hash: str
    payload: str
    traceparent: str | None = None

    @property
    def order_id(self) -> UUID:
        """The order that this event is about: a checkout's own event id, else the one it names."""
        return self.event_id if isinstance(self.event, CheckoutCompleted) else self.event.order_id


def parse_entry(entry: Entry) -> Arrival:
    """The event in `entry`; raises Unrecordable with one of Reason's words."""
    if not entry.fields:
        raise Unrecordable(Reason.DELETED, "deleted from the stream while it was pending; it may have been recorded")
    fields = dict(entry.fields)  # of equal names the last counts, as Entry.field has it
    name, since, payload = fields.get(_EVENT_ID), fields.get(_ACCEPTED_AT), fields.get(_PAYLOAD)
    if name is None:
        raise Unrecordable(Reason.MISSING_EVENT_ID, f"no field {EVENT_ID}")
    if not _UUID.fullmatch(name):
        raise Unrecordable(Reason.INVALID_EVENT_ID, f"not a UUID: {name[:100]!r}")
    if since is None:
        raise Unrecordable(Reason.MISSING_ACCEPTED_AT, f"no field {ACCEPTED_AT}")
    if not _MILLISECONDS.fullmatch(since) or int(since) >= _LAST_MOMENT:
        raise Unrecordable(Reason.INVALID_ACCEPTED_AT, f"not milliseconds since 1970: {since[:100]!r}")
    if payload is None:
        raise Unrecordable(Reason.MISSING_PAYLOAD, f"no field {PAYLOAD}")
    event = decode(payload)
    event_id = pgproto.UUID(name.decode())  # a UUID like any other, made and compared in C: a tenth of the time
    trace = fields.get(_TRACE)
    traceparent = trace.decode() if trace is not None and _TRACEPARENT.fullmatch(trace) else None
    return Arrival(entry, event_id, int(since), event, content_hash(event), payload.decode(), traceparent)


def readable_event_id(entry: Entry) -> UUID | None:
    """The event id of an entry whose content nobody should look at; None = it has none."""
    return readable_uuid(entry, EVENT_ID)


def readable_uuid(entry: Entry, field: str) -> UUID | None:
    """The UUID in `field`; None = there is no such field, or something else in it."""
    name = entry.field(field)
    return UUID(name.decode()) if name is not None and _UUID.fullmatch(name) else None
