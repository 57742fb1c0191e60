"""A campaign is cancelled by a transaction of its creator: the whole trip, on a real node and on the other servers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import select

from audit.auditing import bundle_of, lie, wrong
from crowdfund.audit import chain_facts
from crowdfund.audit.verify import verify
from crowdfund.campaigns import drafts
from crowdfund.campaigns.lifecycle import CampaignState, Outcome
from crowdfund.campaigns.models import Cancellation, Pledge
from crowdfund.campaigns.tip import chain_tip, closing_block
from crowdfund.chain.regtest import RegtestNode
from crowdfund.errors import UserError, WorldError
from crowdfund.wallet.cancellation import RULE, reason_hash
from support.cancelling import Canceller
from support.servers import FEWER, server_settings
from support.truth import even
from support.world import World

K = 3


@pytest.fixture(scope="module", params=FEWER)
def servers(
    node: RegtestNode, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, str]]:
    """The settings for one kind of backend."""
    with server_settings(node, tmp_path_factory.mktemp("server"), request.param) as settings:
        yield settings


@pytest.fixture(autouse=True)
def small_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """An audit derives forty addresses beyond those given out."""
    monkeypatch.setattr(chain_facts, "GAP", 40)


@pytest.fixture
def world(
    node: RegtestNode, tmp_path: Path, servers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """Campaigns are published as where a node is watched; the operator may have moved to another server since."""
    monkeypatch.setattr(drafts, "cancelling_rule", lambda _: RULE)
    with World(node, tmp_path, CONFIRMATIONS=str(K), **servers) as whole:
        yield whole


def mine(world: World, count: int = 1) -> None:
    for _ in range(count):
        world.node.mine()
        caught_up(world)


def caught_up(world: World) -> None:
    """The worker has seen the node's tip: a server in between may be behind for a moment."""
    give_up = time.monotonic() + 30
    while True:
        with suppress(WorldError):  # a server between two branches
            world.sync()
        with world.database.reading() as session:
            tip = chain_tip(session)
        if tip is not None and tip.hash == world.node.rpc("getbestblockhash"):
            world.sync()
            return
        assert time.monotonic() < give_up
        time.sleep(0.05)


def paid(world: World, campaign: str, amount_sats: int) -> Pledge:
    pledge = world.paid(campaign, amount_sats)
    caught_up(world)
    return pledge


def close(world: World, campaign: str) -> None:
    world.close(campaign)
    caught_up(world)


def rows(world: World) -> list[Cancellation]:
    with world.database.reading() as session:
        return list(session.scalars(select(Cancellation).order_by(Cancellation.id)))


def test_everybody_gets_the_money_back_before_the_deadline_although_the_goal_was_reached(world: World) -> None:
    campaign = world.campaign()
    bob, carol = paid(world, campaign, 700_000), paid(world, campaign, 600_000)
    creator = Canceller(world, campaign)
    txid = creator.send()
    caught_up(world)
    even(world)
    snapshot = world.snapshot(campaign)
    assert snapshot.cancellation is not None and snapshot.cancellation.txid == txid
    assert snapshot.cancellation.reason_sha256 == reason_hash(creator.reason).hex()
    assert world.summary(campaign).state is CampaignState.CLOSING
    with pytest.raises(UserError, match="cancelled this campaign"):
        world.pledge(campaign, 50_000)
    mine(world, K - 1)
    snapshot = world.snapshot(campaign)
    assert snapshot.outcome is Outcome.FAILED and snapshot.decision is not None
    assert snapshot.decision.cancellation_id == rows(world)[0].id
    assert snapshot.decision.closing_height == snapshot.tip_height - K + 1
    assert world.summary(campaign).state is CampaignState.REFUNDING
    mine(world, K)
    summary = world.summary(campaign)
    assert summary.state is CampaignState.REFUNDED and summary.counted_sats == 1_300_000
    assert [world.pledge_state(p) for p in (bob, carol)] == ["refunded", "refunded"]
    assert world.worker.view.in_the_way == ""
    even(world)
    close(world, campaign)
    mine(world, K)
    assert world.snapshot(campaign).outcome is Outcome.FAILED, "the deadline changes nothing any more"
    even(world)
    _is_audited(world, campaign, txid)


def _is_audited(world: World, campaign: str, txid: str) -> None:
    """By this kind of server: what the bundle says is found again, and what it leaves out is found."""
    world.node.mine()
    caught_up(world)
    bundle = bundle_of(world, campaign)
    report = verify(bundle, world.backend)
    assert report.ok, wrong(report)
    assert report.outcome is Outcome.FAILED and bundle["cancellation"]["txid"] == txid
    assert any(f"Transaction {txid} is on the chain" in f.sentence for f in report.findings)
    for told in ({**bundle, "cancellation": None}, lie(bundle, cancellation=None, closing=_closing(world, campaign))):
        assert any(f"{txid} in block" in sentence for sentence in wrong(verify(told, world.backend)))


def _closing(world: World, campaign: str) -> dict[str, object]:
    """The closing block that there would be without the cancellation."""
    terms = world.snapshot(campaign).terms
    assert terms is not None
    with world.database.reading() as session:
        block = closing_block(session, terms.deadline)
    assert block is not None
    return {"height": block.height, "hash": block.hash}


def test_what_comes_with_the_cancellation_or_after_it_is_late_and_comes_back(world: World) -> None:
    campaign = world.campaign()
    early = paid(world, campaign, 300_000)
    with_it, after = world.pledge(campaign, 400_000), world.pledge(campaign, 500_000)
    creator = Canceller(world, campaign)
    coin = creator.coin()
    world.node.pay(str(with_it.address), 400_000)
    world.node.rpc("sendrawtransaction", creator.signed(coin))
    world.node.mine()
    world.node.pay(str(after.address), 500_000)
    mine(world, K)
    assert world.summary(campaign).counted_sats == 300_000
    mine(world, 2 * K)
    assert [world.pledge_state(p) for p in (early, with_it, after)] == ["refunded"] * 3
    assert world.summary(campaign).state is CampaignState.REFUNDED
    even(world)


def test_one_that_is_reorganised_away_before_it_is_deep_leaves_the_campaign_open(world: World) -> None:
    campaign = world.campaign()
    bob = paid(world, campaign, 1_200_000)
    creator = Canceller(world, campaign)
    txid = creator.send()
    mine(world)
    assert world.summary(campaign).state is CampaignState.CLOSING and len(rows(world)) == 1
    creator.undo(txid)
    caught_up(world)
    assert world.summary(campaign).state is CampaignState.OPEN and world.snapshot(campaign).cancellation is None
    even(world)
    world.pledge(campaign, 50_000)  # pledges are taken again
    world.node.rpc("prioritisetransaction", txid, 0, -100_000_000)  # no miner takes it
    close(world, campaign)
    mine(world, K)
    mine(world, K)
    assert world.snapshot(campaign).outcome is Outcome.FUNDED and world.pledge_state(bob) == "paid_out"
    even(world)


def test_one_that_comes_back_in_another_block_counts_there(world: World) -> None:
    campaign = world.campaign()
    paid(world, campaign, 1_200_000)
    creator = Canceller(world, campaign)
    txid = creator.send()
    caught_up(world)
    creator.undo(txid)
    mine(world)
    first, second = rows(world)
    assert first.txid == second.txid == txid and second.height == first.height + 2
    held = world.snapshot(campaign).cancellation
    assert held is not None and held.id == second.id
    mine(world, 2 * K)
    assert world.summary(campaign).state is CampaignState.REFUNDED
    even(world)


def test_only_the_payout_key_and_the_own_terms_cancel_and_only_in_time(world: World) -> None:
    campaign = world.campaign()
    paid(world, campaign, 1_200_000)
    creator = Canceller(world, campaign)
    stranger = creator.paid_to(str(world.node.bank("getnewaddress")))
    for raw in (creator.signed(stranger), creator.signed(creator.coin(), b"x" * 32)):
        world.node.rpc("sendrawtransaction", raw)
    mine(world)
    assert rows(world) == [] and world.summary(campaign).state is CampaignState.OPEN
    coin = creator.coin()
    world.node.jump_to(int(creator.terms.deadline.timestamp()) + 1)
    world.node.rpc("sendrawtransaction", creator.signed(coin))
    mine(world, K)
    assert world.snapshot(campaign).cancellation is None
    mine(world, K)
    assert world.snapshot(campaign).outcome is Outcome.FUNDED
    even(world)


def test_a_worker_without_memory_finds_it_again_and_nothing_twice(world: World) -> None:
    campaign = world.campaign()
    bob = paid(world, campaign, 1_200_000)
    Canceller(world, campaign).send()
    world.worker = world.new_worker()
    caught_up(world)
    world.worker = world.new_worker()
    mine(world, 2 * K)
    assert len(rows(world)) == 1 and world.pledge_state(bob) == "refunded"
    even(world)


def test_the_signer_has_it_in_its_log_and_knows_it_after_a_restart(world: World) -> None:
    campaign = world.campaign()
    paid(world, campaign, 1_200_000)
    Canceller(world, campaign).send()
    mine(world, K)
    log = (world.folder / "signer" / "log.jsonl").read_text()
    assert '"cancelled":[' in log
    world.restart_signer()
    mine(world, K)
    assert world.summary(campaign).state is CampaignState.REFUNDED
