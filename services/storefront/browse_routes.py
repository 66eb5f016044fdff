"""The shop window: home, the list with search, category and sort, the product, and the files that pages load."""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import Request, Response

from services.storefront.pages import ASSET_HEADERS, Pages, page, page_router
from services.storefront.visit import open_visit
from shared.errors import ApiError

SORTS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], Any], bool]] = {
    "popular": ("Most popular", lambda product: product["popularity"], True),
    "newest": ("Newest", lambda product: product["createdAt"], True),
    "rating": ("Best rated", lambda product: product["rating"], True),
    "price-up": ("Price, low to high", lambda product: product["price"], False),
    "price-down": ("Price, high to low", lambda product: product["price"], True),
}
"""Name -> label, what is compared, whether the greatest comes first. The first one is the default."""
MAX_SEARCH = 100  # characters

router = page_router()


@router.get("/")
async def home(request: Request) -> Response:
    """What is loved most."""
    visit = await open_visit(request)
    return await page(visit, "home.html", products=_sorted(await visit.products(), "popular"))


@router.get("/products")
async def list_products(request: Request) -> Response:
    """The catalogue. Search, category and sort are an ordinary form's query."""
    visit = await open_visit(request)
    catalog = await visit.products()
    search = request.query_params.get("q", "").strip()[:MAX_SEARCH]
    category = request.query_params.get("category", "")
    sort = request.query_params.get("sort", "")
    found = [
        product
        for product in catalog
        if category in ("", product["category"]) and all(word in _words(product) for word in search.lower().split())
    ]
    return await page(
        visit,
        "products.html",
        products=_sorted(found, sort),
        search=search,
        category=category,
        categories=sorted({product["category"] for product in catalog}),
        sort=sort,
        sorts={name: label for name, (label, _, _) in SORTS.items()},
    )


@router.get("/products/{product_id}")
async def show_product(request: Request, product_id: str) -> Response:
    """One product."""
    visit = await open_visit(request)
    return await page(visit, "product.html", product=await visit.product(product_id))


@router.get("/static/{name}")
@router.get("/images/{name}")
async def send_asset(request: Request) -> Response:
    """A style sheet, a script or a picture."""
    pages: Pages = request.app.state.pages
    found = pages.assets.get(request.url.path)
    if found is None:
        raise ApiError(404, "There is no such file")
    content, media_type = found
    return Response(content, headers=ASSET_HEADERS, media_type=media_type)


def _sorted(products: list[dict[str, Any]], sort: str) -> list[dict[str, Any]]:
    _, compared, is_descending = SORTS.get(sort, SORTS["popular"])
    return sorted(products, key=compared, reverse=is_descending)


def _words(product: Mapping[str, Any]) -> str:
    return " ".join((product["title"], product["category"], product["description"], *product["highlights"])).lower()
