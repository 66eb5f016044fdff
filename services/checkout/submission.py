"""What a client asks to buy, and what it may be told. Values only."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from services.cart.model import CartItem, CartName


@dataclass(frozen=True)
class Submission:
    """What a client sent, checked for shape. `key` is its idempotency key, `cart` the cart it names."""

    user_id: str
    items: tuple[CartItem, ...]
    total: Decimal
    key: str | None = None
    cart: CartName | None = None


@dataclass(frozen=True)
class Accepted:
    """A new checkout: it is in the log. `order` is the contract's Order."""

    order: dict[str, Any]


@dataclass(frozen=True)
class Replayed:
    """A checkout that was known; `known_by` says by which kind of name."""

    order: dict[str, Any]
    known_by: str


@dataclass(frozen=True)
class KeyReused:
    """The idempotency key belongs to a checkout of other items or another total."""

    order_id: UUID
