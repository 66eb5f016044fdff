"""Events and entries with vivid data, for every tier. Writes nothing anywhere."""

from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import UUID, uuid4

from services.orders.entries import Entry
from shared.events import CheckoutCompleted, Event, KeyJoined, Line, Names, Status, StatusChanged, encode
from shared.streams import STREAM

MORNING = int(datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC).timestamp() * 1000)  # ms
HEADPHONES = Line(product_id="1", title="Wireless Headphones", unit_price=Decimal("129.00"), quantity=1)
KEYBOARDS = Line(product_id="2", title="Mechanical Keyboard", unit_price=Decimal("149.00"), quantity=2)

_numbers = count(1)


def a_checkout(user: str = "user_ada", *lines: Line, **more: Any) -> CheckoutCompleted:
    """Ada buys headphones and two keyboards for 427, unless told otherwise."""
    bought = lines or (HEADPHONES, KEYBOARDS)
    total = sum(((line.unit_price or Decimal(0)) * line.quantity for line in bought), Decimal(0))
    return CheckoutCompleted(**{"user_id": user, "lines": bought, "total": total, "fingerprint": "5e" * 32, **more})


def a_change(order_id: UUID, status: Status = Status.PAID, user: str = "user_ada") -> StatusChanged:
    """Ada's order is paid, unless told otherwise."""
    return StatusChanged(user_id=user, order_id=order_id, status=status)  # type: ignore[arg-type]


def a_joined_key(order_id: UUID, key: UUID, user: str = "user_ada") -> KeyJoined:
    """A checkout that had no key of its own got `key`."""
    return KeyJoined(user_id=user, order_id=order_id, key=key)


def names(**given: Any) -> Names:
    """The names of a checkout."""
    return Names(**given)


def fields_of(event: Event, event_id: UUID | None = None, accepted_at: int = MORNING) -> dict[str, Any]:
    """What accepting writes into an entry."""
    return {"event_id": str(event_id or uuid4()), "payload": encode(event), "accepted_at": accepted_at}


def an_entry(event: Event, event_id: UUID | None = None, entry_id: str | None = None, at: int = MORNING) -> Entry:
    """The entry of `event` with an id of its own, later than all that were built before."""
    return raw_entry(fields_of(event, event_id, at), entry_id)


def raw_entry(fields: dict[str, Any], entry_id: str | None = None) -> Entry:
    """An entry of any fields, sound or not; values are text, bytes or numbers."""
    pairs = tuple(
        (name.encode(), value if isinstance(value, bytes) else str(value).encode()) for name, value in fields.items()
    )
    return Entry(entry_id or f"{MORNING}-{next(_numbers)}", pairs, STREAM)
