"""Following by the histories of scripts, for servers of the Electrum protocol, which hand out no blocks.

May ask a backend and compare; may not write. Nothing is believed: each transaction must hash to its name, a Merkle
branch must lead from it to the header of its block, and headers must hang together (headers.py). What a server can
still do is keep quiet; so histories are compared with the records at every height, and what a server tells late is
taken late.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from crowdfund.chain.cancelling import FoundCancellation, Placed, cancellations, named
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
    _judged: set[HistoryItem] = field(default_factory=set)
    _fresh_judged: set[HistoryItem] = field(default_factory=set)
    _watched: tuple[int, frozenset[bytes]] = (0, frozenset())
    _campaigns: frozenset[bytes] = frozenset()

    def gather(
        self, status: NodeStatus, known: KnownChain, watch: Watch, heard: Collection[str] = ()
    ) -> Changes | None:
        """See the port. `heard` is of no use here: the server itself says which scripts have news."""
        self._fresh, self._fresh_late, self._fresh_judged = set(), set(), set()
        stretch = next_stretch(self.backend, self.network, status, known)
        if stretch is None:
            return None
        histories = self._histories(watch)
        items = {item for script, history in histories.items() if script in watch.scripts for item in history}
        payouts = {each.payout_script for each in watch.cancellable.values()}
        spending = {item for script in payouts for item in histories.get(script, ())}
        if any(item.height > status.height for item in items | spending):
            return None
        confirmed = {item for item in items if item.height > 0}
        late = self._late(confirmed, stretch, watch)
        late_facts = self._facts(late, placed_at(self.backend, self.network, known, {i.height for i in late}), watch)
        blocks = self._facts(confirmed, stretch.refs, watch)
        blocks, late_ends = self._with_cancellations(blocks, spending, stretch, known, watch)
        coins: tuple[FoundCoin, ...] = ()
        left: set[str] = set()
        rivals: tuple[Rival, ...] = ()
        if stretch.complete:
            unconfirmed = {item.txid for item in items} - {item.txid for item in confirmed}
            coins = tuple(self._new_coins(unconfirmed, watch))
            left = watch.unconfirmed() - {item.txid for item in items}
            asked = left | (watch.unsettled() if stretch.refs else set())
            rivals = mempool_rivals(self.backend, asked - {i.txid for i in items}, watch) if asked else ()
        changes = stretch.changes(blocks, coins, left, rivals, late_facts + late_ends)
        if changes.is_news and has_moved(self.backend, status, stretch.complete):
            return None
        self._fresh_late = late
        self._handed_over |= late
        self._judged |= self._fresh_judged
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
        self._judged -= self._fresh_judged

    def _histories(self, watch: Watch) -> Mapping[bytes, tuple[HistoryItem, ...]]:
        """Of our scripts, and of the payout scripts of the campaigns that can be cancelled."""
        watch.refresh()
        payouts = frozenset(each.payout_script for each in watch.cancellable.values())
        if self._watched != (len(watch.scripts), payouts):
            self.backend.watch([*watch.scripts, *payouts])
            self._watched = len(watch.scripts), payouts
        return self.backend.histories()

    def _with_cancellations(
        self,
        blocks: tuple[BlockFacts, ...],
        spending: Collection[HistoryItem],
        stretch: Stretch,
        known: KnownChain,
        watch: Watch,
    ) -> tuple[tuple[BlockFacts, ...], tuple[BlockFacts, ...]]:
        """The blocks of the stretch with the cancellations in them, and blocks before it whose cancellation was told
        late. Whatever else pays or spends a payout script is looked at once."""
        if self._campaigns != watch.cancellable.keys():
            self._judged, self._campaigns = set(), frozenset(watch.cancellable)
        heights = {ref.height for ref in stretch.refs}
        first = min(heights, default=stretch.tip_height + 1)
        opened = min((each.opened_height for each in watch.cancellable.values()), default=0)
        earlier = {i for i in spending if opened < i.height < first} - self._judged
        here = {i for i in spending if i.height in heights}
        marked = self._marked(earlier | here, watch)
        self._fresh_judged = earlier
        found = {facts.block.height: self._ends_in(facts.block, marked, watch) for facts in blocks}
        refs = placed_at(self.backend, self.network, known, {i.height for i in marked & earlier})
        late = ((ref, self._ends_in(ref, marked, watch)) for ref in refs)
        with_ends = tuple(replace(facts, cancellations=found[facts.block.height]) for facts in blocks)
        return with_ends, tuple(BlockFacts(ref, (), (), (), ends) for ref, ends in late if ends)

    def _marked(self, items: Collection[HistoryItem], watch: Watch) -> set[HistoryItem]:
        """Those that name a campaign which can be cancelled."""
        raws = self.backend.transactions(sorted({item.txid for item in items})) if items else {}
        if len(raws) != len({item.txid for item in items}):
            raise WrongAnswer("The server speaks of transactions at a payout address that it does not have.")
        return {i for i in items if named(checked_transaction(i.txid, raws[i.txid]), i.height, watch.cancellable)}

    def _ends_in(self, ref: BlockRef, marked: Collection[HistoryItem], watch: Watch) -> tuple[FoundCancellation, ...]:
        here = sorted((item for item in marked if item.height == ref.height), key=lambda item: item.txid)
        if not here:
            return ()
        raws = self.backend.transactions([item.txid for item in here])
        proofs = zip(here, self.backend.proofs(here), strict=True)
        held = [Placed(raws[item.txid], tuple(branch), position) for item, (branch, position) in proofs]
        return cancellations(self.backend, ref, held, watch.cancellable)

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
