"""Honest bundles pass: a campaign in each state, on a real node."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pytest import MonkeyPatch, mark, raises

from audit.auditing import audited, bundle_of, changed_terms, with_terms, wrong
from crowdfund.audit import chain_facts
from crowdfund.audit.bundle import build_bundle
from crowdfund.audit.verify import verify
from crowdfund.campaigns import drafts, service
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.chain.core import CoreBackend
from crowdfund.errors import UserError, WorldError
from crowdfund.wallet.amounts import MAX_MONEY_SATS
from support.world import World


def _pay(world: World, address: object, sats: int, blocks: int = 1) -> None:
    world.node.pay(str(address), sats)
    if blocks:
        world.node.mine(blocks)
    world.sync()


def test_an_open_campaign_with_every_kind_of_coin(world: World) -> None:
    campaign = world.campaign(goal_sats=5_000_000)
    assert audited(world, campaign)[1].outcome is None
    world.paid(campaign, 600_000)
    for promised, paid in ((100_000, 90_000), (100_000, 150_000), (50_000, 900)):
        _pay(world, world.pledge(campaign, promised).address, paid)
    twice = world.pledge(campaign, 40_000)
    _pay(world, twice.address, 25_000, blocks=0)
    _pay(world, twice.address, 15_000)
    world.node.rpc("generatetoaddress", 1, world.pledge(campaign, 20_000).address)
    world.sync()
    world.paid(campaign, 70_000, confirmed=False)
    bundle, report = audited(world, campaign)
    coinbase_sats = sum(c["value_sats"] for c in bundle["coins"] if c["coinbase"])
    assert coinbase_sats > 0
    assert len(bundle["coins"]) == 7, "what is unconfirmed is not in it"
    assert report.buckets["dust"] == 900
    assert report.buckets["counted"] == 600_000 + 90_000 + 150_000 + 40_000
    assert report.buckets["maturing"] == coinbase_sats
    assert [f.ok for f in report.findings if f.check == "unspent coins"] == [True]


def test_a_freshly_mined_coin_counts_from_the_hundredth_block_after_its_own(world: World) -> None:
    campaign = world.campaign(goal_sats=5_000_000)
    world.paid(campaign, 50_000)
    world.node.rpc("generatetoaddress", 1, world.pledge(campaign, 20_000).address)
    world.sync()
    fresh, report = audited(world, campaign)
    mined_sats = report.buckets["maturing"]
    assert mined_sats > 0 and [c["bucket"] for c in fresh["coins"]] == ["counted", "maturing"]
    assert fresh["counted_sats"] == report.buckets["counted"] == 50_000
    world.node.mine(99)
    world.sync()
    bundle, report = audited(world, campaign)
    assert bundle["as_of"]["height"] == bundle["coins"][1]["height"] + 99
    assert (report.buckets["maturing"], report.buckets["counted"]) == (mined_sats, 50_000)
    world.node.mine()
    world.sync()
    _, report = audited(world, campaign)
    assert (report.buckets["maturing"], report.buckets["counted"]) == (0, 50_000 + mined_sats)
    assert verify(fresh, world.core).ok, "what was true then is true of then"


@mark.parametrize("claimed", ["counted", "late", "unclaimed"])
def test_a_freshly_mined_coin_in_a_wrong_bucket_is_found(claimed: str, world: World) -> None:
    campaign = world.campaign(goal_sats=5_000_000)
    world.node.rpc("generatetoaddress", 1, world.pledge(campaign, 20_000).address)
    world.sync()
    bundle, _ = audited(world, campaign)
    bundle["coins"][0]["bucket"] = claimed
    bundle["buckets"][claimed] = bundle["buckets"].pop("maturing")
    bundle["buckets"]["maturing"] = 0
    if claimed == "counted":
        bundle["counted_sats"] = bundle["buckets"]["counted"]
    report = verify(bundle, world.core)
    assert report.differs and wrong(report)


def test_a_released_campaign_and_a_late_coin_refunded(world: World) -> None:
    campaign = world.campaign(goal_sats=1_000_000)
    world.paid(campaign, 600_000)
    late = world.pledge(campaign, 200_000)
    world.paid(campaign, 500_000)
    world.close(campaign)
    planned, _ = audited(world, campaign)
    assert planned["buckets"]["in_settlement"] == 1_100_000
    assert [s["height"] for s in planned["settlements"]] == [None]
    world.node.mine()
    world.sync()
    bundle, report = audited(world, campaign)
    assert report.outcome == "funded"
    assert report.buckets["paid_out"] + report.buckets["miner_fee"] == 1_100_000
    assert verify(planned, world.core).ok, "a settlement in a later block is no difference"
    _pay(world, late.address, 200_000)
    assert {s["kind"] for s in audited(world, campaign)[0]["settlements"]} == {"release", "refund"}
    assert verify(bundle, world.core).ok, "nor is a coin in a later block"
    world.node.mine()
    world.sync()
    assert audited(world, campaign)[1].buckets["refunded"] > 0


def test_a_capped_campaign_is_released_and_what_came_above_goes_back(world: World) -> None:
    """A goal of 1 BTC and a cap of 1.2: the second of three payments crosses it and counts, the third does not."""
    campaign = world.campaign(goal_sats=100_000_000, cap_sats=120_000_000)
    pledges = [world.pledge(campaign, sats) for sats in (70_000_000, 60_000_000, 30_000_000)]
    for pledge in pledges:
        _pay(world, pledge.address, pledge.amount_sats)
    bundle, report = audited(world, campaign)
    assert [c["bucket"] for c in bundle["coins"]] == ["counted", "counted", "over_cap"]
    assert (report.counted_sats, report.buckets["over_cap"]) == (130_000_000, 30_000_000)
    assert [world.pledge_state(p) for p in pledges] == ["confirmed", "confirmed", "over_cap"]
    with raises(UserError, match="all that it accepts"):
        world.pledge(campaign, 50_000)
    world.close(campaign)
    planned, _ = audited(world, campaign)
    assert {s["kind"]: len(s["inputs"]) for s in planned["settlements"]} == {"release": 2, "refund": 1}
    world.node.mine()
    world.sync()
    settled, report = audited(world, campaign)
    assert report.outcome == "funded" and settled["counted_sats"] == 130_000_000
    fees = {s["kind"]: s["fee_sats"] for s in settled["settlements"]}
    assert report.buckets["paid_out"] == 130_000_000 - fees["release"]
    assert report.buckets["refunded"] == 30_000_000 - fees["refund"]
    assert [world.pledge_state(p) for p in pledges] == ["paid_out", "paid_out", "refunded"]
    assert world.summary(campaign).state == "released"


def test_a_campaign_of_the_first_version_goes_its_way_as_before(world: World, monkeypatch: MonkeyPatch) -> None:
    def as_before(*args: Any) -> CampaignTerms:
        return replace(
            drafts.freeze(*args),
            version=1,
            cap_sats=0,
            receipt_key="",
            timelock_height=0,
            timelock_feerate_sat_vb=0,
            details_sha256="",
            cancellable="",
        )

    monkeypatch.setattr(service, "freeze", as_before)
    campaign = world.campaign(goal_sats=1_000_000)
    monkeypatch.undo()
    for sats in (1_500_000, 700_000):
        world.paid(campaign, sats)
    world.close(campaign)
    world.node.mine()
    world.sync()
    bundle, report = audited(world, campaign)
    assert report.outcome == "funded" and report.counted_sats == 2_200_000
    assert "receipt_key" not in bundle["terms"] and '"version":1}' in bundle["terms"]


def test_a_lie_about_the_cap_is_found(world: World) -> None:
    """Another cap makes other addresses; and under the true one, the coin above it cannot be called counted."""
    campaign = world.campaign(goal_sats=1_000_000, cap_sats=1_000_000)
    pledges = [world.pledge(campaign, sats) for sats in (1_000_000, 200_000)]
    for pledge in pledges:
        _pay(world, pledge.address, pledge.amount_sats)
    bundle, _ = audited(world, campaign)
    other = changed_terms(bundle, cap_sats=MAX_MONEY_SATS)
    assert any("descriptor" in s for s in wrong(verify(with_terms(bundle, other), world.core)))
    bundle["coins"][1]["bucket"], bundle["counted_sats"] = "counted", 1_200_000
    bundle["buckets"] |= {"counted": 1_200_000, "over_cap": 0}
    sentences = wrong(verify(bundle, world.core))
    assert any("counts 1,200,000 sat; its coins make 1,000,000 sat" in s for s in sentences), sentences


def test_a_failed_campaign_refunds_several_coins_and_leaves_what_is_not_worth_its_fee(
    world: World, monkeypatch: MonkeyPatch
) -> None:
    campaign = world.campaign(goal_sats=50_000_000)
    for sats in (100_000, 200_000, 30_000):
        world.paid(campaign, sats)
    twice = world.pledge(campaign, 40_000)
    _pay(world, twice.address, 25_000)
    _pay(world, twice.address, 15_000)
    _pay(world, world.pledge(campaign, 10_000).address, 900)
    monkeypatch.setattr(world.backend, "feerate_sat_vb", lambda target_blocks: 15)
    _pay(world, world.pledge(campaign, 10_000).address, 1_500)
    world.close(campaign)
    world.node.mine()
    world.sync()
    _, report = audited(world, campaign)
    assert report.outcome == "failed"
    assert (report.buckets["dust"], report.buckets["unclaimed"]) == (900, 1_500)
    assert report.buckets["refunded"] + report.buckets["miner_fee"] == 370_000


def test_closing_waits_for_confirmations_and_the_outcome_does_not_wait_for_the_worker(world: World) -> None:
    world.settings = replace(world.settings, confirmations=13)
    campaign = world.campaign(goal_sats=100_000)
    world.paid(campaign, 100_000)
    world.close(campaign)
    bundle, report = audited(world, campaign)
    assert bundle["closing"] is not None
    assert report.outcome is None
    world.node.mine(12)
    world.worker.watch(world.backend.status())
    bundle, report = audited(world, campaign)
    assert world.snapshot(campaign).decision is None
    assert bundle["outcome"] == report.outcome == "funded"


def test_after_a_reorganisation_a_new_bundle_passes_and_the_old_one_does_not(world: World) -> None:
    node = world.node
    campaign = world.campaign(goal_sats=1_000_000)
    opened = world.snapshot(campaign).tip
    assert opened is not None
    world.paid(campaign, 1_000_000)
    before, _ = audited(world, campaign)
    payment = node.rpc("getrawtransaction", before["coins"][0]["txid"])
    node.rpc("invalidateblock", opened.hash)
    for _ in range(3):
        node.rpc("generateblock", node.bank("getnewaddress"), [])
    world.sync()
    assert audited(world, campaign)[0]["coins"] == []
    if before["coins"][0]["txid"] not in node.rpc("getrawmempool"):  # its input may have been immature for a block
        node.rpc("sendrawtransaction", payment)
    node.mine()
    world.sync()
    bundle, report = audited(world, campaign)
    assert report.buckets == before["buckets"]
    assert bundle["coins"][0]["block_hash"] != before["coins"][0]["block_hash"]
    assert "as of" in wrong(verify(before, world.core))[0]
    world.close(campaign)
    node.mine()
    world.sync()
    settled, _ = audited(world, campaign)
    node.rpc("invalidateblock", node.rpc("getbestblockhash"))
    world.sync()
    node.rpc("generateblock", node.bank("getnewaddress"), [])
    world.sync()
    assert audited(world, campaign)[0]["settlements"][0]["height"] is None
    assert not verify(settled, world.core).ok
    node.rpc("reconsiderblock", settled["as_of"]["block_hash"])
    node.mine(2)
    world.sync()
    audited(world, campaign)


def test_without_filters_every_block_is_read_to_the_same_end(world: World, monkeypatch: MonkeyPatch) -> None:
    campaign = world.campaign()
    world.paid(campaign, 600_000)
    world.paid(campaign, 700_000)
    world.close(campaign)
    world.node.mine()
    world.sync()
    _, report = audited(world, campaign)
    monkeypatch.setattr(chain_facts, "MAX_FILTER_SCRIPTS", 0)
    monkeypatch.setattr(chain_facts, "HEIGHTS_AT_ONCE", 7)
    assert audited(world, campaign)[1] == report


def test_a_node_that_never_heard_of_the_opening_block_is_searched_from_the_start(
    world: World, monkeypatch: MonkeyPatch
) -> None:
    campaign = world.campaign()
    world.paid(campaign, 600_000)
    bundle, _ = audited(world, campaign)
    monkeypatch.setattr(chain_facts, "known_block", lambda *_: None)
    report = verify(bundle, world.core)
    assert report.ok
    assert [f.ok for f in report.findings if f.check == "opening"] == [None]


def test_a_coin_at_an_address_that_was_never_given_out_is_found(world: World, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(chain_facts, "GAP", 1_000)
    campaign = world.campaign()
    world.paid(campaign, 50_000)
    descriptor = str(world.snapshot(campaign).campaign.descriptor)
    for index in (1, chain_facts.GAP):
        _pay(world, world.node.rpc("deriveaddresses", descriptor, [index, index])[0], 30_000)
    sentences = wrong(verify(bundle_of(world, campaign), world.core))
    assert sum("never given out" in s for s in sentences) == 2


def test_a_draft_has_no_bundle(world: World) -> None:
    with world.database.transaction() as session:
        draft = service.save_draft(session, world.settings, world.creator(), world.draft()).id
    with raises(UserError, match="publish the campaign first"):
        build_bundle(world.snapshot(draft), "regtest")


def test_a_node_that_is_away_or_behind_proves_nothing(world: World, monkeypatch: MonkeyPatch) -> None:
    campaign = world.campaign()
    bundle = bundle_of(world, campaign)
    for node in (None, CoreBackend("http://127.0.0.1:1", None, "nobody:nothing")):
        report = verify(bundle, node)
        assert (report.ok, report.differs, report.consulted) == (False, False, False)
        assert report.findings[-1].ok is None
    status = replace(world.core.status(), synced=False)
    monkeypatch.setattr(world.core, "status", lambda: status)
    bundle["as_of"]["height"] += 1
    report = verify(bundle, world.core)
    assert (report.ok, report.differs) == (False, False)
    assert "has only come to block" in report.findings[-1].sentence


def test_without_a_second_opinion_the_first_one_stands(world: World, monkeypatch: MonkeyPatch) -> None:
    campaign = world.campaign()

    def busy(*_: object) -> object:
        raise WorldError("The node is busy.")

    monkeypatch.setattr(chain_facts, "unspent_at_tip", busy)
    report = verify(bundle_of(world, campaign), world.core)
    assert report.ok
    assert report.findings[-1].ok is None
