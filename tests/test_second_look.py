"""Whoever looks at the chain for the first time, with the same promises and plans, knows what the first one knows.

The second database holds what people and the worker put there (accounts, campaigns, pledges, decisions, plans), and
nothing that was watched: no block, no coin. What it then reads of the chain must make the same bundles, byte by byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crowdfund.audit.bundle import build_bundle, bundle_json
from crowdfund.campaigns import queries
from crowdfund.campaigns.checking import catch_up
from crowdfund.campaigns.models import (
    Account,
    Campaign,
    Creator,
    DecisionRow,
    Pledge,
)
from crowdfund.chain.backends import AnyBackend, watched_backend
from crowdfund.chain.follow import FIRST_BLOCKS
from crowdfund.chain.regtest import RegtestNode
from crowdfund.config import Settings
from crowdfund.db import Database
from crowdfund.projects.models import Project
from crowdfund.worker import Worker
from support import fresh
from support.books import MuteSigner
from support.copying import copy_plans, copy_rows
from support.node import new_address, new_node
from support.servers import server_settings
from support.world import DAY, World

PROMISES = (Creator, Account, Project, Campaign, Pledge, DecisionRow)


class SecondLook:
    """A database of its own with the first one's promises, decisions and plans, and a worker that knows no block."""

    def __init__(self, world: World, path: Path, backend: AnyBackend) -> None:
        self._world = world
        self.database = fresh.database(f"sqlite:///{path}")
        self._worker = Worker(self.database, backend, MuteSigner(), "regtest")
        with world.database.reading() as source, self.database.transaction() as target:
            copy_rows(source, target, PROMISES)

    def look(self) -> None:
        """Follow from nothing, then take in the plans: they name coins, which must be there by then."""
        while self._worker.watch(self._worker.backend.status()) is not False:
            pass
        with self._world.database.reading() as source, self.database.transaction() as target:
            copy_plans(source, target)
        catch_up(self.database)

    def bundles(self) -> dict[str, str]:
        """Campaign -> its bundle's text."""
        return bundles(self.database)


def bundles(database: Database) -> dict[str, str]:
    """Campaign -> its bundle's text, for all that are published."""
    with database.reading() as session:
        found = [s.campaign.id for s in queries.published(session)]
        return {name: bundle_json(build_bundle(queries.load(session, name), "regtest")) for name in found}


def block(node: RegtestNode, *txids: str) -> str:
    """A block with these transactions alone."""
    return str(node.rpc("generateblock", new_address(node), list(txids))["hash"])


def pay(world: World, campaign: str, promised: int, sats: int) -> str:
    """A pledge and its payment, unconfirmed; the txid."""
    return world.node.pay(str(world.pledge(campaign, promised).address), sats)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An installation that has seen much: campaigns funded and paid out, failed and refunded, one of them open and
    with every kind of coin, after two reorganisations."""
    folder = tmp_path_factory.mktemp("lived")
    with new_node(folder / "node") as node, World(node, folder / "world") as world:
        world.sync()
        funded, failed, late = (world.campaign(goal_sats=g, title=f"To {g}") for g in (100_000, 900_000, 20_000))
        still_open = world.campaign(goal_sats=5_000_000, deadline_at=world.chain_now() + 60 * DAY)
        world.paid(funded, 150_000)
        world.paid(failed, 70_000)
        behind = world.pledge(late, 30_000)
        for promised, sats in ((50_000, 49_999), (50_000, 50_001), (50_000, 999), (20_000, 20_000)):
            pay(world, still_open, promised, sats)
        reorganise(world, still_open)
        for campaign in (funded, failed, late):
            world.close(campaign)
        world.node.pay(str(behind.address), 30_000)
        world.node.mine(FIRST_BLOCKS + 20)
        world.sync()
        world.node.rpc("generatetoaddress", 1, str(world.pledge(still_open, 50_000).address))
        pay(world, still_open, 80_000, 80_000)
        world.sync()
        states = {name: str(world.summary(name).state) for name in (funded, failed, late, still_open)}
        assert list(states.values()) == ["released", "refunded", "refunded", "open"]
        yield world


def reorganise(world: World, campaign: str) -> None:
    """One payment loses its block for good, one gets another block, one comes with the new branch."""
    gone, moved = (pay(world, campaign, 10_000, 10_000 + n) for n in (1, 2))
    waiting = [txid for txid in world.node.rpc("getrawmempool") if txid != gone]
    first = block(world.node, gone, *waiting)
    world.sync()
    world.node.rpc("invalidateblock", first)
    block(world.node)
    world.sync()
    block(world.node, *waiting)
    world.node.rpc("prioritisetransaction", gone, 0, -10_000_000)
    world.node.mine(2)
    world.sync()
    assert gone in world.node.rpc("getrawmempool") and moved in waiting


@pytest.mark.parametrize("kind", ["core", "electrum", "esplora"])
def test_who_looks_for_the_first_time_makes_the_same_bundles(lived: World, kind: str, tmp_path: Path) -> None:
    with server_settings(lived.node, tmp_path, kind) as settings:
        named = {f"CROWDFUND_{name}": value for name, value in settings.items()}
        backend = watched_backend(Settings.from_env(lived.settings.to_env() | named))
        second = SecondLook(lived, tmp_path / "second.sqlite", backend)
        second.look()
        assert second.bundles() == bundles(lived.database)
        assert len(second.bundles()) == 4
        backend.close()
        second.database.close()
