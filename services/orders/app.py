"""The orders service: what was bought, its status changes and the operators' view. Reads Postgres, never writes it."""

from fastapi import FastAPI

from services.orders import (
    admin_routes,
    event_routes,
    inspection_routes,
    operations_routes,
    overview_routes,
    replay_routes,
    routes,
)
from services.orders.follow_stream import Follower
from shared.http import build_app
from shared.serving import serve
from shared.settings import Settings

ROUTERS = (
    routes.router,
    event_routes.router,
    admin_routes.router,
    inspection_routes.router,
    operations_routes.router,
    overview_routes.router,
    replay_routes.router,
)


def build(settings: Settings) -> FastAPI:
    """The app over `settings`."""
    return build_app("orders", settings, ROUTERS, uses_postgres=True, prepare=prepare)


def prepare(app: FastAPI) -> None:
    """Puts the follower of the stream where the routes look for it."""
    app.state.follower = Follower(app.state.redis, app.state.settings.max_streams)


def create_app() -> FastAPI:
    """The app of this process' environment (for `uvicorn --factory`)."""
    return serve(build)
