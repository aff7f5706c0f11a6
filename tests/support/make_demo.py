"""Records the demo session and takes the pictures of the documents; run by hand.

python tests/support/make_demo.py record      # web_client/static/demo.jsonl
python tests/support/make_demo.py pictures    # docs/images/ of it
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Page, Playwright, sync_playwright

import web_client
from agent.bench.browser_page import Visit
from agent.config.settings import Settings
from agent.runtime.engines import load_engines
from agent.runtime.threads import calm
from support.browsers import chromium, scripted, served

ROOT = Path(__file__).parent.parent.parent
DEMO = web_client.static_files() / "demo.jsonl"
PICTURES = ROOT / "docs" / "images"
MAX_BYTES = 350_000
"""Of the recording, a third of it sound."""
QUESTIONS = ("capital_of_france", "spider_legs", "opposite_of_hot")


def record(playwright: Playwright) -> None:
    """Ask three questions, then one more and interrupt its answer; with sound."""
    engines, _ = load_engines(Settings())
    with served(engines) as server:
        browser = chromium(playwright)
        visit = Visit(browser.new_page(), server.url).open()
        visit.page.get_by_role("button", name="Settings").click()
        visit.page.get_by_label("Record the sound of calls").check()
        visit.page.get_by_role("button", name="Done").click()
        visit.start()
        for number, question in enumerate(QUESTIONS, 1):
            visit.say(question)
            visit.wait_for("response.done", number)
            visit.page.wait_for_timeout(800)
        visit.say("romeo_and_juliet")
        visit.wait_for("page.sound.first", len(QUESTIONS) + 1)
        visit.page.wait_for_timeout(700)
        visit.page.keyboard.press("Escape")
        visit.wait_for("response.done", len(QUESTIONS) + 1)
        visit.page.wait_for_timeout(500)
        visit.page.get_by_role("button", name="End the call").click()
        visit.page.get_by_role("tab", name="Events").click()
        with visit.page.expect_download() as download:
            visit.page.get_by_role("button", name="Download").click()
        download.value.save_as(DEMO)
        browser.close()
    size = DEMO.stat().st_size
    print(f"{DEMO.relative_to(ROOT)}: {size} bytes")
    if size > MAX_BYTES:
        raise SystemExit(f"that is more than {MAX_BYTES} bytes")


def pictures(playwright: Playwright) -> None:
    """Both views, light and dark, of the recorded session."""
    PICTURES.mkdir(exist_ok=True)
    with served(scripted([], {})) as server:
        browser = chromium(playwright)
        for scheme in ("light", "dark"):
            page = browser.new_page(
                viewport={"width": 1200, "height": 700},
                color_scheme=scheme,
                device_scale_factor=1.5,
            )
            _picture(Visit(page, server.url), scheme)
        browser.close()


def _picture(visit: Visit, scheme: str) -> None:
    page: Page = visit.open("?replay=demo").page
    page.locator(".denoise .chip.now").first.wait_for(timeout=60_000)
    page.wait_for_timeout(250)
    page.screenshot(path=PICTURES / f"denoise-{scheme}.png")
    page.evaluate("document.querySelector('ob-talk').controller.replay.finish()")
    page.get_by_role("tab", name="Latency").click()
    page.wait_for_timeout(300)
    page.screenshot(path=PICTURES / f"latency-{scheme}.png")
    page.close()


if __name__ == "__main__":
    calm()
    chosen = {"record": record, "pictures": pictures}.get(" ".join(sys.argv[1:]))
    if chosen is None:
        raise SystemExit(__doc__)
    with sync_playwright() as running:
        chosen(running)
