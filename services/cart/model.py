"""Carts as values: the contract's limits, the canonical content, the name that a browser carries. No I/O."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, TypeAdapter

from shared.events import MAX_LINES, canonical

COOKIE = "cart_session"
HEADER = "X-Cart-Session"
_SESSION = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
_CART_NAME = re.compile(rf"({_SESSION})(?:\.([0-9a-f]{{16}}))?")


def whole_number(value: Any) -> Any:
    """JSON's `2.0` and `1e1` are integers to a JavaScript client; `true` and `"2"` are not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a number")
    return int(value) if isinstance(value, float) and value.is_integer() else value


class CartItem(BaseModel):
    """One product in a cart: id and quantity 1 to 99. Extra members are dropped."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Annotated[str, StringConstraints(strict=True, min_length=1, max_length=20)]
    quantity: Annotated[int, BeforeValidator(whole_number), Field(ge=1, le=99)]


CartItems = Annotated[tuple[CartItem, ...], Field(max_length=MAX_LINES)]
ITEMS: TypeAdapter[tuple[CartItem, ...]] = TypeAdapter(CartItems)


@dataclass(frozen=True)
class CartName:
    """What a client carries: a session, and the generation it saw (None = bare: the present one)."""

    session: str
    generation: str | None

    def __str__(self) -> str:
        return f"{self.session}.{self.generation}" if self.generation else self.session


def parse_session(text: str) -> str | None:
    """A cart session id in lower case, or None. The whole string must be a UUID."""
    return text.lower() if re.fullmatch(_SESSION, text) else None


def parse_cart_name(text: str) -> CartName | None:
    """`<session>` or `<session>.<generation>`, or None for anything else."""
    match = _CART_NAME.fullmatch(text)
    return CartName(match[1].lower(), match[2]) if match else None


def content(items: Sequence[CartItem]) -> str:
    """The canonical JSON of what is in a cart, whatever its order or division into lines: `[["1",2],...]`."""
    return canonical(sorted(_units(items).items())).decode()


def covers(cart: Sequence[CartItem], items: Sequence[CartItem]) -> bool:
    """Whether every unit of `items` is in `cart`."""
    units = _units(cart)
    return all(units.get(product, 0) >= wanted for product, wanted in _units(items).items())


def subtract(cart: Sequence[CartItem], items: Sequence[CartItem]) -> tuple[CartItem, ...]:
    """What is left of `cart`, line by line, when the units of `items` are taken out."""
    wanted = _units(items)
    left = []
    for item in cart:
        taken = min(item.quantity, wanted.get(item.id, 0))
        wanted[item.id] = wanted.get(item.id, 0) - taken
        if item.quantity > taken:
            left.append(CartItem(id=item.id, quantity=item.quantity - taken))
    return tuple(left)


def _units(items: Sequence[CartItem]) -> dict[str, int]:
    units: dict[str, int] = {}
    for item in items:
        units[item.id] = units.get(item.id, 0) + item.quantity
    return units


@dataclass(frozen=True)
class Bought:
    """A checkout that named this cart session; forgotten when a stored PUT contains its items again.

    `items` is their canonical content, `at` the acceptance in Redis TIME (ms).
    """

    order_id: UUID
    user: str
    items: str
    at: int


@dataclass(frozen=True)
class Cart:
    """A cart session as stored. An absent one has version 0 and no generation."""

    items: tuple[CartItem, ...] = ()
    version: int = 0
    generation: str = ""
    has_checked_out: bool = False
    bought: tuple[Bought, ...] = ()

    @property
    def etag(self) -> str:
        """Changes with every stored change, and never comes back: generations are random."""
        return f'"{self.generation or 0}.{self.version}"'
