"""What a person says of coins that somebody else has spent: exactly named, once, and for that very transaction only."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from crowdfund.campaigns import checking, incidents, settling, thefts
from crowdfund.campaigns.ledger import Bucket
from crowdfund.campaigns.lifecycle import BatchState
from crowdfund.chain.follow import FoundSpend
from crowdfund.errors import UserError
from support.paper import Paper, coin, txid

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
A, B = f"{txid('a')}:0", f"{txid('b')}:0"


@pytest.fixture
def paper(tmp_path: Path, database_url: str) -> Iterator[Paper]:
    with Paper(tmp_path, database_url=database_url) as made:
        yield made


def foreign(paper: Paper) -> list[str]:
    with paper.database.reading() as session:
        return thefts.foreign_spends(session)


def breaches(paper: Paper) -> list[str]:
    with paper.database.reading() as session:
        return [breach.sentence for breach in checking.check_books(session)]


def acknowledge(paper: Paper, *outpoints: str) -> None:
    with paper.database.transaction() as session:
        thefts.acknowledge(session, outpoints, "the key was copied", NOW)


@pytest.fixture
def robbed(paper: Paper) -> str:
    """A campaign with two coins, both spent by strangers."""
    campaign = paper.campaign()
    paper.mine([coin(paper.pledge(campaign), 60_000, "a"), coin(paper.pledge(campaign), 50_000, "b")])
    paper.mine([], [FoundSpend(txid("a"), 0, "thief"), FoundSpend(txid("b"), 0, "another")])
    return campaign


def test_each_is_named_and_what_is_not_named_is_still_a_breach(paper: Paper, robbed: str) -> None:
    assert foreign(paper) == [A, B] and breaches(paper)[0].startswith("110,000 sat of ours")
    acknowledge(paper, A)
    assert foreign(paper) == [B] and [b[:18] for b in breaches(paper)] == ["50,000 sat of ours"]
    acknowledge(paper, B, B)
    assert foreign(paper) == breaches(paper) == []
    assert paper.summary(robbed).buckets[Bucket.FOREIGN_SPEND] == 110_000, "the bucket tells of it for ever"


@pytest.mark.parametrize("outpoint", [f"{txid('c')}:0", f"{txid('a')}:1", txid("a"), ""])
def test_what_is_no_foreign_spend_is_not_acknowledged_nor_is_anything_beside_it(
    paper: Paper, robbed: str, outpoint: str
) -> None:
    with pytest.raises(UserError, match="nothing is acknowledged"):
        acknowledge(paper, A, outpoint)
    assert foreign(paper) == [A, B]


def test_an_empty_coin_is_no_way_to_resume(paper: Paper) -> None:
    """No balance shows that it was taken, and whoever took it has the key of its address all the same."""
    campaign = paper.campaign()
    paper.mine([coin(paper.pledge(campaign), 0, "a")])
    paper.mine([], [FoundSpend(txid("a"), 0, "thief")])
    assert breaches(paper) == [f"{A} was spent by a transaction that is not ours."]
    acknowledge(paper, A)
    assert breaches(paper) == []


def test_nothing_is_acknowledged_twice(paper: Paper, robbed: str) -> None:
    acknowledge(paper, A)
    with pytest.raises(UserError, match="acknowledged before"):
        acknowledge(paper, A)


def test_another_transaction_that_takes_the_same_coin_is_another_theft(paper: Paper, robbed: str) -> None:
    acknowledge(paper, A, B)
    paper.fork(1)
    assert foreign(paper) == breaches(paper) == []
    assert paper.summary(robbed).buckets[Bucket.FOREIGN_SPEND] == 0
    paper.mine([], [FoundSpend(txid("a"), 0, "thief"), FoundSpend(txid("b"), 0, "a third")], branch="other")
    assert foreign(paper) == [B] and [b[:18] for b in breaches(paper)] == ["50,000 sat of ours"]
    acknowledge(paper, B)
    assert foreign(paper) == breaches(paper) == []


def test_the_public_is_told_what_became_of_it(paper: Paper, robbed: str) -> None:
    other = paper.campaign(title="Another")
    acknowledge(paper, A)
    with paper.database.reading() as session:
        (told,) = incidents.of_campaign(session, robbed)
        assert incidents.of_campaign(session, other) == [] and incidents.of_site(session) == [told]
    assert (told.kind, told.height, told.began_at, told.ended_at) == ("foreign_spend", 102, NOW, NOW)
    assert A in told.sentence and "60,000 sat" in told.sentence and told.sentence.endswith("settled without it.")
    paper.fork(1)
    with paper.database.reading() as session:
        (told,) = incidents.of_campaign(session, robbed)
    assert "in no block any more" in told.sentence


def test_a_plan_of_which_nothing_is_left_has_nothing_left_to_do(paper: Paper) -> None:
    campaign = paper.campaign()
    pledge = paper.pledge(campaign)
    paper.mine([coin(pledge, 60_000, "a")])
    paper.mine(blocks=161 - paper.tip)
    with paper.database.transaction() as session:
        assert settling.decide_campaign(session, campaign, 2)
    paper.mine([], [FoundSpend(txid("a"), 0, "thief")])
    assert paper.summary(campaign).state == "refunding"
    acknowledge(paper, A)
    snapshot = paper.snapshot(campaign)
    assert [snapshot.batch_state(b) for b in snapshot.batches] == [BatchState.SUPERSEDED]
    assert paper.summary(campaign).state == "refunded"
