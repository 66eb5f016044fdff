"""What two clients do at once, and where they begin."""

from collections.abc import Iterator
from itertools import combinations_with_replacement as pairs_of
from itertools import product
from typing import NamedTuple

Program = tuple[str, ...]


class Case(NamedTuple):
    """A beginning, and a program for each of two clients; the names are those of intents.py."""

    beginning: str
    first: Program
    second: Program


BEGINNINGS: dict[str, Program] = {
    "nothing": (),
    "a cart": ("put headphones",),
    "a cart just bought": ("put headphones", "buy carrying the last generation"),
    "a cart, and bought without it": ("put headphones", "buy"),
    "a cart just bought with key 1": ("put headphones", "buy with key 1 carrying the last generation"),
    "bought and refilled": ("put headphones", "buy with cart", "read", "refill headphones"),
}

_CARTS: list[Program] = [("put headphones",), ("put both",), ("clear",), ("read", "refill headphones")]
_BUYS: list[Program] = [
    ("buy",),
    ("buy with cart",),
    ("buy carrying the last generation",),
    ("buy with key 1",),
    ("buy with key 1 carrying the last generation",),
    ("buy with key 2 and cart",),
    ("buy pads with key 1",),
    ("other user buys with cart",),
]
_MOVES: list[Program] = [("cancel",), ("pay",)]

STORIES = [
    Case("a cart", ("buy with cart", "clear"), ("buy with cart",)),
    Case("a cart", ("buy carrying the last generation", "clear"), ("put headphones", "buy with cart")),
    Case("a cart", ("buy with cart", "cancel"), ("buy with cart",)),
    Case("a cart", ("buy with key 1 carrying the last generation", "cancel"), ("buy with key 2 and cart",)),
    Case(
        "a cart just bought",
        ("buy with key 1 carrying the last generation", "cancel"),
        ("buy with key 1 carrying the last generation",),
    ),
    Case("a cart, and bought without it", ("buy with key 1",), ("buy with key 2", "cancel")),
    Case("a cart, and bought without it", ("buy with key 1",), ("cancel", "buy")),
    Case("a cart, and bought without it", ("buy with cart",), ("cancel", "buy")),
]
"""Longer ones: the storefront that empties its cart, the shopper who cancels and buys again, two keys for one order,
one key that is joined and its order cancelled while its double click waits.
"""

LONG_STORIES = [
    Case("a cart just bought", ("cancel", "buy with cart"), ("put headphones", "buy with cart")),
]
"""Of the same kind, with thousands of orders of their trips."""


def single_calls(beginning: str) -> Iterator[Case]:
    """Every call against every other."""
    for first, second in pairs_of([*_BUYS, *_MOVES], 2):
        yield Case(beginning, first, second)
    for first, second in product(_CARTS, [*_CARTS, *_BUYS, *_MOVES]):
        yield Case(beginning, first, second)


def longer_programs(beginning: str) -> Iterator[Case]:
    """Every pair of calls against a single one, cart changes and purchases mixed."""
    calls = [*_CARTS[:3], *_BUYS[1:3], _BUYS[0], _BUYS[4], _BUYS[5], _MOVES[0]]
    for first, then, second in product(calls, calls, [*_CARTS, *_BUYS, *_MOVES]):
        yield Case(beginning, (*first, *then), second)
