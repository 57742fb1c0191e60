"""Nothing on any page of the site is in anybody's way, as far as a program can tell: WCAG 2.2 at the levels A and AA,
and good practice, by axe-core.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import pytest
from playwright.sync_api import Page

from support.axe import EVERYTHING, Axe
from support.browsing import Person
from support.every_page import NARROW, WIDE, Pages

Way = tuple[str, dict[str, int], str]
# What is folded away is looked at, too.
UNFOLD = "document.querySelectorAll('details').forEach((el) => { el.open = true; })"
WAYS = (
    ("narrow and dark", NARROW, "dark"),
    ("wide and light", WIDE, "light"),
    ("wide and dark", WIDE, "dark"),
    ("narrow and light", NARROW, "light"),
)


def look(page: Page, axe: Axe, name: str, ways: Sequence[Way]) -> list[str]:
    """All that is wrong with the page that is open now, at these widths and in these colours."""
    axe.enter()
    page.evaluate(UNFOLD)
    faults: list[str] = []
    for how, size, scheme in ways:
        page.set_viewport_size(size)  # type: ignore[arg-type]
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        faults += [f"{name}, {how}: {fault}" for fault in axe.faults(EVERYTHING)]
    return faults


def test_nothing_on_any_page_is_in_anybodys_way(pages: Pages, owner: Person) -> None:
    """Pages by turns narrow and dark, or wide and light: what they share is seen in both. All ways: the long test."""
    axe, faults, ways = Axe(owner.page), list[str](), cycle(WAYS[:2])
    for name, path in pages.paths.items():
        owner.page.goto(path)
        faults += look(owner.page, axe, name, [next(ways)])
    assert not faults, "\n".join(faults)
    assert len(pages.paths) >= 45


@pytest.mark.long
def test_nor_at_any_width_in_any_colours(pages: Pages, owner: Person) -> None:
    axe, faults = Axe(owner.page), list[str]()
    for name, path in pages.paths.items():
        owner.page.goto(path)
        faults += look(owner.page, axe, name, WAYS)
    assert not faults, "\n".join(faults)


def test_nor_on_pages_that_only_a_form_leads_to(pages: Pages, owner: Person) -> None:
    """With all that can be wrong in a form, and the page that says that an address is forgotten."""
    axe, faults = Axe(owner.page), list[str]()
    for endpoint, button in (
        ("pledges.new", "Show me where to pay"),
        ("creators.draft_new", "Save and preview"),
        ("talk.talk", "Ask"),
        ("telling.off", "Delete the address"),
    ):
        owner.page.goto(next(path for name, path in pages.paths.items() if f"GET {endpoint}" in name))
        owner.page.locator("main").get_by_role("button", name=button).first.click()
        owner.page.wait_for_load_state()
        faults += look(owner.page, axe, f"after {endpoint}", WAYS[:2])
    assert not faults, "\n".join(faults)


def test_a_visitor_without_an_account_is_not_in_the_way_either(pages: Pages, owner: Person) -> None:
    owner.context.clear_cookies()
    axe, faults = Axe(owner.page), list[str]()
    for name in ("public.front", "public.campaign open", "pledges.new open", "talk.talk open"):
        owner.page.goto(pages.paths[f"GET {name}"])
        faults += look(owner.page, axe, name, WAYS[:2])
    assert not faults, "\n".join(faults)


def test_the_faults_are_found(pages: Pages, owner: Person) -> None:
    """A page that is broken on purpose: a text too pale, a field without a name, a picture without words."""
    owner.page.goto("/about")
    owner.page.evaluate(
        """() => {
          const broken = document.createElement("div");
          broken.innerHTML = '<p id="pale">Pale</p><input id="nameless"><img id="silent" src="/static/favicon.svg">';
          document.querySelector("main").append(broken);
          document.getElementById("pale").style.color = "#999";
          document.getElementById("pale").style.background = "#aaa";
        }"""
    )
    faults = " ".join(look(owner.page, Axe(owner.page), "about", WAYS[:1]))
    for rule, where in (("color-contrast", "#pale"), ("label", "#nameless"), ("image-alt", "#silent")):
        assert rule in faults and where in faults
