"""A pruned node is enough as long as the worker is never away for longer than the node keeps blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from crowdfund.campaigns.models import ChainView
from crowdfund.chain.core import CoreBackend
from crowdfund.chain.port import Origin
from crowdfund.chain.regtest import RegtestNode
from crowdfund.errors import WorldError
from crowdfund.wallet.blocks import parse_tx
from support.node import new_address, new_node
from support.world import World

WINDOW = 288  # blocks that a pruning node always keeps
BURN = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"  # whose keys nobody here has


@pytest.fixture
def pruning(tmp_path: Path) -> Iterator[RegtestNode]:
    with new_node(tmp_path / "node", "-txindex=0", "-prune=1", "-fastprune") as node:
        yield node


def test_watching_goes_on_within_the_window_and_stops_with_a_sentence_beyond_it(
    pruning: RegtestNode, tmp_path: Path
) -> None:
    with World(pruning, tmp_path) as world:
        pledge = world.pledge(campaign := world.campaign(), 400_000)
        pruning.pay(str(pledge.address), 400_000)
        pruning.rpc("generatetoaddress", WINDOW + 100, new_address(pruning))
        height = int(pruning.rpc("getblockcount"))
        pruning.rpc("pruneblockchain", height - WINDOW)
        gone_below = int(pruning.rpc("getblockchaininfo")["pruneheight"])
        assert gone_below > 110, "some blocks were never read here and are gone"
        with pytest.raises(WorldError, match=r"it is pruned.*getblockfrompeer"):
            world.sync()
        assert world.pledge_state(pledge) == "awaiting" and world.summary(campaign).received_sats == 0


def test_a_pruned_node_that_still_has_what_is_missing(pruning: RegtestNode, tmp_path: Path) -> None:
    with World(pruning, tmp_path) as world:
        pruning.rpc("generatetoaddress", WINDOW + 200, new_address(pruning))
        world.sync()
        pruning.rpc("pruneblockchain", int(pruning.rpc("getblockcount")) - WINDOW)
        pledge = world.pledge(world.campaign(), 400_000)
        pruning.pay(str(pledge.address), 400_000)
        pruning.mine(3)
        world.worker = world.new_worker()
        world.sync()
        assert world.pledge_state(pledge) == "confirmed"
        with world.database.reading() as session:
            assert session.get_one(ChainView, 1).state == "live"


def test_of_what_a_deleted_block_made_only_the_script_is_known(pruning: RegtestNode) -> None:
    """As of the coin that a creator cancels with: the cancellation is found, and not held up for ever."""
    pruning.rpc("generatetoaddress", WINDOW + 200, BURN)
    txid = pruning.pay(new_address(pruning), 50_000)
    (block,) = pruning.mine()
    pruning.rpc("pruneblockchain", int(pruning.rpc("getblockcount")) - WINDOW)
    told = pruning.rpc("getrawtransaction", txid, 2, block)
    before = told["vin"][0]["prevout"]
    assert before["height"] < int(pruning.rpc("getblockchaininfo")["pruneheight"])
    with closing(CoreBackend(pruning.rpc_url, pruning.cookie_file)) as backend:
        script = bytes.fromhex(before["scriptPubKey"]["hex"])
        assert backend.origin(parse_tx(bytes.fromhex(told["hex"])), block, script) == Origin(None)
