"""The pages without JavaScript, on a phone, and for readers of any kind: what the HTML itself must be."""

import re
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.browser import NewShopper, Shopper
from tests.acceptance.system import System

# What the browser itself can tell of a page's faults for readers. axe finds more (test_axe.py).
FAULTS = """() => {
  const found = [];
  const named = (element) => (element.innerText || element.getAttribute('aria-label') || element.value || '').trim();
  for (const tag of ['h1', 'main', 'header', 'footer', 'title'])
    if (document.querySelectorAll(tag).length !== 1) found.push(`not one <${tag}>`);
  if (document.documentElement.lang !== 'en') found.push('no language');
  const ids = [...document.querySelectorAll('[id]')].map((element) => element.id);
  if (new Set(ids).size !== ids.length) found.push('an id stands there twice');
  for (const image of document.images)
    if (!image.hasAttribute('alt') || !image.naturalWidth) found.push(image.outerHTML);
  for (const link of document.querySelectorAll('a:not([aria-hidden]), button'))
    if (!named(link)) found.push(link.outerHTML);
  for (const field of document.querySelectorAll('input:not([type=hidden]), select'))
    if (!field.labels.length) found.push(field.outerHTML);
  const levels = [...document.querySelectorAll('h1,h2,h3')].map((heading) => Number(heading.tagName[1]));
  levels.forEach((level, at) => { if (level > (levels[at - 1] ?? 0) + 1) found.push(`h${level} after too few`); });
  if (document.querySelector('[style], style, script:not([src]), [onclick]')) found.push('inline style or script');
  if (document.documentElement.scrollWidth > innerWidth)
    for (const part of document.body.querySelectorAll('*'))
      if (part.getBoundingClientRect().right > innerWidth) found.push(`too wide: ${part.outerHTML.slice(0, 200)}`);
  return found;
}"""
VISITED = ["/", "/products", "/products?q=nothing", "/products/1", "/products/unknown", "/cart", "/sign-in", "/sign-up"]
SIGNED_IN = ["/checkout", "/checkout/pay", "/checkout/error", "/my-purchases", "/checkout/success?order=x"]


@pytest.fixture
def plain(new_shopper: NewShopper) -> Shopper:
    """A shopper whose browser runs no script."""
    return new_shopper(java_script_enabled=False)


def submit_twice(page: Page) -> list[str]:
    """Sends the page's form two times, as a double click does without a script; the pages that answer it."""
    fields = {
        str(field.get_attribute("name")): str(field.get_attribute("value"))
        for field in page.locator("form[action='/checkout/pay'] input[type=hidden]").all()
    }
    sent = {**fields, "payment": "demo"}
    headers = {"Origin": page.url.removesuffix("/checkout/pay")}
    return [page.request.post(page.url, form=sent, headers=headers).url for _ in range(2)]


def test_the_shop_path_works_without_javascript(plain: Shopper) -> None:
    plain.add("2")
    plain.add("2")
    page = plain.go("/products")
    page.get_by_role("listitem").filter(has_text="Gaming Mouse Pad").get_by_role("button", name="Add to cart").click()
    expect(page.get_by_role("status")).to_have_text("Added to cart")
    page.get_by_role("link", name="Cart 3 items").click()
    page.get_by_label("Quantity of Mechanical Keyboard").fill("3")
    page.get_by_role("button", name="Update Mechanical Keyboard").click()
    page.get_by_role("button", name="Remove Gaming Mouse Pad").click()
    expect(page.get_by_role("link", name="Cart 3 items")).to_be_visible()
    page.get_by_role("link", name="Proceed to checkout").click()
    plain.sign_in()
    page.get_by_role("link", name="Pay now").click()
    plain.confirm()
    [order] = plain.orders()
    assert (order["total"], order["status"]) == (447, "paid")
    plain.add("1")
    plain.review(is_paid_later=True)
    plain.confirm()
    page.get_by_role("link", name="See all orders").click()
    page.get_by_role("button", name="Cancel order").click()
    expect(page.get_by_text("The order is cancelled.")).to_be_visible()
    assert [order["status"] for order in plain.orders()] == ["cancelled", "paid"]


def test_the_hidden_key_makes_every_sending_of_a_form_one_order(plain: Shopper) -> None:
    plain.sign_in()
    plain.add("2", 2)
    tab = plain.new_tab()
    plain.review()
    plain.review(tab)
    first, second = submit_twice(plain.page)
    assert first == second
    plain.confirm(tab)
    assert tab.url == first
    tab.go_back()
    expect(tab.get_by_role("heading", name="Your cart")).to_be_visible()
    assert len(plain.orders()) == 1


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (1280, "dark")])
def test_every_page_can_be_read_on_any_screen(new_shopper: NewShopper, width: int, scheme: Any) -> None:
    anna = new_shopper(viewport={"width": width, "height": 700}, color_scheme=scheme)
    for path in VISITED:
        assert anna.go(path).evaluate(FAULTS) == [], path
    anna.sign_in("admin")
    anna.add("3")
    anna.review(is_paid_later=True)
    anna.confirm()
    assert anna.page.evaluate(FAULTS) == []
    anna.add("1", 2)
    for path in ["/cart", *SIGNED_IN]:
        assert anna.go(path).evaluate(FAULTS) == [], path


def test_no_page_asks_another_host_or_allows_inline_script(running: System, anna: Shopper) -> None:
    asked: set[str] = set()
    anna.page.on("request", lambda request: asked.add("/".join(request.url.split("/")[:3])))
    for path in VISITED:
        policy = httpx.get(running.url + path, trust_env=False).headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= set(policy.split("; "))
        assert not re.search(r"https?://", httpx.get(running.url + path, trust_env=False).text)
        anna.go(path)
    assert asked == {running.url}
