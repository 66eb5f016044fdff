"""What shoppers will do, decided by the seed alone: purchase number n of a seed is the same on every machine.

Pure; sends nothing. No two purchases of one user have the same items: without a key, that is what makes them two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from random import Random
from typing import Any
from uuid import UUID

USERS = 200  # even, so that two neighbours, who share the text of their key, are different users
DUPLICATED = 0.3  # share of the purchases that are submitted more than once
LATE = 0.25  # share of the duplicates of named purchases that come after a while
LATEST = 15.0  # seconds
SOON = 1.5  # seconds; a bare purchase is protected by a window alone
MOVED = 0.25  # share of the purchases whose order is paid, cancelled, or both at once
PATIENT = 0.8  # share of the shoppers that retry; the others leave it at one attempt


class Protection(StrEnum):
    """What makes the submissions of one purchase recognisable."""

    KEY = "key"
    CART = "cart"
    KEY_AND_CART = "key and cart"
    BARE = "nothing"


class Move(StrEnum):
    """A change of status that a shopper asks for; the value is the status."""

    PAID = "paid"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Submission:
    """One POST: through which door (modulo their number), how many seconds after the purchase began."""

    door: int
    delay: float


@dataclass(frozen=True, slots=True)
class MoveRequest:
    """One PATCH or cancel: through which door, how many seconds after the order's id was known."""

    move: Move
    door: int
    delay: float


@dataclass(frozen=True, slots=True)
class Purchase:
    """One thing that is bought once, however often it is submitted. `items`: product id -> quantity."""

    number: int
    user: str
    protection: Protection
    key: str | None
    session: str | None
    items: tuple[tuple[str, int], ...]
    total: Decimal
    submissions: tuple[Submission, ...]
    moves: tuple[MoveRequest, ...]
    is_patient: bool

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The items as the API takes them."""
        return [{"id": product, "quantity": quantity} for product, quantity in self.items]


@dataclass(frozen=True, slots=True)
class Shelf:
    """What may be bought: product ids, prices and the largest quantity of each."""

    products: tuple[tuple[str, Decimal, int], ...]

    @staticmethod
    def of(catalog: Sequence[Mapping[str, Any]]) -> "Shelf":
        """The first products of a catalogue's answer that are in stock: enough to tell a million purchases apart."""
        in_stock = [product for product in catalog if product["stock"] > 0][:4]
        return Shelf(tuple((p["id"], Decimal(str(p["price"])), min(p["stock"], 99)) for p in in_stock))

    def choose(self, which: int) -> tuple[tuple[tuple[str, int], ...], Decimal]:
        """Items and total number `which` (from 1): a different cart for each number."""
        items, total = [], Decimal(0)
        for product, price, most in self.products:
            which, quantity = divmod(which, most + 1)
            if quantity:
                items.append((product, quantity))
                total += price * quantity
        assert which == 0, "more purchases of one user than the catalogue has carts"
        return tuple(items), total


def plan_purchase(seed: int, number: int, shelf: Shelf) -> Purchase:
    """Purchase `number` of `seed`. Neighbours 2n and 2n+1 are two users with one protection and one key text."""
    pair, own = Random(f"{seed}/pair/{number // 2}"), Random(f"{seed}/purchase/{number}")  # noqa: S311
    protection = pair.choices(list(Protection), weights=(40, 25, 10, 25))[0]
    has_key = protection in (Protection.KEY, Protection.KEY_AND_CART)
    has_cart = protection in (Protection.CART, Protection.KEY_AND_CART)
    items, total = shelf.choose(number // USERS + 1)
    return Purchase(
        number=number,
        user=f"shopper-{number % USERS:03d}",
        protection=protection,
        key=f"order-{seed}-{number // 2}" if has_key else None,
        session=str(UUID(int=own.getrandbits(128))) if has_cart else None,
        items=items,
        total=total,
        submissions=_plan_submissions(own, protection),
        moves=_plan_moves(own, has_key),
        is_patient=own.random() < PATIENT,
    )


def _plan_submissions(own: Random, protection: Protection) -> tuple[Submission, ...]:
    first = own.randrange(12)
    submissions = [Submission(first, 0.0)]
    if own.random() < DUPLICATED:
        for copy in range(1, own.choices((1, 2, 3), weights=(45, 35, 20))[0] + 1):
            is_late = protection is not Protection.BARE and own.random() < LATE
            delay = own.uniform(SOON, LATEST) if is_late else own.choice((0.0, 0.0, own.uniform(0, SOON)))
            submissions.append(Submission(first + copy, delay))
    return tuple(submissions)


def _plan_moves(own: Random, has_key: bool) -> tuple[MoveRequest, ...]:
    """A cancel ends the weak names of a checkout, so that a later duplicate is a new one: only keyed ones get it."""
    if own.random() >= MOVED:
        return ()
    choices: list[tuple[Move, ...]] = [(Move.PAID,), (Move.PAID, Move.PAID)]
    if has_key:
        choices += [(Move.CANCELLED,), (Move.PAID, Move.CANCELLED), (Move.CANCELLED, Move.PAID, Move.CANCELLED)]
    moves = list(own.choice(choices))
    own.shuffle(moves)
    return tuple(MoveRequest(move, own.randrange(12), own.choice((0.0, 0.0, own.uniform(0, 2)))) for move in moves)
