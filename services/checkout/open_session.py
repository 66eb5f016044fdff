"""Opening a payment session: it names a checkout, which may be submitted before it, after it, or by its payment.

Decides as a submission would (decide.py). What is new is not accepted: its order id and content are fixed.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from redis.asyncio import Redis

from services.checkout.decide import Decision
from services.checkout.names import payment_slot
from services.checkout.plan import Learnt
from services.checkout.stripe_sessions import LIFE, SHORTEST_LIFE, StripeSessions
from services.checkout.submission import KeyReused, Known, Reservation, Reserve, Submission
from shared.errors import ApiError, Unavailable
from shared.events import CheckoutCompleted, Line, PaymentOpened, Status, encode, event_id_of
from shared.redis import Script, hash_fields, redis_or_unavailable
from shared.settings import Settings
from shared.streams import NAMES_LOADED, STREAM, name_key, order_key, overlay_key
from shared.tracing import traceparent

_AWAY = "Payments are unavailable right now, please retry"
_ATTEMPTS = 4  # a further one is needed only when an order or its session ended meanwhile
_LIFE_MS = int(LIFE.total_seconds() * 1000)
_SHORTEST_MS = int(SHORTEST_LIFE.total_seconds() * 1000)
_BEGIN = Script("services.checkout", "begin_session.lua")
_BIND = Script("services.checkout", "bind_session.lua")


@dataclass(frozen=True)
class Opened:
    """Where the shopper pays for the order `order_id`; `expires_at` in ms since 1970."""

    order_id: UUID
    session_id: str
    url: str
    expires_at: int


@dataclass(frozen=True)
class Moved:
    """The checkout is known and there is nothing to pay: its order is paid or cancelled."""

    order_id: UUID
    status: str


async def open_session(
    redis: Redis, settings: Settings, stripe: StripeSessions, submission: Submission, lines: tuple[Line, ...] | ApiError
) -> Opened | Moved | KeyReused:
    """The payment session of this checkout: the one that is open, else a new one.

    Raises Unavailable when Redis or Stripe are away; the fault in `lines` when the checkout is new.
    """
    for _ in range(_ATTEMPTS):
        async with redis_or_unavailable(_AWAY):
            decision = Decision(redis, settings, submission, lines, Reserve(_LIFE_MS))
            decided = await decision.run()
            match decided:
                case Known(order_id, checkout) | Reservation(order_id, checkout):
                    begun = await _begin(redis, decision.learnt, order_id, checkout)
                case KeyReused():
                    return decided
                case _:
                    raise AssertionError(decided)
        match begun:
            case [b"moved", status]:
                return Moved(order_id, status.decode())
            case [b"begun", until, bytes(session_id), bytes(url)]:
                return Opened(order_id, session_id.decode(), url.decode(), int(until))
            case [b"begun", until, *_]:
                opened = await _create(redis, stripe, order_id, checkout, int(until))
                if opened is not None:
                    return opened
            case [b"not_loaded"]:
                break
    raise Unavailable(_AWAY)


async def _begin(redis: Redis, learnt: Learnt, order_id: UUID, checkout: CheckoutCompleted) -> list[Any]:
    keys = [NAMES_LOADED, order_key(order_id), name_key(learnt.slot)]
    if checkout.names.key is not None:
        keys.append(name_key(checkout.names.key))
    bearer: Any = await redis.get(keys[2])
    if bearer is not None and bearer.decode() != str(order_id):
        (status,) = await hash_fields(redis, order_key(bearer.decode()), "status")
        if status == Status.CANCELLED.encode():
            learnt.passed_over.add(UUID(bearer.decode()))
    passed_over = " ".join(map(str, learnt.passed_over))
    return list(await _BEGIN.run(redis, keys, [str(order_id), learnt.user, _LIFE_MS, _SHORTEST_MS, passed_over]))


async def _create(
    redis: Redis, stripe: StripeSessions, order_id: UUID, checkout: CheckoutCompleted, until: int
) -> Opened | None:
    """None = the order or its session has ended meanwhile."""
    made = await stripe.create(order_id, checkout, until // 1000)
    user_id = checkout.user_id
    event = PaymentOpened(
        user_id=user_id,
        order_id=order_id,
        payment_session_id=made.id,
        expires_at=until,
        slot=payment_slot(user_id, checkout.fingerprint),
        checkout=checkout,
    )
    async with redis_or_unavailable(_AWAY):
        answer = await _BIND.run(
            redis,
            [NAMES_LOADED, STREAM, overlay_key(user_id), order_key(order_id)],
            [
                str(event_id_of("session", user_id, made.id)),
                encode(event),
                made.id,
                made.url,
                until,
                traceparent(),
            ],
        )
    match answer:
        case [b"bound", session_id, url]:
            return Opened(order_id, session_id.decode(), url.decode(), until)
        case [b"gone"]:
            return None
        case _:
            raise Unavailable(_AWAY)
