"""The storefront: pages and the GraphQL facade. A client of the REST API; it has no data of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from services.storefront import (
    account_routes,
    browse_routes,
    cart_routes,
    checkout_routes,
    console_letter_routes,
    console_look_routes,
    console_reconcile_routes,
    console_replay_routes,
    document_routes,
    graphql_routes,
)
from services.storefront.api import Api
from services.storefront.pages import Pages
from shared.http import build_app
from shared.serving import serve
from shared.settings import Settings

ROUTERS = (
    graphql_routes.router,
    document_routes.router,
    browse_routes.router,
    cart_routes.router,
    checkout_routes.router,
    account_routes.router,
    console_look_routes.router,
    console_letter_routes.router,
    console_replay_routes.router,
    console_reconcile_routes.router,
)


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
    app.state.pages = Pages(app.state.settings)


def create_app() -> FastAPI:
    """The app of this process' environment (for `uvicorn --factory`)."""
    return serve(build)
