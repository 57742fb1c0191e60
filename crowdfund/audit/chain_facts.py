"""What a server says of a campaign, up to the bundle's last block: coins, what spent them, the closing block.

May ask a chain backend of any kind; judges nothing. Coins and spends are found by our own walk: through whole blocks
where the server hands them out (a node's block filters only say which ones to read), else through the histories of
the campaign's scripts, each transaction proven to lie in its block. Headers must hang together up to that last block.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from crowdfund.audit.cancelling import LETTERS, reason_named
from crowdfund.audit.claims import Claims, Coin, Outpoint
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.chain.backends import AnyBackend
from crowdfund.chain.core import BAD_PARAMETER, NOT_FOUND, CoreBackend, RpcError
from crowdfund.chain.follow import checked_block, checked_transaction, placed, placed_at
from crowdfund.chain.follow_scripts import proven_transactions
from crowdfund.chain.port import BlockBackend, BlockRef, ChainBackend, HistoryItem, ScriptBackend, WrongAnswer
from crowdfund.errors import WorldError
from crowdfund.wallet.blocks import ParsedTx
from crowdfund.wallet.descriptors import derive_script

GAP = 1_000
REORGANISATION = 100
HEIGHTS_AT_ONCE = 500
# Beyond this many scripts, reading every block is no slower than matching filters.
MAX_FILTER_SCRIPTS = 50_000
FILTER_WAIT_S = 5.0
FILTER_PAUSE_S = 0.02
BUSY = "already in progress"
MOVED = "The chain was reorganised while it was read; try again."


@dataclass(frozen=True)
class Spend:
    """A transaction on the chain that spends a coin of the campaign; outputs are (satoshi, script)."""

    height: int
    inputs: tuple[Outpoint, ...]
    outputs: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True)
class Cancelling:
    """What a cancellation of the campaign must name and spend, and the block after which it counts."""

    terms_hash: bytes
    payout_script: bytes
    opened_height: int

    @classmethod
    def of(cls, terms: CampaignTerms) -> Cancelling | None:
        """None where the terms cannot be cancelled."""
        if terms.cancellable != LETTERS:
            return None
        return cls(terms.hash, bytes.fromhex(terms.payout_script), terms.opened_height)


@dataclass(frozen=True)
class ChainFacts:
    """All coins and spends up to the last block asked for; spends by txid. `closing` is (height, hash) of the block
    that ends the campaign: the closing block, or that of the cancellation, whose txid is `cancelled_by`."""

    closing: tuple[int, str] | None
    coins: Mapping[Outpoint, Coin]
    spends: Mapping[str, Spend]
    cancelled_by: str | None = None


@lru_cache(maxsize=20_000)
def _script(descriptor: str, index: int) -> bytes:
    return derive_script(descriptor, index)


def scripts(descriptor: str, count: int) -> dict[bytes, int]:
    """Locking script -> index, for the first `count` addresses. About half a millisecond each."""
    return {_script(descriptor, index): index for index in range(count)}


def block_at(backend: ChainBackend, network: str, height: int) -> BlockRef | None:
    """The best chain's block, its hash and median time past worked out from the headers; None above the tip."""
    return None if backend.block_hash(height) is None else placed_at(backend, network, None, {height})[0]


def known_block(backend: ChainBackend, network: str, height: int, block_hash: str) -> BlockRef | None:
    """A block that the server has heard of. A node tells of blocks beside its best chain, too, and at whatever height
    they are; another server only whether its best chain has this block at `height`."""
    if not isinstance(backend, CoreBackend):
        found = block_at(backend, network, height)
        return found if found is not None and found.hash == block_hash else None
    try:
        return backend.block_refs([block_hash])[0]
    except RpcError as error:
        if error.code == NOT_FOUND:
            return None
        raise


def gather(
    backend: AnyBackend, claims: Claims, deadline_s: int, first_height: int, end: Cancelling | None = None
) -> ChainFacts:
    """Everything from block `first_height` to the bundle's last; with `end`, also what cancels the campaign. Raises
    WorldError where the server cannot answer."""
    own = scripts(claims.descriptor, claims.issued + GAP)
    coins: dict[Outpoint, Coin] = {}
    spends: dict[str, Spend] = {}
    found: Iterable[tuple[BlockRef, list[ParsedTx]]]
    if isinstance(backend, BlockBackend):
        found = _from_blocks(backend, claims, len(own), first_height, end)
    else:
        found = _from_histories(backend, claims, own, end)
    cancelled: tuple[BlockRef, str] | None = None
    for ref, transactions in found:
        for tx in transactions:
            _note_spends(tx, ref, coins, spends)
            _note_coins(tx, ref, own, coins)
            if cancelled is None and end is not None and _cancels(backend, tx, ref, end):
                cancelled = ref, tx.txid
    closing = _closing(backend, claims, deadline_s, first_height)
    if cancelled is not None and (closing is None or cancelled[0].height < closing[0]):
        return ChainFacts((cancelled[0].height, cancelled[0].hash), coins, spends, cancelled[1])
    return ChainFacts(closing, coins, spends)


def _cancels(backend: ChainBackend, tx: ParsedTx, ref: BlockRef, end: Cancelling) -> bool:
    """Does the transaction, in this block, cancel the campaign?"""
    if ref.height <= end.opened_height or reason_named(tx, end.terms_hash) is None:
        return False
    return backend.origin(tx, ref.hash, end.payout_script) is not None


def unspent_at_tip(backend: ChainBackend, descriptor: str, issued: int) -> tuple[str, dict[Outpoint, int]]:
    """(hash of the tip, outpoint -> satoshi): the campaign's unspent coins as the server's own set has them."""
    tip_hash, unspent = backend.unspent(list(scripts(descriptor, issued + GAP)))
    return tip_hash, {(coin.txid, coin.vout): coin.value_sats for coin in unspent}


def _from_blocks(
    backend: BlockBackend, claims: Claims, count: int, first_height: int, end: Cancelling | None
) -> Iterator[tuple[BlockRef, list[ParsedTx]]]:
    """In order of height, whole blocks: those that a node's filters point at, or all."""
    last, refs = claims.as_of.height, _all_blocks(backend, claims, first_height)
    if isinstance(backend, CoreBackend) and count <= MAX_FILTER_SCRIPTS and _filters_reach(backend, last):
        # A filter also knows the scripts of what a block spends: the payout script finds whatever cancels.
        wanted: list[dict[str, object]] = [{"desc": claims.descriptor, "range": [0, count - 1]}]
        wanted += [] if end is None else [{"desc": f"raw({end.payout_script.hex()})"}]
        hashes = _filtered(backend, wanted, first_height, last)
        if hashes is not None:
            refs = iter(sorted(backend.block_refs(hashes), key=lambda ref: ref.height))
    for ref in refs:
        yield ref, checked_block(ref, backend.block(ref.hash))


def _from_histories(
    backend: ScriptBackend, claims: Claims, own: Mapping[bytes, int], end: Cancelling | None
) -> list[tuple[BlockRef, list[ParsedTx]]]:
    """What the server tells of the scripts at any height, proven by the headers from there to the last block."""
    backend.watch([*own, *([] if end is None else [end.payout_script])])
    told = backend.histories()
    items = {i for script in own for i in told[script] if 0 < i.height <= claims.as_of.height}
    if end is not None:
        late = {i for i in told[end.payout_script] if end.opened_height < i.height <= claims.as_of.height}
        items |= _naming(backend, late, end)
    if not items:
        return []
    heights = {item.height for item in items}
    refs = [ref for ref in _all_blocks(backend, claims, min(heights)) if ref.height in heights]
    return proven_transactions(backend, items, refs)


def _naming(backend: ScriptBackend, items: Collection[HistoryItem], end: Cancelling) -> set[HistoryItem]:
    """Those of these transactions at the payout address that name the terms."""
    raws = backend.transactions(sorted({item.txid for item in items})) if items else {}
    if len(raws) != len({item.txid for item in items}):
        raise WrongAnswer("The server speaks of transactions at the payout address that it does not have.")
    return {i for i in items if reason_named(checked_transaction(i.txid, raws[i.txid]), end.terms_hash) is not None}


def _all_blocks(backend: ChainBackend, claims: Claims, first_height: int) -> Iterator[BlockRef]:
    """Every block up to the bundle's last. Raises WrongAnswer unless each names the one before it."""
    before, last = None, claims.as_of.height
    for start in range(first_height, last + 1, HEIGHTS_AT_ONCE):
        refs = placed(backend, claims.network, start, min(start + HEIGHTS_AT_ONCE - 1, last))
        if not refs or before not in (None, refs[0].prev_hash):
            raise WrongAnswer(MOVED)
        before = refs[-1].hash
        yield from refs
    if before != claims.as_of.block_hash:
        raise WrongAnswer(MOVED)


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


def _filtered(
    node: CoreBackend, wanted: list[dict[str, object]], first_height: int, last_height: int
) -> list[str] | None:
    """Hashes of the blocks that may hold something of ours; None where the node cannot say."""
    found: list[str] = []
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


def _closing(backend: ChainBackend, claims: Claims, deadline_s: int, first_height: int) -> tuple[int, str] | None:
    """The first block whose median time past is later than the deadline. A node has checked its headers; those of
    another server are looked at one by one, as a few in between are cheaply invented."""
    if isinstance(backend, CoreBackend):
        return _by_halving(backend, claims, deadline_s)
    found = None
    for ref in _all_blocks(backend, claims, first_height):
        if found is None and ref.median_time_past > deadline_s:
            found = ref
    if found is not None and found.height == first_height > 0:  # the deadline was over before the campaign began
        return _by_halving(backend, claims, deadline_s)
    return None if found is None else (found.height, found.hash)


def _by_halving(backend: ChainBackend, claims: Claims, deadline_s: int) -> tuple[int, str] | None:
    """The median time past never goes back from block to block (consensus asks each block to be later than it)."""
    last = block_at(backend, claims.network, claims.as_of.height)
    if last is None or last.median_time_past <= deadline_s:
        return None
    low, found = 0, last
    while low < found.height:
        middle = block_at(backend, claims.network, (low + found.height) // 2)
        if middle is None:
            raise WorldError(MOVED)
        if middle.median_time_past > deadline_s:
            found = middle
        else:
            low = middle.height + 1
    return found.height, found.hash
