"""Which names a submission is tried by, and what a new checkout would be called. Pure; plans the next call alone."""

from dataclasses import dataclass
from uuid import UUID

from services.cart.model import Cart, CartItem, CartName, content, covers, subtract
from services.checkout.names import cart_name, fingerprint, key_name, window_name, window_slot
from services.checkout.submission import Submission
from shared.streams import user_digest


@dataclass(frozen=True)
class Plan:
    """One call of the script. `event_id` None: it is not known yet what a new checkout would be called."""

    names: tuple[UUID, ...]
    event_id: UUID | None = None
    consults_window: bool = False
    expected_content: str | None = None
    left: tuple[CartItem, ...] | None = None


class Learnt:
    """What is known about a submission so far."""

    def __init__(self, submission: Submission) -> None:
        self.submission = submission
        self.user = user_digest(submission.user_id)
        self.content = content(submission.items)
        self.print = fingerprint(submission.items, submission.total)
        self.key = key_name(submission.user_id, submission.key) if submission.key is not None else None
        self.window = window_slot(submission.user_id, self.print)
        self.cart: Cart | None = None
        self.looked_at: int | None = None
        self.passed_over: set[UUID] = set()  # orders that a weak name no longer stands for
        self.ended: set[UUID] = set()  # those of them whose record is gone: not even a key stands for them
        self.living: set[UUID] = set()  # orders that keep their names although this submission is not theirs
        self.is_second_order = False  # the checkout has another key: a second key means a second order

    def plan(self) -> Plan:
        """The call that follows from what is known."""
        submission, cart = self.submission, self.cart
        names = [self.key] if self.key else []
        if submission.cart is None:
            return Plan(tuple(names), self._fresh_name(), consults_window=True)
        generation = submission.cart.generation or (cart and cart.generation)
        if generation:
            names.append(self._cart_name(generation))
        if cart is None:
            if not generation:
                return Plan(tuple(names))
            return Plan(tuple(names), self._fresh_name(names[-1]), expected_content=self.content, left=())
        if covers(cart.items, submission.items):
            present = self._cart_name(cart.generation)
            if present not in names:
                names.append(present)
            return Plan(tuple(names), self._fresh_name(present), left=subtract(cart.items, submission.items))
        if self.purchase(cart) is not None:
            return Plan(tuple(names))
        return Plan(tuple(names), self._fresh_name(), consults_window=True)

    def purchase(self, cart: Cart) -> UUID | None:
        """The order by which an earlier generation of this session bought exactly these items."""
        if self.is_second_order:
            return None
        for bought in reversed(cart.bought):
            if (bought.user, bought.items) == (self.user, self.content) and bought.order_id not in self.passed_over:
                return bought.order_id
        return None

    def _fresh_name(self, cart: UUID | None = None) -> UUID | None:
        """The strongest name that no other order has taken for its id; None while the time is unknown."""
        if self.key is not None:
            return self.key
        if cart is not None and cart not in self.passed_over:
            return cart
        if self.looked_at is None:
            return None
        return window_name(self.submission.user_id, self.print, self.looked_at)

    def _cart_name(self, generation: str) -> UUID:
        assert self.submission.cart is not None
        return cart_name(self.submission.user_id, CartName(self.submission.cart.session, generation), self.print)
