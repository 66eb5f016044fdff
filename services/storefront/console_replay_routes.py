"""The console's pages of replays and of the shadow: choose a range, look at the preview, run it, watch it.

A replay goes on by itself in the service that runs it; these pages only say how far it is.
"""

from typing import Any
from urllib.parse import quote

from fastapi import Request, Response

from services.storefront.console import OPERATIONS, check_form, console_page, console_router, enter, given
from services.storefront.console_look_routes import EVENT_TYPES, RANGE
from services.storefront.pages import go_to
from services.storefront.visit import Visit
from shared.errors import ApiError

REPLAYS = f"{OPERATIONS}/replays"
SOURCES = ("stream", "archive")
SHOWN_EVENTS = 100

router = console_router()


@router.get("/replays")
async def list_replays(request: Request) -> Response:
    """The form of a range, and the runs until now."""
    visit = await enter(request)
    return await _list(visit, given(request.query_params, (*RANGE, "source")))


@router.post("/replays")
async def preview_replay(request: Request) -> Response:
    """Opens a run and lets it be previewed; sends nothing."""
    visit = await enter(request)
    async with request.form() as form:
        await check_form(visit, form)
        wish = given(form, (*RANGE, "source", "rate", "why"))
    body: dict[str, Any] = {
        "why": wish.get("why", ""),
        "source": wish.get("source", "stream"),
        "filter": {name: value for name, value in wish.items() if name in RANGE},
    }
    if "rate" in wish:
        body["rate"] = _number(wish["rate"])
    try:
        run = (await visit.call("POST", REPLAYS, body)).data
    except ApiError as fault:
        if fault.status != 400:
            raise
        return await _list(visit, wish, fault)
    return go_to(f"/admin/replays/{run['run_id']}")


@router.get("/replays/{run_id}")
async def show_replay(request: Request, run_id: str) -> Response:
    """One run: its counts, how far it is, and what became of each event."""
    visit = await enter(request)
    first = given(request.query_params, ("first",)).get("first", "0")
    path = f"{REPLAYS}/{quote(run_id, safe='')}"
    run = (await visit.call("GET", path)).data
    events = (await visit.call("GET", f"{path}/events", params={"first": first, "limit": str(SHOWN_EVENTS)})).data
    following = events[-1]["number"] + 1 if len(events) == SHOWN_EVENTS else None
    return console_page(visit, "replay.html", run=run, events=events, next=following)


@router.post("/replays/{run_id}/run")
async def run_replay(request: Request, run_id: str) -> Response:
    """Runs a preview, or lets a paused or interrupted run go on."""
    return await _act(await enter(request), run_id, "run")


@router.post("/replays/{run_id}/pause")
async def pause_replay(request: Request, run_id: str) -> Response:
    """Stops a run after its present page."""
    return await _act(await enter(request), run_id, "pause")


@router.get("/shadow")
async def choose_shadow(request: Request) -> Response:
    """The form of a range that the present code is tried on."""
    visit = await enter(request)
    return _shadow(visit, given(request.query_params, (*RANGE, "source")))


@router.post("/shadow")
async def compare_in_shadow(request: Request) -> Response:
    """What the present code makes of the range, held against the live rows; writes no live row."""
    visit = await enter(request)
    async with request.form() as form:
        await check_form(visit, form)
        wish = given(form, (*RANGE, "source"))
    body = {"source": wish.get("source", "archive"), "filter": {name: wish[name] for name in RANGE if name in wish}}
    try:
        return _shadow(visit, wish, report=(await visit.call("POST", f"{OPERATIONS}/shadow", body)).data)
    except ApiError as fault:
        if fault.status != 400:
            raise
        return _shadow(visit, wish, fault)


async def _list(visit: Visit, wish: dict[str, str], fault: ApiError | None = None) -> Response:
    runs = (await visit.call("GET", REPLAYS)).data
    shown: dict[str, Any] = {"wish": wish, "fault": fault, "types": EVENT_TYPES, "sources": SOURCES}
    return console_page(visit, "replays.html", 200 if fault is None else fault.status, runs=runs, **shown)


async def _act(visit: Visit, run_id: str, act: str) -> Response:
    async with visit.request.form() as form:
        await check_form(visit, form)
        why = str(form.get("why", ""))
    await visit.call("POST", f"{REPLAYS}/{quote(run_id, safe='')}/{act}", {"why": why})
    return go_to(f"/admin/replays/{quote(run_id, safe='')}")


def _shadow(visit: Visit, wish: dict[str, str], fault: ApiError | None = None, report: Any = None) -> Response:
    shown: dict[str, Any] = {"wish": wish, "fault": fault, "types": EVENT_TYPES, "sources": SOURCES, "report": report}
    return console_page(visit, "shadow.html", 200 if fault is None else fault.status, **shown)


def _number(text: str) -> int | str:
    """A whole number, or the text for the API to refuse."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text
