"""nginx and the composed app give browsers the same permissions, header by header."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from services.gateway.app import EXPOSED, HEADERS, METHODS, build
from shared.settings import Settings
from tests.nginx import SERVICES, EchoService, Nginx

SHOP, ADMIN, EVIL = "https://shop.example", "https://admin.shop.example:8443", "https://evil.example"
REQUESTS: list[tuple[str, str, dict[str, str]]] = [
    ("GET", "/api/orders", {}),
    ("GET", "/api/orders", {"Cookie": "a=b"}),
    ("DELETE", "/api/orders", {}),
    ("GET", "/nothing", {}),
    ("OPTIONS", "/api/orders", {}),
    *(
        ("OPTIONS", path, {"Access-Control-Request-Method": method} | headers)
        for path, method, headers in [
            ("/api/orders", "GET", {}),
            ("/api/orders", "POST", {"Access-Control-Request-Headers": "authorization,content-type,idempotency-key"}),
            ("/api/orders", "PATCH", {"Access-Control-Request-Headers": "X-Cart-Session, If-Match ,TraceParent"}),
            ("/api/cart/x", "PUT", {"Access-Control-Request-Headers": "accept,accept-language,content-language"}),
            ("/api/orders", "POST", {"Access-Control-Request-Headers": "authorization,x-evil"}),
            ("/api/orders", "POST", {"Access-Control-Request-Headers": "authorization;content-type"}),
            ("/api/orders", "DELETE", {}),
            ("/api/orders", "post", {}),
            ("/api/orders", "POST", {"Access-Control-Request-Private-Network": "true"}),
            ("/nothing", "GET", {}),
        ]
    ),
]
ORIGINS = [
    None,
    SHOP,
    ADMIN,
    EVIL,
    "null",
    "*",
    "https://shop.example.evil.example",
    "https://shop.exampl",
    "HTTPS://SHOP.EXAMPLE",
]


@pytest.fixture(scope="module", params=["*", SHOP, f"{SHOP}, {ADMIN}", f"{ADMIN},{SHOP}", f"{SHOP},*", ""])
def listed(request: pytest.FixtureRequest) -> str:
    value = request.param
    assert isinstance(value, str)
    return value


@pytest.fixture(scope="module")
def nginx(listed: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    service = EchoService("any")
    nginx = Nginx(tmp_path_factory.mktemp("nginx"), dict.fromkeys(SERVICES, service.address), TILLROLL_ORIGINS=listed)
    yield nginx
    nginx.stop()
    service.stop()


@pytest.fixture
async def gateway(nginx: Nginx) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=nginx.url) as client:
        yield client


def permissions(answer: httpx.Response) -> dict[str, list[str]]:
    names = sorted({name for name in answer.headers if name == "vary" or name.startswith("access-control-")})
    return {name: answer.headers.get_list(name) for name in names}


async def test_nginx_and_the_composed_app_permit_the_same(
    gateway: httpx.AsyncClient, listed: str, tmp_path: Path
) -> None:
    app = build(Settings(origins=listed, data_dir=tmp_path))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://composed") as composed:
        for method, path, headers in REQUESTS:
            for origin in ORIGINS:
                sent = headers | ({} if origin is None else {"Origin": origin})
                ours = await composed.request(method, path, headers=sent)
                theirs = await gateway.request(method, path, headers=sent)
                case = f"{method} {path} {sent} with TILLROLL_ORIGINS={listed!r}"
                assert permissions(theirs) == permissions(ours), case
                if "Access-Control-Request-Method" in sent:
                    assert theirs.status_code == ours.status_code, case


async def test_credentials_are_only_for_origins_that_are_listed_by_name(
    gateway: httpx.AsyncClient, listed: str
) -> None:
    by_name = {origin.strip() for origin in listed.split(",")} if "*" not in listed else set()
    for origin in filter(None, ORIGINS):
        headers = (await gateway.get("/api/orders", headers={"Origin": origin})).headers
        allowed = headers.get("Access-Control-Allow-Origin")
        assert allowed == ("*" if "*" in listed else origin if origin in by_name else None)
        if allowed is not None:
            assert headers.get("Access-Control-Allow-Credentials") == (None if allowed == "*" else "true")


async def test_the_contracts_methods_and_headers_are_the_ones_permitted(
    gateway: httpx.AsyncClient, listed: str
) -> None:
    if SHOP not in listed:
        return
    asked = {"Origin": SHOP, "Access-Control-Request-Method": "PATCH"}
    preflight = (await gateway.options("/api/orders", headers=asked)).headers
    assert preflight["Access-Control-Allow-Methods"] == ", ".join(METHODS) == "GET, POST, PUT, PATCH"
    assert set(HEADERS) <= set(preflight["Access-Control-Allow-Headers"].split(", "))
    answer = await gateway.get("/api/orders", headers={"Origin": SHOP})
    assert (
        answer.headers["Access-Control-Expose-Headers"]
        == ", ".join(EXPOSED)
        == "ETag, Idempotent-Replayed, Event-Id, Retry-After"
    )
