"""Payments that are not what was pledged: the pledge's page says in one sentence what happened and what comes next."""

from __future__ import annotations

import pytest

from crowdfund.demo.house import House
from support.browsing import Meet, Person, figure, wait_until
from support.node import new_address


@pytest.fixture
def campaign(meet: Meet, house: House) -> str:
    """An open campaign's path."""
    alice = meet()
    alice.sign_up("Alice of odd payments")
    return alice.write_campaign(house.node, goal="50000000")


def pay(person: Person, sats: int) -> None:
    """Pay from the test bench at the foot of the page."""
    person.page.fill("#bench-amount", str(sats))
    person.press("Pay this pledge")
    assert "Paid." in person.page.inner_text(".flash")


def test_too_small_then_the_rest_then_more(meet: Meet, house: House, campaign: str) -> None:
    node, bob = house.node, meet()
    bob.pledge(campaign, 100_000, new_address(node))
    pay(bob, 40_000)
    bob.shows("h1", "Your payment is on its way")
    for label in ("Still missing", "0.00060000 BTC"):  # while it is only seen, too
        bob.shows(".due", label)
    assert figure(bob.page.inner_text(".due .big")) == 60_000
    assert bob.qr_text().lower() == bob.wallet_link().lower() and bob.wallet_link().endswith("?amount=0.00060000")
    node.mine()
    bob.shows("h1", "A part of your pledge has arrived")
    bob.shows(".headline .lead", "40000 sat count toward the goal. 60000 sat are missing: scan again to add them")
    assert bob.wallet_link().endswith("?amount=0.00060000")
    pay(bob, 60_000)
    bob.shows(".headline .lead", "40000 sat count toward the goal, and more is on its way.")
    node.mine()
    bob.shows("h1", "Your pledge counts")
    assert bob.page.locator("svg.qr").count() == 0
    pay(bob, 25_000)  # twice, and too large
    node.mine()
    bob.shows("h1", "Your pledge counts, and more")
    bob.shows(".headline .lead", "All 125000 sat that you sent count, also what is above 100000 sat.")
    assert bob.page.locator(".coins tbody tr").count() == 3


def test_dust(meet: Meet, house: House, campaign: str) -> None:
    bob = meet()
    bob.pledge(campaign, 50_000, new_address(house.node))
    pay(bob, 700)
    house.node.mine()
    bob.shows(".headline .lead", "700 sat arrived. That is too little to count, and too little to send back.")
    assert bob.wallet_link().endswith("?amount=0.00050000")


def test_too_late_short_or_never(meet: Meet, house: House, campaign: str) -> None:
    node, bob, carol, dora = house.node, meet(), meet(), meet()
    bob.pledge(campaign, 60_000, new_address(node))
    carol.pledge(campaign, 70_000, new_address(node))
    dora.pledge(campaign, 80_000, new_address(node))
    pay(carol, 30_000)
    node.mine()
    carol.shows("h1", "A part of your pledge")
    address = bob.page.locator(".due .address").inner_text().replace("\n", "").replace(" ", "")
    bob.press("Jump to the deadline")
    bob.shows("h1", "This pledge was not paid")
    bob.shows(".headline .lead", "The campaign has ended and nothing arrived for this pledge")
    assert bob.page.locator("svg.qr").count() == 0
    node.pay(address, 60_000)
    bob.shows("h1", "Your payment is on its way")
    node.mine()
    bob.shows("h1", "Your money is on its way out")
    bob.shows(".headline .lead", "Your refund is on its way to the address that you gave.")
    wait_until(lambda: bool(node.rpc("getrawmempool")), "the refund to be sent")  # the page may be faster
    node.mine()
    bob.shows("h1", "You have been refunded")
    bob.shows(".coins", "Came after the deadline.")
    dora.shows("h1", "This pledge was not paid")
