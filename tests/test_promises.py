"""What backers keep in their own hands: receipts that any node can check, and refunds that work without the site."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from crowdfund.audit.bundle import build_bundle
from crowdfund.audit.verify import verify
from crowdfund.campaigns import attempts, promises
from crowdfund.campaigns.ledger import Bucket
from crowdfund.campaigns.models import Pledge
from crowdfund.campaigns.promises import HeldRefund
from crowdfund.chain.local_rpc import RpcError
from crowdfund.errors import WorldError
from crowdfund.wallet.receipts import Receipt, receipt_address
from crowdfund.wallet.signer_client import SignedReceipt
from crowdfund.wallet.transactions import UnsignedTx
from support.world import World


def kept(world: World, pledge: Pledge) -> tuple[Receipt, str, str]:
    """The pledge's receipt: read, its text, its signature."""
    with world.database.reading() as session:
        row = promises.receipt_of(session, pledge.id)
    assert row is not None
    return Receipt.parse(row.text), row.text, row.signature


def held(world: World, campaign: str, pledge: Pledge) -> list[HeldRefund]:
    """What the backer can download."""
    terms = world.snapshot(campaign).terms
    assert terms is not None
    with world.database.reading() as session:
        return promises.refunds_of(session, pledge.id, terms)


def height_of(world: World) -> int:
    return int(world.node.rpc("getblockcount"))


def mine_to(world: World, height: int) -> None:
    """Blocks up to this height, with nobody looking at them."""
    world.node.mine(max(0, height - height_of(world)))


def test_a_receipt_is_checked_by_any_node(world: World) -> None:
    campaign = world.campaign()
    pledge = world.pledge(campaign, 50_000)
    world.sync()
    receipt, text, signature = kept(world, pledge)
    terms = world.snapshot(campaign).terms
    assert terms is not None
    assert (receipt.address, receipt.amount_sats) == (pledge.address, 50_000)
    assert (receipt.refund_address, receipt.campaign) == (pledge.refund_address, terms.hash.hex())
    assert receipt.timelock_height == terms.timelock_height > height_of(world)
    address = receipt_address(terms.receipt_key, "regtest")
    assert world.node.rpc("verifymessage", address, signature, text) is True
    assert world.node.rpc("verifymessage", address, signature, text.replace("50000", "60000")) is False


@pytest.mark.parametrize(
    "change",
    [
        {"text": '{"amount_sats":1}'},
        {"signature": "AAAA"},
    ],
)
def test_a_receipt_that_says_something_else_is_not_kept(
    world: World, monkeypatch: pytest.MonkeyPatch, change: Mapping[str, str]
) -> None:
    assert world.worker.signer is not None
    asked = world.worker.signer.receipt

    def lie(*request: Any) -> SignedReceipt:
        return SignedReceipt(**{**vars(asked(*request)), **change})

    pledge = world.pledge(world.campaign(), 50_000)
    monkeypatch.setattr(world.worker.signer, "receipt", lie)
    world.sync()
    with world.database.reading() as session:
        assert promises.receipt_of(session, pledge.id) is None
    monkeypatch.undo()
    world.sync()
    assert kept(world, pledge)[0].index == pledge.index


def test_a_refund_is_signed_when_the_payment_is_confirmed(world: World) -> None:
    campaign = world.campaign()
    pledge = world.pledge(campaign, 50_000)
    world.node.pay(str(pledge.address), 50_000)
    world.sync()
    assert held(world, campaign, pledge) == [], "an unconfirmed payment may still be replaced"
    world.node.mine()
    world.sync()
    (refund,) = held(world, campaign, pledge)
    told = world.node.rpc("decoderawtransaction", refund.raw.hex())
    assert told["locktime"] == refund.timelock_height
    assert [o["scriptPubKey"]["hex"] for o in told["vout"]] == [pledge.refund_script.hex()]
    with pytest.raises(RpcError, match="non-final"):
        world.node.rpc("sendrawtransaction", refund.raw.hex())
    again = [one.txid for one in held(world, campaign, pledge)]
    world.node.mine()
    world.sync()
    assert [one.txid for one in held(world, campaign, pledge)] == again


def test_coins_that_their_fee_would_eat_get_none(world: World) -> None:
    campaign = world.campaign()
    pledge = world.paid(campaign, 50_000)
    world.node.pay(str(pledge.address), 2_000)
    world.node.mine()
    world.sync()
    assert len(held(world, campaign, pledge)) == 1


def test_a_refund_that_is_not_the_one_asked_for_is_not_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = world.campaign()
    pledge = world.pledge(campaign, 50_000)
    world.sync()

    def lie(_terms: str, _account: int, tx: UnsignedTx) -> bytes:
        return tx.serialize()

    monkeypatch.setattr(world.worker.signer, "timelocked_refund", lie)
    world.node.pay(str(pledge.address), 50_000)
    world.node.mine()
    world.sync()
    assert held(world, campaign, pledge) == []
    with pytest.raises(WorldError, match=r"not valid|cannot be read"):
        world.worker._promises.keep("another tip")
    monkeypatch.undo()
    world.worker._promises.keep("another tip")
    assert len(held(world, campaign, pledge)) == 1


def test_after_the_height_the_backer_needs_nobody(world: World) -> None:
    """The site is gone before the deadline. Its worker comes back when two of three backers have helped themselves."""
    campaign = world.campaign(goal_sats=300_000)
    pledges = [world.paid(campaign, 100_000) for _ in range(3)]
    refunds = [held(world, campaign, pledge)[0] for pledge in pledges]
    terms = world.snapshot(campaign).terms
    assert terms is not None
    world.node.jump_to(int(terms.deadline.timestamp()) + 1)
    mine_to(world, terms.timelock_height - 1)
    with pytest.raises(RpcError, match="non-final"):
        world.node.rpc("sendrawtransaction", refunds[0].raw.hex())
    world.node.mine()
    for refund in refunds[:2]:
        assert world.node.rpc("sendrawtransaction", refund.raw.hex()) == refund.txid
    world.node.mine()
    world.sync()
    assert [world.pledge_state(p) for p in pledges] == ["refunded", "refunded", "in_settlement"]
    world.node.mine()
    world.sync()
    summary = world.summary(campaign)
    assert summary.state == "released", "the goal was reached in time; what is left goes to the project"
    assert summary.buckets[Bucket.REFUNDED] == sum(r.value_sats for r in refunds[:2])
    assert summary.buckets[Bucket.FOREIGN_SPEND] == 0
    report = verify(build_bundle(world.snapshot(campaign), "regtest"), world.core)
    assert report.ok, report


def test_a_refund_sent_beside_a_release_makes_a_smaller_release(world: World) -> None:
    """The release was planned and could not be sent; a backer's refund comes first, and the others are still paid."""
    campaign = world.campaign(goal_sats=300_000)
    pledges = [world.paid(campaign, 100_000) for _ in range(3)]
    (refund,) = held(world, campaign, pledges[1])
    terms = world.snapshot(campaign).terms
    assert terms is not None
    world.close(campaign)
    (release,) = world.node.rpc("getrawmempool")
    world.node.rpc("prioritisetransaction", release, None, -(10**10))  # no block takes it
    mine_to(world, terms.timelock_height)
    assert world.node.rpc("getrawmempool") == [release]
    world.node.rpc("generateblock", world.node.bank("getnewaddress"), [refund.raw.hex()])
    world.sync()
    world.node.mine()
    world.sync()
    assert [world.pledge_state(p) for p in pledges] == ["paid_out", "refunded", "paid_out"]
    summary = world.summary(campaign)
    assert summary.state == "released"
    assert (
        summary.buckets[Bucket.PAID_OUT] + summary.buckets[Bucket.MINER_FEE] + summary.buckets[Bucket.REFUNDED]
        == 300_000
    )
    report = verify(build_bundle(world.snapshot(campaign), "regtest"), world.core)
    assert report.ok, report


def test_a_refund_that_a_reorganisation_undoes_leaves_its_coin_to_be_paid(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release went on without the coin that was taken back; then the coin is there again."""
    campaign = world.campaign(goal_sats=300_000)
    pledges = [world.paid(campaign, 100_000) for _ in range(3)]
    (refund,) = held(world, campaign, pledges[1])
    terms = world.snapshot(campaign).terms
    assert terms is not None
    world.close(campaign)
    (release,) = world.node.rpc("getrawmempool")
    world.node.rpc("prioritisetransaction", release, None, -(10**10))  # no block takes it
    mine_to(world, terms.timelock_height)
    undone = only(world, refund.raw)
    world.sync()
    _, part = world.snapshot(campaign).batches
    assert len(part.inputs) == 2
    world.node.rpc("invalidateblock", undone)
    only(world, part.attempts[0].raw)
    only(world)
    with monkeypatch.context() as patch:
        patch.setattr(attempts, "stray_coins", lambda _session: {})
        world.sync()
    assert world.summary(campaign).state == "releasing", "one coin is still to be paid"
    only(world)
    world.sync()
    _, part, stray = world.snapshot(campaign).batches
    assert [i.coin.pledge_id for i in stray.inputs] == [pledges[1].id] and stray.parent_id == part.parent_id
    assert world.summary(campaign).state == "releasing"
    only(world, stray.attempts[0].raw)
    world.sync()
    assert world.summary(campaign).state == "released"
    assert [world.pledge_state(p) for p in pledges] == ["paid_out"] * 3
    report = verify(build_bundle(world.snapshot(campaign), "regtest"), world.core)
    assert report.ok, report


def only(world: World, *raw: bytes | None) -> str:
    """A block with these transactions and no others."""
    held = [(one or b"").hex() for one in raw]
    return str(world.node.rpc("generateblock", world.node.bank("getnewaddress"), held)["hash"])
