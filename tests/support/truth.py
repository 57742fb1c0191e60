"""What the chain holds for our addresses, the slow and obvious way: every block and the mempool, in JSON.

The watcher is compared with this, whatever backend it looks through; nothing here is the watcher's own code.
"""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

from sqlalchemy import or_, select

from crowdfund.campaigns.models import Block, Coin, Pledge
from crowdfund.chain.regtest import RegtestNode
from crowdfund.errors import WorldError
from support import ledger
from support.world import World

Coins = dict[tuple[str, int], tuple[int, int | None, str | None]]
"""Outpoint -> (satoshi, height or None while unconfirmed, txid of the spender in a block)."""

PATIENCE_S = 20
_BLOCKS: dict[str, Any] = {}


def truth(node: RegtestNode, scripts: set[str]) -> Coins:
    """The coins at `scripts` (hex) as the node's chain and mempool have them now."""
    coins: Coins = {}
    for block in _chain(node):
        for tx in block["tx"]:
            _take(tx, block["height"], scripts, coins)
    for txid in node.rpc("getrawmempool"):
        _take(node.rpc("getrawtransaction", txid, True), None, scripts, coins)
    return coins


def recorded(world: World) -> Coins:
    """The coins that the books show as being there."""
    with world.database.reading() as session:
        there = session.scalars(select(Coin).where(or_(Coin.height.is_not(None), Coin.in_mempool)))
        return {(c.txid, c.vout): (c.value_sats, c.height, c.spent_by) for c in there}


def even(world: World) -> None:
    """Let the worker look until its books are the truth; fails with both if that never happens."""
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            world.sync()
            trouble = ""
        except WorldError as error:
            trouble = error.sentence
        books, facts = (_tip(world), recorded(world)), (_best(world.node), truth(world.node, _scripts(world)))
        if books == facts:
            ledger.holds(world.database)
            there = sum(sats for sats, height, spender in facts[1].values() if height is not None and spender is None)
            assert ledger.lying(world.database) == there
            return
        assert time.monotonic() < give_up, f"the books {books} are not the chain {facts} {trouble}"
        time.sleep(0.05)


def _take(tx: Any, height: int | None, scripts: set[str], coins: Coins) -> None:
    for spent in tx["vin"]:
        outpoint = (spent.get("txid", ""), spent.get("vout", 0))
        if outpoint in coins and height is not None:
            coins[outpoint] = (*coins[outpoint][:2], tx["txid"])
    for output in tx["vout"]:
        if output["scriptPubKey"]["hex"] in scripts:
            coins[(tx["txid"], output["n"])] = (int(Decimal(output["value"]) * 100_000_000), height, None)


def _chain(node: RegtestNode) -> list[Any]:
    """Every block of the best chain but the first, from below; found from the tip back, by the hash that each names."""
    found: list[Any] = []
    block = _block(node, _best(node))
    while block["height"]:
        found.append(block)
        block = _block(node, block["previousblockhash"])
    return found[::-1]


def _block(node: RegtestNode, block_hash: str) -> Any:
    if block_hash not in _BLOCKS:
        _BLOCKS[block_hash] = node.rpc("getblock", block_hash, 2)
    return _BLOCKS[block_hash]


def _scripts(world: World) -> set[str]:
    with world.database.reading() as session:
        return {s.hex() for s in session.scalars(select(Pledge.script).where(Pledge.script.is_not(None))) if s}


def _tip(world: World) -> str | None:
    with world.database.reading() as session:
        return session.scalar(select(Block.hash).order_by(Block.height.desc()).limit(1))


def _best(node: RegtestNode) -> str:
    return str(node.rpc("getbestblockhash"))
