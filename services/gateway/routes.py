"""The public route table, derived from the services' own routers: a public route is spelled once, by its service.

The composed app serves it; a test holds deploy/nginx.conf against it, row by row.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fastapi import APIRouter
from fastapi.routing import APIRoute

from services.cart import product_routes
from services.cart import routes as cart_routes
from services.checkout import payment_routes
from services.checkout import routes as checkout_routes
from services.orders.app import ROUTERS as ORDERS_ROUTERS
from services.storefront.app import ROUTERS as STOREFRONT_ROUTERS

ROUTERS: Mapping[str, tuple[APIRouter, ...]] = {
    "cart": (cart_routes.router, product_routes.router),
    "checkout": (checkout_routes.router, payment_routes.router),
    "orders": ORDERS_ROUTERS,
    "storefront": STOREFRONT_ROUTERS,
}
"""Service -> the routers that it offers to the public. /health, /ready and /metrics are not among them."""


@dataclass(frozen=True, order=True)
class PublicRoute:
    """One row: `path` has FastAPI's placeholders, `service` is the process that answers."""

    path: str
    method: str
    service: str


def public_routes() -> list[PublicRoute]:
    """Every public route, sorted by path and method."""
    return sorted(
        PublicRoute(route.path, method, service) for service, route in _routes() for method in route.methods or ()
    )


def allowed_methods(path: str) -> list[str]:
    """The methods of a request's `path` over all services, sorted; none when nothing is there."""
    return sorted(method for _, route in _routes() if route.path_regex.match(path) for method in route.methods or ())


def _routes() -> Iterator[tuple[str, APIRoute]]:
    for service, routers in ROUTERS.items():
        for router in routers:
            yield from ((service, route) for route in router.routes if isinstance(route, APIRoute))
