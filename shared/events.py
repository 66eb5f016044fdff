"""The events of an order's life, their wire form and the public order that they describe. Decides nothing.

An entry of the stream carries the event id, this JSON and the acceptance time as fields of their own, so that the
id of a poison payload can still be read and a payload is the same bytes wherever it is kept.
"""

import hashlib
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar, cast, dataclass_transform
from uuid import NAMESPACE_URL, UUID, uuid5

import pydantic_core
from pydantic import (
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic.dataclasses import dataclass

from shared.errors import Unrecordable

NAMESPACE = uuid5(NAMESPACE_URL, "https://tillroll.dev/events")
MAX_LINES = 50
MAX_TOTAL = Decimal(1_000_000)


class Status(StrEnum):
    """The life of an order. It only moves forward: from processing to exactly one of the other two."""

    PROCESSING = "processing"
    PAID = "paid"
    CANCELLED = "cancelled"


def _text(max_length: int) -> StringConstraints:
    """Text that Postgres can hold (no NUL) and every index can carry."""
    return StringConstraints(min_length=1, max_length=max_length, pattern=r"^[^\x00]+$")


UserId = Annotated[str, _text(255)]
ProductId = Annotated[str, _text(20)]
_MANY_AMOUNTS = 10_000
_amounts: dict[str, Decimal] = {}


def _as_before(value: Any, check: ValidatorFunctionWrapHandler) -> Decimal:
    """An amount that was good before is good: a catalogue's prices come again and again."""
    amount = _amounts.get(value) if type(value) is str else None
    if amount is None:
        amount = check(value)
        if type(value) is str and len(_amounts) < _MANY_AMOUNTS:
            _amounts[value] = amount
    return amount


Money = Annotated[Decimal, Field(ge=0, le=MAX_TOTAL, max_digits=12, decimal_places=2), WrapValidator(_as_before)]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


T = TypeVar("T")


@dataclass_transform(kw_only_default=True, frozen_default=True)
def wire(shape: type[T]) -> type[T]:
    """What travels: immutable, unknown members refused, so that two versions never half understand.

    Dataclasses with slots, since a batch holds thousands of them and pydantic models are four times as large.
    """
    made: Any = dataclass(shape, frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
    return cast("type[T]", made)


@wire
class Line:
    """A line item as bought: `unit_price` and `title` are the catalogue's at acceptance; None = unknown (legacy)."""

    product_id: ProductId
    title: Annotated[str, _text(200)]
    unit_price: Money | None
    quantity: Annotated[int, Field(ge=1, le=99)]


@wire
class Names:
    """The names of a checkout as digests (services/checkout/names.py): what a retry may be known by."""

    key: UUID | None = None
    payment_session: UUID | None = None
    carts: tuple[UUID, ...] = ()
    window: UUID | None = None


@wire
class CheckoutCompleted:
    """A cart became an order. Its event id is the order id."""

    type: Literal["checkout.completed"] = "checkout.completed"
    version: Literal[1] = 1
    user_id: UserId
    lines: Annotated[tuple[Line, ...], Field(min_length=1, max_length=MAX_LINES)]
    total: Money
    fingerprint: Fingerprint
    names: Names = Names()
    payment_session_id: Annotated[str, _text(255)] | None = None


@wire
class KeyJoined:
    """A checkout that had no idempotency key of its own got one."""

    type: Literal["checkout.key_joined"] = "checkout.key_joined"
    version: Literal[1] = 1
    user_id: UserId
    order_id: UUID
    key: UUID


@wire
class StatusChanged:
    """A move that was decided when it was accepted: at most one for an order."""

    type: Literal["order.status_changed"] = "order.status_changed"
    version: Literal[1] = 1
    user_id: UserId
    order_id: UUID
    status: Literal[Status.PAID, Status.CANCELLED]


@wire
class PaymentOpened:
    """A payment session was opened for an order, which may not be accepted yet: then `checkout` is what it will be.

    `slot` is where the session's order is remembered until `expires_at`, in milliseconds since 1970.
    """

    type: Literal["checkout.payment_opened"] = "checkout.payment_opened"
    version: Literal[1] = 1
    user_id: UserId
    order_id: UUID
    payment_session_id: Annotated[str, _text(255)]
    expires_at: Annotated[int, Field(ge=0, lt=10**15)]
    slot: UUID
    checkout: CheckoutCompleted


@wire
class PaymentUnusable:
    """Money that was reported and fits no order. It is never recorded: decoding it says why it is a dead letter."""

    type: Literal["payment.unusable"] = "payment.unusable"
    version: Literal[1] = 1
    reason: Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,40}$")]
    detail: Annotated[str, _text(2000)]
    content: str


Event = CheckoutCompleted | KeyJoined | StatusChanged | PaymentOpened
_EVENT: TypeAdapter[Event | PaymentUnusable] = TypeAdapter(
    Annotated[Event | PaymentUnusable, Field(discriminator="type")],
    config=ConfigDict(hide_input_in_errors=True),  # an error may be logged, a shopper's name may not
)


def event_id_of(*parts: str | int) -> UUID:
    """UUIDv5 over the canonical JSON array of `parts`: kind, user, strongest name."""
    digest = hashlib.sha1(NAMESPACE.bytes + canonical(parts), usedforsecurity=False).digest()
    return UUID(bytes=digest[:16], version=5)


def canonical(value: Any) -> bytes:
    """The one JSON spelling of a value of lists, strings and integers: no spaces, UTF-8."""
    return pydantic_core.to_json(value)


def status_event_id(user_id: str, order_id: UUID, status: str) -> UUID:
    """The id of an order's move to `status`, whoever asks for it: it can be made once."""
    return event_id_of("status", user_id, str(order_id), status)


def encode(event: Event | PaymentUnusable) -> bytes:
    """The payload of `event`."""
    return pydantic_core.to_json(event)


def decode(payload: bytes | str) -> Event:
    """The event in `payload`; raises Unrecordable: `undecodable` with every fault that was found, or as it says."""
    try:
        event = _EVENT.validate_json(payload)
    except ValueError as fault:
        raise Unrecordable("undecodable", str(fault)[:2000]) from fault
    if isinstance(event, PaymentUnusable):
        raise Unrecordable(event.reason, event.detail)
    return event


def content_hash(event: Event) -> str:
    """sha256 (hex) of what must be equal when one event id is seen twice.

    Prices, titles and names are not part of it: a key that comes back after the identity horizon meets a newer
    catalogue and is still the same checkout.
    """
    match event:
        case CheckoutCompleted():
            parts: tuple[str, ...] = (event.type, event.user_id, event.fingerprint)
        case KeyJoined():
            parts = (event.type, event.user_id, str(event.order_id), str(event.key))
        case StatusChanged():
            parts = (event.type, event.user_id, str(event.order_id), event.status)
        case PaymentOpened():
            parts = (event.type, event.user_id, str(event.order_id), event.payment_session_id)
    return hashlib.sha256(canonical(parts)).hexdigest()


def iso_date(accepted_at: int) -> str:
    """Milliseconds since 1970 as the contract's date: ISO 8601, three decimals, Z."""
    seconds, milliseconds = divmod(accepted_at, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{milliseconds:03d}Z"


def money_number(amount: Decimal) -> int | float:
    """An exact amount as the JSON number that clients compare by value."""
    return int(amount) if amount == amount.to_integral_value() else float(amount)


def public_order(order_id: UUID | str, event: CheckoutCompleted, accepted_at: int, status: str) -> dict[str, Any]:
    """The contract's Order for a checkout that was accepted at `accepted_at` (ms)."""
    items = [{"id": line.product_id, "quantity": line.quantity} for line in event.lines]
    return order_json(order_id, event.user_id, event.total, accepted_at, status, items, event.payment_session_id)


def order_json(
    order_id: UUID | str,
    user_id: str,
    total: Decimal,
    accepted_at: int,
    status: str,
    items: list[dict[str, Any]],
    payment_session_id: str | None,
) -> dict[str, Any]:
    """The contract's Order from its parts, whether they come from an event or from a row; `accepted_at` in ms."""
    order = {
        "id": str(order_id),
        "userId": user_id,
        "total": money_number(total),
        "date": iso_date(accepted_at),
        "status": str(status),
        "items": items,
    }
    if payment_session_id is not None:
        order["stripeSessionId"] = payment_session_id
    return order
