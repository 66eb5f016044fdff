"""Makes calls on the real functions over the real Redis, and moves time by ageing the data instead of the clock.

Alone in its Redis: every key under `till:` belongs to the history that it drives.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, Literal
from uuid import UUID

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.cart.catalog import Catalog, load_catalog
from services.cart.model import CartItem, CartName
from services.cart.store import Echo, Stale, Stored, cart_key, content_items, get_cart, put_cart
from services.checkout.accept_order import accept_order
from services.checkout.pricing import price_lines
from services.checkout.submission import Accepted, KeyReused, Replayed, Submission
from services.orders.change_status import Unknown, change_status
from shared.events import CheckoutCompleted, Line, Status, decode
from shared.settings import Settings
from shared.streams import NAMES_LOADED, STREAM, order_key
from tests.model.calls import (
    Answer,
    Call,
    CartSeen,
    Checkout,
    LifeSeen,
    Move,
    MoveSeen,
    OrderSeen,
    OrdersSeen,
    PutCart,
    PutSeen,
    ReadCart,
    ReadLife,
    ReadOrders,
    Submit,
    SubmitSeen,
    Wait,
)
from tests.model.checkout_model import Items, canonical

_OUTCOMES: dict[type, Literal["stored", "echo", "stale"]] = {Stored: "stored", Echo: "echo", Stale: "stale"}
_CARTS = cart_key("").encode()


@dataclass(frozen=True)
class Snapshot:
    """Every key but the marker as DUMP tells it, with its time to live in ms (-1 = none); taken at (monotonic s)."""

    keys: dict[bytes, tuple[bytes, int]]
    purchases: dict[bytes, bytes]
    taken_at: float


class RealDriver:
    """One client of the real shop. Several may share a Redis; only one of them moves time."""

    def __init__(self, redis: Redis, engine: AsyncEngine, settings: Settings) -> None:
        self.redis = redis
        self.engine = engine
        self._settings = settings

    async def make(self, call: Call) -> Answer:
        """The shop's answer to `call`."""
        match call:
            case PutCart(session, items, if_match):
                return await self._put(session, items, if_match)
            case Submit():
                return await self._submit(call)
            case Move(user, order_id, to):
                moved = await change_status(
                    self.redis,
                    self.engine,
                    self._settings,
                    user,
                    order_id,
                    Status.PAID if to == "paid" else Status.CANCELLED,
                )
                return MoveSeen("unknown" if isinstance(moved, Unknown) else moved.order.status)
            case ReadCart(session):
                return await self._read_cart(session)
            case ReadLife(session):
                return LifeSeen(max(await self.redis.pttl(cart_key(session)), 0))
            case ReadOrders(users):
                return await self._read_orders(users)
            case Wait(ms):
                await self.age(ms)
                return None

    async def age(self, ms: int) -> None:
        """`ms` pass: what would have ended is gone, the rest has so much less to live, purchases are so much older."""
        shop = await self.take_snapshot()
        async with self.redis.pipeline(transaction=False) as pipeline:
            for key, (_, left) in shop.keys.items():
                if 0 <= left <= ms:
                    pipeline.delete(key)
                    continue
                if left > 0:
                    pipeline.pexpire(key, left - ms)
                if key in shop.purchases:
                    pipeline.hset(key, "bought", _older(shop.purchases[key], ms))
            await pipeline.execute()

    async def take_snapshot(self) -> Snapshot:
        """Everything as it is now."""
        keys = await self._keys()
        async with self.redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.dump(key)
                pipeline.pttl(key)
                pipeline.hget(key, "bought") if key.startswith(_CARTS) else pipeline.ping()
            told = await pipeline.execute()
        lives = dict(zip(keys, zip(told[::3], told[1::3], strict=True), strict=True))
        purchases = {key: bought for key, bought in zip(keys, told[2::3], strict=True) if isinstance(bought, bytes)}
        return Snapshot(lives, purchases, time.monotonic())

    async def restore(self, shop: Snapshot) -> None:
        """Everything as it was then, as if no time had passed since."""
        passed = round((time.monotonic() - shop.taken_at) * 1000)
        present = await self._keys()
        async with self.redis.pipeline(transaction=False) as pipeline:
            pipeline.delete(b"till:nothing", *present)
            for key, (value, left) in shop.keys.items():
                pipeline.restore(key, max(left, 0), value)
            for key, bought in shop.purchases.items():
                pipeline.hset(key, "bought", _older(bought, -passed))
            await pipeline.execute()

    async def forget(self) -> None:
        """Every key is gone but the marker."""
        await self.redis.delete(b"till:nothing", *await self._keys())

    async def _keys(self) -> list[bytes]:
        keys: list[Any] = await self.redis.keys("till:*")
        return [key for key in keys if key != NAMES_LOADED.encode()]

    async def read_log(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """Every entry of the stream: id, fields."""
        entries: Any = await self.redis.xrange(STREAM)
        return list(entries)

    async def _put(self, session: str, items: Items, if_match: str | None) -> PutSeen:
        outcome = await put_cart(self.redis, session, cart_items(items), self._settings.window, if_match)
        return PutSeen(_OUTCOMES[type(outcome)], outcome.cart.generation or None, outcome.cart.etag)

    async def _submit(self, call: Submit) -> SubmitSeen:
        match await accept_order(self.redis, self._settings, *submission_of(call)):
            case Accepted(order):
                return SubmitSeen("accepted", UUID(order["id"]))
            case Replayed(order):
                return SubmitSeen("replayed", UUID(order["id"]))
            case KeyReused(order_id):
                return SubmitSeen("key_reused", order_id)

    async def _read_cart(self, session: str) -> CartSeen:
        cart = await get_cart(self.redis, session)
        return CartSeen(
            _items(cart.items),
            cart.generation or None,
            cart.version,
            cart.has_checked_out,
            tuple((bought.user, _items(content_items(bought.items)), bought.order_id) for bought in cart.bought),
            cart.etag,
        )

    async def _read_orders(self, users: tuple[str, ...]) -> OrdersSeen:
        checkouts = {}
        for _, fields in await self.read_log():
            event = decode(fields[b"payload"])
            if isinstance(event, CheckoutCompleted) and event.user_id in users:
                checkouts[UUID(fields[b"event_id"].decode())] = event
        async with self.redis.pipeline(transaction=False) as pipeline:
            for order_id in checkouts:
                pipeline.hmget(order_key(order_id), "status", "key")
            records = await pipeline.execute()
        return OrdersSeen(
            tuple(
                OrderSeen(
                    order_id,
                    event.user_id,
                    canonical({line.product_id: line.quantity for line in event.lines}),
                    status.decode(),
                    bool(key),
                )
                for (order_id, event), (status, key) in zip(checkouts.items(), records, strict=True)
            )
        )


def _older(purchases: bytes, ms: int) -> str:
    lines = (line.split(" ", 1) for line in purchases.decode().splitlines())
    return "".join(f"{int(at) - ms} {rest}\n" for at, rest in lines)


@cache
def packaged_catalog() -> Catalog:
    """What the shop sells."""
    return load_catalog(Settings(catalog=None))


def submission_of(call: Checkout) -> tuple[Submission, tuple[Line, ...]]:
    """`call` as the shop reads it, and its priced lines."""
    items, total = cart_items(call.items), total_of(call.items)
    cart = None if call.session is None else CartName(call.session, call.generation)
    return Submission(call.user, items, total, call.key, cart), price_lines(packaged_catalog(), items, total)


def total_of(items: Items) -> Decimal:
    """What `items` cost in the packaged catalogue."""
    products = ((packaged_catalog().get(product), quantity) for product, quantity in items)
    return sum((product.price * quantity for product, quantity in products if product), Decimal(0))


def cart_items(items: Items) -> tuple[CartItem, ...]:
    """`items` as a client sends them."""
    return tuple(CartItem(id=product, quantity=quantity) for product, quantity in items)


def _items(lines: Sequence[CartItem]) -> Items:
    return canonical({line.id: line.quantity for line in lines})
