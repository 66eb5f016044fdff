"""The operators' doors to replays. A replay goes on after its answer, in this process; its row says how far it is."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import Field

from services.orders import replay, replay_runs
from services.orders.background import go_on
from services.orders.operations_door import (
    AWAY,
    MAX_PAGE,
    NOT_NOW,
    REFUSALS,
    UNKNOWN,
    Page,
    Why,
    Wire,
    acting,
    body_in,
    let_operator_in,
    let_viewer_in,
    page_in,
)
from services.orders.replay_source import ReplayRange, Source
from services.orders.shadow_replay import shadow_replay
from shared.errors import ApiError
from shared.http import data_response
from shared.openapi import refusals, takes
from shared.postgres import postgres_or_unavailable
from shared.redis import redis_or_unavailable

router = APIRouter(prefix="/api/admin/operations", tags=["operations"], responses=REFUSALS)


class _EventPage(Wire):
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 100
    first: Annotated[int, Field(ge=0, le=2**62)] = 0


class _Replay(Why):
    filter: ReplayRange = ReplayRange()
    source: Source = Source.STREAM
    rate: int = replay.DEFAULT_RATE


class _Shadow(Wire):
    filter: ReplayRange = ReplayRange()
    source: Source = Source.ARCHIVE


@router.get("/replays", openapi_extra=takes(query=[Page]))
async def read_replays(request: Request) -> Response:
    """Replays and previews, newest first."""
    await let_viewer_in(request)
    page = page_in(request, Page)
    async with postgres_or_unavailable(AWAY):
        runs = await replay_runs.list_runs(request.app.state.engine, page.limit)
    return data_response([run.public() for run in runs])


@router.post("/replays", status_code=202, openapi_extra=takes(body=_Replay))
async def preview_replay(request: Request) -> Response:
    """Previews a replay: 202, and the run's `planned` counts once its status is `planned`. Sends nothing."""
    user = await let_operator_in(request)
    wish, state = await body_in(request, _Replay), request.app.state
    operator = acting(user, wish.why)
    async with postgres_or_unavailable(AWAY), redis_or_unavailable(AWAY):
        run = await replay.plan_replay(state.engine, state.redis, wish.source, wish.filter, wish.rate, operator)
    go_on(replay.make_plan(state.engine, state.redis, run.run_id))
    return data_response(run.public(), 202)


@router.get("/replays/{run_id}", responses=refusals(UNKNOWN))
async def read_replay(request: Request, run_id: str) -> Response:
    """How far a replay is."""
    await let_viewer_in(request)
    async with postgres_or_unavailable(AWAY):
        return data_response((await replay_runs.read_run(request.app.state.engine, _run_id(run_id))).public())


@router.get("/replays/{run_id}/events", responses=refusals(UNKNOWN), openapi_extra=takes(query=[_EventPage]))
async def read_replay_events(request: Request, run_id: str) -> Response:
    """Each event of a replay in order: what was planned, the entry it became, what came of it."""
    await let_viewer_in(request)
    page, wanted = page_in(request, _EventPage), _run_id(run_id)
    async with postgres_or_unavailable(AWAY):
        await replay_runs.read_run(request.app.state.engine, wanted)
        rows = await replay_runs.list_run_events(request.app.state.engine, wanted, page.first, page.limit)
    return data_response(rows)


@router.post(
    "/replays/{run_id}/run",
    status_code=202,
    responses=refusals(UNKNOWN | NOT_NOW),
    openapi_extra=takes(body=Why),
)
async def run_replay(request: Request, run_id: str) -> Response:
    """Runs a preview, or lets a paused or interrupted replay go on: 202, and it goes on by itself."""
    user = await let_operator_in(request)
    operator = acting(user, (await body_in(request, Why)).why)
    state, wanted = request.app.state, _run_id(run_id)
    async with postgres_or_unavailable(AWAY):
        run = await replay.start_replay(state.engine, wanted, operator)
    go_on(replay.run_replay(state.engine, state.redis, wanted, operator))
    return data_response(run.public(), 202)


@router.post("/replays/{run_id}/pause", responses=refusals(UNKNOWN | NOT_NOW), openapi_extra=takes(body=Why))
async def pause_replay(request: Request, run_id: str) -> Response:
    """Stops a running replay after its present page."""
    user = await let_operator_in(request)
    operator = acting(user, (await body_in(request, Why)).why)
    async with postgres_or_unavailable(AWAY):
        return data_response((await replay.pause_replay(request.app.state.engine, _run_id(run_id), operator)).public())


@router.post("/shadow", openapi_extra=takes(body=_Shadow))
async def compare_in_shadow(request: Request) -> Response:
    """What the present code would make of a range, held against the live rows; for ranges of a few thousand events."""
    await let_viewer_in(request)
    wish, state = await body_in(request, _Shadow), request.app.state
    async with postgres_or_unavailable(AWAY), redis_or_unavailable(AWAY):
        report = await shadow_replay(state.engine, state.redis, wish.source, wish.filter)
    return data_response(report.public())


def _run_id(given: str) -> UUID:
    try:
        return UUID(given)
    except ValueError as fault:
        raise ApiError(400, "Invalid replay id") from fault
