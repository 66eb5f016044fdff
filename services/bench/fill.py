"""Rows and entries that are there before a measurement begins. Rows are made by the server itself, entries in bulk."""

import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from uuid import UUID

from services.bench.contenders import AFTERNOON_DB, Contender
from services.bench.make_rows import Connection, make_rows
from services.bench.shoppers import PREFIX, Shoppers, key_of
from services.bench.world import World
from services.cart.catalog import Catalog
from services.cart.model import CartItem, content
from services.certify.roll import open_redis
from services.checkout.names import fingerprint, key_name
from shared.events import CheckoutCompleted, Line, Names, encode
from shared.streams import ACCEPTED_AT, EVENT_ID, NAMES_LOADED, PAYLOAD, STREAM, overlay_key

_CHUNK = 100_000  # orders a statement
_PIPELINE = 1000  # entries
_NO_NAME_YET = b"00000000-0000-5000-8000-000000000000"

_EVENTS = """
INSERT INTO events (event_id, type, user_id, order_id, content_hash, payload, stream, entry_id, accepted_at, consumer)
SELECT id, 'checkout.completed', user_id, id, md5(n::text) || md5(user_id),
       json_build_object('type', 'checkout.completed', 'version', 1, 'user_id', user_id, 'total', '317.00',
           'fingerprint', md5(n::text) || md5(n::text), 'payment_session_id', null,
           'names', json_build_object('key', id, 'payment_session', null, 'carts', '[]'::json, 'window', id),
           'lines', '[{"product_id":"1","title":"Wireless Headphones","unit_price":"129.00","quantity":1},'
                    '{"product_id":"2","title":"Mechanical Keyboard","unit_price":"149.00","quantity":1},'
                    '{"product_id":"3","title":"Gaming Mouse Pad","unit_price":"39.00","quantity":1}]'::json),
       'filled', n || '-0', at, 'fill'
"""
_OWNERS = "INSERT INTO event_owners (event_id, user_id) SELECT id, user_id"
_STATUSES = "INSERT INTO order_statuses (order_id, status, changed_at) SELECT id, 'processing', at"
_ORDERS = "INSERT INTO orders (id, user_id, total, status, created_at) SELECT id, user_id, 317, 'processing', at"
_ITEMS = """
INSERT INTO order_items (order_id, line, product_id, title, unit_price, quantity{owner})
SELECT id, line, line::text, 'A product of the past', 100, 1{owner}
"""
_KEYS = """
INSERT INTO idempotency_keys (user_id, key, request_hash, order_id)
SELECT user_id, 'past-' || n, md5(n::text) || md5(n::text), id
"""
_SOURCE = """
FROM (SELECT n, {id} AS id,
             '{prefix}' || lpad((n % {users})::text, greatest(5, length((n % {users})::text)), '0') AS user_id,
             now() - interval '60 days' + n * interval '1 s' / 50 AS at
      FROM generate_series({first}, {last}) AS n) AS made
"""
_SPREAD, _IN_THEIR_ORDER = "md5('past-' || n)::uuid", "lpad(to_hex(n), 32, '0')::uuid"
_LINES = " CROSS JOIN generate_series(1, {lines}) AS line"

Say = Callable[[str], None]


async def fill_tables(world: World, contenders: Sequence[Contender], rows: int, say: Say) -> None:
    """`rows` orders of three lines in the tables of each, of 1 % as many users, in the past."""
    for contender in contenders:
        statements = [_OWNERS, _EVENTS, _STATUSES, _ORDERS] if contender.has_log else [_ORDERS, _KEYS]
        await _fill(world, contender.database, statements, rows, rows // 100, 3, say, "past-", _SPREAD)


async def fill_orders(world: World, database: str, rows: int, users: int, say: Say) -> None:
    """`rows` orders of two lines alone, for reading. Their ids rise, so that the indexes grow at their ends; growth.md
    has the list over ids that are spread.
    """
    await _fill(world, database, [_ORDERS], rows, users, 2, say, PREFIX, _IN_THEIR_ORDER)


async def _fill(
    world: World,
    database: str,
    statements: Sequence[str],
    rows: int,
    users: int,
    lines: int,
    say: Say,
    prefix: str,
    order_id: str,
) -> None:
    begun = time.monotonic()
    items = _ITEMS.format(owner="" if database == AFTERNOON_DB else ", user_id") + "{source}"
    made = [*(statement + "{source}" for statement in statements), items + _LINES.format(lines=lines)]

    async def make(connection: Connection, first: int) -> None:
        last = min(rows, first + _CHUNK - 1)
        source = _SOURCE.format(prefix=prefix, id=order_id, users=max(1, users), first=first, last=last)
        for statement in made:
            await connection.execute(statement.replace("{source}", source))

    await make_rows(lambda: world.connect(database), range(1, rows + 1, _CHUNK), make)
    say(f"{rows} orders are in the database {database} ({time.monotonic() - begun:.0f} s)")


async def fill_stream(redis_url: str, shoppers: Shoppers, catalog: Catalog, events: int) -> dict[UUID, Decimal]:
    """`events` accepted checkouts that wait for a consumer, in a Redis that has none; name -> total of each.

    Entry ids are numbered (`<ms>-1` and on), so that a group's position tells how many it has been given. The Redis is
    one for filling: until it is started again it does not wait for its disk.
    """
    names: dict[UUID, Decimal] = {}
    users, patterns = shoppers.users, _Patterns(catalog)
    async with open_redis(redis_url, seconds=60) as redis:
        await redis.config_set("appendfsync", "no")
        await redis.set(NAMES_LOADED, b"1")
        at = int(time.time() * 1000)
        for first in range(0, events, _PIPELINE):
            pipeline = redis.pipeline(transaction=False)
            for number in range(first, min(events, first + _PIPELINE)):
                user = users[number % len(users)]
                name = key_name(user, key_of(number + 1))
                payload, total = patterns.checkout(user, 1 + number % 8, name)
                then = at - (events - number) // 8  # eight a millisecond, as a fast gateway accepts them
                fields: dict[str | bytes, bytes | str | int] = {
                    EVENT_ID: str(name),
                    PAYLOAD: payload,
                    ACCEPTED_AT: then,
                }
                pipeline.xadd(STREAM, fields, id=f"{at}-{number + 1}")  # type: ignore[arg-type]
                noted = b'{"accepted_at":%d,"event":%s}' % (then, payload)
                pipeline.hset(overlay_key(user), str(name), noted)
                names[name] = total
            await pipeline.execute()
    return names


class _Patterns:
    """The payloads of a load, each made once and used again under other names."""

    def __init__(self, catalog: Catalog) -> None:
        self._products = catalog.products()[:3]
        self._made: dict[tuple[str, int], tuple[bytes, Decimal]] = {}

    def checkout(self, user: str, quantity: int, name: UUID) -> tuple[bytes, Decimal]:
        """The payload of the checkout `name` of so many units of each of three products, and its total."""
        made = self._made.get((user, quantity))
        if made is None:
            made = self._made[user, quantity] = self._make(user, quantity)
        payload, total = made
        return payload.replace(_NO_NAME_YET, str(name).encode()), total

    def _make(self, user: str, quantity: int) -> tuple[bytes, Decimal]:
        items = [CartItem(id=product.id, quantity=quantity) for product in self._products]
        total = sum((product.price * quantity for product in self._products), Decimal(0))
        lines = tuple(
            Line(product_id=product.id, title=product.title, unit_price=product.price, quantity=quantity)
            for product in self._products
        )
        none_yet = UUID(_NO_NAME_YET.decode())
        event = CheckoutCompleted(
            user_id=user,
            lines=lines,
            total=total,
            fingerprint=fingerprint(content(items), total),
            names=Names(key=none_yet, window=none_yet),
        )
        return encode(event), total
