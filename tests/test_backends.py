"""One and the same suite for every backend, against real servers over a real node: whatever can happen to a payment.

After each step the books are compared with the chain itself (`truth.even`). Each branch that wins here is longer
than the one that loses, since an Electrum server does not follow a chain that only shrinks.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from crowdfund.campaigns import incidents
from crowdfund.campaigns.ledger import Bucket
from crowdfund.campaigns.ledger_models import Transfer
from crowdfund.campaigns.models import Pledge
from crowdfund.chain.backends import watched_backend
from crowdfund.chain.port import Sent
from crowdfund.chain.regtest import RegtestNode
from crowdfund.errors import WorldError
from crowdfund.wallet.transactions import TxOutput, UnsignedTx
from support.node import new_address
from support.servers import FEW, server_settings
from support.truth import even
from support.world import World


@pytest.fixture(scope="module", params=FEW)
def servers(
    node: RegtestNode, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, str]]:
    """The settings for one kind of backend; its server runs as long as the module's tests of that kind."""
    with server_settings(node, tmp_path_factory.mktemp("server"), request.param) as settings:
        yield settings


@pytest.fixture
def world(node: RegtestNode, tmp_path: Path, servers: dict[str, str]) -> Iterator[World]:
    with World(node, tmp_path, **servers) as whole:
        yield whole


def block(world: World, *txids: str) -> str:
    """A block with these transactions alone."""
    return str(world.node.rpc("generateblock", new_address(world.node), list(txids))["hash"])


def state(world: World, pledge: Pledge) -> str:
    even(world)
    return world.pledge_state(pledge)


def rival_of(world: World, pledge: Pledge, sats: int) -> tuple[str, str]:
    """Two transactions in hex that spend the same coin: one pays the pledge, the other, for a higher fee, ourselves."""
    coin = next(c for c in world.node.bank("listunspent") if c["amount"] > 1)

    def signed(outputs: list[dict[str, str]], fee_sats: int) -> str:
        paid_sats = sum(round(float(value) * 10**8) for output in outputs for value in output.values())
        change = int(coin["amount"] * 10**8) - fee_sats - paid_sats
        outputs = [*outputs, {new_address(world.node): f"{change / 10**8:.8f}"}]
        spent = [{"txid": coin["txid"], "vout": coin["vout"], "sequence": 0xFFFFFFFD}]
        raw = world.node.bank("createrawtransaction", spent, outputs)
        return str(world.node.bank("signrawtransactionwithwallet", raw)["hex"])

    return signed([{str(pledge.address): f"{sats / 10**8:.8f}"}], 1_000), signed([], 50_000)


def test_seen_confirmed_counted_and_paid_out(world: World) -> None:
    campaign = world.campaign(goal_sats=400_000)
    pledge = world.pledge(campaign, 400_000)
    even(world)
    assert world.pledge_state(pledge) == "awaiting"
    world.node.pay(str(pledge.address), 400_000)
    assert state(world, pledge) == "seen"
    block(world)
    assert state(world, pledge) == "seen", "a block without it changes nothing"
    world.node.mine()
    assert state(world, pledge) == "confirmed"
    world.node.jump_to(int(world.draft().deadline_at.timestamp()) + 1)
    even(world)
    world.node.mine()
    even(world)
    assert world.pledge_state(pledge) == "paid_out" and world.summary(campaign).state == "released"


def test_refunded(world: World) -> None:
    campaign = world.campaign(goal_sats=500_000)
    pledge = world.pledge(campaign, 400_000)
    world.node.pay(str(pledge.address), 400_000)
    world.node.mine()
    even(world)
    world.node.jump_to(int(world.draft().deadline_at.timestamp()) + 1)
    even(world)
    world.node.mine()
    assert state(world, pledge) == "refunded" and world.summary(campaign).state == "refunded"


@pytest.mark.parametrize("restart", [False, True], ids=["one worker", "a worker that was off"])
def test_a_reorganisation_takes_a_coin_moves_another_and_brings_a_third(world: World, restart: bool) -> None:
    campaign = world.campaign()
    gone, moved, brought = (world.pledge(campaign, 100_000 * n) for n in (1, 2, 3))
    old, both = (world.node.pay(str(p.address), p.amount_sats) for p in (gone, moved))
    first = block(world, old, both)
    block(world)
    even(world)
    assert world.summary(campaign).counted_sats == 300_000
    world.node.rpc("invalidateblock", first)
    block(world)
    block(world, both)
    new = world.node.pay(str(brought.address), 300_000)
    block(world, new)
    if restart:
        world.worker = world.new_worker()
    even(world)
    assert [world.pledge_state(p) for p in (gone, moved, brought)] == ["seen", "confirmed", "confirmed"]
    with world.database.reading() as session:
        (told,) = incidents.of_campaign(session, campaign)
        again = int(world.node.rpc("getblockcount")) - 1
        assert (told.kind, told.depth, told.height) == ("reorganisation", 2, again - 1)
        assert told.sentence == (
            f"2 pledges un-confirmed by a reorganisation of 2 blocks at height {again - 1}, "
            f"confirmed again at {again}, 1 pledge not confirmed again yet."
        )
        entries = session.scalars(text("SELECT -amount_sats FROM entries WHERE account = 'outside'")).all()
        assert sum(entries) == 500_000 and sorted(entries) == [-200_000, -100_000, 100_000, 200_000, 200_000, 300_000]
    block(world, old)
    assert state(world, gone) == "confirmed" and world.summary(campaign).counted_sats == 600_000


def test_a_payment_whose_fee_is_raised_counts_once(world: World) -> None:
    pledge = world.pledge(campaign := world.campaign(), 400_000)
    first = world.node.pay(str(pledge.address), 400_000)
    assert state(world, pledge) == "seen"
    second = world.node.bank("bumpfee", first)["txid"]
    assert state(world, pledge) == "seen"
    world.node.mine()
    assert state(world, pledge) == "confirmed" and world.summary(campaign).received_sats == 400_000
    assert {c.txid: c.rival and c.rival.by for c in world.snapshot(campaign).coins} == {first: second, second: None}


@pytest.mark.parametrize("sats", [300_000, 500_000], ids=["less", "more"])
def test_a_replacement_that_pays_another_amount(world: World, sats: int) -> None:
    pledge = world.pledge(campaign := world.campaign(), 400_000)
    first, _ = rival_of(world, pledge, 400_000)
    spent = world.node.rpc("decoderawtransaction", first)["vin"][0]
    world.node.rpc("sendrawtransaction", first)
    assert state(world, pledge) == "seen"
    inputs = [{"txid": spent["txid"], "vout": spent["vout"], "sequence": 0xFFFFFFFD}]
    held = int(world.node.rpc("gettxout", spent["txid"], spent["vout"], False)["value"] * 10**8)
    outputs = [{str(pledge.address): f"{sats / 10**8:.8f}"}]
    outputs.append({new_address(world.node): f"{(held - sats - 60_000) / 10**8:.8f}"})
    raw = world.node.bank("createrawtransaction", inputs, outputs)
    world.node.rpc("sendrawtransaction", world.node.bank("signrawtransactionwithwallet", raw)["hex"])
    assert state(world, pledge) == "seen" and world.summary(campaign).seen_sats == sats
    world.node.mine()
    assert state(world, pledge) == ("short" if sats < 400_000 else "over")
    assert world.summary(campaign).counted_sats == sats


def test_a_double_spend_is_told_from_a_replacement(world: World) -> None:
    pledge = world.pledge(campaign := world.campaign(), 400_000)
    paying, rival = rival_of(world, pledge, 400_000)
    world.node.rpc("sendrawtransaction", paying)
    assert state(world, pledge) == "seen"
    world.node.rpc("sendrawtransaction", rival)
    assert state(world, pledge) == "replaced"
    held = world.node.mine()[0]
    assert state(world, pledge) == "double_spent" and world.summary(campaign).received_sats == 0
    world.node.rpc("invalidateblock", held)
    world.node.rpc("prioritisetransaction", world.node.rpc("decoderawtransaction", rival)["txid"], 0, -10_000_000)
    world.node.rpc("generateblock", new_address(world.node), [paying])
    block(world)
    assert state(world, pledge) == "confirmed" and world.summary(campaign).counted_sats == 400_000


def test_a_double_spend_that_nobody_saw_coming(world: World) -> None:
    """The rival is never in a mempool: only its block says so."""
    pledge = world.pledge(world.campaign(), 400_000)
    paying, rival = rival_of(world, pledge, 400_000)
    world.node.rpc("sendrawtransaction", paying)
    assert state(world, pledge) == "seen"
    world.node.rpc("generateblock", new_address(world.node), [rival])
    assert state(world, pledge) == "double_spent"


def test_short_over_dust_several_and_two_outputs_in_one(world: World) -> None:
    campaign = world.campaign()
    short, over, dusty, several = (world.pledge(campaign, 50_000) for _ in range(4))
    for pledge, sats in ((short, 49_999), (over, 50_001), (dusty, 999), (several, 20_000)):
        world.node.pay(str(pledge.address), sats)
    script = bytes(several.script or b"")
    raw = UnsignedTx((), (TxOutput(script, 20_000), TxOutput(script, 10_000)), 0).serialize().hex()
    funded = world.node.bank("fundrawtransaction", raw, {}, False)["hex"]
    world.node.rpc("sendrawtransaction", world.node.bank("signrawtransactionwithwallet", funded)["hex"])
    even(world)
    assert world.summary(campaign).seen_sats == 150_999
    world.node.mine()
    even(world)
    states = [world.pledge_state(p) for p in (short, over, dusty, several)]
    assert states == ["short", "over", "short", "confirmed"] and len(world.snapshot(campaign).coins) == 6


def test_freshly_mined_coins_count_a_hundred_blocks_later(world: World) -> None:
    pledge = world.pledge(campaign := world.campaign(goal_sats=20_000), 50_000)
    mined = world.node.rpc("generatetoaddress", 1, str(pledge.address))[0]
    value_sats = int(world.node.rpc("getblock", mined, 2)["tx"][0]["vout"][0]["value"] * 10**8)
    assert state(world, pledge) == "maturing"
    summary = world.summary(campaign)
    assert summary.counted_sats == 0 and summary.buckets[Bucket.MATURING] == value_sats
    world.node.mine(99)
    assert state(world, pledge) == "maturing"
    world.node.mine()
    assert state(world, pledge) == "over" and world.summary(campaign).counted_sats == value_sats


def test_a_payment_to_a_campaign_that_ended_years_ago_is_sent_back(world: World) -> None:
    campaign = world.campaign(goal_sats=400_000)
    pledge = world.pledge(campaign, 400_000)
    world.node.jump_to(int(world.draft().deadline_at.timestamp()) + 3 * 365 * 86_400)
    even(world)
    assert world.summary(campaign).state == "refunded"
    world.node.pay(str(pledge.address), 400_000)
    world.node.mine()
    even(world)
    assert world.pledge_state(pledge) == "in_settlement"
    world.node.mine()
    assert state(world, pledge) == "refunded"
    buckets = world.summary(campaign).buckets
    assert buckets[Bucket.REFUNDED] + buckets[Bucket.MINER_FEE] == 400_000


def test_a_coin_older_than_its_address_counts_when_the_outcome_is_decided(world: World) -> None:
    campaign = world.campaign(goal_sats=400_000)
    pledge = world.pledge(campaign, 400_000)
    address = str(pledge.address)
    with world.database.transaction() as session:  # as if it had been given out later
        session.execute(text("DROP TRIGGER watched_scripts_kept"))
        session.execute(text("DELETE FROM watched_scripts"))
    world.worker = world.new_worker()
    world.node.pay(address, 400_000)
    world.node.mine()
    world.sync()
    world.node.mine(2)
    with world.database.transaction() as session:
        session.execute(text("INSERT INTO watched_scripts (script) SELECT script FROM pledges"))
    world.node.jump_to(int(world.draft().deadline_at.timestamp()) + 1)
    even(world)
    assert world.snapshot(campaign).outcome == "funded"


def test_a_broadcast_and_what_becomes_of_it(world: World) -> None:
    backend = watched_backend(world.settings)
    paying, rival = rival_of(world, world.pledge(world.campaign(), 400_000), 400_000)
    assert backend.broadcast(bytes.fromhex(paying)).sent is Sent.ACCEPTED
    assert backend.broadcast(bytes.fromhex(paying)).sent in (Sent.ACCEPTED, Sent.KNOWN)
    world.node.mine()
    assert backend.broadcast(bytes.fromhex(paying)).sent is Sent.KNOWN
    assert backend.broadcast(bytes.fromhex(rival)).sent is Sent.INPUTS_GONE
    backend.close()


def test_another_network_is_refused_by_its_first_block(world: World) -> None:
    world.worker.network = "signet"
    with pytest.raises(WorldError, match="is not on signet: its first block is another"):
        world.sync()


def test_many_payments_at_once(world: World) -> None:
    campaign = world.campaign(goal_sats=10**9)
    pledges = [world.pledge(campaign, 20_000 + n) for n in range(40)]
    amounts: dict[str, Any] = {str(p.address): f"{p.amount_sats / 10**8:.8f}" for p in pledges}
    world.node.bank("sendmany", "", amounts)
    even(world)
    assert {world.pledge_state(p) for p in pledges} == {"seen"}
    world.node.mine()
    even(world)
    assert {world.pledge_state(p) for p in pledges} == {"confirmed"}
    with world.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Transfer)) == 40
