"""Takes the pictures of the console for docs/images, by hand: python -m tests.acceptance.take_screenshots

Real data: a demo, dead letters of each kind, a replay under way. Needs Chromium, and Pillow to make the files small.
"""

import io
import tempfile
from pathlib import Path

from PIL import Image  # type: ignore[import-not-found, unused-ignore]
from playwright.sync_api import Browser, Page, expect, sync_playwright

from services.cli.system import ROOT
from shared.issuer import issue_development_token
from shared.settings import Settings
from tests.acceptance.browser import find_chromium
from tests.acceptance.console_stage import buy, lose_a_byte, plant_each_kind, wait_until_taken
from tests.acceptance.system import System

IMAGES = ROOT / "docs" / "images"
MOST = 250_000  # bytes of a file
COLOURS = 240


def main() -> None:
    """Starts a system, lets things happen in it and takes each picture."""
    with tempfile.TemporaryDirectory(prefix="tillroll-pictures-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        with System(folder / "till") as system, sync_playwright() as playwright:
            system.start()
            browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
            take_all(system, browser)
            browser.close()


def take_all(system: System, browser: Browser) -> None:
    """The overview in the dark while orders come in, then dead letters, a replay under way, an order's timeline."""
    _run_demo(system, 400)
    plant_each_kind(system)
    for user in ("mara@example.com", "jonas@example.com"):
        lose_a_byte(system, user)
    order_id = _buy_with_a_story(system)
    wait_until_taken(system)
    overview, page = _open(system, browser, "dark"), _open(system, browser, "light")
    overview.goto(f"{system.url}/admin")
    _let_things_happen(system, overview)
    _keep(overview, "console-overview")
    overview.close()

    page.goto(f"{system.url}/admin/dead-letters")
    page.get_by_label("Choose dead letter", exact=False).first.check()
    page.get_by_label("Reason").nth(1).fill("the gateway cut a byte off, mended in 1.4.2")
    page.evaluate("scrollTo(0, 0)")
    _keep(page, "console-dead-letters")

    _replay(page, f"{system.url}/admin/replays?order={order_id}&source=archive", "the customer asks")
    expect(page.locator("#run-text")).to_have_text("Finished, to the unit as planned.")
    page.goto(f"{system.url}/admin/orders/{order_id}")
    _keep(page, "console-timeline")

    _replay(page, f"{system.url}/admin/replays?type=checkout.completed", "prices looked odd after the deployment")
    page.wait_for_function("() => (document.getElementById('progress')?.value ?? 0) > 700")
    _keep(page, "console-replay")


def _replay(page: Page, place: str, why: str) -> None:
    page.goto(place)
    page.get_by_label("Events a second").fill("120")
    page.get_by_label("Reason").fill(why)
    page.get_by_role("button", name="Preview").click()
    page.get_by_label("Reason").fill("the preview is harmless")
    page.get_by_role("button", name="Run it").click()


def _let_things_happen(system: System, overview: Page) -> None:
    """A minute and a half of trade: impatient clients submit again, and the consumer is held up once."""
    expect(overview.locator("#live-text")).to_have_text("Live")
    for second in range(90):
        if second in (50, 57):
            (system.pause if second == 50 else system.go_on)("consumer")
        buy(system, f"shopper-{second % 7}@example.com", 20 + (second * 7) % 23)
        for _ in range(1 + second * 5 % 7 % 4):
            system.order("mara@example.com", {"2": 1}, 149, Idempotency_Key=f"mara-buys-{second}")
        if second % 3 == 0:
            system.order("jonas@example.com", {"3": 1}, 39)
        overview.wait_for_timeout(1000)


def _buy_with_a_story(system: System) -> str:
    """An order that was submitted four times with a key and without, and paid."""
    for key in ("mara-2026-11-22-a", "mara-2026-11-22-a", "mara-2026-11-22-a", ""):
        headers = {"Idempotency_Key": key} if key else {}
        answer = system.order("mara@example.com", {"2": 1, "3": 2}, 227, **headers)
    order_id: str = answer.json()["data"]["id"]
    system.pay("mara@example.com", order_id)
    return order_id


def _run_demo(system: System, checkouts: int) -> None:
    ended = system.run("demo", "--checkouts", str(checkouts), "--duplicates", "2", "--concurrency", "16")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def _open(system: System, browser: Browser, scheme: str) -> Page:
    token = issue_development_token(Settings(data_dir=system.folder), "olga@shop.example", admin=True)
    context = browser.new_context(viewport={"width": 1280, "height": 820}, color_scheme=scheme)  # type: ignore[arg-type]
    context.add_cookies([{"name": "__session", "value": token, "url": system.url}])
    return context.new_page()


def _keep(page: Page, name: str) -> None:
    """What the window shows, as a PNG of few colours."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    path = IMAGES / f"{name}.png"
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    assert path.stat().st_size < MOST, f"{path} has {path.stat().st_size} bytes"
    print(path, path.stat().st_size)


if __name__ == "__main__":
    IMAGES.mkdir(parents=True, exist_ok=True)
    main()
