"""The old bug in a real Chromium: the page submits on every render, and there is one order.

TILLROLL_SLOW=1 runs it twenty times.
"""

import os

import pytest
from playwright.sync_api import Page, Route, expect

from tests.acceptance.browser import NewShopper, Shopper

RUNS = 20 if os.environ.get("TILLROLL_SLOW") else 3
LATENCIES = (0, 120, 400)  # milliseconds that every request of the page waits


def show(shopper: Shopper, latency: int) -> Page:
    """A signed-in shopper with a cart opens the exhibit over a slow line."""
    shopper.sign_in()
    shopper.add("3", 2)
    page = shopper.page
    line = shopper.context.new_cdp_session(page)
    line.send("Network.enable")
    line.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": latency, "downloadThroughput": -1, "uploadThroughput": -1},
    )
    return shopper.go("/checkout/success?unguarded=1")


@pytest.mark.parametrize("run", range(RUNS))
def test_a_page_that_submits_on_every_render_makes_one_order(anna: Shopper, run: int) -> None:
    sent: list[str] = []
    anna.page.on("request", lambda request: sent.append(request.method) if "/api/orders" in request.url else None)
    page = show(anna, LATENCIES[run % len(LATENCIES)])
    expect(page.locator("#exhibit[data-done]")).to_be_visible(timeout=30_000)
    requests = sent.count("POST")
    assert requests >= 2
    assert page.locator("#sent").inner_text() == str(requests)
    assert page.locator("#orders").inner_text() == "1"
    [order] = anna.orders()
    assert page.locator("#order").inner_text() == order["id"]
    assert page.locator("#answers").inner_text().count("201") == 1


def test_lost_answers_and_the_old_clients_retries_make_one_order(anna: Shopper) -> None:
    to_lose = iter(range(4))
    lost: list[int] = []

    def lose(route: Route) -> None:
        if route.request.method == "POST" and next(to_lose, None) is not None:
            lost.append(route.fetch().status)  # while it waits, other requests come in here
            route.abort()
        else:
            route.continue_()

    anna.page.route("**/api/orders", lose)
    page = show(anna, 50)
    expect(page.locator("#exhibit[data-done]")).to_be_visible(timeout=30_000)
    assert sorted(lost, reverse=True) == [201, 200, 200, 200]
    assert int(page.locator("#sent").inner_text()) >= 6
    assert len(anna.orders()) == 1


def test_an_empty_cart_has_nothing_to_submit(new_shopper: NewShopper) -> None:
    anna = new_shopper()
    anna.sign_in()
    anna.go("/checkout/success?unguarded=1")
    expect(anna.page.get_by_text("there is nothing to submit")).to_be_visible()
    assert anna.orders() == []
