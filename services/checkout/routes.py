"""POST /api/orders: shape, names, decision, answer. The shape is checked before anything is looked up."""

from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, WithJsonSchema

from services.cart.model import COOKIE, HEADER, CartItems, CartName, parse_cart_name
from services.checkout.accept_order import AWAY, accept_order
from services.checkout.names import parse_key
from services.checkout.pricing import price_lines
from services.checkout.submission import Accepted, KeyReused, Replayed, Submission
from shared.errors import ApiError
from shared.events import MAX_TOTAL, Line
from shared.http import data_response
from shared.observability import ACCEPTED, DUPLICATES
from shared.openapi import refusals, takes
from shared.redis import redis_or_unavailable

router = APIRouter(tags=["orders"])


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


@router.post(
    "/api/orders",
    status_code=201,
    responses={
        200: {"description": "The order of this checkout, which was known"},
        **refusals(
            {
                400: "Invalid key, payload or total",
                401: "Unauthorized",
                409: "Insufficient stock",
                422: "The key was used before with another payload",
            }
        ),
    },
    openapi_extra=takes(
        body=OrderBody,
        headers={"Idempotency-Key": "the client's own name for this checkout", HEADER: "the cart that is bought"},
    ),
)
async def place(request: Request) -> Response:
    """Accepts an order: 201 once, 200 with the same order for every duplicate."""
    state = request.app.state
    user = await state.verifier.authenticate(request)
    submission = _read(request, user.id, await request.body())
    lines: tuple[Line, ...] | ApiError
    try:
        lines = price_lines(state.catalog, submission.items, submission.total)
    except ApiError as fault:
        lines = fault  # the answer only if this is not a checkout that is known already
    async with redis_or_unavailable(AWAY):
        outcome = await accept_order(state.redis, state.settings, submission, lines)
    match outcome:
        case Accepted(order):
            ACCEPTED.inc()
            return data_response(order, 201, {"Event-Id": order["id"]})
        case Replayed(order, known_by):
            DUPLICATES.labels(known_by).inc()
            return data_response(order, 200, {"Event-Id": order["id"], "Idempotent-Replayed": "true"})
        case KeyReused():
            raise ApiError(422, "Idempotency-Key was used before with another payload")


def _read(request: Request, user_id: str, body: bytes) -> Submission:
    header = request.headers.get("Idempotency-Key")
    key = None if header is None else parse_key(header)
    if header is not None and key is None:
        raise ApiError(400, "Invalid Idempotency-Key header")
    try:
        order = _BODY.validate_json(body)
    except ValidationError as fault:
        raise ApiError(400, "Invalid order payload") from fault
    if any(request.app.state.catalog.get(item.id) is None for item in order.items):
        raise ApiError(400, "Invalid order payload")
    return Submission(user_id, order.items, order.total, key, _cart_of(request))


def _cart_of(request: Request) -> CartName | None:
    """The cart that the submission names; one that cannot be read names nothing."""
    return parse_cart_name(request.headers.get(HEADER) or request.cookies.get(COOKIE) or "")
