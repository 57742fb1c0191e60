"""Both endings without JavaScript: forms, links and loading the page again do all of it."""

from __future__ import annotations

from playwright.sync_api import expect

from crowdfund.demo.house import House
from crowdfund.wallet.amounts import btc_to_sats
from support.browsing import Meet, figure, settlement_sent
from support.node import new_address


def test_funded(meet: Meet, house: House) -> None:
    node, alice, bob = house.node, meet(scripts=False), meet(scripts=False)
    payout_address = new_address(node)
    alice.sign_up("Alice without scripts")
    alice.page.goto("/drafts/new")
    alice.press("Save and preview")
    assert alice.page.locator("#errors li").count() == 8
    campaign = alice.write_campaign(node, payout_address=payout_address)
    path = bob.pledge(campaign, 1_000_000, new_address(node), name="Bob")
    expect(bob.page.get_by_role("button", name="Copy address")).to_be_hidden()
    assert bob.qr_text().lower() == bob.wallet_link().lower()
    bob.press("Pay this pledge")
    assert "Paid. It is seen at once" in bob.page.inner_text(".flash")
    bob.shows("h1", "Your payment is on its way")
    alice.shows(".barwords", "Another 1000000 sat has been seen")
    alice.press("Mine a block")
    bob.shows("h1", "Your pledge counts")
    alice.shows(".barwords", "100% of the goal is confirmed, so the goal is reached")
    bob.press("Jump to the deadline")
    alice.shows("[data-part=state]", "Funded, paying out.")
    settlement_sent(alice, node)
    alice.press("Mine a block")
    alice.shows("[data-part=badge]", "Funded and paid out")
    bob.shows("h1", "Your pledge went to the project")
    assert bob.page.url.endswith(path)
    row = alice.page.get_by_role("row").filter(has_text="Paid out to the project")
    shown_sats = figure(row.get_by_role("cell").inner_text())
    assert btc_to_sats(node.bank("getreceivedbyaddress", payout_address)) == shown_sats


def test_refunded(meet: Meet, house: House) -> None:
    node, alice = house.node, meet(scripts=False)
    alice.sign_up("Alice without scripts or luck")
    campaign = alice.write_campaign(node, goal="90000000")
    backers = [(meet(scripts=False), sats, new_address(node)) for sats in (120_000, 80_000)]
    for person, sats, refund_address in backers:
        person.pledge(campaign, sats, refund_address)
        person.press("Pay this pledge")
        person.shows("h1", "Your payment is on its way")
    alice.press("Mine a block")
    backers[0][0].shows("h1", "Your pledge counts")
    alice.page.goto(campaign)
    alice.press("Jump to the deadline")
    txid = settlement_sent(alice, node)
    alice.press("Mine a block")
    for person, sats, refund_address in backers:
        person.shows("h1", "You have been refunded")
        assert txid in person.page.inner_text(".settled")
        assert 0 < sats - btc_to_sats(node.bank("getreceivedbyaddress", refund_address)) < 1_000


def test_the_page_loads_itself_again_where_nothing_else_can(meet: Meet, house: House) -> None:
    alice = meet(scripts=False)
    alice.sign_up("Alice of the noscript")
    alice.page.goto(alice.write_campaign(house.node))
    assert 'http-equiv="refresh"' in alice.page.content()
    alice.page.goto("/drafts/new")
    assert 'http-equiv="refresh"' not in alice.page.content()  # what is typed there is not lost
