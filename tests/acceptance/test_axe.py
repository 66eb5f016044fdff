"""axe finds nothing on any page, of the shop and of the console, in light and in dark."""

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page, expect

from tests.acceptance.browser import NewShopper, Shopper
from tests.acceptance.console_stage import buy, lose_a_byte, plant_each_kind, stream_of, wait_until_taken
from tests.acceptance.system import System
from tests.acceptance.test_pages_plain import FAULTS, SIGNED_IN, VISITED
from tests.servers import wait_until

RUN = """options => axe.run(document, options).then((found) => found.violations.map(
  (one) => `${one.id}: ${one.nodes.map((node) => node.target + ' ' + node.failureSummary).slice(0, 3).join(' | ')}`))"""


def check(page: Page, place: str) -> None:
    """Every rule in the light; in the dark, those that colours can break. And what the shop asks of its own pages."""
    page.evaluate(AXE_SCRIPT)
    assert page.evaluate(RUN, {"resultTypes": ["violations"], "preload": False}) == [], f"{place}, light"
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(RUN, {"runOnly": {"type": "rule", "values": ["color-contrast"]}, "preload": False}) == [], (
        f"{place}, dark"
    )
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 320, "height": 700})
    faults = FAULTS.replace("'footer', ", "") if "/admin" in page.url else FAULTS
    # charts follow the new width with their next frame
    wait_until(lambda: page.evaluate(faults) == [], f"{place}, narrow: nothing is at fault")
    page.set_viewport_size({"width": 1280, "height": 800})


@pytest.fixture
def wide(new_shopper: NewShopper) -> Shopper:
    """Somebody at a desk, who has asked for no motion: axe must not meet a colour half way."""
    return new_shopper(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")


def test_axe_finds_nothing_in_the_shop(wide: Shopper) -> None:
    for path in VISITED:
        check(wide.go(path), path)
    wide.sign_in("admin")
    wide.add("3")
    wide.review(is_paid_later=True)
    wide.confirm()
    check(wide.page, "the order completed")
    wide.add("1", 2)
    for path in ["/cart", *SIGNED_IN]:
        check(wide.go(path), path)


def test_axe_finds_nothing_in_the_console(running: System, wide: Shopper) -> None:
    [order_id] = buy(running, wide.name)
    plant_each_kind(running)
    lose_a_byte(running, wide.name)
    wait_until_taken(running)
    wide.sign_in("admin")
    page = wide.go("/admin")
    expect(page.locator("#live-text")).to_have_text("Live")
    check(page, "the overview")
    with stream_of(running) as client:
        client.set("till:{0}:intake-paused", "100 dead letters in a row; the last: undecodable")
    try:
        check(wide.go("/admin"), "the overview, paused")
        page.get_by_label("Reason").fill("looked at, mended")
        page.get_by_role("button", name="Lift the pause").click()
        expect(page.get_by_role("heading", name="Intake is paused")).to_have_count(0)
    finally:
        with stream_of(running) as client:
            client.delete("till:{0}:intake-paused")
    for path in [
        f"/streams?user={wide.name}", "/streams?user=nobody", "/streams?first=x", "/streams/1-1", "/audit",
        f"/orders?user={wide.name}", f"/orders/{order_id}", "/dead-letters?state=", "/dead-letters?event=x", "/replays",
        "/shadow",
    ]:  # fmt: skip
        check(wide.go(f"/admin{path}"), path)
    wide.go(f"/admin/streams?user={wide.name}").locator("td a").first.click()
    check(page, "an entry")
    _settle_a_letter(wide)
    _replay(wide)
    wide.go("/admin/reconcile").get_by_label("Reason").fill("to see")
    page.get_by_role("button", name="Compare now").click()
    expect(page.locator(".counts")).to_be_visible()
    check(page, "a comparison")
    wide.go(f"/admin/shadow?order={order_id}")
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", name="0 of 1 orders differ")).to_be_visible()
    check(page, "a shadow")


def _settle_a_letter(operator: Shopper) -> None:
    page = operator.go("/admin/dead-letters")
    page.locator("td a").first.click()
    page.locator("#edit-why").fill("to see the fault")
    page.get_by_role("button", name="Check and keep the edit").click()
    check(page, "a dead letter with a fault")
    page.locator("#fate-why").fill("not worth mending")
    page.get_by_role("button", name="Preview discard").click()
    check(page, "a preview")
    page.get_by_role("button", name="Discard them").click()
    expect(page.get_by_role("heading", name="1 discarded")).to_be_visible()
    check(page, "a result")


def _replay(operator: Shopper) -> None:
    page = operator.go(f"/admin/replays?user={operator.name}")
    page.get_by_label("Reason").fill("to see")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("button", name="Run it")).to_be_visible()
    check(page, "a replay's preview")
    page.get_by_label("Reason").fill("to see")
    page.get_by_role("button", name="Run it").click()
    wait_until(lambda: page.locator(".tag.finished").count() == 1, "the replay has finished")
    check(page, "a replay that has finished")
