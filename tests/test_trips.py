"""The five trips, told as stories on a real node, with each kind of database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crowdfund.campaigns.ledger import Bucket
from crowdfund.chain.regtest import RegtestNode
from support.world import World


@pytest.fixture
def world(node: RegtestNode, tmp_path: Path, database_url: str) -> Iterator[World]:
    """A fresh installation on the module's node and on either database."""
    with World(node, tmp_path, DATABASE_URL=database_url) as whole:
        yield whole


def test_a_funded_campaign_pays_the_project(world: World) -> None:
    campaign = world.campaign(goal_sats=1_000_000)
    bob, carol = world.paid(campaign, 600_000), world.paid(campaign, 500_000)
    assert world.summary(campaign).counted_sats == 1_100_000
    world.close(campaign)
    assert world.summary(campaign).state == "releasing"
    world.node.mine()
    world.sync()
    summary = world.summary(campaign)
    assert summary.state == "released"
    assert {world.pledge_state(bob), world.pledge_state(carol)} == {"paid_out"}
    payout_sats = summary.buckets[Bucket.PAID_OUT]
    assert payout_sats + summary.buckets[Bucket.MINER_FEE] == 1_100_000
    terms = world.snapshot(campaign).terms
    assert terms is not None
    assert world.node.bank("getreceivedbyaddress", terms.payout_address) * 100_000_000 == payout_sats


def test_a_failed_campaign_refunds_every_backer_less_their_share_of_the_fee(world: World) -> None:
    campaign = world.campaign(goal_sats=50_000_000)
    pledges = [world.paid(campaign, sats) for sats in (100_000, 200_000, 30_000)]
    world.close(campaign)
    world.node.mine()
    world.sync()
    summary = world.summary(campaign)
    assert summary.state == "refunded"
    back = [world.node.bank("getreceivedbyaddress", p.refund_address) * 100_000_000 for p in pledges]
    assert sum(back) == summary.buckets[Bucket.REFUNDED] == 330_000 - summary.buckets[Bucket.MINER_FEE]
    assert all(0 < p.amount_sats - got < 1_000 for p, got in zip(pledges, back, strict=True))
