"""The checkouts of a demo: who buys what, and how a retry of it is recognised. Pure; sends nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from math import prod
from typing import Any
from uuid import uuid4

from shared.errors import TillrollError

USERS = 100
MOST_QUANTITY = 99
MOST_LINES = 5  # of the contract's 50: enough to tell many thousand carts of one user apart


class Protection(StrEnum):
    """What makes the duplicates of a checkout recognisable."""

    KEY = "Idempotency-Key"
    CART = "cart cookie"
    BARE = "nothing"


@dataclass(frozen=True)
class Checkout:
    """One checkout, to be submitted several times. `items`: product id -> quantity."""

    user: str
    protection: Protection
    items: Mapping[str, int]
    total: Decimal

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The items as the API takes them."""
        return [{"id": product, "quantity": quantity} for product, quantity in self.items.items()]


def plan_checkouts(count: int, catalog: Sequence[Mapping[str, Any]]) -> list[Checkout]:
    """`count` checkouts, a third with each protection, of users that have never bought before.

    No two checkouts of a user have the same items: without a key, that is what makes them two checkouts.
    """
    products = [product for product in catalog if product["stock"] > 0][:MOST_LINES]
    choices = [min(product["stock"], MOST_QUANTITY) + 1 for product in products]
    carts = prod(choices) - 1  # less the empty one
    if carts < 1:
        raise TillrollError("The catalogue has no product in stock: the demo has nothing to buy.")
    users = max(min(USERS, count), -(-count // carts))
    run = uuid4().hex[:8]
    protections = list(Protection)
    checkouts = []
    for number in range(count):
        which, rest = number // users + 1, {}
        for product, choice in zip(products, choices, strict=True):
            which, quantity = divmod(which, choice)
            if quantity:
                rest[product["id"]] = quantity
        total = sum((Decimal(str(p["price"])) * rest.get(p["id"], 0) for p in products), Decimal(0))
        user = f"demo-{run}-{number % users:05d}"
        checkouts.append(Checkout(user, protections[number % len(protections)], rest, total))
    return checkouts
