"""The afternoon version: what a good engineer writes in an afternoon. FastAPI, SQLAlchemy's async ORM, one transaction
per POST, an idempotency table, tokens verified with PyJWT. It is measured beside tillroll, so it is written to be good.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import jwt
from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from tests.bench.afternoon_orders import Envelope, ItemOut, OrderIn, OrderOut, check, place_order, read_catalog
from tests.bench.afternoon_tables import Order, open_database


def create_app() -> FastAPI:
    """The app over DATABASE_URL, trusting the keys in TILLROLL_JWKS (for `uvicorn --factory`)."""
    engine, sessions = open_database(os.environ["DATABASE_URL"])
    catalog = read_catalog()
    published = json.loads(Path(os.environ["TILLROLL_JWKS"]).read_text())["keys"]
    keys = {key["kid"]: jwt.PyJWK(key) for key in published}

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await engine.dispose()

    app = FastAPI(lifespan=lifespan)

    async def user_of(authorization: Annotated[str, Header()] = "") -> str:
        token = authorization.removeprefix("Bearer ")
        try:
            key = keys[jwt.get_unverified_header(token)["kid"]]
            claims = jwt.decode(token, key, algorithms=[key.algorithm_name], options={"require": ["exp", "sub"]})
        except (jwt.PyJWTError, KeyError) as fault:
            raise HTTPException(401, "Unauthorized") from fault
        return str(claims["sub"])

    @app.exception_handler(HTTPException)
    async def answer_error(_request: Request, fault: HTTPException) -> Response:
        return JSONResponse({"error": fault.detail}, fault.status_code)

    @app.get("/ready")
    async def ready() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/api/orders", status_code=201)
    async def place(
        body: OrderIn,
        response: Response,
        user_id: Annotated[str, Depends(user_of)],
        idempotency_key: Annotated[str | None, Header(min_length=8, max_length=255)] = None,
    ) -> Envelope:
        check(catalog, body)
        order, is_new = await place_order(sessions, catalog, user_id, idempotency_key, body)
        if not is_new:
            response.status_code = 200
            response.headers["Idempotent-Replayed"] = "true"
        return Envelope(data=_shown(order))

    return app


def _shown(order: Order) -> OrderOut:
    return OrderOut(
        id=str(order.id),
        userId=order.user_id,
        total=float(order.total),
        date=order.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        status=order.status,
        items=[ItemOut(id=item.product_id, quantity=item.quantity) for item in order.items],
    )
