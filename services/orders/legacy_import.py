"""The cut-over from the old shop's Redis: its orders are published as events and recorded like any other.

Safe to stop and to repeat: an order that the archive holds is not published again. Reads the old keys, and deletes
them only when asked to, when the tables are proven to hold all that they hold. Never writes an old key.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import ResponseError, WatchError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.backlog import count_backlog
from services.orders.legacy_import_read import INDEX, USER_KEY, Damage, LegacyOrder, LegacyUser, read_user
from shared.errors import TillrollError
from shared.events import Event, content_hash, encode
from shared.streams import ACCEPTED_AT, EVENT_ID, PAYLOAD, STREAM

_PAGE = 200  # users read, and their orders published, at a time
_MOST_WAITING = 5000  # entries that live checkouts may have to wait behind
_POLL = 0.1  # seconds
_GIVE_UP_AFTER = 60  # seconds in which the consumer records nothing

Progress = Callable[[int, int], None]
"""Told how many users are done, of how many."""


class ConsumerIdle(TillrollError):
    """What is published stays in the stream; running the same command again goes on from there."""


@dataclass(slots=True)
class Imported:
    """Counts of one run. `published` and `known` are orders; a dry run publishes none and counts what it would."""

    users: int = 0
    orders: int = 0
    published: int = 0
    known: int = 0
    damages: list[Damage] = field(default_factory=list)


@dataclass(slots=True)
class Deleted:
    """Keys that are gone (or would be), and keys that were kept because not all they hold is in the tables."""

    deleted: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


async def import_orders(
    source: Redis,
    redis: Redis,
    engine: AsyncEngine,
    titles: Mapping[str, str],
    *,
    dry_run: bool,
    tell: Progress = lambda _done, _total: None,
) -> Imported:
    """Publishes what the archive does not hold yet, and returns when the consumer has recorded all of it.

    `source` holds the old keys, `redis` the stream; `titles`: product id -> title. Raises ConsumerIdle, and what the
    servers raise: then it can be run again.
    """
    found = Imported()
    keys = await _user_keys(source)
    found.damages += await _index_damages(source, set(keys))
    owners: dict[UUID, str] = {}
    published: list[UUID] = []
    tell(0, len(keys))
    async for users in _read(source, keys, titles):
        found.users += len(users)
        orders = list(_of_one_owner(users, owners, found.damages))
        found.orders += len(orders)
        new = await _not_archived(engine, orders, found)
        found.published += len({event_id for event_id, order in new if event_id == order.id})
        if not dry_run:
            await _publish(redis, new)
            published += [event_id for event_id, _ in new]
            await _let_consumer_catch_up(redis)
        tell(found.users, len(keys))
    await _wait_until_settled(engine, published)
    return found


async def delete_keys(source: Redis, engine: AsyncEngine, titles: Mapping[str, str], *, dry_run: bool) -> Deleted:
    """Deletes the keys all of whose orders the archive holds with the same content; the caller has reconciled.

    A key with anything unreadable in it stays, and so does one that changes in this very moment.
    """
    result = Deleted()
    keys = await _user_keys(source)
    owners: dict[UUID, str] = {}
    async for users in _read(source, keys, titles):
        damages: list[Damage] = []
        report = Imported()
        orders = list(_of_one_owner(users, owners, damages))
        absent = {order.key for _, order in await _not_archived(engine, orders, report)}
        unsafe = absent | {damage.key for user in users for damage in user.damages}
        unsafe |= {damage.key for damage in (*damages, *report.damages)}
        for user in users:
            is_gone = user.key not in unsafe and await _delete_unchanged(source, user, titles, dry_run=dry_run)
            (result.deleted if is_gone else result.kept).append(user.key)
    if not result.kept and await source.exists(INDEX):
        if not dry_run:
            await source.delete(INDEX)
        result.deleted.append(INDEX)
    return result


async def _user_keys(source: Redis) -> list[str]:
    """Sorted, so that every run sees the same order; the keys themselves are the truth, the index may be missing."""
    found = {key async for key in source.scan_iter(match=f"{USER_KEY}*", count=1000)}
    return sorted(key.decode(errors="surrogateescape") for key in found)


async def _index_damages(source: Redis, keys: set[str]) -> list[Damage]:
    try:
        blob: Any = await source.get(INDEX)
    except ResponseError:
        return [Damage(INDEX, "not a string; the keys were searched for instead")]
    if blob is None:
        return []
    try:
        users = json.loads(blob)
    except (ValueError, RecursionError):
        users = None
    if not isinstance(users, list):
        return [Damage(INDEX, "not a JSON array; the keys were searched for instead")]
    named = {f"{USER_KEY}{user}" for user in users if isinstance(user, str)}
    return [Damage(key, "named by the index, but there is no such key") for key in sorted(named - keys)]


async def _read(source: Redis, keys: Sequence[str], titles: Mapping[str, str]) -> AsyncIterator[list[LegacyUser]]:
    for start in range(0, len(keys), _PAGE):
        page = keys[start : start + _PAGE]
        async with source.pipeline(transaction=False) as pipeline:
            for key in page:
                pipeline.get(key.encode(errors="surrogateescape"))
            blobs = await pipeline.execute(raise_on_error=False)
        yield [_user(key, blob, titles) for key, blob in zip(page, blobs, strict=True) if blob is not None]


def _user(key: str, blob: Any, titles: Mapping[str, str]) -> LegacyUser:
    if isinstance(blob, ResponseError):
        return LegacyUser(key, (), (Damage(_printable(key), "not a string"),))
    if isinstance(blob, Exception):
        raise blob
    if _printable(key) != key:
        return LegacyUser(key, (), (Damage(_printable(key), "the user id is not UTF-8"),))
    return read_user(key, blob, titles)


def _printable(key: str) -> str:
    return key.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _of_one_owner(users: Iterable[LegacyUser], owners: dict[UUID, str], damages: list[Damage]) -> Iterable[LegacyOrder]:
    """The orders; an id that an earlier user has already is that user's."""
    for user in users:
        damages += user.damages
        for order in user.orders:
            if owners.setdefault(order.id, user.key) == user.key:
                yield order
            else:
                damages.append(
                    Damage(user.key, f"the same id as an order in {owners[order.id]}", order.position, str(order.id))
                )


_HASHES = text("SELECT event_id, content_hash FROM events WHERE event_id = ANY(CAST(:event_ids AS uuid[]))")


async def _not_archived(
    engine: AsyncEngine, orders: Sequence[LegacyOrder], found: Imported
) -> list[tuple[UUID, LegacyOrder]]:
    """The events of `orders` that the archive does not hold; counts the orders of which it holds everything."""
    wanted = {event_id: content_hash(event) for order in orders for event_id, event in _events(order)}
    async with engine.connect() as connection:
        rows = (await connection.execute(_HASHES, {"event_ids": list(wanted)})).all()
        archived = {row.event_id: row.content_hash for row in rows}
    new = []
    for order in orders:
        if order.id in archived and archived[order.id] != wanted[order.id]:
            reason = "the archive holds this id with other content"
            found.damages.append(Damage(order.key, reason, order.position, str(order.id)))
            continue
        missing = [event_id for event_id, _ in _events(order) if event_id not in archived]
        new += [(event_id, order) for event_id in missing]
        found.known += not missing
    return new


def _events(order: LegacyOrder) -> list[tuple[UUID, Event]]:
    """The checkout and then its move, if there was one."""
    move = order.move()
    return [(order.id, order.event), *([move] if move else [])]


async def _publish(redis: Redis, new: Sequence[tuple[UUID, LegacyOrder]]) -> None:
    async with redis.pipeline(transaction=False) as pipeline:
        for event_id, order in new:
            event = dict(_events(order))[event_id]
            fields: Any = {EVENT_ID: str(event_id), PAYLOAD: encode(event), ACCEPTED_AT: order.accepted_at}
            pipeline.xadd(STREAM, fields)
        await pipeline.execute()


async def _let_consumer_catch_up(redis: Redis) -> None:
    """Returns when few enough entries wait; an unknown backlog is not waited for."""
    least, since = None, time.monotonic()
    while (waiting := await count_backlog(redis) or 0) > _MOST_WAITING:
        if least is None or waiting < least:
            least, since = waiting, time.monotonic()
        _require_progress(since)
        await asyncio.sleep(_POLL)


_SETTLED = text("""
SELECT event_id FROM events WHERE event_id = ANY(CAST(:event_ids AS uuid[]))
UNION SELECT event_id FROM dead_letters WHERE event_id = ANY(CAST(:event_ids AS uuid[]))
""")


async def _wait_until_settled(engine: AsyncEngine, published: Sequence[UUID]) -> None:
    since = time.monotonic()
    for start in range(0, len(published), 5000):
        left = set(published[start : start + 5000])
        while left:
            async with engine.connect() as connection:
                settled = set((await connection.execute(_SETTLED, {"event_ids": list(left)})).scalars())
            if settled:
                since = time.monotonic()
                left -= settled
                continue
            _require_progress(since)
            await asyncio.sleep(_POLL)


def _require_progress(since: float) -> None:
    if time.monotonic() - since > _GIVE_UP_AFTER:
        raise ConsumerIdle(
            f"The consumer has recorded nothing for {_GIVE_UP_AFTER} s; see `tillroll status`. What is published stays"
            " in the stream: run the same command again to go on."
        )


async def _delete_unchanged(source: Redis, user: LegacyUser, titles: Mapping[str, str], *, dry_run: bool) -> bool:
    """Deletes the key if it still holds these orders; False when somebody wrote it meanwhile."""
    if dry_run:
        return True
    async with source.pipeline() as pipeline:
        try:
            await pipeline.watch(user.key)
            blob: Any = await pipeline.get(user.key)
            if blob is None or read_user(user.key, blob, titles) != user:
                return False
            pipeline.multi()  # type: ignore[no-untyped-call]
            pipeline.delete(user.key)
            await pipeline.execute()
        except WatchError:
            return False
    return True
