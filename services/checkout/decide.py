"""The trips to Redis that decide a submission: each step is one call of accept_order.lua and what follows from it.

A submission is accepted, or its order id is reserved for a payment session, or it is accepted and paid at once.
"""

from dataclasses import dataclass, replace
from uuid import UUID

from redis.asyncio import Redis

from services.cart.model import covers, parse_cart_name
from services.cart.store import read_cart
from services.checkout.plan import Learnt, Plan
from services.checkout.submission import KeyReused, Known, Reservation, Reserve, Settle, Submission
from services.checkout.trips import join_key, meet_order, try_plan
from shared.errors import ApiError, Unavailable
from shared.events import CheckoutCompleted, Line, Names, Status, decode
from shared.redis import hash_fields
from shared.settings import Settings
from shared.streams import order_key

AWAY = "Orders cannot be accepted right now, please retry"
_ATTEMPTS = 32  # a further trip is needed only when another request succeeded in between


@dataclass(frozen=True)
class New:
    """It is in the log, as `event`; `accepted_at` in ms."""

    order_id: UUID
    event: CheckoutCompleted
    accepted_at: int


class Decision:
    """One submission on its way. `lines` are the priced line items, or why there is nothing that could be bought:
    that is raised only when the submission turns out to be a new checkout.
    """

    def __init__(
        self,
        redis: Redis,
        settings: Settings,
        submission: Submission,
        lines: tuple[Line, ...] | ApiError,
        purpose: Reserve | Settle | None = None,
        reserved: Reservation | None = None,
    ) -> None:
        self.redis = redis
        self.settings = settings
        self.submission = submission
        self.purpose = purpose
        self.learnt = Learnt(submission, reserved, is_decided=isinstance(purpose, Settle))
        self._lines = lines

    async def run(self) -> New | Known | KeyReused | Reservation:
        """Goes on until it is decided. Raises Unavailable while the names of past checkouts are not all in Redis."""
        for _ in range(_ATTEMPTS):
            outcome = await self._step()
            if outcome is not None:
                return outcome
        raise Unavailable(AWAY)

    @property
    def lines(self) -> tuple[Line, ...] | ApiError:
        """As they were priced: a reservation keeps the prices of its day."""
        return self.learnt.reserved.draft.lines if self.learnt.reserved else self._lines

    async def _step(self) -> New | Known | KeyReused | Reservation | None:
        """One trip; None = something was learnt, go on."""
        learnt = self.learnt
        plan = learnt.plan()
        event = None if plan.event_id is None or isinstance(self.lines, ApiError) else self._event(plan)
        match await try_plan(self.redis, self.settings, learnt, plan, event, self.purpose):
            case [b"not_loaded"]:
                raise Unavailable(AWAY)
            case [b"accepted", at]:
                assert plan.event_id is not None
                assert event is not None
                return New(plan.event_id, event, int(at))
            case [b"reserved"]:
                assert plan.event_id is not None
                assert event is not None
                return Reservation(plan.event_id, event, learnt.named_cart)
            case [b"known", bearer, position]:
                is_key = learnt.key is not None and (position == 1 or (plan.event_id == learnt.key and position == -1))
                is_slot = position > 0 and plan.names[position - 1] == learnt.slot
                weak = "payment" if is_slot else "cart" if position else "window"
                return await self._resolve(UUID(bearer.decode()), by_key=is_key, by=weak)
            case [b"borne", bearer]:
                await self._judge(UUID(bearer.decode()))
                return None
            case [b"look", time, *fields]:
                return await self._learn(plan, int(time), fields)
            case answer:
                raise AssertionError(answer)

    def _event(self, plan: Plan) -> CheckoutCompleted:
        lines, learnt = self.lines, self.learnt
        assert not isinstance(lines, ApiError)
        has_session = learnt.reserved is not None or isinstance(self.purpose, Reserve)
        paid_by = self.purpose.session if isinstance(self.purpose, Settle) else None
        return CheckoutCompleted(
            user_id=self.submission.user_id,
            lines=lines,
            total=self.submission.total,
            fingerprint=learnt.print,
            names=Names(
                key=learnt.key,
                payment_session=learnt.slot if has_session else None,
                carts=tuple(name for name in plan.names if name not in (learnt.key, learnt.slot)),
                window=learnt.window if self.settings.keyless_window else None,
            ),
            payment_session_id=paid_by or (learnt.reserved.session if learnt.reserved else None),
        )

    async def _learn(self, plan: Plan, time: int, fields: list[bytes | None]) -> Known | KeyReused | Reservation | None:
        """Nothing was known and nothing printed. With the plan confirmed, a fault of the lines is the answer."""
        learnt, lines = self.learnt, self.lines
        before, learnt.looked_at = learnt.cart, time
        if learnt.named_cart is not None:
            learnt.cart = read_cart(fields)
        is_confirmed = plan.event_id is not None and learnt.cart == before and plan.expected_content is None
        if is_confirmed and isinstance(lines, ApiError):
            raise lines
        if learnt.cart is not None and not covers(learnt.cart.items, self.submission.items):
            purchase = learnt.purchase(learnt.cart)
            if purchase is not None and set(learnt.plan().names) <= set(plan.names):
                return await self._resolve(purchase, by_key=False, by="cart")
        return None

    async def _resolve(self, order_id: UUID, *, by_key: bool, by: str) -> Known | KeyReused | Reservation | None:
        """The answer of a checkout that a name was found for; None when that name does not count."""
        learnt = self.learnt
        known_by = "key" if by_key else by
        met = await meet_order(self.redis, learnt, order_id, known_by, is_submission=self.purpose is None)
        payload, at, status, print_, key, session, draft, cart = met
        if payload is None and draft is not None:
            return self._meet_reservation(order_id, draft, cart, session, by_key=by_key)
        if payload is None or at is None or status is None:
            learnt.passed_over.add(order_id)
            learnt.ended.add(order_id)  # in this very moment, and its names with it
            return None
        same = print_ == learnt.print.encode()
        event = _read_checkout(payload)
        if session is not None:
            event = replace(event, payment_session_id=session.decode())
        known = Known(order_id, event, int(at), status.decode(), known_by)
        if by_key:
            return known if same else KeyReused(order_id)
        if learnt.is_decided:
            return known
        if status == Status.CANCELLED.encode() or not same:
            learnt.passed_over.add(order_id)
            return None
        if learnt.own_key is None or key == str(learnt.own_key).encode():
            return known
        if key:
            learnt.is_second_order = True
            learnt.living.add(order_id)
            return None
        return known if await join_key(self.redis, self.settings, learnt, order_id) else None

    def _meet_reservation(
        self, order_id: UUID, draft: bytes, cart: bytes | None, session: bytes | None, *, by_key: bool
    ) -> KeyReused | Reservation | None:
        """A payment session fixed this order id, and nobody has submitted its checkout yet."""
        learnt = self.learnt
        found = Reservation(
            order_id,
            _read_checkout(draft),
            parse_cart_name((cart or b"").decode()),
            session.decode() if session else None,
        )
        own_key, its_key = learnt.own_key, found.draft.names.key
        if by_key and found.draft.fingerprint != learnt.print:
            return KeyReused(order_id)
        if own_key and its_key and own_key != its_key:
            learnt.is_second_order = True
            learnt.living.add(order_id)
            return None
        learnt.reserved = found
        return found if isinstance(self.purpose, Reserve) else None

    async def _judge(self, order_id: UUID) -> None:
        """A new checkout takes over the names of a cancelled one, and no other's."""
        (status,) = await hash_fields(self.redis, order_key(order_id), "status")
        (self.learnt.passed_over if status in (None, Status.CANCELLED.encode()) else self.learnt.living).add(order_id)


def _read_checkout(payload: bytes) -> CheckoutCompleted:
    event = decode(payload)
    assert isinstance(event, CheckoutCompleted), "an order's record holds its checkout"
    return event
