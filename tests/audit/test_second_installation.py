"""Nothing in a bundle depends on the installation: another one that sees the chain itself makes the same bytes."""

from __future__ import annotations

from pathlib import Path

from audit.auditing import audited, bundle_of
from crowdfund.audit.bundle import build_bundle, bundle_json
from crowdfund.campaigns import books
from crowdfund.campaigns.models import (
    Account,
    Campaign,
    Creator,
    DecisionRow,
    Pledge,
)
from crowdfund.projects.models import Project
from support.copying import copy_plans, copy_rows
from support.world import DAY, World

PROMISES = (Creator, Account, Project, Campaign, Pledge)


def _text(world: World, campaign: str) -> str:
    return bundle_json(build_bundle(world.snapshot(campaign), "regtest"))


def test_the_same_promises_and_the_same_chain_give_the_same_bytes(world: World, tmp_path: Path) -> None:
    still_open = world.campaign(goal_sats=5_000_000, deadline_at=world.chain_now() + 30 * DAY)
    for sats in (300_000, 20_000):
        world.paid(still_open, sats)
    world.paid(still_open, 70_000, confirmed=False)
    settled = world.campaign(goal_sats=100_000)
    late = world.pledge(settled, 30_000)
    world.paid(settled, 150_000)
    world.close(settled)
    world.node.pay(str(late.address), 30_000)
    world.node.mine()
    world.sync()
    other = World(world.node, tmp_path / "b")
    with world.database.reading() as source, other.database.transaction() as target:
        copy_rows(source, target, PROMISES)
    with other:
        assert _text(other, still_open) == _text(world, still_open)
        assert bundle_of(other, settled)["outcome"] == "funded", "without a decision of its own"
        assert bundle_of(other, settled)["buckets"]["foreign_spend"] == 150_000, "it did not make the plans"
        with world.database.reading() as source, other.database.transaction() as target:
            copy_rows(source, target, (DecisionRow,))
            copy_plans(source, target)
            books.post_whole(target, [settled])
        assert _text(other, settled) == _text(world, settled)
        audited(other, settled)


def test_a_bundle_tells_no_secret(world: World) -> None:
    campaign = world.campaign()
    pledge = world.pledge(campaign, 50_000, name="bob the backer")
    world.node.pay(str(pledge.address), 50_000)
    world.node.mine()
    world.sync()
    text = _text(world, campaign)
    assert text == _text(world, campaign)
    for secret in (pledge.id, "bob", campaign, pledge.refund_address, pledge.refund_script.hex()):
        assert secret not in text
