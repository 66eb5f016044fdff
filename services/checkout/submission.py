"""What a client asks to buy, and what it may be told. Values only."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from services.cart.model import CartItem, CartName
from shared.events import CheckoutCompleted


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


@dataclass(frozen=True)
class Reservation:
    """What a payment session fixes before its checkout is submitted: the order id, and what it will be accepted as.

    `cart` is the one that the session was opened for, `session` Stripe's own id once it is known.
    """

    order_id: UUID
    draft: CheckoutCompleted
    cart: CartName | None = None
    session: str | None = None


@dataclass(frozen=True)
class Known:
    """A checkout that was accepted before, as it is now."""

    order_id: UUID
    event: CheckoutCompleted
    accepted_at: int
    status: str
    known_by: str


@dataclass(frozen=True)
class Reserve:
    """What is new is not accepted: its order id is kept for a payment session for so many ms."""

    ms: int


@dataclass(frozen=True)
class Settle:
    """What is new is paid by `session` already; `event_id` and `payload` are the event that says so."""

    session: str
    event_id: UUID
    payload: bytes
