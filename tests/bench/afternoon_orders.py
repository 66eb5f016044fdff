"""What the afternoon version does with a checkout: checks it against the catalogue, writes it in one transaction."""

import hashlib
import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

from fastapi import HTTPException
from pydantic import BaseModel, Field, field_validator
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import async_sessionmaker

from tests.bench.afternoon_tables import IdempotencyKey, Order, OrderItem

CATALOG = Path(__file__).parents[2] / "services" / "cart" / "catalog.json"


class ItemIn(BaseModel):
    """One product in a cart."""

    id: Annotated[str, Field(min_length=1, max_length=20)]
    quantity: Annotated[int, Field(ge=1, le=99)]


class OrderIn(BaseModel):
    """The body of POST /api/orders."""

    items: Annotated[list[ItemIn], Field(min_length=1, max_length=50)]
    total: Annotated[Decimal, Field(gt=0, le=1_000_000)]

    @field_validator("total", mode="before")
    @classmethod
    def from_number(cls, value: Any) -> Any:
        """Through its text, so that 0.1 is a tenth."""
        return Decimal(str(value)) if isinstance(value, int | float) else value


class ItemOut(BaseModel):
    """A line of the answer."""

    id: str
    quantity: int


class OrderOut(BaseModel):
    """An order as a client sees it."""

    id: str
    userId: str  # noqa: N815  the contract spells it so
    total: float
    date: str
    status: str
    items: list[ItemOut]


class Envelope(BaseModel):
    """The success envelope."""

    data: OrderOut


def read_catalog() -> dict[str, dict[str, Any]]:
    """The products by id, prices exact."""
    products = json.loads(CATALOG.read_text(), parse_float=Decimal)
    return {product["id"]: {**product, "price": Decimal(product["price"])} for product in products}


def check(catalog: dict[str, dict[str, Any]], body: OrderIn) -> None:
    """Raises HTTPException: 400 for unknown products or a wrong total, 409 for a lack of stock."""
    wanted: Counter[str] = Counter()
    total = Decimal(0)
    for item in body.items:
        if item.id not in catalog:
            raise HTTPException(400, "Invalid order payload")
        wanted[item.id] += item.quantity
        total += catalog[item.id]["price"] * item.quantity
    if total != body.total:
        raise HTTPException(400, "Order total does not match catalog prices")
    for product_id, quantity in wanted.items():
        product = catalog[product_id]
        if quantity > product["stock"]:
            text = f"Insufficient stock for {product['title']}: requested {quantity}, available {product['stock']}"
            raise HTTPException(409, text)


async def place_order(
    sessions: async_sessionmaker, catalog: dict[str, dict[str, Any]], user_id: str, key: str | None, body: OrderIn
) -> tuple[Order, bool]:
    """The order of this checkout, and whether it is new; raises HTTPException 422 for a key with another payload."""
    digest = hashlib.sha256(body.model_dump_json().encode()).hexdigest()
    async with sessions() as session, session.begin():
        order_id = uuid4()
        if key is not None:
            named = insert(IdempotencyKey).values(user_id=user_id, key=key, request_hash=digest, order_id=order_id)
            is_new = await session.scalar(named.on_conflict_do_nothing().returning(IdempotencyKey.order_id))
            if is_new is None:
                known = await session.get_one(IdempotencyKey, (user_id, key))
                if known.request_hash != digest:
                    raise HTTPException(422, "Idempotency-Key was used before with another payload")
                return await session.get_one(Order, known.order_id), False
        items = [
            OrderItem(
                line=line,
                product_id=item.id,
                title=catalog[item.id]["title"],
                unit_price=catalog[item.id]["price"],
                quantity=item.quantity,
            )
            for line, item in enumerate(body.items, 1)
        ]
        order = Order(id=order_id, user_id=user_id, total=body.total, items=items)
        session.add(order)
    return order, True
