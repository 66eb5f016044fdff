"""The composed shop with Stripe's fake behind it: shoppers, Stripe's webhooks, and the consumer's step by hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import sqlalchemy as sa
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.gateway import app as gateway
from services.orders.claims import ensure_group
from services.orders.entries import entries_of, keep_raw
from services.orders.intake import Intake
from services.orders.tables import dead_letters, orders
from shared.issuer import issue_development_token
from shared.redis import connect_redis
from shared.settings import Settings
from shared.streams import GROUP, STREAM
from tests.shop import PRICES
from tests.stripe_fake import FakeStripe, signed

WEBHOOK = "/api/webhooks/stripe"
SESSIONS = "/api/checkout/sessions"


class PaidShop:
    """Speaks HTTP to the composed app."""

    def __init__(self, settings: Settings, http: httpx.AsyncClient, stripe: FakeStripe) -> None:
        self.settings = settings
        self.http = http
        self.stripe = stripe
        self._tokens: dict[str, str] = {}

    async def call(self, user: str, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """One request of `user`; headers by name with underscores."""
        token = self._tokens.get(user) or issue_development_token(self.settings, user)
        self._tokens[user] = token
        sent = {"Authorization": f"Bearer {token}"} | {name.replace("_", "-"): text for name, text in headers.items()}
        return await self.http.request(method, path, json=body, headers=sent)

    async def order(self, user: str, items: dict[str, int], **headers: str) -> httpx.Response:
        """POST /api/orders."""
        return await self.call(user, "POST", "/api/orders", purchase(items), **headers)

    async def open(self, user: str, items: dict[str, int], **headers: str) -> httpx.Response:
        """POST /api/checkout/sessions."""
        return await self.call(user, "POST", SESSIONS, purchase(items), **headers)

    async def session(self, user: str, items: dict[str, int], **headers: str) -> tuple[str, str]:
        """The ids of the session that was opened, and of its order."""
        answer = await self.open(user, items, **headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]["id"], answer.json()["data"]["orderId"]

    async def find(self, user: str, session_id: str) -> httpx.Response:
        """GET /api/orders?session_id=."""
        return await self.call(user, "GET", f"/api/orders?session_id={session_id}")

    async def deliver(self, body: bytes, **headers: str) -> httpx.Response:
        """A webhook, signed unless `headers` say otherwise."""
        sent = {name.replace("_", "-"): text for name, text in headers.items()} or signed(body)
        return await self.http.post(WEBHOOK, content=body, headers=sent)

    async def pay(self, session_id: str, **changed: Any) -> httpx.Response:
        """Stripe reports that the session was paid."""
        return await self.deliver(self.stripe.paid(session_id, **changed))


def purchase(items: dict[str, int]) -> dict[str, Any]:
    """The body of a submission, at the catalogue's prices."""
    return {
        "items": [{"id": product, "quantity": quantity} for product, quantity in items.items()],
        "total": sum(PRICES[product] * quantity for product, quantity in items.items()),
    }


@asynccontextmanager
async def open_paid_shop(settings: Settings, stripe: FakeStripe) -> AsyncIterator[PaidShop]:
    """A running composed app that is paid at `stripe`."""
    paid = stripe.settings(settings)
    app = gateway.build(paid)
    inner: Any = app.app  # type: ignore[attr-defined]  # within CORS
    transport = httpx.ASGITransport(app)
    client = httpx.AsyncClient(transport=transport, base_url="http://localhost")
    async with inner.router.lifespan_context(inner), client as http:
        yield PaidShop(paid, http, stripe)


class Recorder:
    """The consumer's own reading and recording, a step at a time."""

    def __init__(self, engine: AsyncEngine, redis: "Redis", settings: Settings) -> None:
        self.engine = engine
        self._redis = redis
        self._intake = Intake(engine, redis, settings)

    async def record(self, how_many: int = 500) -> int:
        """Takes what nobody has read yet to its end; answers how many entries that were."""
        answer = await self._redis.xreadgroup(GROUP, "consumer-1", {STREAM: ">"}, count=how_many)
        entries = entries_of(answer[0][1]) if answer else []
        await self._intake.take(entries)
        return len(entries)

    async def rows(self, user: str | None = None) -> list[tuple[str, str, str, str | None]]:
        """Every recorded order, or the user's: id, user, status, payment session."""
        columns = (orders.c.id, orders.c.user_id, orders.c.status, orders.c.payment_session_id)
        wanted = sa.select(*columns).order_by(orders.c.created_at)
        async with self.engine.connect() as connection:
            rows = await connection.execute(wanted if user is None else wanted.where(orders.c.user_id == user))
        return [(str(row[0]), row[1], row[2], row[3]) for row in rows]

    async def letters(self) -> list[str]:
        """The reasons of all dead letters, in their order."""
        statement = sa.select(dead_letters.c.reason).order_by(dead_letters.c.id)
        async with self.engine.connect() as connection:
            return list((await connection.execute(statement)).scalars())


@asynccontextmanager
async def open_recorder(engine: AsyncEngine, settings: Settings) -> AsyncIterator[Recorder]:
    """A consumer that reads when it is told to."""
    redis = connect_redis(settings, "consumer")
    keep_raw(redis)
    await ensure_group(redis)
    try:
        yield Recorder(engine, redis, settings)
    finally:
        await redis.aclose()
