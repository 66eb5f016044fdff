"""POST /api/orders: shape, names, decision, answer. The shape is checked before anything is looked up."""

from fastapi import APIRouter, Request, Response

from services.checkout.accept_order import accept_order
from services.checkout.decide import AWAY
from services.checkout.read_submission import TAKES, read_submission
from services.checkout.submission import Accepted, KeyReused, Replayed
from shared.errors import ApiError
from shared.http import data_response
from shared.observability import ACCEPTED, DUPLICATES
from shared.openapi import refusals
from shared.redis import redis_or_unavailable

router = APIRouter(tags=["orders"])


@router.post(
    "/api/orders",
    status_code=201,
    responses={
        200: {"description": "The order of this checkout, which was known"},
        **refusals(
            {
                400: "Invalid key, payload or total",
                401: "Unauthorized",
                409: "Insufficient stock",
                422: "The key was used before with another payload",
            }
        ),
    },
    openapi_extra=TAKES,
)
async def place_order(request: Request) -> Response:
    """Accepts an order: 201 once, 200 with the same order for every duplicate."""
    state = request.app.state
    user = await state.verifier.authenticate(request)
    submission, lines = await read_submission(request, user.id)
    async with redis_or_unavailable(AWAY):
        outcome = await accept_order(state.redis, state.settings, submission, lines)
    match outcome:
        case Accepted(order):
            ACCEPTED.inc()
            return data_response(order, 201, {"Event-Id": order["id"]})
        case Replayed(order, known_by):
            DUPLICATES.labels(known_by).inc()
            return data_response(order, 200, {"Event-Id": order["id"], "Idempotent-Replayed": "true"})
        case KeyReused():
            raise ApiError(422, "Idempotency-Key was used before with another payload")
