"""Pages that update themselves: also without a stream, after a moment offline, and never against their reader."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from crowdfund.demo.house import House
from crowdfund.web.live import MAX_STREAMS
from support.browsing import Meet, Person, wait_until
from support.node import new_address


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


def hold_stream(stack: ExitStack, house: House) -> int:
    """Open a live stream and keep it; returns the status of the answer."""
    address = urlsplit(house.settings.base_url)
    link = stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=10))
    link.sendall(f"GET /live/site/all HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
    return int(link.recv(64).split()[1])


def test_a_page_whose_stream_is_refused_asks_by_itself(bob: Person, house: House) -> None:
    bob.allowed_codes.add(503)
    with ExitStack() as stack:
        for _ in range(MAX_STREAMS + 1):
            status = hold_stream(stack, house)
        assert status == 503
        bob.page.reload()
        bob.page.evaluate("window.neverReloaded = true")
        pay(bob, house, 100_000)
        bob.shows("h1", "Your payment is on its way")
        assert bob.page.evaluate("window.neverReloaded")
    # Those places come free as soon as the next event cannot be delivered.
    house.node.mine(2)

    def has_a_place() -> bool:
        with ExitStack() as stack:
            return hold_stream(stack, house) == 200

    wait_until(has_a_place, "a place for a stream")


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
