"""GET /api/products and /api/products/{id}. The cache in Redis saves work and is never needed: without it the
catalogue answers. Only what the catalogue knows is looked up, so no request can fill the cache with keys of its own.
"""

import asyncio
import logging
from collections.abc import Iterable
from datetime import timedelta

from fastapi import APIRouter, Request, Response
from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.convertors import PathConvertor, register_url_convertor

from services.cart.catalog import Catalog, Product, public_json
from shared.errors import ApiError
from shared.openapi import refusals
from shared.streams import PARTITION

CACHE_LIFE = timedelta(seconds=300)
CACHE_PATIENCE = timedelta(milliseconds=250)  # a cache that takes longer than the work it saves is no cache


class _Whole(PathConvertor):
    """The rest of the path; Starlette's own ends at a newline."""

    regex = r"[\s\S]*"


register_url_convertor("whole", _Whole())
router = APIRouter(tags=["catalogue"])
log = logging.getLogger(__name__)


@router.get("/api/products", responses=refusals({400: "Invalid category"}))
async def list_products(request: Request, category: str = "") -> Response:
    """All products, or those of one category; an empty category means all."""
    catalog: Catalog = request.app.state.catalog
    if category and category not in catalog.categories:
        raise ApiError(400, "Invalid category")
    name = f"category:{category}" if category else "all"
    return await _answer(request, name, catalog.products(category or None))


@router.get("/api/products/{product_id:whole}", responses=refusals({400: "Invalid product id"}))
async def show_product(request: Request, product_id: str) -> Response:
    """One product. Its converter keeps an id with an encoded slash an invalid id instead of a missing page."""
    product = request.app.state.catalog.get(product_id)
    if product is None:
        raise ApiError(400, "Invalid product id")
    return await _answer(request, f"id:{product.id}", product)


async def _answer(request: Request, name: str, shown: Iterable[Product] | Product) -> Response:
    redis: Redis = request.app.state.redis
    key = f"till:{PARTITION}:products:{request.app.state.catalog.digest}:{name}"
    data: bytes | None = None
    try:
        async with asyncio.timeout(CACHE_PATIENCE.total_seconds()):
            cached = await redis.get(key)
            if isinstance(cached, bytes):
                return Response(b'{"data":' + cached + b',"source":"redis"}', media_type="application/json")
            data = public_json(shown)
            if not await request.app.state.room.is_short():
                await redis.set(key, data, ex=CACHE_LIFE)
    except (RedisError, OSError, TimeoutError) as fault:
        log.info("product_cache_away", extra={"fault": f"{type(fault).__name__}: {fault}"})
    return Response(b'{"data":' + (data or public_json(shown)) + b"}", media_type="application/json")
