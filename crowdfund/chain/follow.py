"""Following the chain: gather everything, compare, hand over one value to be written at once.

May ask a backend and compare; may not write. The order is what makes it right: first the raw blocks and
transactions are fetched, and only then the set of watched scripts is read, so that an address given out a moment
ago cannot be paid unseen; and if the tip moved meanwhile, the gathering starts over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from crowdfund.chain.blocks import MERKLE_ROOT, ParsedTx, merkle_root, parse_block, parse_tx
from crowdfund.chain.port import BlockRef, ChainBackend, NodeStatus
from crowdfund.errors import WorldError

MAX_BLOCKS_AT_ONCE = 100
# Blocks recorded at the very first look, so that a reorganisation right afterwards finds a common ancestor.
FIRST_BLOCKS = 100


class Watch(Protocol):
    """What is looked for. Asked once for everything that was fetched, after the fetching."""

    def scripts_among(self, scripts: Collection[bytes]) -> set[bytes]:
        """Those of `scripts` that are locking scripts of ours."""

    def coins_among(self, outpoints: Collection[tuple[str, int]]) -> set[tuple[str, int]]:
        """Those of `outpoints` that are recorded coins of ours."""


class KnownChain(Protocol):
    """The blocks already recorded."""

    def tip(self) -> BlockRef | None:
        """The last recorded block."""

    def hash_at(self, height: int) -> str | None:
        """The recorded block's hash at `height`."""


@dataclass(frozen=True)
class FoundCoin:
    """An output that pays one of our scripts."""

    txid: str
    vout: int
    value_sats: int
    script: bytes
    coinbase: bool


@dataclass(frozen=True)
class FoundSpend:
    """A transaction that spends one of our coins."""

    txid: str
    vout: int
    spent_by: str


@dataclass(frozen=True)
class BlockFacts:
    """What one block holds for us."""

    block: BlockRef
    coins: tuple[FoundCoin, ...]
    spends: tuple[FoundSpend, ...]


@dataclass(frozen=True)
class Changes:
    """Everything between the recorded state and the chain as it was at one moment.

    `fork_height` is the last recorded block that still holds, None if there was none or none was lost.
    `complete` is False while more blocks wait (catching up); the mempool was not looked at then.
    """

    fork_height: int | None
    blocks: tuple[BlockFacts, ...]
    mempool_coins: tuple[FoundCoin, ...]
    mempool_txids: frozenset[str] = field(repr=False)
    tip_height: int
    complete: bool


class Follower:
    """Remembers which unconfirmed transactions it has already looked at; everything else is in the records."""

    def __init__(self, backend: ChainBackend) -> None:
        self._backend = backend
        self._looked_at: set[str] = set()

    def gather(self, status: NodeStatus, known: KnownChain, watch: Watch) -> Changes | None:
        """All changes from `known` to the tip in `status`, or None if the chain moved since (ask and call again).

        Raises WorldError where the node cannot answer.
        """
        ancestor = self._common_ancestor(known)
        first = max(0, status.height - FIRST_BLOCKS + 1) if ancestor is None else ancestor + 1
        last = min(status.height, first + MAX_BLOCKS_AT_ONCE - 1)
        raw_blocks = self._fetch_blocks(first, last)
        complete = last == status.height
        txids = frozenset(self._backend.mempool_txids()) if complete else frozenset()
        fresh = self._fetch_unseen(txids)
        if self._has_moved(status, complete) or not _linked(raw_blocks, known, ancestor):
            return None
        # Our scripts and coins are asked for after the fetching, never before: see the module's first lines.
        facts = _block_facts(raw_blocks, watch)
        coins = tuple(_coins_in(fresh.values(), watch.scripts_among(_scripts(fresh.values()))))
        self._looked_at = (self._looked_at & txids) | fresh.keys()
        recorded = known.tip()
        lost = recorded is not None and ancestor is not None and ancestor < recorded.height
        return Changes(ancestor if lost else None, facts, coins, txids, status.height, complete)

    def forget_mempool(self) -> None:
        """Look at every unconfirmed transaction again, after a failed write or a reconnection."""
        self._looked_at.clear()

    def _common_ancestor(self, known: KnownChain) -> int | None:
        """Walk back by hash to the last recorded block that the node's best chain still holds."""
        recorded = known.tip()
        if recorded is None:
            return None
        height = recorded.height
        while (stored := known.hash_at(height)) is not None:
            if self._backend.block_hash(height) == stored:
                return height
            height -= 1
        raise WorldError(
            "The node's chain shares no block with the recorded one: is it another chain? Nothing is decided.",
            retryable=True,
        )

    def _has_moved(self, status: NodeStatus, complete: bool) -> bool:
        """Is the tip another by now? A block on top matters too: its transactions have left the mempool."""
        if self._backend.block_hash(status.height) != status.tip_hash:
            return True
        return complete and self._backend.block_hash(status.height + 1) is not None

    def _fetch_blocks(self, first: int, last: int) -> list[tuple[BlockRef, list[ParsedTx]]]:
        hashes = [self._backend.block_hash(height) for height in range(first, last + 1)]
        refs = self._backend.block_refs([h for h in hashes if h is not None])
        return [(ref, _checked_transactions(ref, self._backend.block(ref.hash))) for ref in refs]

    def _fetch_unseen(self, txids: frozenset[str]) -> dict[str, ParsedTx]:
        unseen = sorted(txids - self._looked_at)
        raw = self._backend.mempool_transactions(unseen) if unseen else {}
        return {txid: _checked_transaction(txid, data) for txid, data in raw.items()}


def _checked_transactions(ref: BlockRef, raw: bytes) -> list[ParsedTx]:
    try:
        block_hash, prev_hash, transactions = parse_block(raw)
    except ValueError as error:
        raise WorldError(f"The node sent a damaged block {ref.hash}: {error}.") from error
    if (block_hash, prev_hash) != (ref.hash, ref.prev_hash or prev_hash):
        raise WorldError(f"The node sent another block than the one asked for ({ref.hash}).")
    if merkle_root([tx.txid for tx in transactions]) != raw[MERKLE_ROOT][::-1].hex():
        raise WorldError(f"The node sent a damaged block {ref.hash}: its transactions are not those of its header.")
    return transactions


def _checked_transaction(txid: str, raw: bytes) -> ParsedTx:
    try:
        tx = parse_tx(raw)
    except ValueError as error:
        raise WorldError(f"The node sent a damaged transaction {txid}: {error}.") from error
    if tx.txid != txid:
        raise WorldError(f"The node sent another transaction than the one asked for ({txid}).")
    return tx


def _linked(blocks: list[tuple[BlockRef, list[ParsedTx]]], known: KnownChain, ancestor: int | None) -> bool:
    """Do the fetched blocks follow each other and the common ancestor, without a gap?"""
    previous = known.hash_at(ancestor) if ancestor is not None else None
    for ref, _ in blocks:
        if previous is not None and ref.prev_hash != previous:
            return False
        previous = ref.hash
    return True


def _block_facts(blocks: Sequence[tuple[BlockRef, list[ParsedTx]]], watch: Watch) -> tuple[BlockFacts, ...]:
    """Coins and spends block by block; a coin found here may be spent in the same or a later one of them."""
    transactions = [tx for _, part in blocks for tx in part]
    scripts = watch.scripts_among(_scripts(transactions))
    ours = watch.coins_among({outpoint for tx in transactions for outpoint in tx.spends})
    facts = []
    for ref, part in blocks:
        coins = tuple(_coins_in(part, scripts))
        ours |= {(coin.txid, coin.vout) for coin in coins}
        spends = tuple(FoundSpend(*outpoint, tx.txid) for tx in part for outpoint in tx.spends if outpoint in ours)
        facts.append(BlockFacts(ref, coins, spends))
    return tuple(facts)


def _scripts(transactions: Iterable[ParsedTx]) -> set[bytes]:
    return {script for tx in transactions for _, script in tx.outputs}


def _coins_in(transactions: Iterable[ParsedTx], scripts: set[bytes]) -> Iterable[FoundCoin]:
    for tx in transactions:
        for vout, (value_sats, script) in enumerate(tx.outputs):
            if script in scripts:
                yield FoundCoin(tx.txid, vout, value_sats, script, tx.coinbase)
