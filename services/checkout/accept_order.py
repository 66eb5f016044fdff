"""Accepting an order: which checkout a submission is, and printing a new one on the stream.

The rules are CONTRACT's "What is one checkout?", as tests/model tells them. accept_order.lua decides in one atomic
step; here that step is planned, and planned again when the script answers that something was not as supposed.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from redis.asyncio import Redis

from services.cart.model import ITEMS, Cart, CartItem, CartName, content, covers, subtract
from services.cart.store import CART_TTL, bought_tail, cart_key, read_cart
from services.checkout.names import cart_name, fingerprint, key_name, window_name, window_slot
from shared.errors import ApiError, Unavailable
from shared.events import CheckoutCompleted, KeyJoined, Line, Names, Status, decode, encode, event_id_of, public_order
from shared.redis import Script, hash_fields
from shared.settings import Settings
from shared.streams import NAMES_LOADED, STREAM, name_key, order_key, overlay_key, user_digest

AWAY = "Orders cannot be accepted right now, please retry"
_ATTEMPTS = 32  # a further trip is needed only when another request succeeded in between
_ACCEPT = Script("services.checkout", "accept_order.lua")
_JOIN = Script("services.checkout", "join_key.lua")
_MEET = Script("services.checkout", "meet_order.lua")


@dataclass(frozen=True)
class Submission:
    """What a client sent, checked for shape. `key` is its idempotency key, `cart` the cart it names."""

    user_id: str
    items: tuple[CartItem, ...]
    total: Decimal
    key: str | None = None
    cart: CartName | None = None


@dataclass(frozen=True)
class Accepted:
    """A new checkout: it is in the log. `order` is the contract's Order."""

    order: dict[str, Any]


@dataclass(frozen=True)
class Replayed:
    """A checkout that was known; `known_by` says by which kind of name."""

    order: dict[str, Any]
    known_by: str


@dataclass(frozen=True)
class KeyReused:
    """The idempotency key belongs to a checkout of other items or another total."""

    order_id: UUID


async def accept_order(
    redis: Redis, settings: Settings, submission: Submission, lines: tuple[Line, ...] | ApiError
) -> Accepted | Replayed | KeyReused:
    """Decides a submission. `lines` are the priced line items, or why there is nothing that could be bought:
    that is raised only when the submission turns out to be a new checkout.

    Raises Unavailable while the names of past checkouts are not all in Redis; lets RedisError through.
    """
    decision = _Decision(redis, settings, submission, lines)
    for _ in range(_ATTEMPTS):
        outcome = await decision.step()
        if outcome is not None:
            return outcome
    raise Unavailable(AWAY)


@dataclass(frozen=True)
class _Plan:
    """One call of the script. `event_id` None: it is not known yet what a new checkout would be called."""

    names: tuple[UUID, ...]
    event_id: UUID | None = None
    consults_window: bool = False
    expected_content: str | None = None
    left: tuple[CartItem, ...] | None = None


class _Decision:
    """What has been learnt about a submission so far; each step is one call of the script and what follows from it."""

    def __init__(
        self, redis: Redis, settings: Settings, submission: Submission, lines: tuple[Line, ...] | ApiError
    ) -> None:
        self.redis = redis
        self.settings = settings
        self.submission = submission
        self.lines = lines
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

    async def step(self) -> Accepted | Replayed | KeyReused | None:
        """One trip; None = something was learnt, go on."""
        plan = self._plan()
        match await self._call(plan):
            case [b"not_loaded"]:
                raise Unavailable(AWAY)
            case [b"accepted", at]:
                return Accepted(public_order(plan.event_id or "", self._event(plan), int(at), Status.PROCESSING))
            case [b"known", bearer, position]:
                is_key = self.key is not None and (position == 1 or (plan.event_id == self.key and position == -1))
                return await self._resolve(UUID(bearer.decode()), by_key=is_key, by="cart" if position else "window")
            case [b"borne", bearer]:
                await self._judge(UUID(bearer.decode()))
                return None
            case [b"look", time, *fields]:
                return await self._learn(plan, int(time), fields)
            case answer:
                raise AssertionError(answer)

    def _plan(self) -> _Plan:
        submission, cart = self.submission, self.cart
        names = [self.key] if self.key else []
        if submission.cart is None:
            return _Plan(tuple(names), self._fresh_name(), consults_window=self.looked_at is not None or bool(self.key))
        generation = submission.cart.generation or (cart and cart.generation)
        if generation:
            names.append(self._cart_name(generation))
        if cart is None:
            if not generation:
                return _Plan(tuple(names))
            return _Plan(tuple(names), self._fresh_name(names[-1]), expected_content=self.content, left=())
        if covers(cart.items, submission.items):
            present = self._cart_name(cart.generation)
            if present not in names:
                names.append(present)
            return _Plan(tuple(names), self._fresh_name(present), left=subtract(cart.items, submission.items))
        if self._purchase(cart) is not None:
            return _Plan(tuple(names))
        return _Plan(tuple(names), self._fresh_name(), consults_window=True)

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

    def _purchase(self, cart: Cart) -> UUID | None:
        """The order by which an earlier generation of this session bought exactly these items."""
        if self.is_second_order:
            return None
        for bought in reversed(cart.bought):
            if (bought.user, bought.items) == (self.user, self.content) and bought.order_id not in self.passed_over:
                return bought.order_id
        return None

    def _event(self, plan: _Plan) -> CheckoutCompleted:
        assert not isinstance(self.lines, ApiError)
        return CheckoutCompleted.model_construct(
            user_id=self.submission.user_id,
            lines=self.lines,
            total=self.submission.total,
            fingerprint=self.print,
            names=Names(
                key=self.key,
                carts=tuple(name for name in plan.names if name != self.key),
                window=self.window if self.settings.keyless_window else None,
            ),
        )

    async def _call(self, plan: _Plan) -> Any:
        is_new = plan.event_id is not None and not isinstance(self.lines, ApiError)
        keys = [
            NAMES_LOADED,
            STREAM,
            overlay_key(self.submission.user_id),
            order_key(plan.event_id or self.window),
            name_key(self.window),
            *map(name_key, plan.names),
        ]
        cart = self.cart or Cart()
        left = plan.left
        if self.submission.cart is not None:
            keys.append(cart_key(self.submission.cart.session))
        if not self.settings.keyless_window:
            window = "off"
        else:
            window = "consult" if plan.consults_window and not self.is_second_order else "bind"
        is_first = plan.expected_content is not None
        generation = self.submission.cart.generation if self.submission.cart and is_first else cart.generation
        return await _ACCEPT.run(
            self.redis,
            keys,
            [
                len(plan.names),
                1 if self.is_second_order else len(plan.names),
                window,
                " ".join(map(str, self.passed_over)),
                str(plan.event_id) if is_new else "",
                encode(self._event(plan)) if is_new else b"",
                self.user,
                self.print,
                str(self.key or ""),
                int(self.settings.identity_horizon.total_seconds() * 1000),
                int(self.settings.window.total_seconds() * 1000),
                "content" if is_first else "version",
                generation or "",
                plan.expected_content if plan.expected_content is not None else cart.version,
                ITEMS.dump_json(left) if left is not None else b"",
                content(left or ()),
                int(CART_TTL.total_seconds() * 1000),
                bought_tail(plan.event_id or self.window, self.user, self.content),
                " ".join(map(str, self.living)),
                " ".join(map(str, self.ended)),
            ],
        )

    async def _learn(
        self, plan: _Plan, time: int, fields: list[bytes | None]
    ) -> Accepted | Replayed | KeyReused | None:
        """Nothing was known and nothing printed. With the plan confirmed, a fault of the lines is the answer."""
        before, self.looked_at = self.cart, time
        if self.submission.cart is not None:
            self.cart = read_cart(fields)
        is_confirmed = plan.event_id is not None and self.cart == before and plan.expected_content is None
        if is_confirmed and isinstance(self.lines, ApiError):
            raise self.lines
        if self.cart is not None and not covers(self.cart.items, self.submission.items):
            purchase = self._purchase(self.cart)
            if purchase is not None and set(self._plan().names) <= set(plan.names):
                return await self._resolve(purchase, by_key=False, by="cart")
        return None

    async def _resolve(self, order_id: UUID, *, by_key: bool, by: str) -> Replayed | KeyReused | None:
        """The answer of a checkout that a name was found for; None when that name does not count."""
        known_by = "key" if by_key else by
        payload, at, status, print_, key = await _MEET.run(
            self.redis, [order_key(order_id)], [known_by, self.print, str(self.key or "")]
        )
        if payload is None or at is None or status is None:
            self.passed_over.add(order_id)
            self.ended.add(order_id)  # in this very moment, and its names with it
            return None
        same = print_ == self.print.encode()
        event = decode(payload)
        assert isinstance(event, CheckoutCompleted)
        replayed = Replayed(public_order(order_id, event, int(at), status.decode()), known_by)
        if by_key:
            return replayed if same else KeyReused(order_id)
        if status == Status.CANCELLED.encode() or not same:
            self.passed_over.add(order_id)
            return None
        if self.key is None or key == str(self.key).encode():
            return replayed
        if key:
            self.is_second_order = True
            self.living.add(order_id)
            return None
        return replayed if await self._join(order_id) else None

    async def _judge(self, order_id: UUID) -> None:
        """A new checkout takes over the names of a cancelled one, and no other's."""
        (status,) = await hash_fields(self.redis, order_key(order_id), "status")
        (self.passed_over if status in (None, Status.CANCELLED.encode()) else self.living).add(order_id)

    async def _join(self, order_id: UUID) -> bool:
        """Binds the new key to a checkout that has none; False when something changed since it was read."""
        assert self.key is not None
        assert self.submission.key is not None
        event = KeyJoined(user_id=self.submission.user_id, order_id=order_id, key=self.key)
        joined = await _JOIN.run(
            self.redis,
            [
                NAMES_LOADED,
                STREAM,
                overlay_key(self.submission.user_id),
                order_key(order_id),
                name_key(self.key),
            ],
            [
                str(event_id_of("join", self.submission.user_id, self.submission.key)),
                encode(event),
                str(self.key),
                int(self.settings.identity_horizon.total_seconds() * 1000),
                str(order_id),
            ],
        )
        return bool(joined == b"joined")
