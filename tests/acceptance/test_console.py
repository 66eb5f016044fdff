"""The console in a real Chromium: what an operator does there, also with keys alone, and what a viewer cannot."""

import re

import asyncpg
import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.browser import NewShopper, Shopper
from tests.acceptance.console_stage import buy, lose_a_byte, wait_until_taken
from tests.acceptance.system import System
from tests.servers import run_apart, wait_until

PLACES = ["", "/streams", "/orders", "/dead-letters", "/replays", "/shadow", "/reconcile", "/audit"]


@pytest.fixture
def olga(new_shopper: NewShopper) -> Shopper:
    """An operator."""
    olga = new_shopper(viewport={"width": 1280, "height": 800})
    olga.sign_in("operator")
    return olga


def press_until(page: Page, key: str, name: str) -> None:
    """Moves the focus with `key` until it is on what a screen reader calls `name`."""
    named = "() => { const e = document.activeElement; return (e.labels?.[0]?.innerText || e.innerText || '').trim(); }"
    for _ in range(120):
        page.keyboard.press(key)
        if page.evaluate(named) == name:
            return
    pytest.fail(f"no way to {name!r} by keys")


def enter(page: Page) -> None:
    """Follows the link or sends the form that has the focus."""
    with page.expect_navigation():
        page.keyboard.press("Enter")


def test_a_dead_letter_is_edited_previewed_and_requeued(running: System, olga: Shopper) -> None:
    order_id = lose_a_byte(running, "mara@example.com")
    wait_until_taken(running)
    page = olga.go(f"/admin/dead-letters?event={order_id}")
    page.get_by_role("group", name="Dead letters").get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("buried")
    lost = page.get_by_label("Payload, the event as JSON").input_value()
    page.get_by_label("Payload, the event as JSON").fill(lost + "]")
    page.locator("#edit-why").fill("a lost byte")
    page.get_by_role("button", name="Check and keep the edit").click()
    fault = page.locator("#edit-payload-fault")
    expect(fault).to_contain_text("The edited entry cannot be recorded")
    expect(page.get_by_label("Payload, the event as JSON")).to_have_attribute("aria-describedby", "edit-payload-fault")
    expect(page.get_by_label("Payload, the event as JSON")).to_have_value(lost + "]")
    page.get_by_label("Payload, the event as JSON").fill(lost + "}")
    page.get_by_role("button", name="Check and keep the edit").click()
    expect(page.get_by_text("The edit is kept beside the original")).to_be_visible()
    expect(page.locator("#fields ~ dl pre", has_text=lost)).to_have_count(1)  # the original
    page.locator("#fate-why").fill("mended by hand")
    page.get_by_role("button", name="Preview requeue").click()
    expect(page.get_by_text("Nothing has changed yet.")).to_be_visible()
    expect(page.locator(".count.insert dd")).to_have_text("1")
    assert running.recorded("mara@example.com").count(str(order_id)) == 0
    page.get_by_role("button", name="Requeue them").click()
    expect(page.get_by_role("heading", name="1 requeued")).to_be_visible()
    expect(page.get_by_role("link", name=re.compile(r"^\d+-\d+$"))).to_be_visible()
    wait_until(lambda: str(order_id) in running.recorded("mara@example.com"), "the mended order is recorded")
    page.goto(f"{olga.url}/admin/orders/{order_id}")
    expect(page.locator(".timeline")).to_contain_text("buried: undecodable")
    expect(page.locator(".timeline")).to_contain_text("recorded by consumer-1")
    page.goto(f"{olga.url}/admin/audit")
    expect(page.get_by_text("rows are as they were written")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("dead-letters.requeue mended by hand")).first).to_be_visible()


def test_a_replay_is_previewed_run_paused_resumed_and_is_as_planned(running: System, olga: Shopper) -> None:
    user = "jonas@example.com"
    buy(running, user, 40)
    wait_until_taken(running)
    page = olga.go(f"/admin/replays?user={user}")
    page.get_by_label("Events a second").fill("20")
    page.get_by_label("Reason").fill("the totals looked odd")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#run-text")).to_have_text("A preview. Nothing is sent until you run it.")
    expect(page.locator(".count.already_there dd")).to_have_text("40")
    page.get_by_label("Reason").fill("the preview is harmless")
    page.get_by_role("button", name="Run it").click()
    expect(page.locator("#run-text")).to_have_text(re.compile(r"^[1-9]\d* of 40 sent\.$"))
    page.locator("#run-why").fill("not now")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#run-text")).to_have_text(re.compile(r"^Paused after \d+ of 40\.$"))
    page.get_by_label("Reason").fill("now")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#run-text")).to_have_text("Finished, to the unit as planned.")
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "40")
    assert len(running.recorded(user)) == 40
    page.get_by_role("link", name="Replays").first.click()
    expect(page.get_by_role("row", name=re.compile("the totals looked odd")).first).to_contain_text("finished")


def test_missing_rows_are_named_and_brought_back_by_a_reconciliation(running: System, olga: Shopper) -> None:
    [order_id] = buy(running, "lena@example.com")
    wait_until_taken(running)

    async def lose_a_row() -> None:
        connection = await asyncpg.connect(running.state.database_url)
        await connection.execute("DELETE FROM order_items WHERE order_id = $1 AND line = 1", order_id)
        await connection.close()

    run_apart(lose_a_row())
    page = olga.go("/admin/reconcile")
    page.get_by_label("Reason").fill("a restore went wrong")
    page.get_by_role("button", name="Compare now").click()
    row = page.get_by_role("row", name=re.compile(str(order_id)))
    expect(row).to_contain_text("missing")
    page.locator("#fix-why").fill("bring it back")
    page.get_by_role("button", name="Add what is missing").click()
    expect(page.locator("#verdict")).to_contain_text("Clean: what was missing is there again.")
    expect(page.get_by_role("status")).to_have_text("Clean: what was missing is there again.")  # spoken, too
    page.locator("#compare-why").fill("to be sure")
    page.get_by_role("button", name="Compare now").click()
    expect(page.locator("#verdict")).to_contain_text("Clean: log and tables agree.")


def test_every_decision_can_be_made_with_the_keyboard_alone(running: System, olga: Shopper) -> None:
    order_id = lose_a_byte(running, "keys@example.com")
    wait_until_taken(running)
    page = olga.go("/admin")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    press_until(page, "Tab", "Dead letters")
    enter(page)
    press_until(page, "Tab", "Event id")
    page.keyboard.type(str(order_id))
    enter(page)
    expect(page.get_by_label("Event id")).to_have_value(str(order_id))
    press_until(page, "Tab", "The ones ticked above")
    press_until(page, "ArrowDown", "All buried ones that match the filters, on every page")
    press_until(page, "Tab", "Reason")
    page.keyboard.type("spam")
    press_until(page, "Tab", "Preview discard")
    enter(page)
    expect(page.get_by_text("1 would be given up")).to_be_visible()
    press_until(page, "Tab", "Discard them")
    enter(page)
    expect(page.get_by_role("heading", name="1 discarded")).to_be_visible()
    press_until(page, "Tab", "Replays")
    enter(page)
    press_until(page, "Tab", "User")
    page.keyboard.type("nobody@example.com")
    press_until(page, "Tab", "Reason")
    page.keyboard.type("to try the keys")
    enter(page)
    expect(page.locator("#run-text")).to_have_text("A preview. Nothing is sent until you run it.")


def test_a_viewer_sees_every_page_and_nothing_that_writes(running: System, new_shopper: NewShopper) -> None:
    vera, shopper = new_shopper(), new_shopper()
    vera.sign_in("viewer")
    shopper.sign_in()
    for place in PLACES:
        page = vera.go(f"/admin{place}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        actions = page.locator("form[method=post]").evaluate_all("forms => forms.map((form) => form.action)")
        assert set(actions) <= {f"{vera.url}/sign-out", f"{vera.url}/admin/shadow"}, place
        answer = shopper.page.goto(f"{shopper.url}/admin{place}")
        assert answer is not None
        assert (answer.status, "Not with your role" in shopper.page.content()) == (403, True), place
    token = vera.page.locator("input[name=form_token]").first.get_attribute("value") or ""
    run = "3f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6f"
    for path in [
        "resume", "dead-letters/preview", "dead-letters/settle", "dead-letters/1/edit", "replays",
        f"replays/{run}/run", f"replays/{run}/pause", "reconcile",
    ]:  # fmt: skip
        form = {"form_token": token, "why": "curious", "act": "discard", "which": "matching", "choice": "{}"}
        sent = vera.page.request.post(f"{vera.url}/admin/{path}", form=form, headers={"Origin": vera.url})
        assert (sent.status, "ask an admin" in sent.text()) in {(403, True), (404, False)}, path


@pytest.fixture
def overview(olga: Shopper) -> Page:
    """The overview, once it is live."""
    page = olga.go("/admin")
    expect(page.locator("#live-text")).to_have_text("Live")
    return page


def test_the_overview_moves_by_itself_until_it_is_told_not_to(running: System, overview: Page) -> None:
    expect(overview.locator("svg[data-chart] path.stroke-a").first).to_be_attached()
    buy(running, "live@example.com", 30)
    overview.get_by_text("The same as a table").click()
    rows = overview.locator("#sample-rows tr")
    expect(rows.filter(has_text=re.compile(r"^\d\d:\d\d:\d\d(?!0\.0)[1-9]\d*\.\d"))).not_to_have_count(0)
    overview.get_by_role("button", name="Pause updates").click()
    expect(overview.locator("#live-text")).to_have_text("Updates are paused")
    overview.get_by_role("button", name="Go on updating").click()
    expect(overview.locator("#live-text")).to_have_text("Live")
