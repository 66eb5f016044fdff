"""What a form may do: only ours, only from our page, only for whom it was shown; and what an outage makes of it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.storefront.forms import LIFETIME, Forms
from shared.auth import User
from shared.issuer import issue_development_token
from shared.settings import Mode, Settings
from tests.acceptance.form_browser import Browser, a_shopper, opened, read_hidden
from tests.servers import Servers


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[Any]:
    async with opened(settings) as gateway:
        yield gateway


@pytest.fixture
async def anna(app: Any, settings: Settings) -> Browser:
    return await a_shopper(app, settings)


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"Origin": "https://evil.example"}, "another site's page"),
        ({"Origin": "null"}, "a page that hides where it is from"),
        ({"Sec-Fetch-Site": "cross-site"}, "another site's page, without an origin"),
        ({}, "nobody says from where"),
    ],
)
async def test_a_form_of_another_site_does_nothing(anna: Browser, headers: Any, why: str) -> None:
    fields = await anna.fields("/checkout/pay", "/checkout/pay")
    answer = await anna.post("/checkout/pay", fields, headers)
    assert (answer.status_code, await anna.orders()) == (403, []), why


async def test_a_form_without_its_token_does_nothing(anna: Browser, settings: Settings) -> None:
    fields = await anna.fields("/checkout/pay", "/checkout/pay")
    forms = Forms(settings)
    ends_at, _, signature = fields["form_token"].partition(".")
    for token in (
        "",
        "x",
        f"{int(ends_at) + 1}.{signature}",
        f"{ends_at}.{'0' * 64}",
        f"\u0661{ends_at}.{signature}",
        forms.mint(None),
        forms.mint(User("bob", is_admin=False)),
        forms.mint(User("visitor", is_admin=False)),
    ):
        answer = await anna.post("/checkout/pay", fields | {"form_token": token})
        assert (answer.status_code, await anna.orders()) == (403, []), token
    assert (await anna.post("/checkout/pay", fields)).status_code == 303
    [order] = await anna.orders()
    for path in (f"/my-purchases/{order['id']}/cancel", "/sign-out", "/cart/items", "/sign-in"):
        assert (await anna.post(path, {"product": "1", "name": "anna"})).status_code == 403, path


async def test_a_token_ends(anna: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = await anna.fields("/checkout/pay", "/checkout/pay")
    later = int(fields["form_token"].partition(".")[0])
    monkeypatch.setattr("services.storefront.forms.time.time", lambda: later + 1.0)
    assert (await anna.post("/checkout/pay", fields)).status_code == 403
    assert LIFETIME.total_seconds() > 3600


async def test_a_forms_content_is_judged_by_the_api_and_never_a_fault(anna: Browser) -> None:
    fields = await anna.fields("/checkout/pay", "/checkout/pay")
    for name, value in [
        ("items", "x"),
        ("items", "7"),
        ("items", '{"id":"2"}'),
        ("items", '[{"id":["2"],"quantity":1}]'),
        ("items", '[{"id":"2","quantity":"1"}]'),
        ("items", '[{"id":"2","quantity":-1}]'),
        ("items", "[]"),
        ("total", "148"),
        ("total", '"149"'),
        ("total", "x"),
        ("idempotency_key", ""),
        ("idempotency_key", "a\r\nb"),
        ("idempotency_key", "\u043a\u043b\u044e\u0447\u043a\u043b\u044e\u0447"),
    ]:
        answer = await anna.post("/checkout/pay", fields | {name: value})
        assert (answer.status_code, await anna.orders()) == (400, []), (name, value)
    for quantity in ("", "-1", "100", "1.5", "\u0661"):
        fields = await anna.fields("/products/1", "/cart/items")
        answer = await anna.post("/cart/items", fields | {"quantity": quantity})
        assert answer.status_code == 400, quantity


async def test_while_redis_is_away_the_form_can_be_sent_again_and_is_one_order(anna: Browser, servers: Servers) -> None:
    fields = await anna.fields("/checkout/pay", "/checkout/pay") | {"payment": "demo"}
    servers.redis.stop()
    try:
        away = await anna.post("/checkout/pay", fields)
        assert (await anna.http.get("/")).status_code == 200  # the window stays open
    finally:
        servers.redis.start()
    assert (away.status_code, away.headers["Retry-After"]) == (503, "1")
    assert "Trying again is safe" in away.text
    again = read_hidden(away.text[away.text.index('action="/checkout/pay"') :])
    assert again | {"form_token": ""} == fields | {"form_token": ""}
    places = {(await anna.post("/checkout/pay", sent)).headers["Location"] for sent in (again, fields, again)}
    [order] = await anna.orders()
    assert (places, order["status"]) == ({f"/checkout/success?order={order['id']}"}, "paid")


async def test_the_sign_in_leads_to_no_other_site(app: Any, settings: Settings) -> None:
    for target in ("https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/\t/evil", ""):
        fields = await Browser(app).fields("/sign-in", "/sign-in") | {"name": "anna", "next": target}
        answer = await Browser(app).post("/sign-in", fields)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/"), target
        cookie = answer.headers["Set-Cookie"]
        assert cookie.startswith("__session=")
        assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))


async def test_production_signs_in_nobody_by_itself_and_shows_no_exhibit(settings: Settings) -> None:
    issue_development_token(settings, "anna")
    keys = str(settings.data_dir / "issuer" / "jwks.json")
    elsewhere = settings.model_copy(update={"data_dir": settings.data_dir / "shop"})
    production = elsewhere.model_copy(update={"mode": Mode.PRODUCTION, "jwks": keys})
    async with opened(production) as app:
        anna = Browser(app)
        await anna.sign_in(settings, "anna")
        assert (await anna.http.get("/sign-in")).status_code == 503
        token = Forms(production).mint(None)
        refused = await anna.post("/sign-in", {"name": "anna", "form_token": token})
        assert (refused.status_code, "Set-Cookie" in refused.headers) == (403, False)
        exhibit = await anna.http.get("/checkout/success?unguarded=1")
        assert (exhibit.status_code, "exhibit" in exhibit.text) == (404, False)


async def test_an_issuers_own_pages_are_used_when_they_are_named(settings: Settings) -> None:
    named = settings.model_copy(update={"sign_in_url": "https://accounts.shop.example/sign-in"})
    async with opened(named) as app:
        answer = await Browser(app).http.get("/sign-in?next=/checkout")
    assert answer.headers["Location"] == (
        "https://accounts.shop.example/sign-in?redirect_url=http%3A%2F%2Flocalhost%2Fcheckout"
    )
