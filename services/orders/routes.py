"""The owner's doors: my orders, the demo payment and the cancellation. Parses, calls, renders; decides nothing."""

import re
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from services.orders.change_status import Changed, Refused, Unchanged, Unknown, change_status, look_up
from services.orders.queries import Order, find_paid_by, list_orders, list_page
from shared.errors import ApiError
from shared.events import Status
from shared.http import data_response, json_response
from shared.openapi import refusals, takes

PAYMENT_SESSION_LENGTH = range(8, 256)  # characters
MAX_PAGE = 200  # orders
PARTIAL = {"Tillroll-Partial": "accepted"}

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

router = APIRouter(tags=["orders"])


class _OwnOrders(BaseModel):
    """The query of the list, for the document alone."""

    session_id: str | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] | None = None
    cursor: str | None = None


class _OrderReference(BaseModel):
    id: str


_REFERENCE = TypeAdapter(_OrderReference)


@router.get(
    "/api/orders",
    responses=refusals(
        {400: "Invalid session id, Invalid limit or Invalid cursor", 401: "Unauthorized", 404: "Order not found"}
    ),
    openapi_extra=takes(query=[_OwnOrders]),
)
async def list_own_orders(request: Request) -> Response:
    """The user's orders, newest first; with `session_id` the one order of that payment session.

    All of them, unless `limit` asks for a page: then `next` is the `cursor` of the one after it, or null.
    """
    user = await request.app.state.verifier.authenticate(request)
    redis, engine = request.app.state.redis, request.app.state.engine
    session_id = request.query_params.get("session_id", "")
    if not session_id and ("limit" in request.query_params or "cursor" in request.query_params):
        return await _page(request, user.id)
    if not session_id:
        own = await list_orders(redis, engine, user.id)
        return data_response([order.public() for order in own.orders], headers=PARTIAL if own.is_partial else None)
    if len(session_id) not in PAYMENT_SESSION_LENGTH:
        raise ApiError(400, "Invalid session id")
    own = await find_paid_by(redis, engine, user.id, session_id)
    if not own.orders:
        raise _not_found()
    return data_response(own.orders[0].public(), headers=PARTIAL if own.is_partial else None)


async def _page(request: Request, user_id: str) -> Response:
    limit = request.query_params.get("limit", str(MAX_PAGE))
    if not re.fullmatch("[0-9]{1,3}", limit) or not 1 <= int(limit) <= MAX_PAGE:
        raise ApiError(400, "Invalid limit")
    state = request.app.state
    try:
        own = await list_page(state.redis, state.engine, user_id, int(limit), request.query_params.get("cursor"))
    except ValueError as fault:
        raise ApiError(400, "Invalid cursor") from fault
    page = {"data": [order.public() for order in own.orders], "next": own.next}
    return json_response(page, headers=PARTIAL if own.is_partial else None)


@router.patch(
    "/api/orders",
    responses=refusals({400: "Invalid order id", 401: "Unauthorized", 404: "Order not found"}),
    openapi_extra=takes(body=_OrderReference),
)
async def mark_paid(request: Request) -> Response:
    """Marks an order paid without a payment: the demo flow. Where that is turned off, the order stays as it is."""
    user = await request.app.state.verifier.authenticate(request)
    order_id = _parse_order_id(_reference_in(await request.body()))
    state = request.app.state
    if not state.settings.demo_payment:
        order = await look_up(state.redis, state.engine, state.settings, user.id, order_id)
        if order is None or order.status == Status.CANCELLED:
            raise _not_found()
        return _answer(order)
    match await change_status(state.redis, state.engine, state.settings, user.id, order_id, Status.PAID):
        case Changed(order) | Unchanged(order):
            return _answer(order)
        case Refused() | Unknown():
            raise _not_found()


@router.post(
    "/api/orders/{order_id}/cancel",
    responses=refusals(
        {
            400: "Invalid order id",
            401: "Unauthorized",
            404: "Order not found",
            409: "Paid orders cannot be cancelled from this flow",
        }
    ),
)
async def cancel_order(request: Request, order_id: str) -> Response:
    """Cancels an order that is not paid."""
    user = await request.app.state.verifier.authenticate(request)
    parsed, state = _parse_order_id(order_id), request.app.state
    match await change_status(state.redis, state.engine, state.settings, user.id, parsed, Status.CANCELLED):
        case Changed(order) | Unchanged(order):
            return _answer(order)
        case Refused():
            raise ApiError(409, "Paid orders cannot be cancelled from this flow")
        case Unknown():
            raise _not_found()


def _reference_in(body: bytes) -> str:
    try:
        return _REFERENCE.validate_json(body).id
    except ValidationError as fault:
        raise _invalid_id() from fault


def _parse_order_id(text: str) -> UUID:
    # The pattern decides: UUID() alone also takes braces, a URN and missing hyphens.
    if _UUID.fullmatch(text) is None:
        raise _invalid_id()
    return UUID(text)


def _answer(order: Order) -> Response:
    return data_response(order.public())


def _invalid_id() -> ApiError:
    return ApiError(400, "Invalid order id")


def _not_found() -> ApiError:
    return ApiError(404, "Order not found")
