"""The operators' doors to stream, dead letters, pause and audit. Parses, calls, renders; decides nothing.

Viewers read; operators and admins also write, and every write needs its reason.
"""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import Field

from services.orders import dead_letter_fates
from services.orders.audit import list_trail, verify_trail
from services.orders.dead_letter_reads import LetterFilters, list_letters, read_letter
from services.orders.look_at_stream import list_entries, look_at_stream
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
    filters_in,
    let_operator_in,
    let_viewer_in,
    page_in,
)
from services.orders.pause import lift_pause, read_pause
from services.orders.replay_source import EntryId, ReplayRange
from shared.errors import ApiError
from shared.http import data_response
from shared.openapi import refusals, takes
from shared.postgres import postgres_or_unavailable
from shared.redis import redis_or_unavailable

router = APIRouter(prefix="/api/admin/operations", tags=["operations"], responses=REFUSALS)


class _EntryPage(Wire):
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 20
    before: EntryId | None = None


class _LetterChoice(Why):
    filter: LetterFilters
    dry_run: bool = False


class _Edit(Why):
    fields: dict[str, str]


@router.get("/stream")
async def read_stream(request: Request) -> Response:
    """Length, groups, consumers and lag; null = unknown. `paused` is the reason while intake is paused."""
    await let_viewer_in(request)
    async with redis_or_unavailable(AWAY):
        look = await look_at_stream(request.app.state.redis)
        return data_response({**look.public(), "paused": await read_pause(request.app.state.redis)})


@router.get("/stream/entries", openapi_extra=takes(query=[_EntryPage, ReplayRange]))
async def read_entries(request: Request) -> Response:
    """Entries by any of ReplayRange's filters, newest first; `next` is the `before` of the page after it."""
    await let_viewer_in(request)
    page, chosen = page_in(request, _EntryPage), filters_in(request, ReplayRange, _EntryPage)
    async with redis_or_unavailable(AWAY):
        return data_response((await list_entries(request.app.state.redis, chosen, page.limit, page.before)).public())


@router.get("/dead-letters", openapi_extra=takes(query=[Page, LetterFilters]))
async def read_dead_letters(request: Request) -> Response:
    """Dead letters by any of LetterFilters, newest first; `next` is the `before` of the page after it."""
    await let_viewer_in(request)
    page, filters = page_in(request, Page), filters_in(request, LetterFilters, Page)
    async with postgres_or_unavailable(AWAY):
        letters = await list_letters(request.app.state.engine, filters, page.limit, page.before)
    following = letters[-1].id if len(letters) == page.limit else None
    return data_response({"dead_letters": [letter.public() for letter in letters], "next": following})


@router.get("/dead-letters/{letter_id}", responses=refusals(UNKNOWN))
async def read_dead_letter(request: Request, letter_id: str) -> Response:
    """One dead letter with its raw fields."""
    await let_viewer_in(request)
    async with postgres_or_unavailable(AWAY):
        letter = await read_letter(request.app.state.engine, _letter_id(letter_id))
    return data_response(letter.public(whole=True))


@router.post("/dead-letters/requeue", openapi_extra=takes(body=_LetterChoice))
async def requeue(request: Request) -> Response:
    """Puts the buried letters of the filter back into the stream, each once; `dry_run` counts what would become."""
    user = await let_operator_in(request)
    choice, state = await body_in(request, _LetterChoice), request.app.state
    operator = acting(user, choice.why)
    async with postgres_or_unavailable(AWAY), redis_or_unavailable(AWAY):
        if choice.dry_run:
            return data_response({"dry_run": await dead_letter_fates.preview_requeue(state.engine, choice.filter)})
        fates = await dead_letter_fates.requeue_letters(state.engine, state.redis, choice.filter, operator)
    return data_response({"dry_run": fates.dry_run, **fates.told()})


@router.post("/dead-letters/discard", openapi_extra=takes(body=_LetterChoice))
async def discard(request: Request) -> Response:
    """Gives the buried letters of the filter up, with the reason; `dry_run` names them only."""
    user = await let_operator_in(request)
    choice, state = await body_in(request, _LetterChoice), request.app.state
    operator = acting(user, choice.why)
    async with postgres_or_unavailable(AWAY), redis_or_unavailable(AWAY):
        if choice.dry_run:
            found = await dead_letter_fates.preview_discard(state.engine, choice.filter)
            return data_response({"would_discard": found})
        fates = await dead_letter_fates.discard_letters(state.engine, state.redis, choice.filter, operator)
    return data_response(fates.told())


@router.post("/dead-letters/{letter_id}/edit", responses=refusals(UNKNOWN | NOT_NOW), openapi_extra=takes(body=_Edit))
async def edit(request: Request, letter_id: str) -> Response:
    """Keeps other fields for the letter's return, if an event could be recorded from them; the original stays."""
    user = await let_operator_in(request)
    change = await body_in(request, _Edit)
    operator = acting(user, change.why)
    async with postgres_or_unavailable(AWAY):
        letter = await dead_letter_fates.edit_letter(
            request.app.state.engine, _letter_id(letter_id), change.fields, operator
        )
    return data_response(letter.public(whole=True))


@router.post("/resume", openapi_extra=takes(body=Why))
async def resume(request: Request) -> Response:
    """Lifts the pause that the dead-letter limit has put on intake; null = there was none."""
    user = await let_operator_in(request)
    operator = acting(user, (await body_in(request, Why)).why)
    state = request.app.state
    async with postgres_or_unavailable(AWAY), redis_or_unavailable(AWAY):
        return data_response({"lifted": await lift_pause(state.engine, state.redis, operator)})


@router.get("/audit", openapi_extra=takes(query=[Page]))
async def read_audit(request: Request) -> Response:
    """Operations, newest first."""
    await let_viewer_in(request)
    page = page_in(request, Page)
    async with postgres_or_unavailable(AWAY):
        return data_response(await list_trail(request.app.state.engine, page.limit, page.before))


@router.get("/audit/verify")
async def verify_audit(request: Request) -> Response:
    """Whether every row of the trail is as it was written."""
    await let_viewer_in(request)
    async with postgres_or_unavailable(AWAY):
        verdict = await verify_trail(request.app.state.engine)
    return data_response({"rows": verdict.rows, "head": verdict.head, "findings": list(verdict.findings)})


def _letter_id(given: str) -> int:
    if not given.isascii() or not given.isdigit() or len(given) > 18 or int(given) == 0:
        raise ApiError(400, "Invalid dead letter id")
    return int(given)
