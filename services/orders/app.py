"""The orders service: what was bought, its status changes and the operators' view. Reads Postgres, never writes it."""

from fastapi import FastAPI

from services.orders import admin_routes, inspection_routes, routes
from shared.http import build_app
from shared.settings import Settings, load_settings


def build(settings: Settings) -> FastAPI:
    """The app over `settings`."""
    routers = [routes.router, admin_routes.router, inspection_routes.router]
    return build_app("orders", settings, routers, uses_postgres=True)


def create_app() -> FastAPI:
    """The app of this process' environment (for `uvicorn --factory`)."""
    return build(load_settings())
