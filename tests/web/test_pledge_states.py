"""The pledge's page in every state of its payment: what happened, what comes next, and whether to pay (again)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from flask import Flask

from crowdfund import create_app
from crowdfund.campaigns import recording, settling
from crowdfund.campaigns.lifecycle import Outcome
from crowdfund.campaigns.models import Pledge
from crowdfund.campaigns.pledges import PledgeFacts, PledgeState
from crowdfund.chain.follow import Rival
from crowdfund.web.way import steps
from crowdfund.web.words import pledge_headline, pledge_sentence
from support.paper import REFUND, START, Paper, coin
from support.site import Visitor, sentences

CLOSING_BLOCK = 61  # blocks from the first until one's median time past is later than the deadline


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[Paper]:
    with Paper(tmp_path) as chain:
        with chain.database.transaction() as session:
            recording.set_view(session, "live", "", 2, datetime.now(UTC))
        yield chain


@pytest.fixture
def bob(paper: Paper) -> Iterator[Visitor]:
    app: Flask = create_app(paper.settings)
    yield Visitor(app)
    app.extensions["crowdfund"].database.close()


@pytest.fixture
def pledge(paper: Paper) -> Pledge:
    return paper.pledge(paper.campaign())


def page(bob: Visitor, pledge: Pledge) -> tuple[str, str, bool]:
    """The headline, all that the page says, and whether it shows a code to pay."""
    answer = bob.get(f"/p/{pledge.id}")
    assert answer.status_code == 200
    html = answer.get_data(as_text=True)
    headline = re.search(r"<h1[^>]*>(.*?)</h1>", html)
    assert headline is not None
    return headline[1], sentences(answer), "qr-link" in html


def test_seen_then_counted(paper: Paper, bob: Visitor, pledge: Pledge) -> None:
    assert page(bob, pledge)[0] == "Send your pledge" and page(bob, pledge)[2]
    paper.mempool([coin(pledge, 100_000)])
    headline, words, pays = page(bob, pledge)
    assert headline == "Your payment is on its way" and "They count once they are in a block." in words and not pays
    paper.mine([coin(pledge, 100_000)])
    assert page(bob, pledge)[0] == "Your pledge counts"


def test_freshly_mined_coins_ripen_and_are_not_asked_for_again(paper: Paper, bob: Visitor, pledge: Pledge) -> None:
    paper.mine([coin(pledge, 100_000, coinbase=True)])
    headline, words, pays = page(bob, pledge)
    assert headline == "Your payment has arrived and ripens" and "100 blocks" in words and not pays
    assert "freshly mined, counts later 100 000 sat" in words and "counted for the goal 0 sat" in words
    campaign = bob.get(f"/campaigns/{pledge.campaign_id}")
    assert "0% of the goal is confirmed" in sentences(campaign)
    assert "100 000 sat is freshly mined and counts 100 blocks later." in sentences(campaign)
    assert 'class="seen' in campaign.get_data(as_text=True)  # hatched in the bar: not yet counted


def test_a_replaced_payment_is_asked_for_again(paper: Paper, bob: Visitor, pledge: Pledge) -> None:
    paid = coin(pledge, 100_000)
    paper.mempool([paid])
    paper.mempool([], rivals=[Rival(paid.txid, "bb" * 32, None)])
    headline, words, pays = page(bob, pledge)
    assert headline == "Your payment was replaced by another" and "pay again" in words and pays
    assert "Another transaction took its place." in words and "needs" in bob.get(f"/p/{pledge.id}").text


def test_a_double_spent_payment_is_asked_for_again(paper: Paper, bob: Visitor, pledge: Pledge) -> None:
    paid = coin(pledge, 100_000)
    paper.mempool([paid])
    paper.mine(rivals=[Rival(paid.txid, "bb" * 32, paper.tip + 1)])
    headline, words, pays = page(bob, pledge)
    assert headline == "Your payment cannot arrive any more" and "Nothing was counted" in words and pays
    assert "A block holds another transaction" in words


def test_an_evicted_payment_warns_of_paying_twice(paper: Paper, bob: Visitor, pledge: Pledge) -> None:
    paid = coin(pledge, 100_000)
    paper.mempool([paid])
    paper.mempool([])
    headline, words, pays = page(bob, pledge)
    assert headline == "The network has dropped your payment" and pays
    assert "do not pay twice needlessly" in words and "If both arrive, both count." in words
    paper.mempool([paid])
    assert page(bob, pledge)[0] == "Your payment is on its way"


def test_a_payment_to_a_campaign_closed_long_ago_goes_back(paper: Paper, bob: Visitor, pledge: Pledge) -> None:
    paper.mine(blocks=CLOSING_BLOCK + 40)
    assert page(bob, pledge)[0] == "This pledge was not paid"
    paper.mempool([coin(pledge, 100_000)])
    headline, words, pays = page(bob, pledge)
    assert headline == "Your payment is on its way" and not pays
    assert "come too late to count. They are sent back to the address that you gave" in words
    assert "They count once" not in words and "A block confirms it, too late to count." in words
    campaign = bob.get(f"/campaigns/{pledge.campaign_id}")
    assert "waits for a block, too late to count" in sentences(campaign)
    assert 'class="seen' not in campaign.get_data(as_text=True)
    paper.mine([coin(pledge, 100_000)])
    headline, words, pays = page(bob, pledge)
    assert headline == "Your payment came too late" and not pays
    assert "100 000 sat came after the deadline. They do not count. They are sent back" in words


def test_a_campaign_that_has_all_that_it_accepts(paper: Paper, bob: Visitor) -> None:
    campaign = paper.campaign(cap_sats=1_000_000)
    first, second, third, fourth = (paper.pledge(campaign) for _ in range(4))
    offered = sentences(bob.get(f"/campaigns/{campaign}"))
    assert "Once 1 000 000 sat are reached, what comes later is sent back." in offered
    assert (
        "The least is 10 000 sat : at network fees of up to 40 sat/vB, a refund still returns at least half." in offered
    )
    form = sentences(bob.get(f"/campaigns/{campaign}/pledge"))
    assert "stays on the books as unclaimed, and is sent when fees fall" in form and "block 310 on" in form
    paper.mine([coin(first, 900_000)])
    paper.mine([coin(second, 100_000, "b")])
    paper.mine([coin(third, 100_000, "c"), coin(second, 20_000, "d")])
    assert page(bob, first)[0] == "Your pledge counts, and more"
    headline, words, pays = page(bob, third)
    assert headline == "Your payment comes back to you" and not pays and "above the most accepted" in words
    assert "100 000 sat came when the campaign had all that it accepts, so they do not count. Nothing is lost." in words
    headline, words, pays = page(bob, second)
    assert (
        headline == "Your pledge counts"
        and "Another 20 000 sat came when the campaign had all that it accepts." in words
    )
    headline, words, pays = page(bob, fourth)
    assert headline == "Please do not pay any more" and not pays and "Scan" not in words
    paper.mempool([coin(fourth, 100_000, "e")])
    headline, words, pays = page(bob, fourth)
    assert not pays and "in sight, and the campaign has all that it accepts. After the deadline they are sent" in words
    shown = bob.get(f"/campaigns/{campaign}")
    words = sentences(shown)
    assert "It has all that it accepts." in words and "so it takes no more pledges" in words
    assert "Above the most accepted, will be refunded 120 000" in words
    assert "100% of the goal is confirmed" in words and 'class="seen' not in shown.get_data(as_text=True)
    assert "takes no more pledges: It has all" in sentences(bob.get(f"/campaigns/{campaign}/pledge"))


def test_what_came_above_the_cap_goes_back_after_the_deadline(paper: Paper, bob: Visitor) -> None:
    campaign = paper.campaign(cap_sats=1_000_000)
    first, second = (paper.pledge(campaign) for _ in range(2))
    paper.mine([coin(first, 1_000_000)])
    paper.mine([coin(second, 100_000, "b"), coin(first, 50_000, "c")])
    paper.mine(blocks=CLOSING_BLOCK)
    with paper.database.transaction() as session:
        assert settling.decide_campaign(session, campaign, 2)
    assert "Your refund is on its way to the address that you gave." in page(bob, second)[1]
    words = page(bob, first)[1]
    assert "The payout is on its way to the project." in words and "What came when the campaign had all" in words


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("outcome", [None, *Outcome])
@pytest.mark.parametrize("state", list(PledgeState))
def test_every_state_has_a_headline_a_sentence_and_a_way(
    state: PledgeState, outcome: Outcome | None, closed: bool, full: bool
) -> None:
    facts = PledgeFacts(state, 70_000, 30_000, 40_000, 20_000, 10_000, 5_000, 3_000)
    sentence = pledge_sentence(facts, 100_000, outcome, closed, ended=closed, full=full)
    way = steps(REFUND, facts, START, closed, ended=closed, full=full)
    assert pledge_headline(state, closed, full) and sentence.endswith(".") and "{" not in sentence
    assert len(way) == 5 and [step.status for step in way].count("now") <= 1
    if closed or full:
        assert "pay again" not in sentence and "Scan" not in sentence


@pytest.mark.parametrize(
    ("outcome", "end"), [(Outcome.FUNDED, "paid to the project."), (Outcome.FAILED, "back to you.")]
)
def test_once_it_is_decided_the_way_has_one_end(outcome: Outcome, end: str) -> None:
    facts = PledgeFacts(PledgeState.IN_SETTLEMENT, 70_000, 0, 70_000, 0, 0)
    (undecided, decided) = (
        str(steps(REFUND, facts, START, closed=True, ended=True, outcome=each)[-1].text) for each in (None, outcome)
    )
    assert undecided.endswith(": paid to the project, or back to you.") and decided.endswith(f": {end}")


def test_what_is_over_is_not_promised_any_more(paper: Paper, bob: Visitor, pledge: Pledge) -> None:
    own_refund, today = "A refund in your own hands", "would arrive; the rest is the miner fee"
    words = page(bob, pledge)[1]
    assert own_refund in words and today in words
    paper.mine(blocks=CLOSING_BLOCK)
    headline, words, _ = page(bob, pledge)
    assert headline == "This pledge was not paid" and own_refund not in words and today not in words
    paper.mine([coin(pledge, 100_000)])
    headline, words, _ = page(bob, pledge)
    assert headline == "Your payment came too late" and own_refund not in words and today in words
    assert "You pay from any wallet." in words
