"""Yesterday's backup put in the place of a lost database, on a real node with a real signer."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select, text

from crowdfund import cli_check
from crowdfund.audit.bundle import build_bundle
from crowdfund.audit.verify import verify
from crowdfund.campaigns import checking, recovery, thefts
from crowdfund.campaigns.ledger import Bucket
from crowdfund.campaigns.models import ChainView, Restore
from crowdfund.chain.regtest import RegtestNode
from crowdfund.errors import UserError, WorldError
from crowdfund.wallet.addresses import script_of
from crowdfund.wallet.descriptors import derive_address
from crowdfund.wallet.keystore import Keystore
from crowdfund.wallet.signing import sign
from crowdfund.wallet.transactions import TxInput, TxOutput, UnsignedTx
from support.node import new_address
from support.restoring import addresses, back_up, bring_back, coins, log_of, lose_database, lose_log, seed_of, txids
from support.world import World


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at fewer indices: deriving thousands takes seconds, and one test of that is enough."""
    monkeypatch.setattr(recovery, "GAP", 61)
    monkeypatch.setattr(recovery, "JUMP", 30)


def is_sound(world: World) -> bool:
    """Whether every foreign key leads somewhere."""
    with world.database.reading() as session:
        return session.execute(text("PRAGMA foreign_key_check")).all() == []


def trouble(world: World) -> str:
    with world.database.reading() as session:
        view = session.get_one(ChainView, 1)
        return view.trouble + view.pause


@pytest.mark.usefixtures("near")
@pytest.mark.parametrize("ending", ["funded", pytest.param("failed", marks=pytest.mark.long)])
def test_a_whole_settlement_after_the_backup_is_recognised(node: RegtestNode, tmp_path: Path, ending: str) -> None:
    path = tmp_path / "backup"
    with World(node, tmp_path / "site") as before:
        campaign = before.campaign(goal_sats=300_000 if ending == "funded" else 50_000_000)
        before.paid(campaign, 150_000)
        before.pledge(campaign, 20_000)
        back_up(before, path)
        later = before.paid(campaign, 170_000)
        late = before.pledge(campaign, 30_000)
        before.sync()
        before.close(campaign)
        node.mine()
        before.sync()
        assert before.summary(campaign).state in ("released", "refunded")
        node.pay(str(late.address), 40_000)
        for _ in range(3):
            node.mine()
            before.sync()
        known, given, paid = coins(before), addresses(before), txids(before)
        buckets = before.summary(campaign).buckets
        lose_database(before)
    height = node.status()["height"]
    done = bring_back(before, path)
    assert done.pledges_from_log == 2
    with World(node, tmp_path / "site") as after:
        assert node.rpc("getrawmempool") == [], "nothing is paid twice"
        node.mine()
        after.sync()
        assert coins(after) == known and is_sound(after)
        assert addresses(after) == given
        assert txids(after) == paid
        assert after.summary(campaign).buckets == buckets
        assert trouble(after) == ""
        found = {p.index: p.refund_script for p in after.snapshot(campaign).pledges}
        assert found[later.index] == later.refund_script and found[late.index] == late.refund_script
        with after.database.reading() as session:
            assert recovery.pending(session) is None
            assert thefts.foreign_spends(session) == []
            assert checking.check_books(session) == []
        report = verify(build_bundle(after.snapshot(campaign), "regtest"), after.core)
        assert report.ok, report
        later_block = node.rpc("getblock", node.rpc("getblockhash", height + 1))
        assert len(later_block["tx"]) == 1


@pytest.mark.usefixtures("near")
def test_no_address_is_given_out_again(node: RegtestNode, tmp_path: Path) -> None:
    """Not even one that nobody but its backer ever heard of: the signer was away when it was given out."""
    path = tmp_path / "backup"
    with World(node, tmp_path / "site") as before:
        campaign = before.campaign()
        before.paid(campaign, 150_000)
        back_up(before, path)
        shown = [before.pledge(campaign, 20_000) for _ in range(3)]
        for pledge in (shown[1], shown[2]):
            node.pay(str(pledge.address), 20_000)
        node.mine()
        lose_database(before)
    done = bring_back(before, path)
    assert done.pledges_from_log == 0
    with World(node, tmp_path / "site") as after:
        fresh = after.pledge(campaign, 25_000)
        assert fresh.index == shown[2].index + 1 + recovery.JUMP
        assert fresh.address not in {p.address for p in shown}
        node.pay(str(fresh.address), 25_000)
        node.mine()
        after.sync()
        assert after.summary(campaign).received_sats == 150_000 + 2 * 20_000 + 25_000
        with after.database.reading() as session:
            assert recovery.without_refund(session) == [(campaign, p.index, 20_000) for p in shown[1:]]


@pytest.mark.usefixtures("near")
def test_coins_without_a_refund_address_wait_for_a_person(node: RegtestNode, tmp_path: Path) -> None:
    path = tmp_path / "backup"
    with World(node, tmp_path / "site") as before:
        campaign = before.campaign(goal_sats=50_000_000)
        before.paid(campaign, 150_000)
        back_up(before, path)
        shown = before.pledge(campaign, 60_000)
        node.pay(str(shown.address), 60_000)
        node.mine()
        lose_database(before)
    bring_back(before, path)
    with World(node, tmp_path / "site") as after:
        assert trouble(after) == "", "the signer is asked for nothing that it would refuse"
        after.close(campaign)
        node.mine()
        after.sync()
        assert after.summary(campaign).buckets[Bucket.UNCLAIMED] == 60_000
        assert after.summary(campaign).buckets[Bucket.REFUNDED] > 140_000
        with after.database.transaction() as session:
            recovery.set_refund(session, "regtest", campaign, str(shown.index), shown.refund_address)
        with pytest.raises(UserError, match="never changes"), after.database.transaction() as session:
            recovery.set_refund(session, "regtest", campaign, str(shown.index), new_address(node))
        node.mine(2)
        after.sync()
        node.mine()
        after.sync()
        assert after.summary(campaign).buckets[Bucket.UNCLAIMED] == 0
        assert node.rpc("scantxoutset", "start", [f"addr({shown.refund_address})"])["total_amount"] > 0


@pytest.mark.long
@pytest.mark.parametrize("gap", [recovery.JUMP, recovery.GAP - 1])
def test_coins_beyond_thousands_of_unpaid_indices_are_found(node: RegtestNode, tmp_path: Path, gap: int) -> None:
    path = tmp_path / "backup"
    with World(node, tmp_path / "site") as before:
        campaign = before.campaign()
        before.paid(campaign, 150_000)
        back_up(before, path)
        first = before.snapshot(campaign).campaign.next_index
        descriptor = str(before.snapshot(campaign).campaign.descriptor)
        far = first + gap
        # The farther one first: when its block is read, nobody looks so far yet.
        for index in (far + recovery.GAP, far):
            node.pay(derive_address(descriptor, index, "regtest")[0], 30_000)
            node.mine()
        lose_database(before)
    bring_back(before, path)
    with World(node, tmp_path / "site") as after:
        found = {p.index for p in after.snapshot(campaign).pledges}
        assert {far, far + recovery.GAP} <= found
        assert after.pledge(campaign, 20_000).index == far + recovery.GAP + 1 + recovery.JUMP


@pytest.mark.usefixtures("near")
def test_until_the_chain_is_looked_through_nothing_is_given_out(node: RegtestNode, tmp_path: Path) -> None:
    path = tmp_path / "backup"
    with World(node, tmp_path / "site") as before:
        campaign, draft_owner = before.campaign(), before.creator()
        back_up(before, path)
        lose_database(before)
    bring_back(before, path)
    after = World(node, tmp_path / "site")
    with pytest.raises(UserError, match="restored from a backup"):
        after.pledge(campaign, 20_000)
    with pytest.raises(UserError, match="restored from a backup"):
        after.campaign(draft_owner)
    with pytest.raises(WorldError, match="has not looked through the chain yet"):
        cli_check._check(after.database, None)
    with after:
        assert cli_check._check(after.database, None) == []
        after.pledge(campaign, 20_000)
        with after.database.reading() as session:
            restore = session.scalars(select(Restore)).one()
        used = after.snapshot(after.campaign(draft_owner)).campaign.account_index
        assert used is not None and used >= restore.first_account > recovery.ACCOUNT_JUMP


@pytest.mark.usefixtures("near")
def test_without_the_signers_log_the_one_in_the_backup_comes_back(node: RegtestNode, tmp_path: Path) -> None:
    path = tmp_path / "backup"
    with World(node, tmp_path / "site") as before:
        campaign = before.campaign(goal_sats=50_000_000)
        before.paid(campaign, 150_000)
        back_up(before, path)
        saved = log_of(before.folder).read_bytes()
        before.paid(campaign, 60_000)
        lose_database(before)
        lose_log(before)
    bring_back(before, path)
    assert log_of(before.folder).read_bytes() == saved
    with World(node, tmp_path / "site") as after, after.database.reading() as session:
        assert [sats for _, _, sats in recovery.without_refund(session)] == [60_000]


@pytest.mark.usefixtures("near")
def test_a_settlement_on_its_way_is_waited_for(node: RegtestNode, tmp_path: Path) -> None:
    """Signed and sent after the backup, in no block yet: nothing else is planned for its coins."""
    path = tmp_path / "backup"
    with World(node, tmp_path / "site") as before:
        campaign = before.campaign(goal_sats=100_000)
        before.paid(campaign, 150_000)
        back_up(before, path)
        before.close(campaign)
        before.sync()
        (sent,) = node.rpc("getrawmempool")
        lose_database(before)
    bring_back(before, path)
    with World(node, tmp_path / "site") as after:
        assert f"{sent} spends coins of ours" in trouble(after) and txids(after) == set()
        assert node.rpc("getrawmempool") == [sent]
        node.mine()
        after.sync()
        assert txids(after) == {sent} and trouble(after) == ""
        assert after.summary(campaign).state == "released"
        assert node.rpc("getrawmempool") == []


def stolen(world: World, campaign: str, coin: TxInput, to: str) -> str:
    """Spend a coin as somebody with the campaign's keys would; returns the txid, which is in a block."""
    snapshot = world.snapshot(campaign)
    assert snapshot.terms is not None and snapshot.campaign.account_index is not None
    inputs, value_sats = (coin,), coin.value_sats - 1_000
    tx = UnsignedTx(inputs, (TxOutput(script_of(to, "regtest"), value_sats),), locktime=0)
    keys = Keystore.open(seed_of(world.folder), "regtest")
    raw = sign(tx, keys.branch(snapshot.campaign.account_index, snapshot.terms.hash))
    assert world.node.rpc("sendrawtransaction", raw.hex()) == tx.txid
    world.node.mine()
    return tx.txid


@pytest.mark.usefixtures("near")
@pytest.mark.parametrize(
    "where",
    [
        pytest.param("elsewhere", marks=pytest.mark.long),
        "back to the backer",
        pytest.param("the payout, too early", marks=pytest.mark.long),
    ],
)
def test_a_theft_after_the_backup_is_not_taken_for_a_settlement(node: RegtestNode, tmp_path: Path, where: str) -> None:
    """The goal was reached, so only a release is one; and it is none before the outcome is decided."""
    path = tmp_path / "backup"
    with World(node, tmp_path / "site") as before:
        payout = new_address(node)
        campaign = before.campaign(goal_sats=100_000, payout_address=payout)
        pledge = before.paid(campaign, 150_000)
        back_up(before, path)
        to = {"elsewhere": new_address(node), "back to the backer": pledge.refund_address}.get(where, payout)
        terms = before.snapshot(campaign).terms
        assert terms is not None
        if to != payout:
            node.jump_to(int(terms.deadline.timestamp()) + 1)
        (coin,) = pledge_coins(before, campaign)
        stolen(before, campaign, coin, to)
        lose_database(before)
    bring_back(before, path)
    with World(node, tmp_path / "site") as after:
        for _ in range(2):
            assert "spent by a transaction that is not ours" in trouble(after)
            assert txids(after) == set()
            node.mine()
            after.sync()
        assert after.summary(campaign).buckets[Bucket.FOREIGN_SPEND] == 150_000
        assert node.rpc("getrawmempool") == []


def pledge_coins(world: World, campaign: str) -> list[TxInput]:
    """The coins in the books."""
    pledges = world.snapshot(campaign).pledges
    return [TxInput(c.txid, c.vout, c.value_sats, p.index) for p in pledges for c in p.coins]


def paid_unseen(world: World, address: str, index: int) -> TxInput:
    """Pay an address without the worker looking."""
    txid = world.node.pay(address, 40_000)
    world.node.mine()
    outputs = world.node.rpc("getrawtransaction", txid, True)["vout"]
    (vout,) = [o["n"] for o in outputs if o["scriptPubKey"].get("address") == address]
    return TxInput(txid, vout, 40_000, index)


def test_without_a_restore_nothing_foreign_is_taken_in(world: World) -> None:
    """On an installation that lost nothing, even a refund to the right place is one that it did not make."""
    campaign = world.campaign(goal_sats=100_000)
    world.paid(campaign, 150_000)
    late = world.pledge(campaign, 40_000)
    world.sync()
    world.close(campaign)
    world.node.mine()
    world.sync()
    known = txids(world)
    stolen(world, campaign, paid_unseen(world, str(late.address), late.index), late.refund_address)
    world.sync()
    assert "spent by a transaction that is not ours" in trouble(world) and txids(world) == known


@pytest.mark.usefixtures("near")
def test_a_coin_far_away_and_spent_is_found_by_walking_again(node: RegtestNode, tmp_path: Path) -> None:
    """No set of unspent outputs has it, and when its block was read first, nobody looked so far."""
    path = tmp_path / "backup"
    with World(node, tmp_path / "site") as before:
        campaign = before.campaign()
        before.paid(campaign, 150_000)
        back_up(before, path)
        descriptor = str(before.snapshot(campaign).campaign.descriptor)
        near, far = recovery.GAP, 2 * recovery.GAP
        coin = paid_unseen(before, derive_address(descriptor, far, "regtest")[0], far)
        stolen(before, campaign, coin, new_address(node))
        paid_unseen(before, derive_address(descriptor, near, "regtest")[0], near)
        lose_database(before)
    bring_back(before, path)
    with World(node, tmp_path / "site") as after:
        assert f"{coin.txid}:{coin.vout} was spent by a transaction that is not ours" in trouble(after)
        assert after.summary(campaign).received_sats == 150_000 + 2 * 40_000


@pytest.mark.usefixtures("near")
def test_a_payment_older_than_the_backup_is_found_too(node: RegtestNode, tmp_path: Path) -> None:
    """Whoever reads the public descriptor can pay an address before anybody was given it."""
    path = tmp_path / "backup"
    with World(node, tmp_path / "site") as before:
        campaign = before.campaign()
        before.paid(campaign, 150_000)
        descriptor = str(before.snapshot(campaign).campaign.descriptor)
        node.pay(derive_address(descriptor, 5, "regtest")[0], 30_000)
        node.mine()
        before.sync()
        back_up(before, path)
        lose_database(before)
    bring_back(before, path)
    with World(node, tmp_path / "site") as after:
        assert after.summary(campaign).received_sats == 180_000
        assert after.pledge(campaign, 20_000).index == 5 + 1 + recovery.JUMP
