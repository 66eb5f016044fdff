"""The doors of payment: opening a session, and Stripe's webhook. Parses, calls, renders; decides nothing."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.datastructures import State

from services.checkout.open_session import Moved, Opened, open_session
from services.checkout.read_submission import TAKES, read_submission
from services.checkout.settle_payment import Settled, print_unusable, settle_payment
from services.checkout.stripe_sessions import StripeSessions
from services.checkout.stripe_webhook import SIGNATURE, Unusable, is_signed, read_payment
from services.checkout.submission import KeyReused
from shared.errors import ApiError, Unavailable
from shared.events import iso_date
from shared.http import data_response, json_response
from shared.observability import PAYMENTS
from shared.openapi import refusals
from shared.redis import redis_or_unavailable

ANSWER_WITHIN = timedelta(seconds=6)  # nginx waits 7 s, the first storefront 8 s
AWAY = "Payments are unavailable right now, please retry"

log = logging.getLogger(__name__)


@asynccontextmanager
async def _close_stripe(app: FastAPI) -> AsyncIterator[None]:
    yield
    if (sessions := getattr(app.state, "stripe_sessions", None)) is not None:
        await sessions.close()


router = APIRouter(tags=["payments"], lifespan=_close_stripe)


@router.post(
    "/api/checkout/sessions",
    responses=refusals(
        {
            400: "Invalid key, payload or total",
            401: "Unauthorized",
            409: "Insufficient stock; or the order is paid or cancelled already",
            422: "The key was used before with another payload",
        }
    ),
    openapi_extra=TAKES,
)
async def open_payment_session(request: Request) -> Response:
    """Opens the payment session of a checkout, or finds the one that is open: `data.url` is where it is paid."""
    state = request.app.state
    user = await state.verifier.authenticate(request)
    if state.settings.stripe_secret_key is None:
        raise Unavailable("Payments are not configured")
    submission, lines = await read_submission(request, user.id)
    try:
        async with asyncio.timeout(ANSWER_WITHIN.total_seconds()):
            outcome = await open_session(state.redis, state.settings, _sessions(request.app), submission, lines)
    except TimeoutError as fault:
        raise Unavailable(AWAY) from fault
    match outcome:
        case Opened(order_id, session_id, url, until):
            shown = {"id": session_id, "url": url, "orderId": str(order_id), "expiresAt": iso_date(until)}
            return data_response(shown, headers={"Event-Id": str(order_id)})
        case Moved(order_id, status):
            raise ApiError(409, f"The order is {status} already", {"Event-Id": str(order_id)}, orderId=str(order_id))
        case KeyReused():
            raise ApiError(422, "Idempotency-Key was used before with another payload")


@router.post(
    "/api/webhooks/stripe",
    responses=refusals(
        {400: "Missing stripe-signature header, or Invalid webhook signature", 500: "Webhook handler failed"}
    ),
)
async def take_webhook(request: Request) -> Response:
    """Books what Stripe reports. Everything signed is 200: Stripe repeats what is not."""
    state = request.app.state
    secret = state.settings.stripe_webhook_secret
    if secret is None:
        raise Unavailable("Stripe webhook is not configured")
    header = request.headers.get(SIGNATURE)
    if not header:
        raise ApiError(400, "Missing stripe-signature header")
    body = await request.body()
    if not is_signed(body, header, secret.get_secret_value()):
        raise ApiError(400, "Invalid webhook signature")
    try:
        async with redis_or_unavailable(AWAY):
            await _take(state, body)
    except Unavailable as fault:
        raise ApiError(500, "Webhook handler failed", fault.headers) from fault
    return json_response({"received": True})


async def _take(state: State, body: bytes) -> None:
    settled: Settled | Unusable
    match read_payment(body, state.settings.stripe_currency):
        case None:
            PAYMENTS.labels("ignored").inc()
            return
        case Unusable() as unusable:
            settled = unusable
        case paid:
            settled = await settle_payment(state.redis, state.settings, state.catalog, paid)
    if isinstance(settled, Unusable):
        await print_unusable(state.redis, state.settings, settled)
        log.error("payment_unusable", extra={"reason": settled.reason, "event_id": str(settled.event_id)})
    PAYMENTS.labels("unusable" if isinstance(settled, Unusable) else settled.word).inc()


def _sessions(app: FastAPI) -> StripeSessions:
    """The app's client of Stripe, made at the first use."""
    if getattr(app.state, "stripe_sessions", None) is None:
        app.state.stripe_sessions = StripeSessions(app.state.settings)
    sessions: StripeSessions = app.state.stripe_sessions
    return sessions
