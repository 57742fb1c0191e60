"""Pages that update themselves: also without a stream, after a moment offline, and never against their reader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect

from crowdfund import create_app
from crowdfund.demo.house import House
from crowdfund.web import streams
from crowdfund.web.streams import Streams, Viewer
from support.browsing import Meet, Person, wait_until
from support.node import new_address
from support.paper import Paper
from support.serving import served


@pytest.fixture
def bob(meet: Meet, house: House) -> Person:
    """A backer whose pledge waits for its payment."""
    alice, backer = meet(), meet()
    alice.sign_up("Alice live")
    backer.pledge(alice.write_campaign(house.node), 100_000, new_address(house.node))
    return backer


def pay(bob: Person, house: House, sats: int) -> None:
    """Pay from a wallet, not from the page."""
    house.node.pay(urlsplit(bob.wallet_link()).path, sats)


@pytest.fixture
def quick(tmp_path: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Paper, Streams, Person]]:
    """A site on paper whose hearts beat fast, and somebody who looks at a campaign there."""
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(streams, "TICK_S", 0.05)
    with Paper(tmp_path) as paper:
        campaign = paper.campaign()
        app = create_app(replace(paper.settings, test_bench=False))
        with served(app) as address, Person(browser, address) as person:
            person.page.goto(f"{address}/campaigns/{campaign}")
            held: Streams = app.extensions["crowdfund-live"].streams
            wait_until(lambda: held.viewers == 1, "the page's stream")
            person.page.evaluate("window.neverReloaded = true")
            yield paper, held, person


def shows_block(person: Person, height: int) -> None:
    """The footer says that this is the newest block, without the page having been loaded again."""
    expect(person.page.locator("[data-part=asof] .amount").first).to_have_text(str(height), timeout=8_000)
    assert person.page.evaluate("window.neverReloaded")


def test_a_page_whose_stream_is_refused_asks_by_itself(bob: Person, house: House) -> None:
    bob.allowed_codes.add(503)
    bob.page.route("**/live/**", lambda route: route.fulfill(status=503))
    bob.page.reload()
    bob.page.evaluate("window.neverReloaded = true")
    pay(bob, house, 100_000)
    bob.shows("h1", "Your payment is on its way")
    assert bob.page.evaluate("window.neverReloaded")


def test_a_stream_that_has_gone_silent_is_opened_anew(
    quick: tuple[Paper, Streams, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    paper, held, person = quick
    real, silent = held._send, set[Viewer](held._served)
    # The line stays open, and nothing comes through: so it is after a phone has slept.
    monkeypatch.setattr(held, "_send", lambda ready, viewer, text: viewer in silent or real(ready, viewer, text))
    paper.mine()
    shows_block(person, paper.tip)
    wait_until(lambda: bool(held._served - silent), "another stream")
    paper.mine()
    shows_block(person, paper.tip)


def test_a_page_that_wakes_catches_up_and_a_hidden_one_keeps_no_place(quick: tuple[Paper, Streams, Person]) -> None:
    paper, held, person = quick
    turn = "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
    turn += " document.dispatchEvent(new Event('visibilitychange')); }"
    person.page.evaluate(turn, True)
    wait_until(lambda: held.viewers == 0, "the place of a hidden page")
    paper.mine()
    person.page.evaluate(turn, False)
    shows_block(person, paper.tip)
    wait_until(lambda: held.viewers == 1, "its stream again")
    paper.mine()
    shows_block(person, paper.tip)


def test_where_many_look_on_a_page_waits_its_turn(
    quick: tuple[Paper, Streams, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    paper, _, person = quick
    monkeypatch.setattr(streams, "AT_ONCE", -1)
    monkeypatch.setattr(streams, "SPREAD_MS", 300)
    paper.mine()
    shows_block(person, paper.tip)


def test_what_somebody_types_stays(bob: Person, house: House) -> None:
    bob.page.click("#bench-amount")
    bob.page.keyboard.press("Control+A")
    bob.page.keyboard.type("123")
    bob.page.evaluate("window.neverReloaded = true")
    pay(bob, house, 40_000)
    bob.shows("h1", "Your payment is on its way")
    bob.page.keyboard.type("45")
    assert bob.page.input_value("#bench-amount") == "12345"
    assert bob.page.evaluate("document.activeElement.id") == "bench-amount"
    assert bob.page.evaluate("window.neverReloaded")


def test_what_somebody_is_selecting_stays_until_it_is_let_go(bob: Person, house: House) -> None:
    bob.page.evaluate("getSelection().selectAllChildren(document.querySelector('.due .address'))")
    address = urlsplit(bob.wallet_link()).path
    pay(bob, house, 100_000)
    bob.shows("h1", "Your payment is on its way")
    chosen = bob.page.evaluate("getSelection().toString()")
    assert chosen.replace("\n", "") == address, "what is copied from the page is the address and nothing else"
    assert bob.page.locator("svg.qr").count() == 1
    bob.page.evaluate("getSelection().removeAllRanges()")
    expect(bob.page.locator("svg.qr")).to_have_count(0, timeout=10_000)


def test_copy_buttons_copy_and_say_so(bob: Person) -> None:
    bob.context.grant_permissions(["clipboard-read", "clipboard-write"])
    for name, text in (
        ("Copy address", urlsplit(bob.wallet_link()).path),
        ("Copy amount in BTC", "0.00100000"),
        ("Copy amount in sat", "100000"),
        ("Copy the link", bob.page.url),
    ):
        bob.page.get_by_role("button", name=name).click()
        bob.shows("#announce", "Copied")
        assert bob.page.evaluate("navigator.clipboard.readText()") == text
        bob.page.get_by_role("button", name=name).wait_for()


def test_after_a_moment_offline_the_page_catches_up(bob: Person, house: House) -> None:
    bob.page.evaluate("window.neverReloaded = true")
    bob.context.set_offline(True)
    pay(bob, house, 100_000)
    bob.page.wait_for_timeout(1_000)
    assert bob.page.inner_text("h1") == "Send your pledge"
    bob.context.set_offline(False)
    bob.shows("h1", "Your payment is on its way")
    assert bob.page.evaluate("window.neverReloaded")
    assert all("ERR_INTERNET_DISCONNECTED" in fault for fault in bob.faults), bob.faults
    bob.faults.clear()


def test_a_backer_who_closes_the_page_finds_all_of_it_at_the_link(bob: Person, meet: Meet, house: House) -> None:
    link = bob.page.inner_text("#receipt .hash")
    assert link == bob.page.url
    pay(bob, house, 100_000)
    bob.page.goto("about:blank")
    house.node.mine()
    later = meet()
    later.page.goto(link)
    later.shows("h1", "Your pledge counts")
