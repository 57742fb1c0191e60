"""The world fails in the middle of a settlement: answers get lost, mempools are wiped, chains are rewritten.

"I do not see my transaction" never means "I did not pay": whatever happens, the bytes that were stored are sent again,
and no second plan is ever made.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from crowdfund.campaigns.figures import Keeper
from crowdfund.campaigns.ledger import Bucket
from crowdfund.chain.core import CoreBackend
from crowdfund.chain.regtest import RegtestNode
from crowdfund.db import Database
from support.node import new_address, new_node
from support.world import World

FORGETFUL = ("-persistmempool=0", "-walletbroadcast=0")


class _LosingHandler(BaseHTTPRequestHandler):
    """Passes a request on; the answer to a broadcast gets lost while there are losses left."""

    protocol_version = "HTTP/1.1"
    server: LosingProxy

    def do_POST(self) -> None:
        self._pass_on(self.rfile.read(int(self.headers["Content-Length"])))

    def do_GET(self) -> None:
        self._pass_on(None)

    def _pass_on(self, body: bytes | None) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.node_port, timeout=30)
        headers = {"Authorization": self.headers["Authorization"]}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if body is not None and b"sendrawtransaction" in body:
            self.server.broadcasts += 1
            if self.server.broadcasts <= self.server.losses:
                self.close_connection = True
                return
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class LosingProxy(ThreadingHTTPServer):
    """The node, at the end of a line that loses the answers to the first so many broadcasts."""

    daemon_threads = True

    def __init__(self, node: RegtestNode, losses: int) -> None:
        super().__init__(("127.0.0.1", 0), _LosingHandler)
        self.node_port = int(node.rpc_url.rpartition(":")[2])
        self.losses, self.broadcasts = losses, 0
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def own_node(tmp_path: Path) -> Iterator[RegtestNode]:
    """A node that a test may rewind."""
    with new_node(tmp_path / "own") as node:
        yield node


@pytest.fixture
def own_world(own_node: RegtestNode, tmp_path: Path) -> Iterator[World]:
    with World(own_node, tmp_path / "house") as world:
        yield world


def funded(world: World) -> str:
    """A campaign that has reached its goal, before its deadline."""
    campaign = world.campaign(goal_sats=200_000)
    world.paid(campaign, 150_000)
    world.paid(campaign, 100_000)
    return campaign


def attempt(world: World, campaign: str) -> tuple[str, bytes | None]:
    """Txid and bytes of the only attempt there ever was."""
    (batch,) = world.snapshot(campaign).batches
    (only,) = batch.attempts
    return only.txid, only.raw


def mempool(world: World) -> list[str]:
    """What the node holds unconfirmed."""
    return list(world.node.rpc("getrawmempool"))


def released(world: World, campaign: str) -> None:
    """Mine, look, and find the payout where it belongs, once."""
    txid, raw = attempt(world, campaign)
    world.node.mine()
    world.sync()
    summary = world.summary(campaign)
    assert summary.state == "released"
    assert attempt(world, campaign) == (txid, raw)
    terms = world.snapshot(campaign).terms
    assert terms is not None
    paid_sats = world.node.bank("getreceivedbyaddress", terms.payout_address) * 100_000_000
    assert paid_sats == summary.buckets[Bucket.PAID_OUT] == 250_000 - summary.buckets[Bucket.MINER_FEE]


def restarted(world: World) -> None:
    """The node again, with nothing in its mempool and a wallet that keeps still."""
    world.node.stop()
    world.node = new_node(world.node.data_dir, *FORGETFUL, funded=False)
    assert mempool(world) == []


@pytest.mark.parametrize("losses", [1, 2, 3])
def test_the_answer_to_a_broadcast_is_lost(world: World, losses: int) -> None:
    """Once: the connection asks again by itself. Twice: the worker does, at its next round. Thrice: once more so."""
    campaign = funded(world)
    proxy = LosingProxy(world.node, losses)
    line = CoreBackend(proxy.url, world.node.cookie_file)
    world.equip(backend=line)
    try:
        world.close(campaign)
        assert mempool(world) == [attempt(world, campaign)[0]]
        world.sync()
        assert proxy.broadcasts > losses
    finally:
        line.close()
        proxy.shutdown()
        proxy.server_close()
    world.worker = world.new_worker()
    released(world, campaign)


@pytest.mark.parametrize("restart_worker", [False, True])
def test_the_mempool_is_wiped(own_world: World, restart_worker: bool) -> None:
    """A worker just started sends at once, one that goes on sends at the next block: the same bytes."""
    campaign = funded(own_world)
    own_world.close(campaign)
    txid, raw = attempt(own_world, campaign)
    assert mempool(own_world) == [txid]
    restarted(own_world)
    if restart_worker:
        own_world.worker = own_world.new_worker()
    else:
        own_world.node.mine()
    own_world.sync()
    assert mempool(own_world) == [txid]
    assert attempt(own_world, campaign) == (txid, raw)
    released(own_world, campaign)


def test_a_reorganisation_takes_a_pledges_block_away(own_world: World) -> None:
    """The inputs are missing: nothing is planned anew; when the coin is back, the same bytes go out and confirm."""
    world, node = own_world, own_world.node
    campaign = world.campaign(goal_sats=200_000)
    world.paid(campaign, 150_000)
    terms = world.snapshot(campaign).terms
    assert terms is not None
    node.rpc("setmocktime", int(terms.deadline.timestamp()) + 2)
    node.rpc("generatetoaddress", 3, new_address(node))  # the median of eleven is not past the deadline yet
    late_but_in_time = node.pay(str(world.pledge(campaign, 100_000).address), 100_000)
    payment = node.rpc("getrawtransaction", late_but_in_time)
    (pledge_block,) = node.rpc("generatetoaddress", 1, new_address(node))
    world.close(campaign)
    txid, raw = attempt(world, campaign)
    assert world.summary(campaign).counted_sats == 250_000
    height = node.rpc("getblockcount")

    node.rpc("invalidateblock", pledge_block)
    restarted(world)
    node = world.node
    node.rpc("setmocktime", int(terms.deadline.timestamp()) + 9)
    while node.rpc("getblockcount") <= height + 1:
        node.rpc("generatetoaddress", 1, new_address(node))
    world.sync()
    (batch,) = world.snapshot(campaign).batches
    assert world.snapshot(campaign).batch_state(batch) == "input lost"
    assert "missing" in str(batch.attempts[-1].refusal)
    assert mempool(world) == []
    assert attempt(world, campaign) == (txid, raw)

    node.rpc("sendrawtransaction", payment)
    node.rpc("generatetoaddress", 1, new_address(node))
    world.sync()
    assert mempool(world) == [txid]
    released(world, campaign)


def test_a_reorganisation_takes_the_payouts_block_away(own_world: World) -> None:
    """Unconfirmed again, it is sent again; the sums follow the chain back and forth."""
    campaign = funded(own_world)
    own_world.close(campaign)
    txid, raw = attempt(own_world, campaign)
    for _ in range(2):
        (block,) = own_world.node.mine()
        own_world.sync()
        assert own_world.summary(campaign).state == "released"
        own_world.node.rpc("invalidateblock", block)
        own_world.node.rpc("generateblock", new_address(own_world.node), [])
        own_world.sync()
        assert own_world.summary(campaign).buckets[Bucket.IN_SETTLEMENT] == 250_000
        assert own_world.summary(campaign).state == "releasing"
    assert attempt(own_world, campaign) == (txid, raw)
    released(own_world, campaign)


def test_a_late_coin_comes_while_the_payout_waits(world: World) -> None:
    """Only the late coin is planned; what is planned already stays as it is, however long it takes."""
    campaign = funded(world)
    world.close(campaign)
    first = attempt(world, campaign)
    pledge = world.snapshot(campaign).pledges[0]
    late = world.node.pay(str(pledge.address), 50_000)
    world.node.rpc("generateblock", new_address(world.node), [late])
    world.sync()
    release, refund = world.snapshot(campaign).batches
    assert [(a.txid, a.raw) for a in release.attempts] == [first]
    assert [i.coin.txid for i in refund.inputs] == [late]
    assert sorted(mempool(world)) == sorted([first[0], refund.attempts[0].txid])
    world.node.mine()
    world.sync()
    sums = world.summary(campaign).buckets
    assert sums[Bucket.PAID_OUT] + sums[Bucket.REFUNDED] + sums[Bucket.MINER_FEE] == 300_000
    assert world.node.bank("getreceivedbyaddress", pledge.refund_address) * 100_000_000 == sums[Bucket.REFUNDED]


@pytest.mark.parametrize("mined", [False, True])
def test_an_old_backup_pays_nobody_twice(world: World, mined: bool) -> None:
    """The database of yesterday knows of no settlement. What it plans anew spends the same coins and takes the place of
    the first; where the chain shows that one, all halts."""
    campaign = funded(world)
    world.database.close()
    old = (world.folder / "crowdfund.sqlite").read_bytes()
    world.close(campaign)
    txid, _ = attempt(world, campaign)
    if mined:
        world.node.mine()
    world.database.close()
    (world.folder / "crowdfund.sqlite").write_bytes(old)
    world.database = Database(world.settings.database_url)
    world.worker = world.new_worker()
    world.node.rpc("generateblock", new_address(world.node), [])  # a later tip: a plan of now would be another one
    world.sync()
    with world.database.reading() as session:
        trouble = session.connection().exec_driver_sql("SELECT trouble FROM chain_view").scalar_one()
    assert ("not ours" in trouble) is mined
    anew = mempool(world)
    assert len(anew) == (0 if mined else 1) and txid not in anew
    world.node.mine()
    world.sync()
    assert mempool(world) == []
    if not mined:
        assert world.summary(campaign).state == "released"


def test_a_list_that_cannot_be_made_keeps_nobody_from_being_paid(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = world.campaign(goal_sats=100_000)
    world.paid(campaign, 200_000)

    def broken(*_: object) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(Keeper, "keep", broken)
    terms = world.snapshot(campaign).terms
    assert terms is not None
    world.node.jump_to(int(terms.deadline.timestamp()) + 1)
    for _ in range(20):
        with suppress(ZeroDivisionError):
            world.worker.round()
        if world.summary(campaign).state == "released":
            break
        world.node.mine()
    assert world.summary(campaign).state == "released"
