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
from crowdfund.wallet.signer_client import SignerClient
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
    world.node.mine(count + 1)
    while world.node.rpc("getrawmempool"):  # what was lost may come back to the mempool too late for those blocks
        world.node.mine()
    even(world)


@pytest.mark.parametrize("goal", [300_000, 900_000], ids=["funded", "failed"])
def test_the_ledger_holds_through_a_campaign_with_reorganisations(world: World, check: Check, goal: int) -> None:
    campaign = world.campaign(goal_sats=goal)
    for sats in (300_000, 123_457):
        world.paid(campaign, sats)
        assert check() == (0, {"ok": True, "breaches": [], "unchecked": None, "halted": [], "ended": 0})
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
