"""The console's page of the reconciliation: run it, read what is wrong, then add what is missing."""

from fastapi import Request, Response

from services.storefront.console import OPERATIONS, check_form, console_page, console_router, enter
from services.storefront.pages import go_to
from shared.errors import ApiError

RECONCILE = f"{OPERATIONS}/reconcile"

router = console_router()


@router.get("/reconcile")
async def show_reconcile(request: Request) -> Response:
    """The newest reconciliation and what it found."""
    visit = await enter(request)
    run = (await visit.call("GET", f"{RECONCILE}/run")).data
    return console_page(visit, "reconcile.html", run=run)


@router.post("/reconcile")
async def start_reconcile(request: Request) -> Response:
    """Compares; adds the rows that are missing only where a comparison has shown some."""
    visit = await enter(request)
    async with request.form() as form:
        await check_form(visit, form)
        why, compared = str(form.get("why", "")), str(form.get("compared", ""))
    if compared:
        run = (await visit.call("GET", f"{RECONCILE}/run")).data
        if run is None or run["run_id"] != compared or run["status"] != "finished":
            raise ApiError(409, "The comparison that you looked at is not the newest any more")
    await visit.call("POST", RECONCILE, {"why": why, "fix": bool(compared)})
    return go_to("/admin/reconcile")
