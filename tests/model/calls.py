"""What a client can ask of the shop and what it is told, in the shop's own names. Values only.

The same call is made on the real functions (real_driver.py) and on the model (judge.py).
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple
from uuid import UUID

from tests.model.checkout_model import Items


@dataclass(frozen=True)
class PutCart:
    """PUT /api/cart/{session}; `if_match` is an ETag that was read."""

    session: str
    items: Items
    if_match: str | None = None


@dataclass(frozen=True)
class Checkout:
    """What is bought. `session` with `generation` None is the bare cookie; `session` None names no cart."""

    user: str
    items: Items
    key: str | None = None
    session: str | None = None
    generation: str | None = None


class Submit(Checkout):
    """POST /api/orders."""


@dataclass(frozen=True)
class Move:
    """Owner cancel, or PATCH paid."""

    user: str
    order_id: UUID
    to: Literal["paid", "cancelled"]


@dataclass(frozen=True)
class ReadCart:
    """What the session holds, down to what GET does not show."""

    session: str


@dataclass(frozen=True)
class ReadLife:
    """How long the cart has to live."""

    session: str


@dataclass(frozen=True)
class ReadOrders:
    """Every order that is in the log, of these users."""

    users: tuple[str, ...]


@dataclass(frozen=True)
class Wait:
    """Time passes, in ms."""

    ms: int


Call = PutCart | Submit | Move | ReadCart | ReadLife | ReadOrders | Wait


class PutSeen(NamedTuple):
    """The answer of a PUT; `etag` is the cart's, as it is now."""

    outcome: Literal["stored", "echo", "stale"]
    generation: str | None
    etag: str


class SubmitSeen(NamedTuple):
    """201, 200 or 422, and which order it is about."""

    outcome: Literal["accepted", "replayed", "key_reused"]
    order_id: UUID


class MoveSeen(NamedTuple):
    """The order's status afterwards, or `unknown`."""

    status: str


class CartSeen(NamedTuple):
    """A stored cart; `bought` in the order of acceptance: user digest, items, order."""

    items: Items
    generation: str | None
    version: int
    has_checked_out: bool
    bought: tuple[tuple[str, Items, UUID], ...]
    etag: str


class LifeSeen(NamedTuple):
    """In ms; 0 = there is no cart."""

    left: int


class OrderSeen(NamedTuple):
    """An accepted order: content from the log, status and key from its record."""

    order_id: UUID
    user: str
    items: Items
    status: str
    has_key: bool


class OrdersSeen(NamedTuple):
    """In the order of the log."""

    orders: tuple[OrderSeen, ...]


Answer = PutSeen | SubmitSeen | MoveSeen | CartSeen | LifeSeen | OrdersSeen | None
