"""Keeping the ledger: every movement is on record once, whatever the chain does, and whoever tells it again."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from crowdfund.campaigns import attempts, books, figures, halts, recording, settling
from crowdfund.campaigns.attempts import Job
from crowdfund.campaigns.ledger import Bucket, Posted
from crowdfund.campaigns.models import Pledge
from crowdfund.chain.follow import BlockFacts, Changes, FoundCoin, FoundSpend
from crowdfund.triggers import dropped
from support import ledger
from support.paper import BLOCK_TIME, START, Paper, coin, txid

CLOSING = 161
FEERATE = 2


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[Paper]:
    with Paper(tmp_path) as made:
        yield made


def decide(paper: Paper, campaign: str) -> bool:
    with paper.database.transaction() as session:
        return settling.decide_campaign(session, campaign, FEERATE)


def to_the_end(paper: Paper) -> None:
    paper.mine(blocks=CLOSING - paper.tip)


def open_jobs(paper: Paper) -> list[Job]:
    """Every batch that is to be sent."""
    with paper.database.reading() as session:
        return [attempts.job(session, batch_id) for batch_id in attempts.open_batches(session)]


def settle(paper: Paper) -> list[str]:
    """The planned transactions are in the next block."""
    jobs = open_jobs(paper)
    paper.mine([], [FoundSpend(i.txid, i.vout, job.txid) for job in jobs for i in job.tx.inputs])
    return [job.txid for job in jobs]


def test_a_refund_is_split_into_what_comes_back_and_the_fee(paper: Paper) -> None:
    campaign = paper.campaign()
    pledge = paper.pledge(campaign)
    first, second = coin(pledge, 60_001, "first"), coin(pledge, 40_002, "second")
    paper.mine([first, second])
    to_the_end(paper)
    assert decide(paper, campaign)
    settle(paper)
    paper.fork(1)
    settle(paper)
    fee = paper.summary(campaign).buckets[Bucket.MINER_FEE]
    shares = {}
    for each in (first, second):
        moved = ledger.steps(paper.database)[each.txid]
        share = shares[each.txid] = moved[2][2]
        sats = each.value_sats
        leaving = [
            ("in_settlement", "miner_fee", share, False),
            ("in_settlement", "refunded", sats - share, False),
        ]
        undone = [(taker, giver, amount, True) for giver, taker, amount, _ in leaving[::-1]]
        coming = [("outside", "counted", sats, False), ("counted", "in_settlement", sats, False)]
        assert moved == [*coming, *leaving, *undone, *leaving]
    assert sum(shares.values()) == fee
    assert shares[first.txid] == -(-fee * 60_001 // 100_003) or shares[first.txid] == fee * 60_001 // 100_003


def test_whatever_is_told_again_posts_nothing(paper: Paper) -> None:
    campaign = paper.campaign(goal_sats=100_000)
    paid = coin(paper.pledge(campaign), 100_000)
    paper.mine([paid])
    to_the_end(paper)
    decide(paper, campaign)
    (txid,) = settle(paper)
    before = ledger.steps(paper.database)
    again = BlockFacts(paper.ref(paper.tip), (), (FoundSpend(paid.txid, 0, txid),))
    with paper.database.transaction() as session:
        recording.record_late(session, [BlockFacts(paper.ref(101), (paid,), ()), again], datetime.now(UTC))
        assert not settling.decide_campaign(session, campaign, FEERATE)
        assert settling.plan_campaign(session, campaign, FEERATE) == 0
        assert books.post_whole(session, [campaign, campaign]) == 0
    assert ledger.steps(paper.database) == before
    columns = "campaign_id, coin_id, from_account, to_account, amount_sats, what, height, block_hash, at"
    with pytest.raises(IntegrityError), paper.database.transaction() as session:
        session.execute(
            text(
                f"INSERT INTO transfers (id, key, prev_hash, hash, {columns}) SELECT id + 1, key, hash, prev_hash,"
                f" {columns} FROM transfers ORDER BY id DESC LIMIT 1"
            )
        )


def test_what_the_end_of_a_campaign_changes_is_posted(paper: Paper) -> None:
    campaign = paper.campaign()
    young, fresh = (coin(paper.pledge(campaign), 100_000, name, coinbase=True) for name in ("young", "fresh"))
    late, dust = coin(paper.pledge(campaign), 70_000, "late"), coin(paper.pledge(campaign), 999, "dust")
    paper.mine([young])
    paper.mine(blocks=9)
    paper.mine([fresh, dust])
    to_the_end(paper)
    paper.mine([late])
    moved = ledger.steps(paper.database)
    assert moved[young.txid] == [("outside", "maturing", 100_000, False), ("maturing", "late", 100_000, False)]
    assert moved[late.txid] == [("outside", "late", 70_000, False)]
    paper.fork(3)
    assert moved[young.txid] + [("late", "maturing", 100_000, True)] == ledger.steps(paper.database)[young.txid]
    paper.summary(campaign)


def test_the_figures_of_a_campaign_that_closes_are_to_be_derived_anew(paper: Paper) -> None:
    closing, other = paper.campaign(), paper.campaign(deadline_at=datetime(2026, 12, 1, tzinfo=UTC))
    paper.mine(blocks=CLOSING - 1 - paper.tip)
    with paper.database.transaction() as session:
        figures.keep(session)
        assert figures.touched(session) == []
    paper.mine()
    with paper.database.reading() as session:
        assert figures.touched(session) == [closing] != [other]


def test_a_freshly_mined_coin_comes_of_age_and_a_reorganisation_makes_it_young(paper: Paper) -> None:
    campaign = paper.campaign(deadline_at=datetime(2026, 12, 1, tzinfo=UTC))
    paid = coin(paper.pledge(campaign), 100_000, coinbase=True)
    paper.mine([paid])
    paper.mine(blocks=99)
    assert ledger.steps(paper.database)[paid.txid] == [("outside", "maturing", 100_000, False)]
    paper.mine()
    assert paper.summary(campaign).counted_sats == 100_000
    paper.fork(1)
    assert ledger.steps(paper.database)[paid.txid][1:] == [
        ("maturing", "counted", 100_000, False), ("counted", "maturing", 100_000, True),
    ]  # fmt: skip
    assert paper.summary(campaign).counted_sats == 0


def test_one_new_coin_reads_no_other(paper: Paper) -> None:
    campaign = paper.campaign()
    pledge = paper.pledge(campaign)
    paper.mine([coin(pledge, 10_000, str(n)) for n in range(50)])
    seen: list[int] = []
    honest = books.transfers_of

    def counting(session: Session, coin_ids: Collection[int]) -> dict[int, list[Posted]]:
        seen.append(len(coin_ids))
        return honest(session, coin_ids)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(books, "transfers_of", counting)
        paper.mine([coin(pledge, 10_000, "new")])
    assert seen == [1]
    assert paper.summary(campaign).received_sats == 510_000


@dataclass
class Known:
    found: FoundCoin
    height: int | None
    spent_by: str = ""
    spent_at: int | None = None


class Ledger(RuleBasedStateMachine):
    """A campaign's whole life in random order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.paper = Paper(Path(self.folder.name))
        self.campaign = self.paper.campaign(goal_sats=100_000)
        self.pledges: list[Pledge] = [self.paper.pledge(self.campaign) for _ in range(2)]
        self.coins: list[Known] = []
        self.branch = 0
        self.posted: list[tuple[object, ...]] = []

    def teardown(self) -> None:
        self.paper.__exit__()
        self.folder.cleanup()

    def block(self, coins: list[FoundCoin], spends: list[FoundSpend]) -> None:
        self.paper.mine(coins, spends, branch=str(self.branch))

    @rule(values=st.lists(st.integers(0, 90_000), max_size=3), who=st.integers(0, 1), fresh=st.booleans())
    def pay(self, values: list[int], who: int, fresh: bool) -> None:
        again = [c for c in self.coins if c.height is None and not c.found.coinbase]
        new = [
            Known(coin(self.pledges[who], sats, f"{len(self.coins)} {n}", coinbase=fresh and not n), None)
            for n, sats in enumerate(values)
        ]
        self.coins += new
        self.block([c.found for c in (*again, *new)], [])
        for each in (*again, *new):
            each.height = self.paper.tip

    @rule(blocks=st.sampled_from([1, 40, 100]))
    def wait(self, blocks: int) -> None:
        first = self.paper.tip + 1
        self.paper.tip += blocks
        found = (BlockFacts(self.paper.ref(n, str(self.branch)), (), ()) for n in range(first, self.paper.tip + 1))
        self.paper.write(Changes(None, tuple(found), (), self.paper.tip, complete=False))

    @precondition(lambda self: self.paper.tip > 101)
    @rule(depth=st.integers(1, 4))
    def reorganise(self, depth: int) -> None:
        self.branch += 1
        self.paper.fork(min(depth, self.paper.tip - 100))
        for each in self.coins:
            if each.height is not None and each.height > self.paper.tip:
                each.height = None
            if each.spent_at is not None and each.spent_at > self.paper.tip:
                each.spent_by, each.spent_at = "", None

    @rule(feerate=st.sampled_from([1, 30]))
    def decide(self, feerate: int) -> None:
        with self.paper.database.transaction() as session:
            if not settling.decide_campaign(session, self.campaign, feerate):
                settling.plan_campaign(session, self.campaign, feerate)

    @rule()
    def settle(self) -> None:
        jobs = open_jobs(self.paper)
        there = {(c.found.txid, c.found.vout): c for c in self.coins if c.height is not None and not c.spent_by}
        jobs = [job for job in jobs if all((i.txid, i.vout) in there for i in job.tx.inputs)]
        self.block([], [FoundSpend(i.txid, i.vout, job.txid) for job in jobs for i in job.tx.inputs])
        for job in jobs:
            for each in job.tx.inputs:
                known = there[(each.txid, each.vout)]
                known.spent_by, known.spent_at = job.txid, self.paper.tip

    @precondition(lambda self: any(c.height is not None and not c.spent_by for c in self.coins))
    @rule(data=st.data())
    def steal(self, data: st.DataObject) -> None:
        lying = [c for c in self.coins if c.height is not None and not c.spent_by]
        each = data.draw(st.sampled_from(lying))
        self.block([], [FoundSpend(each.found.txid, each.found.vout, "stranger")])
        each.spent_by, each.spent_at = "stranger", self.paper.tip

    @invariant()
    def the_ledger_holds(self) -> None:
        summary = self.paper.summary(self.campaign)
        assert summary.received_sats == sum(c.found.value_sats for c in self.coins if c.height is not None)
        stolen = sum(c.found.value_sats for c in self.coins if c.spent_by == "stranger")
        assert summary.buckets[Bucket.FOREIGN_SPEND] == stolen
        gone = sum(c.found.value_sats for c in self.coins if c.spent_by not in ("", "stranger"))
        assert sum(summary.buckets[b] for b in (Bucket.PAID_OUT, Bucket.REFUNDED, Bucket.MINER_FEE)) == gone

    @invariant()
    def a_replay_is_harmless_and_nothing_is_rewritten(self) -> None:
        with self.paper.database.transaction() as session:
            assert books.post_whole(session, [self.campaign]) == 0
            rows = [tuple(row) for row in session.execute(text("SELECT * FROM transfers ORDER BY id"))]
        assert rows[: len(self.posted)] == self.posted
        self.posted = rows


def test_the_ledger_in_stories_that_hypothesis_makes_up() -> None:
    run_state_machine_as_test(Ledger, settings=settings(max_examples=4, stateful_step_count=15, deadline=None))


@pytest.mark.long
def test_the_ledger_in_many_more_stories() -> None:
    run_state_machine_as_test(Ledger, settings=settings(max_examples=100, stateful_step_count=50, deadline=None))


def test_a_coin_in_two_blocks_in_one_write_is_taken_out_and_comes_in_anew(paper: Paper) -> None:
    campaign = paper.campaign()
    paid = coin(paper.pledge(campaign), 5_000)
    paper.mine([paid])
    paper.write(Changes(100, (BlockFacts(paper.ref(101, "other"), (paid,), ()),), (), 101, True))
    assert ledger.steps(paper.database)[paid.txid] == [
        ("outside", "counted", 5_000, False), ("counted", "outside", 5_000, True), ("outside", "counted", 5_000, False),
    ]  # fmt: skip


def by_hand(paper: Paper, *statements: str) -> None:
    """What somebody with the database in his hands can do: no trigger is in his way."""
    with paper.database.transaction() as session:
        for (name,) in session.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
            session.execute(text(f"DROP TRIGGER {name}"))
        for statement in statements:
            session.execute(text(statement))


def test_a_ledger_is_opened_once_with_every_coin_where_it_is(tmp_path: Path) -> None:
    with Paper(tmp_path) as paper:
        assert books.open_ledger(paper.database) == 0, "there is nothing to post yet"
        campaign = paper.campaign(deadline_at=datetime(2026, 12, 1, tzinfo=UTC))
        first, second = (coin(paper.pledge(campaign), sats, str(sats)) for sats in (5_000, 6_000))
        paper.mine([first, second])
        posted = ledger.steps(paper.database)
        assert books.open_ledger(paper.database) == 0
        by_hand(paper, "DELETE FROM transfers")
        assert books.open_ledger(paper.database) == 0, "the balances say that there was a ledger"
        by_hand(paper, "DELETE FROM balances")
        assert books.open_ledger(paper.database) == 2
        by_hand(paper, "DELETE FROM balances")
        assert books.open_ledger(paper.database) == 0, "and so do the transfers"
        assert ledger.steps(paper.database) == posted


def test_where_the_ledger_refuses_the_campaign_is_halted_and_watching_goes_on(
    paper: Paper, caplog: pytest.LogCaptureFixture
) -> None:
    until = datetime(2026, 12, 1, tzinfo=UTC)
    campaign, other = paper.campaign(deadline_at=until), paper.campaign(deadline_at=until)
    pledge, well = paper.pledge(campaign), paper.pledge(other)
    paper.mine([coin(pledge, 5_000, "a")])
    with paper.database.transaction() as session:
        session.execute(dropped("transfers_frozen_id", "transfers"))
        session.execute(text("UPDATE transfers SET key = :key"), {"key": f"{txid('b')}:0#1"})
    paper.mine([coin(pledge, 6_000, "b"), coin(well, 7_000, "c")])
    paper.mine([coin(pledge, 8_000, "d")])
    with paper.database.transaction() as session:
        assert books.post_whole(session, [campaign]) == 0
        assert [(h.campaign_id, h.reason) for h in halts.open_halts(session)] == [(campaign, books.REFUSED)]
        assert books.balances(session, other) == {"outside": -7_000, "counted": 7_000}
        assert books.balances(session, campaign)["counted"] == 13_000, "what it does not refuse is posted"
    assert [record.levelname for record in caplog.records if "refuses to move" in record.message] == ["ERROR"] * 2


def test_the_coins_at_outpoints_are_those_and_no_others_of_the_same_transaction(paper: Paper) -> None:
    pledge = paper.pledge(paper.campaign())
    paper.mine([coin(pledge, 5_000, "a"), coin(pledge, 6_000, "a", vout=1), coin(pledge, 7_000, "b")])
    with paper.database.reading() as session:
        (first,) = books.coins_at(session, {(txid("a"), 1), (txid("c"), 0)})
        assert session.scalar(text(f"SELECT value_sats FROM coins WHERE id = {first}")) == 6_000
        assert books.coins_at(session, set()) == []


def test_what_is_posted_is_counted(paper: Paper) -> None:
    whole, single = paper.campaign(), paper.campaign()
    pledge, other = paper.pledge(whole), paper.pledge(single)
    paper.mine([coin(pledge, 5_000, "a"), coin(pledge, 6_000, "b"), coin(other, 7_000, "c"), coin(other, 8_000, "d")])
    by_hand(paper, "DELETE FROM transfers", "DELETE FROM balances")
    with paper.database.transaction() as session:
        ids = books.coins_at(session, {(txid("c"), 0)})
        assert books.post(session, ids, [whole]) == 3
        assert books.post(session, ids, [whole]) == 0


def test_the_smallest_coin_that_counts_is_that_of_the_terms(paper: Paper) -> None:
    campaign = paper.campaign()
    sizes = [r'"min_coin_sats"\:' + size for size in ("1000", "2000")]
    by_hand(paper, f"UPDATE campaigns SET terms = replace(terms, '{sizes[0]}', '{sizes[1]}')")
    pledge = paper.pledge(campaign)
    paper.mine([coin(pledge, 1_999, "a"), coin(pledge, 2_000, "b")])
    with paper.database.reading() as session:
        found = books.places(session, books.coins_of_campaign(session, campaign))
    assert [dict(place.accounts) for place in found] == [{"dust": 1_999}, {"counted": 2_000}]


def test_a_coin_that_turns_up_late_moves_others_over_the_cap(paper: Paper) -> None:
    campaign, other = paper.campaign(cap_sats=1_000_000), paper.campaign()
    pledge, elsewhere = paper.pledge(campaign), paper.pledge(other)
    before = coin(pledge, 1_000_000, "before")
    paper.mine()
    paper.mine([coin(pledge, 1_000_000, "after"), coin(elsewhere, 5_000, "c")])
    assert ledger.steps(paper.database)[txid("after")] == [("outside", "counted", 1_000_000, False)]
    with paper.database.transaction() as session:
        recording.record_late(session, [BlockFacts(paper.ref(paper.tip - 1), (before,), ())], datetime.now(UTC))
    moved = ledger.steps(paper.database)
    assert moved[txid("before")] == [("outside", "counted", 1_000_000, False)]
    assert moved[txid("after")][1:] == [("counted", "over_cap", 1_000_000, False)]
    paper.summary(campaign)


def test_each_movement_names_the_block_that_has_moved_the_coin(paper: Paper) -> None:
    campaign = paper.campaign()
    paper.mine([coin(paper.pledge(campaign), 50_000)])
    to_the_end(paper)
    paper.mine(blocks=3)
    assert decide(paper, campaign)
    settle(paper)
    paper.mine()
    paper.fork(2)
    settle(paper)
    with paper.database.reading() as session:
        rows = session.execute(text("SELECT to_account, reverses, height, block_hash FROM transfers ORDER BY id")).all()
    assert all(row.block_hash == paper.ref(row.height).hash for row in rows)
    first, tip, spent = 101, CLOSING + 3, CLOSING + 4
    assert [(row.to_account, row.reverses, row.height) for row in rows] == [
        ("counted", None, first), ("in_settlement", None, tip), ("miner_fee", None, spent), ("refunded", None, spent),
        ("in_settlement", 4, spent), ("in_settlement", 3, spent),
        ("miner_fee", None, spent), ("refunded", None, spent),
    ]  # fmt: skip


def test_what_leaves_its_block_is_undone_in_the_block_that_is_lost(paper: Paper) -> None:
    paid = coin(paper.pledge(paper.campaign()), 5_000)
    paper.mine([paid])
    lost = paper.ref(paper.tip)
    paper.fork(1)
    with paper.database.reading() as session:
        rows = session.execute(text("SELECT to_account, height, block_hash FROM transfers ORDER BY id")).all()
    assert [tuple(row) for row in rows] == [("counted", lost.height, lost.hash), ("outside", lost.height, lost.hash)]


def test_a_deadline_one_second_before_a_block_has_passed_with_it(paper: Paper) -> None:
    campaign = paper.campaign(deadline_at=START + 60 * BLOCK_TIME - timedelta(seconds=1))
    young = coin(paper.pledge(campaign), 100_000, coinbase=True)
    paper.mine(blocks=9)
    paper.mine([young])
    paper.mine(blocks=159 - paper.tip)
    assert ledger.steps(paper.database)[young.txid] == [("outside", "maturing", 100_000, False)]
    paper.mine()
    assert ledger.steps(paper.database)[young.txid][1:] == [("maturing", "late", 100_000, False)]
