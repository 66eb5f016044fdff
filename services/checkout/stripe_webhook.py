"""What Stripe says over its webhook: signed, and money for one of our sessions, money that fits none, or neither. Pure.

The signature covers the raw body; a body that cannot be used was still sent by Stripe, and is never dropped.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import pydantic_core
import stripe

from services.checkout.payment_metadata import NotOurs, PaidCheckout, read_metadata
from shared.events import PaymentUnusable, event_id_of

SIGNATURE = "stripe-signature"
TOLERANCE = 300  # seconds that a signature may be old: Stripe's own default
PAID_TYPES = ("checkout.session.completed", "checkout.session.async_payment_succeeded")
_SESSION_ID = range(1, 256)  # characters


@dataclass(frozen=True)
class Paid:
    """A payment session of ours was paid, to the cent."""

    session_id: str
    checkout: PaidCheckout
    content: str


@dataclass(frozen=True)
class Unusable:
    """Money, or what may be money, that fits no order. `reason` is one of the words of dead letters."""

    reason: str
    detail: str
    session_id: str | None
    content: str

    @property
    def event_id(self) -> Any:
        """The same for every delivery."""
        named = self.session_id or hashlib.sha256(self.content.encode()).hexdigest()
        return event_id_of("unusable", self.reason, named)

    @property
    def event(self) -> PaymentUnusable:
        """What the stream carries to the dead letters."""
        return PaymentUnusable(reason=self.reason, detail=self.detail[:2000], content=self.content)


def is_signed(body: bytes, header: str, secret: str) -> bool:
    """Whether the holder of `secret` signed exactly these bytes, not too long ago."""
    if not header.isascii():
        return False  # the library compares signatures as ASCII text
    try:
        return bool(stripe.WebhookSignature.verify_header(body, header, secret, TOLERANCE))
    except (stripe.SignatureVerificationError, UnicodeDecodeError):
        return False


def read_payment(body: bytes, currency: str) -> Paid | Unusable | None:
    """What the signed `body` reports; None = nothing that is about money we have got."""
    content = body.decode(errors="backslashreplace")
    try:
        event = pydantic_core.from_json(body)
        kind, session = event["type"], event["data"]["object"]
        session_id = session["id"]
    except (ValueError, TypeError, KeyError):
        kind = session = session_id = None
    if isinstance(kind, str) and kind not in PAID_TYPES:
        return None
    if not isinstance(session, dict) or not isinstance(session_id, str) or len(session_id) not in _SESSION_ID:
        return Unusable("foreign_payment", "a body that cannot be read", None, content)
    if session.get("payment_status") == "unpaid":
        return None  # the money comes later, with an event of its own, or never
    try:
        checkout = read_metadata(session.get("metadata"))
    except NotOurs as fault:
        return Unusable("foreign_payment", str(fault), session_id, content)
    paid, owed = session.get("amount_total"), int(checkout.total * 100)
    if isinstance(paid, bool) or paid != owed or session.get("currency") != currency:
        detail = f"paid {paid!r} {session.get('currency')!r}, owed {owed} {currency} (cents)"[:500]
        return Unusable("amount_differs", f"order {checkout.order_id}: {detail}", session_id, content)
    return Paid(session_id, checkout, content)
