"""The console over HTTP: forms of its own alone, refusals that say what to do, and a page while the API is away."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.gateway.app import build as build_gateway
from services.storefront import app as storefront_app
from services.storefront.console_words import advice, seconds, trend
from services.storefront.forms import Forms
from shared.auth import Role, User
from shared.errors import ApiError
from shared.issuer import issue_development_token
from shared.settings import Settings
from tests.servers import Servers
from tests.tables import execute

OWN = {"Origin": "http://localhost"}
SOME_RUN = uuid4()
PLACES = ["", "/streams", "/orders", "/dead-letters", "/replays", "/shadow", "/reconcile", "/audit"]
FORMS = [
    "/resume", "/dead-letters/preview", "/dead-letters/settle", "/dead-letters/1/edit", "/replays",
    f"/replays/{SOME_RUN}/run", f"/replays/{SOME_RUN}/pause", "/shadow", "/reconcile",
]  # fmt: skip


@asynccontextmanager
async def browsing(app: Any, settings: Settings, role: Role = Role.OPERATOR) -> AsyncIterator[httpx.AsyncClient]:
    """The browser of an operator before `app`."""
    inner = getattr(app, "app", app)
    transport = httpx.ASGITransport(app)
    async with (
        inner.router.lifespan_context(inner),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):
        http.cookies.set("__session", issue_development_token(settings, "olga", role=role), domain="localhost.local")
        yield http


@pytest.fixture
async def http(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with browsing(build_gateway(settings), settings) as http:
        yield http


def token_in(page: str) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', page)
    assert found is not None
    return found[1]


async def test_the_preview_of_a_discard_counts_every_letter_also_those_that_it_does_not_name(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await execute(
        engine,
        "INSERT INTO dead_letters (stream, entry_id, fields_hash, reason, detail, fields, consumer)"
        " SELECT 'till', number || '-0', 'x', 'undecodable', '', '[]', 'c' FROM generate_series(1, 1203) AS number",
    )
    page = (await http.get("/admin/dead-letters")).text
    fields = {"form_token": token_in(page), "act": "discard", "which": "matching", "why": "spam"}
    preview = await http.post("/admin/dead-letters/preview", data=fields, headers=OWN)
    assert "1 203 would be given up (the first 500 are named)" in preview.text.replace("\u202f", " ")
    fields = {"form_token": token_in(preview.text), "act": "discard", "why": "spam", "choice": "{}"}
    result = await http.post("/admin/dead-letters/settle", data=fields, headers=OWN)
    assert "1 203 discarded" in result.text.replace("\u202f", " ")


async def test_no_form_is_taken_from_another_site_or_for_another_user(
    http: httpx.AsyncClient, settings: Settings
) -> None:
    fields = {"why": "spam", "act": "discard", "which": "matching", "choice": "{}"}
    own, bobs = token_in((await http.get("/admin")).text), Forms(settings).mint(User("bob", is_admin=False))
    wrong = [("", OWN), (bobs, OWN), (own, {"Origin": "https://evil.example"}), (own, {})]
    for path, (token, headers) in product(FORMS, wrong):
        answer = await http.post(f"/admin{path}", data=fields | {"form_token": token}, headers=headers)
        assert (answer.status_code, "expired" in answer.text) == (403, True), (path, headers)
    assert "No operator has changed anything yet." in (await http.get("/admin/audit")).text


WRONG_PLACES = [
    ("/streams?first=x", 400),
    ("/streams/x", 400),
    ("/streams/1-1", 404),
    ("/orders?status=lost", 400),
    ("/orders?cursor=%00", 400),
    ("/orders/x", 400),
    (f"/orders/{SOME_RUN}", 404),
    ("/dead-letters?event=x&state=gone", 400),
    ("/dead-letters/x", 400),
    ("/dead-letters/99", 404),
    ("/dead-letters/..%2f..%2fstream", 404),
    ("/replays/x", 400),
    (f"/replays/{SOME_RUN}", 404),
    (f"/replays/{SOME_RUN}?first=-1", 404),
    ("/audit?before=0", 400),
    ("/nothing", 404),
]
WRONG_FORMS: list[tuple[str, dict[str, Any], int, str]] = [
    ("/resume", {"why": " "}, 400, "A reason is required"),
    ("/dead-letters/preview", {"act": "requeue", "why": "x"}, 400, "No dead letter is chosen"),
    ("/dead-letters/preview", {"act": "shred", "why": "x"}, 400, "Choose whether"),
    ("/dead-letters/preview", {"act": "requeue", "ids": ["7", "x"], "why": "x"}, 400, "is a number"),
    ("/dead-letters/preview", {"act": "discard", "which": "matching", "why": ""}, 400, "A reason is required"),
    ("/dead-letters/settle", {"act": "discard", "why": "x", "choice": "{"}, 400, "cannot be read"),
    ("/dead-letters/settle", {"act": "discard", "why": "x", "choice": '{"reasons": 1}'}, 400, "Extra inputs"),
    ("/dead-letters/settle", {"act": "requeue", "why": "", "choice": "{}"}, 400, "A reason is required"),
    ("/dead-letters/99/edit", {"why": "x", "payload": "{}"}, 404, "There is no dead letter 99"),
    ("/replays", {"why": "x", "rate": "fast"}, 400, "rate"),
    ("/replays", {"why": "x", "rate": "0"}, 400, "The rate must be between"),
    ("/replays", {"why": "", "user": "anna"}, 400, "A reason is required"),
    ("/replays", {"why": "x", "from": "yesterday"}, 400, "from"),
    (f"/replays/{SOME_RUN}/run", {"why": "x"}, 404, "There is no replay"),
    ("/shadow", {"source": "moon"}, 400, "source"),
    ("/reconcile", {"why": ""}, 400, "A reason is required"),
    ("/reconcile", {"why": "x", "compared": "x"}, 409, "not the newest any more"),
]


async def test_what_is_asked_wrongly_is_answered_with_what_to_do(http: httpx.AsyncClient) -> None:
    for path, status in WRONG_PLACES:
        answer = await http.get(f"/admin{path}")
        assert answer.status_code == status, path
        if answer.headers["Content-Type"].startswith("text/html"):
            assert advice(ApiError(status, "")).split(".")[0] in answer.text.replace("&#39;", "'"), path


async def test_a_form_that_cannot_be_done_says_why_and_changes_nothing(http: httpx.AsyncClient) -> None:
    token = token_in((await http.get("/admin")).text)
    for path, fields, status, text in WRONG_FORMS:
        answer = await http.post(f"/admin{path}", data=fields | {"form_token": token}, headers=OWN)
        assert (answer.status_code, text in answer.text) == (status, True), (path, answer.text)
    assert "No operator has changed anything yet." in (await http.get("/admin/audit")).text


async def test_signed_out_every_page_leads_to_the_sign_in(http: httpx.AsyncClient) -> None:
    http.cookies.clear()
    for place in PLACES:
        answer = await http.get(f"/admin{place}")
        assert (answer.status_code, answer.headers["Location"]) == (307, f"/sign-in?next=/admin{place}")
    for path in FORMS:
        answer = await http.post(f"/admin{path}", headers=OWN)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/sign-in?next=/admin")


async def test_while_the_api_is_away_the_console_says_so(settings: Settings) -> None:
    apart = settings.model_copy(update={"api_url": "http://127.0.0.1:9"})  # where nothing listens
    async with browsing(storefront_app.build(apart), settings) as http:
        for place in PLACES:
            answer = await http.get(f"/admin{place}")
            if place != "/shadow":  # its form asks for nothing
                assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1"), place
                assert "The API does not answer" in answer.text
        token = token_in((await http.get("/admin")).text)
        away = await http.post("/admin/replays", data={"form_token": token, "why": "x"}, headers=OWN)
        assert (away.status_code, "Sending it again is safe" in away.text) == (503, True)


async def test_while_redis_is_away_the_overview_says_unknown_and_never_zero(
    http: httpx.AsyncClient, servers: Servers
) -> None:
    servers.redis.stop()
    try:
        answer = await http.get("/admin")
    finally:
        servers.redis.start()
    assert answer.status_code == 200
    for name in ("accepted_per_second", "recorded_per_second", "lag_entries", "lag_seconds", "pending", "overlay"):
        assert re.search(rf'data-tile="{name}">unknown<', answer.text), name
    assert '<strong data-tile="redis">down</strong>' in answer.text
    assert '<strong data-tile="paused">unknown</strong>' in answer.text


def test_durations_and_trends_are_told_as_people_say_them() -> None:
    assert [seconds(number) for number in (None, 0, 0.25, 59.9, 61, 3_700, 200_000)] == [
        "unknown", "0 s", "0.2 s", "59.9 s", "1 min 1 s", "1 h 1 min", "2 days",
    ]  # fmt: skip
    assert [trend(number) for number in (None, 0.0, 2.5, -40)] == [
        "trend unknown", "steady", "growing by 2.5 a second", "falling by 40.0 a second",
    ]  # fmt: skip
