"""Paying by card: the review page leads to Stripe, and who comes back sees the order, or that it is on its way."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.settings import Settings
from tests.acceptance.form_browser import Browser, a_shopper, opened
from tests.stripe_fake import FakeStripe, signed


@pytest.fixture
async def app(settings: Settings, stripe: FakeStripe) -> AsyncIterator[Any]:
    async with opened(stripe.settings(settings)) as gateway:
        yield gateway


@pytest.fixture
async def anna(app: Any, settings: Settings) -> Browser:
    return await a_shopper(app, settings)


async def test_paying_by_card_leads_to_stripe_and_back_to_the_one_order(anna: Browser, stripe: FakeStripe) -> None:
    review = await anna.http.get("/checkout/pay")
    assert "form-action 'self' https://checkout.stripe.com" in review.headers["Content-Security-Policy"]
    fields = {**await anna.fields("/checkout/pay", "/checkout/pay"), "payment": "card"}
    twice = [await anna.post("/checkout/pay", fields) for _ in range(2)]
    [session_id] = stripe.sessions
    assert [(answer.status_code, answer.headers["Location"]) for answer in twice] == [
        (303, stripe.sessions[session_id]["url"])
    ] * 2
    assert await anna.orders() == []
    back = f"/checkout/success?session_id={session_id}"
    waiting = await anna.http.get(back)
    assert (waiting.status_code, waiting.headers["Refresh"]) == (200, "3")
    assert "Your payment is under way" in waiting.text
    body = stripe.paid(session_id)
    assert (await anna.http.post("/api/webhooks/stripe", content=body, headers=signed(body))).status_code == 200
    done = await anna.http.get(back)
    assert "Order completed" in done.text
    assert "Refresh" not in done.headers
    [order] = await anna.orders()
    assert (order["status"], order["stripeSessionId"]) == ("paid", session_id)
    assert order["id"] in done.text


async def test_another_users_session_shows_nothing_of_it(anna: Browser, app: Any, settings: Settings) -> None:
    fields = {**await anna.fields("/checkout/pay", "/checkout/pay"), "payment": "card"}
    session_id = (await anna.post("/checkout/pay", fields)).headers["Location"].rpartition("/")[2]
    await anna.post("/checkout/pay", {**fields, "payment": "later"})
    bob = Browser(app)
    await bob.sign_in(settings, "bob")
    shown = await bob.http.get(f"/checkout/success?session_id={session_id}")
    assert "Your payment is under way" in shown.text
    assert "Keyboard" not in shown.text


async def test_without_stripe_the_card_is_not_offered(settings: Settings) -> None:
    async with opened(settings) as gateway:
        anna = await a_shopper(gateway, settings)
        review = await anna.http.get("/checkout/pay")
    assert 'value="card"' not in review.text
    assert "checkout.stripe.com" not in review.headers["Content-Security-Policy"]
