"""Accepting an order: which checkout a submission is, and printing a new one on the stream.

The rules are CONTRACT's "What is one checkout?", as tests/model tells them. accept_order.lua decides in one atomic
step; plan.py plans that step, and plans it again when the script answers that something was not as supposed.
"""

from typing import Any
from uuid import UUID

from opentelemetry.trace import Span, SpanKind
from redis.asyncio import Redis

from services.cart.model import ITEMS, Cart, content, covers
from services.cart.store import CART_TTL, bought_tail, cart_key, read_cart
from services.checkout.plan import Learnt, Plan
from services.checkout.submission import Accepted, KeyReused, Replayed, Submission
from shared.errors import ApiError, Unavailable
from shared.events import CheckoutCompleted, KeyJoined, Line, Names, Status, decode, encode, event_id_of, public_order
from shared.redis import Script, hash_fields
from shared.settings import Settings
from shared.streams import NAMES_LOADED, STREAM, name_key, order_key, overlay_key
from shared.tracing import child_span, traceparent

AWAY = "Orders cannot be accepted right now, please retry"
_ATTEMPTS = 32  # a further trip is needed only when another request succeeded in between
_ACCEPT = Script("services.checkout", "accept_order.lua")
_JOIN = Script("services.checkout", "join_key.lua")
_MEET = Script("services.checkout", "meet_order.lua")


async def accept_order(
    redis: Redis, settings: Settings, submission: Submission, lines: tuple[Line, ...] | ApiError
) -> Accepted | Replayed | KeyReused:
    """Decides a submission. `lines` are the priced line items, or why there is nothing that could be bought:
    that is raised only when the submission turns out to be a new checkout.

    Raises Unavailable while the names of past checkouts are not all in Redis; lets RedisError through.
    """
    decision = _Decision(redis, settings, submission, lines)
    with child_span("accept order", SpanKind.PRODUCER) as span:
        for _ in range(_ATTEMPTS):
            outcome = await decision.step()
            if outcome is not None:
                _describe(span, outcome)
                return outcome
        raise Unavailable(AWAY)


def _describe(span: Span, outcome: Accepted | Replayed | KeyReused) -> None:
    match outcome:
        case Accepted(order):
            span.set_attributes({"tillroll.outcome": "accepted", "tillroll.order_id": order["id"]})
        case Replayed(order, known_by):
            span.set_attributes({"tillroll.outcome": f"known by {known_by}", "tillroll.order_id": order["id"]})
        case KeyReused(order_id):
            span.set_attributes({"tillroll.outcome": "key reused", "tillroll.order_id": str(order_id)})


class _Decision:
    """The trips of one submission; each step is one call of the script and what follows from it."""

    def __init__(
        self, redis: Redis, settings: Settings, submission: Submission, lines: tuple[Line, ...] | ApiError
    ) -> None:
        self.redis = redis
        self.settings = settings
        self.submission = submission
        self.lines = lines
        self.learnt = Learnt(submission)

    async def step(self) -> Accepted | Replayed | KeyReused | None:
        """One trip; None = something was learnt, go on."""
        learnt = self.learnt
        plan = learnt.plan()
        match await self._call(plan):
            case [b"not_loaded"]:
                raise Unavailable(AWAY)
            case [b"accepted", at]:
                return Accepted(public_order(plan.event_id or "", self._event(plan), int(at), Status.PROCESSING))
            case [b"known", bearer, position]:
                is_key = learnt.key is not None and (position == 1 or (plan.event_id == learnt.key and position == -1))
                return await self._resolve(UUID(bearer.decode()), by_key=is_key, by="cart" if position else "window")
            case [b"borne", bearer]:
                await self._judge(UUID(bearer.decode()))
                return None
            case [b"look", time, *fields]:
                return await self._learn(plan, int(time), fields)
            case answer:
                raise AssertionError(answer)

    def _event(self, plan: Plan) -> CheckoutCompleted:
        assert not isinstance(self.lines, ApiError)
        return CheckoutCompleted.model_construct(
            user_id=self.submission.user_id,
            lines=self.lines,
            total=self.submission.total,
            fingerprint=self.learnt.print,
            names=Names(
                key=self.learnt.key,
                carts=tuple(name for name in plan.names if name != self.learnt.key),
                window=self.learnt.window if self.settings.keyless_window else None,
            ),
        )

    async def _call(self, plan: Plan) -> Any:
        learnt = self.learnt
        is_new = plan.event_id is not None and not isinstance(self.lines, ApiError)
        keys = [
            NAMES_LOADED,
            STREAM,
            overlay_key(self.submission.user_id),
            order_key(plan.event_id or learnt.window),
            name_key(learnt.window),
            *map(name_key, plan.names),
        ]
        cart = learnt.cart or Cart()
        left = plan.left
        if self.submission.cart is not None:
            keys.append(cart_key(self.submission.cart.session))
        if not self.settings.keyless_window:
            window = "off"
        else:
            window = "consult" if plan.consults_window and not learnt.is_second_order else "bind"
        is_first = plan.expected_content is not None
        generation = self.submission.cart.generation if self.submission.cart and is_first else cart.generation
        return await _ACCEPT.run(
            self.redis,
            keys,
            [
                len(plan.names),
                1 if learnt.is_second_order else len(plan.names),
                window,
                " ".join(map(str, learnt.passed_over)),
                str(plan.event_id) if is_new else "",
                encode(self._event(plan)) if is_new else b"",
                learnt.user,
                learnt.print,
                str(learnt.key or ""),
                int(self.settings.identity_horizon.total_seconds() * 1000),
                int(self.settings.window.total_seconds() * 1000),
                "content" if is_first else "version",
                generation or "",
                plan.expected_content if plan.expected_content is not None else cart.version,
                ITEMS.dump_json(left) if left is not None else b"",
                content(left or ()),
                int(CART_TTL.total_seconds() * 1000),
                bought_tail(plan.event_id or learnt.window, learnt.user, learnt.content),
                " ".join(map(str, learnt.living)),
                " ".join(map(str, learnt.ended)),
                traceparent(),
            ],
        )

    async def _learn(self, plan: Plan, time: int, fields: list[bytes | None]) -> Accepted | Replayed | KeyReused | None:
        """Nothing was known and nothing printed. With the plan confirmed, a fault of the lines is the answer."""
        learnt = self.learnt
        before, learnt.looked_at = learnt.cart, time
        if self.submission.cart is not None:
            learnt.cart = read_cart(fields)
        is_confirmed = plan.event_id is not None and learnt.cart == before and plan.expected_content is None
        if is_confirmed and isinstance(self.lines, ApiError):
            raise self.lines
        if learnt.cart is not None and not covers(learnt.cart.items, self.submission.items):
            purchase = learnt.purchase(learnt.cart)
            if purchase is not None and set(learnt.plan().names) <= set(plan.names):
                return await self._resolve(purchase, by_key=False, by="cart")
        return None

    async def _resolve(self, order_id: UUID, *, by_key: bool, by: str) -> Replayed | KeyReused | None:
        """The answer of a checkout that a name was found for; None when that name does not count."""
        learnt = self.learnt
        known_by = "key" if by_key else by
        payload, at, status, print_, key = await _MEET.run(
            self.redis, [order_key(order_id)], [known_by, learnt.print, str(learnt.key or "")]
        )
        if payload is None or at is None or status is None:
            learnt.passed_over.add(order_id)
            learnt.ended.add(order_id)  # in this very moment, and its names with it
            return None
        same = print_ == learnt.print.encode()
        event = decode(payload)
        assert isinstance(event, CheckoutCompleted)
        replayed = Replayed(public_order(order_id, event, int(at), status.decode()), known_by)
        if by_key:
            return replayed if same else KeyReused(order_id)
        if status == Status.CANCELLED.encode() or not same:
            learnt.passed_over.add(order_id)
            return None
        if learnt.key is None or key == str(learnt.key).encode():
            return replayed
        if key:
            learnt.is_second_order = True
            learnt.living.add(order_id)
            return None
        return replayed if await self._join(order_id) else None

    async def _judge(self, order_id: UUID) -> None:
        """A new checkout takes over the names of a cancelled one, and no other's."""
        (status,) = await hash_fields(self.redis, order_key(order_id), "status")
        (self.learnt.passed_over if status in (None, Status.CANCELLED.encode()) else self.learnt.living).add(order_id)

    async def _join(self, order_id: UUID) -> bool:
        """Binds the new key to a checkout that has none; False when something changed since it was read."""
        assert self.learnt.key is not None
        assert self.submission.key is not None
        event = KeyJoined(user_id=self.submission.user_id, order_id=order_id, key=self.learnt.key)
        joined = await _JOIN.run(
            self.redis,
            [
                NAMES_LOADED,
                STREAM,
                overlay_key(self.submission.user_id),
                order_key(order_id),
                name_key(self.learnt.key),
            ],
            [
                str(event_id_of("join", self.submission.user_id, self.submission.key)),
                encode(event),
                str(self.learnt.key),
                int(self.settings.identity_horizon.total_seconds() * 1000),
                str(order_id),
                traceparent(),
            ],
        )
        return bool(joined == b"joined")
