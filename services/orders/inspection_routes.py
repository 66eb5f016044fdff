"""The operators' doors to what is known of an order, and to the comparison of log and tables.

Viewers read; a comparison that goes on in the background, and what it may fix, is for operators.
"""

import asyncio
from dataclasses import asdict
from uuid import UUID

from fastapi import APIRouter, Request, Response
from redis.exceptions import RedisError

from services.orders import reconcile_runs
from services.orders.background import go_on
from services.orders.explain_order import explain_order
from services.orders.operations_door import AWAY, Why, acting, body_in, let_operator_in, let_viewer_in
from services.orders.reconcile import CannotReconcile
from services.orders.reconcile_run import reconcile
from shared.errors import ApiError, Unavailable
from shared.http import data_response
from shared.openapi import refusals, takes
from shared.postgres import postgres_or_unavailable
from shared.redis import redis_or_unavailable

_AWAY = "The log cannot be inspected right now"
_REFUSALS = {400: "Invalid order id", 401: "Unauthorized", 403: "Operator access required"}
_RUNNING = {409: "One is running already"}

router = APIRouter(prefix="/api/admin/operations", tags=["operations"])
_one_at_a_time = asyncio.Lock()


class _Reconcile(Why):
    fix: bool = False


@router.get("/explain/{order_id}", responses=refusals({**_REFUSALS, 404: "Order not found"}))
async def explain(request: Request, order_id: str) -> Response:
    """Everything that is known of an order, and the same as a timeline."""
    await let_viewer_in(request)
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


@router.get("/reconcile", responses=refusals(_REFUSALS | _RUNNING))
async def compare(request: Request) -> Response:
    """Compares stream, archive and tables while the client waits, and fixes nothing; for small systems."""
    await let_viewer_in(request)
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


@router.post(
    "/reconcile", status_code=202, responses=refusals(_REFUSALS | _RUNNING), openapi_extra=takes(body=_Reconcile)
)
async def start_reconcile(request: Request) -> Response:
    """Compares in the background, with `fix` adds the rows that are missing; `reconcile/run` tells how far it is."""
    user = await let_operator_in(request)
    wish, state = await body_in(request, _Reconcile), request.app.state
    operator = acting(user, wish.why)
    async with redis_or_unavailable(AWAY):
        run = await reconcile_runs.open_run(state.redis, operator, fix=wish.fix)
    go_on(reconcile_runs.carry_out(state.settings, state.engine, state.redis, dict(run), operator))
    return data_response(run, 202)


@router.get("/reconcile/run", responses=refusals(_REFUSALS))
async def read_reconcile(request: Request) -> Response:
    """The newest reconciliation of the last day that was started over HTTP; null = there is none."""
    await let_viewer_in(request)
    async with redis_or_unavailable(AWAY):
        return data_response(await reconcile_runs.read_run(request.app.state.redis))
