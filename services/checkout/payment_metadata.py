"""A checkout in the metadata of its payment session, within Stripe's limits: 50 keys, 500 characters a value. Pure.

Money that comes back is booked by it, also when Redis remembers nothing of the session.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pydantic_core
from pydantic import Field, TypeAdapter, ValidationError

from services.cart.model import CartItem, content
from services.checkout.names import fingerprint
from shared.errors import TillrollError
from shared.events import MAX_LINES, CheckoutCompleted, Money, Names, ProductId, UserId

FORMAT = "1"
_VALUE = 500  # characters that Stripe keeps of a value

_Line = tuple[ProductId, Annotated[int, Field(ge=1, le=99)], Money]
_LINES: TypeAdapter[tuple[_Line, ...]] = TypeAdapter(
    Annotated[tuple[_Line, ...], Field(min_length=1, max_length=MAX_LINES)]
)
_USER: TypeAdapter[str] = TypeAdapter(UserId)
_TOTAL: TypeAdapter[Decimal] = TypeAdapter(Money)
_NAMES = TypeAdapter(Names)


class NotOurs(TillrollError):
    """The metadata is not what a payment session of ours carries."""


@dataclass(frozen=True)
class PaidCheckout:
    """What was bought, at which prices: (product, quantity, unit price) a line."""

    order_id: UUID
    user_id: str
    lines: tuple[_Line, ...]
    total: Decimal
    names: Names

    @property
    def items(self) -> tuple[CartItem, ...]:
        """The lines without their prices."""
        return tuple(CartItem(id=product, quantity=quantity) for product, quantity, _ in self.lines)

    @property
    def fingerprint(self) -> str:
        """As every submission of this checkout has it."""
        return fingerprint(content(self.items), self.total)


def write_metadata(order_id: UUID, checkout: CheckoutCompleted) -> dict[str, str]:
    """The metadata of a session that pays `checkout`."""
    lines = [(line.product_id, line.quantity, str(line.unit_price)) for line in checkout.lines]
    text = pydantic_core.to_json(lines).decode()
    parts = [text[at : at + _VALUE] for at in range(0, len(text), _VALUE)]
    return {
        "tillroll": FORMAT,
        "event_id": str(order_id),
        "user_id": checkout.user_id,
        "total": str(checkout.total),
        "names": _NAMES.dump_json(checkout.names, exclude_defaults=True).decode(),
        **{f"items_{number}": part for number, part in enumerate(parts, 1)},
    }


def read_metadata(metadata: Any) -> PaidCheckout:
    """The way back; raises NotOurs."""
    if not isinstance(metadata, Mapping) or metadata.get("tillroll") != FORMAT:
        raise NotOurs("no metadata of a session of ours")
    parts = [metadata.get(f"items_{number}") for number in range(1, len(metadata) + 1)]
    text = "".join(part for part in parts if isinstance(part, str))
    try:
        paid = PaidCheckout(
            UUID(str(metadata.get("event_id"))),
            _USER.validate_python(metadata.get("user_id"), strict=True),
            _LINES.validate_json(text),
            _TOTAL.validate_python(str(metadata.get("total"))),
            _NAMES.validate_json(str(metadata.get("names"))),
        )
    except ValidationError as fault:
        named = sorted({str(part) for error in fault.errors(include_input=False) for part in error["loc"]})
        raise NotOurs(f"metadata that cannot be read: {fault.error_count()} faults {named}") from fault
    except ValueError as fault:
        raise NotOurs("metadata without an event id") from fault
    if paid.total != sum(price * quantity for _, quantity, price in paid.lines):
        raise NotOurs("metadata whose lines are not its total")
    return paid
