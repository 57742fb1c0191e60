"""Following the chain: gather everything, compare, hand over one value to be written at once.

May ask a backend and compare; may not write. The order is what makes it right. The tip is asked for first, and
once more at the end: if it moved meanwhile, the gathering starts over. What is watched is read after the tip, so
an address given out later cannot have been paid in a block that is read; and after the unconfirmed transactions
were fetched, so that one given out a moment ago cannot be paid unseen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableSet, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Protocol

from crowdfund.chain.cancelling import Cancellable, FoundCancellation, Placed, cancellations, named
from crowdfund.chain.catchup import BlockPool, BlockSource
from crowdfund.chain.placing import place
from crowdfund.chain.port import BlockBackend, BlockRef, ChainBackend, NodeStatus, Outpoint, UnspentCoin, WrongAnswer
from crowdfund.chain.scan import outpoint_key, scan_block
from crowdfund.wallet.blocks import HEADER_SIZE, ParsedTx, merkle_root, parse_block, parse_tx, raw_transactions
from crowdfund.wallet.headers import MEDIAN_SPAN, check_chain, read_header
from crowdfund.wallet.merkle import branches_of

MAX_BLOCKS_AT_ONCE = 100
# Blocks recorded at the very first look, so that a reorganisation right afterwards finds a common ancestor.
FIRST_BLOCKS = 100
TXIDS_AT_ONCE = 2_000
# From so many blocks on it pays to start processes that read them.
LONG_GAP = 300


class Watch(Protocol):
    """What is looked for. `scripts` and `outpoints` stay in memory and only grow; the questions are few and exact."""

    @property
    def scripts(self) -> AbstractSet[bytes]:
        """Our locking scripts."""

    @property
    def outpoints(self) -> MutableSet[bytes]:
        """As `scan.outpoint_key` writes them: our coins, and what payments to us spend. More than that does no harm."""

    @property
    def cancellable(self) -> Mapping[bytes, Cancellable]:
        """The undecided campaigns that can be cancelled, by the hash of their terms."""

    def refresh(self) -> None:
        """Take in what was stored since the last time."""

    def coins_among(self, outpoints: Collection[Outpoint]) -> set[Outpoint]:
        """Those of `outpoints` that are recorded coins of ours."""

    def payments_spending(self, outpoints: Collection[Outpoint]) -> Mapping[Outpoint, set[str]]:
        """Recorded payments to us (their txids) that spend these outpoints, in a block or not."""

    def unconfirmed(self) -> set[str]:
        """Txids of the recorded payments that were last seen in the mempool."""

    def unsettled(self) -> set[str]:
        """Txids of the newest recorded payments that are in no block and no mempool, and that no block's transaction
        has taken the place of."""

    def recorded(self, items: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
        """Those of (txid, height) that are recorded: as a payment to us or as the spender of a coin, in that block."""

    def inputs_of(self, txids: Collection[str]) -> Mapping[str, list[Outpoint]]:
        """What these recorded payments spend."""


class KnownChain(Protocol):
    """The blocks already recorded."""

    def tip(self) -> BlockRef | None:
        """The last recorded block."""

    def hash_at(self, height: int) -> str | None:
        """The recorded block's hash at `height`."""

    def opened(self) -> int | None:
        """The lowest height that terms name as the newest block when they were published; None without any."""


@dataclass(frozen=True)
class FoundCoin:
    """An output that pays one of our scripts. `inputs`: what its transaction spends; a coinbase spends nothing."""

    txid: str
    vout: int
    value_sats: int
    script: bytes
    coinbase: bool
    inputs: tuple[Outpoint, ...] = ()


@dataclass(frozen=True)
class FoundSpend:
    """A transaction that spends one of our coins."""

    txid: str
    vout: int
    spent_by: str


@dataclass(frozen=True)
class Rival:
    """A payment that can no longer be confirmed, as `by` spends what it spends: in a block, or (`height` None) in
    the mempool."""

    txid: str
    by: str
    height: int | None


@dataclass(frozen=True)
class BlockFacts:
    """What one block holds for us."""

    block: BlockRef
    coins: tuple[FoundCoin, ...]
    spends: tuple[FoundSpend, ...]
    rivals: tuple[Rival, ...] = ()
    cancellations: tuple[FoundCancellation, ...] = ()


@dataclass(frozen=True)
class Changes:
    """Everything between the recorded state and the chain as it was at one moment.

    `fork_height` is the last recorded block that still holds, None if no block was lost. `late` are facts of
    blocks that are recorded already (a server was behind with them). `left` are payments that the mempool no
    longer holds and no block holds either, `rivals` what took the place of some of them. `complete` is False while
    more blocks wait (catching up); the mempool was not looked at then.
    """

    fork_height: int | None
    blocks: tuple[BlockFacts, ...]
    mempool_coins: tuple[FoundCoin, ...]
    tip_height: int
    complete: bool
    left: frozenset[str] = frozenset()
    rivals: tuple[Rival, ...] = ()
    late: tuple[BlockFacts, ...] = ()

    @property
    def is_news(self) -> bool:
        """Is there anything to write?"""
        return bool(
            self.blocks or self.mempool_coins or self.left or self.rivals or self.late or self.fork_height is not None
        )


class Follower(Protocol):
    """Follows one backend. What it remembers between gatherings are hints; everything else is in the records."""

    def gather(
        self, status: NodeStatus, known: KnownChain, watch: Watch, heard: Collection[str] = ()
    ) -> Changes | None:
        """All changes from `known` to the tip in `status`, or None if the chain moved since (ask and call again).

        `heard` are txids that a wake-up spoke of. Raises WorldError where the backend cannot answer.
        """

    def early(self, coins: Sequence[UnspentCoin]) -> tuple[BlockFacts, ...]:
        """The facts of blocks that hold these coins, each checked: for coins that lay at an address of ours before it
        was given out, when nobody looked for them."""

    def forget(self) -> None:
        """What the last gathering saw was not written down: look at it again."""


@dataclass
class BlockFollower:
    """Reads whole blocks and the whole mempool (a node, an Esplora server).

    `connect` makes another connection to the same backend; with it, long gaps are read in several processes.
    """

    backend: BlockBackend
    network: str
    connect: Callable[[], BlockSource] | None = None
    _mempool: Mempool = field(init=False)
    _pool: BlockPool | None = None
    _pool_tip: tuple[int, str] = (0, "")

    def __post_init__(self) -> None:
        self._mempool = Mempool(self.backend)

    def gather(
        self, status: NodeStatus, known: KnownChain, watch: Watch, heard: Collection[str] = ()
    ) -> Changes | None:
        """See the port."""
        stretch = next_stretch(self.backend, self.network, status, known)
        if stretch is None:
            return None
        listing, coins = self._mempool.look(watch, heard) if stretch.complete else (None, ())
        watch.refresh()
        blocks = block_facts(self._hits(stretch, status, watch), watch, self._cancellations)
        mined = {c.txid for facts in blocks for c in facts.coins}
        self._mempool.mined(mined)
        left: set[str] = set()
        rivals: tuple[Rival, ...] = ()
        if listing is not None:
            left = self._mempool.left(listing, watch) - mined
            rivals = mempool_rivals(self.backend, left, watch) if left else ()
        changes = stretch.changes(blocks, coins, left, rivals)
        return changes if not changes.is_news or not has_moved(self.backend, status, stretch.complete) else None

    def early(self, coins: Sequence[UnspentCoin]) -> tuple[BlockFacts, ...]:
        """See the port."""
        facts = []
        for height in sorted({coin.height for coin in coins}):
            (ref,) = placed_at(self.backend, self.network, None, {height})
            here = [coin for coin in coins if coin.height == height]
            facts.append(BlockFacts(ref, coins_like(here, checked_block(ref, self.backend.block(ref.hash))), ()))
        return tuple(facts)

    def forget(self) -> None:
        """See the port. What did not fit may have been the answers to earlier questions: the next is asked anew."""
        self._mempool.forget()
        self.backend.close()
        self._close_pool()

    def _cancellations(self, ref: BlockRef, hits: Sequence[ParsedTx], watch: Watch) -> tuple[FoundCancellation, ...]:
        """Those in the block, which is read once more where a transaction names a campaign."""
        txids = {tx.txid for tx in hits if named(tx, ref.height, watch.cancellable)}
        if not txids:
            return ()
        listed = raw_transactions(self.backend.block(ref.hash))
        places = {n: raw for n, (txid, raw) in enumerate(listed) if txid in txids}
        if len(places) != len(txids):
            raise WrongAnswer(f"Block {ref.height} came otherwise when it was read once more.")
        branches = branches_of([txid for txid, _ in listed], places)
        held = [Placed(raw, branches[n], n) for n, raw in places.items()]
        return cancellations(self.backend, ref, held, watch.cancellable)

    def _hits(self, stretch: Stretch, status: NodeStatus, watch: Watch) -> Iterator[tuple[BlockRef, list[ParsedTx]]]:
        pool = self._pool_for(stretch, status, watch)
        if pool is None:
            for ref in stretch.refs:
                raw = self.backend.block(ref.hash)
                yield ref, read_hits(ref, raw, watch, believed=self.backend.believed)
            return
        for ref, scanned in zip(stretch.refs, pool.scan(ref.hash for ref in stretch.refs), strict=True):
            if read_header(scanned.header).hash != ref.hash:
                raise WrongAnswer(f"Another block came than the one asked for ({ref.hash}).")
            yield ref, scanned.hits

    def _pool_for(self, stretch: Stretch, status: NodeStatus, watch: Watch) -> BlockPool | None:
        """The processes for a long gap, until it is closed. They know the scripts of the moment when they were made,
        which is enough for the tip of that moment and the blocks before it, and for no others: neither later ones
        nor those of another branch, which may have been mined since."""
        if self._pool is not None and not self._pool_knows(stretch):
            self._close_pool()
        gap = stretch.tip_height - stretch.refs[0].height if stretch.refs else 0
        if self._pool is None and self.connect is not None and self.backend.believed and gap >= LONG_GAP:
            self._pool = BlockPool(self.connect, watch.scripts, watch.outpoints)
            self._pool_tip = (status.height, status.tip_hash)
        return self._pool

    def _pool_knows(self, stretch: Stretch) -> bool:
        height, block_hash = self._pool_tip
        within = bool(stretch.refs) and stretch.refs[-1].height <= height
        return within and self.backend.block_hash(height) == block_hash

    def _close_pool(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None


class Mempool:
    """Which unconfirmed transactions were looked at already, so that each is fetched once.

    Listing all of a busy mempool costs the node seconds of work, so it is listed less often the larger it is; in
    between, only what a wake-up spoke of is looked at.
    """

    def __init__(self, backend: BlockBackend, clock: Callable[[], float] = time.monotonic) -> None:
        self._backend = backend
        self._clock = clock
        self._looked_at: set[str] = set()
        self._fresh: set[str] = set()
        self._list_again_at = 0.0

    def look(self, watch: Watch, heard: Collection[str]) -> tuple[frozenset[str] | None, tuple[FoundCoin, ...]]:
        """(all unconfirmed txids, or None if they were not listed; payments to us not looked at before)."""
        self._fresh.clear()
        if self._clock() < self._list_again_at:
            return None, tuple(self._new_coins(set(heard) - self._looked_at, watch))
        listing = frozenset(self._backend.mempool_txids())
        self._list_again_at = self._clock() + len(listing) // 20_000
        coins = tuple(self._new_coins(listing - self._looked_at, watch))
        self._looked_at &= listing
        return listing, coins

    def left(self, listing: frozenset[str], watch: Watch) -> set[str]:
        """Recorded payments that the listing lacks. Asked for one by one, too: two answers must agree."""
        missing = sorted(watch.unconfirmed() - listing)
        return set(missing) - self._backend.mempool_transactions(missing).keys() if missing else set()

    def mined(self, txids: Collection[str]) -> None:
        """Should the block that holds these be undone, they are unconfirmed once more, and looked at again."""
        self._looked_at.difference_update(txids)

    def forget(self) -> None:
        """Look again at what the last look found."""
        self._looked_at -= self._fresh
        self._list_again_at = 0.0

    def _new_coins(self, txids: Collection[str], watch: Watch) -> Iterator[FoundCoin]:
        ordered = sorted(txids)
        for start in range(0, len(ordered), TXIDS_AT_ONCE):
            fetched = self._backend.mempool_transactions(ordered[start : start + TXIDS_AT_ONCE])
            watch.refresh()
            for txid, raw in fetched.items():
                yield from coins_in(checked_transaction(txid, raw), watch.scripts)
            self._fresh |= fetched.keys()
            self._looked_at |= fetched.keys()


@dataclass(frozen=True)
class Stretch:
    """The next blocks to record: from the common ancestor up to the tip, or to as many as are taken at once."""

    refs: tuple[BlockRef, ...]
    fork_height: int | None
    tip_height: int
    complete: bool

    def changes(
        self,
        blocks: tuple[BlockFacts, ...],
        mempool_coins: tuple[FoundCoin, ...],
        left: Collection[str],
        rivals: tuple[Rival, ...],
        late: tuple[BlockFacts, ...] = (),
    ) -> Changes:
        """What was found, with the stretch that it was found in."""
        return Changes(
            self.fork_height, blocks, mempool_coins, self.tip_height, self.complete, frozenset(left), rivals, late
        )


def next_stretch(backend: ChainBackend, network: str, status: NodeStatus, known: KnownChain) -> Stretch | None:
    """The stretch between the records and the tip, every header checked; None if the chain moves under our feet."""
    recorded = known.tip()
    ancestor = _common_ancestor(backend, status, known, recorded)
    first = _first_of_all(status, known) if ancestor is None else ancestor + 1
    last = min(status.height, first + MAX_BLOCKS_AT_ONCE - 1)
    refs = placed(backend, network, first, last) if first <= last else []
    if refs is None or not _continues(refs, known, ancestor):
        return None
    if last == status.height and (refs[-1].hash if refs else known.hash_at(last)) != status.tip_hash:
        return None
    lost = recorded is not None and ancestor is not None and ancestor < recorded.height
    return Stretch(tuple(refs), ancestor if lost else None, status.height, last == status.height)


def has_moved(backend: ChainBackend, status: NodeStatus, complete: bool) -> bool:
    """Is the tip another by now? A block on top matters too: its transactions have left the mempool."""
    if backend.block_hash(status.height) != status.tip_hash:
        return True
    return complete and backend.block_hash(status.height + 1) is not None


def read_hits(ref: BlockRef, raw: bytes, watch: Watch, believed: bool) -> list[ParsedTx]:
    """The block's transactions that concern us. Raises WrongAnswer unless `raw` is the block that `ref` names; how
    its transactions hash is only looked at where the backend is not believed."""
    if not believed:
        checked_block(ref, raw)
    try:
        if read_header(raw[:HEADER_SIZE]).hash != ref.hash:
            raise WrongAnswer(f"Another block came than the one asked for ({ref.hash}).")
        return scan_block(raw, watch.scripts, watch.outpoints)
    except ValueError as error:
        raise WrongAnswer(f"Block {ref.hash} came damaged: {error}.") from error


def checked_block(ref: BlockRef, raw: bytes) -> list[ParsedTx]:
    """All transactions of the block that `ref` names. Raises WrongAnswer unless they hash to what its header says."""
    try:
        block_hash, _, transactions = parse_block(raw)
        root = read_header(raw[:HEADER_SIZE]).merkle_root
    except ValueError as error:
        raise WrongAnswer(f"Block {ref.hash} came damaged: {error}.") from error
    if block_hash != ref.hash:
        raise WrongAnswer(f"Another block came than the one asked for ({ref.hash}).")
    if merkle_root([tx.txid for tx in transactions]) != root:
        raise WrongAnswer(f"Block {ref.hash} came damaged: its transactions are not those of its header.")
    return transactions


def coins_like(coins: Sequence[UnspentCoin], transactions: Iterable[ParsedTx]) -> tuple[FoundCoin, ...]:
    """These coins as the transactions have them. Raises WrongAnswer for a coin that they do not have."""
    made = {(c.txid, c.vout): c for tx in transactions for c in coins_in(tx, {coin.script for coin in coins})}
    for coin in coins:
        found = made.get((coin.txid, coin.vout))
        if found is None or (found.value_sats, found.script) != (coin.value_sats, coin.script):
            raise WrongAnswer(f"{coin.txid}:{coin.vout} is not what was told of it.")
    return tuple(made[(coin.txid, coin.vout)] for coin in coins)


def block_facts(
    blocks: Iterable[tuple[BlockRef, list[ParsedTx]]],
    watch: Watch,
    cancelling: Callable[[BlockRef, list[ParsedTx], Watch], tuple[FoundCancellation, ...]] = lambda *_: (),
) -> tuple[BlockFacts, ...]:
    """Coins, spends, rivals and cancellations block by block. A coin found here is watched at once: a later block may
    spend it."""
    fresh: set[Outpoint] = set()
    facts = []
    for ref, hits in blocks:
        coins = tuple(coin for tx in hits for coin in coins_in(tx, watch.scripts))
        fresh |= {(coin.txid, coin.vout) for coin in coins}
        for coin in coins:
            for outpoint in ((coin.txid, coin.vout), *coin.inputs):
                watch.outpoints.add(outpoint_key(*outpoint))
        facts.append(BlockFacts(ref, coins, *_spent(ref, hits, fresh, watch), cancelling(ref, hits, watch)))
    return tuple(facts)


def _spent(
    ref: BlockRef, hits: Sequence[ParsedTx], fresh: AbstractSet[Outpoint], watch: Watch
) -> tuple[tuple[FoundSpend, ...], tuple[Rival, ...]]:
    outpoints = {outpoint for tx in hits for outpoint in tx.spends}
    if not outpoints:
        return (), ()
    ours = watch.coins_among(outpoints) | (fresh & outpoints)
    payments = watch.payments_spending(outpoints)
    spends = tuple(FoundSpend(*outpoint, tx.txid) for tx in hits for outpoint in tx.spends if outpoint in ours)
    rivals = {
        Rival(lost, tx.txid, ref.height)
        for tx in hits
        for outpoint in tx.spends
        for lost in payments.get(outpoint, set()) - {tx.txid}
    }
    return spends, tuple(sorted(rivals, key=lambda rival: rival.txid))


def mempool_rivals(backend: ChainBackend, left: Collection[str], watch: Watch) -> tuple[Rival, ...]:
    """What took the place of payments that have left the mempool, as far as the backend can say."""
    inputs = watch.inputs_of(left)
    spenders = backend.spenders(sorted({o for outpoints in inputs.values() for o in outpoints}))
    rivals = []
    for txid, outpoints in sorted(inputs.items()):
        found = [s for o in outpoints if (s := spenders.get(o)) is not None and s.txid != txid]
        if found:
            worst = min(found, key=lambda s: (s.height is None, s.txid))
            rivals.append(Rival(txid, worst.txid, worst.height))
    return tuple(rivals)


def coins_in(tx: ParsedTx, scripts: AbstractSet[bytes]) -> Iterator[FoundCoin]:
    """The outputs of `tx` that pay one of `scripts`."""
    for vout, (value_sats, script) in enumerate(tx.outputs):
        if script in scripts:
            yield FoundCoin(tx.txid, vout, value_sats, script, tx.coinbase, tx.spends)


def checked_transaction(txid: str, raw: bytes) -> ParsedTx:
    """The transaction that `txid` names. Raises WrongAnswer if `raw` is not that."""
    try:
        tx = parse_tx(raw)
    except ValueError as error:
        raise WrongAnswer(f"Transaction {txid} came damaged: {error}.") from error
    if tx.txid != txid:
        raise WrongAnswer(f"Another transaction came than the one asked for ({txid}).")
    return tx


def _first_of_all(status: NodeStatus, known: KnownChain) -> int:
    """Where the very first look begins: early enough for every campaign that is there already (the records of the
    chain were lost, or never came along)."""
    newest = max(0, status.height - FIRST_BLOCKS + 1)
    opened = known.opened()
    return newest if opened is None else min(newest, opened)


def _common_ancestor(
    backend: ChainBackend, status: NodeStatus, known: KnownChain, recorded: BlockRef | None
) -> int | None:
    """Walk back by hash to the last recorded block that the backend's best chain still holds."""
    if recorded is None:
        return None
    if recorded.hash == status.tip_hash:
        return recorded.height
    height = recorded.height
    while (stored := known.hash_at(height)) is not None:
        if backend.block_hash(height) == stored:
            return height
        height -= 1
    raise WrongAnswer(
        f"The {backend.name} shares no block with the recorded chain: is it on another one? Nothing is decided."
    )


def placed(backend: ChainBackend, network: str, first: int, last: int) -> list[BlockRef] | None:
    """The blocks from `first` to `last`, None where the chain ends earlier by now."""
    start = max(0, first - MEDIAN_SPAN)
    raw = backend.headers(start, last - start + 1)
    if len(raw) < last - start + 1:
        return None
    try:
        headers = [read_header(r) for r in raw]
        check_chain(headers, start, network)
    except ValueError as error:
        raise WrongAnswer(f"The {backend.name} sent headers that cannot be: {error}.") from error
    return place(headers, start, first)


def placed_at(
    backend: ChainBackend, network: str, known: KnownChain | None, heights: Collection[int]
) -> list[BlockRef]:
    """The blocks at these heights. Raises WrongAnswer where they are not those that `known` has."""
    refs = []
    for height in sorted(heights):
        found = placed(backend, network, height, height)
        held = known.hash_at(height) if known else None
        if not found or (held is not None and found[0].hash != held):
            raise WrongAnswer(f"The {backend.name} has another block {height} than a moment ago.")
        refs.append(found[0])
    return refs


def _continues(refs: Sequence[BlockRef], known: KnownChain, ancestor: int | None) -> bool:
    """Does the first of `refs` follow the common ancestor, and are they other blocks than those recorded? (If not,
    some answer was wrong: what looked like a reorganisation was none.)"""
    if not refs or ancestor is None:
        return True
    return refs[0].prev_hash == known.hash_at(ancestor) and refs[0].hash != known.hash_at(refs[0].height)
