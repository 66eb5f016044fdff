"""The cart page, and the form that changes a cart without JavaScript. No account is touched: visitors have carts."""

import re

from fastapi import Request, Response

from services.storefront.pages import Pages, go_to, page, page_router, way_back
from services.storefront.visit import MAX_QUANTITY, open_visit
from shared.errors import ApiError

router = page_router()


@router.get("/cart")
async def show_cart(request: Request) -> Response:
    """What is in it, and the way to the checkout."""
    visit = await open_visit(request)
    return await page(visit, "cart.html", cart=await visit.cart(), fault="")


@router.post("/cart/items")
async def change_cart(request: Request) -> Response:
    """Adds to the cart, or sets a quantity there; 0 removes."""
    pages: Pages = request.app.state.pages
    visit = await open_visit(request)
    async with request.form() as form:
        pages.forms.check(request, form, None)
        quantity = str(form.get("quantity", "1"))
        if re.fullmatch("[0-9]{1,2}", quantity) is None:
            raise ApiError(400, f"A quantity is a number from 0 to {MAX_QUANTITY}")
        is_added = form.get("change") == "add"
        changed = await visit.change_cart(str(form.get("product", "")), int(quantity), is_added=is_added)
        target = way_back(str(form.get("back", "")), "/cart")
    if is_added:
        target += "&added=1" if "?" in target else "?added=1"
    response = go_to(target)
    changed.pass_on(response)
    return response
