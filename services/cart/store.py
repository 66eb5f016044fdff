"""Carts in Redis. The only speller of cart keys and of the fields of a cart; never touches an order.

A checkout takes a cart through checkout's accept script, which is given `cart_key` and the fields from here.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import pydantic_core
from redis.asyncio import Redis

from services.cart.model import ITEMS, Bought, Cart, CartItem, content, covers
from shared.events import Status
from shared.redis import Script, hash_fields
from shared.streams import PARTITION, order_key

CART_TTL = timedelta(hours=24)
FIELDS = ("items", "version", "generation", "checked_out", "bought")
_KEPT_PURCHASES = 50  # checkouts of one session that a bare retry can still be matched with
_ATTEMPTS = 16  # races lost in a row before a PUT gives up: each loss means that another PUT was stored

_PUT_CART = Script("services.cart", "put_cart.lua")


@dataclass(frozen=True)
class Stored:
    """The cart as it now is."""

    cart: Cart


@dataclass(frozen=True)
class Echo:
    """A repeat of what was just bought, from a client that has not noticed yet: nothing was stored."""

    cart: Cart


@dataclass(frozen=True)
class Stale:
    """`If-Match` named another version than the present one."""

    cart: Cart


def cart_key(session: str) -> str:
    """Hash: items and content (JSON), version, generation, checked_out (0 or 1), bought (lines)."""
    return f"till:{PARTITION}:cart:{session}"


async def get_cart(redis: Redis, session: str) -> Cart:
    """The session's cart; an empty one when there is none. Leaves the time to live as it is."""
    return read_cart(await hash_fields(redis, cart_key(session), *FIELDS))


async def put_cart(
    redis: Redis, session: str, items: Sequence[CartItem], window: timedelta, if_match: str | None = None
) -> Stored | Echo | Stale:
    """Replaces the cart for a day. `window` is how long after a checkout a repeat of its items is an echo.

    A PUT that names the version it read is never an echo: its client has seen the cart after the checkout.
    """
    wanted = content(items)
    for _ in range(_ATTEMPTS):
        cart = await get_cart(redis, session)
        if if_match is not None:
            if if_match != cart.etag:
                return Stale(cart)
        elif cart.bought and await _is_echo(redis, cart, wanted, window):
            return Echo(cart)
        if not items and cart == Cart():
            return Stored(cart)
        is_new_generation = bool(items) and (not cart.generation or cart.has_checked_out)
        after = Cart(
            items=tuple(items),
            version=cart.version + 1,
            generation=secrets.token_hex(8) if is_new_generation else cart.generation,
            has_checked_out=cart.has_checked_out and not is_new_generation,
            bought=tuple(
                bought for bought in cart.bought[-_KEPT_PURCHASES:] if not covers(items, content_items(bought.items))
            ),
        )
        stored = await _PUT_CART.run(
            redis,
            [cart_key(session)],
            [
                cart.generation,
                cart.version,
                int(CART_TTL.total_seconds() * 1000),
                ITEMS.dump_json(after.items),
                wanted,
                after.generation,
                int(after.has_checked_out),
                "".join(bought_line(bought) for bought in after.bought),
            ],
        )
        if stored:
            return Stored(after)
    raise TimeoutError("the cart kept changing")


def read_cart(fields: Sequence[bytes | None]) -> Cart:
    """A cart from the values of FIELDS."""
    items, version, generation, checked_out, bought = fields
    return Cart(
        items=ITEMS.validate_json(items) if items else (),
        version=int(version or 0),
        generation=(generation or b"").decode(),
        has_checked_out=checked_out == b"1",
        bought=tuple(_read_bought(line) for line in (bought or b"").decode().splitlines()),
    )


def bought_line(bought: Bought) -> str:
    """One line of the field `bought`; the accept script puts the time in front: `<ms> <order id> <user> <items>`."""
    return f"{bought.at} {bought_tail(bought.order_id, bought.user, bought.items)}"


def bought_tail(order_id: UUID, user: str, items: str) -> str:
    """What follows the time in a line of `bought`. `user` is a digest, `items` canonical content."""
    return f"{order_id} {user} {items}\n"


def content_items(text: str) -> tuple[CartItem, ...]:
    """The items of a canonical content; a summed quantity may exceed a line's limit, so none is checked."""
    units = pydantic_core.from_json(text)
    return tuple(CartItem.model_construct(id=product, quantity=quantity) for product, quantity in units)


def _read_bought(line: str) -> Bought:
    at, order_id, user, items = line.split(" ", 3)
    return Bought(UUID(order_id), user, items, int(at))


async def _is_echo(redis: Redis, cart: Cart, wanted: str, window: timedelta) -> bool:
    seconds, microseconds = await redis.time()
    now = seconds * 1000 + microseconds // 1000
    for bought in cart.bought:
        if bought.items == wanted and now < bought.at + window.total_seconds() * 1000:
            status = await redis.hget(order_key(bought.order_id), "status")
            if status != Status.CANCELLED.encode():
                return True
    return False
