"""Bringing a project along in a real browser: a file by its chooser, an address with a server of one's own behind it;
with scripts and without, wide and narrow, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from crowdfund import create_app
from support.browsing import Person
from support.internet import files, http, serving
from support.paper import Paper
from support.serving import served

TOO_WIDE = "document.scrollingElement.scrollWidth > innerWidth"
OKH = """okhv = "OKH-LOSHv1.0"
name = "Seed drill"
repo = "https://drill.example.org/drill"
license = "CERN-OHL-S-2.0"
licensor = "Ada"
function = "Sows in rows."
technology-readiness-level = "OTRL-4"
source = ["https://drill.example.org/drill.fcstd"]
"""


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paper]:
    with Paper(tmp_path_factory.mktemp("paper")) as made:
        yield made


@pytest.fixture(scope="module")
def site(paper: Paper) -> Iterator[str]:
    with served(create_app(replace(paper.settings, fetching="local"))) as address:
        yield address


@pytest.mark.parametrize(("scripts", "scheme", "width"), [(True, "light", 1280), (False, "dark", 360)])
def test_from_a_file_and_from_an_address(
    browser: Browser, site: str, tmp_path: Path, scripts: bool, scheme: str, width: int
) -> None:
    manifest = tmp_path / "okh.toml"
    manifest.write_text(OKH)
    (tmp_path / "broken.json").write_text("{")
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    with (
        serving(files({"/okh.toml": http(OKH.encode())})) as server,
        Person(browser, site, scripts=scripts, **options) as ann,
    ):
        ann.sign_up("Ann")
        ann.page.goto("/drafts/start")
        ann.fill(summary="Written first")
        ann.page.locator("#file").set_input_files(tmp_path / "broken.json")
        ann.press("Look")
        expect(ann.page.locator("#file-error")).to_contain_text("not valid JSON")
        expect(ann.page.locator("#summary")).to_have_value("Written first")
        ann.page.locator("#file").set_input_files(manifest)
        ann.press("Look")
        expect(ann.page.get_by_label("Name of the project")).to_be_checked()
        expect(ann.page.get_by_label("What it is")).not_to_be_checked()
        assert not ann.page.evaluate(TOO_WIDE)
        ann.press("Take what is ticked")
        expect(ann.page.locator("#story")).to_have_value("Sows in rows.")
        ann.press("Bring something along")
        ann.fill(address=f"http://127.0.0.1:{server.port}/okh.toml")
        ann.page.locator("#address").press("Enter")
        expect(ann.page.get_by_label("What it is")).not_to_be_checked()
        expect(ann.page.locator("main")).to_contain_text("“Written first”")
        ann.page.get_by_label("What it is").check()
        ann.press("Take what is ticked")
        assert ann.page.url.endswith("/write/story")
        ann.press("Bring something along")
        ann.fill(address="http://127.0.0.1:1/")
        ann.press("Look")
        expect(ann.page.locator("#address-error")).to_contain_text("We cannot get a file")
        expect(ann.page.locator("#address")).to_have_value("http://127.0.0.1:1/")
        assert not ann.page.evaluate(TOO_WIDE)
