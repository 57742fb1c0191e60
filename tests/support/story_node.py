"""The stories on a real node: fewer rules, for what one cannot make a node do is left out."""

from __future__ import annotations

from pathlib import Path

from crowdfund.chain.backends import AnyBackend
from support.books import template
from support.model import Promise
from support.node import new_address, new_node
from support.nodechain import NodeChain
from support.story import HOUR, Chain, Story

COINS = 40


class NodeStory(Story):
    """A fresh node for each story."""

    def beginning(self) -> tuple[Chain, AnyBackend, Path, list[Promise]]:
        """A node whose bank has many coins, and a database that knows its last blocks and two campaigns."""
        self.node = new_node(self.folder / "node")
        self.node.bank("sendmany", "", {new_address(self.node): "1.5" for _ in range(COINS)})
        self.node.mine()
        chain = NodeChain(self.node)
        self.base = chain.tip.height
        path, promises = template(self.folder, chain.backend, (chain.tip.time + 3 * HOUR, chain.tip.time + 5 * HOUR))
        return chain, chain.backend, path, promises

    def end(self) -> None:
        """And the node ends."""
        self.backend.close()
        self.node.stop()

    def an_eviction(self, which: int) -> None:
        """A node evicts only when its mempool is full."""

    def a_theft(self, which: int, chance: int, mined: bool) -> None:
        """Nobody has the keys."""

    def an_old_branch_again(self, which: int, remember: bool) -> None:
        """Blocks that were declared invalid stay so."""

    def an_interruption(self, moment: str, what: str, number: int) -> None:
        """Nothing comes between the answers of a node that a test cannot hold up."""
