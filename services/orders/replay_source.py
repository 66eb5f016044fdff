"""Where a replay takes its events from: a range of the stream, or of the archive once the stream has been trimmed.

Reads only. Entries that a replay wrote are never taken from the stream again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.archive import read_payloads
from services.orders.dead_letters import DEAD_LETTER
from services.orders.entries import Entry, entries_of, id_parts, keep_raw, moment
from services.orders.filters import Moment, conditions_of
from services.orders.parse_entry import parse_entry, readable_event_id
from services.orders.queries import to_ms
from services.orders.tables import events
from shared.errors import Unrecordable
from shared.events import CheckoutCompleted, Event, ProductId, UserId, decode
from shared.streams import ACCEPTED_AT, EVENT_ID, PAYLOAD, STREAM, TRACEPARENT

REPLAY, REPLAY_OF = "replay", "replay_of"
"""Fields that a replay adds to an entry: its run id, and what it is a copy of."""

_SCANNED = 200  # entries read at a time at most: a few milliseconds of parsing in which this process answers nobody
_OWN_FIELDS = (REPLAY.encode(), REPLAY_OF.encode(), DEAD_LETTER.encode())

EntryId = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,15}(-[0-9]{1,15})?$")]
EventType = Literal["checkout.completed", "checkout.key_joined", "order.status_changed", "checkout.payment_opened"]


class Source(StrEnum):
    """The stream holds every entry as it came, for the retention; the archive each event once, for ever."""

    STREAM = "stream"
    ARCHIVE = "archive"


class ReplayRange(BaseModel):
    """Which events; every filter that is given must hold. Both entry ids are included, `until` is not.

    Times are times of acceptance. An entry that cannot be read is chosen by its id, its event id or its age alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    first: EntryId | None = None
    last: EntryId | None = None
    since: Moment | None = Field(None, alias="from")
    until: Moment | None = Field(None, alias="to")
    user: UserId | None = None
    order: UUID | None = None
    event: UUID | None = None
    product: ProductId | None = None
    type: EventType | None = None

    def told(self) -> dict[str, Any]:
        """The filters that are given, as JSON."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def matches(self, entry: Entry) -> bool:
        """Whether `entry`, which lies between the entry ids, is chosen."""
        try:
            arrival = parse_entry(entry)
        except Unrecordable:
            return self._matches_unreadable(entry)
        event = arrival.event
        return (
            self._is_in_time(moment(arrival.accepted_at))
            and self.user in (None, event.user_id)
            and self.order in (None, arrival.order_id)
            and self.event in (None, arrival.event_id)
            and self.type in (None, event.type)
            and (self.product is None or _is_bought(self.product, event))
        )

    def _matches_unreadable(self, entry: Entry) -> bool:
        asks_content = (self.user, self.order, self.product, self.type) != (None, None, None, None)
        is_event = self.event is None or self.event == readable_event_id(entry)
        return not asks_content and is_event and self._is_in_time(moment(id_parts(entry.entry_id)[0]))

    def _is_in_time(self, at: datetime) -> bool:
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)


def _is_bought(product: str, event: Event) -> bool:
    return isinstance(event, CheckoutCompleted) and any(line.product_id == product for line in event.lines)


@dataclass(frozen=True, slots=True)
class Original:
    """What is to be delivered again: raw fields without those of earlier replays and requeues."""

    source_id: str
    fields: tuple[tuple[bytes, bytes], ...]
    event_id: UUID | None


@dataclass(frozen=True, slots=True)
class SourcePage:
    """Events in order, and the position of the last of them; `is_last` when nothing follows."""

    originals: Sequence[Original]
    position: str
    is_last: bool


def raw_reader(redis: "Redis") -> "Redis":
    """A client over the same connections whose reads of the stream lose nothing; it needs no closing."""
    raw: Redis = Redis(connection_pool=redis.connection_pool)
    keep_raw(raw)
    return raw


async def find_bound(engine: AsyncEngine, redis: "Redis", source: Source) -> str:
    """Where a range ends that has no end: what comes later, a replay's own entries too, is never part of it."""
    if source is Source.ARCHIVE:
        async with engine.connect() as connection:
            now: datetime = (await connection.execute(sa.text("SELECT clock_timestamp()"))).scalar_one()
        return now.isoformat()
    try:
        stream = await redis.xinfo_stream(STREAM)
    except ResponseError as fault:
        if "no such key" in str(fault):
            return "0-0"
        raise
    return str(stream["last-generated-id"].decode())


async def read_page(
    engine: AsyncEngine, redis: "Redis", source: Source, chosen: ReplayRange, bound: str, position: str, size: int
) -> SourcePage:
    """At most `size` events after `position` ('' = the beginning); raises SegmentUnreadable too."""
    if source is Source.ARCHIVE:
        return await _read_archive(engine, chosen, bound, position, size)
    return await _read_stream(redis, chosen, bound, position, size)


async def _read_stream(redis: "Redis", chosen: ReplayRange, bound: str, position: str, size: int) -> SourcePage:
    raw = raw_reader(redis)
    end = min(last_of(chosen.last), id_parts(bound)) if chosen.last else id_parts(bound)
    found: list[Original] = []
    count = min(size, _SCANNED)  # mostly every entry is chosen; where few are, more are read
    while len(found) < size:
        start = f"({position}" if position else (chosen.first or "-")
        answer: Any = await raw.xrange(STREAM, min=start, max=f"{end[0]}-{end[1]}", count=count)
        entries = entries_of(answer)
        for entry in entries:
            position = entry.entry_id
            if entry.field(REPLAY) is None and chosen.matches(entry):
                fields = tuple(pair for pair in entry.fields if pair[0] not in _OWN_FIELDS)
                found.append(Original(entry.entry_id, fields, readable_event_id(entry)))
                if len(found) == size:
                    break
        else:
            if len(entries) < count:
                return SourcePage(found, found[-1].source_id if found else position, is_last=True)
            count = min(2 * count, _SCANNED)
    return SourcePage(found, position, is_last=False)


def last_of(entry_id: str) -> tuple[int, int]:
    """The greatest id that `entry_id` includes: without a sequence it means every entry of its millisecond."""
    return id_parts(entry_id) if "-" in entry_id else (int(entry_id), 2**63 - 1)


_MILLISECONDS = sa.cast(sa.func.split_part(events.c.entry_id, "-", 1), sa.BigInteger)
_SEQUENCE = sa.cast(sa.func.split_part(events.c.entry_id, "-", 2), sa.BigInteger)


async def _read_archive(engine: AsyncEngine, chosen: ReplayRange, bound: str, position: str, size: int) -> SourcePage:
    """In the order of acceptance; raises SegmentUnreadable where a payload that was moved out cannot be had."""
    payload = sa.cast(events.c.payload, sa.Text).label("payload")
    columns = (events.c.event_id, events.c.accepted_at, payload, events.c.traceparent)
    statement = sa.select(*columns, events.c.moved_to, events.c.content_hash)
    statement = statement.where(events.c.recorded_at <= datetime.fromisoformat(bound), *_conditions(chosen))
    statement = statement.order_by(events.c.accepted_at, events.c.event_id).limit(size)
    while True:
        async with engine.connect() as connection:
            rows = (await connection.execute(statement.where(*_after(position)))).all()
            payloads = await read_payloads(connection, rows)
        originals = [
            _from_archive(row.event_id, row.accepted_at, payloads[row.event_id], row.traceparent)
            for row in rows
            if row.payload is not None or _is_product_in(chosen, payloads[row.event_id])
        ]
        if rows:
            position = f"{(rows[-1].accepted_at - moment(0)) // timedelta(microseconds=1)}/{rows[-1].event_id}"
        if originals or len(rows) < size:  # a page without any event would end a replay before its range does
            return SourcePage(originals, position, is_last=len(rows) < size)


def _after(position: str) -> list[sa.ColumnElement[bool]]:
    if not position:
        return []
    microseconds, _, event_id = position.partition("/")
    after = sa.tuple_(sa.literal(moment(0) + timedelta(microseconds=int(microseconds))), sa.literal(UUID(event_id)))
    return [sa.tuple_(events.c.accepted_at, events.c.event_id) > after]


def _is_product_in(chosen: ReplayRange, payload: str) -> bool:
    """Whether an event that was moved out is of the chosen product, which Postgres cannot see any more."""
    return chosen.product is None or _is_bought(chosen.product, decode(payload))


def _from_archive(event_id: UUID, accepted_at: datetime, payload: str, traceparent: str | None) -> Original:
    texts = {EVENT_ID: str(event_id), PAYLOAD: payload, ACCEPTED_AT: str(to_ms(accepted_at))}
    if traceparent is not None:
        texts[TRACEPARENT] = traceparent
    return Original(str(event_id), tuple((name.encode(), value.encode()) for name, value in texts.items()), event_id)


def _conditions(chosen: ReplayRange) -> list[sa.ColumnElement[bool]]:
    equal: dict[sa.Column[Any], Any] = {
        events.c.user_id: chosen.user,
        events.c.order_id: chosen.order,
        events.c.event_id: chosen.event,
        events.c.type: chosen.type,
    }
    conditions = conditions_of(equal, events.c.accepted_at, chosen.since, chosen.until)
    if chosen.product is not None:
        lines = sa.func.json_array_elements(events.c.payload["lines"]).table_valued("value")
        bought = sa.type_coerce(lines.c.value, events.c.payload.type)["product_id"].as_string() == chosen.product
        is_checkout = events.c.type == "checkout.completed"
        is_moved = events.c.moved_to.is_not(None)
        conditions += [is_checkout, sa.or_(is_moved, sa.exists().select_from(lines).where(bought))]
    entry_id = sa.tuple_(_MILLISECONDS, _SEQUENCE)
    if chosen.first is not None:
        conditions.append(entry_id >= _pair(id_parts(chosen.first)))
    if chosen.last is not None:
        conditions.append(entry_id <= _pair(last_of(chosen.last)))
    return conditions


def _pair(entry_id: tuple[int, int]) -> sa.Tuple:
    return sa.tuple_(*(sa.literal(part, sa.BigInteger) for part in entry_id))
