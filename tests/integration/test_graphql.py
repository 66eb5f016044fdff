"""The GraphQL facade as a client of the API: what it forwards, what it hands back, what it makes of an outage."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from starlette.types import ASGIApp

from services.gateway.app import build as build_gateway
from services.storefront.api import Api
from services.storefront.app import build as build_storefront
from shared.issuer import issue_development_token
from shared.settings import Settings
from tests.nginx import EchoService, send
from tests.servers import Servers

CREATE = 'mutation{createOrder(total:149, items:[{id:"2", quantity:1}]){id}}'
ORDER = {"id": "3f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6f", "total": 149, "date": "2026-01-01T00:00:00.000Z", "items": []}


class Scripted:
    """An API that notes what it is asked and answers as told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.answer: Callable[[], Response] = lambda: Response(json.dumps({"data": ORDER}))
        self.app = FastAPI()
        self.app.add_route("/{path:path}", self._note, methods=["GET", "POST"])

    async def _note(self, request: Request) -> Response:
        target = f"{request.method} {request.url.path}"
        self.asked.append((target, dict(request.headers), await request.body()))
        return self.answer()


@pytest.fixture
def api() -> Scripted:
    return Scripted()


@pytest.fixture
async def facade(settings: Settings, api: Scripted) -> AsyncIterator[httpx.AsyncClient]:
    """The storefront over the scripted API."""
    app = build_storefront(settings)
    app.state.api = Api.within(api.app)
    async with app.router.lifespan_context(app), asking(app) as http:
        yield http


def asking(app: ASGIApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


async def post(http: httpx.AsyncClient, query: str, headers: Any = None) -> httpx.Response:
    return await http.post("/api/graphql", json={"query": query}, headers=headers)


async def test_what_tells_the_sender_and_the_order_apart_is_forwarded(facade: httpx.AsyncClient, api: Scripted) -> None:
    told = {
        "authorization": "Bearer of-anna",
        "cookie": "__session=of-anna; cart_session=3f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6f",
        "idempotency-key": "key-12345678",
        "x-cart-session": "3f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6f.0123456789abcdef",
        "origin": "https://shop.example",
        "sec-fetch-site": "same-origin",
        "content-type": "application/json; charset=utf-8",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "host": "shop.example:8443",
    }
    assert (await post(facade, CREATE, told)).status_code == 200
    [(target, seen, body)] = api.asked
    assert target == "POST /api/orders"
    assert {name: seen[name] for name in told} == told
    assert json.loads(body) == {"total": 149, "items": [{"id": "2", "quantity": 1}]}


async def test_a_body_that_was_not_json_is_not_passed_off_as_json(facade: httpx.AsyncClient, api: Scripted) -> None:
    content = json.dumps({"query": CREATE}).encode()
    await facade.post("/api/graphql", content=content, headers={"Content-Type": "text/plain"})
    await facade.post("/api/graphql", content=content)
    assert [seen.get("content-type") for _, seen, _ in api.asked] == ["text/plain", None]


async def test_cookies_are_handed_back_and_never_kept_for_the_next_shopper(
    facade: httpx.AsyncClient, api: Scripted
) -> None:
    def with_cookies() -> Response:
        response = Response(json.dumps({"data": ORDER}))
        response.set_cookie("cart_session", "of-anna", httponly=True)
        response.set_cookie("other", "two")
        return response

    api.answer = with_cookies
    answer = await post(facade, CREATE, {"Authorization": "Bearer of-anna"})
    assert [cookie.partition("=")[0] for cookie in answer.headers.get_list("Set-Cookie")] == ["cart_session", "other"]
    facade.cookies.clear()  # the browser's own jar: the next shopper has another browser
    await post(facade, CREATE, {"Authorization": "Bearer of-bob"})
    assert "cookie" not in api.asked[-1][1]


@pytest.mark.parametrize("query", [CREATE, "{products{id}}", '{product(id:"1"){id}}', "{a:__typename products{id}}"])
@pytest.mark.parametrize(
    ("status", "text", "retry_after"),
    [(503, "Orders cannot be accepted right now", "1"), (429, "Too many requests, please retry", "7")],
)
async def test_an_outage_stays_an_outage_so_that_the_old_client_retries(
    facade: httpx.AsyncClient, api: Scripted, query: str, status: int, text: str, retry_after: str
) -> None:
    api.answer = lambda: Response(json.dumps({"error": text}), status, {"Retry-After": retry_after})
    answer = await post(facade, query)
    assert (answer.status_code, answer.json()) == (status, {"errors": [{"message": text}], "data": None})
    assert answer.headers["Retry-After"] == retry_after


@pytest.mark.parametrize(
    "answered",
    [
        Response(json.dumps({"error": "Internal server error"}), 500),
        Response("<html>Bad Gateway</html>", 502),
        Response("<html>OK</html>", 200),
        Response("", 504),
        Response("[]", 200),
    ],
    ids=lambda response: f"{response.status_code} {response.body!r}",
)
async def test_an_outcome_that_nobody_knows_is_503_and_never_a_refusal(
    facade: httpx.AsyncClient, api: Scripted, answered: Response
) -> None:
    api.answer = lambda: answered
    answer = await post(facade, CREATE)
    assert (answer.status_code, answer.json()["data"], answer.headers["Retry-After"]) == (503, None, "1")


async def test_a_storefront_of_its_own_asks_the_gateway_it_is_told(settings: Settings) -> None:
    gateway = EchoService("gateway")
    gateway.answer = lambda request: send(request, 200, {"data": [{"id": "2"}]}, {"Connection": "close"})
    app = build_storefront(settings.model_copy(update={"api_url": f"http://{gateway.address}"}))
    async with app.router.lifespan_context(app), asking(app) as http:
        assert (await post(http, "{products{id}}")).json() == {"data": {"products": [{"id": "2"}]}}
        gateway.stop()
        gone = await post(http, CREATE)
    assert (gone.status_code, gone.json()["data"], gone.headers["Retry-After"]) == (503, None, "1")


async def test_the_composed_app_is_503_while_redis_is_away(settings: Settings, servers: Servers) -> None:
    headers = {"Authorization": f"Bearer {issue_development_token(settings, 'anna')}"}
    gateway: Any = build_gateway(settings)
    async with gateway.app.router.lifespan_context(gateway.app), asking(gateway) as http:
        servers.redis.stop()
        try:
            away = await post(http, CREATE, headers)
        finally:
            servers.redis.start()
        assert (away.status_code, away.json()["data"], away.headers["Retry-After"]) == (503, None, "1")
        assert (await post(http, CREATE, headers)).status_code == 200
