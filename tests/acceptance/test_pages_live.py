"""Live status in a real Chromium: what happens to an order elsewhere is seen, and told, without a reload."""

import os
import signal

import httpx
from playwright.sync_api import Page, expect

from tests.acceptance.browser import NewShopper, Shopper
from tests.acceptance.system import System
from tests.servers import wait_until


def _buy(anna: Shopper, product: str) -> str:
    """The id of an order that is not paid yet; its success page is open."""
    anna.add(product)
    anna.review(is_paid_later=True)
    if "/sign-in" in anna.page.url:
        anna.sign_in()
    anna.confirm()
    order_id: str = anna.orders()[0]["id"]
    return order_id


def _cancel(tab: Page) -> None:
    tab.get_by_role("button", name="Cancel order").first.click()
    expect(tab.get_by_role("status")).to_have_text("The order is cancelled")


def test_a_cancellation_in_one_tab_is_seen_in_the_others_without_a_reload(anna: Shopper) -> None:
    anna.sign_in()
    order_id = _buy(anna, "2")
    success, other, acting = anna.page, anna.new_tab(), anna.new_tab()
    other.goto(f"{anna.url}/my-purchases")
    acting.goto(f"{anna.url}/my-purchases")
    for tab in (success, other, acting):
        expect(tab.locator(f'[data-order="{order_id}"]')).to_have_text("processing")
    _cancel(acting)
    for tab in (success, other):
        expect(tab.locator(f'[data-order="{order_id}"]')).to_have_text("cancelled")
        expect(tab.get_by_role("status")).to_contain_text("is now cancelled")
    expect(other.get_by_role("button", name="Cancel order")).to_have_count(0)


def test_what_happened_while_the_stream_was_away_is_seen_when_it_is_back(anna: Shopper) -> None:
    anna.sign_in()
    order_id = _buy(anna, "1")
    page = anna.new_tab()
    page.route("**/api/orders/events", lambda route: route.fulfill(status=503, headers={"Retry-After": "1"}))
    page.goto(f"{anna.url}/my-purchases")
    paid = anna.context.request.patch(
        f"{anna.url}/api/orders",
        data={"id": order_id},
        headers={"Origin": anna.url, "Content-Type": "application/json"},
    )
    assert paid.ok, paid.text()
    expect(page.locator(f'[data-order="{order_id}"]')).to_have_text("processing")
    page.unroute("**/api/orders/events")
    expect(page.locator(f'[data-order="{order_id}"]')).to_have_text("paid")


def test_the_browser_resumes_by_itself_after_a_restart_of_the_server(running: System, anna: Shopper) -> None:
    anna.sign_in()
    order_id = _buy(anna, "1")
    page = anna.page
    with page.expect_response("**/api/orders/events"):
        page.reload()
    gateway = running.state.children["gateway"].process.pid
    with page.expect_response(lambda answer: answer.url.endswith("/events") and answer.ok, timeout=60_000):
        os.kill(gateway, signal.SIGTERM)
        wait_until(lambda: running.state.children["gateway"].process.pid != gateway, "the gateway is started again")
        wait_until(lambda: _answers(running.url), "the gateway answers")
    assert running.pay(anna.name, order_id).status_code == 200
    expect(page.locator(f'[data-order="{order_id}"]')).to_have_text("paid", timeout=20_000)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_without_scripts_the_page_tells_the_status_and_a_reload_the_next(new_shopper: NewShopper) -> None:
    anna = new_shopper(java_script_enabled=False)
    anna.sign_in()
    anna.add("3")
    anna.review(is_paid_later=True)
    anna.confirm()
    anna.go("/my-purchases")
    expect(anna.page.locator("[data-order]")).to_have_text("processing")
    anna.page.get_by_role("button", name="Cancel order").click()
    anna.go("/my-purchases")
    expect(anna.page.locator("[data-order]")).to_have_text("cancelled")
