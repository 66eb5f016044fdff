"""A real Chromium before a running shop: a shopper at a browser, and the fixtures that give tests one.

Debian's Chromium (or the one that TILLROLL_CHROMIUM names); without one these tests are skipped with the reason.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.acceptance.system import System

Items = dict[str, int]
NewShopper = Callable[..., "Shopper"]


class Shopper:
    """Somebody at a browser of their own, by the labels that a shopper reads."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.name = f"anna-{uuid4()}"
        self.page = self.new_tab()

    def new_tab(self) -> Page:
        """Another tab of the same browser. What the browser complains about fails the test."""
        page = self.context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", _fail)
        page.on("console", lambda message: _fail(message.text) if "Security Policy" in message.text else None)
        return page

    def go(self, path: str) -> Page:
        """Opens a page of the shop."""
        self.page.goto(self.url + path)
        return self.page

    def sign_in(self, role: str = "") -> None:
        """Signs in at the page that asks for it, or at the sign-in page, as a shopper or in an operator's `role`."""
        if "/sign-in" not in self.page.url:
            self.go("/sign-in")
        self.page.get_by_label("Name or e-mail").fill(self.name)
        if role:
            self.page.get_by_label("Role").select_option(role)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(lambda url: "/sign-in" not in url)

    def add(self, product: str, quantity: int = 1) -> None:
        """Puts a product into the cart."""
        self.go(f"/products/{product}")
        self.page.get_by_label("Quantity").fill(str(quantity))
        self.page.get_by_role("button", name="Add to cart").click()
        expect(self.page.get_by_role("status")).to_contain_text("Added to cart")

    def review(self, tab: Page | None = None, is_paid_later: bool = False) -> Page:
        """Opens the review page."""
        page = tab or self.page
        page.goto(f"{self.url}/checkout/pay")
        expect(page.get_by_role("heading", name="Review and pay")).to_be_visible()
        if is_paid_later:
            page.get_by_label("When the parcel comes").check()
        return page

    def confirm(self, tab: Page | None = None) -> None:
        """Confirms and sees the order completed."""
        page = tab or self.page
        page.get_by_role("button", name="Confirm payment").click()
        expect(page.get_by_role("heading", name="Order completed")).to_be_visible()

    def orders(self) -> list[dict[str, Any]]:
        """What the API says the shopper has bought."""
        orders: list[dict[str, Any]] = self.context.request.get(f"{self.url}/api/orders").json()["data"]
        return orders


def find_chromium() -> str | None:
    """The browser's binary, if there is one."""
    return os.environ.get("TILLROLL_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One headless browser for a file: while it is open, Playwright's event loop runs, and no asyncio test can."""
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture
def new_shopper(running: System, chromium: Browser) -> Iterator[NewShopper]:
    """Shoppers with a browser profile each; options are those of a Playwright context."""
    contexts: list[BrowserContext] = []

    def come(**options: Any) -> Shopper:
        contexts.append(chromium.new_context(**options))
        return Shopper(contexts[-1], running.url)

    yield come
    for context in contexts:
        context.close()


@pytest.fixture
def anna(new_shopper: NewShopper) -> Shopper:
    """A visitor with an empty cart."""
    return new_shopper()


def items_of(order: dict[str, Any]) -> Items:
    """Product id -> quantity."""
    return {item["id"]: item["quantity"] for item in order["items"]}


def _fail(what: object) -> None:
    pytest.fail(f"the browser complained: {what}")
