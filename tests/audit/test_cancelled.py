"""A cancelled campaign is verified; and every lie about its cancellation, small or consistent, is found."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path as Folder
from typing import Any

import pytest

from audit.auditing import Bundle, RememberingNode, audited, bundle_of, lie, wrong
from audit.test_tampering import _changes, _is_invisible
from crowdfund.audit.verify import verify
from crowdfund.campaigns.lifecycle import Outcome
from crowdfund.chain.regtest import RegtestNode
from support.cancelling import REASON, Canceller
from support.world import World

LEFT_OUT = (("cancellation", "reason"), ("cancellation", "spent"))
"""What a site need not have: without it there is less to check, and nothing else to believe."""


@pytest.fixture(scope="module")
def world(node: RegtestNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(node, Folder(tmp_path_factory.mktemp("house"))) as whole:
        yield whole


@pytest.fixture(scope="module")
def campaign(world: World) -> str:
    """Cancelled and refunded, with its goal reached; the reason was given."""
    campaign = world.campaign(goal_sats=200_000)
    for sats in (100_000, 150_000):
        world.paid(campaign, sats)
    creator = Canceller(world, campaign)
    creator.ask(world)
    creator.send()
    world.sync()
    world.node.mine()
    world.sync()
    return campaign


@pytest.fixture(scope="module")
def bundle(world: World, campaign: str) -> Bundle:
    return bundle_of(world, campaign)


def test_a_cancelled_campaign_is_verified(world: World, campaign: str) -> None:
    bundle, report = audited(world, campaign)
    assert report.outcome is Outcome.FAILED and report.counted_sats == 250_000
    told = bundle["cancellation"]
    assert told["reason"] == REASON and told["spent"] is not None
    assert bundle["closing"]["height"] == told["height"]
    said = {f.check: f.sentence for f in report.findings}
    assert "names these terms and spends" in said["cancellation"] and told["txid"] in said["cancelled"]
    assert "was cancelled by its creator" in said["outcome"]
    offline = verify(bundle, None)
    assert not offline.differs


def test_every_change_to_the_bundle_is_found(world: World, bundle: Bundle) -> None:
    tried, missed = 0, []
    with closing(RememberingNode(world)) as node:
        for path, what, told in _changes(bundle):
            tried += 1
            out = path in LEFT_OUT and told["cancellation"][path[1]] is None
            if not out and not verify(told, node).differs and not _is_invisible(path, bundle, told):
                missed.append((path, what))
    assert missed == [] and tried > 1_000


def test_what_need_not_be_there_is_missed_by_nobody(world: World, bundle: Bundle) -> None:
    for _, key in LEFT_OUT:
        told = copy.deepcopy(bundle)
        told["cancellation"][key] = None
        assert verify(told, world.core).ok


def test_a_cancellation_that_is_left_out_is_found_on_the_chain(world: World, bundle: Bundle) -> None:
    told = lie(bundle, cancellation=None, closing=None, settlements=[])
    assert any("and the bundle has no cancellation" in s or "has no cancellation" in s for s in found(world, told))


def found(world: World, told: Any) -> list[str]:
    return wrong(verify(told, world.core))


def test_an_invented_cancellation_is_found_on_the_chain(world: World, bundle: Bundle) -> None:
    other = world.campaign(goal_sats=200_000)
    world.paid(other, 300_000)
    honest = bundle_of(world, other)
    stolen = {**bundle["cancellation"], "height": honest["as_of"]["height"]}
    block = {"height": honest["as_of"]["height"], "hash": honest["as_of"]["block_hash"]}
    told = lie(honest, cancellation=stolen, closing=block)
    sentences = found(world, told)
    assert any("does not name these terms" in s for s in sentences)
    assert any("the chain has no cancellation in time" in s for s in sentences)


def test_one_of_a_stranger_is_none(world: World) -> None:
    campaign = world.campaign(goal_sats=200_000)
    world.paid(campaign, 300_000)
    creator = Canceller(world, campaign)
    stranger = creator.paid_to(str(world.node.bank("getnewaddress")))
    world.node.rpc("sendrawtransaction", creator.signed(stranger))
    world.node.mine()
    world.sync()
    bundle, report = audited(world, campaign)
    assert bundle["cancellation"] is None
    assert any("no cancellation in time" in f.sentence for f in report.findings)
