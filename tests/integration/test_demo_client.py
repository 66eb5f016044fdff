"""The demo's shopper knows which of its answers may hide a 201."""

import ssl
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler

import pytest

from services.cli.demo_client import Shopper
from services.cli.demo_plan import Checkout, Protection
from tests.nginx import EchoService, send

HEADPHONES = Checkout("marta", Protection.KEY, {"1": 1}, Decimal("129.00"))


@pytest.fixture
def shop() -> Iterator[EchoService]:
    service = EchoService("checkout")
    yield service
    service.stop()


@pytest.mark.parametrize(("status", "may_hide_it"), [(503, True), (502, True), (429, False)])
async def test_an_answer_that_does_not_tell_what_was_done_may_have_hidden_a_201(
    shop: EchoService, status: int, may_hide_it: bool
) -> None:
    def refuse_once(request: BaseHTTPRequestHandler) -> None:
        known = (200, {"data": {"id": "b7e1"}})
        send(request, *(known if len(shop.requests) > 1 else (status, {"error": "please retry"})))

    shop.answer = refuse_once
    shopper = Shopper(f"http://{shop.address}", 1, ssl.create_default_context())
    [answer] = await shopper.check_out(HEADPHONES, "token")
    await shopper.close()
    assert (answer.status, answer.was_lost) == (200, may_hide_it)
