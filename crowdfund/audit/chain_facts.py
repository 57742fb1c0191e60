"""What a node says of a campaign, up to the bundle's last block: coins, what spent them, the closing block.

May ask a node; judges nothing. The node's block filters, where it has them, only say which blocks to read; coins
and spends are found by our own walk through those blocks, each checked against its hash.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from crowdfund.audit.claims import Coin, Outpoint
from crowdfund.chain.blocks import HEADER_SIZE, ParsedTx, merkle_root, parse_block
from crowdfund.chain.core import BAD_PARAMETER, NOT_FOUND, CoreBackend, RpcError
from crowdfund.chain.port import BlockRef
from crowdfund.errors import WorldError
from crowdfund.wallet.amounts import SATS_PER_BTC
from crowdfund.wallet.descriptors import derive_script

GAP = 1_000
REORGANISATION = 100
MEDIAN_OF = 11
HEIGHTS_AT_ONCE = 500
# Beyond this many scripts, reading every block is no slower than matching filters.
MAX_FILTER_SCRIPTS = 50_000
FILTER_WAIT_S = 5.0
FILTER_PAUSE_S = 0.02
BUSY = "already in progress"


@dataclass(frozen=True)
class Spend:
    """A transaction on the chain that spends a coin of the campaign; outputs are (satoshi, script)."""

    height: int
    inputs: tuple[Outpoint, ...]
    outputs: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True)
class ChainFacts:
    """All coins and spends up to the last block asked for; spends by txid; `closing` is (height, hash)."""

    closing: tuple[int, str] | None
    coins: Mapping[Outpoint, Coin]
    spends: Mapping[str, Spend]


@lru_cache(maxsize=20_000)
def _script(descriptor: str, index: int) -> bytes:
    return derive_script(descriptor, index)


def scripts(descriptor: str, count: int) -> dict[bytes, int]:
    """Locking script -> index, for the first `count` addresses. About half a millisecond each."""
    return {_script(descriptor, index): index for index in range(count)}


def block_at(node: CoreBackend, height: int) -> BlockRef | None:
    """The best chain's block, its median time past worked out from eleven headers; None above the tip."""
    if node.block_hash(height) is None:
        return None
    refs = node.block_refs(node.block_hashes(range(max(0, height - MEDIAN_OF + 1), height + 1)))
    times = sorted(ref.time for ref in refs)
    return replace(refs[-1], median_time_past=times[len(times) // 2])


def known_block(node: CoreBackend, block_hash: str) -> BlockRef | None:
    """A block that the node has heard of, on its best chain or not."""
    try:
        return node.block_refs([block_hash])[0]
    except RpcError as error:
        if error.code == NOT_FOUND:
            return None
        raise


def gather(
    node: CoreBackend, descriptor: str, issued: int, deadline_s: int, first_height: int, last_height: int
) -> ChainFacts:
    """Everything from block `first_height` to `last_height`. Raises WorldError where the node cannot answer."""
    count = issued + GAP
    own = scripts(descriptor, count)
    coins: dict[Outpoint, Coin] = {}
    spends: dict[str, Spend] = {}
    for ref in _blocks_to_read(node, descriptor, count, first_height, last_height):
        for tx in _transactions(node, ref):
            _note_spends(tx, ref, coins, spends)
            _note_coins(tx, ref, own, coins)
    return ChainFacts(_closing(node, deadline_s, last_height), coins, spends)


def unspent_at_tip(node: CoreBackend, descriptor: str, issued: int) -> tuple[str, dict[Outpoint, int]]:
    """(hash of the tip, outpoint -> satoshi): the campaign's unspent coins as the node's own set has them."""
    wanted = [f"raw({script.hex()})" for script in scripts(descriptor, issued + GAP)]
    answer = node.call("scantxoutset", "start", wanted)
    unspent = {(str(u["txid"]), int(u["vout"])): int(u["amount"] * SATS_PER_BTC) for u in answer["unspents"]}
    return str(answer["bestblock"]), unspent


def _blocks_to_read(
    node: CoreBackend, descriptor: str, count: int, first_height: int, last_height: int
) -> Iterator[BlockRef]:
    """In order of height: those that the filters point at, or all."""
    if count <= MAX_FILTER_SCRIPTS and _filters_reach(node, last_height):
        hashes = _filtered(node, descriptor, count, first_height, last_height)
        if hashes is not None:
            yield from sorted(node.block_refs(hashes), key=lambda ref: ref.height)
            return
    for start in range(first_height, last_height + 1, HEIGHTS_AT_ONCE):
        part = range(start, min(start + HEIGHTS_AT_ONCE, last_height + 1))
        yield from node.block_refs(node.block_hashes(part))


def _filters_reach(node: CoreBackend, height: int) -> bool:
    """Has the node a filter for each block up to `height`? A block's filter comes a moment after the block."""
    give_up = time.monotonic() + FILTER_WAIT_S
    while True:
        try:
            index = node.call("getindexinfo").get("basic block filter index")
        except RpcError:
            return False
        if index is None or not index["synced"]:
            return False
        if index["best_block_height"] >= height:
            return True
        if time.monotonic() > give_up:
            return False
        time.sleep(FILTER_PAUSE_S)


def _filtered(node: CoreBackend, descriptor: str, count: int, first_height: int, last_height: int) -> list[str] | None:
    """Hashes of the blocks that may hold something of ours; None where the node cannot say."""
    found: list[str] = []
    wanted = [{"desc": descriptor, "range": [0, count - 1]}]
    for start in range(first_height, last_height + 1, HEIGHTS_AT_ONCE):
        stop = min(start + HEIGHTS_AT_ONCE - 1, last_height)
        try:
            answer = node.call("scanblocks", "start", wanted, start, stop, "basic", {"filter_false_positives": True})
        except RpcError as error:
            if error.code == BAD_PARAMETER and BUSY in error.message:
                raise WorldError("The node is busy with another scan; try again when it is done.") from error
            return None
        if not answer.get("completed") or answer["to_height"] != stop:
            return None
        found += answer["relevant_blocks"]
    return found


def _transactions(node: CoreBackend, ref: BlockRef) -> list[ParsedTx]:
    """Of one block, which must be the one asked for, to the last byte of every transaction."""
    raw = node.block(ref.hash)
    try:
        block_hash, _, transactions = parse_block(raw)
    except ValueError as error:
        raise WorldError(f"The node sent a damaged block {ref.hash}: {error}.") from error
    root = raw[36:68][::-1].hex()
    if block_hash != ref.hash or len(raw) <= HEADER_SIZE or merkle_root([tx.txid for tx in transactions]) != root:
        raise WorldError(f"The node sent another block than the one asked for ({ref.hash}).")
    return transactions


def _note_spends(tx: ParsedTx, ref: BlockRef, coins: dict[Outpoint, Coin], spends: dict[str, Spend]) -> None:
    for outpoint in tx.spends:
        if outpoint in coins:
            coins[outpoint] = replace(coins[outpoint], spent_by=tx.txid, spent_height=ref.height)
            spends[tx.txid] = Spend(ref.height, tx.spends, tx.outputs)


def _note_coins(tx: ParsedTx, ref: BlockRef, own: Mapping[bytes, int], coins: dict[Outpoint, Coin]) -> None:
    for vout, (value_sats, script) in enumerate(tx.outputs):
        if script in own:
            coin = Coin(own[script], tx.txid, vout, value_sats, ref.height, ref.hash, tx.coinbase, None, None)
            coins[coin.outpoint] = coin


def _closing(node: CoreBackend, deadline_s: int, last_height: int) -> tuple[int, str] | None:
    """The first block whose median time past is later than the deadline. That time never goes back from block
    to block (consensus asks each block to be later than it), so halving the range finds it."""
    last = block_at(node, last_height)
    if last is None or last.median_time_past <= deadline_s:
        return None
    low, found = 0, last
    while low < found.height:
        middle = block_at(node, (low + found.height) // 2)
        if middle is None:
            raise WorldError("The chain was reorganised while it was read; try again.")
        if middle.median_time_past > deadline_s:
            found = middle
        else:
            low = middle.height + 1
    return found.height, found.hash
