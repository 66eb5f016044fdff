"""One rule set behind two doors: what REST accepts or refuses, GraphQL does, and the cookie's rule holds for both."""

import json
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.contract.shopper import HEADPHONES, KEYBOARD, MOUSE_PAD, Shopper, assert_data, line, worth
from tests.contract.test_graphql import CREATE, ask, create, created, refused

KEY, PAYLOAD = "Invalid Idempotency-Key header", "Invalid order payload"
PRICE = "Order total does not match catalog prices"
STOCK = "Insufficient stock for Gaming Mouse Pad: requested 9, available 8"


@dataclass(frozen=True)
class Case:
    """What is sent, and the fate that both doors must give it."""

    name: str
    items: Any = ()
    total: Any = None
    key: str | None = None
    status: int = 201
    text: str | None = None


CASES = [
    Case("the usual", [line(KEYBOARD), line(HEADPHONES)]),
    Case("a key of 8", [line(KEYBOARD)], key="key-1234"),
    Case("a key of 255", [line(KEYBOARD)], key="k" * 255),
    Case("every character of a key", [line(KEYBOARD)], key="AZaz09_.-"),
    Case("a key too short", [line(KEYBOARD)], key="short-7", status=400, text=KEY),
    Case("a key too long", [line(KEYBOARD)], key="k" * 256, status=400, text=KEY),
    Case("two words", [line(KEYBOARD)], key="two words", status=400, text=KEY),
    Case("a tilde", [line(KEYBOARD)], key="key~12345", status=400, text=KEY),
    Case("a slash", [line(KEYBOARD)], key="key/12345", status=400, text=KEY),
    Case("an escape", [line(KEYBOARD)], key="key%2D1234", status=400, text=KEY),
    Case("a bad key comes before a bad cart", [], 1, key="short-7", status=400, text=KEY),
    Case("nothing", [], 129, status=400, text=PRICE),
    Case("an unknown product", [line("4")], 129, status=400, text=PAYLOAD),
    Case("no units", [line(KEYBOARD, 0)], 129, status=400, text=PAYLOAD),
    Case("less than none", [line(KEYBOARD, -1)], 129, status=400, text=PAYLOAD),
    Case("too many units", [line(KEYBOARD, 100)], 14900, status=400, text=PAYLOAD),
    Case("too many lines", [line(MOUSE_PAD)] * 51, 1989, status=400, text=PAYLOAD),
    Case("a product id too long", [line("1" * 21)], 129, status=400, text=PAYLOAD),
    Case("nothing to pay", [line(KEYBOARD)], 0, status=400, text=PAYLOAD),
    Case("money back", [line(KEYBOARD)], -149, status=400, text=PAYLOAD),
    Case("a total too large", [line(KEYBOARD)], 1_000_000.01, status=400, text=PAYLOAD),
    Case("a cent less", [line(KEYBOARD)], 148.99, status=400, text=PRICE),
    Case("a float as exact as can be", [line(KEYBOARD)], 149.0),
    Case("a hair too much", [line(KEYBOARD)], 149.0000000001, status=400, text=PRICE),
    Case("the last of them", [line(MOUSE_PAD, 8)]),
    Case("one too many", [line(MOUSE_PAD, 9)], status=409, text=STOCK),
    Case("one too many in two lines", [line(MOUSE_PAD, 4), line(MOUSE_PAD, 5)], status=409, text=STOCK),
    Case("a price comes before stock", [line(MOUSE_PAD, 9)], 1, status=400, text=PRICE),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_both_doors_have_the_same_rules(anna: Shopper, bob: Shopper, visitor: Shopper, case: Case) -> None:
    items = list(case.items)
    by_rest = anna.order(items, case.total, case.key)
    by_argument = create(bob, items, case.total, case.key)
    assert by_rest.status_code == case.status, by_rest.text
    if case.text is not None:
        assert by_rest.json()["error"] == case.text
        refused(by_argument, case.text.removesuffix(" header"))
        assert anna.orders() == bob.orders() == []
    else:
        same = {"total": worth(items), "items": items, "status": "processing"}
        assert {name: created(by_argument)[name] for name in same} == same
        assert {name: assert_data(by_rest, 201)[name] for name in same} == same
        if case.key is not None:  # the duplicate through the other door
            assert assert_data(bob.order(items, case.total, case.key))["id"] == created(by_argument)["id"]
            assert created(create(anna, items, case.total, case.key))["id"] == assert_data(by_rest, 201)["id"]
        assert len(anna.orders()) == len(bob.orders()) == 1
    refused(create(visitor, items, case.total, case.key), "Unauthorized")


# ---- the cookie's rule, judged by what the browser sent to this door ----


def _cookie(shopper: Shopper, **headers: str) -> dict[str, str]:
    return {
        "Authorization": "",
        "Cookie": f"__session={shopper.token}",
        **{k.replace("_", "-"): v for k, v in headers.items()},
    }


def test_the_cookie_counts_from_our_own_page_alone(anna: Shopper) -> None:
    body = json.dumps({"query": CREATE, "variables": {"items": [line(KEYBOARD)], "total": 149}}).encode()
    listing = json.dumps({"query": "{orders{id}}"}).encode()
    own = anna.place.url

    def send(content: bytes, **headers: str) -> httpx.Response:
        sent = _cookie(anna, **headers)
        del sent["Authorization"]
        visitor = Shopper(anna.place, None)
        return visitor.send("POST", "/api/graphql", content, sent)

    for headers in (
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": own, "Content_Type": "text/plain"},
        {"Sec_Fetch_Site": "same-origin", "Content_Type": "application/x-www-form-urlencoded"},
    ):
        refused(send(body, **headers), "Unauthorized")
        assert send(listing, **headers).json() == {"data": {"orders": []}}
    order = created(send(body, Origin=own))
    assert send(listing, Sec_Fetch_Site="same-origin").json() == {"data": {"orders": [{"id": order["id"]}]}}


def test_a_bearer_header_even_a_useless_one_wins_over_the_cookie(anna: Shopper) -> None:
    sent = _cookie(anna, Origin=anna.place.url) | {"Authorization": "Bearer nonsense"}
    refused(ask(anna, CREATE, {"items": [line(KEYBOARD)], "total": 149}, sent), "Unauthorized")
