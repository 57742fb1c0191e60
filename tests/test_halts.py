"""The checker on a real node: stories with reorganisations hold after each step; a breach halts until it is mended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from crowdfund import create_app
from crowdfund.campaigns import books, checking, cold, halts, promises, recording
from crowdfund.campaigns.checks import Breach
from crowdfund.campaigns.ledger import Bucket
from crowdfund.campaigns.models import ChainView, Pledge
from crowdfund.chain.follow import BlockFacts, FoundSpend
from crowdfund.chain.port import BlockRef, NodeStatus
from crowdfund.cli import main
from crowdfund.errors import WorldError
from crowdfund.wallet.addresses import script_of
from crowdfund.wallet.keystore import Keystore
from crowdfund.wallet.signer_client import SignerClient
from crowdfund.wallet.signing import sign
from crowdfund.wallet.transactions import TxInput, TxOutput, UnsignedTx
from support.node import new_address
from support.truth import even
from support.world import World

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
Check = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def check(world: World, monkeypatch: pytest.MonkeyPatch) -> Check:
    """`crowdfund check --json`: exit code and answer."""
    for name, value in world.settings.to_env().items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        result = CliRunner().invoke(main, ["check", "--json", *arguments])
        return result.exit_code, json.loads(result.output)

    return run


def trouble(world: World) -> str:
    with world.database.reading() as session:
        return session.get_one(ChainView, 1).trouble


def healthz(world: World) -> tuple[int, dict[str, Any], str]:
    client = create_app(world.settings).test_client()
    answer = client.get("/healthz")
    return answer.status_code, answer.get_json(), client.get("/metrics").text


def lose_blocks(world: World, count: int) -> None:
    """A longer branch takes the place of the last blocks; what they held is confirmed again."""
    height = int(world.node.rpc("getblockcount"))
    world.node.rpc("invalidateblock", world.node.rpc("getblockhash", height - count + 1))
    even(world)
    world.node.rpc(
        "generatetoaddress", count + 1, new_address(world.node)
    )  # to the same one it could be the lost block
    while world.node.rpc("getrawmempool"):  # what was lost may come back to the mempool too late for those blocks
        world.node.mine()
    even(world)


@pytest.mark.parametrize("goal", [300_000, 900_000], ids=["funded", "failed"])
def test_the_ledger_holds_through_a_campaign_with_reorganisations(world: World, check: Check, goal: int) -> None:
    campaign = world.campaign(goal_sats=goal)
    for sats in (300_000, 123_457):
        world.paid(campaign, sats)
        assert check() == (
            0,
            {"ok": True, "breaches": [], "unchecked": None, "halted": [], "ended": 0, "acknowledged": []},
        )
    lose_blocks(world, 2)
    assert check()[0] == 0
    world.close(campaign)
    received_sats = world.summary(campaign).received_sats
    assert received_sats >= 300_000, "what the reorganisation took for good was the second payment at most"
    assert world.summary(campaign).buckets[Bucket.IN_SETTLEMENT] == received_sats
    assert check()[0] == 0
    world.node.mine()
    even(world)
    assert world.summary(campaign).buckets[Bucket.IN_SETTLEMENT] == 0
    assert check()[0] == 0
    lose_blocks(world, 1)
    assert world.summary(campaign).buckets[Bucket.IN_SETTLEMENT] == 0
    assert check()[0] == 0


def test_a_theft_halts_all_until_it_is_undone(world: World, check: Check) -> None:
    campaign = world.campaign(goal_sats=400_000)
    world.paid(campaign, 400_000)
    with world.database.transaction() as session:
        coin = session.execute(text("SELECT id, txid, vout, height FROM coins")).one()
        thief = BlockFacts(BlockRef(coin.height, "", "", 0, 0), (), (FoundSpend(coin.txid, coin.vout, "thief"),))
        recording.record_late(session, [thief], NOW)
    world.close(campaign)
    assert world.snapshot(campaign).decision is None
    assert "not ours" in trouble(world) and "halted until" in trouble(world)
    status, answer, metrics = healthz(world)
    assert status == 503 and "not ours" in answer["halted"][0] and "crowdfund_halted 1.0" in metrics
    code, told = check("--resume", "nothing was done")
    assert code == 1 and told["ended"] == 0 and len(told["halted"]) == 1 and told["breaches"]
    with world.database.transaction() as session:
        session.execute(text("UPDATE coins SET spent_by = NULL, spent_height = NULL"))
        books.post(session, [coin.id])
    world.sync()
    assert world.snapshot(campaign).decision is None, "what was halted does not go on by itself"
    assert check()[0] == 1, "all holds, and yet a halt lasts"
    code, told = check("--resume", "the thief's block is gone")
    assert (code, told["ok"], told["ended"]) == (0, True, 1)
    world.sync()
    assert world.snapshot(campaign).outcome == "funded" and trouble(world) == ""
    assert healthz(world)[1]["halted"] == [] and "crowdfund_halted 0.0" in healthz(world)[2]


def test_a_campaign_that_is_halted_is_neither_signed_nor_sent(world: World, check: Check) -> None:
    first, second = world.campaign(goal_sats=400_000), world.campaign(goal_sats=400_000)
    world.paid(first, 400_000)
    world.paid(second, 400_000)
    world.equip(signer=SignerClient(world.folder / "nobody"))
    world.close(first)
    assert world.snapshot(first).outcome == world.snapshot(second).outcome == "funded"
    with world.database.transaction() as session:
        halts.begin(session, [Breach(first, "Its sums are wrong.")], NOW)
    world.equip(signer=SignerClient(world.settings.signer_socket))
    world.sync()
    assert [a.raw for b in world.snapshot(first).batches for a in b.attempts] == [None]
    assert [a.sent_at is None for b in world.snapshot(second).batches for a in b.attempts] == [False]
    assert "Its sums are wrong." in trouble(world) and first in trouble(world)
    assert check("--resume", "they were not")[0] == 0
    world.sync()
    assert [a.sent_at is None for b in world.snapshot(first).batches for a in b.attempts] == [False]


def test_a_change_by_hand_keeps_a_campaign_from_being_decided(world: World, check: Check) -> None:
    campaign = world.campaign(goal_sats=400_000)
    world.paid(campaign, 400_000)
    with world.database.transaction() as session:
        session.execute(text("DROP TRIGGER transfers_frozen_id"))
        session.execute(text("UPDATE transfers SET to_account = 'late'"))
    late = world.pledge(campaign, 50_000)
    world.worker = world.new_worker()
    world.close(campaign)
    world.node.pay(str(late.address), 50_000)
    world.node.mine()
    world.sync()
    assert world.snapshot(campaign).decision is None and "halted" in trouble(world)
    assert len(world.snapshot(campaign).coins) == 2, "watching goes on"
    assert check("--resume", "no")[0] == 1
    with world.database.transaction() as session:
        session.execute(text("UPDATE transfers SET to_account = 'counted' WHERE id = 1"))
    assert check("--resume", "put back")[0] == 0
    world.sync()
    assert world.snapshot(campaign).outcome == "funded"


def test_the_chain_is_compared_once_a_day(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = world.campaign()
    world.paid(campaign, 400_000)
    monkeypatch.setattr(checking, "COMPARE_EVERY_S", 0)
    monkeypatch.setattr(type(world.backend), "unspent", lambda self, scripts: (self.status().tip_hash, []))
    world.node.mine()
    world.sync()
    assert "not among the unspent outputs" in trouble(world) and campaign in trouble(world)


def test_what_cannot_be_checked_is_said(world: World, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    world.paid(world.campaign(), 400_000)
    monkeypatch.setattr("crowdfund.cli_check.PATIENCE_S", 0)
    world.node.mine()
    code, told = check("--resume", "now")
    assert code == 2 and "last block" in told["unchecked"]
    assert check("--no-chain")[0] == 0
    for wrong in (["--resume", "why", "--no-chain"], ["--resume", " "]):
        refused = CliRunner().invoke(main, ["check", *wrong])
        assert refused.exit_code == 1 and "say why" in refused.output
    world.sync()
    assert "All holds." in CliRunner().invoke(main, ["check"]).output


def test_a_comparison_that_cannot_be_made_keeps_nobody_from_being_paid(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = world.campaign(goal_sats=400_000)
    world.paid(campaign, 400_000)
    checker = world.worker._checker
    monkeypatch.setattr(checking, "COMPARE_EVERY_S", 0)

    def away(*_: object) -> None:
        checker._compared_at += 10_000
        raise WorldError("The set of unspent outputs cannot be had.")

    monkeypatch.setattr(checker, "_compare", away)
    world.close(campaign)
    assert world.snapshot(campaign).outcome == "funded" and "cannot be had" in trouble(world)
    assert [a.sent_at is None for b in world.snapshot(campaign).batches for a in b.attempts] == [False]
    assert checker._compared_at > time.monotonic(), "it is tried again an hour later"
    world.sync()
    assert "cannot be had" in trouble(world), "and told until then"


def test_what_keeps_one_campaign_from_being_decided_is_not_the_others_trouble(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (world.campaign(goal_sats=400_000) for _ in range(2))
    for campaign in (first, second):
        world.paid(campaign, 400_000)
    agree = world.worker._agree_on_coins

    def disagree(campaign_id: str, status: NodeStatus) -> None:
        if campaign_id == min(first, second):
            raise WorldError("Its coins cannot be counted.")
        agree(campaign_id, status)

    monkeypatch.setattr(world.worker, "_agree_on_coins", disagree)
    world.close(first)
    assert world.snapshot(min(first, second)).decision is None and "cannot be counted" in trouble(world)
    assert [a.sent_at is None for b in world.snapshot(max(first, second)).batches for a in b.attempts] == [False]
    monkeypatch.undo()
    world.sync()
    assert world.snapshot(min(first, second)).outcome == "funded"


def test_a_forged_address_halts_its_campaign_alone(world: World) -> None:
    """Whoever can write a pledge of their own cannot make a stranger's coins count."""
    first, second = (world.campaign(goal_sats=400_000) for _ in range(2))
    world.paid(first, 400_000)
    world.paid(second, 400_000)
    stranger = str(world.node.rpc("getnewaddress", "", "bech32"))
    with world.database.transaction() as session:
        session.add(
            Pledge(
                id="forged",
                campaign_id=first,
                index=99,
                address=stranger,
                script=script_of(stranger, "regtest"),
                amount_sats=50_000,
                refund_address=stranger,
                refund_script=script_of(stranger, "regtest"),
                name="",
                message="",
                created_at=NOW,
                registered=False,
                receipt_due=False,
            )
        )
    world.close(first)
    assert world.snapshot(first).decision is None
    assert "pledge 99 is not the campaign's own" in trouble(world)
    assert world.snapshot(second).outcome == "funded"


def test_a_strangers_early_payment_does_not_keep_a_halt_going(
    world: World, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.database.transaction() as session:
        halts.begin(session, [Breach(None, "A theft.")], NOW)
    early = [Breach("c", "It is taken in before anything is decided.", halts=False)]
    monkeypatch.setattr("crowdfund.cli_check._check_chain", lambda *_: early)
    assert check("--resume", "it was none")[1]["ended"] == 1


def test_nothing_is_exported_to_be_signed_during_a_halt(world: World) -> None:
    campaign = world.campaign(goal_sats=400_000)
    world.equip(signer=SignerClient(world.folder / "nobody"))
    world.paid(campaign, 400_000)
    world.close(campaign)
    with world.database.reading() as session:
        assert len(cold.unsigned_jobs(session)) == 1
    with world.database.transaction() as session:
        halts.begin(session, [Breach(campaign, "Its sums are wrong.")], NOW)
        assert cold.unsigned_jobs(session) == []


def test_no_refund_is_promised_during_a_halt(world: World) -> None:
    campaign = world.campaign(goal_sats=400_000)
    world.pledge(campaign, 100_000)
    world.sync()
    world.equip(signer=SignerClient(world.folder / "nobody"))
    world.paid(campaign, 100_000)
    with world.database.transaction() as session:
        session.execute(text("UPDATE pledges SET registered = true"))
        assert len(promises.owed_refunds(session)) == 1
        halts.begin(session, [Breach(None, "A theft.")], NOW)
        assert promises.owed_refunds(session) == []


def test_nothing_is_signed_for_a_backer_of_a_halted_campaign(world: World) -> None:
    """Neither a receipt nor a refund, whoever is the campaign's or everybody's halt; another one's is no matter."""
    first, second = world.campaign(), world.campaign()
    with world.database.transaction() as session:
        halts.begin(session, [Breach(first, "Its sums are wrong.")], NOW)
    stopped, free = world.paid(first, 100_000), world.paid(second, 100_000)
    with world.database.reading() as session:
        assert promises.receipt_of(session, stopped.id) is None and promises.receipt_of(session, free.id) is not None
        assert session.scalars(text("SELECT coin_id FROM timelocked_refunds")).all() == [2]
        assert session.scalars(text("SELECT count(*) FROM pledges WHERE registered")).all() == [2], (
            "the first word counts"
        )
    with world.database.transaction() as session:
        halts.end_all(session, "they were not", NOW)
        halts.begin(session, [Breach(None, "A theft.")], NOW)
        assert promises.owed_receipts(session) == []
        assert promises.owed_refunds(session) == []
        halts.end_all(session, "it was none", NOW)
    world.node.mine()
    world.sync()
    with world.database.reading() as session:
        assert promises.receipt_of(session, stopped.id) is not None
        assert len(session.scalars(text("SELECT coin_id FROM timelocked_refunds")).all()) == 2


@pytest.mark.parametrize("asked_for", ["receipt", "timelocked_refund"])
def test_a_halt_that_begins_between_two_signatures_stops_the_second(
    world: World, monkeypatch: pytest.MonkeyPatch, asked_for: str
) -> None:
    campaign, signer = world.campaign(), world.worker.signer
    pledges = [world.pledge(campaign, 100_000) for _ in range(2)]
    real, made = getattr(signer, asked_for), list[object]()

    def and_then(*request: Any) -> object:
        made.append(real(*request))
        with world.database.transaction() as session:
            halts.begin(session, [Breach(campaign, "Its sums are wrong.")], NOW)
        return made[-1]

    monkeypatch.setattr(signer, asked_for, and_then)
    for pledge in pledges:
        world.node.pay(str(pledge.address), 100_000)
    world.node.mine()
    world.sync()
    assert len(made) == 1
    with world.database.reading() as session:
        table = "receipts" if asked_for == "receipt" else "timelocked_refunds"
        assert session.scalar(text(f"SELECT count(*) FROM {table}")) == 1, "what was signed before is kept"


def steal(world: World, campaign: str, pledge: Pledge) -> tuple[str, str]:
    """Somebody who has the seed spends a pledge's coin: its outpoint, and the transaction, not sent yet."""
    snapshot = world.snapshot(campaign)
    (coin,) = [c for c in snapshot.coins if c.pledge_id == pledge.id]
    keys = Keystore.open(world.folder / "signer" / "seed", "regtest")
    out = TxOutput(script_of(new_address(world.node), "regtest"), coin.value_sats - 5_000)
    tx = UnsignedTx((TxInput(coin.txid, coin.vout, coin.value_sats, pledge.index),), (out,), 0)
    assert snapshot.terms is not None
    return f"{coin.txid}:{coin.vout}", sign(
        tx, keys.branch(snapshot.campaign.account_index or 0, snapshot.terms.hash)
    ).hex()


def block_of(world: World, *held: str) -> None:
    world.node.rpc("generateblock", new_address(world.node), list(held))


def test_a_theft_is_noticed_before_anything_is_signed_at_its_block(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = world.campaign()
    robbed, other = world.paid(campaign, 100_000), world.pledge(campaign, 200_000)
    world.sync()
    monkeypatch.setattr(world.worker.signer, "timelocked_refund", lambda *_: pytest.fail("it was asked to sign"))
    world.node.pay(str(other.address), 200_000)
    block_of(world, *world.node.rpc("getrawmempool"), steal(world, campaign, robbed)[1])
    world.sync()
    assert "not ours" in trouble(world)


@pytest.mark.parametrize("goal", [300_000, 900_000], ids=["funded", "failed"])
@pytest.mark.parametrize("moment", ["open", "sent"])
def test_after_a_theft_that_is_acknowledged_all_others_are_settled(
    world: World, check: Check, goal: int, moment: str
) -> None:
    campaign = world.campaign(goal_sats=goal)
    pledges = [world.paid(campaign, 100_000) for _ in range(3)]
    outpoint, loot = steal(world, campaign, pledges[1])
    if moment == "sent":
        world.close(campaign)
        assert len(world.node.rpc("getrawmempool")) == 1
    block_of(world, loot)
    world.sync()
    if moment == "open":
        world.close(campaign)
        assert world.snapshot(campaign).decision is None
    assert outpoint in trouble(world) and check("--resume", "nothing was done")[0] == 1
    assert world.pledge_state(pledges[1]) == "foreign" != world.pledge_state(pledges[0])
    before = len(world.snapshot(campaign).batches)
    world.node.mine()
    world.sync()
    assert len(world.snapshot(campaign).batches) == before and world.node.rpc("getrawmempool") == []
    code, told = check("--acknowledge", outpoint, "--resume", "the key was copied; a new seed signs new campaigns")
    assert (code, told["ok"], told["ended"], told["acknowledged"]) == (0, True, 1, [outpoint])
    world.sync()
    world.node.mine()
    world.sync()
    summary, ends = world.summary(campaign), "paid_out" if goal == 300_000 else "refunded"
    assert summary.state == ("released" if goal == 300_000 else "refunded") and trouble(world) == ""
    assert [world.pledge_state(p) for p in pledges] == [ends, "taken", ends]
    assert summary.buckets[Bucket.FOREIGN_SPEND] == 100_000 and summary.buckets[Bucket.IN_SETTLEMENT] == 0
    assert sum(summary.buckets[b] for b in (Bucket.PAID_OUT, Bucket.REFUNDED, Bucket.MINER_FEE)) == 200_000
    assert healthz(world)[0] == 200 and check()[0] == 0


def test_an_acknowledged_theft_is_public_and_a_new_one_halts_again(world: World, check: Check) -> None:
    first, second = world.campaign(), world.campaign()
    robbed, next_one = world.paid(first, 100_000), world.paid(second, 200_000)
    outpoint, loot = steal(world, first, robbed)
    block_of(world, loot)
    world.sync()
    assert check("--acknowledge", outpoint, "--resume", "a key was copied")[0] == 0
    client = create_app(world.settings).test_client()
    for path in ("/incidents", f"/campaigns/{first}", "/api/v1/incidents", f"/api/v1/campaigns/{first}/incidents"):
        assert outpoint in client.get(path).text, path
    assert "No money is lost by any of this" not in client.get(f"/campaigns/{first}").text
    assert outpoint not in client.get(f"/campaigns/{second}").text
    assert "Somebody else has taken your money" in client.get(f"/p/{robbed.id}").text
    assert 'crowdfund_incidents{kind="foreign_spend"} 1.0' in client.get("/metrics").text
    world.sync()
    assert trouble(world) == ""
    again, loot = steal(world, second, next_one)
    block_of(world, loot)
    world.sync()
    assert again in trouble(world) and "halted" in trouble(world)
    assert check("--resume", "as before")[0] == 1
    assert check("--acknowledge", again, "--resume", "the same key")[1]["ended"] == 1


def test_what_is_acknowledged_is_named_exactly_and_with_a_reason(world: World, check: Check) -> None:
    campaign = world.campaign()
    robbed = world.paid(campaign, 100_000)
    kept = world.paid(campaign, 200_000)
    outpoint, loot = steal(world, campaign, robbed)
    (lying,) = [f"{c.txid}:{c.vout}" for c in world.snapshot(campaign).coins if c.pledge_id == kept.id]
    block_of(world, loot)
    world.sync()
    for arguments, words in (
        (["--acknowledge", outpoint], "say why"),
        (["--acknowledge", outpoint, "--resume", " "], "say why"),
        (["--acknowledge", lying, "--resume", "why"], "nothing is acknowledged"),
        (["--acknowledge", outpoint, "--acknowledge", lying, "--resume", "why"], "nothing is acknowledged"),
    ):
        refused = CliRunner().invoke(main, ["check", *arguments])
        assert refused.exit_code == 1 and words in refused.output, arguments
    with world.database.reading() as session:
        assert session.scalar(text("SELECT count(*) FROM acknowledged_spends")) == 0
        assert len(halts.open_halts(session)) == 1
    done = CliRunner().invoke(main, ["check", "--acknowledge", outpoint, "--resume", "why"])
    assert done.exit_code == 0 and f"Acknowledged for ever: {outpoint}" in done.output, done.output
    with world.database.reading() as session:
        (row,) = session.execute(text("SELECT spent_by, why FROM acknowledged_spends"))
        (coin,) = [c for c in world.snapshot(campaign).coins if c.pledge_id == robbed.id]
        assert tuple(row) == (coin.spent_by, "why")
