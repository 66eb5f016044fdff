"""The console's pages that only look: overview, streams, orders and audit trail."""

from typing import Any
from urllib.parse import quote

from fastapi import Request, Response

from services.storefront.console import OPERATIONS, check_form, console_page, console_router, enter, given
from services.storefront.console_words import by_name
from services.storefront.pages import go_to
from shared.errors import ApiError
from shared.events import Status
from shared.streams import NAME_KINDS

RANGE = ("first", "last", "from", "to", "user", "order", "event", "product", "type")
EVENT_TYPES = ("checkout.completed", "checkout.key_joined", "order.status_changed")
ORDER_FILTERS = ("user", "product", "status", "from", "to", "order", "event", "payment_session", "cursor")

router = console_router()


@router.get("")
async def overview(request: Request) -> Response:
    """What is going on; live where scripts run."""
    visit = await enter(request)
    found = (await visit.call("GET", f"{OPERATIONS}/overview")).data
    return console_page(visit, "overview.html", now=found["now"], samples=found["samples"][::-1], kinds=NAME_KINDS)


@router.post("/resume")
async def resume(request: Request) -> Response:
    """Lifts the pause of the dead-letter limit."""
    visit = await enter(request)
    async with request.form() as form:
        await check_form(visit, form)
        await visit.call("POST", f"{OPERATIONS}/resume", {"why": str(form.get("why", ""))})
    return go_to("/admin")


@router.get("/streams")
async def streams(request: Request) -> Response:
    """The stream, its groups and consumers, and its entries by the filters of a range."""
    visit = await enter(request)
    filters = given(request.query_params, (*RANGE, "before"))
    stream = (await visit.call("GET", f"{OPERATIONS}/stream")).data
    fault: ApiError | None = None
    page: dict[str, Any] = {"entries": [], "next": None}
    try:
        page = (await visit.call("GET", f"{OPERATIONS}/stream/entries", params=filters)).data
    except ApiError as refusal:
        if refusal.status != 400:
            raise
        fault = refusal
    status = 200 if fault is None else 400
    shown = {"stream": stream, "filters": filters, "types": EVENT_TYPES, "fault": fault}
    return console_page(visit, "streams.html", status, entries=page["entries"], next=page["next"], **shown)


@router.get("/streams/{entry_id}")
async def show_entry(request: Request, entry_id: str) -> Response:
    """One entry, whole."""
    visit = await enter(request)
    params = {"first": entry_id, "last": entry_id, "limit": "1"}
    found = (await visit.call("GET", f"{OPERATIONS}/stream/entries", params=params)).data["entries"]
    if not found:
        raise ApiError(404, f"The stream holds no entry {entry_id}")
    return console_page(visit, "entry.html", entry=found[0], fields=by_name(found[0]["fields"]))


@router.get("/orders")
async def list_orders(request: Request) -> Response:
    """Every recorded order, newest first."""
    visit = await enter(request)
    filters = given(request.query_params, ORDER_FILTERS)
    fault: ApiError | None = None
    found: dict[str, Any] = {"data": [], "next": None, "accepted_not_recorded": None}
    try:
        found = (await visit.call("GET", "/api/admin/orders", params=filters)).body
    except ApiError as refusal:
        if refusal.status != 400:
            raise
        fault = refusal
    return console_page(
        visit,
        "orders.html",
        200 if fault is None else 400,
        orders=found["data"],
        next=found["next"],
        backlog=found["accepted_not_recorded"],
        filters=filters,
        statuses=list(Status),
        fault=fault,
    )


@router.get("/orders/{order_id}")
async def show_order(request: Request, order_id: str) -> Response:
    """The timeline of an order: all that log and tables know of it."""
    visit = await enter(request)
    order = (await visit.call("GET", f"{OPERATIONS}/explain/{quote(order_id, safe='')}")).data
    return console_page(visit, "order.html", order=order)


@router.get("/audit")
async def audit(request: Request) -> Response:
    """Who did what and why, and whether the trail is as it was written."""
    visit = await enter(request)
    params = given(request.query_params, ("before",))
    acts = (await visit.call("GET", f"{OPERATIONS}/audit", params=params)).data
    verdict = (await visit.call("GET", f"{OPERATIONS}/audit/verify")).data
    following = acts[-1]["seq"] if len(acts) == 50 else None
    return console_page(visit, "audit.html", acts=acts, verdict=verdict, next=following)
