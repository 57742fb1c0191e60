"""Rewards: stock is never oversold, whoever pays when; and who paid in time never loses."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from crowdfund.campaigns import service, stock
from crowdfund.campaigns.detail_models import RewardClaim, RewardRow
from crowdfund.campaigns.details import Details, Reward
from crowdfund.campaigns.lifecycle import CoinFacts
from crowdfund.campaigns.models import Campaign, Pledge
from crowdfund.campaigns.rewards import (
    HOLDING,
    RESERVED_FOR,
    Claim,
    ClaimState,
    left_of,
    paid_place,
    settle_claims,
)
from crowdfund.campaigns.stock import Shelf
from crowdfund.db import Database
from crowdfund.errors import Problems
from support.details import GOOD, database_again, detailed_campaign
from support.paper import REFUND, Paper, coin

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
BLOCKS_OF_48_HOURS = 288
LATER = datetime(2026, 12, 20, tzinfo=UTC)


# -- the pure rule ---------------------------------------------------------------------------------------------

PLACES = st.none() | st.tuples(st.integers(100, 110), st.sampled_from("abcdef"), st.integers(0, 2))
CLAIMS = st.lists(
    st.builds(
        Claim,
        key=st.uuids().map(str),
        reserved_at=st.integers(-100, 0).map(lambda h: NOW + h * HOUR),
        freed=st.booleans(),
        paid_at=PLACES,
    ),
    max_size=12,
    unique_by=lambda claim: claim.key,
)


@given(CLAIMS, st.integers(1, 6))
def test_stock_is_not_oversold_by_the_rule_either(claims: list[Claim], stock_: int) -> None:
    unfreed = [claim for claim in claims if not claim.freed]
    claims = unfreed[:stock_] + [claim for claim in claims if claim.freed]
    states = settle_claims(claims, stock_, NOW)
    holding = [key for key, state in states.items() if state in HOLDING]
    assert len(holding) <= stock_ and left_of(states, stock_) == stock_ - len(holding)
    for claim in claims:
        if claim.paid_at is not None and not claim.freed:
            assert states[claim.key] is ClaimState.HELD, "who paid before anybody needed the room keeps it"
        if claim.paid_at is None and claim.reserved_at + RESERVED_FOR <= NOW:
            assert states[claim.key] is ClaimState.FREED
        if states[claim.key] is ClaimState.MISSED:
            assert len(holding) == stock_, "nobody who has paid goes without while there is one left"
    late = [c for c in claims if c.freed and c.paid_at is not None]
    order = [states[c.key] for c in sorted(late, key=lambda c: (c.paid_at or (0, "", 0), c.key))]
    assert order == sorted(order, key=lambda state: state is ClaimState.MISSED), "the first in the blocks come first"


@given(CLAIMS, st.integers(1, 6))
def test_what_was_settled_stays_settled(claims: list[Claim], stock_: int) -> None:
    claims = [c for c in claims if not c.freed][:stock_] + [c for c in claims if c.freed]
    states = settle_claims(claims, stock_, NOW)
    written = [Claim(c.key, c.reserved_at, states[c.key] not in HOLDING, c.paid_at) for c in claims]
    assert settle_claims(written, stock_, NOW) == states


@given(CLAIMS)
def test_without_an_end_everybody_gets_one(claims: list[Claim]) -> None:
    states = settle_claims(claims, 0, NOW)
    assert all(state in HOLDING for state in states.values()) and left_of(states, 0) is None


def test_paid_is_when_coins_that_count_reach_the_minimum() -> None:
    coins = [
        CoinFacts(30_000, 105, False, False, None, ("bb", 0)),
        CoinFacts(30_000, 104, False, False, None, ("cc", 1)),
        CoinFacts(900, 103, False, False, None, ("aa", 0)),  # dust
        CoinFacts(99_000, None, False, True, None, ("dd", 0)),  # only seen
    ]
    assert paid_place(coins, 50_000, None, 1_000, 110) == (105, "bb", 0)
    assert paid_place(coins, 30_000, None, 1_000, 110) == (104, "cc", 1)
    assert paid_place(coins, 60_001, None, 1_000, 110) is None
    assert paid_place(coins, 50_000, 105, 1_000, 110) is None, "the second one is late"


# -- in the database -------------------------------------------------------------------------------------------


@pytest.fixture
def paper(tmp_path: Path, database_url: str) -> Iterator[Paper]:
    with Paper(tmp_path, database_url=database_url) as made:
        yield made


def pledge(paper: Paper, campaign: str, number: int | None = 0, sats: int = 50_000) -> Pledge:
    found = service.open_pledge(paper.database, paper.settings, campaign, sats, REFUND, reward=number)
    with paper.database.reading() as session:
        return session.get_one(Pledge, found)


def shelf(paper: Paper, campaign: str, number: int = 0) -> Shelf:
    with paper.database.reading() as session:
        return stock.shelves(session, session.get_one(Campaign, campaign))[number]


def state(paper: Paper, of: Pledge) -> ClaimState | None:
    with paper.database.reading() as session:
        found = stock.of_pledge(session, session.get_one(Pledge, of.id))
        return None if found is None else found[1]


def test_a_reward_is_reserved_paid_and_gone(paper: Paper) -> None:
    campaign = detailed_campaign(paper)
    assert [shelf(paper, campaign, n).left for n in (0, 1)] == [2, None]
    first, second = pledge(paper, campaign), pledge(paper, campaign)
    assert shelf(paper, campaign).left == 0 and state(paper, first) is ClaimState.RESERVED
    with pytest.raises(Problems) as told:
        pledge(paper, campaign)
    assert "just been taken" in told.value.by_field["reward"]
    assert state(paper, pledge(paper, campaign, None)) is None, "without one, everybody is welcome"
    assert state(paper, pledge(paper, campaign, 1)) is ClaimState.RESERVED
    paper.mine([coin(first, 50_000), coin(second, 49_999, "b")])
    assert state(paper, first) is ClaimState.HELD
    assert state(paper, second) is ClaimState.RESERVED, "one satoshi short of the minimum"
    assert (shelf(paper, campaign).left, shelf(paper, campaign).taken) == (0, 1)


@pytest.mark.parametrize(
    ("number", "sats", "field"), [(0, 49_999, "amount"), (9, 50_000, "reward"), (-1, 50_000, "reward")]
)
def test_a_reward_that_cannot_be_had(paper: Paper, number: int, sats: int, field: str) -> None:
    campaign = detailed_campaign(paper)
    with pytest.raises(Problems) as told:
        pledge(paper, campaign, number, sats)
    assert list(told.value.by_field) == [field]
    assert shelf(paper, campaign).left == 2


def test_an_unpaid_one_is_free_after_48_hours_of_chain_time(paper: Paper) -> None:
    campaign = detailed_campaign(paper, deadline_at=LATER)
    early, late = pledge(paper, campaign), pledge(paper, campaign)
    paper.mine(blocks=BLOCKS_OF_48_HOURS - 1)
    assert shelf(paper, campaign).left == 0
    paper.mine()
    assert shelf(paper, campaign).left == 2 and state(paper, early) is ClaimState.FREED
    third = pledge(paper, campaign)
    assert shelf(paper, campaign).left == 1
    # The money of who pays now counts; one is left, so the first of them in the blocks gets it after all.
    paper.mine([coin(late, 50_000, "late")])
    paper.mine([coin(early, 50_000, "early")])
    assert state(paper, late) is ClaimState.HELD and state(paper, early) is ClaimState.MISSED
    assert state(paper, third) is ClaimState.RESERVED and shelf(paper, campaign).left == 0
    assert paper.summary(campaign).counted_sats == 100_000
    # When the third does not pay either, the one who missed it is next, before anybody new.
    paper.mine(blocks=BLOCKS_OF_48_HOURS)
    assert state(paper, early) is ClaimState.HELD
    with pytest.raises(Problems):
        pledge(paper, campaign)
    assert state(paper, third) is ClaimState.FREED and shelf(paper, campaign).taken == 2


def test_a_reorganisation_takes_a_payment_back(paper: Paper) -> None:
    campaign = detailed_campaign(paper, deadline_at=LATER)
    one = pledge(paper, campaign)
    paper.mine([coin(one, 50_000)])
    assert state(paper, one) is ClaimState.HELD
    paper.fork(1)
    assert state(paper, one) is ClaimState.RESERVED


def test_the_tables_refuse_what_the_code_would_not_do(paper: Paper) -> None:
    campaign, other = detailed_campaign(paper), detailed_campaign(paper, title="Another")
    held, second = pledge(paper, campaign), pledge(paper, campaign)
    free = pledge(paper, campaign, None)
    small, foreign = pledge(paper, campaign, None, 15_000), pledge(paper, other, None)
    insert = "INSERT INTO reward_claims (pledge_id, campaign_id, number, reserved_at) VALUES"
    for statement, says in (
        (f"{insert} ('{free.id}', '{campaign}', 0, '2026-11-22 12:00:00')", "never_oversold"),
        (f"{insert} ('{small.id}', '{campaign}', 1, '2026-11-22 12:00:00')", "reaches_the_minimum"),
        (f"{insert} ('{foreign.id}', '{campaign}', 1, '2026-11-22 12:00:00')", "own_campaign"),
        (f"UPDATE reward_claims SET number = 1 WHERE pledge_id = '{held.id}'", "cannot change"),
        ("DELETE FROM reward_claims", "kept"),
        ("UPDATE rewards SET stock = 9", "cannot change"),
        ("DELETE FROM rewards", "kept"),
        (f"INSERT INTO rewards VALUES ('{campaign}', 7, 20000, 0)", "before_pledges"),
    ):
        with pytest.raises(IntegrityError, match=says), paper.database.transaction() as session:
            session.execute(text(statement))
    with paper.database.transaction() as session:
        session.execute(text(f"UPDATE reward_claims SET freed_at = '2026-11-25' WHERE pledge_id = '{second.id}'"))
        session.execute(text(f"{insert} ('{free.id}', '{campaign}', 0, '2026-11-25 12:00:00')"))
    with pytest.raises(IntegrityError, match="oversold"), paper.database.transaction() as session:
        session.execute(text(f"UPDATE reward_claims SET freed_at = NULL WHERE pledge_id = '{second.id}'"))


def test_unpaid_claims_cost_no_page_anything(paper: Paper) -> None:
    campaign = detailed_campaign(paper)
    several = [pledge(paper, campaign, 1) for _ in range(5)]
    paper.mine([coin(several[2], 50_000)])
    with paper.database.reading() as session:
        rewards = session.get_one(RewardRow, (campaign, 1))
        assert [claim.pledge_id for claim in stock._rows(session, rewards)] == [several[2].id]
    assert shelf(paper, campaign, 1).taken == 1 and state(paper, several[0]) is ClaimState.RESERVED


def grab(database: Database, paper: Paper, campaign: str, tries: int) -> int:
    """How many rewards this one gets hold of."""
    got = 0
    for _ in range(tries):
        try:
            service.open_pledge(database, paper.settings, campaign, 50_000, REFUND, reward=0)
            got += 1
        except Problems:
            pass
    return got


def in_processes(paper: Paper, campaign: str) -> int:
    context = multiprocessing.get_context("fork")
    counts = context.Queue()

    def work() -> None:
        own = database_again(paper)
        counts.put(grab(own, paper, campaign, 2))
        own.close()

    workers = [context.Process(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    return sum(counts.get(timeout=10) for _ in workers)


def in_threads(paper: Paper, campaign: str) -> int:
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(grab(paper.database, paper, campaign, 2))) for _ in range(8)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert len(found) == 8
    return sum(found)


@pytest.mark.parametrize("way", [in_threads, in_processes])
def test_eight_at_once_get_no_more_than_there_are(paper: Paper, way: object) -> None:
    campaign = detailed_campaign(paper, Details(rewards=(Reward("One of five", "", 50_000, 5),)))
    assert callable(way) and way(paper, campaign) == 5
    with paper.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(RewardClaim)) == 5
    assert shelf(paper, campaign).left == 0


def test_rewards_are_as_the_terms_have_them(paper: Paper) -> None:
    campaign = detailed_campaign(paper)
    terms = paper.snapshot(campaign).terms
    with paper.database.reading() as session:
        details = Details.parse(session.get_one(Campaign, campaign).details)
    assert terms is not None and terms.details_sha256 == details.sha256
    assert details.rewards == GOOD.rewards and details.project.kind == "software"
