"""Legacy orders as events: what one key of the old shop's Redis holds, order by order, or why it cannot be read.

Pure. Nothing is guessed that would look like a fact: a unit price stays unknown. The title is only a label, because
the old shop kept none: the catalogue's where the product is still in it, else the product id.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Never
from uuid import UUID

from pydantic import ValidationError

from shared.events import CheckoutCompleted, Line, Status, StatusChanged, canonical, event_id_of

USER_KEY = "orders:user:"
INDEX = "orders:users"

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CENT = Decimal("0.01")
_NOISE = Decimal("0.000001")  # of a total that was summed in binary floating point
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_YEAR = 9000


@dataclass(frozen=True, slots=True)
class Damage:
    """What could not be read; its key is never deleted. `position`: in the key's list from 0, None = all of it."""

    key: str
    reason: str
    position: int | None = None
    order_id: str | None = None


@dataclass(frozen=True, slots=True)
class LegacyOrder:
    """A readable order. `accepted_at` in ms since 1970."""

    key: str
    position: int
    id: UUID
    event: CheckoutCompleted
    accepted_at: int
    status: Status

    def move(self) -> tuple[UUID, StatusChanged] | None:
        """The move that made the order what it is, under the id that the same move would get today."""
        if self.status is Status.PROCESSING:
            return None
        user = self.event.user_id
        move = StatusChanged(user_id=user, order_id=self.id, status=self.status)
        return event_id_of("status", user, str(self.id), self.status), move


@dataclass(frozen=True, slots=True)
class LegacyUser:
    """All that one key holds."""

    key: str
    orders: tuple[LegacyOrder, ...]
    damages: tuple[Damage, ...]


class _Unreadable(Exception):
    """One order cannot be read; the message says why."""


def read_user(key: str, blob: bytes, titles: Mapping[str, str]) -> LegacyUser:
    """The orders in the value of `key`, newest first as they lie there; `titles`: product id -> title of today."""
    try:
        held = json.loads(blob, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return LegacyUser(key, (), (Damage(key, "not JSON"),))
    if not isinstance(held, list):
        return LegacyUser(key, (), (Damage(key, "not a JSON array"),))
    dates = _dates(held)
    orders: dict[UUID, LegacyOrder] = {}
    damages = []
    for position, entry in enumerate(held):
        try:
            order = _read_order(key, position, entry, dates[position], titles)
            twin = orders.get(order.id)
            orders[order.id] = order if twin is None else _merge(twin, order)
        except _Unreadable as fault:
            named = entry.get("id") if isinstance(entry, dict) else None
            damages.append(Damage(key, str(fault), position, None if named is None else str(named)[:100]))
    return LegacyUser(key, tuple(orders.values()), tuple(damages))


def _refuse_constant(name: str) -> Never:
    raise ValueError(name)


def _read_order(key: str, position: int, entry: Any, at: int | str, titles: Mapping[str, str]) -> LegacyOrder:
    if not isinstance(entry, dict):
        raise _Unreadable("not an object")
    if isinstance(at, str):
        raise _Unreadable(f"the date cannot be read: {at}")
    user_id = key.removeprefix(USER_KEY)
    if entry.get("userId") not in (None, user_id):
        raise _Unreadable("the order names another user than its key")
    lines = _lines(entry.get("items"), titles)
    total = _total(entry.get("total"))
    try:
        event = CheckoutCompleted(
            user_id=user_id,
            lines=lines,
            total=total,
            fingerprint=_fingerprint(lines, total),
            payment_session_id=entry.get("stripeSessionId") or None,
        )
    except ValidationError as fault:
        first = fault.errors()[0]
        raise _Unreadable(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from fault
    return LegacyOrder(key, position, _order_id(user_id, entry.get("id")), event, at, _status(entry.get("status")))


def _order_id(user_id: str, given: Any) -> UUID:
    """A UUID stays what it is; any other id names the order within its user."""
    if isinstance(given, bool) or not isinstance(given, str | int) or given == "":
        raise _Unreadable("no id")
    text = str(given)
    return UUID(text) if _UUID.fullmatch(text) else event_id_of("legacy", user_id, text)


def _status(given: Any) -> Status:
    """A missing status is the first one: nothing is known to have moved the order."""
    if given in (None, ""):
        return Status.PROCESSING
    try:
        return Status(given)
    except ValueError as fault:
        raise _Unreadable(f"unknown status: {str(given)[:50]}") from fault


def _total(given: Any) -> Decimal:
    """Exact to the cent; also from text, as an old version wrote it."""
    if isinstance(given, bool) or not isinstance(given, str | int | Decimal):
        raise _Unreadable("no total")
    try:
        total = Decimal(given)
        cents = total.quantize(_CENT)
    except InvalidOperation as fault:
        raise _Unreadable(f"the total is not a number: {str(given)[:50]}") from fault
    if not total.is_finite():
        raise _Unreadable(f"the total is not a number: {total}")
    if abs(total - cents) > _NOISE:
        raise _Unreadable(f"the total is finer than a cent: {total}")
    return cents


def _lines(given: Any, titles: Mapping[str, str]) -> tuple[Line, ...]:
    if not isinstance(given, list) or not given:
        raise _Unreadable("no items")
    lines = []
    for item in given:
        product, quantity = (item.get("id"), item.get("quantity")) if isinstance(item, dict) else (None, None)
        if isinstance(product, int) and not isinstance(product, bool):
            product = str(product)
        if isinstance(quantity, Decimal) and quantity == quantity.to_integral_value():
            quantity = int(quantity)
        if not isinstance(product, str) or isinstance(quantity, bool) or not isinstance(quantity, int):
            raise _Unreadable("an item without product or quantity")
        try:
            title = titles.get(product, product)
            lines.append(Line(product_id=product, title=title, unit_price=None, quantity=quantity))
        except ValidationError as fault:
            raise _Unreadable(f"item {product[:30]!r}: {fault.errors()[0]['msg']}") from fault
    return tuple(lines)


def _fingerprint(lines: Sequence[Line], total: Decimal) -> str:
    """What the order must be equal in when it is read twice. No name of today's checkouts can meet it."""
    units: Counter[str] = Counter()
    for line in lines:
        units[line.product_id] += line.quantity
    parts = ["legacy", [[product, quantity] for product, quantity in sorted(units.items())], int(total * 100)]
    return hashlib.sha256(canonical(parts)).hexdigest()


def _merge(first: LegacyOrder, second: LegacyOrder) -> LegacyOrder:
    """Two copies of one order are one order, as far on its way as the further of them."""
    if first.event.fingerprint != second.event.fingerprint:
        raise _Unreadable(f"the same id as the order at {first.position}, and other content")
    if Status.PROCESSING not in (first.status, second.status) and first.status != second.status:
        raise _Unreadable(f"the same order as at {first.position}, but {second.status} and not {first.status}")
    return replace(first, status=second.status) if first.status is Status.PROCESSING else first


def _dates(held: Sequence[Any]) -> list[int | str]:
    """When each order was made, in ms; text = a date that cannot be read. The list is newest first: an order without
    a date takes that of the next older one, else of the next newer one, else 1970.
    """
    known = [_date(entry.get("date")) if isinstance(entry, dict) else None for entry in held]
    dates: list[int | str] = []
    for position, date in enumerate(known):
        near = [*known[position:], *reversed(known[:position])]
        dates.append(date if date is not None else next((at for at in near if isinstance(at, int)), 0))
    return dates


def _date(given: Any) -> int | str | None:
    if given in (None, ""):
        return None
    if isinstance(given, int | Decimal) and not isinstance(given, bool):
        milliseconds = int(given)
    else:
        try:
            moment = datetime.fromisoformat(given)
        except (TypeError, ValueError):
            return str(given)[:50]
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        milliseconds = (aware - _EPOCH) // timedelta(milliseconds=1)
    last = (datetime(_LAST_YEAR, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
    return milliseconds if 0 <= milliseconds < last else str(given)[:50]
