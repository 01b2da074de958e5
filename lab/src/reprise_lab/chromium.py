"""The console's pages in a real headless Chromium: whether everybody can read them, and their pictures. For tests only."""

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from reprise_lab.shell import LabError

WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
HEIGHT = 844
VIEWS = {"light": (1280, "light"), "dark": (1280, "dark"), "phone": (390, "light"), "phone-dark": (390, "dark")}
"""Width in pixels and colour scheme."""
PICTURED = ("light", "dark", "phone")
PICTURES = os.environ.get("REPRISE_SCREENSHOTS", "")
"""The folder for pictures; empty if none are wanted."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """While it is there, this thread has a running loop, and no other can be started. Raises LabError if there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        raise LabError("no Chromium: apt-get install chromium (`make browser` does it)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


def problems(page: Page, name: str) -> list[str]:
    """What axe finds on the page by WCAG's level AA, and whether it is wider than its window; each with the page's name."""
    violations = Axe().run(page, options=WCAG).response["violations"]
    found = [f"{name}: {each['id']}: {each['nodes'][0]['html'][:120]}" for each in violations]
    window = page.viewport_size
    if window and page.evaluate("document.documentElement.scrollWidth") > window["width"]:
        found.append(f"{name}: wider than the window")
    return found


def picture(page: Page, name: str, view: str) -> None:
    """Its first 1400 lines into PICTURES, in 128 colours."""
    whole = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    shown = whole.crop((0, 0, whole.width, min(whole.height, 1400)))
    folder = Path(PICTURES)
    folder.mkdir(parents=True, exist_ok=True)
    shown.quantize(128, dither=Image.Dither.NONE).save(folder / f"{name}-{view}.png", optimize=True)
