"""The storefront: pages and the GraphQL facade. A client of the REST API; it has no data of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from services.storefront import graphql_routes
from services.storefront.api import Api
from shared.http import build_app
from shared.settings import Settings, load_settings

ROUTERS = (graphql_routes.router,)


def build(settings: Settings) -> FastAPI:
    """The app over `settings`, asking the API at `settings.api_url`."""
    api = Api.over(settings)
    app = build_app("storefront", settings, ROUTERS, prepare=lambda app: prepare(app, api))
    serve = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with serve(app):
            yield
            await api.close()

    app.router.lifespan_context = lifespan
    return app


def prepare(app: FastAPI, api: Api) -> None:
    """Puts what the routes need where they look for it."""
    app.state.api = api


def create_app() -> FastAPI:
    """The app of this process' environment (for `uvicorn --factory`)."""
    return build(load_settings())
