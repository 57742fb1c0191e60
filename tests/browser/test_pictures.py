"""Pictures in a real browser: sent by its file chooser, shown at every width, without a jump."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route
from sqlalchemy import select

from crowdfund import create_app
from crowdfund.campaigns import service
from crowdfund.campaigns.models import Creator
from support.browsing import Person
from support.images import encoded, exif, halves, honest
from support.paper import Paper
from support.serving import served
from support.world import PASSWORD

WIDTHS = (360, 768, 1440)
TOO_WIDE = "document.scrollingElement.scrollWidth > innerWidth"
SHIFTS = """
window.__shift = 0;
new PerformanceObserver((list) => list.getEntries().forEach((e) => { window.__shift += e.value; }))
  .observe({ type: "layout-shift", buffered: true });
"""
UNSEEN = """[...document.querySelectorAll("main img")].filter((i) => i.complete && !i.naturalWidth).map((i) => i.src)"""


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paper]:
    with Paper(tmp_path_factory.mktemp("paper")) as made:
        yield made


@pytest.fixture(scope="module")
def site(paper: Paper) -> Iterator[str]:
    with served(create_app(paper.settings)) as address:
        yield address


def draft_of(paper: Paper, visitor: Person, name: str) -> str:
    """Sign up; the id of a draft of one's own."""
    visitor.page.goto("/signup")
    visitor.fill(name=name, password=PASSWORD)
    visitor.page.get_by_role("button", name="Create the account").click()
    with paper.database.transaction() as db:
        owner = db.scalars(select(Creator.id).where(Creator.name == name)).one()
        return service.save_draft(db, paper.settings, owner, paper.draft(title=f"The drill of {name}")).id


def add(visitor: Person, path: Path, alt: str) -> None:
    visitor.page.locator("input[type=file]").set_input_files(path)
    visitor.page.locator("form[enctype] input[name=alt]").fill(alt)
    visitor.page.get_by_role("button", name="Add the picture").click()


@pytest.mark.parametrize(("scripts", "scheme"), [(True, "light"), (False, "dark")])
def test_from_the_file_chooser_to_the_public_page(
    browser: Browser, paper: Paper, site: str, tmp_path: Path, scripts: bool, scheme: str
) -> None:
    files = {
        "upright.jpg": encoded(halves(size=(1_800, 1_200)), "JPEG", exif=exif(6)),
        "clear.png": honest()["PNG, see-through"],
        "evil.svg": b"<svg onload=alert(1)>",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with Person(browser, site, scripts=scripts, color_scheme=scheme) as ann:
        draft = draft_of(paper, ann, f"Ann {scheme}")
        ann.page.goto(f"/drafts/{draft}/pictures")
        add(ann, tmp_path / "evil.svg", "Something kept")
        ann.shows(".error", "not a picture")
        assert ann.page.locator("form[enctype] input[name=alt]").input_value() == "Something kept"
        add(ann, tmp_path / "upright.jpg", "Red above, blue below")
        ann.shows(".flash", "is added")
        add(ann, tmp_path / "clear.png", "Half see-through")
        ann.page.get_by_role("button", name="Make it the cover").click()
        assert ann.page.locator(".pictures img").first.get_attribute("alt") == "Half see-through"
        ann.page.get_by_role("button", name="Move down").click()
        fits(ann)
        ann.page.goto(f"/drafts/{draft}/preview")
        fits(ann)
        ann.page.get_by_role("button", name="Freeze the terms and publish").click()
        fits(ann)
        assert ann.page.locator(".c-picture img").get_attribute("alt") == "Red above, blue below"
        opens_by_itself(browser, site + str(ann.page.locator(".gallery a").get_attribute("href")))
        ann.page.goto("/")
        fits(ann)


def fits(person: Person) -> None:
    """At each width nothing runs out of the page, and every picture can be seen."""
    person.page.wait_for_load_state("load")
    for width in WIDTHS:
        person.page.set_viewport_size({"width": width, "height": 900})
        assert not person.page.evaluate(TOO_WIDE), f"{person.page.url} at {width}"
        for picture in person.page.locator("main img").all():
            picture.scroll_into_view_if_needed()
            box = picture.bounding_box()
            assert box is not None and box["width"] > 30 and box["height"] > 30 and picture.get_attribute("alt")
        person.page.wait_for_load_state("networkidle")
        assert person.page.evaluate(UNSEEN) == []


def opens_by_itself(browser: Browser, address: str) -> None:
    """As a page of its own it is a picture and nothing else. The browser complains of the policy there, which keeps out
    even the browser's own script that would centre it; so this is no Person, who would fail on that."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(address)
    assert page.evaluate("[document.contentType, document.images.length, document.images[0].naturalWidth > 0]") == [
        "image/webp", 1, True,
    ]  # fmt: skip
    context.close()


def late(route: Route) -> None:
    """As over a slow line: the page is there long before."""
    time.sleep(0.3)
    route.continue_()


def test_nothing_jumps_when_pictures_come(browser: Browser, paper: Paper, site: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(halves(size=(1_600, 1_000)), "JPEG"))
    with Person(browser, site) as ann:
        draft = draft_of(paper, ann, "Ann of the jumps")
        ann.page.goto(f"/drafts/{draft}/pictures")
        add(ann, tmp_path / "a.jpg", "Red and blue")
        ann.page.goto(f"/drafts/{draft}/preview")
        ann.page.get_by_role("button", name="Freeze the terms and publish").click()
        campaign = ann.page.url
        ann.context.add_init_script(SHIFTS)
        ann.context.route("**/pictures/*", late)
        for page in (campaign, "/"):
            ann.page.goto(page)
            ann.page.wait_for_load_state("networkidle")
            assert ann.page.evaluate("document.querySelectorAll('main img').length") > 0
            assert ann.page.evaluate("window.__shift") < 0.05, page
