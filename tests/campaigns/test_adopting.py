"""Settlements that only the chain knows are taken into the books where they are ours to the last satoshi."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import select

from crowdfund.campaigns import adopting, attempts, books, ladder, settling
from crowdfund.campaigns.ledger import Bucket
from crowdfund.campaigns.models import Attempt, BatchRow, Pledge, Restore, TimelockedRefund
from crowdfund.campaigns.promises import timelocked_tx
from crowdfund.campaigns.settlement import Batch, FeeCaps, SpendableCoin, plan_refunds, plan_release
from crowdfund.chain.backends import AnyBackend
from crowdfund.chain.follow import FoundCoin, FoundSpend
from crowdfund.chain.port import NodeStatus, Outpoint, Spender
from crowdfund.errors import WorldError
from crowdfund.wallet.addresses import script_of
from crowdfund.wallet.transactions import UnsignedTx
from support.paper import PAYOUT, Paper, coin, txid

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PAYOUT_SCRIPT = script_of(PAYOUT, "regtest")


class Server:
    """Has these transactions; those that `waiting` names are in no block."""

    name = "server"

    def __init__(self, *held: UnsignedTx, waiting: Sequence[UnsignedTx] = ()) -> None:
        self._held = {tx.txid: tx.serialize() for tx in held}
        self._spenders = {(i.txid, i.vout): Spender(tx.txid, None) for tx in waiting for i in tx.inputs}

    def transactions(self, txids: Sequence[str]) -> dict[str, bytes]:
        return {name: self._held[name] for name in txids if name in self._held}

    def spenders(self, outpoints: Sequence[Outpoint]) -> Mapping[Outpoint, Spender]:
        return {o: self._spenders[o] for o in outpoints if o in self._spenders}

    def feerate_sat_vb(self, _target_blocks: int) -> int:
        return 4


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[Paper]:
    """An installation that was restored once."""
    with restored(tmp_path) as made:
        yield made


@pytest.fixture
def either(tmp_path: Path, database_url: str) -> Iterator[Paper]:
    """The same, on each kind of database: where their triggers have the last word."""
    with restored(tmp_path, database_url) as made:
        yield made


@contextmanager
def restored(folder: Path, database_url: str = "") -> Iterator[Paper]:
    with Paper(folder, database_url=database_url) as made:
        with made.database.transaction() as session:
            session.add(
                Restore(source="backup", restored_at=NOW, from_height=1, first_account=0, caught_up_at=NOW),
            )
        yield made


def paid(paper: Paper, campaign: str, *values_sats: int) -> list[SpendableCoin]:
    """A pledge and its coin for each value, in one block; in the order of plans."""
    pledges = [paper.pledge(campaign) for _ in values_sats]
    named = list(zip(pledges, values_sats, strict=True))
    paper.mine([coin(pledge, sats, f"{campaign}{pledge.index}") for pledge, sats in named])
    return sorted(spendable(pledge, sats, f"{campaign}{pledge.index}") for pledge, sats in named)


def spendable(pledge: Pledge, sats: int, name: str) -> SpendableCoin:
    return SpendableCoin(txid(name), 0, sats, pledge.index, pledge.refund_script)


def close(paper: Paper, campaign: str, feerate: int | None = None) -> None:
    """The outcome is decided; planned too where a feerate is given."""
    paper.mine(blocks=161 - paper.tip)
    with paper.database.transaction() as session:
        if feerate is None:
            assert settling.store_decision(session, campaign)
            books.post_whole(session, [campaign])
        else:
            assert settling.decide_campaign(session, campaign, feerate)


def mine(paper: Paper, *found: UnsignedTx) -> None:
    """A block with these settlements."""
    paper.mine([], [FoundSpend(i.txid, i.vout, tx.txid) for tx in found for i in tx.inputs])


def adopt(paper: Paper, *held: UnsignedTx) -> None:
    adopting.adopt_spends(paper.database, cast(AnyBackend, Server(*held)))


def foreign(paper: Paper) -> list[str]:
    with paper.database.reading() as session:
        return [one.txid for one in adopting.foreign_settlements(session)]


def jobs(paper: Paper) -> list[attempts.Job]:
    with paper.database.reading() as session:
        return [attempts.job(session, found) for found in attempts.open_batches(session)]


def rungs(paper: Paper) -> list[tuple[str, int, int]]:
    """(txid, batch, number) of every attempt."""
    with paper.database.reading() as session:
        rows = session.execute(select(Attempt.txid, Attempt.batch_id, Attempt.number).order_by(Attempt.batch_id))
        return sorted(((t, b, n) for t, b, n in rows), key=lambda row: row[1:])


def test_a_release_that_no_plan_has_becomes_one(paper: Paper) -> None:
    campaign = paper.campaign()
    (plan,) = plan_release(paid(paper, campaign, 600_000, 500_000), PAYOUT_SCRIPT, 7)
    tx = attempts.unsigned(plan, 130)
    close(paper, campaign)
    mine(paper, tx)
    assert paper.summary(campaign).buckets[Bucket.FOREIGN_SPEND] == 1_100_000
    adopt(paper, tx)
    summary = paper.summary(campaign)
    assert summary.buckets[Bucket.FOREIGN_SPEND] == 0 and summary.state == "released"
    assert summary.buckets[Bucket.MINER_FEE] == plan.fee_sats
    with paper.database.reading() as session:
        attempt = session.scalars(select(Attempt)).one()
        assert (attempt.txid, attempt.locktime, attempt.feerate_sat_vb, attempt.sealed) == (tx.txid, 130, 7, True)


def test_what_is_decided_on_the_way_is_in_the_ledger(paper: Paper) -> None:
    """Half of a release is in a block; the rest is planned by whoever comes next."""
    campaign = paper.campaign()
    one, _ = paid(paper, campaign, 600_000, 600_000)
    tx = attempts.unsigned(plan_release([one], PAYOUT_SCRIPT, 2)[0], 161)
    paper.mine(blocks=161 - paper.tip)
    mine(paper, tx)
    status = NodeStatus("", paper.tip, paper.tip, "", synced=True)
    adopting.adopt_settlements(paper.database, cast(AnyBackend, Server(tx)), status)
    buckets = paper.summary(campaign).buckets
    assert buckets[Bucket.UNCLAIMED] == 600_000 and buckets[Bucket.FOREIGN_SPEND] == 0
    with paper.database.transaction() as session:
        assert settling.plan_campaign(session, campaign, 2) == 1


def test_nothing_is_taken_in_where_nothing_was_restored(tmp_path: Path) -> None:
    with Paper(tmp_path) as paper:
        campaign = paper.campaign()
        (plan,) = plan_release(paid(paper, campaign, 1_000_000), PAYOUT_SCRIPT, 7)
        tx = attempts.unsigned(plan, 130)
        close(paper, campaign)
        mine(paper, tx)
        adopt(paper, tx)
        assert foreign(paper) == [tx.txid]


def test_a_dearer_attempt_goes_up_the_ladder_and_a_cheaper_one_halts(either: Paper) -> None:
    first, second = either.campaign(), either.campaign(title="Another")
    for campaign in (first, second):
        paid(either, campaign, 1_000_000)
    for campaign in (first, second):
        close(either, campaign, feerate=3)
    known = {job.campaign_id: job for job in jobs(either)}
    dearer = ladder.next_attempt(known[first].plan, 9)
    (cheaper,) = plan_release(known[second].plan.inputs, PAYOUT_SCRIPT, 2)
    assert dearer is not None
    up, down = attempts.unsigned(dearer, 170), attempts.unsigned(cheaper, 170)
    mine(either, up, down)
    adopt(either, up, down)
    assert foreign(either) == [down.txid], "no ladder goes down: a person looks at this"
    held = known[first].batch_id
    assert [(t, n) for t, batch, n in rungs(either) if batch == held] == [(known[first].txid, 1), (up.txid, 2)]
    assert either.summary(first).state == "released"


def test_a_part_found_alone_leaves_the_others_to_be_paid(either: Paper) -> None:
    campaign = either.campaign()
    paid(either, campaign, 50_000, 60_000, 70_000)
    close(either, campaign, feerate=3)
    (whole,) = jobs(either)
    one, other = ladder.split(whole.plan, 5)
    tx = attempts.unsigned(other, 170)
    mine(either, tx)
    adopt(either, tx)
    assert foreign(either) == []
    (rest,) = jobs(either)
    assert rest.plan.inputs == one.inputs and rest.plan.feerate_sat_vb == 4
    adopt(either)
    assert len(jobs(either)) == 1, "planned once"
    with either.database.reading() as session:
        parents = session.scalars(select(BatchRow.parent_id).order_by(BatchRow.id)).all()
    assert parents == [None, whole.batch_id, whole.batch_id]
    mine(either, rest.tx)
    assert either.summary(campaign).state == "refunded"


def test_both_parts_found_are_parts(paper: Paper) -> None:
    campaign = paper.campaign()
    paid(paper, campaign, 50_000, 60_000)
    close(paper, campaign, feerate=3)
    (whole,) = jobs(paper)
    txs = [attempts.unsigned(part, 170) for part in ladder.split(whole.plan, 5)]
    mine(paper, *txs)
    adopt(paper, *txs)
    assert foreign(paper) == [] and jobs(paper) == [] and len(rungs(paper)) == 3
    assert paper.summary(campaign).state == "refunded"


def test_a_refund_signed_ahead_of_time_is_known_by_its_terms(paper: Paper) -> None:
    campaign = paper.campaign()
    (held, other) = paid(paper, campaign, 50_000, 60_000)
    terms = paper.snapshot(campaign).terms
    assert terms is not None
    tx = timelocked_tx(terms, held.txid, held.vout, held.value_sats, held.index, held.refund_script)
    early = timelocked_tx(terms, other.txid, other.vout, other.value_sats, other.index, other.refund_script)
    assert tx is not None and early is not None
    early = replace(early, locktime=early.locktime - 1)
    mine(paper, tx, early)
    adopt(paper, tx, early)
    assert foreign(paper) == [early.txid]
    assert paper.summary(campaign).buckets[Bucket.REFUNDED] == tx.outputs[0].value_sats
    with paper.database.reading() as session:
        row = session.scalars(select(TimelockedRefund)).one()
        assert (row.txid, row.raw, row.fee_sats) == (tx.txid, tx.serialize(), tx.fee_sats)


def test_what_came_above_the_cap_goes_back_and_nowhere_else(paper: Paper) -> None:
    campaign = paper.campaign(cap_sats=1_000_000)
    (counted,) = paid(paper, campaign, 1_000_000)
    pledge = paper.snapshot(campaign).pledges[0]
    above = [FoundCoin(txid(name), 0, 50_000, bytes(pledge.script or b""), False) for name in ("b", "c")]
    paper.mine(above)
    close(paper, campaign)
    first, second = (spendable(pledge, 50_000, name) for name in ("b", "c"))
    (refund,) = plan_refunds([first], 2)
    (stolen,) = plan_release([second], PAYOUT_SCRIPT, 2)
    txs = [attempts.unsigned(plan, 161) for plan in (refund, stolen, *plan_release([counted], PAYOUT_SCRIPT, 2))]
    mine(paper, *txs)
    adopt(paper, *txs)
    assert foreign(paper) == [txs[1].txid]
    buckets = paper.summary(campaign).buckets
    assert buckets[Bucket.REFUNDED] > 40_000 and buckets[Bucket.PAID_OUT] > 990_000


def unlike_ours(coins: list[SpendableCoin]) -> dict[str, Batch]:
    """Refunds that nobody's program of ours would make."""
    (plan,) = plan_refunds(coins, 4)
    one, other = plan.outputs
    moved = (replace(one, value_sats=one.value_sats - 1), replace(other, value_sats=other.value_sats + 1))
    (greedy,) = plan_refunds(coins, 400, caps=FeeCaps(refund_percent=95))
    return {
        "shares": replace(plan, outputs=moved),
        "feerate": replace(plan, outputs=(replace(one, value_sats=one.value_sats - 1), other)),
        "script": replace(plan, outputs=(replace(one, script=PAYOUT_SCRIPT), other)),
        "caps": greedy,
        "kind": plan_release(coins, PAYOUT_SCRIPT, 4)[0],
    }


def test_a_satoshi_elsewhere_is_a_theft(paper: Paper) -> None:
    campaign = paper.campaign()
    coins = paid(paper, campaign, 90_000, 80_000)
    close(paper, campaign)
    for what, plan in unlike_ours(coins).items():
        tx = attempts.unsigned(plan, 161)
        mine(paper, tx)
        adopt(paper, tx)
        assert foreign(paper) == [tx.txid], what
        paper.fork(1)
    honest = attempts.unsigned(plan_refunds(coins, 4)[0], 161)
    mine(paper, honest)
    adopt(paper, honest)
    assert foreign(paper) == []


def test_one_on_its_way_is_waited_for_planned_or_not(paper: Paper) -> None:
    campaign = paper.campaign()
    paid(paper, campaign, 1_000_000)
    close(paper, campaign, feerate=3)
    (job,) = jobs(paper)
    dearer = ladder.next_attempt(job.plan, 9)
    assert dearer is not None
    for tx, known in ((attempts.unsigned(dearer, 170), False), (job.tx, True)):
        server = cast(AnyBackend, Server(waiting=[tx]))
        if known:
            adopting._refuse_unconfirmed(paper.database, server)
        else:
            with pytest.raises(WorldError, match="made after the backup"):
                adopting._refuse_unconfirmed(paper.database, server)
