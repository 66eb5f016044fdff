"""The floor of recording: redis-py reads batches, asyncpg writes them with the set-based SQL, redis-py acks. No more.

It validates nothing, buries nothing and leaves the overlay alone. Moments go as milliseconds and amounts as text, as
the consumer sends them, on the consumer's own event loop. Runs until it is told to end.
"""

import hashlib
import os
from typing import Any

import asyncpg
import pydantic_core
import uvloop
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from services.orders.entries import MOMENT
from shared.streams import GROUP, STREAM

BATCH = 1000  # the product's own

OWNERS = """
INSERT INTO event_owners (event_id, user_id)
SELECT event_id, user_id FROM unnest($1::uuid[], $2::text[]) AS event (event_id, user_id)
ORDER BY event_id
ON CONFLICT DO NOTHING
RETURNING event_id
"""
EVENTS = f"""
INSERT INTO events (event_id, type, user_id, order_id, content_hash, payload, stream, entry_id, accepted_at, consumer)
SELECT event_id, 'checkout.completed', user_id, event_id, content_hash, payload::json, $6, entry_id, {MOMENT}, 'floor'
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $7::bigint[])
     AS event (event_id, user_id, content_hash, payload, entry_id, ms)
ORDER BY event_id
ON CONFLICT DO NOTHING
RETURNING event_id
"""
STATUSES = f"""
INSERT INTO order_statuses (order_id, status, changed_at)
SELECT order_id, 'processing', {MOMENT} FROM unnest($1::uuid[], $2::bigint[]) AS touched (order_id, ms)
ORDER BY order_id
ON CONFLICT DO NOTHING
RETURNING order_id
"""
ORDERS = f"""
INSERT INTO orders (id, user_id, total, status, created_at)
SELECT id, user_id, total::numeric, 'processing', {MOMENT}
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[]) AS made (id, user_id, total, ms)
"""
ITEMS = """
INSERT INTO order_items (order_id, line, product_id, title, unit_price, quantity, user_id)
SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::text[], $4::text[], ($5::text[])::numeric[], $6::integer[],
                     $7::text[])
"""


async def drain(redis_url: str, database_url: str) -> None:
    """Reads, writes and acks for ever."""
    redis: Redis = Redis.from_url(redis_url, protocol=2)
    redis.set_response_callback("XREADGROUP", lambda answer, **_: answer)
    connection = await asyncpg.connect(database_url)
    try:
        await redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    except ResponseError as fault:
        if not str(fault).startswith("BUSYGROUP"):
            raise
    while True:
        answer = await redis.xreadgroup(GROUP, "floor", {STREAM: ">"}, count=BATCH, block=1000)
        if answer:
            await record(connection, answer[0][1])
            await redis.xack(STREAM, GROUP, *(entry_id for entry_id, _ in answer[0][1]))


async def record(connection: asyncpg.Connection, entries: list[Any]) -> None:
    """One batch of raw entries in one transaction."""
    ids, users, hashes, payloads, entry_ids, moments, totals = [], [], [], [], [], [], []
    lines: list[tuple[str, int, str, str, str, int, str]] = []
    for entry_id, flat in entries:
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        event, event_id = pydantic_core.from_json(fields[b"payload"]), fields[b"event_id"].decode()
        ids.append(event_id)
        users.append(event["user_id"])
        hashes.append(hashlib.sha256(fields[b"payload"]).hexdigest())
        payloads.append(fields[b"payload"].decode())
        entry_ids.append(entry_id.decode())
        moments.append(int(fields[b"accepted_at"]))
        totals.append(event["total"])
        for number, line in enumerate(event["lines"], 1):
            what = line["product_id"], line["title"], line["unit_price"], line["quantity"]
            lines.append((event_id, number, *what, event["user_id"]))
    async with connection.transaction():
        await connection.fetch(OWNERS, ids, users)
        await connection.fetch(EVENTS, ids, users, hashes, payloads, entry_ids, STREAM, moments)
        await connection.fetch(STATUSES, ids, moments)
        await connection.execute(ORDERS, ids, users, totals, moments)
        await connection.execute(ITEMS, *map(list, zip(*lines, strict=True)))


if __name__ == "__main__":
    uvloop.run(drain(os.environ["REDIS_URL"], os.environ["DATABASE_URL"]))
