"""The rules of "What is one checkout?" as a small pure model. No I/O, no clock of its own, no identifiers.

Orders are numbered in the order of their acceptance. Whatever the real scripts answer must be what this answers.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

WINDOW = 30_000  # ms
CART_TTL = 86_400_000  # ms
IDENTITY = 7 * CART_TTL  # ms

Items = tuple[tuple[str, int], ...]
"""Canonical: summed per product, sorted, no zeros. `total` follows from it: the model has fixed prices."""


def canonical(items: dict[str, int]) -> Items:
    """`items` as the fingerprint sees them."""
    return tuple(sorted((product, quantity) for product, quantity in items.items() if quantity))


def covers(cart: Items, items: Items) -> bool:
    """Whether every unit of `items` is in `cart`."""
    return Counter(dict(cart)) >= Counter(dict(items))


def subtract(cart: Items, items: Items) -> Items:
    """What is left of `cart` when `items` are taken out."""
    return canonical(dict(Counter(dict(cart)) - Counter(dict(items))))


class CartName(NamedTuple):
    """What a client carries: a session, and the generation it saw (None = bare, the present one)."""

    session: str
    generation: int | None


@dataclass(frozen=True)
class Bought:
    """A checkout that named this cart session; ends when a stored PUT contains its items again."""

    user: str
    items: Items
    order: int
    at: int


@dataclass(frozen=True)
class Cart:
    """One cart session. `generation` None = no non-empty PUT yet."""

    items: Items = ()
    version: int = 0
    generation: int | None = None
    has_checked_out: bool = False
    bought: tuple[Bought, ...] = ()
    expires_at: int = 0


@dataclass
class Order:
    """An accepted checkout."""

    user: str
    items: Items
    key: str | None
    status: Literal["processing", "paid", "cancelled"] = "processing"


class Answer(NamedTuple):
    """201 accepted, 200 replayed, 422 key reused; `order` is the order's number."""

    outcome: Literal["accepted", "replayed", "key_reused"]
    order: int


class Put(NamedTuple):
    """200 stored, 200 echo (nothing stored), 412 stale."""

    outcome: Literal["stored", "echo", "stale"]
    generation: int | None


@dataclass
class CheckoutModel:
    """Everything that the rules look at."""

    now: int = 0
    carts: dict[str, Cart] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    names: dict[tuple[object, ...], tuple[int, int]] = field(default_factory=dict)  # name -> (order, expires at)
    generations: int = 0

    def cart(self, session: str) -> Cart:
        """The session's cart; an absent or expired one is empty and nameless."""
        cart = self.carts.get(session, Cart())
        return cart if cart.expires_at > self.now else Cart()

    def put(self, session: str, items: Items, *, if_match: tuple[int | None, int] | None = None) -> Put:
        """A cart is replaced. `if_match` = (generation, version) as read."""
        cart = self.cart(session)
        if if_match is not None and if_match != (cart.generation, cart.version):
            return Put("stale", cart.generation)
        is_echo = if_match is None and any(
            bought.items == items and self.now < bought.at + WINDOW and self._is_live(bought.order)
            for bought in cart.bought
        )
        if is_echo:
            return Put("echo", cart.generation)
        if not items and cart == Cart():
            return Put("stored", None)
        generation, has_checked_out = cart.generation, cart.has_checked_out
        if items and (generation is None or has_checked_out):
            self.generations += 1
            generation, has_checked_out = self.generations, False
        self.carts[session] = Cart(
            items=items,
            version=cart.version + 1,
            generation=generation,
            has_checked_out=has_checked_out,
            bought=tuple(bought for bought in cart.bought if not covers(items, bought.items)),
            expires_at=self.now + CART_TTL,
        )
        return Put("stored", generation)

    def submit(self, user: str, items: Items, *, key: str | None = None, cart: CartName | None = None) -> Answer:
        """POST /api/orders."""
        if key is not None and (known := self._find(("key", user, key))) is not None:
            return Answer("replayed" if self.orders[known].items == items else "key_reused", known)
        known = self._find_weak(user, items, cart)
        if known is not None and key is None:
            return Answer("replayed", known)
        if known is not None and key is not None and self.orders[known].key is None:
            self.orders[known].key = key
            self._bind(("key", user, key), known, IDENTITY)
            return Answer("replayed", known)
        return self._accept(user, items, key, cart)

    def cancel(self, user: str, order: int) -> str:
        """Owner cancel: the order's status afterwards, or `unknown`."""
        return self._move(user, order, "cancelled")

    def pay(self, user: str, order: int) -> str:
        """PATCH paid: the order's status afterwards, or `unknown`."""
        return self._move(user, order, "paid")

    def _move(self, user: str, order: int, status: Literal["paid", "cancelled"]) -> str:
        if order >= len(self.orders) or self.orders[order].user != user:
            return "unknown"
        if self.orders[order].status == "processing":
            self.orders[order].status = status
        return self.orders[order].status

    def _find_weak(self, user: str, items: Items, named: CartName | None) -> int | None:
        """Rules (a) to (d): the checkout that a submission without a known key belongs to; None = a new one."""
        if named is not None:
            cart = self.cart(named.session)
            generation = named.generation if named.generation is not None else cart.generation
            if generation is not None:
                known = self._find_live(("cart", user, named.session, generation, items))
                if known is not None:
                    return known
            if covers(cart.items, items):
                return self._find_live(("cart", user, named.session, cart.generation, items))
            for bought in reversed(cart.bought):
                if (bought.user, bought.items) == (user, items) and self._is_live(bought.order):
                    return bought.order
        return self._find_live(("window", user, items))

    def _accept(self, user: str, items: Items, key: str | None, named: CartName | None) -> Answer:
        order = len(self.orders)
        self.orders.append(Order(user, items, key))
        if key is not None:
            self._bind(("key", user, key), order, IDENTITY)
        if named is not None:
            cart = self.cart(named.session)
            is_taken = covers(cart.items, items)
            carried = named.generation if named.generation is not None else cart.generation
            for generation in {carried, cart.generation if is_taken else None} - {None}:
                self._bind(("cart", user, named.session, generation, items), order, IDENTITY)
            self.carts[named.session] = replace(
                cart,
                items=subtract(cart.items, items) if is_taken else cart.items,
                version=cart.version + 1,
                has_checked_out=True,
                bought=(*cart.bought, Bought(user, items, order, self.now)),
                expires_at=self.now + CART_TTL,
            )
        self._bind(("window", user, items), order, WINDOW)
        return Answer("accepted", order)

    def _bind(self, name: tuple[object, ...], order: int, ttl: int) -> None:
        """The first living binding of a name stays: names are write-once registers until a cancel ends them."""
        if self._find_live(name) is None:
            self.names[name] = (order, self.now + ttl)

    def _find(self, name: tuple[object, ...]) -> int | None:
        order, expires_at = self.names.get(name, (-1, 0))
        return order if expires_at > self.now else None

    def _find_live(self, name: tuple[object, ...]) -> int | None:
        known = self._find(name)
        return known if known is not None and self._is_live(known) else None

    def _is_live(self, order: int) -> bool:
        return self.orders[order].status != "cancelled"
