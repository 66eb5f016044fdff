"""All services composed into one process: the gateway of the embedded default. Calls between them are function calls.

Its own port also answers /health, /ready and /metrics, for the supervisor on the same machine; nginx, the gateway of
a deployment, never passes those on.
"""

from fastapi import FastAPI, Request, Response
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from services.cart.app import prepare as prepare_catalog
from services.gateway.routes import ROUTERS, allowed_methods
from services.orders.app import prepare as prepare_orders
from services.storefront.api import Api
from services.storefront.app import prepare as prepare_storefront
from shared.errors import ApiError
from shared.http import build_app, error_response
from shared.serving import serve
from shared.settings import Settings

METHODS = ("GET", "POST", "PUT", "PATCH")
HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "X-Cart-Session", "traceparent")
EXPOSED = ("ETag", "Idempotent-Replayed", "Event-Id", "Retry-After")


def build(settings: Settings) -> ASGIApp:
    """The composed app. CORS is outermost, so that a browser may read errors too, faults included."""
    routers = [router for service in ROUTERS.values() for router in service]
    app = build_app("gateway", settings, routers, uses_postgres=True, prepare=_prepare)
    app.router.redirect_slashes = False
    app.add_exception_handler(405, _answer_method_not_allowed)
    return CORSMiddleware(
        app,
        allow_origins=settings.origins,
        allow_methods=METHODS,
        allow_headers=HEADERS,
        expose_headers=EXPOSED,
        allow_credentials="*" not in settings.origins,  # only for origins that an operator listed by name
    )


def create_app() -> ASGIApp:
    """The app of this process' environment (for `uvicorn --factory`)."""
    return serve(build)


def _prepare(app: FastAPI) -> None:
    prepare_catalog(app)
    prepare_orders(app)
    prepare_storefront(app, Api.within(app))


def _answer_method_not_allowed(request: Request, _fault: Exception) -> Response:
    """405 that names the methods of every service on this path; Starlette would name one service's only."""
    allowed = allowed_methods(request.url.path)
    return error_response(ApiError(405, "Method Not Allowed", {"Allow": ", ".join(allowed)}))
