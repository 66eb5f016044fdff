"""The operators' doors to the orders. Parses, calls, renders; every answer needs an operator's role."""

from typing import TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter, ValidationError

from services.orders.admin_queries import Filters, OrderFilters, Page, list_all_orders, list_product_lines
from services.orders.backlog import count_backlog
from shared.auth import User, require_admin
from shared.errors import ApiError, Unavailable
from shared.events import ProductId
from shared.http import json_response
from shared.openapi import refusals, takes
from shared.redis import redis_or_unavailable

_REFUSALS = refusals({400: "Invalid filter", 401: "Unauthorized", 403: "Admin access required"})
_PRODUCT_ID: TypeAdapter[str] = TypeAdapter(ProductId)

router = APIRouter(prefix="/api/admin", tags=["admin"])

F = TypeVar("F", bound=Filters)


@router.get("/orders", responses=_REFUSALS, openapi_extra=takes(query=[OrderFilters]))
async def list_orders_of_all(request: Request) -> Response:
    """Recorded orders of all users, newest first, by any of OrderFilters; `next` is the cursor of the next page."""
    await _let_in(request)
    filters = _filters_in(request, OrderFilters)
    return await _answer(request, await list_all_orders(request.app.state.engine, filters))


@router.get("/products/{product_id}/orders", responses=_REFUSALS, openapi_extra=takes(query=[Filters]))
async def list_orders_of_product(request: Request, product_id: str) -> Response:
    """Recorded line items of a product, newest first, also of one that left the catalogue."""
    await _let_in(request)
    try:
        _PRODUCT_ID.validate_python(product_id)
    except ValidationError as fault:
        raise ApiError(400, "Invalid product id") from fault
    filters = _filters_in(request, Filters)
    return await _answer(request, await list_product_lines(request.app.state.engine, product_id, filters))


async def _let_in(request: Request) -> None:
    user: User = await request.app.state.verifier.authenticate(request)
    if user.role is None:  # an operator and a viewer look at orders as an admin does
        require_admin(user)


def _filters_in(request: Request, shape: type[F]) -> F:
    """The filters of the query string; an empty value is no filter, as a form sends it."""
    given = {name: value for name, value in request.query_params.items() if value}
    try:
        return shape.model_validate(given)
    except ValidationError as fault:
        faults = "; ".join(f"{error['loc'][0]}: {error['msg']}" for error in fault.errors(include_url=False))
        raise ApiError(400, f"Invalid filter: {faults}") from fault


async def _answer(request: Request, page: Page) -> Response:
    try:
        async with redis_or_unavailable("The stream cannot be read right now"):
            backlog = await count_backlog(request.app.state.redis)
    except Unavailable:
        backlog = None
    return json_response({"data": page.data, "next": page.next, "accepted_not_recorded": backlog})
