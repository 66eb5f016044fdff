"""The console's pages of dead letters: found, shown, edited, requeued and discarded, each with a reason.

What is put back or given up is counted first; the preview's page carries what its confirmation will do.
"""

from typing import Any
from urllib.parse import quote

import pydantic_core
from fastapi import Request, Response
from starlette.datastructures import FormData

from services.storefront.console import OPERATIONS, check_form, console_page, console_router, enter, given
from services.storefront.console_words import by_name, plain
from services.storefront.pages import go_to
from services.storefront.visit import Visit
from shared.errors import ApiError

LETTERS = f"{OPERATIONS}/dead-letters"
FILTERS = ("reason", "user", "event", "from", "to", "state")
STATES = ("buried", "requeued", "discarded")
EDITABLE = ("event_id", "accepted_at", "payload")
ACTS = ("requeue", "discard")

router = console_router()


@router.get("/dead-letters")
async def list_letters(request: Request) -> Response:
    """Dead letters, newest first; those that are still buried unless another state is asked for."""
    filters = given(request.query_params, (*FILTERS, "before"))
    if "state" not in request.query_params:
        filters["state"] = "buried"
    return await _list(await enter(request), filters)


@router.get("/dead-letters/{letter_id}")
async def show_letter(request: Request, letter_id: str) -> Response:
    """One dead letter: reason, attempts, failures, raw fields, and what an operator may do about it."""
    return await _show(await enter(request), letter_id)


@router.post("/dead-letters/{letter_id}/edit")
async def edit_letter(request: Request, letter_id: str) -> Response:
    """Keeps other fields for its return; the original stays."""
    visit = await enter(request)
    async with request.form() as form:
        await check_form(visit, form)
        typed = {name: str(form[name]) for name in EDITABLE if name in form}
        why = str(form.get("why", ""))
    letter = (await visit.call("GET", f"{LETTERS}/{quote(letter_id, safe='')}")).data
    present = _editable(letter)
    changes = {name: text for name, text in typed.items() if text.replace("\r\n", "\n") != present.get(name, "")}
    try:
        await visit.call("POST", f"{LETTERS}/{quote(letter_id, safe='')}/edit", {"why": why, "fields": changes})
    except ApiError as fault:
        if fault.status not in (400, 409):
            raise
        return await _show(visit, letter_id, fault, typed, why)
    return go_to(f"/admin/dead-letters/{quote(letter_id, safe='')}?edited=1")


@router.post("/dead-letters/preview")
async def preview(request: Request) -> Response:
    """What would become of the chosen letters; changes nothing."""
    visit = await enter(request)
    async with request.form() as form:
        await check_form(visit, form)
        act, why, chosen = _act_in(form), str(form.get("why", "")).strip(), _chosen_in(form)
        filters = given(form, FILTERS)
    if chosen == {"ids": []}:
        none = ApiError(400, "No dead letter is chosen: tick some, or act on all that match.")
        return await _list(visit, filters, none)
    try:
        counts = (await visit.call("POST", f"{LETTERS}/{act}", {"why": why, "filter": chosen, "dry_run": True})).data
    except ApiError as fault:
        if fault.status != 400:
            raise
        return await _list(visit, filters, fault, why)
    choice = pydantic_core.to_json(chosen).decode()
    return console_page(visit, "letters_preview.html", act=act, why=why, chosen=chosen, choice=choice, counts=counts)


@router.post("/dead-letters/settle")
async def settle(request: Request) -> Response:
    """Requeues or discards what a preview has counted. Sending it again does nothing a second time."""
    visit = await enter(request)
    async with request.form() as form:
        await check_form(visit, form)
        act, why = _act_in(form), str(form.get("why", ""))
        try:
            chosen = pydantic_core.from_json(str(form.get("choice", "")))
        except ValueError as fault:
            raise ApiError(400, "The choice of dead letters cannot be read") from fault
    result = (await visit.call("POST", f"{LETTERS}/{act}", {"why": why, "filter": chosen})).data
    return console_page(visit, "letters_result.html", act=act, why=why, result=result)


async def _list(visit: Visit, filters: dict[str, str], fault: ApiError | None = None, why: str = "") -> Response:
    found: dict[str, Any] = {"dead_letters": [], "next": None}
    try:
        found = (await visit.call("GET", LETTERS, params=filters)).data
    except ApiError as refusal:
        if refusal.status != 400:
            raise
        fault = refusal
    shown = {"letters": found["dead_letters"], "next": found["next"], "filters": filters, "states": STATES, "why": why}
    return console_page(visit, "letters.html", 200 if fault is None else 400, fault=fault, **shown)


async def _show(
    visit: Visit, letter_id: str, fault: ApiError | None = None, typed: dict[str, str] | None = None, why: str = ""
) -> Response:
    letter = (await visit.call("GET", f"{LETTERS}/{quote(letter_id, safe='')}")).data
    return console_page(
        visit,
        "letter.html",
        200 if fault is None else fault.status,
        letter=letter,
        present=_editable(letter) | (typed or {}),
        faults=_faults_of(fault),
        why=why,
        is_edited="edited" in visit.request.query_params,
    )


def _editable(letter: dict[str, Any]) -> dict[str, str]:
    """The fields as the next requeue would put them back."""
    fields = by_name(letter["edited_fields"] or letter["fields"])
    return {name: plain(fields[name]) for name in EDITABLE if name in fields}


def _faults_of(fault: ApiError | None) -> dict[str, str]:
    """The fault beside the field that it is about."""
    if fault is None:
        return {}
    place = next((name for name in EDITABLE if name in fault.text.replace("event id", "event_id")), "payload")
    if "reason is required" in fault.text:
        place = "why"
    elif fault.status == 409 or fault.text == "Nothing to edit":
        place = "all"
    return {place: fault.text}


def _act_in(form: FormData) -> str:
    act = str(form.get("act", ""))
    if act not in ACTS:
        raise ApiError(400, "Choose whether to requeue or to discard")
    return act


def _chosen_in(form: FormData) -> dict[str, Any]:
    """The ticked letters, or the filters of the list that was shown."""
    if form.get("which") == "matching":
        return given(form, FILTERS)
    ids = [str(one) for one in form.getlist("ids")]
    if not all(one.isascii() and one.isdigit() and len(one) <= 18 for one in ids):
        raise ApiError(400, "A dead letter's id is a number")
    return {"ids": [int(one) for one in ids]}
