"""Attempts in the database: rungs, parts, and coins that somebody else has taken or that are gone for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import event

from crowdfund.campaigns import attempts, ladder, settling, thefts
from crowdfund.campaigns.ledger import Bucket
from crowdfund.campaigns.models import Campaign, TimelockedRefund
from crowdfund.chain.follow import FoundSpend, Rival
from support.paper import BLOCK_TIME, START, Paper, coin, txid

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CLOSING = 161


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[Paper]:
    with Paper(tmp_path) as made:
        yield made


def planned(paper: Paper) -> tuple[str, attempts.Job]:
    """A failed campaign of three coins of two pledges, and the refund that is planned for it."""
    campaign = paper.campaign()
    first, second = paper.pledge(campaign), paper.pledge(campaign)
    paper.mine([coin(first, 60_001, "a"), coin(first, 50_000, "b")])
    paper.mine([coin(second, 40_000, "c")])
    paper.mine(blocks=CLOSING - paper.tip)
    with paper.database.transaction() as session:
        assert settling.decide_campaign(session, campaign, 2)
    (job,) = jobs(paper)
    return campaign, job


def jobs(paper: Paper) -> list[attempts.Job]:
    with paper.database.reading() as session:
        return [attempts.job(session, batch_id) for batch_id in attempts.open_batches(session)]


def take_back(paper: Paper, job: attempts.Job, name: str, fee_sats: int) -> None:
    """The backer's own time-locked refund of one coin is in a block."""
    with paper.database.transaction() as session:
        held = {i.txid: i for i in job.tx.inputs}[txid(name)]
        coin_id = session.connection().exec_driver_sql("SELECT id FROM coins WHERE txid = ?", (held.txid,)).scalar_one()
        session.add(
            TimelockedRefund(
                txid="own", coin_id=coin_id, raw=b"x", value_sats=held.value_sats - fee_sats, fee_sats=fee_sats,
                created_at=NOW,
            )
        )  # fmt: skip
    paper.mine([], [FoundSpend(txid(name), 0, "own")])


def test_a_worker_that_slept_does_not_make_a_dearer_attempt_due_at_once(paper: Paper) -> None:
    """It knows the tip from before its sleep, and another one has planned since then."""
    _, job = planned(paper)
    with paper.database.transaction() as session:
        attempts.store_signed(session, job.txid, b"signed")
        attempts.mark_sent(session, job.txid, NOW, CLOSING - ladder.PATIENCE_BLOCKS)
    (sent,) = jobs(paper)
    assert sent.sent_height == paper.tip
    assert not ladder.is_bump_due(sent.number, sent.sent_height, None, paper.tip)


@contextmanager
def counted_statements(paper: Paper) -> Iterator[list[str]]:
    """What is asked inside."""
    asked: list[str] = []

    def note(_c: object, _k: object, statement: str, *_: object) -> None:
        asked.append(statement)

    event.listen(paper.database.engine, "before_cursor_execute", note)
    yield asked
    event.remove(paper.database.engine, "before_cursor_execute", note)


def test_a_large_batch_is_read_in_as_many_statements_as_a_small_one(paper: Paper) -> None:
    planned(paper)
    with counted_statements(paper) as for_three:
        assert [len(job.tx.inputs) for job in jobs(paper)] == [3]
    campaign = paper.campaign(deadline_at=START + (CLOSING + 20 - 101) * BLOCK_TIME)
    pledge = paper.pledge(campaign)
    paper.mine([coin(pledge, 50_000, f"more {n}") for n in range(9)])
    paper.mine(blocks=CLOSING + 30 - paper.tip)
    with paper.database.transaction() as session:
        assert settling.decide_campaign(session, campaign, 2)
    with counted_statements(paper) as for_both:
        assert [len(job.tx.inputs) for job in jobs(paper)] == [3, 9]
    opened = 2  # the transaction, and which batches are open
    assert len(for_both) - opened == 2 * (len(for_three) - opened)


def test_the_newest_rung_is_worked_on_and_the_dearest_signed_one_below_it_is_known(paper: Paper) -> None:
    _, first = planned(paper)
    assert (first.number, first.earlier, first.sent, first.kind) == (1, None, False, "refund")
    plan = first.plan
    for number, raw in ((2, b"two"), (3, b"three"), (4, None)):
        higher = ladder.next_attempt(plan, 1)
        assert higher is not None
        plan = higher
        with paper.database.transaction() as session:
            name = attempts.store_attempt(session, first.batch_id, number, plan, 170 + number)
            if raw:
                attempts.store_signed(session, name, raw)
    (job,) = jobs(paper)
    assert (job.number, job.txid, job.plan, job.locktime) == (4, name, plan, 174)
    assert (job.raw, job.earlier) == (None, b"three")
    assert job.tx.txid == job.txid != first.txid


def test_the_parts_are_sent_in_place_of_the_whole(paper: Paper) -> None:
    campaign, job = planned(paper)
    parts = ladder.split(job.plan, 5)
    with paper.database.transaction() as session:
        made = attempts.store_parts(session, job.batch_id, parts, 165)
        assert attempts.open_batches(session) == made and len(made) == 2
    found = jobs(paper)
    assert [each.plan for each in found] == list(parts)
    assert [(each.number, each.locktime, each.campaign_id) for each in found] == [(1, 165, campaign)] * 2
    assert sorted(i.txid for each in found for i in each.tx.inputs) == sorted(i.txid for i in job.tx.inputs)
    paper.mine([], [FoundSpend(i.txid, i.vout, found[0].txid) for i in found[0].tx.inputs])
    assert [each.batch_id for each in jobs(paper)] == [found[1].batch_id]


def test_what_a_backer_took_back_leaves_the_others_to_be_paid(paper: Paper) -> None:
    campaign, job = planned(paper)
    with paper.database.reading() as session:
        assert attempts.bereft_batches(session) == [] and attempts.gone_coins(session, job.batch_id) == set()
    take_back(paper, job, "c", 300)
    with paper.database.reading() as session:
        assert attempts.bereft_batches(session) == [job.batch_id]
        assert attempts.gone_coins(session, job.batch_id) == {(txid("c"), 0)}
        assert thefts.foreign_spends(session) == []
    buckets = paper.summary(campaign).buckets
    assert (buckets[Bucket.REFUNDED], buckets[Bucket.MINER_FEE]) == (39_700, 300)
    rest = ladder.without(job.plan, {(txid("c"), 0)}, 3)
    with paper.database.transaction() as session:
        (part,) = attempts.store_parts(session, job.batch_id, rest, paper.tip)
        assert attempts.bereft_batches(session) == [] and attempts.open_batches(session) == [part]
        assert attempts.stray_coins(session) == {}
    paper.fork(1)
    with paper.database.reading() as session:
        assert attempts.stray_coins(session) == {job.batch_id: {(txid("c"), 0)}}


def test_a_coin_without_its_block_is_lost_until_it_comes_back_or_is_double_spent(paper: Paper) -> None:
    _, job = planned(paper)
    with paper.database.reading() as session:
        assert attempts.lost_inputs(session) == []
    paper.fork(paper.tip - 101)
    with paper.database.reading() as session:
        assert attempts.lost_inputs(session) == [(f"{txid('c')}:0", job.txid)]
        assert attempts.job(session, job.batch_id).lost and not job.lost
        assert attempts.bereft_batches(session) == []
    paper.mine(rivals=[Rival(txid("c"), "stranger", paper.tip + 1)])
    with paper.database.reading() as session:
        assert attempts.bereft_batches(session) == [job.batch_id]
        assert attempts.gone_coins(session, job.batch_id) == {(txid("c"), 0)}


def test_a_campaign_that_is_not_published_has_no_account() -> None:
    with pytest.raises(ValueError, match="draft has no account"):
        attempts.account_of(Campaign(id="draft"))
    assert attempts.account_of(Campaign(id="won", account_index=0)) == 0


def test_an_acknowledged_theft_leaves_the_others_to_be_paid_and_one_that_is_not_does_not(paper: Paper) -> None:
    _, job = planned(paper)
    paper.mine([], [FoundSpend(txid("c"), 0, "thief")])
    with paper.database.transaction() as session:
        assert attempts.bereft_batches(session) == []
        thefts.acknowledge(session, [f"{txid('c')}:0"], "a key was copied", NOW)
        assert attempts.bereft_batches(session) == [job.batch_id]
        assert attempts.gone_coins(session, job.batch_id) == {(txid("c"), 0)}
        rest = ladder.without(job.plan, {(txid("c"), 0)}, 3)
        (part,) = attempts.store_parts(session, job.batch_id, rest, paper.tip)
        assert attempts.bereft_batches(session) == [] and attempts.open_batches(session) == [part]


def test_the_signers_refusal_is_kept_until_it_signs(paper: Paper) -> None:
    _, job = planned(paper)
    with paper.database.transaction() as session:
        attempts.note_refused(session, job.txid, "The signer refuses: not this one.")
        assert attempts.job(session, job.batch_id).refusal == "The signer refuses: not this one."
        attempts.store_signed(session, job.txid, b"raw")
        attempts.note_refused(session, job.txid, "The signer refuses: too late.")
        assert attempts.job(session, job.batch_id).refusal == "The signer refuses: not this one."
