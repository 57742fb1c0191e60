"""A decision needs two backends that agree; whatever the second one does, everything else goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from crowdfund.campaigns.models import ChainView, Incident
from crowdfund.chain.backends import watched_backend
from crowdfund.chain.core import CoreBackend
from crowdfund.chain.port import ChainBackend
from crowdfund.chain.regtest import RegtestNode
from crowdfund.config import Settings
from crowdfund.wallet.signer_client import SignerClient
from crowdfund.worker import Worker
from support.node import new_address, new_node
from support.servers import server_settings
from support.world import DAY, World

PATIENCE_S = 20
KINDS = ("core", "electrum", "esplora")


class Pair:
    """A world on one node, whose worker must have the agreement of another node, or of a server on top of it."""

    def __init__(self, world: World, other: RegtestNode, second: ChainBackend, servers: ExitStack) -> None:
        self.world, self.other, self.second, self.servers = world, other, second, servers
        self.restart()

    def restart(self) -> None:
        """A worker without memory."""
        signer = SignerClient(self.world.settings.signer_socket)
        self.world.worker = Worker(self.world.database, self.world.backend, signer, "regtest", self.second, 0)

    def share(self) -> None:
        """Each node gets the blocks that it lacks, and keeps the longest branch."""
        share(self.world.node, self.other)

    def due(self, sats: int = 400_000) -> str:
        """A campaign that is funded; both nodes know all its blocks but the closing one."""
        campaign = self.world.campaign(goal_sats=400_000)
        self.world.paid(campaign, sats)
        self.share()
        return campaign

    def close(self, campaign: str, *nodes: RegtestNode) -> None:
        """The deadline passes on these nodes, each with blocks of its own."""
        terms = self.world.snapshot(campaign).terms
        assert terms is not None
        for node in nodes:
            node.jump_to(int(terms.deadline.timestamp()) + 1)

    @property
    def pause(self) -> str:
        """Why decisions wait, as everyone reads it."""
        with self.world.database.reading() as session:
            return session.get_one(ChainView, 1).pause

    def disputes(self) -> list[tuple[str | None, bool]]:
        """(campaign, has it ended?) of each dispute that was told."""
        with self.world.database.reading() as session:
            found = session.scalars(select(Incident).where(Incident.kind == "disagreement").order_by(Incident.id))
            return [(incident.campaign_id, incident.ended_at is not None) for incident in found]

    def waits(self, campaign: str, words: str) -> None:
        """The decision waits for this reason, however often it is asked for."""
        until(lambda: words in self._looked())
        for _ in range(3):
            self.world.node.rpc("generateblock", new_address(self.world.node), [])
            assert words in self._looked()
        snapshot = self.world.snapshot(campaign)
        assert snapshot.decision is None and not snapshot.batches
        assert self.world.summary(campaign).state == "closing"

    def decided(self, campaign: str, outcome: str = "funded") -> None:
        """Sooner or later it is decided, and nothing waits any more."""
        until(lambda: self._looked() == "" and self.world.snapshot(campaign).outcome == outcome)
        assert all(ended for _, ended in self.disputes())

    def _looked(self) -> str:
        self.world.sync()
        return self.pause


def share(node: RegtestNode, other: RegtestNode) -> None:
    """Each node gets the blocks that it lacks; both have one clock."""
    clock = max(each.node_time() for each in (node, other))
    for each in (node, other):
        each.rpc("setmocktime", clock)
    branches = [branch(node), branch(other)]
    common = next((n for n, pair in enumerate(zip(*branches, strict=False)) if pair[0] != pair[1]), None)
    start = min(map(len, branches)) if common is None else common
    for source, target, hashes in ((node, other, branches[0]), (other, node, branches[1])):
        for found in hashes[start:]:
            assert target.rpc("submitblock", source.rpc("getblock", found, 0)) in (None, "inconclusive", "duplicate")


def branch(node: RegtestNode) -> list[str]:
    """The hashes of all blocks."""
    backend = CoreBackend(node.rpc_url, node.cookie_file)
    try:
        return backend.block_hashes(range(int(node.rpc("getblockcount")) + 1))
    finally:
        backend.close()


def until(ready: Callable[[], bool]) -> None:
    """A server on top of a node learns of blocks a moment later."""
    give_up = time.monotonic() + PATIENCE_S
    while not ready():
        assert time.monotonic() < give_up, "it does not come about"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def other(node: RegtestNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegtestNode]:
    """The other node. Both nodes end each test on one chain."""
    with new_node(tmp_path_factory.mktemp("other"), funded=False) as running:
        yield running


@pytest.fixture
def kind() -> str:
    """The kind of the second backend, unless a test names others: what is decided does not depend on it."""
    return "core"


@pytest.fixture
def pair(world: World, other: RegtestNode, tmp_path: Path, kind: str) -> Iterator[Pair]:
    """The world with a second backend of this kind over the other node."""
    share(world.node, other)
    with ExitStack() as stack:
        if kind == "core":
            second: ChainBackend = CoreBackend(other.rpc_url, other.cookie_file)
        else:
            found = stack.enter_context(server_settings(other, tmp_path / "server", kind))
            named = {f"CROWDFUND_{name}": value for name, value in found.items()}
            second = watched_backend(Settings.from_env(world.settings.to_env() | named))
        stack.callback(second.close)
        yield Pair(world, other, second, stack)
    world.node.mine(20)  # whatever branch there was, this one wins
    share(world.node, other)
    assert world.node.rpc("getbestblockhash") == other.rpc("getbestblockhash")


@pytest.mark.parametrize("kind", KINDS)
def test_they_agree(pair: Pair) -> None:
    campaign = pair.due()
    pair.close(campaign, pair.world.node)
    pair.share()
    pair.decided(campaign)
    assert pair.disputes() == []


@pytest.mark.parametrize("restart", [False, True], ids=["one worker", "a new worker"])
def test_another_closing_block_is_told_once_and_all_else_goes_on(pair: Pair, restart: bool) -> None:
    world = pair.world
    ended = world.campaign(goal_sats=900_000, deadline_at=world.chain_now() + DAY)
    late = world.pledge(ended, 50_000)
    world.paid(ended, 60_000)
    pair.close(ended, world.node)
    pair.share()
    pair.decided(ended, "failed")
    campaign = pair.due()
    pair.close(campaign, world.node, pair.other)
    pair.waits(campaign, "has another block")
    assert pair.disputes() == [(campaign, False)]
    if restart:
        pair.restart()
        pair.waits(campaign, "has another block")
        assert pair.disputes() == [(campaign, False)]
    still_open = world.campaign(deadline_at=world.chain_now() + 9 * DAY)
    pledge = world.paid(still_open, 70_000)
    assert world.pledge_state(pledge) == "confirmed" and "has another block" in pair.pause
    world.node.pay(str(late.address), 50_000)
    world.node.mine()
    world.sync()
    assert world.pledge_state(late) == "in_settlement", "what is decided is paid"
    world.node.mine()
    world.sync()
    assert world.pledge_state(late) == "refunded" and world.snapshot(campaign).decision is None
    pair.share()
    pair.decided(campaign)
    assert pair.disputes() == [(campaign, True)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_other_branch_wins(pair: Pair) -> None:
    """The watched node was the one in error: the outcome follows from the branch that both have in the end."""
    campaign = pair.due()
    pair.close(campaign, pair.world.node, pair.other)
    pair.waits(campaign, "has another block")
    pair.other.rpc("generatetoaddress", 20, new_address(pair.world.node))
    pair.share()
    pair.decided(campaign)
    assert pair.disputes() == [(campaign, True)]
    decision = pair.world.snapshot(campaign).decision
    assert decision is not None
    assert decision.closing_hash == pair.other.rpc("getblockhash", decision.closing_height)


def test_a_second_one_that_is_behind(pair: Pair) -> None:
    campaign = pair.due()
    pair.close(campaign, pair.world.node)
    pair.waits(campaign, "has seen block")
    pair.restart()
    pair.waits(campaign, "has seen block")
    assert pair.disputes() == [], "late is no lie"
    pair.share()
    pair.decided(campaign)


def test_a_second_one_on_another_network(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = pair.due()
    pair.close(campaign, pair.world.node)
    pair.share()
    honest = pair.second.status
    monkeypatch.setattr(pair.second, "status", lambda: replace(honest(), genesis_hash="00" * 32))
    pair.waits(campaign, "waits for a second opinion")
    with pair.world.database.reading() as session:
        assert "is not on regtest: its first block is another" in session.get_one(ChainView, 1).trouble
    monkeypatch.undo()
    pair.share()
    pair.decided(campaign)
    assert pair.disputes() == []


@pytest.mark.parametrize("kind", ["electrum", "esplora"])
def test_a_second_server_that_is_away(pair: Pair) -> None:
    campaign = pair.due()
    pair.close(campaign, pair.world.node)
    pair.share()
    pair.servers.close()
    pair.waits(campaign, "waits for a second opinion")
    assert pair.disputes() == [], "who is away contradicts nobody"
    pair.second = CoreBackend(pair.other.rpc_url, pair.other.cookie_file)
    pair.restart()
    pair.decided(campaign)
    pair.second.close()


def test_a_second_node_that_is_away_and_comes_back(world: World, tmp_path: Path) -> None:
    with new_node(tmp_path / "second", funded=False) as other:
        second = CoreBackend(other.rpc_url, other.cookie_file)
        pair = Pair(world, other, second, ExitStack())
        share(world.node, other)
        campaign = pair.due()
        other.stop()
        pair.close(campaign, world.node)
        pair.waits(campaign, "waits for a second opinion")
        pair.restart()
        pair.waits(campaign, "waits for a second opinion")
        assert pair.disputes() == []
        second.close()
    with new_node(tmp_path / "second", funded=False) as pair.other:
        pair.second = CoreBackend(pair.other.rpc_url, pair.other.cookie_file)
        pair.restart()
        pair.share()
        pair.decided(campaign)
        pair.second.close()
