"""Following by the histories of scripts, for servers of the Electrum protocol, which hand out no blocks.

May ask a backend and compare; may not write. Nothing is believed: each transaction must hash to its name, a Merkle
branch must lead from it to the header of its block, and headers must hang together (headers.py). What a server can
still do is keep quiet; so histories are compared with the records at every height, and what a server tells late is
taken late.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from crowdfund.chain.follow import (
    BlockFacts,
    Changes,
    FoundCoin,
    KnownChain,
    Rival,
    Stretch,
    Watch,
    block_facts,
    checked_transaction,
    coins_in,
    coins_like,
    has_moved,
    mempool_rivals,
    next_stretch,
    placed_at,
)
from crowdfund.chain.port import BlockRef, HistoryItem, NodeStatus, ScriptBackend, UnspentCoin, WrongAnswer
from crowdfund.wallet.blocks import ParsedTx
from crowdfund.wallet.merkle import could_be_node, verify_branch


@dataclass
class ScriptFollower:
    """Subscribes to every script of ours and looks at what their histories say."""

    backend: ScriptBackend
    network: str
    _looked_at: set[str] = field(default_factory=set)
    _handed_over: set[HistoryItem] = field(default_factory=set)
    _fresh: set[str] = field(default_factory=set)
    _fresh_late: set[HistoryItem] = field(default_factory=set)
    _scripts: int = 0

    def gather(
        self, status: NodeStatus, known: KnownChain, watch: Watch, heard: Collection[str] = ()
    ) -> Changes | None:
        """See the port. `heard` is of no use here: the server itself says which scripts have news."""
        self._fresh, self._fresh_late = set(), set()
        stretch = next_stretch(self.backend, self.network, status, known)
        if stretch is None:
            return None
        items = self._items(watch)
        if any(item.height > status.height for item in items):
            return None
        confirmed = {item for item in items if item.height > 0}
        late = self._late(confirmed, stretch, watch)
        late_facts = self._facts(late, placed_at(self.backend, self.network, known, {i.height for i in late}), watch)
        blocks = self._facts(confirmed, stretch.refs, watch)
        coins: tuple[FoundCoin, ...] = ()
        left: set[str] = set()
        rivals: tuple[Rival, ...] = ()
        if stretch.complete:
            unconfirmed = {item.txid for item in items} - {item.txid for item in confirmed}
            coins = tuple(self._new_coins(unconfirmed, watch))
            left = watch.unconfirmed() - {item.txid for item in items}
            asked = left | (watch.unsettled() if stretch.refs else set())
            rivals = mempool_rivals(self.backend, asked - {i.txid for i in items}, watch) if asked else ()
        changes = stretch.changes(blocks, coins, left, rivals, late_facts)
        if changes.is_news and has_moved(self.backend, status, stretch.complete):
            return None
        self._fresh_late = late
        self._handed_over |= late
        return changes

    def early(self, coins: Sequence[UnspentCoin]) -> tuple[BlockFacts, ...]:
        """See the port."""
        items = {HistoryItem(coin.txid, coin.height) for coin in coins}
        refs = placed_at(self.backend, self.network, None, {item.height for item in items})
        facts = []
        for ref, transactions in proven_transactions(self.backend, items, refs):
            here = [coin for coin in coins if coin.height == ref.height]
            facts.append(BlockFacts(ref, coins_like(here, transactions), ()))
        return tuple(facts)

    def forget(self) -> None:
        """See the port."""
        self._looked_at -= self._fresh
        self._handed_over -= self._fresh_late

    def _items(self, watch: Watch) -> set[HistoryItem]:
        watch.refresh()
        if len(watch.scripts) != self._scripts:
            self.backend.watch(watch.scripts)
            self._scripts = len(watch.scripts)
        return {item for history in self.backend.histories().values() for item in history}

    def _late(self, confirmed: set[HistoryItem], stretch: Stretch, watch: Watch) -> set[HistoryItem]:
        """What lies in blocks before the stretch and was never written down."""
        first = stretch.refs[0].height if stretch.refs else stretch.tip_height + 1
        older = {item for item in confirmed if item.height < first} - self._handed_over
        recorded = watch.recorded((item.txid, item.height) for item in older)
        self._handed_over |= {item for item in older if (item.txid, item.height) in recorded}
        return older - self._handed_over

    def _facts(self, items: Iterable[HistoryItem], refs: Iterable[BlockRef], watch: Watch) -> tuple[BlockFacts, ...]:
        return block_facts(proven_transactions(self.backend, items, refs), watch)

    def _new_coins(self, unconfirmed: set[str], watch: Watch) -> Iterable[FoundCoin]:
        fresh = sorted(unconfirmed - self._looked_at)
        fetched = self.backend.transactions(fresh) if fresh else {}
        self._fresh = set(fetched)
        self._looked_at = (self._looked_at & unconfirmed) | self._fresh
        for txid, raw in fetched.items():
            yield from coins_in(checked_transaction(txid, raw), watch.scripts)


def proven_transactions(
    backend: ScriptBackend, items: Iterable[HistoryItem], refs: Iterable[BlockRef]
) -> list[tuple[BlockRef, list[ParsedTx]]]:
    """Block by block, the transactions of `items` in the order that they have there, each proven to lie in the one of
    `refs` with its height; items of other heights are left out. Raises WrongAnswer."""
    by_height = {ref.height: ref for ref in refs}
    wanted = sorted((i for i in items if i.height in by_height), key=lambda i: (i.height, i.txid))
    raw = backend.transactions([item.txid for item in wanted])
    placed: dict[int, list[tuple[int, ParsedTx]]] = {height: [] for height in by_height}
    for item, (branch, position) in zip(wanted, backend.proofs(wanted), strict=True):
        tx = _proven(item, raw, branch, position, by_height[item.height])
        placed[item.height].append((position, tx))
    return [
        (by_height[height], [tx for _, tx in sorted(found, key=lambda pair: pair[0])])
        for height, found in sorted(placed.items())
    ]


def _proven(
    item: HistoryItem, raw: Mapping[str, bytes], branch: Sequence[str], position: int, ref: BlockRef
) -> ParsedTx:
    """The transaction of `item`. Raises WrongAnswer unless its branch leads to the block's Merkle root."""
    if item.txid not in raw:
        raise WrongAnswer(f"The server speaks of transaction {item.txid} and does not have it.")
    tx = checked_transaction(item.txid, raw[item.txid])
    try:
        root = verify_branch(item.txid, branch, position)
    except ValueError as error:
        raise WrongAnswer(f"The proof that {item.txid} is in block {ref.height} is none: {error}.") from error
    if root != ref.merkle_root or could_be_node(raw[item.txid], item.txid):
        raise WrongAnswer(f"Transaction {item.txid} is not in block {ref.height} as was told.")
    return tx
