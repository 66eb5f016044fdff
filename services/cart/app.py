"""The cart service: carts and the catalogue. Redis only."""

from fastapi import FastAPI

from services.cart import product_routes, routes
from services.cart.catalog import load_catalog
from shared.http import build_app
from shared.settings import Settings, load_settings


def build(settings: Settings) -> FastAPI:
    """The app over `settings`."""
    return build_app("cart", settings, [routes.router, product_routes.router], prepare=prepare)


def prepare(app: FastAPI) -> None:
    """Puts the catalogue where the routes look for it."""
    app.state.catalog = load_catalog(app.state.settings)


def create_app() -> FastAPI:
    """The app of this process' environment (for `uvicorn --factory`)."""
    return build(load_settings())
