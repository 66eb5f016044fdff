"""The shop in a real Chromium: from the window to the cancelled order, and nothing that a shopper does doubles one."""

import re

import httpx
import pytest
from playwright.sync_api import Route, expect

from tests.acceptance.browser import NewShopper, Shopper, items_of
from tests.acceptance.system import System


def test_browse_add_check_out_succeed_and_cancel(anna: Shopper) -> None:
    page = anna.go("/")
    page.get_by_role("link", name="Browse products").click()
    page.get_by_role("link", name="Mechanical Keyboard").first.click()
    page.get_by_role("button", name="Add to cart").click()
    expect(page.get_by_role("status")).to_have_text("Added to cart")
    anna.add("1", 2)
    expect(page.get_by_role("link", name="Cart 3 items")).to_be_visible()
    page.get_by_role("link", name="Cart 3 items").click()
    page.get_by_role("link", name="Proceed to checkout").click()
    anna.sign_in()  # and back to where the guard stood
    expect(page.get_by_role("heading", name="Checkout", exact=True)).to_be_visible()
    page.get_by_role("link", name="Pay now").click()
    expect(page.get_by_role("heading", name="Review and pay")).to_be_visible()
    anna.confirm()
    [paid] = anna.orders()
    assert (items_of(paid), paid["total"], paid["status"]) == ({"2": 1, "1": 2}, 407, "paid")
    expect(page.get_by_role("link", name="Cart", exact=True)).to_be_visible()

    anna.add("3")
    anna.review(is_paid_later=True)
    anna.confirm()
    page.get_by_role("link", name="My purchases", exact=True).click()
    expect(page.get_by_role("heading", name="My purchases")).to_be_visible()
    page.get_by_role("button", name="Cancel order").click()
    expect(page.get_by_role("status")).to_have_text("The order is cancelled")
    assert [order["status"] for order in anna.orders()] == ["cancelled", "paid"]
    page.reload()
    expect(page.get_by_text("cancelled", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Cancel order")).to_have_count(0)


def test_products_are_found_by_word_category_and_sorted(anna: Shopper) -> None:
    page = anna.go("/products")
    titles = page.locator(".card-title")
    page.get_by_label("Sort by").select_option("Price, low to high")
    page.get_by_role("button", name="Show").click()
    expect(titles).to_have_text(["Gaming Mouse Pad", "Wireless Headphones", "Mechanical Keyboard"])
    page.get_by_label("Search").fill("keyboard")
    page.get_by_role("button", name="Show").click()
    expect(titles.first).to_have_text("Mechanical Keyboard")
    page.get_by_label("Search").fill("")
    page.get_by_label("Category").select_option("Audio")
    page.get_by_role("button", name="Show").click()
    expect(titles).to_have_text(["Wireless Headphones"])
    page.get_by_label("Search").fill('<b>"nothing"</b>')
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("No product matches.")).to_be_visible()
    expect(page.get_by_label("Search")).to_have_value('<b>"nothing"</b>')


@pytest.mark.parametrize("path", ["/checkout", "/checkout/pay", "/checkout/success?order=x", "/my-purchases", "/admin"])
def test_the_signed_out_are_led_to_the_sign_in_and_back(running: System, anna: Shopper, path: str) -> None:
    answer = httpx.get(running.url + path, trust_env=False)
    assert (answer.status_code, answer.content) == (307, b"")
    assert answer.headers["Location"].startswith("/sign-in?next=/")
    anna.add("2")
    anna.go(path)
    anna.sign_in("admin")
    assert anna.page.url == running.url + path


def test_the_admin_page_is_for_operators(new_shopper: NewShopper) -> None:
    anna, olga = new_shopper(), new_shopper()
    anna.sign_in()
    answer = anna.page.goto(f"{anna.url}/admin")
    assert answer is not None
    assert answer.status == 403
    expect(anna.page.get_by_text("Operator access required")).to_be_visible()
    anna.add("3")
    anna.review()
    anna.confirm()
    [order] = anna.orders()
    olga.sign_in("admin")
    olga.page.get_by_role("link", name="Console").click()
    olga.page.get_by_role("link", name="Orders").click()
    olga.page.get_by_label("User").fill(anna.name)
    row = olga.page.get_by_role("row", name=re.compile(order["id"]))
    for _ in range(100):  # recorded soon: asked again until it is
        olga.page.get_by_role("button", name="Show").click()
        olga.page.wait_for_load_state()
        if row.count():
            break
    expect(row).to_contain_text("Gaming Mouse Pad × 1")


def test_a_double_click_is_one_order(anna: Shopper) -> None:
    anna.sign_in()
    anna.add("2")
    anna.review().get_by_role("button", name="Confirm payment").dblclick()
    expect(anna.page.get_by_role("heading", name="Order completed")).to_be_visible()
    assert len(anna.orders()) == 1


def test_going_back_and_confirming_again_is_the_same_order(anna: Shopper) -> None:
    anna.sign_in()
    anna.add("2")
    anna.review()
    anna.confirm()
    first = anna.page.url
    anna.page.reload()
    expect(anna.page.get_by_role("heading", name="Order completed")).to_be_visible()
    anna.page.go_back()  # the review page is asked for again: there is nothing left to confirm
    expect(anna.page.get_by_role("heading", name="Your cart")).to_be_visible()
    assert [f"order={order['id']}" in first for order in anna.orders()] == [True]


def test_two_tabs_are_one_order(anna: Shopper) -> None:
    anna.sign_in()
    anna.add("2", 2)
    other = anna.new_tab()
    anna.review()
    anna.review(other)
    anna.confirm()
    anna.confirm(other)
    assert other.url == anna.page.url
    assert len(anna.orders()) == 1


def test_the_same_cart_filled_again_is_a_second_order(anna: Shopper) -> None:
    anna.sign_in()
    for _ in range(2):
        anna.add("2")
        anna.review()
        anna.confirm()
    assert len({order["id"] for order in anna.orders()}) == 2


def test_a_page_that_shows_another_cart_than_there_is_orders_nothing(anna: Shopper) -> None:
    anna.sign_in()
    anna.add("2", 2)
    stale = anna.new_tab()
    anna.review(stale)
    anna.go("/cart").get_by_role("button", name="Remove Mechanical Keyboard").click()
    expect(anna.page.get_by_text("Your cart is empty.")).to_be_visible()
    anna.add("1")
    stale.get_by_role("button", name="Confirm payment").click()
    expect(stale.get_by_role("alert")).to_contain_text("Your cart has changed")
    assert anna.orders() == []
    anna.confirm(stale)  # it shows what there is, and that can be confirmed
    assert [items_of(order) for order in anna.orders()] == [{"1": 1}]


def test_a_lost_answer_is_asked_for_again_and_is_one_order(anna: Shopper) -> None:
    anna.sign_in()
    anna.add("2")
    to_lose = iter(range(2))
    lost: list[int] = []

    def lose_two(route: Route) -> None:
        if route.request.method == "POST" and next(to_lose, None) is not None:
            lost.append(route.fetch().status)  # it arrived, and was answered
            route.abort()
        else:
            route.continue_()

    anna.review()
    anna.page.route("**/api/orders", lose_two)
    anna.confirm()
    assert lost == [201, 200]
    assert len(anna.orders()) == 1


def test_the_shop_path_needs_no_mouse(anna: Shopper) -> None:
    page = anna.go("/products/2")

    def reach(name: str) -> None:
        """Tabs until what has the focus bears that name, and the focus can be seen."""
        for _ in range(60):
            page.keyboard.press("Tab")
            focused = page.locator(":focus")
            if name in (focused.inner_text() or "", focused.get_attribute("name") or ""):
                assert focused.evaluate("element => getComputedStyle(element).outlineStyle") != "none"
                return
        pytest.fail(f"no way to {name} with the Tab key")

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    reach("Add to cart")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("Added to cart")
    reach("View cart")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Your cart")).to_be_visible()
    reach("Proceed to checkout")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    reach("name")
    page.keyboard.type(anna.name)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Checkout", exact=True)).to_be_visible()
    reach("Pay now")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Review and pay")).to_be_visible()
    reach("payment")
    page.keyboard.press("ArrowDown")
    reach("Confirm payment")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Order completed")).to_be_visible()
    reach("See all orders")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="My purchases")).to_be_visible()
    reach("Cancel order")
    page.keyboard.press("Space")
    expect(page.get_by_role("status")).to_have_text("The order is cancelled")
    expect(page.locator(":focus")).to_contain_text("Order of")
