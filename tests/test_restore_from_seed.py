"""Nothing is left but the seed, the terms, and perhaps the signer's log."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from crowdfund.audit.bundle import build_bundle, bundle_json
from crowdfund.backup.from_seed import restore_from_seed
from crowdfund.backup.making import write_terms
from crowdfund.campaigns import recovery, thefts
from crowdfund.chain.regtest import RegtestNode
from crowdfund.errors import UserError
from crowdfund.wallet.descriptors import derive_address
from crowdfund.wallet.keystore import create_seed
from crowdfund.wallet.signer_client import SignerClient
from support.restoring import addresses, coins, log_of, lose_database, lose_log, txids
from support.world import World


def from_seed(world: World, *files: Path) -> int:
    """Restore a World's folder, whose signer must answer; returns how many pledges the log knew."""
    signer = SignerClient(world.settings.signer_socket)
    return restore_from_seed(world.settings, files, signer, log_of(world.folder)).pledges_from_log


@pytest.mark.parametrize("ending", [pytest.param("funded", marks=pytest.mark.long), "failed"])
def test_a_settled_campaign_comes_back_whole(
    node: RegtestNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """With the log, from a public bundle alone: the same coins, settlements and addresses."""
    monkeypatch.setattr(recovery, "GAP", 61)
    monkeypatch.setattr(recovery, "JUMP", 30)
    with World(node, tmp_path / "site") as before:
        campaign = before.campaign(goal_sats=300_000 if ending == "funded" else 50_000_000)
        before.paid(campaign, 150_000)
        (tmp_path / "bundle").write_text(bundle_json(build_bundle(before.snapshot(campaign), "regtest")))
        before.paid(campaign, 170_000)
        before.pledge(campaign, 20_000)
        before.sync()
        before.close(campaign)
        node.mine()
        before.sync()
        known, given, paid = coins(before), set(addresses(before)), txids(before)
        summary = before.summary(campaign)
        lose_database(before)
        assert from_seed(before, tmp_path / "bundle") == 3
    with World(node, tmp_path / "site") as after:
        (restored,) = {c for c, _ in addresses(after).values()}
        assert coins(after) == known and set(addresses(after)) == given and txids(after) == paid
        assert after.summary(restored).buckets == summary.buckets
        assert after.summary(restored).state == summary.state
        assert node.rpc("getrawmempool") == []
        with after.database.reading() as session:
            assert thefts.foreign_spends(session) == []


@pytest.mark.long
def test_without_the_log_every_coin_is_found_past_five_thousand_indices(node: RegtestNode, tmp_path: Path) -> None:
    """And waits for its backer's receipt, as nobody else knows where it came from."""
    with World(node, tmp_path / "site") as before:
        campaign = before.campaign(goal_sats=50_000_000)
        first = before.paid(campaign, 150_000)
        descriptor = str(before.snapshot(campaign).campaign.descriptor)
        far = first.index + 1 + recovery.JUMP
        node.pay(derive_address(descriptor, far, "regtest")[0], 60_000)
        node.mine()
        write_terms(before.database, tmp_path / "terms")
        lose_database(before)
        lose_log(before)
        assert from_seed(before, tmp_path / "terms") == 0
    with World(node, tmp_path / "site") as after:
        with after.database.reading() as session:
            waiting = recovery.without_refund(session)
        assert waiting == [(campaign, first.index, 150_000), (campaign, far, 60_000)]
        assert after.snapshot(campaign).campaign.story == "Most small farms still sow **by hand**."
        after.close(campaign)
        node.mine()
        after.sync()
        with after.database.transaction() as session:
            recovery.set_refund(session, "regtest", campaign, str(first.index), first.refund_address)
        for _ in range(3):
            node.mine()
            after.sync()
        assert node.rpc("scantxoutset", "start", [f"addr({first.refund_address})"])["total_amount"] > 0


def test_another_seed_or_other_terms_are_refused(node: RegtestNode, tmp_path: Path) -> None:
    with World(node, tmp_path / "site") as world:
        write_terms(world.database, tmp_path / "none")
        campaign = world.campaign()
        write_terms(world.database, tmp_path / "terms")
        lose_database(world)
        told = json.loads((tmp_path / "terms").read_text())
        changed = told["campaigns"][0]["terms"].replace('"goal_sats":1000000', '"goal_sats":1000001')
        told["campaigns"][0]["terms"] = changed
        (tmp_path / "changed").write_text(json.dumps(told))
        (tmp_path / "other").write_text("{}")
        for name, sentence in (
            ("changed", "does not come out of the signer's seed"),
            ("other", "neither an audit bundle"),
            ("missing", "cannot be read"),
            ("none", "tell of no campaign"),
        ):
            with pytest.raises(UserError, match=sentence):
                from_seed(world, tmp_path / name)
        with pytest.raises(UserError, match="CROWDFUND_NETWORK is signet"):
            settings = replace(world.settings, network="signet")
            restore_from_seed(settings, [tmp_path / "terms"], SignerClient(settings.signer_socket), Path("no log"))
        with pytest.raises(UserError, match="on another machine"):
            cold = replace(world.settings, signer="cold")
            restore_from_seed(cold, [tmp_path / "terms"], SignerClient(cold.signer_socket), Path("no log"))
        from_seed(world, tmp_path / "terms")
        with pytest.raises(UserError, match="has tables already"):
            from_seed(world, tmp_path / "terms")
    create_seed(tmp_path / "stranger" / "signer" / "seed")
    with World(node, tmp_path / "stranger") as stranger:
        stranger.database.close()
        lose_database(stranger)
        with pytest.raises(UserError, match="does not come out of the signer's seed"):
            from_seed(stranger, tmp_path / "terms")
    with World(node, tmp_path / "site") as after:
        assert after.snapshot(campaign).terms is not None
