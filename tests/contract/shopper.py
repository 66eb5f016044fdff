"""The vocabulary of the suite: a shopper who sends requests, what is sold, and what an answer must look like."""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from http.client import HTTPConnection, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from tests.contract.place import Place
from tests.servers import wait_until

HEADPHONES, KEYBOARD, MOUSE_PAD = "1", "2", "3"
PRICES = {HEADPHONES: 129, KEYBOARD: 149, MOUSE_PAD: 39}
STOCK = {HEADPHONES: 25, KEYBOARD: 15, MOUSE_PAD: 8}
TITLES = {HEADPHONES: "Wireless Headphones", KEYBOARD: "Mechanical Keyboard", MOUSE_PAD: "Gaming Mouse Pad"}
LIMIT = 64 * 1024  # bytes of a body

Items = list[dict[str, Any]]
UUID_TEXT = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

INVALID_ITEMS: list[Any] = [
    None,
    "1",
    7,
    {},
    {"id": "1", "quantity": 1},
    [None],
    ["1"],
    [[]],
    [{}],
    [{"id": "1"}],
    [{"quantity": 1}],
    [{"id": 1, "quantity": 1}],
    [{"id": None, "quantity": 1}],
    [{"id": "", "quantity": 1}],
    [{"id": "4", "quantity": 1}],
    [{"id": " 1", "quantity": 1}],
    [{"id": "1\n", "quantity": 1}],
    [{"id": "\u0661", "quantity": 1}],
    [{"id": "1\x00", "quantity": 1}],
    [{"id": "\ud800", "quantity": 1}],
    [{"id": "1" * 21, "quantity": 1}],
    [{"id": "1", "quantity": 0}],
    [{"id": "1", "quantity": -1}],
    [{"id": "1", "quantity": 100}],
    [{"id": "1", "quantity": 1.5}],
    [{"id": "1", "quantity": "2"}],
    [{"id": "1", "quantity": True}],
    [{"id": "1", "quantity": False}],
    [{"id": "1", "quantity": None}],
    [{"id": "1", "quantity": [1]}],
    [{"id": "1", "quantity": 10**400}],
    [{"id": "1", "quantity": 1}, {"id": "4", "quantity": 1}],
    [{"id": "1", "quantity": 1}] * 51,
]
"""No cart and no order may have these."""

MALFORMED_BODIES: list[bytes] = [
    b"",
    b"null",
    b"[]",
    b'"items"',
    b"7",
    b"true",
    b"{",
    b"{'items': []}",
    b"items=1",
    b"NaN",
    b'{"items": NaN, "total": 129}',
    b"\xff\xfe{\x00}\x00",
    b'{"items": [], "total": 1, "\xff": 1}',
    b"[" * 30_000,
    b'{"a":' * 10_000,
]
"""No route that reads a body takes these."""

INVALID_UUIDS = [
    "x",
    "3f0c1f9e8a414c1e9d6f1b2a3c4d5e6f",
    "{3f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6f}",
    "urn:uuid:3f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6f",
    "3f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6f\n",
    "\n3f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6f",
    " 3f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6f",
    "3f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6",
    "3f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6ff",
    "3f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6g",
    "3f0c1f9e_8a41_4c1e_9d6f_1b2a3c4d5e6f",
    "\uff13f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6f",
]
"""Not a UUID as the contract spells one."""


class Shopper:
    """Somebody before the shop: a user of their own, or nobody when `name` is None."""

    def __init__(self, place: Place, name: str | None, is_admin: bool = False) -> None:
        self.place = place
        self.user = None if name is None else f"{name}-{uuid4()}"
        self.token = None if self.user is None else place.issue(self.user, is_admin)

    def send(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        """A request with the shopper's token. `body` is JSON, or bytes as they are."""
        sent = dict(headers or {})
        if self.token is not None and "Authorization" not in sent:
            sent["Authorization"] = f"Bearer {self.token}"
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        self.place.http.cookies.clear()
        return self.place.http.request(method, path, content=body, headers=sent)

    def send_as_is(self, path: str, body: Any, headers: Mapping[str, bytes]) -> httpx.Response:
        """A POST whose header values httpx would refuse to send."""
        url = urlsplit(self.place.url)
        kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
        with closing(kind(url.netloc, timeout=20)) as connection:
            connection.putrequest("POST", f"{url.path}{path}")
            content = json.dumps(body).encode()
            sent: dict[str, str | bytes] = {"Content-Type": "application/json", "Content-Length": str(len(content))}
            for name, value in {"Authorization": f"Bearer {self.token}", **sent, **headers}.items():
                connection.putheader(name, value)
            connection.endheaders(content)
            answer = connection.getresponse()
            return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())

    def order(self, items: Items, total: Any = None, key: str | None = None, **headers: str) -> httpx.Response:
        """POST /api/orders; the total is what the catalogue says, unless given."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            named["Idempotency-Key"] = key
        return self.send(
            "POST", "/api/orders", {"items": items, "total": worth(items) if total is None else total}, named
        )

    def bought(self, items: Items, **headers: str) -> dict[str, Any]:
        """The order, accepted for the first time."""
        answer = self.order(items, **headers)
        assert answer.status_code == 201, answer.text
        order: dict[str, Any] = answer.json()["data"]
        return order

    def orders(self) -> list[dict[str, Any]]:
        """GET /api/orders."""
        answer = self.send("GET", "/api/orders")
        assert answer.status_code == 200, answer.text
        orders: list[dict[str, Any]] = answer.json()["data"]
        return orders

    def pay(self, order_id: Any) -> httpx.Response:
        """PATCH /api/orders."""
        return self.send("PATCH", "/api/orders", {"id": order_id})

    def cancel(self, order_id: str) -> httpx.Response:
        """POST /api/orders/{id}/cancel."""
        return self.send("POST", f"/api/orders/{quoted(order_id)}/cancel")

    def put_cart(self, session: str, items: Items, **headers: str) -> httpx.Response:
        """PUT /api/cart/{session}."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send("PUT", f"/api/cart/{quoted(session)}", {"items": items}, named)

    def cart(self, session: str) -> Items:
        """GET /api/cart/{session}."""
        answer = self.send("GET", f"/api/cart/{session}")
        assert answer.status_code == 200, answer.text
        items: Items = answer.json()["data"]
        return items


def line(product: str, quantity: int = 1) -> dict[str, Any]:
    """A line of a cart or an order."""
    return {"id": product, "quantity": quantity}


def worth(items: Items) -> int:
    """What the default catalogue asks for `items`."""
    return sum(PRICES[item["id"]] * item["quantity"] for item in items)


def a_session() -> str:
    """A cart session nobody has used."""
    return str(uuid4())


def a_key() -> str:
    """An idempotency key nobody has used."""
    return f"key-{uuid4()}"


def quoted(part: str) -> str:
    """One segment of a path."""
    return "".join(char if re.fullmatch(r"[\w.~-]", char, re.ASCII) else _percent(char) for char in part)


def _percent(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode())


def named(case: Any) -> str:
    """A short test id."""
    text = case.decode("latin-1") if isinstance(case, bytes) else case if isinstance(case, str) else json.dumps(case)
    return ascii(text)[1:-1][:50]


def page(admin: Shopper, query: str) -> Any:
    """A page of GET /api/admin/orders: `{data, next, ...}`."""
    answer = admin.send("GET", f"/api/admin/orders?{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def wait_until_recorded(admin: Shopper, shopper: Shopper, count: int) -> Any:
    """The orders of `shopper` as an operator sees them, once there are `count`."""
    query = f"user={quoted(shopper.user or '')}"
    wait_until(lambda: len(page(admin, query)["data"]) == count, f"{count} orders of {shopper.user} are recorded")
    return page(admin, query)["data"]


def wait_until_status(admin: Shopper, order_id: str, status: str) -> None:
    """Returns when Postgres holds the order with this status."""
    wait_until(lambda: page(admin, f"order={order_id}&status={status}")["data"], f"{status} is recorded")


def assert_data(answer: httpx.Response, status: int = 200) -> Any:
    """The success envelope's data."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"].startswith("application/json")
    body = answer.json()
    assert "error" not in body
    return body["data"]


def assert_error(answer: httpx.Response, status: int, text: str) -> None:
    """The failure envelope: `error` is this string; members beside it are allowed."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"].startswith("application/json")
    body = answer.json()
    assert body["error"] == text
    assert "data" not in body


def assert_order(order: Any, items: Sequence[Mapping[str, Any]], user: str | None, status: str = "processing") -> None:
    """The contract's Order, with nothing beside it."""
    assert set(order) == {"id", "userId", "total", "date", "status", "items"}
    assert UUID_TEXT.fullmatch(order["id"])
    assert DATE.fullmatch(order["date"])
    assert (order["userId"], order["status"]) == (user, status)
    assert order["items"] == [{"id": item["id"], "quantity": int(item["quantity"])} for item in items]
    assert order["total"] == worth(order["items"])
    assert isinstance(order["total"], int | float)
