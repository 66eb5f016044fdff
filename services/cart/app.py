"""The cart service: carts and the catalogue. Redis only."""

from fastapi import FastAPI

from services.cart import product_routes, routes
from services.cart.catalog import load_catalog
from services.cart.room import Room
from shared.http import build_app
from shared.serving import serve
from shared.settings import Settings


def build(settings: Settings) -> FastAPI:
    """The app over `settings`."""
    return build_app("cart", settings, [routes.router, product_routes.router], prepare=prepare)


def prepare(app: FastAPI) -> None:
    """Puts the catalogue and the look at Redis' memory where the routes look for them."""
    app.state.catalog = load_catalog(app.state.settings)
    app.state.room = Room(app.state.redis)


def create_app() -> FastAPI:
    """The app of this process' environment (for `uvicorn --factory`)."""
    return serve(build)
