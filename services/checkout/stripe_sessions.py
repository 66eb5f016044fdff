"""Payment sessions at Stripe, through its own library. Opens them; knows no order and keeps nothing."""

import asyncio
import hashlib
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import stripe
from pydantic_core import to_json

from services.checkout.payment_metadata import write_metadata
from shared.errors import Unavailable
from shared.events import CheckoutCompleted
from shared.settings import Settings

LIFE = timedelta(minutes=60)
SHORTEST_LIFE = timedelta(minutes=31)  # Stripe takes no session that ends in less than 30 minutes
ANSWER_WITHIN = timedelta(seconds=4)  # with the trips to Redis before and after it, within the client's 8 s
_RETRIES = 2  # of the library: broken connections, 409 and 5xx, under one idempotency key
_AWAY = "Payments are unavailable right now, please retry"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StripeSession:
    """A session at Stripe and the page where it is paid."""

    id: str
    url: str


class StripeSessions:
    """A client of Stripe's API. Connects at the first call."""

    def __init__(self, settings: Settings) -> None:
        assert settings.stripe_secret_key is not None
        logging.getLogger("stripe").setLevel(logging.WARNING)  # its INFO quotes what a shopper sent
        self._settings = settings
        self._http = stripe.HTTPXClient(timeout=ANSWER_WITHIN.total_seconds())
        self._client = stripe.StripeClient(
            settings.stripe_secret_key.get_secret_value(),
            http_client=self._http,
            base_addresses={"api": settings.stripe_api_url},
            max_network_retries=_RETRIES,
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.close_async()  # type: ignore[no-untyped-call]

    async def create(self, order_id: UUID, checkout: CheckoutCompleted, until: int) -> StripeSession:
        """The session that pays `checkout` and ends at `until` (s since 1970); equal calls get the same one.

        Raises Unavailable for whatever Stripe refuses or does not answer in time.
        """
        params = self._params(order_id, checkout, until)
        # What was asked is part of the key: a title that changed since must not be an idempotency error for an hour.
        key = f"{order_id}-{hashlib.sha256(to_json(params)).hexdigest()[:32]}"
        try:
            async with asyncio.timeout(ANSWER_WITHIN.total_seconds()):
                made = await self._client.v1.checkout.sessions.create_async(params, {"idempotency_key": key})
        except (stripe.StripeError, TimeoutError) as fault:
            status, code = getattr(fault, "http_status", None), getattr(fault, "code", None)
            log.warning("stripe_unavailable", extra={"fault": type(fault).__name__, "status": status, "code": code})
            raise Unavailable(_AWAY) from fault
        if not made.url:
            log.warning("stripe_unavailable", extra={"fault": "a session without a page", "status": made.status})
            raise Unavailable(_AWAY)
        return StripeSession(made.id, made.url)

    def _params(self, order_id: UUID, checkout: CheckoutCompleted, until: int) -> Any:
        settings = self._settings
        return {
            "mode": "payment",
            "client_reference_id": str(order_id),
            "line_items": [
                {
                    "quantity": line.quantity,
                    "price_data": {
                        "currency": settings.stripe_currency,
                        "unit_amount": int((line.unit_price or 0) * 100),
                        "product_data": {"name": line.title},
                    },
                }
                for line in checkout.lines
            ],
            "metadata": write_metadata(order_id, checkout),
            "expires_at": until,
            "success_url": settings.stripe_success_url,
            "cancel_url": settings.stripe_cancel_url,
        }
