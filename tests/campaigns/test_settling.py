"""Settlement in the database: decided once, planned once, and no step forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError, NoResultFound

from crowdfund.campaigns import attempts, settling, shown_endings, thefts
from crowdfund.campaigns.ledger import Bucket
from crowdfund.campaigns.models import Attempt
from crowdfund.campaigns.queries import pledge_summary
from crowdfund.campaigns.settling import CountedCoin, DueCampaign
from crowdfund.campaigns.shown_endings import ShownEnding
from crowdfund.chain.follow import FoundCoin, FoundSpend
from crowdfund.chain.inclusion import Inclusion
from crowdfund.chain.port import SendResult, Sent
from crowdfund.triggers import dropped
from crowdfund.wallet.addresses import script_of
from support.paper import BLOCK_TIME, PAYOUT, REFUND, START, Paper, coin, txid

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DEADLINE = 160  # the last block whose median time past is not later than the deadline


@pytest.fixture
def paper(tmp_path: Path, database_url: str) -> Iterator[Paper]:
    with Paper(tmp_path, database_url=database_url) as made:
        yield made


@pytest.fixture
def careful(tmp_path: Path) -> Iterator[Paper]:
    """Six confirmations, as on every network but regtest."""
    with Paper(tmp_path, confirmations=6) as made:
        yield made


def decide(paper: Paper, campaign: str, feerate: int = 2) -> bool:
    with paper.database.transaction() as session:
        due = settling.campaigns_due(session, paper.tip)
        done = settling.decide_campaign(session, campaign, feerate)
    assert not done or campaign in [each.id for each in due]
    return done


def plan(paper: Paper, campaign: str, feerate: int = 2) -> int:
    with paper.database.transaction() as session:
        return settling.plan_campaign(session, campaign, feerate)


def jobs(paper: Paper) -> list[attempts.Job]:
    with paper.database.reading() as session:
        return [attempts.job(session, found) for found in attempts.open_batches(session)]


def to_the_deadline(paper: Paper) -> None:
    paper.mine(blocks=DEADLINE - paper.tip)


@pytest.mark.parametrize(("sats", "outcome"), [(999_999, "failed"), (1_000_000, "funded"), (1_000_001, "funded")])
def test_a_campaign_is_decided_at_the_closing_block_and_once(sats: int, outcome: str, paper: Paper) -> None:
    campaign = paper.campaign()
    pledge = paper.pledge(campaign)
    paper.mine([coin(pledge, sats)])
    to_the_deadline(paper)
    assert not decide(paper, campaign), "equal to the deadline is not later"
    paper.mine()
    assert decide(paper, campaign)
    assert not decide(paper, campaign)
    snapshot = paper.snapshot(campaign)
    assert snapshot.decision is not None
    assert (snapshot.decision.outcome, snapshot.decision.counted_sats) == (outcome, sats)
    assert (snapshot.decision.closing_height, snapshot.decision.closing_hash) == (161, paper.ref(161).hash)
    (job,) = jobs(paper)
    assert job.kind == ("release" if outcome == "funded" else "refund")
    assert job.tx.fee_sats + sum(o.value_sats for o in job.tx.outputs) == sats
    assert job.txid == job.tx.txid and job.tx.locktime == paper.tip
    assert plan(paper, campaign) == 0


def test_the_decision_waits_for_six_confirmations(careful: Paper) -> None:
    campaign = careful.campaign()
    careful.mine([coin(careful.pledge(campaign), 1_000_000)])
    to_the_deadline(careful)
    careful.mine(blocks=5)
    assert not decide(careful, campaign)
    assert careful.summary(campaign).state == "closing"
    careful.mine()
    assert decide(careful, campaign)


def test_a_coin_in_the_closing_block_is_late_and_refunded_by_itself(careful: Paper) -> None:
    campaign = careful.campaign()
    pledge = careful.pledge(campaign)
    careful.mine([coin(pledge, 1_000_000)])
    to_the_deadline(careful)
    careful.mine([coin(pledge, 50_000, "late")])
    careful.mine(blocks=5)
    assert decide(careful, campaign)
    kinds = {job.kind: job.tx for job in jobs(careful)}
    assert [len(tx.inputs) for tx in kinds.values()] == [1, 1] and set(kinds) == {"release", "refund"}
    assert careful.summary(campaign).counted_sats == 1_000_000
    careful.mine([coin(pledge, 60_000, "later")], blocks=5)
    assert plan(careful, campaign) == 0, "not deep enough yet"
    careful.mine()
    with careful.database.reading() as session:
        assert settling.decided_with_loose_coins(session) == [campaign]
    assert plan(careful, campaign) == 1
    assert plan(careful, campaign) == 0
    outpoints = [(i.txid, i.vout) for job in jobs(careful) for i in job.tx.inputs]
    assert len(outpoints) == len(set(outpoints)) == 3


def test_what_is_over_the_cap_goes_back_with_the_decision_and_does_not_hold_the_campaign_open(paper: Paper) -> None:
    campaign = paper.campaign(cap_sats=1_200_000)
    pledges = [paper.pledge(campaign) for _ in range(4)]
    paper.mine([coin(pledges[0], 700_000, "a")])
    paper.mine([coin(pledges[1], 600_000, "b"), coin(pledges[1], 999, "d")])
    paper.mine([coin(pledges[2], 300_000, "c"), coin(pledges[1], 250_000, "e")])
    summary = paper.summary(campaign)
    assert (summary.counted_sats, summary.buckets[Bucket.OVER_CAP], summary.buckets[Bucket.DUST]) == (
        1_300_000,
        550_000,
        999,
    )
    assert summary.pledge_count == 2, "a pledge that only goes back is none"
    to_the_deadline(paper)
    paper.mine([coin(pledges[3], 80_000, "f")])
    assert decide(paper, campaign)
    snapshot = paper.snapshot(campaign)
    assert snapshot.decision is not None
    assert (snapshot.decision.outcome, snapshot.decision.counted_sats) == ("funded", 1_300_000)
    release, refund = jobs(paper)
    assert (release.kind, sum(i.value_sats for i in release.tx.inputs)) == ("release", 1_300_000)
    assert (refund.kind, sorted(i.value_sats for i in refund.tx.inputs)) == ("refund", [80_000, 250_000, 300_000])
    spends = [FoundSpend(i.txid, i.vout, release.txid) for i in release.tx.inputs]
    paper.mine(spends=spends)
    summary = paper.summary(campaign)
    assert summary.state == "released" and summary.buckets[Bucket.IN_SETTLEMENT] == 630_000
    assert plan(paper, campaign) == 0


def test_a_reorganisation_moves_coins_over_the_cap_and_back(paper: Paper) -> None:
    campaign = paper.campaign(cap_sats=1_000_000)
    first, second = paper.pledge(campaign), paper.pledge(campaign)
    paper.mine([coin(first, 1_000_000, "a")])
    paper.mine([coin(second, 400_000, "b")])
    assert paper.summary(campaign).buckets[Bucket.OVER_CAP] == 400_000
    paper.fork(2)
    paper.mine([coin(second, 400_000, "b")], branch="other")
    assert paper.summary(campaign).buckets[Bucket.COUNTED] == 400_000
    paper.mine([coin(first, 1_000_000, "a")], branch="other")
    summary = paper.summary(campaign)
    assert (summary.counted_sats, summary.buckets[Bucket.OVER_CAP]) == (1_400_000, 0), "the coin that crosses counts"


def test_coinbase_coins_wait_for_their_hundred_blocks(paper: Paper) -> None:
    campaign = paper.campaign()
    pledge = paper.pledge(campaign)
    paper.mine([coin(pledge, 1_000_000, coinbase=True)])
    to_the_deadline(paper)
    paper.mine()
    assert decide(paper, campaign)
    assert paper.snapshot(campaign).outcome == "failed" and jobs(paper) == []
    paper.mine(blocks=199 - paper.tip)
    assert plan(paper, campaign) == 0
    paper.mine()
    assert plan(paper, campaign) == 1, "block 201 may spend what block 101 made"
    assert paper.summary(campaign).buckets[Bucket.IN_SETTLEMENT] == 1_000_000


def test_a_freshly_mined_coin_is_shown_as_such_until_it_counts(paper: Paper) -> None:
    campaign = paper.campaign(deadline_at=START + 150 * BLOCK_TIME)
    pledge = paper.pledge(campaign, 1_000_000)
    paper.mine([coin(pledge, 1_000_000, coinbase=True)], blocks=100)
    summary = paper.summary(campaign)
    assert (summary.counted_sats, summary.seen_sats, summary.received_sats, summary.pledge_count) == (
        0,
        0,
        1_000_000,
        1,
    )
    assert summary.buckets[Bucket.MATURING] == 1_000_000
    snapshot = paper.snapshot(campaign)
    assert pledge_summary(snapshot, snapshot.pledges[0]).state == "maturing"
    paper.mine()
    summary = paper.summary(campaign)
    assert summary.counted_sats == summary.buckets[Bucket.COUNTED] == 1_000_000
    snapshot = paper.snapshot(campaign)
    assert pledge_summary(snapshot, snapshot.pledges[0]).state == "confirmed"
    paper.fork(1)
    assert paper.summary(campaign).buckets[Bucket.MATURING] == 1_000_000
    paper.mine(blocks=251 - paper.tip)
    assert decide(paper, campaign) and paper.snapshot(campaign).outcome == "funded"


def test_a_decision_names_the_blocks_that_it_rests_on(careful: Paper) -> None:
    campaign = careful.campaign()
    to_the_deadline(careful)
    careful.mine(blocks=5)

    def due() -> list[settling.DueCampaign]:
        with careful.database.reading() as session:
            return settling.campaigns_due(session, careful.tip)

    assert due() == []
    careful.mine(blocks=3)
    proof = {161: careful.ref(161).hash, 166: careful.ref(166).hash}
    assert due() == [settling.DueCampaign(campaign, proof)]
    assert decide(careful, campaign) and due() == []


def test_what_is_not_worth_its_fee_waits_for_a_lower_one(paper: Paper) -> None:
    campaign = paper.campaign(goal_sats=50_000)
    pledge = paper.pledge(campaign)
    paper.mine([coin(pledge, 50_000), coin(pledge, 2_000, "small"), coin(pledge, 999, "dust")])
    to_the_deadline(paper)
    paper.mine()
    assert decide(paper, campaign, feerate=100)
    (job,) = jobs(paper)
    assert len(job.tx.inputs) == 1
    buckets = paper.summary(campaign).buckets
    assert (buckets[Bucket.UNCLAIMED], buckets[Bucket.DUST], buckets[Bucket.IN_SETTLEMENT]) == (2_000, 999, 50_000)
    paper.mine([], [FoundSpend(i.txid, i.vout, job.txid) for i in job.tx.inputs])
    buckets = paper.summary(campaign).buckets
    assert buckets[Bucket.PAID_OUT] + buckets[Bucket.MINER_FEE] == 50_000
    assert plan(paper, campaign, feerate=100) == 0
    assert plan(paper, campaign, feerate=2) == 1
    assert paper.summary(campaign).buckets[Bucket.IN_SETTLEMENT] == 2_000


def test_where_nothing_can_be_paid_the_campaign_is_not_called_settled(paper: Paper) -> None:
    campaign = paper.campaign(goal_sats=20_000)
    paper.mine([coin(paper.pledge(campaign), 20_000)])
    to_the_deadline(paper)
    paper.mine()
    assert decide(paper, campaign, feerate=500) and jobs(paper) == []
    assert paper.summary(campaign).state == "releasing"
    assert plan(paper, campaign, feerate=1) == 1


def test_a_failed_campaign_without_a_coin_is_at_its_end(paper: Paper) -> None:
    campaign = paper.campaign()
    paper.pledge(campaign)
    to_the_deadline(paper)
    paper.mine()
    assert decide(paper, campaign)
    assert paper.summary(campaign).state == "refunded"


def settled(paper: Paper) -> tuple[str, attempts.Job]:
    """A funded campaign, its release signed and in a block."""
    campaign = paper.campaign()
    paper.mine([coin(paper.pledge(campaign), 1_000_000)])
    to_the_deadline(paper)
    paper.mine()
    decide(paper, campaign)
    (job,) = jobs(paper)
    paper.mine([], [FoundSpend(i.txid, i.vout, job.txid) for i in job.tx.inputs])
    return campaign, job


def test_a_settlement_that_a_reorganisation_takes_out_is_open_again_and_the_same(paper: Paper) -> None:
    campaign, job = settled(paper)
    assert jobs(paper) == [] and paper.summary(campaign).state == "released"
    paper.fork(1)
    assert jobs(paper) == [job] and paper.summary(campaign).state == "releasing"
    assert plan(paper, campaign) == 0
    paper.fork(paper.tip - 101)
    assert paper.summary(campaign).received_sats == 1_000_000
    paper.fork(1)
    assert paper.summary(campaign).received_sats == 0
    snapshot = paper.snapshot(campaign)
    assert snapshot.decision is not None and snapshot.batch_state(snapshot.batches[0]) == "input lost"
    assert plan(paper, campaign) == 0 and jobs(paper) == [replace(job, lost=True)]


def test_a_late_settlement_never_undoes_the_end_of_the_campaign(paper: Paper) -> None:
    campaign, _ = settled(paper)
    pledge = paper.snapshot(campaign).pledges[0]
    paper.mine([coin(pledge, 70_000, "late")])
    assert plan(paper, campaign) == 1
    (job,) = jobs(paper)
    assert (job.kind, paper.summary(campaign).state) == ("refund", "released")


def test_signed_bytes_and_the_time_of_sending_are_kept_from_the_first_time_on(paper: Paper) -> None:
    campaign = paper.campaign()
    paper.mine([coin(paper.pledge(campaign), 1_000_000)])
    to_the_deadline(paper)
    paper.mine()
    decide(paper, campaign)
    txid = jobs(paper)[0].txid
    with paper.database.transaction() as session:
        attempts.store_signed(session, txid, b"one")
        attempts.store_signed(session, txid, b"two")
        attempts.mark_sent(session, txid, NOW, 161)
        attempts.mark_sent(session, txid, datetime.now(UTC), 162)
    (job,) = jobs(paper)
    assert (job.raw, job.sent) == (b"one", True)
    for result, refusal in (
        (SendResult(Sent.REFUSED, "min fee"), "min fee"),
        (SendResult(Sent.INPUTS_GONE, "gone"), "gone"),
        (SendResult(Sent.KNOWN), None),
        (SendResult(Sent.ACCEPTED), None),
    ):
        with paper.database.transaction() as session:
            attempts.note_result(session, txid, result)
            attempt = session.scalars(select(Attempt)).one()
            assert (attempt.refusal, attempt.sent_at) == (refusal, NOW)
        assert jobs(paper) == [replace(job, refusal=refusal)], "whatever the node says, the same bytes stay open"


def test_a_spend_that_is_not_ours_is_an_alarm(paper: Paper) -> None:
    campaign = paper.campaign()
    paid = coin(paper.pledge(campaign), 1_000_000)
    paper.mine([paid])
    paper.mine([], [FoundSpend(paid.txid, 0, "stranger")])
    with paper.database.reading() as session:
        assert thefts.foreign_spends(session) == [f"{paid.txid}:0"]
    assert paper.summary(campaign).buckets[Bucket.FOREIGN_SPEND] == 1_000_000
    paper.fork(1)
    with paper.database.reading() as session:
        assert thefts.foreign_spends(session) == []


def test_refund_addresses_are_told_to_the_signer_once(paper: Paper) -> None:
    first, second = paper.campaign(), paper.campaign(title="Another")
    pledges = [paper.pledge(first), paper.pledge(first), paper.pledge(second)]
    with paper.database.transaction() as session:
        waiting = settling.unregistered(session)
        assert sorted(len(w.refunds) for w in waiting) == [1, 2]
        assert sorted(i for w in waiting for i in w.pledge_ids) == sorted(p.id for p in pledges)
        assert all(script == pledges[0].refund_script for w in waiting for script in w.refunds.values())
        both = next(w for w in waiting if len(w.refunds) == 2)
        last = both.only(both.pledge_ids[1:])
        assert (last.pledge_ids, last.campaign_id) == (both.pledge_ids[1:], both.campaign_id)
        assert last.refunds == {1: both.refunds[1]} and both.only(()).refunds == {}
        assert settling.unregistered(session, (waiting[0].campaign_id, 9)) == waiting[1:]
        assert settling.unregistered(session, (both.campaign_id, 0))[0] == last
        settling.mark_registered(session, waiting[0].pledge_ids)
        assert settling.unregistered(session) == waiting[1:]


def test_a_settlement_pays_who_it_should(paper: Paper) -> None:
    won, lost = paper.campaign(goal_sats=100_000), paper.campaign()
    coins = [coin(paper.pledge(c), 100_000, c) for c in (won, lost)]
    paper.mine(coins)
    to_the_deadline(paper)
    paper.mine()
    assert decide(paper, won) and decide(paper, lost)
    paid = {job.kind: [o.script for o in job.tx.outputs] for job in jobs(paper)}
    assert paid == {"release": [script_of(PAYOUT, "regtest")], "refund": [script_of(REFUND, "regtest")]}


def test_a_plan_that_was_edited_by_hand_no_longer_fits_its_txid(paper: Paper) -> None:
    campaign = paper.campaign()
    paper.mine([coin(paper.pledge(campaign), 1_000_000)])
    to_the_deadline(paper)
    paper.mine()
    decide(paper, campaign)
    with paper.database.transaction() as session:
        session.execute(dropped("attempt_outputs_frozen_txid", "attempt_outputs"))
        session.execute(text("UPDATE attempt_outputs SET script = :script"), {"script": b"\x00\x14"})
    (job,) = jobs(paper)
    assert job.tx.txid != job.txid, "the worker compares the two before it asks the signer"


def test_the_coins_that_count_are_told_in_the_order_of_the_chain(paper: Paper) -> None:
    campaign = paper.campaign()
    first, second = paper.pledge(campaign), paper.pledge(campaign)
    paper.mine([coin(second, 20_000, "a"), coin(first, 10_000, "b"), coin(first, 999, "dust")])
    paper.mine([coin(first, 30_000, "c")])
    to_the_deadline(paper)
    paper.mine([coin(first, 5_000, "late")])
    with paper.database.reading() as session, pytest.raises(NoResultFound):
        settling.counted_coins(session, campaign)
    assert decide(paper, campaign)
    with paper.database.reading() as session:
        terms, closing_height = settling.ending(session, campaign)
        assert (terms.goal_sats, closing_height) == (1_000_000, 161)
        told = settling.counted_coins(session, campaign)
        early = sorted([CountedCoin(txid("a"), 0, 101, second.index), CountedCoin(txid("b"), 0, 101, first.index)],
                       key=lambda each: each.txid)  # fmt: skip
        assert told == [*early, CountedCoin(txid("c"), 0, 102, first.index)]
        with pytest.raises(ValueError, match="nobody has no terms"):
            settling.ending(session, "nobody")


def shown(paper: Paper, campaign: str, *coins: FoundCoin) -> ShownEnding:
    """An ending with these coins, each in the block that the books have it in."""
    (due,) = [one for one in campaigns_due(paper) if one.id == campaign]
    with paper.database.reading() as session:
        _, told = settling.outlook(session, due)
    heights = {(one.txid, one.vout): one.height for one in told}
    held = {
        (c.txid, c.vout): Inclusion(c.txid, heights.get((c.txid, c.vout), 1), b"raw", ("ab" * 32,), 1) for c in coins
    }
    return ShownEnding(b"headers", due.proof[min(due.proof)], held)


def campaigns_due(paper: Paper) -> list[DueCampaign]:
    """At the recorded tip."""
    with paper.database.reading() as session:
        return settling.campaigns_due(session, paper.tip)


def test_what_shows_an_ending_is_kept_with_the_decision_for_good(paper: Paper) -> None:
    campaign = paper.campaign(goal_sats=50_000)
    pledge = paper.pledge(campaign)
    first, second = coin(pledge, 30_000, "a"), coin(pledge, 40_000, "b")
    paper.mine([first, second, coin(pledge, 999, "dust")])
    to_the_deadline(paper)
    paper.mine()
    right = shown(paper, campaign, first, second)
    other_chain = replace(right, closing_hash="another")
    for wrong in (other_chain, shown(paper, campaign, first), shown(paper, campaign, first, coin(pledge, 1, "none"))):
        with paper.database.transaction() as session:
            assert not settling.decide_campaign(session, campaign, 2, wrong)
    with paper.database.transaction() as session:
        assert settling.decide_campaign(session, campaign, 2, right)
    with paper.database.reading() as session:
        proof = shown_endings.proof(session, campaign, with_coins=True)
        assert proof is not None and proof.headers == b"headers"
        assert [one.index for one in proof.coins] == [pledge.index, pledge.index]
        assert {(one.raw, one.branch, one.position) for one in proof.coins} == {(b"raw", ("ab" * 32,), 1)}
    for statement in ("UPDATE endings SET headers = headers", "DELETE FROM counted_coins"):
        with pytest.raises(IntegrityError), paper.database.transaction() as session:
            session.execute(text(statement))


def test_what_counted_at_the_decision_is_what_is_paid_out(paper: Paper) -> None:
    """A reorganisation puts another coin before the closing block, and one that counted after it."""
    campaign = paper.campaign(goal_sats=20_000)
    pledge = paper.pledge(campaign)
    kept, tiny, new = coin(pledge, 30_000, "a"), coin(pledge, 2_000, "tiny"), coin(pledge, 40_000, "new")
    paper.mine([kept, tiny])
    to_the_deadline(paper)
    paper.mine()
    with paper.database.transaction() as session:
        assert settling.decide_campaign(session, campaign, 40, shown(paper, campaign, kept, tiny))
    paper.fork(paper.tip - 100)
    paper.mine([kept, new], branch="other")
    to_the_deadline(paper)
    paper.mine([tiny], branch="other")
    with paper.database.transaction() as session:
        assert settling.plan_campaign(session, campaign, 2) == 2
    planned = {(c.txid, job.kind) for job in jobs(paper) for c in job.plan.inputs}
    assert planned == {(txid("a"), "release"), (txid("tiny"), "release"), (txid("new"), "refund")}


def test_what_the_chain_is_asked_for_are_the_addresses_given_out_and_what_lies_there(paper: Paper) -> None:
    campaign, other = paper.campaign(), paper.campaign()
    pledge, paid = paper.pledge(campaign), coin(paper.pledge(campaign), 10_000, "a")
    paper.mine([paid, coin(paper.pledge(other), 20_000, "b")])
    paper.mempool([coin(pledge, 30_000, "c")])
    with paper.database.reading() as session:
        assert sorted(settling.issued_scripts(session, campaign)) == sorted([paid.script, pledge.script or b""])
        assert settling.unspent_coins(session, campaign) == {(paid.txid, 0, 101)}
        assert settling.plan_campaign(session, campaign, 2) == 0, "nothing is planned before the decision"
    paper.mine([], [FoundSpend(paid.txid, 0, "stranger")])
    with paper.database.reading() as session:
        assert settling.unspent_coins(session, campaign) == set()


def test_a_refund_waits_until_somebody_knows_where_to(paper: Paper) -> None:
    campaign = paper.campaign()
    known, unknown = paper.pledge(campaign), paper.pledge(campaign)
    with paper.database.transaction() as session:
        session.execute(dropped("a_refund_address_moves_by_a_taken_change", "pledges"))
        nowhere = {"script": b"", "id": unknown.id}
        session.execute(text("UPDATE pledges SET refund_script = :script WHERE id = :id"), nowhere)
    paper.mine([coin(known, 20_000, "a"), coin(unknown, 30_000, "b")])
    to_the_deadline(paper)
    paper.mine()
    assert decide(paper, campaign)
    (job,) = jobs(paper)
    assert [i.txid for i in job.tx.inputs] == [txid("a")]
    assert plan(paper, campaign) == 0
    with paper.database.transaction() as session:
        script = {"script": known.refund_script, "id": unknown.id}
        session.execute(text("UPDATE pledges SET refund_script = :script WHERE id = :id"), script)
    assert plan(paper, campaign) == 1
