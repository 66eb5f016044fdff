"""Redis' memory of past checkouts, made again from the archive after Redis lost some of it.

Redis holds a cache of the archive here. Without the marker nothing new is accepted, so nobody else writes meanwhile.
"""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import ResponseError
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.archive import read_payloads
from services.orders.entries import id_parts, moment
from services.orders.lost_redis import no_batch_under_way
from services.orders.reload_sessions import reload_sessions
from shared.events import CheckoutCompleted, KeyJoined, decode
from shared.settings import Settings
from shared.streams import NAMES_LOADED, STREAM, name_key, order_key, user_digest

_PAGE = 1000  # events a query and a pipeline
_REMEMBER = files(__package__).joinpath("remember_checkout.lua").read_text()

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Remembered:
    """A checkout within the horizon. `since` (ms): its own acceptance, or that of the key that joined it."""

    order_id: UUID
    since: int
    accepted_at: int
    status: str
    payload: str
    joined_key: UUID | None


async def check_names(engine: AsyncEngine, redis: "Redis", settings: Settings) -> int | None:
    """Reloads when the marker is missing or Redis went back in time; None = the names are all there."""
    newest = await _newest_entry(engine)
    marker: Any = await redis.get(NAMES_LOADED)
    if marker is not None:
        if newest is None or newest == marker.decode() or not await _is_lost(redis, newest):
            return None
        log.error("redis_went_back_in_time", extra={"missing_entry": newest})
        await redis.delete(NAMES_LOADED)
    async with no_batch_under_way(engine):
        return await reload_names(engine, redis, settings)


async def reload_names(engine: AsyncEngine, redis: "Redis", settings: Settings) -> int:
    """Writes names and records of every checkout within the identity horizon, then the marker; returns how many.

    Safe to repeat and to run twice at once: it adds what is missing. Raises what Redis and Postgres raise, and then
    the marker is not set.
    """
    seconds, microseconds = await redis.time()
    now = int(seconds) * 1000 + int(microseconds) // 1000
    horizon = int(settings.identity_horizon.total_seconds() * 1000)
    window = int(settings.window.total_seconds() * 1000)
    newest = await _newest_entry(engine)
    reloaded = 0
    async for page in _pages(engine, moment(now - horizon)):
        pipeline = redis.pipeline(transaction=False)
        remember = redis.register_script(_REMEMBER)
        for checkout in page:
            await _remember(remember, pipeline, checkout, now, horizon, window)
        await pipeline.execute()
        reloaded += len(page)
    await reload_sessions(engine, redis, moment(now - horizon), now)
    if newest is not None:
        await _move_past(redis, newest)
    await redis.set(NAMES_LOADED, newest or "0-0")
    log.warning("names_reloaded", extra={"checkouts": reloaded})
    return reloaded


async def _remember(remember: Any, pipeline: Any, row: _Remembered, now: int, horizon: int, window: int) -> None:
    event = decode(row.payload)
    assert isinstance(event, CheckoutCompleted), "the query selects checkouts"
    left = max(1, row.since + horizon - now)
    key = row.joined_key or event.names.key
    strong = {key: left} if key else {}
    weak: dict[UUID, int] = {}
    if not row.joined_key:
        weak = dict.fromkeys(event.names.carts, left)
        if event.names.window and (window_left := row.accepted_at + window - now) > 0:
            weak[event.names.window] = window_left
    lives = strong | weak
    record: list[str | int] = [user_digest(event.user_id), event.fingerprint, row.accepted_at, row.payload]
    await remember(
        keys=[order_key(row.order_id), *map(name_key, lives)],
        args=[str(row.order_id), row.status, left, 1 if key else 0, str(key or ""), *record, *lives.values()],
        client=pipeline,
    )


_CHECKOUTS = """
SELECT e.event_id AS read_to, e.event_id, e.accepted_at AS since, e.accepted_at, s.status,
       CAST(e.payload AS text) AS payload, e.moved_to, e.content_hash, NULL AS joined
FROM events e JOIN order_statuses s ON s.order_id = e.event_id
WHERE e.type = 'checkout.completed' AND (e.accepted_at, e.event_id) > (:at, :after)
ORDER BY e.accepted_at, e.event_id LIMIT :page
"""
_JOINED_KEYS = """
SELECT e.event_id AS read_to, c.event_id, e.accepted_at AS since, c.accepted_at, s.status,
       CAST(c.payload AS text) AS payload, c.moved_to, c.content_hash, CAST(e.payload AS text) AS joined
FROM events e JOIN events c ON c.event_id = e.order_id AND c.user_id = e.user_id
              JOIN order_statuses s ON s.order_id = e.order_id
WHERE e.type = 'checkout.key_joined' AND c.type = 'checkout.completed'
  AND (e.accepted_at, e.event_id) > (:at, :after)
ORDER BY e.accepted_at, e.event_id LIMIT :page
"""


async def _pages(engine: AsyncEngine, start: datetime) -> AsyncIterator[list[_Remembered]]:
    """Checkouts in the order of acceptance, so that of two orders the first keeps a name, as when it was accepted."""
    for query in (text(_CHECKOUTS), text(_JOINED_KEYS)):
        at, after = start, UUID(int=0)
        while True:
            async with engine.connect() as connection:
                rows = (await connection.execute(query, {"at": at, "after": after, "page": _PAGE})).all()
                payloads = await read_payloads(connection, rows)  # moved out only where the horizon was raised since
            if not rows:
                break
            yield [_remembered(row, payloads[row.event_id]) for row in rows]
            after, at = rows[-1].read_to, rows[-1].since


def _remembered(row: Row[Any], payload: str) -> _Remembered:
    # Our own decoder reads what it let in; Postgres' casts refuse some of it.
    event = decode(row.joined) if row.joined is not None else None
    key = event.key if isinstance(event, KeyJoined) else None
    return _Remembered(row.event_id, _ms(row.since), _ms(row.accepted_at), row.status, payload, key)


def _ms(at: datetime) -> int:
    return (at - moment(0)) // timedelta(milliseconds=1)


_NEWEST = text("""
SELECT entry_id FROM events
WHERE stream = :stream
  AND accepted_at = (SELECT accepted_at FROM events WHERE stream = :stream ORDER BY accepted_at DESC LIMIT 1)
ORDER BY CAST(string_to_array(entry_id, '-') AS bigint[]) DESC LIMIT 1
""")


async def _newest_entry(engine: AsyncEngine) -> str | None:
    """The entry that was accepted last of all in the archive; if any was accepted after a backup, this one was."""
    async with engine.connect() as connection:
        entry_id: str | None = (await connection.execute(_NEWEST, {"stream": STREAM})).scalar()
    return entry_id


async def _is_lost(redis: "Redis", newest: str) -> bool:
    """Whether the stream does not know an entry that the archive has, and that no trimming explains."""
    try:
        stream = await redis.xinfo_stream(STREAM)
    except ResponseError as fault:
        if "no such key" in str(fault):
            return True
        raise
    if id_parts(newest) > id_parts(stream["last-generated-id"].decode()):
        return True
    first = stream["first-entry"]
    if first is None or id_parts(newest) < id_parts(first[0].decode()):
        return False
    return not await redis.xrange(STREAM, min=newest, max=newest, count=1)


async def _move_past(redis: "Redis", newest: str) -> None:
    """Lets the stream give no entry id again that the archive has seen, and lets `_is_lost` be content."""
    try:
        await redis.execute_command("XSETID", STREAM, newest)  # type: ignore[no-untyped-call]
    except ResponseError as fault:
        # further already, or no stream: then its first entry takes its id from the clock, which is further too
        if "smaller" not in str(fault) and "no such key" not in str(fault):
            raise
