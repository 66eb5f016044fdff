"""When two histories have led to the same place: equal models and an equal Redis, ids and the clock apart.

Log, overlay and payloads are left out: nothing is decided by them.
"""

import re
import time
from dataclasses import dataclass, replace
from itertools import product as every
from typing import Any

from redis.asyncio import Redis

from services.cart.model import CartName, content
from services.cart.store import cart_key
from services.checkout.names import cart_name, fingerprint, key_name, window_slot
from shared.streams import name_key, order_key
from tests.model.checkout_model import CheckoutModel, Items
from tests.model.intents import View
from tests.model.judge import Judge
from tests.model.real_driver import cart_items, total_of

_ID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|\b[0-9a-f]{16}\b")
_INSTANT = re.compile(r"\b1[0-9]{12}\b")  # ms since 1970, until 2033
_GRAIN = 10_000  # ms: what a history waits is a multiple, what it takes itself is far less
_DECISIVE = {
    cart_key(""): ("content", "version", "generation", "checked_out", "bought"),
    order_key(""): ("user", "fingerprint", "key", "status"),
    name_key(""): (),
}


@dataclass(frozen=True)
class Alphabet:
    """All that the histories use: the digests of names are read by it."""

    users: tuple[str, ...]
    items: tuple[Items, ...]
    keys: tuple[str, ...]


async def place_of(redis: Redis, judge: Judge, view: View, alphabet: Alphabet) -> str:
    """Text that is equal for two histories only if whatever follows is equal, too."""
    plain = _plain_names(judge, view, alphabet)
    known = [str(view), str(_still(judge.model)), *await _facts(redis)]
    return "\n".join(sorted(_ID.sub(lambda found: plain.get(found[0], found[0]), line) for line in known))


def _plain_names(judge: Judge, view: View, alphabet: Alphabet) -> dict[str, str]:
    plain = {str(nonce): f"generation {number}" for nonce, number in judge.generations.items()}
    for user, items in every(alphabet.users, alphabet.items):
        print_ = fingerprint(content(cart_items(items)), total_of(items))
        plain[str(window_slot(user, print_))] = f"window of {user} {items}"
        for nonce, number in judge.generations.items():
            name = cart_name(user, CartName(view.session, str(nonce)), print_)
            plain[str(name)] = f"cart {number} of {user} {items}"
    for user, key in every(alphabet.users, alphabet.keys):
        plain[str(key_name(user, key))] = f"{key} of {user}"
    for order_id, number in judge.orders.items():  # which name an order's id was made of decides if it can be again
        plain[str(order_id)] = f"order {number} {plain.get(str(order_id))}"
    return plain


def _still(model: CheckoutModel) -> CheckoutModel:
    """The model with its clock at zero, without what has ended."""
    now = model.now
    return CheckoutModel(
        carts={
            session: replace(
                cart,
                expires_at=cart.expires_at - now,
                bought=tuple(replace(bought, at=bought.at - now) for bought in cart.bought),
            )
            for session, cart in model.carts.items()
            if cart.expires_at > now
        },
        orders=model.orders,
        names=dict(sorted((name, (order, end - now)) for name, (order, end) in model.names.items() if end > now)),
        generations=model.generations,
    )


async def _facts(redis: Redis) -> list[str]:
    present: list[Any] = await redis.keys("till:*")
    keys = [key for key in present if _fields(key) is not None]
    async with redis.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.pttl(key)
            fields = _fields(key)
            pipeline.hmget(key, fields) if fields else pipeline.get(key)
        told: list[Any] = await pipeline.execute()
    return [
        f"{key.decode()} {round(left / _GRAIN)} {_aged(value)}"
        for key, left, value in zip(keys, told[::2], told[1::2], strict=True)
    ]


def _fields(key: bytes) -> tuple[str, ...] | None:
    return next((fields for prefix, fields in _DECISIVE.items() if key.decode().startswith(prefix)), None)


def _aged(value: Any) -> str:
    """A value as text; the instants in it as tens of seconds ago."""
    now = time.time() * 1000
    return _INSTANT.sub(lambda at: f"-{round((now - int(at[0])) / _GRAIN)}", str(value))
