"""The checkout service: orders are accepted here. Redis only."""

from fastapi import FastAPI

from services.cart.app import prepare
from services.checkout import payment_routes, routes
from shared.http import build_app
from shared.serving import serve
from shared.settings import Settings


def build(settings: Settings) -> FastAPI:
    """The app over `settings`."""
    return build_app("checkout", settings, [routes.router, payment_routes.router], prepare=prepare)


def create_app() -> FastAPI:
    """The app of this process' environment (for `uvicorn --factory`)."""
    return serve(build)
