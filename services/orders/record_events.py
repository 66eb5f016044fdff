"""Entries of the stream into the archive and the tables made from it: one batch, one transaction.

Decides the fate of each entry: recorded, duplicate or dead letter. Never acks, never waits out an outage.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from asyncpg.exceptions import DataError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.orders.dead_letters import DeadLetter, Reason, bury
from services.orders.entries import MOMENT, Entry
from services.orders.parse_entry import Arrival, parse_entry, readable_event_id
from services.orders.statement import Statement
from services.orders.write_orders import write_orders
from shared.errors import Unrecordable
from shared.events import CheckoutCompleted


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of `entries`. A status change that contradicts its order is both recorded and buried."""

    entries: tuple[Entry, ...] = ()
    recorded: tuple[Arrival, ...] = ()
    duplicates: tuple[Arrival, ...] = ()
    buried: tuple[DeadLetter, ...] = ()

    def __add__(self, other: "BatchResult") -> "BatchResult":
        return BatchResult(
            self.entries + other.entries,
            self.recorded + other.recorded,
            self.duplicates + other.duplicates,
            self.buried + other.buried,
        )


class TooMuch(Exception):
    """More of a batch cannot be recorded than may be buried at once: nothing is committed."""


class _LeftBehind(Exception):
    """Nothing of this result may be committed."""

    def __init__(self, result: BatchResult) -> None:
        self.result = result


AreLeftBehind = Callable[[Sequence[Entry]], Awaitable[bool]]
IsTooMuch = Callable[[BatchResult], bool]


async def record_batch(
    engine: AsyncEngine,
    entries: Sequence[Entry],
    consumer: str,
    are_left_behind: AreLeftBehind | None = None,
    is_too_much: IsTooMuch | None = None,
) -> BatchResult:
    """Commits every one of `entries` as event or dead letter; raises SQLAlchemy's and OS errors when Postgres is away.

    Raising means that the batch may be repeated as it is. Entries that only Postgres refuses are found by halving
    the batch, each half a transaction of its own, and buried. `are_left_behind` is asked before new events are
    committed (lost_redis.py); `is_too_much` before anything is: it, or a refusal that would be searched for, raises
    TooMuch.
    """
    try:
        async with engine.begin() as connection:
            result = await record(connection, entries, consumer)
            if is_too_much is not None and is_too_much(result):
                raise TooMuch
            await _refuse_what_is_left_behind(entries, result, are_left_behind)
            return result
    except _LeftBehind as fault:
        return await _bury_what_is_new(engine, fault.result, consumer)
    except DBAPIError as fault:
        if not is_refusal(fault):
            raise
        refusal = str(fault.orig)
    if is_too_much is not None:
        raise TooMuch
    if len(entries) > 1:
        half = len(entries) // 2
        first = await record_batch(engine, entries[:half], consumer, are_left_behind)
        return first + await record_batch(engine, entries[half:], consumer, are_left_behind)
    arrival = parse_entry(entries[0])
    letter = DeadLetter(
        arrival.entry, Reason.REFUSED_BY_POSTGRES, refusal[:2000], arrival.event_id, arrival.event.user_id
    )
    return await bury_alone(engine, letter, consumer)


async def _refuse_what_is_left_behind(
    entries: Sequence[Entry], result: BatchResult, are_left_behind: AreLeftBehind | None
) -> None:
    if result.recorded and are_left_behind is not None and await are_left_behind(entries):
        raise _LeftBehind(result)


async def _bury_what_is_new(engine: AsyncEngine, result: BatchResult, consumer: str) -> BatchResult:
    told = "Redis was lost with this entry, and its names were reloaded before it could be recorded"
    letters = {letter.entry: letter for letter in result.buried}
    for new in result.recorded:
        letters[new.entry] = DeadLetter(new.entry, Reason.LOST_WITH_REDIS, told, new.event_id, new.event.user_id)
    async with engine.begin() as connection:
        await bury(connection, list(letters.values()), consumer)
    return BatchResult(result.entries, duplicates=result.duplicates, buried=tuple(letters.values()))


async def bury_alone(engine: AsyncEngine, letter: DeadLetter, consumer: str) -> BatchResult:
    """Commits one dead letter whose fate was decided before its content was looked at."""
    async with engine.begin() as connection:
        await bury(connection, [letter], consumer)
    return BatchResult((letter.entry,), buried=(letter,))


# a plan that was made while a table was small is kept while it grows: the foreign key of each line item once read the
# whole of `orders`, and an order cost five times as much until autovacuum came by
_BY_INDEX = text("SET LOCAL enable_seqscan = off")


async def record(connection: AsyncConnection, entries: Sequence[Entry], consumer: str) -> BatchResult:
    """The whole of a batch in the open transaction of `connection`, which the caller commits."""
    await connection.execute(_BY_INDEX)
    arrivals: list[Arrival] = []
    buried: list[DeadLetter] = []
    for entry in entries:
        try:
            arrivals.append(parse_entry(entry))
        except Unrecordable as fault:
            buried.append(DeadLetter(entry, fault.reason, fault.detail, readable_event_id(entry)))
    recorded, duplicates, conflicts = await _archive(connection, arrivals, consumer)
    buried += conflicts
    buried += await write_orders(connection, recorded)
    await bury(connection, buried, consumer)
    return BatchResult(tuple(entries), tuple(recorded), tuple(duplicates), tuple(buried))


_CLAIM_IDS = Statement("""
INSERT INTO event_owners (event_id, user_id)
SELECT event_id, user_id FROM unnest(CAST(:event_ids AS uuid[]), CAST(:user_ids AS text[])) AS event (event_id, user_id)
ORDER BY event_id -- the order in which every consumer takes its locks
ON CONFLICT DO NOTHING
RETURNING event_id
""")
_OWNERS = Statement("""
SELECT event_id, owner.user_id
FROM unnest(CAST(:event_ids AS uuid[])) AS claimed (event_id) JOIN event_owners owner USING (event_id)
""")


async def _claim_ids(connection: AsyncConnection, arrivals: Sequence[Arrival]) -> dict[UUID, str]:
    """Whose each event id is: that of the user who brought it first.

    No key of `events` can say that: it lies in partitions by user, and each knows its own ids alone.
    """
    owners: dict[UUID, str] = {}
    for arrival in arrivals:
        owners.setdefault(arrival.event_id, arrival.event.user_id)
    answer = await _CLAIM_IDS.run(connection, {"event_ids": list(owners), "user_ids": list(owners.values())})
    claimed = {event_id for (event_id,) in answer}
    if known := [event_id for event_id in owners if event_id not in claimed]:
        # a statement of its own: its snapshot sees the row of the transaction that the INSERT waited for
        owners |= dict(await _OWNERS.run(connection, {"event_ids": known}))
    return owners


_ARCHIVE = Statement(f"""
INSERT INTO events (event_id, type, user_id, order_id, content_hash, payload, stream, entry_id, accepted_at, consumer,
                    traceparent)
SELECT event_id, type, user_id, order_id, content_hash, CAST(payload AS json), stream, entry_id, {MOMENT}, :consumer,
       traceparent
FROM unnest(CAST(:event_ids AS uuid[]), CAST(:types AS text[]), CAST(:user_ids AS text[]), CAST(:order_ids AS uuid[]),
            CAST(:hashes AS text[]), CAST(:payloads AS text[]), CAST(:streams AS text[]), CAST(:entry_ids AS text[]),
            CAST(:accepted_ats AS bigint[]), CAST(:traceparents AS text[]))
     AS event (event_id, type, user_id, order_id, content_hash, payload, stream, entry_id, ms, traceparent)
ORDER BY event_id
ON CONFLICT DO NOTHING
RETURNING event_id
""")  # noqa: S608  MOMENT is our own
_KNOWN = Statement("""
SELECT event_id, known.content_hash
FROM unnest(CAST(:event_ids AS uuid[]), CAST(:user_ids AS text[])) AS event (event_id, user_id)
JOIN events known USING (event_id, user_id)
""")


async def _archive(
    connection: AsyncConnection, arrivals: Sequence[Arrival], consumer: str
) -> tuple[list[Arrival], list[Arrival], list[DeadLetter]]:
    """Writes the event rows; returns what is new, what was known, and what bears a known id with other content."""
    if not arrivals:
        return [], [], []
    owners = await _claim_ids(connection, arrivals)
    first: dict[UUID, Arrival] = {}
    for arrival in arrivals:
        if arrival.event.user_id == owners[arrival.event_id]:
            first.setdefault(arrival.event_id, arrival)
    rows = list(first.values())
    answer = await _ARCHIVE.run(
        connection,
        {
            "event_ids": list(first),
            "types": [row.event.type for row in rows],
            "user_ids": [row.event.user_id for row in rows],
            "order_ids": [row.order_id for row in rows],
            "hashes": [row.content_hash for row in rows],
            "payloads": [row.payload for row in rows],
            "streams": [row.entry.stream for row in rows],
            "entry_ids": [row.entry.entry_id for row in rows],
            "accepted_ats": [row.accepted_at for row in rows],
            "traceparents": [row.traceparent for row in rows],
            "consumer": consumer,
        },
    )
    new = {event_id for (event_id,) in answer}
    hashes = {event_id: first[event_id].content_hash for event_id in new}
    if known := {event_id: owner for event_id, owner in owners.items() if event_id not in new}:
        ids = {"event_ids": list(known), "user_ids": list(known.values())}
        hashes |= dict(await _KNOWN.run(connection, ids))
    recorded, duplicates, conflicts = [], [], []
    for arrival in arrivals:
        if arrival.event_id in new and first.get(arrival.event_id) is arrival:
            recorded.append(arrival)
        elif hashes.get(arrival.event_id) == arrival.content_hash:
            duplicates.append(arrival)
        else:
            conflicts.append(_conflict(arrival))
    return recorded, duplicates, conflicts


def _conflict(arrival: Arrival) -> DeadLetter:
    is_checkout = isinstance(arrival.event, CheckoutCompleted)
    reason = Reason.KEY_REUSED if is_checkout else Reason.CONTENT_CONFLICT
    return DeadLetter(
        arrival.entry,
        reason,
        "the archive holds this event id with other content",
        arrival.event_id,
        arrival.event.user_id,
    )


def is_refusal(fault: DBAPIError) -> bool:
    """Whether Postgres (or its driver, when it encodes a value) says that the data can never be stored."""
    cause = getattr(fault.orig, "__cause__", None)
    state = str(getattr(fault.orig, "sqlstate", None) or "")
    return state[:2] in ("22", "23") or isinstance(cause, DataError)
