"""The carts of the old shop, put where the cart service keeps them. Never overwrites a cart, never deletes a key."""

from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from services.cart.catalog import Catalog
from services.cart.model import ITEMS, Cart, CartItem, parse_session
from services.cart.store import Stored, get_cart, put_cart
from services.orders.legacy_import_read import Damage
from shared.settings import Settings

_PREFIX = "cart:"


@dataclass(slots=True)
class CartsImported:
    """Counts of one run. `known`: the session has a cart already, or its old cart is empty."""

    carts: int = 0
    stored: int = 0
    known: int = 0
    damages: list[Damage] = field(default_factory=list)


async def import_carts(
    source: Redis, redis: Redis, settings: Settings, catalog: Catalog, *, dry_run: bool
) -> CartsImported:
    """Stores every readable old cart for a day, in sessions that have none; raises what Redis raises."""
    found = CartsImported()
    keys = sorted([key async for key in source.scan_iter(match=f"{_PREFIX}*", count=1000)])
    for key in keys:
        name = key.decode(errors="backslashreplace")
        session = parse_session(name.removeprefix(_PREFIX))
        items = await _read_items(source, key, catalog)
        if session is None or isinstance(items, str):
            found.damages.append(Damage(name, items if isinstance(items, str) else "not a session id"))
            continue
        found.carts += 1
        if not items or await get_cart(redis, session) != Cart():
            found.known += 1
        elif dry_run:
            found.stored += 1
        else:
            # a cart that a shopper fills in this very moment has another version, and wins
            outcome = await put_cart(redis, session, items, settings.window, if_match=Cart().etag)
            found.stored += isinstance(outcome, Stored)
            found.known += not isinstance(outcome, Stored)
    return found


async def _read_items(source: Redis, key: bytes, catalog: Catalog) -> tuple[CartItem, ...] | str:
    """The items of a cart, or why they cannot be read."""
    try:
        blob: Any = await source.get(key)
        items = ITEMS.validate_json(blob or b"[]")
    except ResponseError:
        return "not a string"
    except ValidationError as fault:
        return f"not a cart: {fault.errors()[0]['msg']}"
    unknown = next((item.id for item in items if catalog.get(item.id) is None), None)
    return items if unknown is None else f"the product {unknown!r} is not in the catalogue"
