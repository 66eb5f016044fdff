"""The short way of a request to its route: one look-up. FastAPI's own way costs more than the order that it carries."""

from collections.abc import Callable, Sequence
from inspect import signature

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.errors import ApiError


class DirectRoutes:
    """Calls a route that has no path parameters and takes the request alone; leaves all others to FastAPI.

    Also those of a class of their own, which has its own way with errors. FastAPI keeps every route's document.
    `refuse` makes the answer of an ApiError, `fail` that of a fault of our own.
    """

    def __init__(
        self,
        app: ASGIApp,
        routers: Sequence[APIRouter],
        refuse: Callable[[ApiError], Response],
        fail: Callable[[Request, Exception], Response],
    ) -> None:
        self.app = app
        self._refuse = refuse
        self._fail = fail
        routes = [route for router in routers for route in router.routes if type(route) is APIRoute]
        self._routes = {
            (method, route.path): route
            for route in reversed(routes)  # of two for one request the first counts, as everywhere
            if not route.param_convertors and [*signature(route.endpoint).parameters] == ["request"]
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  # ASGI's own signature
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self.app(scope, receive, send)
            return
        scope["route"] = route
        request = Request(scope, receive)
        try:
            response = await route.endpoint(request)
        except ApiError as fault:
            response = self._refuse(fault)
        except HTTPException as fault:
            response = self._refuse(ApiError(fault.status_code, str(fault.detail), fault.headers))
        except Exception as fault:  # noqa: BLE001  the edge of a request, as FastAPI's is of the others
            response = self._fail(request, fault)
        await response(scope, receive, send)
