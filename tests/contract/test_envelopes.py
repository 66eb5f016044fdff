"""What is no route, no method and no token: always the contract's envelope, never a fault."""

import base64
import json

import pytest

from services.gateway.document import public_document
from tests.contract.shopper import KEYBOARD, Shopper, a_session, assert_data, assert_error, line


@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/api/",
        "/api/nothing",
        "/api/orders/",
        "/api/orders/x",
        "/api/orders/x/y/cancel",
        "/api/cart",
        "/api/cart/",
        "/api/cart/a/b",
        "/api/cart/a%2Fb",
        "/api/admin",
        "/api/admin/products/1",
        "/API/products",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_what_is_no_route_is_404(anna: Shopper, method: str, path: str) -> None:
    assert_error(anna.send(method, path), 404, "Not Found")


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/api/products", "GET"),
        ("/api/products/1", "GET"),
        ("/api/cart/3f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6f", "GET, PUT"),
        ("/api/orders", "GET, PATCH, POST"),
        ("/api/orders/3f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6f/cancel", "POST"),
        ("/api/admin/orders", "GET"),
        ("/api/admin/products/1/orders", "GET"),
    ],
)
def test_another_method_is_405_and_names_the_ones_there_are(visitor: Shopper, path: str, allow: str) -> None:
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - set(allow.split(", ")):
        answer = visitor.send(method, path)
        assert_error(answer, 405, "Method Not Allowed")
        assert answer.headers["Allow"] == allow


def _forged(anna: Shopper, **header: str) -> str:
    assert anna.token is not None
    _, claims, signature = anna.token.split(".")
    known = json.loads(base64.urlsafe_b64decode(anna.token.split(".")[0] + "=="))
    text = base64.urlsafe_b64encode(json.dumps({**known, **header}).encode()).rstrip(b"=").decode()
    return f"{text}.{claims}.{signature}"


def test_a_token_that_was_touched_is_nobodys(anna: Shopper) -> None:
    assert anna.token is not None
    head, claims, signature = anna.token.split(".")
    other = base64.urlsafe_b64encode(b'{"sub":"anna","exp":4000000000}').rstrip(b"=").decode()
    for token in (
        f"{head}.{other}.{signature}",
        f"{head}.{claims}.{signature[:-4]}AAAA",
        f"{head}.{claims}.",
        f"{head}.{claims}",
        _forged(anna, alg="none"),
        _forged(anna, alg="HS256"),
        _forged(anna, kid="../../etc/passwd"),
        "x",
        "A" * 20_000,
    ):
        answer = anna.send("GET", "/api/orders", None, {"Authorization": f"Bearer {token}"})
        assert_error(answer, 401, "Unauthorized")
    assert_data(anna.send("GET", "/api/orders"))


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_schemes_case_does_not_count(anna: Shopper, scheme: str) -> None:
    assert assert_data(anna.send("GET", "/api/orders", None, {"Authorization": f"{scheme} {anna.token}"})) == []


def test_a_trace_context_is_no_obstacle(anna: Shopper) -> None:
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    assert_data(anna.send("PUT", f"/api/cart/{a_session()}", {"items": [line(KEYBOARD)]}, trace))


def test_every_gateway_serves_the_document_of_the_whole_api(visitor: Shopper) -> None:
    answer = visitor.send("GET", "/api/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.json() == public_document()
    assert_error(visitor.send("GET", "/openapi.json"), 404, "Not Found")
