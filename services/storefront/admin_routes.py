"""The operators' page: every recorded order. Asks the admin API like any client; the API decides who may."""

from fastapi import Request, Response

from services.storefront.pages import page, page_router
from services.storefront.visit import open_visit
from shared.events import Status

FILTERS = ("user", "status", "product", "cursor")

router = page_router()


@router.get("/admin")
async def list_orders(request: Request) -> Response:
    """A page of orders, newest first, by user, status and product."""
    visit = await open_visit(request)
    visit.require_user()
    filters = {name: value for name in FILTERS if (value := request.query_params.get(name, "").strip())}
    found = await visit.call("GET", "/api/admin/orders", params=filters)
    return await page(
        visit,
        "admin.html",
        orders=found.data,
        next=found.body["next"],
        backlog=found.body["accepted_not_recorded"],
        filters=filters,
        statuses=list(Status),
    )
