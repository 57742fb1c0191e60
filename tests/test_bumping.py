"""Fees that rise, refunds that a node refuses, and recipients who get in the way: on the real node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from crowdfund import create_app
from crowdfund.audit.bundle import build_bundle
from crowdfund.audit.verify import verify
from crowdfund.campaigns.ledger import Bucket
from crowdfund.campaigns.models import Attempt, BatchRow
from crowdfund.chain.regtest import RegtestNode
from support.node import new_address, new_node
from support.world import World

PICKY = "-dustrelayfee=0.00025"  # dust is 2,450 sat at our addresses, and 4,550 sat at old ones
DEAR = ("-minrelaytxfee=0.0001", "-mintxfee=0.0001", "-fallbackfee=0.0002")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RegtestNode]:
    with new_node(tmp_path / "own", PICKY) as own:
        yield own


@pytest.fixture
def world(node: RegtestNode, tmp_path: Path) -> Iterator[World]:
    with World(node, tmp_path / "house") as made:
        yield made


def funded(world: World, *amounts: int) -> str:
    campaign = world.campaign(goal_sats=sum(amounts))
    pay(world, campaign, *amounts)
    return campaign


def failed(world: World, *amounts: int) -> str:
    campaign = world.campaign(goal_sats=10**9)
    pay(world, campaign, *amounts)
    return campaign


def pay(world: World, campaign: str, *amounts: int) -> None:
    for amount in amounts:
        world.node.pay(str(world.pledge(campaign, amount).address), amount)
    world.node.mine()
    world.sync()


def only_batch(world: World, campaign: str) -> BatchRow:
    (batch,) = world.snapshot(campaign).batches
    return batch


def ladder(world: World, campaign: str) -> list[Attempt]:
    return list(only_batch(world, campaign).attempts)


def empty_blocks(world: World, count: int) -> None:
    """Blocks without anybody's transaction."""
    for _ in range(count):
        world.node.rpc("generateblock", new_address(world.node), [])
        world.sync()


def mempool(world: World) -> list[str]:
    return list(world.node.rpc("getrawmempool"))


def trouble(world: World) -> str:
    with world.database.reading() as session:
        return str(session.execute(text("SELECT trouble FROM chain_view")).scalar_one())


def finished(world: World, campaign: str, state: str) -> None:
    """In blocks, to the satoshi, and right in the eyes of an auditor."""
    world.sync()
    assert world.summary(campaign).state == state
    verdict = verify(build_bundle(world.snapshot(campaign), "regtest"), world.core)
    assert verdict.ok, verdict


def test_what_waits_six_blocks_is_sent_with_a_higher_fee_and_a_restart_does_not_forget(world: World) -> None:
    campaign = failed(world, 300_000, 100_000)
    world.close(campaign)
    empty_blocks(world, 5)
    (first,) = ladder(world, campaign)
    world.worker = world.new_worker()
    empty_blocks(world, 1)
    _, second = ladder(world, campaign)
    assert mempool(world) == [second.txid] and second.feerate_sat_vb == first.feerate_sat_vb + 1
    assert [o.script for o in second.outputs] == [o.script for o in first.outputs]
    assert all(b.value_sats < a.value_sats for a, b in zip(first.outputs, second.outputs, strict=True))
    for _ in range(3):
        world.worker = world.new_worker()
        empty_blocks(world, 1)
    assert len(ladder(world, campaign)) == 2, "its own six blocks come first"
    empty_blocks(world, 3)
    assert [a.number for a in ladder(world, campaign)] == [1, 2, 3]
    world.node.mine()
    finished(world, campaign, "refunded")
    assert world.snapshot(campaign).shown_attempt(only_batch(world, campaign)).number == 3


def test_an_older_transaction_that_is_mined_after_all_is_the_one_that_counts(world: World) -> None:
    campaign = funded(world, 250_000)
    world.close(campaign)
    empty_blocks(world, 6)
    first, second = ladder(world, campaign)
    assert mempool(world) == [second.txid] and first.raw is not None
    world.node.rpc("generateblock", new_address(world.node), [first.raw.hex()])
    finished(world, campaign, "released")
    buckets = world.summary(campaign).buckets
    assert buckets[Bucket.MINER_FEE] == first.fee_sats
    assert (mempool(world), trouble(world)) == ([], "")
    empty_blocks(world, 7)
    assert len(ladder(world, campaign)) == 2


def test_a_floor_that_rises_between_plan_and_sending_is_climbed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_node(tmp_path / "dear", *DEAR) as node, World(node, tmp_path / "site") as world:
        campaign = failed(world, 300_000, 200_000)
        said = world.backend.feerate_sat_vb
        monkeypatch.setattr(
            world.backend, "feerate_sat_vb", lambda target: said(target) if world.snapshot(campaign).batches else 2
        )
        world.close(campaign)
        first, second = ladder(world, campaign)
        assert "min relay fee not met" in str(first.refusal)
        assert (first.feerate_sat_vb, second.feerate_sat_vb) == (2, 10)
        assert mempool(world) == [second.txid] and trouble(world) == ""
        world.node.mine()
        finished(world, campaign, "refunded")


def test_at_the_cap_it_stays_is_sent_again_and_the_operator_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_node(tmp_path / "dear", *DEAR) as node, World(node, tmp_path / "site") as world:
        campaign = world.campaign()
        node.pay(str(world.pledge(campaign, 10_000).address), 1_500)
        pay(world, campaign)
        monkeypatch.setattr(world.backend, "feerate_sat_vb", lambda target: 5)
        world.close(campaign)
        first, second = ladder(world, campaign)
        assert (first.feerate_sat_vb, second.feerate_sat_vb) == (5, 6), "half of 1,500 sat and no more"
        empty_blocks(world, 1)
        assert len(ladder(world, campaign)) == 2 and "the most that its caps allow" in trouble(world)
        assert second.raw is not None
        world.node.rpc("generateblock", new_address(world.node), [second.raw.hex()])
        finished(world, campaign, "refunded")


def test_a_recipient_who_spends_what_is_not_confirmed_is_outbid(world: World) -> None:
    """The child of a low fee makes every replacement dearer; the ladder gets there, one rung a block."""
    address = new_address(world.node)
    campaign = world.campaign(goal_sats=10**9)
    world.node.pay(str(world.pledge(campaign, 400_000, refund_address=address).address), 400_000)
    pay(world, campaign, 500_000)
    world.close(campaign)
    (first,) = ladder(world, campaign)
    child = spend(world.node, first, address, fee_sats=1_500)
    assert sorted(mempool(world)) == sorted([first.txid, child])
    empty_blocks(world, 6)
    rungs = ladder(world, campaign)
    assert "fee" in str(rungs[1].refusal) and mempool(world) != [rungs[1].txid]
    for _ in range(30):
        if child not in mempool(world):
            break
        count = len(ladder(world, campaign))
        empty_blocks(world, 1)
        assert len(ladder(world, campaign)) <= count + 1, "one rung a block"
    top = ladder(world, campaign)[-1]
    assert mempool(world) == [top.txid] and top.fee_sats > first.fee_sats + 1_500
    world.node.mine()
    finished(world, campaign, "refunded")


def spend(node: RegtestNode, attempt: Attempt, address: str, fee_sats: int) -> str:
    """The recipient at `address` spends what the unconfirmed attempt pays."""
    script = node.bank("getaddressinfo", address)["scriptPubKey"]
    (output,) = [o for o in attempt.outputs if o.script.hex() == script]
    amount = f"{(output.value_sats - fee_sats) / 10**8:.8f}"
    made = node.rpc(
        "createrawtransaction", [{"txid": attempt.txid, "vout": output.position}], {new_address(node): amount}
    )
    signed: dict[str, Any] = node.bank("signrawtransactionwithwallet", made)
    return str(node.rpc("sendrawtransaction", signed["hex"]))


def poisoned(world: World) -> str:
    """A failed campaign, one of whose refunds this node takes for dust."""
    campaign = world.campaign(goal_sats=10**9)
    poison = world.pledge(campaign, 10_000, refund_address=new_address(world.node, "legacy"))
    world.node.pay(str(poison.address), 4_000)
    pay(world, campaign, *OTHERS)
    world.close(campaign)
    return campaign


OTHERS = (100_000, 101_000, 102_000, 103_000, 104_000)


def states(world: World, campaign: str) -> list[str]:
    snapshot = world.snapshot(campaign)
    return sorted(snapshot.batch_state(b).value for b in snapshot.batches)


def test_one_refund_that_is_refused_keeps_nobody_else_waiting(world: World) -> None:
    campaign = poisoned(world)
    assert states(world, campaign).count("needs human") == 1 and "needs a person" in trouble(world)
    assert set(states(world, campaign)) == {"needs human", "partitioned", "sent"}
    world.node.mine()
    world.sync()
    buckets = world.summary(campaign).buckets
    assert buckets[Bucket.IN_SETTLEMENT] == 4_000
    assert buckets[Bucket.REFUNDED] + buckets[Bucket.MINER_FEE] == sum(OTHERS)
    assert set(states(world, campaign)) == {"needs human", "final", "superseded"}
    with create_app(world.settings).test_client() as client:
        page = client.get(f"/campaigns/{campaign}").text
        told = client.get(f"/api/v1/campaigns/{campaign}").get_json()["settlement"]
    assert "needs a person" in page and told["state"] == "needs human"
    alone = next(b for b in told["batches"] if b["state"] == "needs human")
    assert verify(build_bundle(world.snapshot(campaign), "regtest"), world.core).ok
    world.worker = world.new_worker()
    empty_blocks(world, 1)
    raw = next(a.raw for b in world.snapshot(campaign).batches for a in b.attempts if a.txid == alone["txid"])
    world.node.rpc("generateblock", new_address(world.node), [(raw or b"").hex()])
    finished(world, campaign, "refunded")
    assert trouble(world) == ""


def test_a_batch_that_is_mined_after_it_was_split_replaces_its_parts(world: World) -> None:
    campaign = poisoned(world)
    whole = next(b for b in world.snapshot(campaign).batches if b.parent_id is None)
    raw = (whole.attempts[0].raw or b"").hex()
    world.node.rpc("generateblock", new_address(world.node), [raw])
    finished(world, campaign, "refunded")
    assert states(world, campaign).count("final") == 1 and set(states(world, campaign)) == {"final", "superseded"}
    assert (mempool(world), trouble(world)) == ([], "")


def test_what_spends_a_payment_that_a_reorganisation_took_away_is_not_bumped(world: World) -> None:
    """No fee brings it nearer: the payment itself is in no block."""
    campaign = funded(world, 250_000)
    (paid,) = world.snapshot(campaign).coins
    world.close(campaign)
    world.node.rpc("invalidateblock", world.node.rpc("getblockhash", paid.height))
    lost = world.snapshot(campaign).tip_height - int(world.node.rpc("getblockcount"))
    world.node.rpc("sendrawtransaction", world.node.bank("gettransaction", paid.txid)["hex"])
    empty_blocks(world, lost + 20)
    assert "A reorganisation has taken" in trouble(world)
    assert len(ladder(world, campaign)) == 1
    world.node.mine()
    world.node.mine()
    world.sync()
    assert (world.summary(campaign).state, len(ladder(world, campaign))) == ("released", 1)
