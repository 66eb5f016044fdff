"""The names of a checkout: what a retry is known by. Pure; decides nothing.

Strongest first: the client's idempotency key, the payment session, the cart's generation, the window of a keyless
submission. The user is part of every name. A name's digest is its key in Redis; the event id is made of the first one.
"""

import hashlib
import re
from decimal import Decimal
from uuid import UUID

from services.cart.model import CartName
from shared.events import canonical, event_id_of

_KEY = re.compile(r"[A-Za-z0-9_.-]{8,255}")


def parse_key(header: str) -> str | None:
    """An `Idempotency-Key` without surrounding blanks, or None when it is not one."""
    key = header.strip(" \t")
    return key if _KEY.fullmatch(key) else None


def fingerprint(content: str, total: Decimal) -> str:
    """sha256 (hex) of the items' canonical content and of the total in cents; never of a price."""
    cents = (total * 100).normalize()
    return hashlib.sha256(canonical([content, f"{cents:f}"])).hexdigest()


def key_name(user_id: str, key: str) -> UUID:
    """The client's own name for its checkout."""
    return event_id_of("key", user_id, key)


def payment_slot(user_id: str, print_: str) -> UUID:
    """Where the order of the present payment session for this content is remembered."""
    return event_id_of("payment", user_id, print_)


def cart_name(user_id: str, cart: CartName, print_: str) -> UUID:
    """These items bought in this generation of a cart."""
    assert cart.generation is not None
    return event_id_of("cart", user_id, cart.session, cart.generation, print_)


def window_slot(user_id: str, print_: str) -> UUID:
    """Where the present window of equal keyless submissions is remembered."""
    return event_id_of("window", user_id, print_)


def window_name(user_id: str, print_: str, opened_at: int) -> UUID:
    """A window by its opening instant, in microseconds of Redis TIME."""
    return event_id_of("window", user_id, print_, opened_at)
