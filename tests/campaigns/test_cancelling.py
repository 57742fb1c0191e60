"""Cancellations written down, on a chain on paper: when they end a campaign, and what the tables refuse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from crowdfund.campaigns import checking, recording, settling
from crowdfund.campaigns.ledger import Bucket
from crowdfund.campaigns.lifecycle import CampaignState, Outcome
from crowdfund.campaigns.models import Cancellation, DecisionRow
from crowdfund.campaigns.recording import RecordedWatch
from crowdfund.chain.cancelling import FoundCancellation, Placed
from crowdfund.chain.follow import BlockFacts, Changes
from support.paper import Paper, coin

K = 3


@pytest.fixture
def paper(tmp_path: Path, database_url: str) -> Iterator[Paper]:
    with Paper(tmp_path, K, database_url) as made:
        yield made


def found(paper: Paper, campaign: str, name: str = "one") -> FoundCancellation:
    terms = paper.snapshot(campaign).terms
    assert terms is not None
    txid = sha256(name.encode()).hexdigest()
    return FoundCancellation(terms.hash, txid, Placed(b"raw", ("ab" * 32,), 1), b"spent", b"r" * 32)


def mine(paper: Paper, *cancellations: FoundCancellation, branch: str = "") -> BlockFacts:
    paper.tip += 1
    facts = BlockFacts(paper.ref(paper.tip, branch), (), (), (), cancellations)
    paper.write(Changes(None, (facts,), (), paper.tip, complete=False))
    return facts


def rows(paper: Paper) -> list[Cancellation]:
    with paper.database.reading() as session:
        return list(session.scalars(select(Cancellation).order_by(Cancellation.id)))


def decide(paper: Paper, campaign: str) -> bool:
    with paper.database.transaction() as session:
        return settling.decide_campaign(session, campaign, 2)


def funded(paper: Paper) -> str:
    """A campaign with more than its goal, in a block."""
    campaign = paper.campaign()
    pledge = paper.pledge(campaign, 1_200_000)
    paper.mine([coin(pledge, 1_200_000)])
    return campaign


def even(paper: Paper) -> None:
    """The ledger has each coin where the rules put it."""
    with paper.database.reading() as session:
        assert checking.check_books(session) == []


def test_the_outcome_waits_for_the_depth_and_is_failed(paper: Paper) -> None:
    campaign = funded(paper)
    mine(paper, found(paper, campaign))
    assert paper.summary(campaign).state is CampaignState.CLOSING
    assert not decide(paper, campaign)
    paper.mine(blocks=K - 2)
    assert not decide(paper, campaign)
    paper.mine()
    with paper.database.reading() as session:
        (due,) = settling.campaigns_due(session, paper.tip)
        assert settling.outlook(session, due)[1] == [], "nothing will be released"
    assert sorted(due.proof) == [paper.tip - K + 1, paper.tip]
    assert decide(paper, campaign) and not decide(paper, campaign)
    snapshot = paper.snapshot(campaign)
    assert snapshot.outcome is Outcome.FAILED and snapshot.cancellation is not None
    assert [b.kind for b in snapshot.batches] == ["refund"]
    with paper.database.reading() as session:
        assert settling.ending(session, campaign) == (snapshot.terms, paper.tip - K + 1)
    even(paper)


def test_a_coin_moves_to_late_with_the_cancellation_and_back_when_that_is_lost(paper: Paper) -> None:
    campaign = funded(paper)
    late = paper.pledge(campaign, 50_000)
    mine(paper, found(paper, campaign))
    paper.mine([coin(late, 50_000, "late")])
    assert paper.summary(campaign).buckets[Bucket.LATE] == 50_000
    even(paper)
    paper.fork(2)
    even(paper)
    paper.mine([coin(late, 50_000, "late")], branch="other")
    summary = paper.summary(campaign)
    assert (summary.buckets[Bucket.LATE], summary.counted_sats) == (0, 1_250_000)
    assert summary.state is CampaignState.OPEN and len(rows(paper)) == 1
    even(paper)


def test_told_late_it_counts_all_the_same_and_never_twice(paper: Paper) -> None:
    campaign = funded(paper)
    late = paper.pledge(campaign, 50_000)
    paper.mine()
    held = replace(BlockFacts(paper.ref(paper.tip), (), ()), cancellations=(found(paper, campaign),))
    paper.mine([coin(late, 50_000, "late")])
    for _ in range(2):
        with paper.database.transaction() as session:
            recording.record_late(session, [held], datetime.now(UTC))
        assert len(rows(paper)) == 1 and paper.summary(campaign).buckets[Bucket.LATE] == 50_000
        even(paper)


def test_of_two_the_first_in_the_chain_counts(paper: Paper) -> None:
    campaign = funded(paper)
    second = replace(found(paper, campaign, "two"), placed=Placed(b"raw", (), 0))
    first = mine(paper, found(paper, campaign), second)
    mine(paper, found(paper, campaign, "three"))
    held = paper.snapshot(campaign).cancellation
    assert held is not None and (held.txid, held.height) == (second.txid, first.block.height)


def test_with_the_closing_block_or_under_other_terms_nothing_is_cancelled(paper: Paper) -> None:
    campaign = funded(paper)
    while paper.tip < 160:
        paper.mine()
    assert paper.snapshot(campaign).closing is None
    mine(paper, found(paper, campaign), replace(found(paper, campaign, "x"), terms_hash=b"n" * 32))
    snapshot = paper.snapshot(campaign)
    assert snapshot.closing is not None and snapshot.closing_height == paper.tip
    assert snapshot.cancellation is None and len(rows(paper)) == 1
    paper.mine(blocks=K - 1)
    assert decide(paper, campaign) and paper.snapshot(campaign).outcome is Outcome.FUNDED
    even(paper)


def test_what_is_watched_for(paper: Paper) -> None:
    campaign, watch = funded(paper), RecordedWatch(paper.database)
    terms = paper.snapshot(campaign).terms
    assert terms is not None
    watch.refresh()
    assert watch.cancellable.keys() == {terms.hash}
    assert watch.cancellable[terms.hash].payout_script.hex() == terms.payout_script
    mine(paper, found(paper, campaign))
    paper.mine(blocks=K)
    assert decide(paper, campaign)
    watch.refresh()
    assert watch.cancellable.keys() == {terms.hash}, "it may come back in another block"
    other = funded(paper)
    watch.refresh()
    assert len(watch.cancellable) == 2
    while paper.tip < 160 + K:
        paper.mine()
    assert decide(paper, other)
    watch.refresh()
    assert watch.cancellable.keys() == {terms.hash}


def test_a_decision_stays_whatever_becomes_of_its_block(paper: Paper) -> None:
    campaign = funded(paper)
    mine(paper, found(paper, campaign))
    paper.mine(blocks=K)
    decide(paper, campaign)
    paper.fork(K + 1)
    snapshot = paper.snapshot(campaign)
    assert snapshot.outcome is Outcome.FAILED and snapshot.cancellation is not None


WRONG = [
    "UPDATE cancellations SET raw = x'00'",
    "UPDATE cancellations SET height = height + 1",
    "DELETE FROM cancellations",
    "UPDATE decisions SET cancellation_id = NULL",
    "UPDATE cancellation_drafts SET reason = 'x'",
    "DELETE FROM cancellation_drafts",
    "UPDATE cancellation_sends SET raw = x'01'",
    "DELETE FROM cancellation_sends",
]


def test_what_was_written_down_stays(paper: Paper) -> None:
    campaign = funded(paper)
    mine(paper, found(paper, campaign))
    paper.mine(blocks=K)
    decide(paper, campaign)
    now = "'2026-11-22 12:00:00'"
    with paper.database.transaction() as session:
        of = f"(1, '{campaign}', 1"
        session.execute(text(f"INSERT INTO cancellation_drafts VALUES {of}, 'r', {blob(paper)}, 0, 2, {now})"))
        session.execute(text(f"INSERT INTO cancellation_sends VALUES {of}, 't', {blob(paper)}, {now}, NULL, '')"))
    for statement in WRONG:
        if paper.database.engine.dialect.name == "postgresql":
            statement = statement.replace(" x'", " '\\x")
        with pytest.raises(IntegrityError), paper.database.transaction() as session:
            session.execute(text(statement))


def blob(paper: Paper) -> str:
    return "'\\x00'::bytea" if paper.database.engine.dialect.name == "postgresql" else "x'00'"


def test_a_decision_names_its_own_cancellation_or_none(paper: Paper) -> None:
    campaign, other = funded(paper), funded(paper)
    facts = mine(paper, found(paper, campaign), found(paper, other))
    own, strange = rows(paper)
    assert own.campaign_id == campaign
    good: dict[str, Any] = {
        "campaign_id": campaign,
        "outcome": "failed",
        "counted_sats": 0,
        "closing_height": facts.block.height,
        "closing_hash": facts.block.hash,
        "decided_height": paper.tip,
        "cancellation_id": own.id,
    }
    wrong: list[dict[str, Any]] = [
        {"outcome": "funded"},
        {"closing_height": facts.block.height - 1},
        {"closing_hash": "00" * 32},
        {"cancellation_id": strange.id},
    ]
    for change in wrong:
        with pytest.raises(IntegrityError), paper.database.transaction() as session:
            session.add(DecisionRow(**{**good, **change}))
    with paper.database.transaction() as session:
        session.add(DecisionRow(**good))


def test_published_where_an_electrum_server_is_watched_it_cannot_be_cancelled(paper: Paper) -> None:
    """Such a server refuses the longest histories, and anybody can name the address of a large exchange."""
    paper.settings = replace(paper.settings, backend="electrum")
    terms = paper.snapshot(paper.campaign()).terms
    assert terms is not None and terms.cancellable == ""
    watch = RecordedWatch(paper.database)
    watch.refresh()
    assert not watch.cancellable
