"""Which names a submission is tried by, and what a new checkout would be called. Pure; plans the next call alone."""

from dataclasses import dataclass
from uuid import UUID

from services.cart.model import Cart, CartItem, CartName, content, covers, subtract
from services.checkout.names import cart_name, fingerprint, key_name, payment_slot, window_name, window_slot
from services.checkout.submission import Reservation, Submission
from shared.streams import user_digest


@dataclass(frozen=True)
class Plan:
    """One call of the script. `event_id` None: it is not known yet what a new checkout would be called."""

    names: tuple[UUID, ...]
    consulted: int
    event_id: UUID | None = None
    consults_window: bool = False
    expected_content: str | None = None
    left: tuple[CartItem, ...] | None = None


class Learnt:
    """What is known about a submission so far. `is_decided`: money was paid for `reserved`, no name is asked."""

    def __init__(
        self, submission: Submission, reserved: Reservation | None = None, *, is_decided: bool = False
    ) -> None:
        self.submission = submission
        self.reserved = reserved
        self.is_decided = is_decided
        self.user = user_digest(submission.user_id)
        self.content = content(submission.items)
        self.print = fingerprint(self.content, submission.total)
        self.own_key = key_name(submission.user_id, submission.key) if submission.key is not None else None
        self.slot = payment_slot(submission.user_id, self.print)
        self.window = window_slot(submission.user_id, self.print)
        self.cart: Cart | None = None
        self.looked_at: int | None = None
        self.passed_over: set[UUID] = set()  # orders that a weak name no longer stands for
        self.ended: set[UUID] = set()  # those of them whose record is gone: not even a key stands for them
        self.living: set[UUID] = set()  # orders that keep their names although this submission is not theirs
        self.is_second_order = False  # the checkout has another key: a second key means a second order

    @property
    def key(self) -> UUID | None:
        """The name of the checkout's key: the client's, or the one that its payment session was opened with."""
        return self.own_key or (self.reserved.draft.names.key if self.reserved else None)

    @property
    def named_cart(self) -> CartName | None:
        """The cart that is bought: the client names it now, or named it when it opened the payment session."""
        return self.submission.cart or (self.reserved.cart if self.reserved else None)

    def plan(self) -> Plan:
        """The call that follows from what is known."""
        cart, named = self.cart, self.named_cart
        names = [self.key, self.slot] if self.key else [self.slot]
        strong = len(names)
        if self.reserved:
            names += [name for name in self.reserved.draft.names.carts if name not in names]
        if named is None:
            return self._plan(names, strong, self._fresh_name(), consults_window=True)
        generation = named.generation or (cart and cart.generation)
        carried = self._cart_name(named, generation) if generation else None
        if carried and carried not in names:
            names.append(carried)
        if cart is None:
            if not carried:
                return self._plan(names, strong, None)
            return self._plan(names, strong, self._fresh_name(carried), expected_content=self.content, left=())
        if covers(cart.items, self.submission.items):
            present = self._cart_name(named, cart.generation)
            if present not in names:
                names.append(present)
            left = subtract(cart.items, self.submission.items)
            return self._plan(names, strong, self._fresh_name(present), left=left)
        if self.purchase(cart) is not None:
            return self._plan(names, strong, None)
        return self._plan(names, strong, self._fresh_name(), consults_window=True)

    def purchase(self, cart: Cart) -> UUID | None:
        """The order by which an earlier generation of this session bought exactly these items."""
        if self.is_second_order or self.reserved:
            return None
        for bought in reversed(cart.bought):
            if (bought.user, bought.items) == (self.user, self.content) and bought.order_id not in self.passed_over:
                return bought.order_id
        return None

    def _plan(
        self,
        names: list[UUID],
        strong: int,
        event_id: UUID | None,
        *,
        consults_window: bool = False,
        expected_content: str | None = None,
        left: tuple[CartItem, ...] | None = None,
    ) -> Plan:
        """A stronger name was found to be a reservation, or a second key to mean a second order: ask no weaker one."""
        asks_weak = not (self.reserved or self.is_second_order)
        consulted = len(names) if asks_weak else 0 if self.is_decided else 1 if self.is_second_order else strong
        return Plan(tuple(names), consulted, event_id, consults_window and asks_weak, expected_content, left)

    def _fresh_name(self, cart: UUID | None = None) -> UUID | None:
        """The strongest name that no other order has taken for its id; None while the time is unknown."""
        if self.reserved is not None:
            return self.reserved.order_id
        if self.key is not None:
            return self.key
        if cart is not None and cart not in self.passed_over:
            return cart
        if self.looked_at is None:
            return None
        return window_name(self.submission.user_id, self.print, self.looked_at)

    def _cart_name(self, named: CartName, generation: str) -> UUID:
        return cart_name(self.submission.user_id, CartName(named.session, generation), self.print)
