"""A goal that is missed: every backer sees the refund on the own page, and has it in the own wallet, less the fee."""

from __future__ import annotations

from crowdfund.chain.regtest import RegtestNode
from crowdfund.demo.house import House
from crowdfund.wallet.amounts import btc_to_sats
from support.browsing import Meet, Person, figure, settlement_sent
from support.node import new_address

AMOUNTS = {"Bob": 150_000, "Carol": 230_000}


def test_a_missed_goal_pays_everybody_back(meet: Meet, house: House) -> None:
    node, alice = house.node, meet()
    alice.sign_up("Alice who fell short")
    campaign = alice.write_campaign(node, goal="9000000", title="Too far a goal")
    backers = [(meet(), name, sats, new_address(node)) for name, sats in AMOUNTS.items()]
    for person, name, sats, refund_address in backers:
        person.pledge(campaign, sats, refund_address, name=name)
        assert "Nothing has arrived" in person.page.inner_text("[data-part=coins]")
        person.press("Pay this pledge")
        person.shows("h1", "Your payment is on its way")
    node.mine()
    for person, *_ in backers:
        person.shows("h1", "Your pledge counts")
    refund_txid = end_it(alice, node)
    fees_sats = 0
    for person, _, sats, refund_address in backers:
        person.shows("h1", "You have been refunded")
        person.shows(".settled .hash", refund_txid)
        back_sats = btc_to_sats(node.bank("getreceivedbyaddress", refund_address))
        assert 0 < sats - back_sats < 1_000
        fees_sats += sats - back_sats
        assert refund_address in person.page.locator("[data-part=refund] .address").inner_text().replace(" ", "")
    shown = alice.page.get_by_role("row").filter(has_text="Network fees").get_by_role("cell")
    assert figure(shown.inner_text()) == fees_sats
    shown = alice.page.get_by_role("row").filter(has_text="Refunded to backers").get_by_role("cell")
    assert figure(shown.inner_text()) == sum(AMOUNTS.values()) - fees_sats


def end_it(alice: Person, node: RegtestNode) -> str:
    """Jump to the deadline, see the refunds sent and confirmed; returns their txid."""
    alice.press("Jump to the deadline")
    alice.shows("[data-part=state]", "Not funded, refunding.")
    txid = settlement_sent(alice, node)
    node.mine()
    alice.shows("[data-part=badge]", "Not funded, refunded")
    alice.shows(".settlement", "The refunds are in the chain for good.")
    alice.shows("[data-part=pledge-box]", "The goal was missed. Every backer gets the money back")
    assert alice.page.get_by_role("link", name="Pledge", exact=True).count() == 0
    return txid
