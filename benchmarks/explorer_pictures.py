"""Make the pictures of docs/explorer.md anew: `python benchmarks/explorer_pictures.py`.

Needs Chromium and the extra `browser`. The page is driven as its tour says, from the report on `mimic` to a context in
which the claim holds.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import ad_hypotheses as adh  # noqa: E402

REPORT = ROOT / "reports" / "examples" / "mimic-dark-room.json"
COLOURS = 200  # of a picture's palette, so that it stays small
EPISODES = 12  # that are lived
WAIT = 180_000  # milliseconds


def keep(name: str, content: bytes) -> None:
    """Write a picture with a palette."""
    from PIL import Image

    image = Image.open(io.BytesIO(content)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    image.save(ROOT / "docs" / f"{name}.png", optimize=True)


def settle(page: Any) -> None:
    page.wait_for_timeout(100)
    page.wait_for_selector(".status:not(:text('computing'))", timeout=WAIT)
    page.wait_for_selector("#attribution tfoot", timeout=WAIT)
    page.mouse.move(2, 2)
    page.wait_for_timeout(100)


def tour(page: Any) -> None:
    """Go the way of the tour, and keep a picture of each of its stops."""
    settle(page)
    keep("explorer", page.screenshot())
    page.click("#hypothesis button:has-text('Run ')")
    page.wait_for_selector("ul.donors li", timeout=WAIT)
    settle(page)
    keep("explorer-donors", page.locator("#hypothesis").screenshot())
    print(page.inner_text("#hypothesis .where"))
    # one step before, the agent goes left instead of down: then it knows its way as the claim says
    page.keyboard.press("Alt+ArrowLeft")
    settle(page)
    page.click("#step button.action:text-is('left')")
    settle(page)
    page.keyboard.press("Alt+ArrowRight")
    settle(page)
    print(page.inner_text("#hypothesis .where"))
    page.evaluate("scrollTo(0, 0)")
    keep("explorer-changed", page.screenshot())
    page.click("#live button:has-text('from nothing')")
    settle(page)
    for who in ("scrubbed", "explanation"):
        page.click(f"#live button:text-is('{who}')")
        settle(page)
    for episode in range(1, EPISODES + 1):
        page.click("#live button:text-is('Episode')")
        page.wait_for_selector(f"#live .small:has-text('{20 * episode} of 480 steps')", timeout=WAIT)
    keep("explorer-live", page.locator("#live").screenshot())


def main() -> None:
    from playwright.sync_api import sync_playwright

    executable = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with adh.explore(REPORT, browser=False) as explorer, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
        page.goto(explorer.url)
        page.wait_for_selector("#attribution tfoot", timeout=WAIT)
        tour(page)
        browser.close()


if __name__ == "__main__":
    main()
