"""The operators' doors to what is known of an order, and to the comparison of log and tables. Both only read."""

import asyncio
from dataclasses import asdict
from uuid import UUID

from fastapi import APIRouter, Request, Response
from redis.exceptions import RedisError

from services.orders.explain_order import explain_order
from services.orders.reconcile import CannotReconcile
from services.orders.reconcile_run import reconcile
from shared.auth import require_admin
from shared.errors import ApiError, Unavailable
from shared.http import data_response
from shared.openapi import refusals
from shared.postgres import postgres_or_unavailable
from shared.redis import redis_or_unavailable

_AWAY = "The log cannot be inspected right now"
_REFUSALS = {400: "Invalid order id", 401: "Unauthorized", 403: "Admin access required"}

router = APIRouter(prefix="/api/admin/operations", tags=["operations"])
_one_at_a_time = asyncio.Lock()


@router.get("/explain/{order_id}", responses=refusals({**_REFUSALS, 404: "Order not found"}))
async def explain(request: Request, order_id: str) -> Response:
    """Everything that is known of an order, and the same as a timeline."""
    require_admin(await request.app.state.verifier.authenticate(request))
    try:
        wanted = UUID(order_id)
    except ValueError as fault:
        raise ApiError(400, "Invalid order id") from fault
    async with postgres_or_unavailable(_AWAY), redis_or_unavailable(_AWAY):
        found = await explain_order(request.app.state.redis, request.app.state.engine, wanted)
    if found is None:
        raise ApiError(404, "Order not found")
    timeline = [{"at": at, "what": what} for at, what in found.timeline()]
    return data_response({**asdict(found), "timeline": timeline})


@router.get("/reconcile", responses=refusals({**_REFUSALS, 409: "One is running already"}))
async def compare(request: Request) -> Response:
    """Compares stream, archive and tables, and fixes nothing: `tillroll reconcile --fix` does."""
    require_admin(await request.app.state.verifier.authenticate(request))
    if _one_at_a_time.locked():
        raise ApiError(409, "A reconciliation is running already")
    async with _one_at_a_time, postgres_or_unavailable(_AWAY):
        try:
            result = await reconcile(request.app.state.settings, fix=False)
        except CannotReconcile as fault:
            raise ApiError(409, str(fault)) from fault
        except RedisError as fault:
            raise Unavailable(_AWAY) from fault
    return data_response(result.public())
