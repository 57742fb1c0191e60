"""Pictures that are made and kept: the demo's drawings, and pages of the running demo for README and guides.

PYTHONPATH=tests python -m support.pages drawings   the SVG sources of the examples, as files that the demo sends
PYTHONPATH=tests python -m support.pages guide      starts a demo of its own, and photographs its pages
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from crowdfund.demo.example import PICTURES
from support.browser import FLAGS, chromium_path

WIDTH, HEIGHT = 1600, 900
QUALITY = 88


def main() -> None:
    """Make what is asked for."""
    if sys.argv[1:] == ["drawings"]:
        make_drawings()
    else:
        raise SystemExit(__doc__)


def make_drawings() -> None:
    """Each SVG source beside it as WebP."""
    with chromium() as browser:
        for source in sorted(PICTURES.glob("*.svg")):
            target = source.with_suffix(".webp")
            drawn(browser, source).save(target, quality=QUALITY, method=6)
            print(f"{target.name}: {target.stat().st_size} bytes")


def drawn(browser: Browser, source: Path) -> Image.Image:
    """An SVG file as a browser draws it."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    page.set_content(f"<body style='margin:0'>{source.read_text()}</body>")
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    page.close()
    return picture


@contextmanager
def chromium() -> Iterator[Browser]:
    """A Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(chromium_path()), args=list(FLAGS))
        yield browser
        browser.close()


if __name__ == "__main__":
    main()
