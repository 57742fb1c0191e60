"""What strangers can do with a public descriptor, and with a node or a signer that is not the usual one."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from crowdfund import create_app
from crowdfund.audit.bundle import build_bundle
from crowdfund.audit.verify import verify
from crowdfund.wallet.descriptors import derive_address
from crowdfund.wallet.keystore import Keystore, create_seed
from crowdfund.wallet.signer import Signer, SignerServer
from crowdfund.wallet.signer_log import SignerLog
from crowdfund.web.live import MAX_WITH_THREADS
from support.node import new_node
from support.world import World


def coming_address(world: World, campaign: str, steps: int = 0) -> str:
    """The address that the campaign's next pledge would get, or the one `steps` later."""
    row = world.snapshot(campaign).campaign
    return derive_address(row.descriptor or "", row.next_index + steps, "regtest")[0]


def test_a_coin_older_than_its_address_counts_before_the_outcome_is_decided(world: World) -> None:
    campaign = world.campaign(goal_sats=1_000_000)
    world.node.pay(coming_address(world, campaign), 900_000)
    world.node.mine()
    world.sync()
    early = world.pledge(campaign, 900_000)
    world.paid(campaign, 100_000)
    assert world.summary(campaign).counted_sats == 100_000
    world.close(campaign)
    world.node.mine()
    world.sync()
    summary = world.summary(campaign)
    assert (summary.state, summary.counted_sats) == ("released", 1_000_000)
    assert world.pledge_state(early) == "paid_out"
    assert verify(build_bundle(world.snapshot(campaign), "regtest"), world.core).ok


def test_money_does_not_run_in_circles(world: World) -> None:
    """A pledge that names its own coming address for its refund gets another one; so do those that follow."""
    campaign = world.campaign()
    coming = [coming_address(world, campaign, steps) for steps in range(3)]
    first = world.pledge(campaign, 100_000, refund_address=coming[0])
    second = world.pledge(campaign, 100_000, refund_address=coming[2])
    assert first.address == coming[1]
    assert second.address not in coming
    other = world.campaign(payout_address=coming_address(world, campaign), title="Another campaign")
    third = world.pledge(campaign, 100_000)
    terms = world.snapshot(other).terms
    assert terms is not None
    assert third.address != terms.payout_address


def test_a_settlement_pays_what_the_node_asks_for(tmp_path: Path) -> None:
    with (
        new_node(tmp_path / "node", "-minrelaytxfee=0.0001", "-mintxfee=0.0001", "-fallbackfee=0.0002") as node,
        World(node, tmp_path / "site") as world,
    ):
        campaign = world.campaign(goal_sats=100_000)
        world.paid(campaign, 200_000)
        world.close(campaign)
        world.node.mine()
        world.sync()
        assert world.summary(campaign).state == "released"
        assert [a.feerate_sat_vb for b in world.snapshot(campaign).batches for a in b.attempts] == [10]


def test_another_seed_is_found_out_at_the_start(world: World, tmp_path: Path) -> None:
    world.signer_server.shutdown()
    world.signer_server.server_close()
    create_seed(tmp_path / "other" / "seed")
    keystore = Keystore.open(tmp_path / "other" / "seed", "regtest")
    log = SignerLog(tmp_path / "other" / "log.jsonl")
    world.signer_server = SignerServer(Signer(keystore, log, "regtest"), world.settings.signer_socket)
    world.serve_signer()
    world.worker = world.new_worker()
    world.sync()
    with create_app(world.settings).test_client() as client:
        answer = client.get("/healthz")
    assert answer.status_code == 503
    assert "another seed" in answer.text


def test_a_row_that_is_kept_for_ever_cannot_be_replaced_either(world: World) -> None:
    campaign = world.campaign()
    pledge = world.pledge(campaign, 100_000)
    replacement = text(
        """INSERT OR REPLACE INTO pledges SELECT id, campaign_id, "index", 'elsewhere', script, amount_sats,
           refund_address, refund_script, name, message, created_at, registered, receipt_due, refund_number
           FROM pledges"""
    )
    with pytest.raises(IntegrityError, match="kept for ever"), world.database.transaction() as session:
        session.execute(replacement)
    assert world.pledge_state(pledge) == "awaiting"


def test_nothing_joins_a_batch_that_is_planned(world: World) -> None:
    campaign = world.campaign(goal_sats=100_000)
    world.paid(campaign, 200_000)
    world.close(campaign)
    output = text("INSERT INTO attempt_outputs SELECT txid, 9, script, 1, NULL FROM attempt_outputs")
    with pytest.raises(IntegrityError, match="nothing_joins_a_sealed_attempt"), world.database.transaction() as session:
        session.execute(output)


def test_streams_that_nobody_reads_are_given_back(world: World) -> None:
    with create_app(world.settings).test_client() as client:
        for _ in range(MAX_WITH_THREADS + 1):
            answer = client.head("/live/site/all")
            assert answer.status_code == 200
            answer.close()
