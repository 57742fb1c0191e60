"""Pictures that are made and kept: the demo's drawings, and pages of the running demo for README and guides.

PYTHONPATH=tests python -m support.pages drawings   the SVG sources of the examples, as files that the demo sends
PYTHONPATH=tests python -m support.pages guide      starts a demo of its own, and photographs its pages
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from crowdfund.campaigns.terms import format_time
from crowdfund.demo import drill
from crowdfund.demo.example import PICTURES
from crowdfund.demo.examples import CREATOR, PASSWORD, fill
from crowdfund.demo.house import House, open_house
from support.browser import FLAGS, chromium_path
from support.node import new_address

WIDTH, HEIGHT = 1600, 900
QUALITY = 88
GUIDE = Path(__file__).parents[2] / "docs" / "pictures"
MOST_BYTES = 150_000

ALL_THERE = """async () => {
  await document.fonts.ready;
  for (const img of document.images) { img.loading = "eager"; await img.decode(); }
}"""

# What somebody is just writing, and has not said everything about.
DRAFT = {
    "title": "A thresher from the same box of parts",
    "summary": "The drill’s wheels, chain and hubs, and a drum that threshes what it has sown.",
    "story": "The drill has sown, and the harvest is still beaten **by hand**, on a cloth, for a week.\n\n"
    "## What is new\n\nOnly the drum. Wheels, chain and hubs are those of the seed drill, so that one box of spare "
    "parts serves both.",
    "goal_sats": 3_200_000,
    "project_url": drill.PROJECT.repository_url,
    "license": "CERN-OHL-S-2.0",
    "about": "The same four people as for the seed drill, and a miller who has been waiting for it.",
    "deliverables": [
        {"title": "Drawings of drum and frame", "license": "CERN-OHL-S-2.0", "url": "", "state": "planned"}
    ],
    "budget": [
        {"title": "Steel and bearings for two threshers", "kind": "material", "need": "needed", "sats": 1_400_000},
        {"title": "Drawing, building, trying", "kind": "task", "need": "needed", "sats": 1_800_000},
        {"title": "A harvest of measuring", "kind": "task", "need": "optional", "sats": 700_000},
    ],
    "needs": [{"title": "Grain to thresh", "kind": "tool", "amount": 6, "unit": "sacks"}],
}


@dataclass(frozen=True)
class Shot:
    """A page as the guide shows it: its path, the window in pixels, what to scroll to, in light or in the dark."""

    path: str
    width: int = 1200
    height: int = 900
    to: str = ""
    scheme: str = "light"
    scale: float = 1


def main() -> None:
    """Make what is asked for."""
    makers = {"drawings": make_drawings, "guide": make_guide}
    if len(sys.argv) != 2 or sys.argv[1] not in makers:
        raise SystemExit(__doc__)
    makers[sys.argv[1]]()


def make_drawings() -> None:
    """Each SVG source beside it as WebP."""
    with chromium() as browser:
        for source in sorted(PICTURES.glob("*.svg")):
            target = source.with_suffix(".webp")
            drawn(browser, source).save(target, quality=QUALITY, method=6)
            print(f"{target.name}: {target.stat().st_size} bytes")


def make_guide() -> None:
    """The pages of a fresh demo, each as the guides show it."""
    with tempfile.TemporaryDirectory() as folder, open_house(Path(folder), None, print) as house:
        fill(house.client, house.node)
        with chromium() as browser:
            for name, shot in shots(house).items():
                target = GUIDE / f"{name}.webp"
                save_small(photographed(browser, house.settings.base_url, shot), target)
                print(f"{target.name}: {target.stat().st_size} bytes")


def shots(house: House) -> dict[str, Shot]:
    """What is photographed, by the name of its file."""
    campaigns = house.client.get("/campaigns")["campaigns"]
    running, nearly, paid = (next(c for c in campaigns if word in c["title"]) for word in ("any", "river", "reader"))
    running = house.client.get(f"/campaigns/{running['id']}")
    draft, pledge = write_draft(house), unpaid_pledge(house, nearly["id"])
    page = f"/campaigns/{running['id']}"
    return {
        "front": Shot("/", height=1180, to="#campaigns"),
        "campaign": Shot(page, height=1060),
        "campaign-dark-narrow": Shot(page, 390, 1100, scheme="dark", scale=1.5),
        "pledge": Shot(f"/p/{pledge}", height=1060),
        "audit": Shot(f"/campaigns/{paid['id']}/audit", height=1060),
        "wizard": Shot(f"/drafts/{draft}/write/budget", height=1060),
        "preview": Shot(f"/drafts/{draft}/preview", height=1240),
        "dashboard": Shot(f"{page}/dashboard", height=1320),
        "project": Shot(running["project"]["url"], height=1000),
    }


def write_draft(house: House) -> str:
    """A draft of the demo's creator; returns its id."""
    deadline = datetime.fromtimestamp(house.node.status()["median_time_past"], UTC) + timedelta(days=30)
    more = {"deadline_at": format_time(deadline), "payout_address": new_address(house.node)}
    return str(house.client.post("/campaigns", {**DRAFT, **more})["id"])


def unpaid_pledge(house: House, campaign_id: str) -> str:
    """A pledge that waits for its payment; returns its secret id."""
    body: dict[str, object] = {
        "amount_sats": 120_000,
        "refund_address": new_address(house.node),
        "name": "Mirjam",
        "reward": 1,
    }
    return str(house.client.post(f"/campaigns/{campaign_id}/pledges", body)["id"])


def photographed(browser: Browser, base_url: str, shot: Shot) -> Image.Image:
    """A page as the demo's creator sees it."""
    scheme: Any = shot.scheme
    size: Any = {"width": shot.width, "height": shot.height}
    context = browser.new_context(
        base_url=base_url, viewport=size, color_scheme=scheme, device_scale_factor=shot.scale, reduced_motion="reduce"
    )
    page = context.new_page()
    log_in(page)
    page.goto(shot.path)
    page.evaluate(ALL_THERE)
    if shot.to:
        page.evaluate("(to) => document.querySelector(to).scrollIntoView()", shot.to)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    context.close()
    return picture


def log_in(page: Page) -> None:
    """As the demo's creator."""
    page.goto("/login")
    page.fill("#name", CREATOR)
    page.fill("#password", PASSWORD)
    page.locator("main").get_by_role("button", name="Log in").click()
    page.wait_for_url("**/dashboard")


def save_small(picture: Image.Image, target: Path) -> None:
    """As good as fits: every pixel, or else with some loss."""
    picture.save(target, lossless=True, quality=100, method=6)
    if target.stat().st_size < MOST_BYTES:
        return
    for quality in range(QUALITY, 40, -6):
        picture.save(target, quality=quality, method=6)
        if target.stat().st_size < MOST_BYTES:
            return
    raise SystemExit(f"{target.name} does not become small enough.")


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
