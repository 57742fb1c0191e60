"""The pay page in a real browser: sharing its link, the other unit, and hints, with and without scripts, on a phone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from crowdfund import create_app
from support.browsing import Person
from support.every_page import NARROW, WIDE
from support.fitting import misfits
from support.paper import Paper
from support.serving import served

SHARES = "navigator.share = async (what) => { window.shared = what; };"
CANNOT = "delete Navigator.prototype.share;"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Where the site answers, and the path of a pledge that waits for its payment."""
    with Paper(tmp_path_factory.mktemp("paper")) as paper:
        pledge = paper.pledge(paper.campaign())
        with served(create_app(paper.settings)) as url:
            yield url, f"/p/{pledge.id}"


def test_the_link_is_handed_to_another_program_where_that_can_be_done(browser: Browser, place: tuple[str, str]) -> None:
    url, path = place
    with Person(browser, url, viewport=WIDE) as bob:
        bob.context.add_init_script(SHARES)
        bob.page.goto(path)
        bob.page.get_by_role("button", name="Share or save the link").click()
        assert bob.page.evaluate("window.shared.url").endswith(path)
    with Person(browser, url, viewport=WIDE) as carol:
        carol.context.add_init_script(CANNOT)
        carol.page.goto(path)
        expect(carol.page.locator("[data-share]")).to_be_hidden()


@pytest.mark.parametrize("scripts", [True, False])
def test_on_a_phone_in_the_other_unit(browser: Browser, place: tuple[str, str], scripts: bool) -> None:
    url, path = place
    with Person(browser, url, scripts=scripts, viewport=NARROW) as bob:
        bob.page.goto(path)
        before = bob.wallet_link()
        bob.page.locator(".unit-choice").get_by_role("link", name="BTC").click()
        assert bob.page.url == url + path and bob.wallet_link() == before
        expect(bob.page.locator(".due .big")).to_have_text("0.00100000 BTC")
        bob.page.get_by_text("Paying from an exchange?").click()
        expect(bob.page.get_by_text("Withdraw the amount and their fee together.")).to_be_visible()
        if scripts:
            assert misfits(bob, 360) == []
