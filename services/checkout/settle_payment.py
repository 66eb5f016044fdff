"""Books money: the order of a paid session is accepted if it is not yet, and marked paid, in one atomic step.

Twice, late or early is the same. What fits no order is printed too: the consumer buries it with its reason.
"""

from dataclasses import dataclass
from uuid import UUID

from redis.asyncio import Redis

from services.cart.catalog import Catalog
from services.cart.model import parse_cart_name
from services.checkout.decide import AWAY, Decision, New
from services.checkout.payment_metadata import PaidCheckout
from services.checkout.stripe_webhook import Paid, Unusable
from services.checkout.submission import Reservation, Settle, Submission
from shared.errors import Unavailable
from shared.events import CheckoutCompleted, Line, Status, StatusChanged, decode, encode, status_event_id
from shared.redis import Script
from shared.settings import Settings
from shared.streams import NAMES_LOADED, STREAM, name_key, order_key, overlay_key, user_digest
from shared.tracing import traceparent

_ATTEMPTS = 8  # a further one is needed only when somebody else accepted the order in between
_SETTLE = Script("services.checkout", "settle_payment.lua")
_PRINT = Script("services.checkout", "print_unusable.lua")


@dataclass(frozen=True)
class Settled:
    """The money is booked: `accepted` with its order, `paid`, or `unchanged` by a repetition."""

    order_id: UUID
    word: str


async def settle_payment(redis: Redis, settings: Settings, catalog: Catalog, paid: Paid) -> Settled | Unusable:
    """Books the money once. Raises Unavailable while Redis has not all names; lets RedisError through."""
    checkout = paid.checkout
    move = StatusChanged(user_id=checkout.user_id, order_id=checkout.order_id, status=Status.PAID)
    event_id = status_event_id(checkout.user_id, checkout.order_id, Status.PAID)
    settle = Settle(paid.session_id, event_id, encode(move))
    for _ in range(_ATTEMPTS):
        match await _mark_paid(redis, settings, checkout, settle):
            case [b"absent", draft, cart]:
                reserved = _reservation(draft, cart, paid) or _reservation_of(catalog, paid)
                if isinstance(reserved, Unusable):
                    return reserved
                submission = Submission(checkout.user_id, checkout.items, checkout.total)
                decision = Decision(redis, settings, submission, reserved.draft.lines, settle, reserved)
                if isinstance(await decision.run(), New):
                    return Settled(checkout.order_id, "accepted")
            case [b"other_user"]:
                return _unusable(paid, "not_owner", "the order is another user's")
            case [b"other_content"]:
                return _unusable(paid, "content_conflict", "the order has other items or another total")
            case [b"paid_twice"]:
                return _unusable(paid, "paid_twice", "another payment session has paid the order")
            case [bytes(word)]:
                if word == b"not_loaded":
                    break
                return Settled(checkout.order_id, word.decode())
    raise Unavailable(AWAY)


async def print_unusable(redis: Redis, settings: Settings, unusable: Unusable) -> None:
    """Puts the money that fits no order on its way to the dead letters, once. Raises as settle_payment does."""
    answer = await _PRINT.run(
        redis,
        [NAMES_LOADED, STREAM, name_key(unusable.event_id)],
        [
            str(unusable.event_id),
            encode(unusable.event),
            int(settings.identity_horizon.total_seconds() * 1000),
            traceparent(),
        ],
    )
    if answer == b"not_loaded":
        raise Unavailable(AWAY)


async def _mark_paid(redis: Redis, settings: Settings, checkout: PaidCheckout, settle: Settle) -> list[bytes | None]:
    return list(
        await _SETTLE.run(
            redis,
            [NAMES_LOADED, STREAM, overlay_key(checkout.user_id), order_key(checkout.order_id)],
            [
                user_digest(checkout.user_id),
                checkout.fingerprint,
                settle.session,
                str(settle.event_id),
                settle.payload,
                int(settings.identity_horizon.total_seconds() * 1000),
                traceparent(),
            ],
        )
    )


def _reservation(draft: bytes | None, cart: bytes | None, paid: Paid) -> Reservation | None:
    """What Redis remembers of the session."""
    if draft is None:
        return None
    checkout = decode(draft)
    assert isinstance(checkout, CheckoutCompleted), "a reservation holds its checkout"
    return Reservation(
        paid.checkout.order_id, checkout, parse_cart_name((cart or b"").decode()), session=paid.session_id
    )


def _reservation_of(catalog: Catalog, paid: Paid) -> Reservation | Unusable:
    """The same from the metadata alone, at the prices that were paid."""
    lines = []
    for product_id, quantity, price in paid.checkout.lines:
        product = catalog.get(product_id)
        if product is None:
            return _unusable(paid, "unknown_product", f"product {product_id!r} is not in the catalogue")
        lines.append(Line(product_id=product_id, title=product.title, unit_price=price, quantity=quantity))
    draft = CheckoutCompleted(
        user_id=paid.checkout.user_id,
        lines=tuple(lines),
        total=paid.checkout.total,
        fingerprint=paid.checkout.fingerprint,
        names=paid.checkout.names,
    )
    return Reservation(paid.checkout.order_id, draft, session=paid.session_id)


def _unusable(paid: Paid, reason: str, detail: str) -> Unusable:
    return Unusable(reason, f"order {paid.checkout.order_id}: {detail}", paid.session_id, paid.content)
