"""Stories on the real node: what backers, miners and strangers can do to a payment, and what the books say."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import or_, select, text

from crowdfund.campaigns.ledger import Bucket
from crowdfund.campaigns.models import Block, ChainView, Coin, DecisionRow, Pledge
from crowdfund.chain.core import CoreBackend
from crowdfund.chain.port import NodeStatus
from crowdfund.chain.regtest import RegtestNode
from crowdfund.db import Database
from crowdfund.errors import WorldError
from crowdfund.locks import only_one
from crowdfund.wallet.signer_client import SignerClient
from crowdfund.wallet.transactions import TxOutput, UnsignedTx
from crowdfund.worker import Worker, run
from support.node import new_address, new_node
from support.world import World

Facts = tuple[list[tuple[object, ...]], list[tuple[object, ...]], list[tuple[object, ...]]]


def block(node: RegtestNode, *txids: str) -> str:
    """A block with these transactions alone."""
    return str(node.rpc("generateblock", new_address(node), list(txids))["hash"])


def facts(database: Database) -> Facts:
    """Everything that follows from the chain: blocks, coins that it holds, decisions."""
    with database.reading() as session:
        blocks = session.execute(select(Block.height, Block.hash, Block.median_time_past).order_by(Block.height))
        coins = session.execute(
            select(Coin.txid, Coin.vout, Coin.value_sats, Coin.pledge_id, Coin.height, Coin.block_hash, Coin.in_mempool)
            .where(or_(Coin.height.is_not(None), Coin.in_mempool))
            .order_by(Coin.txid, Coin.vout)
        )
        decisions = session.execute(
            select(DecisionRow.campaign_id, DecisionRow.outcome, DecisionRow.counted_sats, DecisionRow.closing_hash)
        )
        return [tuple(r) for r in blocks], [tuple(r) for r in coins], [tuple(r) for r in decisions]


class Twin:
    """A copy of the database as it is now, which looks at the chain only when it is asked to agree."""

    def __init__(self, world: World) -> None:
        self._world = world
        path = world.folder / "twin.sqlite"
        with world.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.rollback()
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.execute(f"VACUUM INTO '{path}'")
        self._database = Database(f"sqlite:///{path}")

    def agrees(self) -> None:
        """Who saw only the end knows the same as who saw every step."""
        signer = SignerClient(self._world.folder / "no-signer")
        worker = Worker(self._database, self._world.backend, signer, "regtest")
        while worker.round():
            pass
        assert facts(self._database) == facts(self._world.database)
        self._database.close()


def sync(world: World, restart: bool) -> None:
    """Look at the chain, with a worker that remembers nothing if `restart`."""
    if restart:
        world.worker = world.new_worker()
    world.sync()


def sums(world: World, campaign: str) -> tuple[int, int, int]:
    summary = world.summary(campaign)
    return summary.counted_sats, summary.seen_sats, summary.received_sats


def view(world: World) -> ChainView:
    with world.database.reading() as session:
        return session.get_one(ChainView, 1)


@pytest.mark.parametrize("restart", [False, True], ids=["one worker", "a new worker each time"])
def test_a_reorganisation_of_one_block_takes_the_coin_and_gives_it_back(world: World, restart: bool) -> None:
    campaign = world.campaign()
    pledge = world.pledge(campaign, 400_000)
    twin = Twin(world)
    txid = world.node.pay(str(pledge.address), 400_000)
    sync(world, restart)
    assert sums(world, campaign) == (0, 400_000, 0) and world.pledge_state(pledge) == "seen"
    held = block(world.node, txid)
    sync(world, restart)
    assert sums(world, campaign) == (400_000, 0, 400_000) and world.pledge_state(pledge) == "confirmed"
    world.node.rpc("invalidateblock", held)
    sync(world, restart)
    assert sums(world, campaign) == (0, 400_000, 0), "back in the mempool"
    block(world.node)
    sync(world, restart)
    assert sums(world, campaign) == (0, 400_000, 0)
    block(world.node, txid)
    sync(world, restart)
    assert sums(world, campaign) == (400_000, 0, 400_000)
    world.node.rpc("reconsiderblock", held)
    sync(world, restart)
    assert sums(world, campaign) == (400_000, 0, 400_000)
    twin.agrees()


@pytest.mark.parametrize("depth", [1, 3, 7])
def test_a_reorganisation_while_the_worker_is_off(world: World, depth: int) -> None:
    """One coin is in the old branch only, one in both at another height, one in the new branch only."""
    campaign = world.campaign()
    both, new, old = (world.pledge(campaign, 100_000 * n) for n in (1, 2, 3))
    twin = Twin(world)
    txids = [world.node.pay(str(p.address), p.amount_sats) for p in (both, old)]
    first = block(world.node, *txids)
    world.node.mine(depth)
    world.sync()
    assert sums(world, campaign) == (400_000, 0, 400_000)
    world.node.rpc("invalidateblock", first)
    block(world.node)
    block(world.node, txids[0])
    fresh = world.node.pay(str(new.address), 200_000)
    block(world.node, fresh)
    for _ in range(depth):
        block(world.node)
    sync(world, restart=True)
    assert sums(world, campaign) == (300_000, 300_000, 300_000)
    assert [world.pledge_state(p) for p in (both, new, old)] == ["confirmed", "confirmed", "seen"]
    twin.agrees()
    world.node.mine()
    world.sync()
    assert sums(world, campaign) == (600_000, 0, 600_000)


def to_the_brink(world: World, campaign: str) -> None:
    """The next block comes just in time, and the one after it is the closing block."""
    terms = world.snapshot(campaign).terms
    assert terms is not None
    world.node.rpc("setmocktime", int(terms.deadline.timestamp()) + 1)
    for _ in range(4):
        block(world.node)
    world.sync()
    assert world.summary(campaign).state == "open"


@pytest.mark.parametrize("finally_in_time", [True, False])
def test_a_reorganisation_across_the_closing_block_before_the_decision(world: World, finally_in_time: bool) -> None:
    """The outcome follows from the chain at the end, whatever it looked like before."""
    world.settings = replace(world.settings, confirmations=3)
    campaign = world.campaign(goal_sats=400_000)
    pledge = world.pledge(campaign, 400_000)
    twin = Twin(world)
    to_the_brink(world, campaign)
    txid = world.node.pay(str(pledge.address), 400_000)
    for attempt, in_time in enumerate((not finally_in_time, finally_in_time)):
        first = block(world.node, *([txid] if in_time else []))
        block(world.node, *([] if in_time else [txid]))
        block(world.node)
        world.sync()
        summary = world.summary(campaign)
        assert (summary.state, summary.counted_sats) == ("closing", 400_000 if in_time else 0)
        if not attempt:
            world.node.rpc("invalidateblock", first)
            world.sync()
            assert world.summary(campaign).state == "open"
    block(world.node)
    world.sync()
    snapshot = world.snapshot(campaign)
    assert snapshot.outcome == ("funded" if finally_in_time else "failed")
    twin.agrees()
    world.node.mine(4)
    world.sync()
    buckets = world.summary(campaign).buckets
    assert buckets[Bucket.PAID_OUT if finally_in_time else Bucket.REFUNDED] + buckets[Bucket.MINER_FEE] == 400_000


def test_a_settlement_that_is_reorganised_away_is_sent_again_and_never_planned_again(world: World) -> None:
    campaign = world.campaign(goal_sats=400_000)
    pledge = world.paid(campaign, 400_000)
    world.close(campaign)
    (before,) = world.snapshot(campaign).batches
    txid = before.attempts[0].txid
    held = world.node.mine()[0]
    world.sync()
    assert world.summary(campaign).state == "released"
    world.node.rpc("invalidateblock", held)
    sync(world, restart=True)
    assert world.summary(campaign).state == "releasing" and world.pledge_state(pledge) == "in_settlement"
    world.node.mine()
    world.sync()
    assert world.summary(campaign).state == "released" and world.pledge_state(pledge) == "paid_out"
    (after,) = world.snapshot(campaign).batches
    assert [a.txid for a in after.attempts] == [txid]
    assert world.node.rpc("getrawtransaction", txid, True)["confirmations"] == 1


def test_two_payments_to_one_address_and_two_outputs_in_one_transaction(world: World) -> None:
    campaign = world.campaign()
    pledge = world.pledge(campaign, 300_000)
    twin = Twin(world)
    script = bytes(pledge.script or b"")
    world.node.pay(str(pledge.address), 100_000)
    raw = UnsignedTx((), (TxOutput(script, 60_000), TxOutput(script, 40_000)), 0).serialize().hex()
    funded = world.node.bank("fundrawtransaction", raw, {}, False)["hex"]
    world.node.rpc("sendrawtransaction", world.node.bank("signrawtransactionwithwallet", funded)["hex"])
    world.node.pay(str(pledge.address), 100_000)
    world.sync()
    assert sums(world, campaign) == (0, 300_000, 0)
    world.node.mine()
    world.sync()
    assert sums(world, campaign) == (300_000, 0, 300_000)
    assert world.pledge_state(pledge) == "confirmed" and world.summary(campaign).pledge_count == 1
    assert len(world.snapshot(campaign).coins) == 4
    twin.agrees()


def test_too_little_too_much_dust_and_late(world: World) -> None:
    campaign = world.campaign(goal_sats=100_000)
    short, over, dusty, late = (world.pledge(campaign, 50_000) for _ in range(4))
    for pledge, sats in ((short, 49_999), (over, 50_001), (dusty, 999)):
        world.node.pay(str(pledge.address), sats)
    world.node.mine()
    world.sync()
    assert [world.pledge_state(p) for p in (short, over, dusty, late)] == ["short", "over", "short", "awaiting"]
    assert sums(world, campaign) == (100_000, 0, 100_999)
    world.close(campaign)
    assert world.snapshot(campaign).outcome == "funded"
    world.node.pay(str(late.address), 50_000)
    world.node.pay(str(over.address), 20_000)
    world.node.mine()
    world.sync()
    assert world.pledge_state(late) == "in_settlement"
    world.node.mine()
    world.sync()
    summary = world.summary(campaign)
    assert [world.pledge_state(p) for p in (short, over, dusty, late)] == ["paid_out", "paid_out", "short", "refunded"]
    assert summary.buckets[Bucket.DUST] == 999 and summary.counted_sats == 100_000 and summary.state == "released"
    back = [int(world.node.bank("getreceivedbyaddress", p.refund_address) * 10**8) for p in (late, over)]
    assert sum(back) == summary.buckets[Bucket.REFUNDED] and 49_000 < back[0] < 50_000 and 19_000 < back[1] < 20_000
    world.node.pay(str(dusty.address), 500)
    world.node.mine()
    world.sync()
    assert world.summary(campaign).buckets[Bucket.DUST] == 1_499


def test_a_payment_whose_fee_is_raised_counts_once(world: World) -> None:
    campaign = world.campaign()
    pledge = world.pledge(campaign, 400_000)
    first = world.node.pay(str(pledge.address), 400_000)
    world.sync()
    second = world.node.bank("bumpfee", first)["txid"]
    world.sync()
    assert second != first and sums(world, campaign) == (0, 400_000, 0)
    assert world.pledge_state(pledge) == "seen"
    world.node.mine()
    world.sync()
    assert sums(world, campaign) == (400_000, 0, 400_000)
    found = {c.txid: (c.height is not None, c.in_mempool) for c in world.snapshot(campaign).coins}
    assert found == {first: (False, False), second: (True, False)}


@pytest.mark.parametrize("seen", [True, False], ids=["seen before", "never seen"])
def test_a_double_spend_to_oneself_never_counts(world: World, seen: bool) -> None:
    campaign = world.campaign(goal_sats=20_000)
    pledge = world.pledge(campaign, 400_000)
    mine = new_address(world.node)
    coin = next(c for c in world.node.bank("listunspent") if c["amount"] > 1)

    def signed(to: str, fee_sats: int) -> str:
        change = f"{coin['amount'] * 10**8 - 400_000 - fee_sats:.0f}"
        outputs = [{to: "0.00400000"}, {new_address(world.node): f"{int(change) / 10**8:.8f}"}]
        spent = [{"txid": coin["txid"], "vout": coin["vout"], "sequence": 0xFFFFFFFD}]
        raw = world.node.bank("createrawtransaction", spent, outputs)
        return str(world.node.bank("signrawtransactionwithwallet", raw)["hex"])

    world.node.rpc("sendrawtransaction", signed(str(pledge.address), 1_000))
    if seen:
        world.sync()
        assert world.pledge_state(pledge) == "seen"
    world.node.rpc("sendrawtransaction", signed(mine, 50_000))
    world.sync()
    assert world.pledge_state(pledge) == ("replaced" if seen else "awaiting")
    world.node.mine()
    world.sync()
    assert world.pledge_state(pledge) == ("double_spent" if seen else "awaiting")
    assert sums(world, campaign) == (0, 0, 0)
    world.close(campaign)
    assert world.snapshot(campaign).outcome == "failed" and world.summary(campaign).state == "refunded"


class Strange(CoreBackend):
    """The world's node, seen through something strange. `before` runs before each answer, by the method's name."""

    def __init__(self, world: World) -> None:
        super().__init__(world.settings.bitcoind_url, world.settings.bitcoind_cookie_file)
        self.before: Callable[[str], None] = lambda _: None
        self.empty_mempool = False
        self.changes: dict[str, Any] = {}

    def status(self) -> NodeStatus:
        return replace(super().status(), **self.changes)

    def mempool_txids(self) -> list[str]:
        self.before("mempool_txids")
        return [] if self.empty_mempool else super().mempool_txids()

    def mempool_transactions(self, txids: Sequence[str]) -> dict[str, bytes]:
        self.before("mempool_transactions")
        return {} if self.empty_mempool else super().mempool_transactions(txids)

    def headers(self, first_height: int, count: int) -> list[bytes]:
        self.before("headers")
        return super().headers(first_height, count)

    def block_hash(self, height: int) -> str | None:
        self.before("block_hash")
        return super().block_hash(height)

    def feerate_sat_vb(self, target_blocks: int) -> int | None:
        self.before("feerate")
        return super().feerate_sat_vb(target_blocks)


@pytest.fixture
def strange(world: World) -> Iterator[Strange]:
    """The world's worker looks through this backend."""
    made = Strange(world)
    world.worker = Worker(world.database, made, SignerClient(world.settings.signer_socket), "regtest")
    yield made
    made.close()


def test_a_payment_that_vanishes_from_the_mempool_comes_back(world: World, strange: Strange) -> None:
    campaign = world.campaign()
    pledge = world.paid(campaign, 400_000, confirmed=False)
    assert world.pledge_state(pledge) == "seen"
    strange.empty_mempool = True
    world.sync()
    assert world.pledge_state(pledge) == "evicted" and sums(world, campaign) == (0, 0, 0)
    strange.empty_mempool = False
    world.sync()
    assert world.pledge_state(pledge) == "seen"
    strange.empty_mempool = True
    world.sync()
    world.node.mine()
    world.sync()
    assert sums(world, campaign) == (400_000, 0, 400_000)


@pytest.mark.parametrize("moment", ["headers", "mempool_txids", "block_hash"])
@pytest.mark.parametrize("mined", [False, True])
def test_a_pledge_made_and_paid_in_the_midst_of_looking(
    moment: str, mined: bool, world: World, strange: Strange
) -> None:
    campaign = world.campaign()
    world.node.mine()
    pledges: list[Pledge] = []

    def pay(method: str) -> None:
        if method == moment and not pledges:
            pledges.append(world.pledge(campaign, 400_000))
            world.node.pay(str(pledges[0].address), 400_000)
            if mined:
                world.node.mine()

    strange.before = pay
    world.sync()
    world.sync()
    assert world.pledge_state(pledges[0]) == ("confirmed" if mined else "seen")


def test_a_payment_made_before_the_worker_ever_looked(world: World) -> None:
    campaign = world.campaign()
    pledge = world.pledge(campaign, 400_000)
    world.node.pay(str(pledge.address), 400_000)
    world.node.mine(3)
    sync(world, restart=True)
    assert sums(world, campaign) == (400_000, 0, 400_000)


@pytest.mark.parametrize("moment", ["feerate", "mempool_txids", "block_hash"])
def test_a_node_that_fails_in_the_midst_of_looking_hides_no_payment(
    moment: str, world: World, strange: Strange
) -> None:
    world.sync()
    campaign = world.campaign()
    pledge = world.pledge(campaign, 400_000)
    world.node.mine()
    world.node.pay(str(pledge.address), 400_000)
    failed: list[str] = []

    def fail(method: str) -> None:
        if method == moment and not failed:
            failed.append(method)
            raise WorldError("The node does not answer.")

    strange.before = fail
    with pytest.raises(WorldError):
        world.sync()
    world.sync()
    assert failed and world.pledge_state(pledge) == "seen"


def test_a_node_on_another_chain_is_not_believed(world: World, strange: Strange) -> None:
    campaign = world.campaign()
    world.paid(campaign, 400_000)
    before = facts(world.database)
    strange.changes = {"genesis_hash": "00" * 32}
    world.node.mine()
    with pytest.raises(WorldError, match="first block is another"):
        world.sync()
    assert facts(world.database) == before
    strange.changes = {}
    world.sync()
    assert facts(world.database) != before


def test_a_node_that_is_still_catching_up_decides_nothing(world: World, strange: Strange) -> None:
    campaign = world.campaign(goal_sats=400_000)
    world.paid(campaign, 400_000)
    strange.changes = {"synced": False, "headers": 100_000}
    world.close(campaign)
    world.sync()
    assert world.summary(campaign).state == "closing" and world.snapshot(campaign).decision is None
    assert view(world).state == f"node catching up {world.node.status()['height']} of 100000 blocks"
    strange.changes = {}
    world.sync()
    assert world.summary(campaign).state == "releasing" and view(world).state == "live"


def test_a_node_that_is_away_and_comes_back(tmp_path: Path) -> None:
    node = new_node(tmp_path / "node")
    with World(node, tmp_path / "world") as world:
        campaign = world.campaign(goal_sats=400_000)
        world.paid(campaign, 400_000)
        stop = threading.Event()
        before = facts(world.database)
        node.stop()
        with pytest.raises(WorldError) as away:
            world.sync()
        assert away.value.retryable

        def watch() -> None:
            run(world.worker, stop)
            world.backend.close()

        watching = threading.Thread(target=watch, daemon=True)
        watching.start()
        wait_until(lambda: view(world).state.startswith("node unreachable since"))
        assert facts(world.database) == before and world.summary(campaign).counted_sats == 400_000
        with new_node(tmp_path / "node", funded=False) as again:
            world.node = again
            terms = world.snapshot(campaign).terms
            assert terms is not None
            again.jump_to(int(terms.deadline.timestamp()) + 1)
            wait_until(lambda: view(world).state == "live" and world.summary(campaign).state == "releasing")
            stop.set()
            watching.join(20)
            assert not watching.is_alive()


def wait_until(ready: Callable[[], bool], patience_s: float = 30) -> None:
    """Until `ready()`, asked often."""
    pause = threading.Event()
    for _ in range(int(patience_s / 0.05)):
        if ready():
            return
        pause.wait(0.05)
    raise AssertionError("it does not come about")


def test_while_the_signer_is_away_everything_else_goes_on(world: World) -> None:
    first = world.campaign(goal_sats=400_000)
    world.paid(first, 400_000)
    world.close(first)
    held = world.node.mine()[0]
    world.sync()
    world.equip(signer=SignerClient(world.folder / "nobody"))
    second = world.campaign(goal_sats=50_000)
    pledge = world.pledge(second, 60_000)
    world.node.rpc("invalidateblock", held)
    world.sync()
    assert world.summary(first).state == "releasing" and "signer does not answer" in view(world).trouble
    world.node.mine()
    world.sync()
    assert world.summary(first).state == "released", "what was signed was sent again"
    world.node.pay(str(pledge.address), 60_000)
    world.node.mine()
    world.close(second)
    assert world.snapshot(second).outcome == "funded"
    assert [a.raw for b in world.snapshot(second).batches for a in b.attempts] == [None]
    world.equip(signer=SignerClient(world.settings.signer_socket))
    world.sync()
    world.node.mine()
    world.sync()
    assert world.summary(second).state == "released" and view(world).trouble == ""


def test_a_spend_by_a_stranger_halts_every_settlement(world: World) -> None:
    campaign = world.campaign(goal_sats=400_000)
    world.paid(campaign, 400_000)
    with world.database.transaction() as session:
        session.execute(text("UPDATE coins SET spent_by = 'stranger', spent_height = height"))
    world.close(campaign)
    assert "not ours" in view(world).trouble and "halted" in view(world).trouble
    assert world.snapshot(campaign).decision is None
    assert world.summary(campaign).buckets[Bucket.FOREIGN_SPEND] == 400_000


def test_a_plan_changed_behind_our_back_is_not_signed(world: World) -> None:
    campaign = world.campaign(goal_sats=400_000)
    world.paid(campaign, 400_000)
    signer = world.worker.signer
    world.equip(signer=SignerClient(world.folder / "nobody"))
    world.close(campaign)
    with world.database.transaction() as session:
        session.execute(text("DROP TRIGGER attempt_outputs_frozen_txid"))
        session.execute(text("UPDATE attempt_outputs SET value_sats = value_sats - 1"))
    world.equip(signer=signer)
    world.sync()
    assert "was changed" in view(world).trouble
    assert [a.raw for b in world.snapshot(campaign).batches for a in b.attempts] == [None]


@pytest.mark.parametrize("lie", ["raw of another", "damaged"])
def test_what_the_signer_returns_is_checked_before_it_is_stored(
    lie: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = world.campaign(goal_sats=400_000)
    world.paid(campaign, 400_000)
    honest = SignerClient.sign

    def lying(self: SignerClient, terms: str, account: int, kind: str, tx: UnsignedTx) -> bytes:
        if lie == "damaged":
            return honest(self, terms, account, kind, tx)[:-40] + bytes(40)
        return replace(tx, outputs=(replace(tx.outputs[0], script=b"\x00\x14" + bytes(20)),)).serialize()

    monkeypatch.setattr(SignerClient, "sign", lying)
    world.close(campaign)
    assert "signed another transaction" in view(world).trouble or "read" in view(world).trouble
    assert [a.raw for b in world.snapshot(campaign).batches for a in b.attempts] == [None]
    monkeypatch.undo()
    world.sync()
    world.node.mine()
    world.sync()
    assert world.summary(campaign).state == "released"


def test_only_one_worker_runs_on_a_data_folder(tmp_path: Path) -> None:
    lock = tmp_path / "deep" / "worker.lock"
    with only_one(lock):
        with pytest.raises(WorldError, match="runs here already") as refused, only_one(lock):
            raise AssertionError("a second one began")
        assert not refused.value.retryable
    with only_one(lock):
        pass
