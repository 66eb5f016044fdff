"""What a browser is allowed: CORS on every answer, the session cookie only from our own page."""

from typing import Any

import pytest

from tests.contract.shopper import KEYBOARD, LIMIT, Shopper, a_session, assert_data, assert_error, line

SHOP = {"Origin": "https://shop.example"}
ORDER: dict[str, Any] = {"items": [line(KEYBOARD)], "total": 149}
JSON = {"Content-Type": "application/json"}


def allowed(answer: Any) -> list[str]:
    origins: list[str] = answer.headers.get_list("Access-Control-Allow-Origin")
    assert "Access-Control-Allow-Credentials" not in answer.headers
    return origins


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/products", None, 200),
        ("GET", "/api/products?category=Books", None, 400),
        ("GET", "/api/orders", None, 401),
        ("POST", "/api/orders", ORDER, 401),
        ("GET", "/api/admin/orders", None, 401),
        ("GET", "/api/nothing", None, 404),
        ("DELETE", "/api/orders", None, 405),
        ("PUT", "/api/cart/x", b" " * (LIMIT + 1), 413),
    ],
)
def test_every_answer_may_be_read_by_any_origin_without_credentials(
    visitor: Shopper, method: str, path: str, body: Any, status: int
) -> None:
    answer = visitor.send(method, path, body, SHOP)
    assert answer.status_code == status
    assert allowed(answer) == ["*"]
    exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
    assert sorted(exposed) == ["ETag", "Event-Id", "Idempotent-Replayed", "Retry-After"]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH"])
@pytest.mark.parametrize("path", ["/api/orders", "/api/cart/x", "/api/products"])
def test_a_preflight_for_the_contracts_methods_and_headers_passes(visitor: Shopper, method: str, path: str) -> None:
    wanted = "authorization, content-type, idempotency-key, if-match, x-cart-session, traceparent"
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": wanted}
    answer = visitor.send("OPTIONS", path, None, SHOP | asked)
    assert answer.is_success
    assert allowed(answer) == ["*"]
    assert answer.headers["Access-Control-Allow-Methods"].split(", ") == ["GET", "POST", "PUT", "PATCH"]
    assert set(wanted.split(", ")) <= set(answer.headers["Access-Control-Allow-Headers"].lower().split(", "))


@pytest.mark.parametrize(("method", "header"), [("DELETE", "content-type"), ("POST", "x-evil")])
def test_any_other_preflight_is_refused(visitor: Shopper, method: str, header: str) -> None:
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": header}
    assert visitor.send("OPTIONS", "/api/orders", None, SHOP | asked).status_code == 400


def test_a_request_from_no_page_carries_no_cors(visitor: Shopper) -> None:
    assert allowed(visitor.send("GET", "/api/products")) == []


def test_the_session_cookie_is_enough_to_read(visitor: Shopper, anna: Shopper) -> None:
    order = anna.bought([line(KEYBOARD)])
    answer = visitor.send("GET", "/api/orders", None, {"Cookie": f"theme=dark; __session={anna.token}"})
    assert assert_data(answer) == [order]


@pytest.mark.parametrize(
    ("headers", "counts"),
    [
        ({**JSON, "Origin": "{own}"}, True),
        ({"Content-Type": "application/json; charset=utf-8", "Origin": "{own}"}, True),
        ({**JSON, "Sec-Fetch-Site": "same-origin"}, True),
        (JSON, False),
        ({**JSON, **SHOP}, False),
        ({**JSON, "Origin": "null"}, False),
        ({**JSON, "Origin": "*"}, False),
        ({**JSON, "Origin": "{own}.evil.example"}, False),
        ({**JSON, "Origin": "https://[half"}, False),
        ({**JSON, **SHOP, "Sec-Fetch-Site": "same-origin"}, False),
        ({**JSON, "Sec-Fetch-Site": "same-site"}, False),
        ({**JSON, "Sec-Fetch-Site": "cross-site"}, False),
        ({"Content-Type": "text/plain", "Origin": "{own}"}, False),
        ({"Content-Type": "application/x-www-form-urlencoded", "Origin": "{own}"}, False),
    ],
    ids=str,
)
def test_to_write_the_session_cookie_counts_only_from_our_own_page(
    visitor: Shopper, anna: Shopper, headers: dict[str, str], counts: bool
) -> None:
    sent = {name: value.replace("{own}", visitor.place.url) for name, value in headers.items()}
    answer = visitor.send("POST", "/api/orders", ORDER, {**sent, "Cookie": f"__session={anna.token}"})
    if counts:
        assert assert_data(answer, 201)["userId"] == anna.user
    else:
        assert_error(answer, 401, "Unauthorized")
    order_id = anna.bought([line(KEYBOARD, 2)])["id"]
    patched = visitor.send("PATCH", "/api/orders", {"id": order_id}, {**sent, "Cookie": f"__session={anna.token}"})
    assert patched.status_code == (200 if counts else 401)


@pytest.mark.parametrize("bearer", ["Bearer rubbish", "bearer x.y.z", "Bearer"])
def test_a_bearer_header_wins_over_the_cookie_even_when_it_is_invalid(anna: Shopper, bearer: str) -> None:
    cookie = {"Cookie": f"__session={anna.token}"}
    assert_error(anna.send("GET", "/api/orders", None, {"Authorization": bearer, **cookie}), 401, "Unauthorized")


def test_the_bearers_user_counts_and_not_the_cookies(anna: Shopper, bob: Shopper) -> None:
    anna.bought([line(KEYBOARD)])
    assert assert_data(bob.send("GET", "/api/orders", None, {"Cookie": f"__session={anna.token}"})) == []


def test_a_cart_can_be_shopped_with_from_another_origin(visitor: Shopper) -> None:
    session = a_session()
    answer = visitor.send("PUT", f"/api/cart/{session}", {"items": [line(KEYBOARD)]}, SHOP)
    assert assert_data(answer) == [line(KEYBOARD)]
    assert allowed(answer) == ["*"]
