"""A worker that was taken over, against a signer that sees no chain: no ending is believed that no block shows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select, text, update

from crowdfund.campaigns import attempts, settling
from crowdfund.campaigns.attempts import Job
from crowdfund.campaigns.ledger import Bucket
from crowdfund.campaigns.lifecycle import Decision, Outcome
from crowdfund.campaigns.models import Campaign, Coin, EndingRow, Pledge
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.chain.inclusion import headers_from, inclusions
from crowdfund.errors import WorldError
from crowdfund.proving import outcome_proof
from crowdfund.wallet.fees import transaction_vsize
from crowdfund.wallet.outcome_proof import CoinProof, OutcomeProof, ShownCoin, first_height
from crowdfund.wallet.signer_client import SignerClient
from crowdfund.wallet.transactions import TxInput, TxOutput, UnsignedTx
from support.world import World


class Thief:
    """Has the worker's place at the socket, its database and its node, and a creator for a friend."""

    def __init__(self, world: World, campaign: str) -> None:
        self.world, self.client = world, SignerClient(world.settings.signer_socket)
        with world.database.reading() as session:
            row = session.get_one(Campaign, campaign)
            self.account, self.text = row.account_index or 0, row.terms or ""
        self.terms = CampaignTerms.parse(self.text)
        self.campaign = campaign

    def headers(self, last: int | None = None) -> bytes:
        tip = int(self.world.node.rpc("getblockcount"))
        return headers_from(self.world.core, first_height(self.terms.opened_height), tip if last is None else last)

    def coin(self, pledge: Pledge) -> tuple[Coin, CoinProof]:
        (coin,) = next(p.coins for p in self.world.snapshot(self.campaign).pledges if p.id == pledge.id)
        (held,) = inclusions(self.world.core, [(coin.txid, coin.height or 0)])
        return coin, CoinProof(held.raw, coin.vout, pledge.index, held.height, held.branch, held.position)

    def show(self, *coins: tuple[Coin, Pledge]) -> None:
        for coin, pledge in coins:
            (held,) = inclusions(self.world.core, [(coin.txid, coin.height or 0)])
            self.client.show(self.text, self.account, [ShownCoin(held.raw, coin.vout, pledge.index)])

    def release(self, *coins: tuple[Coin, Pledge]) -> bytes:
        script = bytes.fromhex(self.terms.payout_script)
        spent = tuple(TxInput(c.txid, c.vout, c.value_sats, p.index) for c, p in coins)
        left = sum(i.value_sats for i in spent) - 2 * transaction_vsize(len(spent), [script])
        tx = UnsignedTx(spent, (TxOutput(script, left),), self.terms.opened_height)
        self.show(*coins)
        return self.client.sign(self.text, self.account, "release", tx)

    def refund(self, coin: Coin, pledge: Pledge) -> bytes:
        left = coin.value_sats - 2 * transaction_vsize(1, [pledge.refund_script])
        spent = (TxInput(coin.txid, coin.vout, coin.value_sats, pledge.index),)
        tx = UnsignedTx(spent, (TxOutput(pledge.refund_script, left, pledge.index),), self.terms.opened_height)
        self.show((coin, pledge))
        return self.client.sign(self.text, self.account, "refund", tx)


def refused(word: str) -> pytest.RaisesExc[WorldError]:
    return pytest.raises(WorldError, match=word)


def test_nothing_is_signed_before_the_end(world: World) -> None:
    campaign = world.campaign(goal_sats=100_000)
    pledge = world.paid(campaign, 150_000)
    thief = Thief(world, campaign)
    coin, proof = thief.coin(pledge)
    with refused("has come to its end"):
        thief.release((coin, pledge))
    with refused("has come to its end"):
        thief.refund(coin, pledge)
    with refused("no closing block"):
        thief.client.prove(thief.text, thief.account, OutcomeProof(thief.headers(), (proof,)))


def test_a_missed_goal_is_never_released(world: World) -> None:
    campaign = world.campaign(goal_sats=300_000)
    pledges = [world.paid(campaign, 150_000), world.paid(campaign, 100_000)]
    thief = Thief(world, campaign)
    found = [thief.coin(pledge) for pledge in pledges]
    world.node.jump_to(int(thief.terms.deadline.timestamp()) + 1)
    late = world.pledge(world.campaign(), 900_000)  # a coin of another campaign, paid in time for this one
    world.node.mine()
    headers = thief.headers()
    thief.client.prove(thief.text, thief.account, OutcomeProof(headers, tuple(proof for _, proof in found)))
    with refused("do not reach the goal"):
        thief.release((found[0][0], pledges[0]), (found[1][0], pledges[1]))
    twice = OutcomeProof(headers, (found[0][1],) * 3)
    thief.client.prove(thief.text, thief.account, twice)
    with refused("do not reach the goal"):
        thief.release((found[0][0], pledges[0]))
    lie = replace(found[0][1], index=late.index + 7)
    assert set(thief.client.prove(thief.text, thief.account, OutcomeProof(headers, (lie, lie)))) == {
        "the output pays another address"
    }
    assert thief.refund(found[0][0], pledges[0]), "what is owed is signed all the same"


def test_late_coins_do_not_count_and_are_not_paid_out(world: World) -> None:
    campaign = world.campaign(goal_sats=200_000)
    in_time, late = world.paid(campaign, 150_000), world.pledge(campaign, 100_000)
    thief = Thief(world, campaign)
    world.node.jump_to(int(thief.terms.deadline.timestamp()) + 1)
    world.node.pay(str(late.address), 100_000)
    world.node.mine()
    world.sync()
    proofs = tuple(thief.coin(pledge)[1] for pledge in (in_time, late))
    said = thief.client.prove(thief.text, thief.account, OutcomeProof(thief.headers(), proofs))
    assert said == ["a coin counts in the blocks from the opening to the one before the closing block"]


def test_an_ending_written_into_the_database_is_not_believed(world: World) -> None:
    campaign = world.campaign(goal_sats=300_000)
    pledge = world.paid(campaign, 100_000)
    terms = world.snapshot(campaign).terms
    assert terms is not None
    world.node.jump_to(int(terms.deadline.timestamp()) + 1)

    def funded(*_: object) -> Decision:
        return Decision(Outcome.FUNDED, 300_000, int(world.node.rpc("getblockcount")))

    with pytest.MonkeyPatch.context() as taken_over:
        taken_over.setattr(settling, "_decision", funded)
        world.sync()
    with world.database.reading() as session:
        jobs = [attempts.job(session, batch_id) for batch_id in attempts.open_batches(session)]
    assert [job.kind for job in jobs] == ["release"]
    assert world.node.rpc("getrawmempool") == []
    assert "do not reach the goal" in trouble(world)
    assert world.pledge_state(pledge) == "in_settlement"


def trouble(world: World) -> str:
    """What the operator reads."""
    world.sync()
    return world.worker._view.trouble


def test_a_signer_that_was_started_anew_remembers_what_was_proven(world: World) -> None:
    campaign = world.campaign(goal_sats=200_000)
    for sats in (150_000, 100_000):
        world.paid(campaign, sats)
    world.close(campaign)
    (job,) = jobs_of(world, campaign)
    proof = outcome_proof(world.database, world.core, campaign, with_coins=True)
    assert len(proof.coins) == 2
    log = (world.folder / "signer" / "log.jsonl").read_text()
    world.restart_signer()
    assert world.worker.signer is not None
    again = world.worker.signer.sign(job.terms, job.account_index, job.kind, job.tx)
    assert again == job.raw
    assert (world.folder / "signer" / "log.jsonl").read_text() == log, "nothing new was signed"
    world.node.mine()
    world.sync()
    assert world.summary(campaign).buckets[Bucket.PAID_OUT] > 0


def jobs_of(world: World, campaign: str) -> list[Job]:
    """Its batches."""
    with world.database.reading() as session:
        return [attempts.job(session, batch.id) for batch in world.snapshot(campaign).batches]


def test_coins_of_others_beside_ours_are_not_signed_for(world: World) -> None:
    """With coins that are not ours, told with values that they do not have, half of a refund would go to the thief."""
    campaign = world.campaign(goal_sats=90_000_000)
    bob, mallory = world.paid(campaign, 10_000_000), world.pledge(campaign, 20_000)
    thief = Thief(world, campaign)
    (coin,) = next(p.coins for p in world.snapshot(campaign).pledges if p.id == bob.id)
    world.node.jump_to(int(thief.terms.deadline.timestamp()) + 1)
    world.sync()
    thief.client.prove(thief.text, thief.account, OutcomeProof(thief.headers()))
    strange = tuple(TxInput(f"{n + 1:064x}", 0, 20_440, mallory.index) for n in range(250))
    spent = (TxInput(coin.txid, coin.vout, coin.value_sats, bob.index), *strange)
    outputs = (
        TxOutput(bob.refund_script, 5_000_000, bob.index),
        TxOutput(mallory.refund_script, 5_110_000, mallory.index),
    )
    with refused("not shown to be a coin of this pledge"):
        theft = UnsignedTx(spent, outputs, thief.terms.opened_height)
        thief.client.sign(thief.text, thief.account, "refund", theft)
    (stranger,) = inclusions(world.core, [(coin.txid, coin.height or 0)])
    with refused("none of this campaign's"):
        other = next(v for v in range(3) if v != coin.vout)
        thief.client.show(thief.text, thief.account, [ShownCoin(stranger.raw, other, mallory.index)])


def test_headers_that_came_damaged_are_not_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept with the decision for good, they would keep the signer from signing for good."""
    campaign = world.campaign(goal_sats=100_000)
    pledge = world.paid(campaign, 150_000)
    well = world.backend.headers

    def damaged(first_height: int, count: int) -> list[bytes]:
        headers = well(first_height, count)
        if first_height == 0:  # only what the signer is shown begins there
            headers[5] = headers[5][:-1] + bytes([headers[5][-1] ^ 1])
        return headers

    monkeypatch.setattr(world.backend, "headers", damaged)
    world.close(campaign)
    assert world.snapshot(campaign).decision is None
    assert "came damaged" in trouble(world)
    monkeypatch.setattr(world.backend, "headers", well)
    world.node.mine()
    world.sync()
    world.node.mine()
    world.sync()
    assert world.pledge_state(pledge) == "paid_out"


def test_headers_of_another_length_are_a_wrong_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.core, "headers", lambda _first, count: [bytes(80)] * (count - 1) + [bytes(79)])
    with pytest.raises(WorldError, match="cannot be read"):
        headers_from(world.core, 0, 2)


def test_headers_that_an_older_version_kept_damaged_are_shown_from_the_chain(world: World) -> None:
    campaign = world.campaign(goal_sats=100_000)
    pledge = world.paid(campaign, 150_000)
    world.equip(signer=SignerClient(world.folder / "nobody"))
    world.close(campaign)
    with world.database.transaction() as session:
        session.execute(text("DROP TRIGGER endings_frozen"))
        headers = session.scalars(select(EndingRow.headers)).one()
        session.execute(update(EndingRow).values(headers=bytes([headers[0] ^ 1]) + headers[1:]))
    world.equip(signer=SignerClient(world.settings.signer_socket))
    world.sync()
    world.node.mine()
    world.sync()
    world.node.mine()
    world.sync()
    assert world.pledge_state(pledge) == "paid_out"
