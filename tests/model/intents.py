"""What shoppers do, by name: intents become calls in the light of what the client has seen so far."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID

from services.cart.model import Cart as RealCart
from tests.model.calls import (
    Answer,
    Call,
    CartSeen,
    Move,
    PutCart,
    PutSeen,
    ReadCart,
    Submit,
    SubmitSeen,
    Wait,
)
from tests.model.checkout_model import CART_TTL, WINDOW, Items

HEADPHONES: Items = (("1", 1),)
PADS: Items = (("3", 2),)
BOTH: Items = (("1", 1), ("3", 2))
KEYS = ("key-one-1", "key-two-2")


@dataclass(frozen=True)
class View:
    """What a client knows: who it is, its cart session, and what it was told, oldest first."""

    user: str
    other: str  # the next user of the same browser
    session: str
    generations: tuple[str, ...] = ()
    etags: tuple[str, ...] = (RealCart().etag,)
    orders: tuple[UUID, ...] = ()

    def after(self, answer: Answer) -> "View":
        """What it knows once it was told `answer`."""
        match answer:
            case PutSeen(_, generation, etag) | CartSeen(generation=generation, etag=etag):
                seen = (generation,) if generation is not None else ()
                return replace(
                    self, generations=_first_and_last(self.generations, *seen), etags=_first_and_last(self.etags, etag)
                )
            case SubmitSeen(_, order_id):
                return replace(self, orders=_first_and_last(self.orders, order_id))
        return self


def _first_and_last(known: tuple, *news: object) -> tuple:  # type: ignore[type-arg]
    both = known + news
    return both if len(set(both)) < 2 else (both[0], both[-1])


Intent = Callable[[View], Call | None]
"""None: the client has not seen what it would need."""


def put(items: Items) -> Intent:
    """The cart is replaced, unconditionally: also the echo, when these items were just bought."""
    return lambda view: PutCart(view.session, items)


def refill(items: Items, seen: int = -1) -> Intent:
    """The cart is replaced with If-Match, naming the last state that was seen, or the first one (0)."""
    return lambda view: PutCart(view.session, items, view.etags[seen])


def buy(items: Items, key: str | None = None, *, as_other: bool = False) -> Intent:
    """No cart is named."""
    return lambda view: Submit(view.other if as_other else view.user, items, key)


def buy_with_cart(items: Items, key: str | None = None, *, as_other: bool = False) -> Intent:
    """The bare session is named."""
    return lambda view: Submit(view.other if as_other else view.user, items, key, view.session)


def buy_carrying(items: Items, key: str | None = None, *, seen: int = -1, as_other: bool = False) -> Intent:
    """The session and the generation that was seen last, or first (0)."""

    def intent(view: View) -> Call | None:
        if not view.generations:
            return None
        user = view.other if as_other else view.user
        return Submit(user, items, key, view.session, view.generations[seen])

    return intent


def move(to: str, seen: int = -1) -> Intent:
    """The order that was heard of last, or first (0), is cancelled or paid."""
    return lambda view: Move(view.user, view.orders[seen], to) if view.orders else None  # type: ignore[arg-type]


def wait(ms: int) -> Intent:
    """Time passes."""
    return lambda _: Wait(ms)


INTENTS: dict[str, Intent] = {
    "put headphones": put(HEADPHONES),
    "put both": put(BOTH),
    "put two headphones": put((("1", 2),)),
    "clear": put(()),
    "read": lambda view: ReadCart(view.session),
    "refill headphones": refill(HEADPHONES),
    "refill headphones, having seen the first cart": refill(HEADPHONES, 0),
    "buy": buy(HEADPHONES),
    "buy with cart": buy_with_cart(HEADPHONES),
    "buy carrying the last generation": buy_carrying(HEADPHONES),
    "buy carrying the first generation": buy_carrying(HEADPHONES, seen=0),
    "buy with key 1": buy(HEADPHONES, KEYS[0]),
    "buy with key 1 carrying the last generation": buy_carrying(HEADPHONES, KEYS[0]),
    "buy with key 2 carrying the first generation": buy_carrying(HEADPHONES, KEYS[1], seen=0),
    "buy with key 2": buy(HEADPHONES, KEYS[1]),
    "buy with key 2 and cart": buy_with_cart(HEADPHONES, KEYS[1]),
    "buy pads with key 1": buy(PADS, KEYS[0]),
    "buy both with cart": buy_with_cart(BOTH),
    "other user buys with cart": buy_with_cart(HEADPHONES, as_other=True),
    "other user buys with key 1 carrying the last generation": buy_carrying(HEADPHONES, KEYS[0], as_other=True),
    "cancel": move("cancelled"),
    "cancel the first": move("cancelled", 0),
    "pay": move("paid"),
    "half the window passes": wait(WINDOW // 2),
    "window passes": wait(WINDOW),
    "day passes": wait(CART_TTL),
}
