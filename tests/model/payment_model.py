"""The model of one checkout with payment sessions and their money. Pure, as the model it extends.

An order's id is a name here, because a session fixes the id before there is an order: its key, the generation of the
cart that covers it, or one of its own.
"""

from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from tests.model.checkout_model import Answer, CartName, CheckoutModel, Items, covers

LIFE = 3_600_000  # ms

Name = tuple[object, ...]


@dataclass(frozen=True)
class Session:
    """A session at Stripe; `order` is the id of the order that it pays."""

    order: Name
    user: str
    items: Items
    key: str | None
    cart: CartName | None
    carts: tuple[Name, ...]
    expires_at: int


class Told(NamedTuple):
    """A submission's answer, by the id of its order."""

    outcome: Literal["accepted", "replayed", "key_reused"]
    order: Name


class Opened(NamedTuple):
    """`session` is a number, None when there is nothing to pay."""

    outcome: Literal["opened", "moved", "key_reused"]
    order: Name
    session: int | None = None


@dataclass
class PaymentModel(CheckoutModel):
    """`slots`: (user, items) -> the order of the session that is open, and its end."""

    sessions: list[Session] = field(default_factory=list)
    current: dict[Name, int] = field(default_factory=dict)
    slots: dict[tuple[str, Items], tuple[Name, int]] = field(default_factory=dict)
    ids: dict[Name, int] = field(default_factory=dict)
    paid_by: dict[int, int] = field(default_factory=dict)

    def place(self, user: str, items: Items, key: str | None, cart: CartName | None) -> Told:
        """POST /api/orders."""
        found = self._known(user, items, key, cart)
        match found:
            case Told():
                return found
            case Session() as reserved:
                return self._accept_as(
                    reserved.order, user, items, key or reserved.key, cart or reserved.cart, reserved
                )
            case None:
                return self._accept_as(self._fresh(user, items, key, cart), user, items, key, cart, None)

    def open(self, user: str, items: Items, key: str | None, cart: CartName | None) -> Opened:
        """POST /api/checkout/sessions."""
        match self._known(user, items, key, cart):
            case Told("key_reused", order):
                return Opened("key_reused", order)
            case Told(_, order):
                if self.orders[self.ids[order]].status != "processing":
                    return Opened("moved", order)
                return self._begin(Session(order, user, items, self.orders[self.ids[order]].key, None, (), 0))
            case Session() as reserved:
                return self._begin(reserved)
            case None:
                order = self._fresh(user, items, key, cart)
                carts = tuple(sorted(self._cart_names(user, items, cart), key=str))
                return self._begin(Session(order, user, items, key, cart, carts, 0))

    def settle(self, number: int) -> str:
        """The webhook says that the session was paid."""
        session = self.sessions[number]
        order = self.ids.get(session.order)
        if order is None:
            reserved = self._reservation(session.order)
            if reserved is not None and reserved.items != session.items:
                return "content_conflict"  # its key was used again, for something else, when the session had ended
            # who pays after the session's end is judged by the metadata, and no cart stands there
            source = reserved or replace(session, cart=None)
            self._accept_as(session.order, session.user, session.items, source.key, source.cart, source)
            order = self.ids[session.order]
            self.orders[order].status, self.paid_by[order] = "paid", number
            return "accepted"
        if self.orders[order].items != session.items:
            return "content_conflict"
        if order in self.paid_by:
            return "unchanged" if self.paid_by[order] == number else "paid_twice"
        self.paid_by[order] = number
        if self.orders[order].status == "paid":
            return "unchanged"
        if self.orders[order].status == "processing":
            self.orders[order].status = "paid"
        return "paid"

    def id_of(self, order: int) -> Name:
        """The id of the order of that number."""
        return next(name for name, number in self.ids.items() if number == order)

    def _known(self, user: str, items: Items, key: str | None, cart: CartName | None) -> Told | Session | None:
        """The order or the reservation that this is; None = neither. A new key joins the order that it finds."""
        if key is not None and (known := self._find(("key", user, key))) is not None:
            return Told("replayed" if self.orders[known].items == items else "key_reused", self.id_of(known))
        if key is not None and (reserved := self._reservation(("key", user, key))) is not None:
            return reserved if reserved.items == items else Told("key_reused", reserved.order)
        name = self._slot(user, items)
        if name is not None and (reserved := self._reservation(name)) is not None:
            return None if key and reserved.key and key != reserved.key else reserved
        known = self.ids.get(name) if name is not None else None
        if known is None:
            known = self._find_weak(user, items, cart)
        if known is None or (key is not None and self.orders[known].key not in (None, key)):
            return None
        if key is not None and self.orders[known].key is None:
            self.orders[known].key = key
            self._bind(("key", user, key), known, 7 * 24 * LIFE)
        return Told("replayed", self.id_of(known))

    def _slot(self, user: str, items: Items) -> Name | None:
        """The id that the slot holds, of a reservation or of an order that is not cancelled."""
        name, end = self.slots.get((user, items), ((), 0))
        order = self.ids.get(name)
        return name if end > self.now and (order is None or self._is_live(order)) else None

    def _reservation(self, name: Name) -> Session | None:
        number = self.current.get(name)
        if number is None or name in self.ids or self.sessions[number].expires_at <= self.now:
            return None
        return self.sessions[number]

    def _begin(self, wanted: Session) -> Opened:
        number = self.current.get(wanted.order)
        if number is None or self.sessions[number].expires_at <= self.now:
            number = self.current[wanted.order] = len(self.sessions)
            self.sessions.append(replace(wanted, expires_at=self.now + LIFE))
        if self._slot(wanted.user, wanted.items) in (None, wanted.order):
            self.slots[wanted.user, wanted.items] = (wanted.order, self.sessions[number].expires_at)
        return Opened("opened", wanted.order, number)

    def _fresh(self, user: str, items: Items, key: str | None, named: CartName | None) -> Name:
        if key is not None:
            return ("key", user, key)
        cart = self.cart(named.session) if named else None
        if named and cart and covers(cart.items, items):
            name = ("cart", user, named.session, cart.generation, items)
            if name not in self.ids:
                return name
        return ("once", len(self.ids), len(self.sessions), self.now)

    def _cart_names(self, user: str, items: Items, named: CartName | None) -> set[Name]:
        if named is None:
            return set()
        cart = self.cart(named.session)
        carried = named.generation if named.generation is not None else cart.generation
        generations = {carried, cart.generation if covers(cart.items, items) else None} - {None}
        return {("cart", user, named.session, generation, items) for generation in generations}

    def _accept_as(
        self, name: Name, user: str, items: Items, key: str | None, named: CartName | None, reserved: Session | None
    ) -> Told:
        answer: Answer = self._accept(user, items, key, named)
        self.ids[name] = answer.order
        for cart in reserved.carts if reserved else ():
            self._bind(cart, answer.order, 7 * 24 * LIFE)
        return Told("accepted", name)
