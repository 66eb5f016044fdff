"""Stripe's webhook: only what Stripe signed counts, all of it counts, and money that fits no order is a dead letter."""

import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from redis.asyncio import Redis

from services.checkout.app import build
from shared.settings import Settings
from shared.streams import STREAM
from tests.payments import PaidShop, Recorder, open_paid_shop
from tests.stripe_fake import FakeStripe, event_body, signed

HEADPHONES = {"1": 1}


async def test_without_secrets_both_doors_are_closed(settings: Settings) -> None:
    app = build(settings)
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")
    async with app.router.lifespan_context(app), client as http:
        webhook = await http.post("/api/webhooks/stripe", content=b"{}")
        session = await PaidShop(settings, http, None).open("ada", HEADPHONES)  # type: ignore[arg-type]
    assert (webhook.status_code, webhook.json()) == (503, {"error": "Stripe webhook is not configured"})
    assert (session.status_code, session.json()) == (503, {"error": "Payments are not configured"})


def _old(body: bytes) -> dict[str, str]:
    return signed(body, at=time.time() - 301)


FORGERIES: dict[str, Callable[[bytes], dict[str, str]]] = {
    "another's secret": lambda body: signed(body, "whsec_mallory"),
    "another body": lambda body: signed(body + b" "),
    "too old": _old,
    "no timestamp": lambda body: {"Stripe-Signature": signed(body)["Stripe-Signature"].partition(",")[2]},
    "no scheme that counts": lambda body: {
        "Stripe-Signature": signed(body)["Stripe-Signature"].replace("v1", "v0"),
    },
    "no header's form": lambda _: {"Stripe-Signature": "=,,t=x,v1"},
    "no text": lambda body: {"Stripe-Signature": signed(body)["Stripe-Signature"] + "é"},
    "a number without end": lambda _: {"Stripe-Signature": f"t={'9' * 5000},v1=00"},
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_what_stripe_did_not_sign_just_now_is_refused_and_leaves_nothing(
    shop: PaidShop, redis: Redis, stripe: FakeStripe, forgery: str
) -> None:
    session_id, _ = await shop.session("ada", HEADPHONES)
    body = stripe.paid(session_id)
    headers = {name: value.encode() for name, value in FORGERIES[forgery](body).items()}
    answer = await shop.http.post("/api/webhooks/stripe", content=body, headers=headers)
    assert (answer.status_code, answer.json()) == (400, {"error": "Invalid webhook signature"})
    assert await redis.xlen(STREAM) == 1


async def test_without_a_signature_it_says_so(shop: PaidShop) -> None:
    for headers in ({"X-Nothing": "1"}, {"Stripe-Signature": ""}):
        answer = await shop.deliver(b"{}", **headers)
        assert (answer.status_code, answer.json()) == (400, {"error": "Missing stripe-signature header"})


async def test_what_is_no_money_of_ours_is_received_and_nothing_more(shop: PaidShop, redis: Redis) -> None:
    session_id, _ = await shop.session("ada", HEADPHONES)
    session = shop.stripe.sessions[session_id]
    for kind in ("payment_intent.created", "checkout.session.expired", "checkout.session.async_payment_failed"):
        assert (await shop.deliver(event_body(kind, session))).json() == {"received": True}
    unpaid = event_body("checkout.session.completed", {**session, "payment_status": "unpaid"})
    assert (await shop.deliver(unpaid)).status_code == 200
    assert await redis.xlen(STREAM) == 1


async def test_money_that_comes_later_is_booked_when_it_comes(shop: PaidShop, recorder: Recorder) -> None:
    session_id, order_id = await shop.session("ada", HEADPHONES)
    session = {**shop.stripe.sessions[session_id], "status": "complete"}
    await shop.deliver(event_body("checkout.session.completed", {**session, "payment_status": "unpaid"}))
    late = event_body("checkout.session.async_payment_succeeded", {**session, "payment_status": "paid"})
    assert (await shop.deliver(late)).status_code == 200
    await recorder.record()
    assert await recorder.rows() == [(order_id, "ada", "paid", session_id)]


def _with_metadata(session: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {"metadata": {**session["metadata"], **changed}}


UNUSABLE: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "a cent less": (lambda session: {"amount_total": session["amount_total"] - 1}, "amount_differs"),
    "a cent more": (lambda session: {"amount_total": session["amount_total"] + 1}, "amount_differs"),
    "no amount": (lambda _: {"amount_total": None}, "amount_differs"),
    "another currency": (lambda _: {"currency": "eur"}, "amount_differs"),
    "no metadata": (lambda _: {"metadata": None}, "foreign_payment"),
    "another shop's metadata": (lambda _: {"metadata": {"order": "7"}}, "foreign_payment"),
    "an event id that is none": (lambda session: _with_metadata(session, event_id="7"), "foreign_payment"),
    "a user that no event can carry": (lambda session: _with_metadata(session, user_id="a\x00"), "foreign_payment"),
    "no user": (lambda session: _with_metadata(session, user_id=""), "foreign_payment"),
    "items that are cut off": (lambda session: _with_metadata(session, items_1='[["1",1'), "foreign_payment"),
    "names that are none": (lambda session: _with_metadata(session, names="[]"), "foreign_payment"),
    "lines that are not the total": (
        lambda session: _with_metadata(session, items_1='[["1",1,"128.00"]]'),
        "foreign_payment",
    ),
    "a product that nobody knows": (
        lambda session: _with_metadata(session, items_1='[["4",1,"129.00"]]', event_id=str(uuid4())),
        "unknown_product",
    ),
    "another user than the order's": (lambda session: _with_metadata(session, user_id="bob"), "not_owner"),
    "other items than the order's": (
        lambda session: _with_metadata(session, items_1='[["2",1,"129.00"]]'),
        "content_conflict",
    ),
}


@pytest.mark.parametrize("case", UNUSABLE)
async def test_money_that_fits_no_order_is_received_and_becomes_one_dead_letter_with_its_reason(
    shop: PaidShop, recorder: Recorder, case: str
) -> None:
    session_id, order_id = await shop.session("ada", HEADPHONES)
    await shop.order("ada", HEADPHONES)
    change, reason = UNUSABLE[case]
    for _ in range(2):
        answer = await shop.pay(session_id, **change(shop.stripe.sessions[session_id]))
        assert (answer.status_code, answer.json()) == (200, {"received": True})
    assert (await shop.order("ada", HEADPHONES)).json()["data"]["status"] == "processing"
    await recorder.record()
    assert await recorder.letters() == [reason]
    assert await recorder.rows() == [(order_id, "ada", "processing", session_id)]


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"{", b'{"type":7}', b'{"type":"checkout.session.completed","data":{"object":{}}}']
)
async def test_a_signed_body_that_cannot_be_used_is_a_dead_letter_too(
    shop: PaidShop, recorder: Recorder, body: bytes
) -> None:
    assert (await shop.deliver(body)).json() == {"received": True}
    await recorder.record()
    assert await recorder.letters() == ["foreign_payment"]


async def test_the_dead_letter_keeps_the_whole_body(shop: PaidShop, redis: Redis) -> None:
    session_id, _ = await shop.session("ada", HEADPHONES)
    body = shop.stripe.paid(session_id, amount_total=1, customer_details={"email": "ada@example.org"})
    await shop.deliver(body)
    [*_, (_, fields)] = await redis.xrange(STREAM)
    assert json.loads(fields[b"payload"])["content"] == body.decode()


async def test_paid_after_cancel_is_a_dead_letter_with_an_alarm_and_the_order_stays_cancelled(
    shop: PaidShop, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    session_id, order_id = await shop.session("ada", HEADPHONES)
    await shop.order("ada", HEADPHONES)
    assert (await shop.call("ada", "POST", f"/api/orders/{order_id}/cancel")).status_code == 200
    for _ in range(2):
        assert (await shop.pay(session_id)).status_code == 200
    for _ in ("accepted", "recorded"):
        assert (await shop.find("ada", session_id)).json()["data"]["status"] == "cancelled"
        await recorder.record()
    assert await recorder.rows() == [(order_id, "ada", "cancelled", session_id)]
    assert await recorder.letters() == ["paid_after_cancel"]
    assert [line.reason for line in caplog.records if line.msg == "dead_letter"] == ["paid_after_cancel"]  # type: ignore[attr-defined]


async def test_an_order_that_two_sessions_paid_has_an_alarm_for_the_second(shop: PaidShop, recorder: Recorder) -> None:
    session_id, order_id = await shop.session("ada", HEADPHONES)
    await shop.pay(session_id)
    await shop.deliver(shop.stripe.paid(session_id, id="cs_test_of_an_hour_later"))
    await recorder.record()
    assert await recorder.letters() == ["paid_twice"]
    assert await recorder.rows() == [(order_id, "ada", "paid", session_id)]


async def test_a_payment_that_is_recorded_before_its_order_is_kept_and_applied_with_it(
    shop: PaidShop, recorder: Recorder, redis: Redis
) -> None:
    session_id, order_id = await shop.session("ada", HEADPHONES)
    await shop.pay(session_id)
    [opened, order, payment] = await redis.xrange(STREAM)
    for entry in (opened, order):
        await redis.xdel(STREAM, entry[0])
    assert await recorder.record() == 1
    assert await recorder.rows() == []
    await redis.xadd(STREAM, order[1])
    await recorder.record()
    assert await recorder.rows() == [(order_id, "ada", "paid", session_id)]
    assert payment[1][b"event_id"] != order[1][b"event_id"]


async def test_where_only_money_counts_a_patch_answers_with_the_order_as_it_is(
    settings: Settings, stripe: FakeStripe
) -> None:
    async with open_paid_shop(settings.model_copy(update={"demo_payment": False}), stripe) as shop:
        session_id, order_id = await shop.session("ada", HEADPHONES)
        await shop.order("ada", HEADPHONES)
        patched = await shop.call("ada", "PATCH", "/api/orders", {"id": order_id})
        assert (patched.status_code, patched.json()["data"]["status"]) == (200, "processing")
        await shop.pay(session_id)
        patched = await shop.call("ada", "PATCH", "/api/orders", {"id": order_id})
        assert (patched.status_code, patched.json()["data"]["status"]) == (200, "paid")


async def test_while_redis_is_full_stripe_is_told_to_come_again(shop: PaidShop, redis: Redis) -> None:
    session_id, order_id = await shop.session("ada", HEADPHONES)
    await redis.config_set("maxmemory", 1)
    try:
        answer = await shop.pay(session_id)
    finally:
        await redis.config_set("maxmemory", 0)
    assert (answer.status_code, answer.json()) == (500, {"error": "Webhook handler failed"})
    assert await redis.xlen(STREAM) == 1
    assert (await shop.pay(session_id)).status_code == 200
    assert (await shop.find("ada", session_id)).json()["data"]["id"] == order_id


@pytest.mark.parametrize("outage", [500, 429, 400, 5.0], ids=["5xx", "too many", "refused", "silent"])
async def test_while_stripe_is_away_opening_is_a_503_in_time_and_the_next_try_gets_the_same_order(
    shop: PaidShop, stripe: FakeStripe, outage: float
) -> None:
    stripe.outage = outage
    began = time.monotonic()
    answer = await shop.open("ada", HEADPHONES)
    assert time.monotonic() - began < 8
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    stripe.outage = None
    order_id = (await shop.order("ada", HEADPHONES)).json()["data"]["id"]
    assert (await shop.session("ada", HEADPHONES))[1] == order_id
