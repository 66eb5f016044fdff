"""A submission in a request: the shape of its body, its key and the cart it names. Looks nothing up but products."""

from decimal import Decimal
from typing import Annotated, Any

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, WithJsonSchema

from services.cart.catalog import Catalog
from services.cart.model import COOKIE, HEADER, CartItems, CartName, parse_cart_name
from services.checkout.names import parse_key
from services.checkout.pricing import price_lines
from services.checkout.submission import Submission
from shared.errors import ApiError
from shared.events import MAX_TOTAL, Line
from shared.openapi import takes


def exact(value: Any) -> Any:
    """A JSON number as the decimal that its sender saw; strings and booleans are refused."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a number")
    return Decimal(repr(value))


_NUMBER = WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": int(MAX_TOTAL)})


class OrderBody(BaseModel):
    """`{total, items}`; extra members are dropped."""

    model_config = ConfigDict(extra="ignore")

    items: CartItems
    total: Annotated[Decimal, BeforeValidator(exact), Field(gt=0, le=MAX_TOTAL, allow_inf_nan=False), _NUMBER]


_BODY = TypeAdapter(OrderBody)

TAKES = takes(
    body=OrderBody,
    headers={"Idempotency-Key": "the client's own name for this checkout", HEADER: "the cart that is bought"},
)
"""What such a request says in the OpenAPI document."""


async def read_submission(request: Request, user_id: str) -> tuple[Submission, tuple[Line, ...] | ApiError]:
    """What is submitted, and its lines at today's prices, or the fault that is the answer if it is a new checkout.

    Raises the contract's 400s.
    """
    catalog: Catalog = request.app.state.catalog
    submission = _read(request, catalog, user_id, await request.body())
    try:
        return submission, price_lines(catalog, submission.items, submission.total)
    except ApiError as fault:
        return submission, fault


def _read(request: Request, catalog: Catalog, user_id: str, body: bytes) -> Submission:
    header = request.headers.get("Idempotency-Key")
    key = None if header is None else parse_key(header)
    if header is not None and key is None:
        raise ApiError(400, "Invalid Idempotency-Key header")
    try:
        order = _BODY.validate_json(body)
    except ValidationError as fault:
        raise ApiError(400, "Invalid order payload") from fault
    if any(catalog.get(item.id) is None for item in order.items):
        raise ApiError(400, "Invalid order payload")
    return Submission(user_id, order.items, order.total, key, _cart_of(request))


def _cart_of(request: Request) -> CartName | None:
    """The cart that the submission names; one that cannot be read names nothing."""
    return parse_cart_name(request.headers.get(HEADER) or request.cookies.get(COOKIE) or "")
