"""The route table, row by row, against where a real nginx sends it."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from services.gateway.routes import PublicRoute, allowed_methods, public_routes
from tests.nginx import SERVICES, TEMPLATE, EchoService, Nginx

SAMPLES = {
    "session_id": ["3f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6f", "not%20a%20uuid", "caf%C3%A9", "a%0A"],
    "order_id": ["3f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6f", "x"],
    "letter_id": ["17", "x"],
    "entry_id": ["1795369076159-0", "x"],
    "run_id": ["3f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6f", "x"],
    "product_id": ["1", "no-such", "%F0%9F%8E%A7"],
    "name": ["shop.js", "caf%C3%A9"],
    "product_id:whole": ["1", "a/b", "a%2Fb", "a%0Ab", ""],
}
EVERY_METHOD = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE")


def samples(path: str) -> list[str]:
    """Request targets that fit `path`."""
    placeholder = re.search(r"\{([\w:]+)\}", path)
    if placeholder is None:
        return [path, f"{path}?session_id=cs_test_12345678"]
    return [path.replace(placeholder[0], value) for value in SAMPLES[placeholder[1]]]


@pytest.fixture(scope="module")
def services() -> Iterator[dict[str, EchoService]]:
    services = {name: EchoService(name) for name in SERVICES}
    yield services
    for service in services.values():
        service.stop()


@pytest.fixture(scope="module")
def gateway(services: dict[str, EchoService], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    addresses = {name: service.address for name, service in services.items()}
    nginx = Nginx(tmp_path_factory.mktemp("nginx"), addresses)
    with httpx.Client(base_url=nginx.url) as client:
        yield client
    nginx.stop()


def sent(services: dict[str, EchoService]) -> list[dict[str, Any]]:
    return [request for service in services.values() for request in service.requests]


@pytest.mark.parametrize("route", public_routes(), ids=lambda route: f"{route.method} {route.path}")
def test_every_public_route_reaches_its_service_unchanged(gateway: httpx.Client, route: PublicRoute) -> None:
    for target in samples(route.path):
        answer = gateway.request(route.method, target, content=b'{"as":"sent"}')
        assert answer.status_code == 200, f"{route.method} {target}: {answer.text}"
        seen = answer.json()
        assert (seen["service"], seen["method"], seen["target"]) == (route.service, route.method, target)
        assert seen["body"] == '{"as":"sent"}'


@pytest.mark.parametrize("path", sorted({route.path for route in public_routes()}))
def test_any_other_method_is_405_and_reaches_no_service(
    gateway: httpx.Client, services: dict[str, EchoService], path: str
) -> None:
    before = len(sent(services))
    for target in samples(path):
        allowed = allowed_methods(unquote(target.partition("?")[0]))
        assert {route.method for route in public_routes() if route.path == path} <= set(allowed)
        for method in sorted(set(EVERY_METHOD) - set(allowed)):
            answer = gateway.request(method, target)
            assert answer.status_code == 405, f"{method} {target}"
            assert answer.headers["Allow"] == ", ".join(allowed)
            if method != "HEAD":
                assert answer.json() == {"error": "Method Not Allowed"}
    assert len(sent(services)) == before


@pytest.mark.parametrize(
    "target",
    [
        "/metrics",
        "/ready",
        "/openapi.json",
        "/asyncapi",
        "/api",
        "/api/",
        "/api/order",
        "/api/orders/",
        "/api/orders/x",
        "/api/orders/x/cancel/",
        "/api/orders/x/y/cancel",
        "/api//orders",
        "/API/orders",
        "/api/cart",
        "/api/cart/",
        "/api/cart/x/y",
        "/api/cart/x%2Fy",
        "/api/cart/../../metrics",
        "/api/productsx",
        "/api/admin",
        "/products/",
        "/products/a/b",
        "/static/",
        "/static/a/b",
        "/checkout/",
        "/admin/",
        "/api/admin/products",
        "/api/admin/products/1",
        "/%6detrics",
        "//metrics",
        "/_error/503",
        "/_preflight/allowed",
    ],
)
def test_nothing_else_is_public(gateway: httpx.Client, services: dict[str, EchoService], target: str) -> None:
    before = len(sent(services))
    for method in ("GET", "POST"):
        answer = gateway.request(
            method, httpx.URL(raw_path=target.encode(), scheme="http", host="127.0.0.1", port=gateway.base_url.port)
        )
        assert (answer.status_code, answer.json()) == (404, {"error": "Not Found"})
    assert len(sent(services)) == before


def test_the_gateway_is_healthy_by_itself(gateway: httpx.Client, services: dict[str, EchoService]) -> None:
    before = len(sent(services))
    assert gateway.get("/health").json() == {"status": "alive"}
    assert len(sent(services)) == before


def test_every_line_of_nginxs_table_is_a_public_route() -> None:
    table = re.search(r"\$service \{(.*?)\n    \}", TEMPLATE.read_text(), re.DOTALL)
    assert table is not None
    asked = [
        (f"{route.method} {unquote(target.partition('?')[0])}", route.service)
        for route in public_routes()
        for target in samples(route.path)
    ]
    for pattern, service in re.findall(r'^\s+"(\S+ .*?)" (\w+);', table[1], re.MULTILINE):
        expression = pattern[1:] if pattern.startswith("~") else re.escape(pattern)
        hits = [line for line, owner in asked if owner == service and re.search(expression, line)]
        assert hits, f"no public route is sent to {service} by {pattern}"


def test_a_service_sees_whom_the_browser_asked_and_the_trace(gateway: httpx.Client) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"Host": "shop.example:8443", "traceparent": traceparent, "Idempotency-Key": "key-12345678"}
    seen = gateway.post("/api/orders", headers=headers, content=b"{}").json()["headers"]
    assert seen["host"] == seen["x-forwarded-host"] == "shop.example:8443"
    assert seen["x-forwarded-proto"] == "http"
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert (seen["traceparent"], seen["idempotency-key"]) == (traceparent, "key-12345678")


@pytest.mark.parametrize(("said", "seen"), [("https", "https"), ("http", "http"), ("gopher", "http"), ("", "http")])
def test_the_scheme_before_a_tls_proxy_is_passed_on(gateway: httpx.Client, said: str, seen: str) -> None:
    answer = gateway.get("/api/products", headers={"X-Forwarded-Proto": said})
    assert answer.json()["headers"]["x-forwarded-proto"] == seen
