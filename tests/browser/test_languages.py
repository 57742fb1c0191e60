"""The pages of visitors and backers in other languages, one of them from right to left: nothing runs out of the window,
and nothing is in anybody's way.
"""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from crowdfund.languages import LANGUAGES
from crowdfund.web.i18n import PSEUDO
from support.axe import EVERYTHING, Axe
from support.browsing import Person
from support.every_page import NARROW, WIDE, Pages
from support.fitting import misfits

LOOKED_AT = ("public.front", "public.campaign open", "pledges.new open", "pledges.show", "public.about")
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.parametrize("language", [*LANGUAGES[1:], PSEUDO])
def test_pages_fit_and_are_in_nobodys_way(pages: Pages, browser: Browser, language: str) -> None:
    with Person(browser, pages.url, viewport=WIDE, reduced_motion="reduce") as reader:
        axe, faults = Axe(reader.page), list[str]()
        reader.page.goto(f"/?lang={language}")
        for name in LOOKED_AT:
            reader.page.goto(pages.paths[f"GET {name}"])  # what was chosen is kept
            assert reader.page.locator("html").get_attribute("lang") == language
            axe.enter()
            for how, size in (("wide", WIDE), ("narrow", NARROW)):
                reader.page.set_viewport_size(size)  # type: ignore[arg-type]
                found = [*axe.faults(EVERYTHING), *misfits(reader, size["width"])]
                if over := reader.page.evaluate(TOO_WIDE):
                    found.append(f"{over} pixels too wide")
                faults += [f"{name}, {how}: {fault}" for fault in found]
    assert not faults, "\n".join(faults)


def test_a_language_is_chosen_by_a_link_without_scripts(pages: Pages, browser: Browser) -> None:
    with Person(browser, pages.url, scripts=False, viewport=NARROW) as reader:
        reader.page.goto(pages.paths["GET pledges.new open"])
        reader.page.get_by_role("link", name="Deutsch").click()
        expect(reader.page.locator("h1")).to_have_text("Deine Zusage")
        reader.page.locator("main").get_by_role("button", name="Zeig mir, wohin ich zahle").click()
        expect(reader.page.locator("#errors")).to_contain_text("Bitte schreibe einen Betrag.")
        assert reader.page.locator("html").get_attribute("lang") == "de"
        reader.page.goto("/about")
        reader.page.get_by_role("link", name="Español").click()
        expect(reader.page.locator("h1")).to_have_text("Cómo funciona, y en qué tienes que confiar")
