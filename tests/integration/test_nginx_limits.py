"""What nginx answers by itself: outages, limits and rubbish, always as the contract's envelope."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest

from services.cli.system import free_port
from tests.nginx import SERVICES, EchoService, Nginx, send, send_raw
from tests.servers import wait_until

ORIGIN = {"Origin": "https://shop.example"}
LIMIT = 64 * 1024


@contextmanager
def a_gateway(folder: Path, checkout: EchoService | None = None, **options: Any) -> Iterator[Nginx]:
    """nginx before `checkout`; the other services, and this one when it is None, are away."""
    upstreams = {name: f"127.0.0.1:{free_port()}" for name in SERVICES}
    if checkout is not None:
        upstreams["checkout"] = checkout.address
    nginx = Nginx(folder, upstreams, **options)
    try:
        yield nginx
    finally:
        nginx.stop()


@pytest.fixture
def checkout() -> Iterator[EchoService]:
    service = EchoService("checkout")
    yield service
    service.stop()


@pytest.fixture
def gateway(checkout: EchoService, tmp_path: Path) -> Iterator[Nginx]:
    with a_gateway(tmp_path / "nginx", checkout) as nginx:
        yield nginx


def assert_refused(answer: httpx.Response, status: int, text: str) -> None:
    assert (answer.status_code, answer.json()) == (status, {"error": text})
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers.get_list("Access-Control-Allow-Origin") == ["*"]
    assert answer.headers.get_list("Retry-After") == (["1"] if status in (429, 503) else [])


def order(nginx: Nginx, body: bytes = b"{}") -> httpx.Response:
    return httpx.post(f"{nginx.url}/api/orders", content=body, headers=ORIGIN, timeout=20)


def test_a_service_that_is_away_is_503_and_worth_a_retry(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as nginx:
        for _ in range(3):
            assert_refused(order(nginx), 503, "Service unavailable, please retry")


@pytest.mark.parametrize("is_warm", [False, True], ids=["on a new connection", "on a kept connection"])
def test_a_post_is_never_sent_twice_even_when_its_connection_breaks(
    checkout: EchoService, tmp_path: Path, is_warm: bool
) -> None:
    line = f"server {checkout.address} fail_timeout=1s;"
    with a_gateway(tmp_path, checkout, edit=lambda text: text.replace(line, line * 3)) as nginx:
        if is_warm:
            assert order(nginx).status_code == 200
        checkout.answer = lambda request: request.connection.shutdown(socket.SHUT_RDWR)
        assert_refused(order(nginx), 503, "Service unavailable, please retry")
    assert len(checkout.requests) == 1 + is_warm


def test_a_service_that_does_not_answer_in_time_is_503_before_the_client_gives_up(
    checkout: EchoService, tmp_path: Path
) -> None:
    may_end = Event()
    conf: list[str] = []

    def wait(_request: BaseHTTPRequestHandler) -> None:
        may_end.wait(30)

    checkout.answer = wait

    def hurry(text: str) -> str:
        conf.append(text)
        return text.replace("proxy_read_timeout 7s", "proxy_read_timeout 200ms")

    with a_gateway(tmp_path, checkout, edit=hurry) as nginx:
        assert_refused(order(nginx), 503, "Service unavailable, please retry")
        may_end.set()
    assert "proxy_read_timeout 7s;" in conf[0], "below the first storefront's 8 s"
    assert len(checkout.requests) == 1


def test_a_services_own_answer_is_passed_on_and_no_header_is_doubled(gateway: Nginx, checkout: EchoService) -> None:
    away = {"error": "Orders cannot be accepted right now, please retry"}
    own = {"Retry-After": "7", "Access-Control-Allow-Origin": "https://evil.example", "Event-Id": "e"}
    checkout.answer = lambda request: send(request, 503, away, own)
    answer = order(gateway)
    assert (answer.status_code, answer.json(), answer.headers["Event-Id"]) == (503, away, "e")
    assert answer.headers.get_list("Retry-After") == ["7"]
    assert answer.headers.get_list("Access-Control-Allow-Origin") == ["*"]


def test_a_body_of_64_kib_passes_and_one_byte_more_is_413(gateway: Nginx, checkout: EchoService) -> None:
    assert order(gateway, b"x" * LIMIT).status_code == 200
    assert len(checkout.requests[-1]["body"]) == LIMIT
    assert_refused(order(gateway, b"x" * (LIMIT + 1)), 413, "Request body too large")
    with httpx.Client() as client:
        chunks = (b"x" * 4096 for _ in range(17))
        answer = client.post(f"{gateway.url}/api/orders", content=chunks, headers=ORIGIN)
    assert_refused(answer, 413, "Request body too large")
    assert len(checkout.requests) == 1


@pytest.mark.parametrize(
    ("request_bytes", "status", "text"),
    [
        (b"GET /api/orders HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n", 400, "Bad Request"),
        (b"GET /api/orders HTTP/1.1\r\n\r\n", 400, "Bad Request"),
        (b"GET /api/products/%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "Bad Request"),
        (b"GET /api/products/%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, "Bad Request"),
        (b"rubbish\r\n\r\n", 400, "Bad Request"),
        (b"POST /api/orders HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400, "Bad Request"),
        (b"GET /api/orders HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 400, "Bad Request"),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "Request URI too long"),
        (b"TRACE /api/orders HTTP/1.1\r\nHost: a\r\n\r\n", 405, "Method Not Allowed"),
        (b"GET /api/orders HTTP/3.0\r\nHost: a\r\n\r\n", 505, "Internal server error"),
    ],
    ids=lambda value: value[:40].decode().strip() if isinstance(value, bytes) else "",
)
def test_what_is_no_request_is_refused_as_json(
    gateway: Nginx, checkout: EchoService, request_bytes: bytes, status: int, text: str
) -> None:
    answer = send_raw(gateway.url, request_bytes.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), head
    assert json.loads(body) == {"error": text}
    assert b"Content-Type: application/json" in head
    assert checkout.requests == []


def test_a_token_of_16_kib_passes(gateway: Nginx) -> None:
    token = "t" * 16 * 1024
    answer = httpx.post(f"{gateway.url}/api/orders", headers={"Authorization": f"Bearer {token}"})
    assert answer.json()["headers"]["authorization"] == f"Bearer {token}"


@pytest.mark.parametrize(
    "part", [b"POST /api/orders HTT", b"POST /api/orders HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{"]
)
def test_a_client_that_stops_in_the_middle_is_let_go_within_seconds(
    gateway: Nginx, checkout: EchoService, part: bytes
) -> None:
    began = time.monotonic()
    with suppress(ConnectionResetError):
        send_raw(gateway.url, part)
    assert time.monotonic() - began < 9
    assert checkout.requests == []


def test_headers_that_come_drop_by_drop_are_let_go_within_seconds(gateway: Nginx, checkout: EchoService) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=0.3) as connection:
        connection.sendall(b"POST /api/orders HTTP/1.1\r\nHost: a\r\nX: ")
        with suppress(ConnectionError):
            while time.monotonic() - began < 20:
                connection.sendall(b"x")
                with suppress(TimeoutError):
                    if connection.recv(4096) == b"":
                        break
    assert time.monotonic() - began < 9
    assert checkout.requests == []


def test_bodies_that_come_drop_by_drop_take_one_address_share_and_reach_no_service(
    checkout: EchoService, tmp_path: Path
) -> None:
    def hurry(text: str) -> str:
        assert "limit_conn addresses 512;" in text
        return text.replace("limit_conn addresses 512;", "limit_conn addresses 3;")

    head = b"POST /api/orders HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{"
    with a_gateway(tmp_path, checkout, edit=hurry) as nginx, ExitStack() as stack:
        for _ in range(3):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", nginx.port)))
            connection.sendall(head)
        wait_until(lambda: order(nginx).status_code == 429, "the address has taken its share")
        assert_refused(order(nginx), 429, "Too many requests, please retry")
        assert {request["body"] for request in checkout.requests} <= {"{}"}
        assert httpx.get(f"{nginx.url}/health").status_code == 200


def test_more_requests_than_the_rate_allows_are_429(checkout: EchoService, tmp_path: Path) -> None:
    with a_gateway(tmp_path, checkout, RATE_PER_SECOND="1", RATE_BURST="3") as nginx:
        answers = [order(nginx) for _ in range(8)]
        refused = [answer for answer in answers if answer.status_code != 200]
        assert 1 <= 8 - len(refused) <= 5
        for answer in refused:
            assert_refused(answer, 429, "Too many requests, please retry")
        assert len(checkout.requests) == 8 - len(refused)
        assert httpx.get(f"{nginx.url}/health").status_code == 200


@pytest.mark.parametrize("is_trusted", [True, False], ids=["a proxy of ours", "anybody"])
def test_the_rate_is_that_of_the_shopper_behind_a_proxy_of_ours(
    checkout: EchoService, tmp_path: Path, is_trusted: bool
) -> None:
    proxy = "127.0.0.1" if is_trusted else "192.0.2.1"
    with a_gateway(tmp_path, checkout, RATE_PER_SECOND="1", RATE_BURST="1", TRUSTED_PROXY=proxy) as nginx:
        shoppers = [{"X-Forwarded-For": f"203.0.113.{number}"} for number in range(12)]
        statuses = [httpx.post(f"{nginx.url}/api/orders", content=b"{}", headers=who).status_code for who in shoppers]
        calls = [order(nginx).status_code for _ in range(12)]
    assert (statuses == [200] * 12) is is_trusted
    assert (calls == [200] * 12) is is_trusted, "what a proxy of ours asks for itself"


def test_connections_to_a_service_are_kept(gateway: Nginx, checkout: EchoService) -> None:
    with httpx.Client() as client:
        for _ in range(20):
            assert client.post(f"{gateway.url}/api/orders").status_code == 200
    assert checkout.connections == 1


def test_no_path_and_no_token_is_logged(gateway: Nginx) -> None:
    httpx.get(f"{gateway.url}/api/cart/3f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6f?a=secret-1")
    httpx.post(f"{gateway.url}/api/orders", headers={"Authorization": "Bearer secret-2"})
    asked = {("GET", "cart", 503), ("POST", "checkout", 200)}

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in gateway.log.read_text().splitlines() if line.startswith("{")]

    def are_told() -> bool:  # nginx writes its line after its answer
        return asked <= {(line["method"], line["service"], line["status"]) for line in lines()}

    wait_until(are_told, "nginx has told of both requests")
    written = "\n".join(json.dumps(line) for line in lines())
    assert "secret" not in written
    assert "3f0c1f9e" not in written
