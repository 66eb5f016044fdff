"""Payment sessions as calls: made on the real scripts over the real Redis, and held against payment_model.py."""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from services.checkout.open_session import Moved, Opened, open_session
from services.checkout.payment_metadata import read_metadata, write_metadata
from services.checkout.settle_payment import Settled, settle_payment
from services.checkout.stripe_sessions import StripeSession
from services.checkout.stripe_webhook import Paid
from services.checkout.submission import KeyReused
from shared.events import CheckoutCompleted
from shared.streams import order_key
from tests.model.calls import Checkout, Move, PutCart, Submit, Wait
from tests.model.checkout_model import CartName
from tests.model.judge import bind, same
from tests.model.payment_model import Name, PaymentModel
from tests.model.real_driver import RealDriver, packaged_catalog, submission_of


class Open(Checkout):
    """POST /api/checkout/sessions."""


@dataclass(frozen=True)
class Pay:
    """The webhook: that payment session was paid."""

    payment: str


class OpenSeen(NamedTuple):
    """`payment` is Stripe's id of the session."""

    outcome: str
    order_id: UUID
    payment: str | None = None


class PaySeen(NamedTuple):
    """What became of the money."""

    outcome: str


class Till:
    """Stripe's side: makes a session for each set of parameters, and knows what it is for."""

    def __init__(self) -> None:
        self.metadata: dict[str, dict[str, str]] = {}
        self._made: dict[str, str] = {}

    def forget(self) -> None:
        """Time has passed: no end of a session comes again."""
        self._made = {f"of old: {made}": made for made in self.metadata}

    async def create(self, order_id: UUID, checkout: CheckoutCompleted, until: int) -> StripeSession:
        """As StripeSessions does."""
        metadata = write_metadata(order_id, checkout)
        made = self._made.setdefault(f"{order_id} {until} {metadata}", f"cs_test_{len(self._made)}")
        self.metadata[made] = metadata
        return StripeSession(made, f"https://stripe.example/{made}")


class PaymentDriver(RealDriver):
    """A client who also opens payment sessions, and whom Stripe reports to."""

    till: Till

    async def make(self, call: Any) -> Any:
        """The shop's answer to `call`."""
        match call:
            case Open():
                return await self._open(call)
            case Pay(payment):
                content = Paid(payment, read_metadata(self.till.metadata[payment]), "")
                settled = await settle_payment(self.redis, self._settings, packaged_catalog(), content)
                return PaySeen(settled.word if isinstance(settled, Settled) else settled.reason)
            case _:
                return await super().make(call)

    async def age(self, ms: int) -> None:
        """The ends of sessions that stand in records come nearer, too."""
        await super().age(ms)
        self.till.forget()
        for key in await self._keys():
            if key.startswith(order_key("").encode()) and await self.redis.hexists(key, "session_until"):
                await self.redis.hincrby(key, "session_until", -ms)

    async def _open(self, call: Open) -> OpenSeen:
        submission, lines = submission_of(call)
        match await open_session(self.redis, self._settings, self.till, submission, lines):  # type: ignore[arg-type]
            case Opened(order_id, payment, _, _):
                return OpenSeen("opened", order_id, payment)
            case Moved(order_id, _):
                return OpenSeen("moved", order_id)
            case KeyReused(order_id):
                return OpenSeen("key_reused", order_id)


@dataclass
class PaymentJudge:
    """The model after some calls, and which real id stands for which of its names."""

    model: PaymentModel = field(default_factory=PaymentModel)
    orders: dict[UUID, Name] = field(default_factory=dict)
    payments: dict[str, int] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)

    def copy(self) -> "PaymentJudge":
        """Independent of this one."""
        return deepcopy(self)

    def hear(self, call: Any, answer: Any, *, is_lost: bool = False) -> None:
        """The model makes the call too; raises Disagreement when its answer is another."""
        assert not is_lost, "no client vanishes here"
        match call:
            case Submit(user, items, key, session, generation):
                told = self.model.place(user, items, key, self._cart(session, generation))
                same(call, answer.outcome, told.outcome)
                bind(call, self.orders, answer.order_id, told.order)
            case Open(user, items, key, session, generation):
                opened = self.model.open(user, items, key, self._cart(session, generation))
                same(call, answer.outcome, opened.outcome)
                bind(call, self.orders, answer.order_id, opened.order)
                same(call, answer.payment is None, opened.session is None)
                if opened.session is not None:
                    bind(call, self.payments, answer.payment, opened.session)
            case Pay(payment):
                same(call, answer.outcome, self.model.settle(self.payments[payment]))
            case PutCart(session, items):
                put = self.model.put(session, items)
                same(call, answer.outcome, put.outcome)
                same(call, answer.generation is None, put.generation is None)
                if put.generation is not None:
                    bind(call, self.generations, answer.generation, put.generation)
            case Move(user, order_id, to):
                number = self.model.ids.get(self.orders.get(order_id, ()), len(self.model.orders))
                move = self.model.cancel if to == "cancelled" else self.model.pay
                same(call, answer.status, move(user, number))
            case Wait(ms):
                self.model.now += ms
            case _:
                raise AssertionError(call)

    def _cart(self, session: str | None, generation: str | None) -> CartName | None:
        if session is None:
            return None
        return CartName(session, None if generation is None else self.generations[generation])
