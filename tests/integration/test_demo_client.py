"""The demo's shopper sends a checkout again where the first storefront does."""

import ssl
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler

import pytest

from services.cli.demo_client import Answer, Shopper
from services.cli.demo_plan import Checkout, Protection
from tests.nginx import EchoService, send

HEADPHONES = Checkout("marta", Protection.KEY, {"1": 1}, Decimal("129.00"))


@pytest.fixture
def shop() -> Iterator[EchoService]:
    service = EchoService("checkout")
    yield service
    service.stop()


@pytest.mark.parametrize("status", [429, 502, 503])
async def test_what_the_first_storefront_sends_again_is_sent_again(shop: EchoService, status: int) -> None:
    def refuse_once(request: BaseHTTPRequestHandler) -> None:
        known = (200, {"data": {"id": "b7e1"}})
        send(request, *(known if len(shop.requests) > 1 else (status, {"error": "please retry"})))

    shop.answer = refuse_once
    shopper = Shopper(f"http://{shop.address}", 1, ssl.create_default_context())
    [answer] = await shopper.check_out(HEADPHONES, "token")
    await shopper.close()
    assert (answer.status, len(shop.requests)) == (200, 2)


async def test_a_shop_that_does_not_answer_is_told_with_its_reason(shop: EchoService) -> None:
    shop.stop()
    shopper = Shopper(f"http://{shop.address}", 1, ssl.create_default_context())
    [answer] = await shopper.check_out(HEADPHONES, "token")
    await shopper.close()
    assert answer == Answer(0, None, "no answer: ConnectError")
