"""A chain in memory with real bytes: blocks, headers, Merkle roots, a mempool that knows conflicts. A backend, too.

It keeps the rules that matter to who watches: an output is spent once, a block's time is later than the median of
the eleven before it, and what a branch loses goes back to the mempool or is lost. Signatures, work and amounts are
nobody's concern. Coins to pay from are there from the beginning, as many as one likes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256

from crowdfund.chain.port import NodeStatus, Origin, Outpoint, SendResult, Sent, Spender, UnspentCoin
from crowdfund.wallet.blocks import ParsedTx
from crowdfund.wallet.cancellation import spending
from crowdfund.wallet.networks import NETWORKS
from support.model import Block, Tx, median_time

NOBODY = b"\x00\x14" + b"n" * 20
NULL = ("00" * 32, 0xFFFFFFFF)
START = 1_790_000_000


def double(data: bytes) -> bytes:
    """SHA-256 twice."""
    return sha256(sha256(data).digest()).digest()


def make_tx(spends: Sequence[Outpoint], outputs: Sequence[tuple[int, bytes]], salt: int, coinbase: bool = False) -> Tx:
    """A transaction; every other one carries witnesses."""
    script = struct.pack("<BI", 4, salt) if coinbase else b""
    inputs = [
        bytes.fromhex(txid)[::-1] + struct.pack("<IB", vout, len(script)) + script + b"\xfd\xff\xff\xff"
        for txid, vout in spends
    ]
    paid = [struct.pack("<qB", sats, len(locking)) + locking for sats, locking in outputs]
    body = bytes([len(inputs)]) + b"".join(inputs) + bytes([len(paid)]) + b"".join(paid)
    version, locktime = struct.pack("<i", 2), struct.pack("<I", 0 if coinbase else salt)
    txid = double(version + body + locktime)[::-1].hex()
    witness = (b"\2\x47" + bytes(71) + b"\x21" + bytes(33)) * len(inputs)
    raw = version + (b"\0\1" + body + witness if salt % 2 else body) + locktime
    return Tx(txid, () if coinbase else tuple(spends), tuple(outputs), coinbase, raw)


def root_of(txids: Iterable[str]) -> bytes:
    """The Merkle root in the order of bytes that headers have."""
    level = [bytes.fromhex(txid)[::-1] for txid in txids]
    while len(level) > 1:
        level += level[-1:] if len(level) % 2 else []
        level = [double(level[i] + level[i + 1]) for i in range(0, len(level), 2)]
    return level[0]


class SimChain:
    """Every block ever made, the best branch, and the mempool. `before` is called before each answer, by its name."""

    def __init__(self, length: int = 12) -> None:
        self.believed = True
        self.name = "node in memory"
        self.before: Callable[[str], None] = lambda _: None
        self.known: dict[str, Block] = {}
        self.header: dict[str, bytes] = {}
        self.best: list[str] = []
        self.pool: dict[str, Tx] = {}
        self.tips: list[str] = []
        self._real: set[str] = set()
        self._salt = 0
        for _ in range(length):
            self.mine((), 600)

    def copy(self) -> SimChain:
        """Another one with the same past."""
        twin = SimChain(0)
        twin.known, twin.header, twin.best = dict(self.known), dict(self.header), list(self.best)
        twin.tips = list(self.tips)
        twin._salt, twin._real = self._salt, set(self._real)
        return twin

    # The chain as the story's author has it

    @property
    def tip(self) -> Block:
        """The last block of the best branch."""
        return self.known[self.best[-1]]

    def branch(self, tip_hash: str) -> list[Block]:
        """The blocks from the first one up to this one."""
        found = [self.known[tip_hash]]
        while found[-1].height:
            found.append(self.known[found[-1].prev])
        return found[::-1]

    def mempool(self) -> Mapping[str, Tx]:
        """What waits to be confirmed."""
        return self.pool

    def fresh_coin(self) -> Outpoint:
        """A coin that somebody has always had."""
        self._salt += 1
        return double(f"coin {self._salt}".encode()).hex(), 0

    def tx(self, spends: Sequence[Outpoint], outputs: Sequence[tuple[int, bytes]]) -> Tx:
        """A new transaction, not sent yet."""
        self._salt += 1
        made = make_tx(spends, outputs, self._salt)
        self._real.add(made.txid)
        return made

    def send(self, tx: Tx) -> bool:
        """Into the mempool; what it conflicts with goes. False if a block has spent what it spends."""
        made, spent = self._outputs(self.best[-1])
        if not self._fits(tx, spent, made):
            return False
        for txid in [other.txid for other in self.pool.values() if set(other.spends) & set(tx.spends)]:
            self.evict(txid)
        if not self._fits(tx, spent, made):
            return False  # it spends what it would replace
        self.pool[tx.txid] = tx
        return True

    def evict(self, txid: str) -> None:
        """Out of the mempool, with all that spends its outputs."""
        self.pool.pop(txid, None)
        for child in [c.txid for c in self.pool.values() if any(spent == txid for spent, _ in c.spends)]:
            self.evict(child)

    def mine(self, txs: Iterable[Tx], seconds: int, to: tuple[int, bytes] = (50, NOBODY)) -> Block:
        """A block on the tip with those of these transactions that it can hold, `seconds` after the last one, or as
        early as may be. Its own coin is `to`."""
        parent = self.tip if self.best else None
        branch = self.branch(parent.hash) if parent else []
        earliest = median_time(branch, len(branch) - 1) + 1 if branch else START
        self._salt += 1
        held = [make_tx([NULL], [to], self._salt, coinbase=True)]
        self._real.add(held[0].txid)
        made, spent = self._outputs(parent.hash) if parent else (frozenset[Outpoint](), frozenset[Outpoint]())
        for tx in txs:
            if self._fits(tx, spent, made, strict=True) and tx.txid not in {t.txid for t in held}:
                held.append(tx)
                spent |= set(tx.spends)
                made |= {(tx.txid, n) for n in range(len(tx.outputs))}
        time = max(earliest, (parent.time if parent else START) + seconds)
        header = struct.pack("<i", 4) + bytes.fromhex(parent.hash if parent else "00" * 32)[::-1]
        header += root_of(tx.txid for tx in held) + struct.pack("<III", time, 0x207FFFFF, self._salt)
        block = Block(double(header)[::-1].hex(), parent.hash if parent else "", len(branch), time, tuple(held))
        self.known[block.hash], self.header[block.hash] = block, header
        self.best.append(block.hash)
        self.tips.append(block.hash)
        self._tidy({})
        return block

    def go_to(self, tip_hash: str, remember: bool) -> None:
        """Another block is the tip, on whatever branch; lost transactions return to the mempool, or do not."""
        old, new = self.branch(self.tip.hash), self.branch(tip_hash)
        lost = {tx.txid: tx for b in old if b not in new for tx in b.txs if not tx.coinbase}
        self.best = [block.hash for block in new]
        self.tips.append(tip_hash)
        self._tidy(lost if remember else {})

    # The chain as a backend (see the port)

    def status(self) -> NodeStatus:
        """See the port."""
        return NodeStatus(NETWORKS["regtest"].genesis, self.tip.height, self.tip.height, self.tip.hash, True)

    def block_hash(self, height: int) -> str | None:
        """See the port."""
        self.before("block_hash")
        return self.best[height] if height < len(self.best) else None

    def headers(self, first_height: int, count: int) -> list[bytes]:
        """See the port."""
        self.before("headers")
        return [self.header[found] for found in self.best[first_height : first_height + count]]

    def block(self, block_hash: str) -> bytes:
        """See the port."""
        self.before("block")
        txs = self.known[block_hash].txs
        return self.header[block_hash] + bytes([len(txs)]) + b"".join(tx.raw for tx in txs)

    def mempool_txids(self) -> list[str]:
        """See the port."""
        self.before("mempool_txids")
        return list(self.pool)

    def mempool_transactions(self, txids: Sequence[str]) -> dict[str, bytes]:
        """See the port."""
        self.before("mempool_transactions")
        return {txid: self.pool[txid].raw for txid in txids if txid in self.pool}

    def spenders(self, outpoints: Sequence[Outpoint]) -> dict[Outpoint, Spender]:
        """See the port. As a node does, it knows the unconfirmed ones only."""
        self.before("spenders")
        found = {outpoint: Spender(tx.txid, None) for tx in self.pool.values() for outpoint in tx.spends}
        return {outpoint: found[outpoint] for outpoint in outpoints if outpoint in found}

    def unspent(self, scripts: Sequence[bytes]) -> tuple[str, list[UnspentCoin]]:
        """See the port."""
        self.before("unspent")
        made, spent = self._outputs(self.tip.hash)
        return self.tip.hash, [
            UnspentCoin(tx.txid, vout, sats, script, tx.coinbase, block.height)
            for block in self.branch(self.tip.hash)
            for tx in block.txs
            for vout, (sats, script) in enumerate(tx.outputs)
            if script in scripts and (tx.txid, vout) in made - spent
        ]

    def origin(self, tx: ParsedTx, block_hash: str, script: bytes) -> Origin | None:
        """See the port."""
        self.before("origin")
        spent = {txid for txid, _ in tx.spends}
        raws = [other.raw for block in self.branch(block_hash) for other in block.txs if other.txid in spent]
        raw = spending(tx, raws, script)
        return None if raw is None else Origin(raw)

    def broadcast(self, raw: bytes) -> SendResult:
        """See the port; nothing is ever signed here."""
        return SendResult(Sent.REFUSED, "not here")

    def feerate_sat_vb(self, target_blocks: int) -> int | None:
        """See the port."""
        self.before("feerate_sat_vb")
        return 2

    def close(self) -> None:
        """See the port."""

    # What only the chain itself needs

    def _outputs(self, tip_hash: str) -> tuple[frozenset[Outpoint], frozenset[Outpoint]]:
        """(every output made, every output spent) in the branch."""
        txs = [tx for block in self.branch(tip_hash) for tx in block.txs]
        made = frozenset((tx.txid, n) for tx in txs for n in range(len(tx.outputs)))
        return made, frozenset(outpoint for tx in txs for outpoint in tx.spends)

    def _fits(self, tx: Tx, spent: frozenset[Outpoint], made: frozenset[Outpoint], strict: bool = False) -> bool:
        """Is what it spends there, and unspent by a block? `strict`: outputs of the mempool are not there."""
        parents = {txid for txid, _ in tx.spends} & self._real
        there = {txid for txid, _ in made} | (set() if strict else self.pool.keys())
        return not spent & set(tx.spends) and parents <= there and (tx.txid, 0) not in made

    def _tidy(self, returning: Mapping[str, Tx]) -> None:
        """Only what the next block could hold stays in the mempool; parents come first."""
        waiting, self.pool = {**returning, **self.pool}, {}
        made, spent = self._outputs(self.best[-1])
        taken: set[Outpoint] = set()
        for txid, tx in waiting.items():
            if self._fits(tx, spent, made) and not taken & set(tx.spends):
                self.pool[txid] = tx
                taken |= set(tx.spends)
