"""A past of any size that reconcile finds nothing wrong with, and fresh checkouts on top of it.

The server makes the rows by itself, 20 orders a user, all of a user's orders 5 000 orders apart: a list is as scattered
over the table as in a shop. Ids are spread like the product's own (version 5). Measures nothing.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from random import Random

import asyncpg

from services.bench.make_rows import Connection, make_rows
from services.bench.shoppers import PREFIX
from services.cart.catalog import Catalog
from services.cart.model import CartItem, content
from services.checkout.names import fingerprint, key_name
from services.orders.entries import Entry
from shared.events import CheckoutCompleted, Line, Names, encode
from shared.streams import ACCEPTED_AT, EVENT_ID, PAYLOAD

ORDERS_OF_A_USER = 20
CHUNK = 100_000  # orders a statement
_USERS_OF_A_CHUNK = CHUNK // ORDERS_OF_A_USER
_READER_EVERY = 10  # users; they get no fresh checkouts, so that their lists stay as long as they are

_SOURCE = """
CREATE TEMPORARY TABLE made ON COMMIT DROP AS
SELECT n, overlay(overlay(md5('past-' || n) placing '5' from 13) placing '8' from 17)::uuid AS id,
       '{prefix}' || lpad(u::text, greatest(5, length(u::text)), '0') AS user_id,
       md5(n::text) || md5('f' || n) AS print,
       date_trunc('milliseconds', now() - interval '200 days' + n * interval '1 s' / 2) AS at
FROM (SELECT n, (n - 1) / {chunk} * {users} + (n - 1) % {users} AS u
      FROM generate_series({first}, {last}) AS n) AS number
"""
_STATEMENTS = (
    "INSERT INTO event_owners (event_id, user_id) SELECT id, user_id FROM made",
    """
INSERT INTO events (event_id, type, user_id, order_id, content_hash, payload, stream, entry_id, accepted_at, consumer)
SELECT id, 'checkout.completed', user_id, id,
       encode(sha256(convert_to('["checkout.completed","' || user_id || '","' || print || '"]', 'UTF8')), 'hex'),
       ('{"type":"checkout.completed","version":1,"user_id":"' || user_id || '","lines":['
        '{"product_id":"1","title":"Wireless Headphones","unit_price":"129","quantity":1},'
        '{"product_id":"2","title":"Mechanical Keyboard","unit_price":"149","quantity":1},'
        '{"product_id":"3","title":"Gaming Mouse Pad","unit_price":"39","quantity":1}],"total":"317","fingerprint":"'
        || print || '","names":{"key":"' || id || '","payment_session":null,"carts":[],"window":"' || id
        || '"},"payment_session_id":null}')::json,
       'orders', extract(epoch FROM at)::bigint * 1000 || '-' || n, at, 'past'
FROM made
""",
    "INSERT INTO order_statuses (order_id, status, changed_at) SELECT id, 'processing', at FROM made",
    "INSERT INTO orders (id, user_id, total, status, created_at) SELECT id, user_id, 317, 'processing', at FROM made",
    """
INSERT INTO order_items (order_id, line, product_id, title, unit_price, quantity, user_id)
SELECT id, line, product_id, title, price, 1, user_id
FROM made CROSS JOIN (VALUES (1, '1', 'Wireless Headphones', 129), (2, '2', 'Mechanical Keyboard', 149),
                             (3, '3', 'Gaming Mouse Pad', 39)) AS item (line, product_id, title, price)
""",
)

Say = Callable[[str], None]


def user_of(number: int) -> str:
    """The user of that number, from 0; `rows` orders have `rows / ORDERS_OF_A_USER` users."""
    return f"{PREFIX}{number:05d}"


def readers(rows: int, most: int) -> list[str]:
    """Up to `most` users of a past of `rows` orders, spread over it; they never buy again."""
    numbers = range(0, rows // ORDERS_OF_A_USER, _READER_EVERY)
    chosen = Random(rows).sample(numbers, min(most, len(numbers)))  # noqa: S311  no secret
    return [user_of(number) for number in sorted(chosen)]


async def connect(url: str) -> Connection:
    """A connection for what is not measured."""
    return await asyncpg.connect(url, timeout=10, command_timeout=3600)


async def grow(url: str, present: int, rows: int, say: Say) -> None:
    """From `present` to `rows` orders, both whole chunks; then what autovacuum would do is done, and a checkpoint."""
    begun = time.monotonic()

    async def make(connection: Connection, first: int) -> None:
        last = first + CHUNK - 1
        source = _SOURCE.format(prefix=PREFIX, chunk=CHUNK, users=_USERS_OF_A_CHUNK, first=first, last=last)
        async with connection.transaction():
            for statement in (source, *_STATEMENTS):
                await connection.execute(statement)
        say(f"growth     {last:>9} orders are made ({time.monotonic() - begun:.0f} s)")

    await make_rows(lambda: connect(url), range(present + 1, rows + 1, CHUNK), make)
    say(f"growth     {rows:>9} orders are there ({time.monotonic() - begun:.0f} s)")


class FreshCheckouts:
    """Accepted checkouts of the users of a past, as entries of the stream; each is made once."""

    def __init__(self, catalog: Catalog, rows: int) -> None:
        self._items = [CartItem(id=product.id, quantity=1) for product in catalog.products()[:3]]
        self._total = sum((product.price for product in catalog.products()[:3]), start=catalog.products()[0].price * 0)
        self._lines = tuple(
            Line(product_id=product.id, title=product.title, unit_price=product.price, quantity=1)
            for product in catalog.products()[:3]
        )
        self._print = fingerprint(content(self._items), self._total)
        self._users = range(rows // ORDERS_OF_A_USER)
        self._random = Random(rows)  # noqa: S311  no secret
        self._number = 0

    def batches(self, count: int, size: int) -> Sequence[list[Entry]]:
        """`count` batches of `size` entries, users by chance."""
        return [list(self._entries(size)) for _ in range(count)]

    def _entries(self, count: int) -> Iterator[Entry]:
        at = int(time.time() * 1000)
        for _ in range(count):
            self._number += 1
            number = self._random.choice(self._users)
            user = user_of(number if number % _READER_EVERY else number + 1)
            name = key_name(user, f"fresh-{len(self._users)}-{self._number}")
            names = Names(key=name, window=name)
            event = CheckoutCompleted(
                user_id=user, lines=self._lines, total=self._total, fingerprint=self._print, names=names
            )
            fields = {EVENT_ID: str(name).encode(), PAYLOAD: encode(event), ACCEPTED_AT: str(at).encode()}
            yield Entry(f"{at}-{self._number}", tuple((key.encode(), value) for key, value in fields.items()))
