"""A chain that a test makes up, as a backend that hands out blocks, and records as a database would keep them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from crowdfund.chain.cancelling import Cancellable
from crowdfund.chain.follow import BlockFollower, Changes, FoundCoin
from crowdfund.chain.port import BlockRef, NodeStatus, Origin, Outpoint, SendResult, Sent, Spender, UnspentCoin
from crowdfund.chain.scan import outpoint_key
from crowdfund.wallet.blocks import ParsedTx, double_sha256, merkle_root, parse_tx, raw_transactions
from crowdfund.wallet.cancellation import spending

OURS, THEIRS = b"\x00\x14" + b"o" * 20, b"\x00\x14" + b"t" * 20


def transaction(*outputs: tuple[bytes, int], spends: Sequence[Outpoint] = (), salt: int = 0) -> bytes:
    """A raw transaction; without `spends` it spends an outpoint that depends on `salt`."""
    inputs = list(spends) or [(f"{salt + 1:064x}", 0)]
    parts = [struct.pack("<iB", 2, len(inputs))]
    parts += [bytes.fromhex(txid)[::-1] + struct.pack("<IBI", vout, 0, 0) for txid, vout in inputs]
    parts.append(bytes([len(outputs)]))
    parts += [struct.pack("<qB", sats, len(script)) + script for script, sats in outputs]
    return b"".join([*parts, struct.pack("<I", salt)])


def txid_of(raw: bytes) -> str:
    """The id of a raw transaction."""
    return parse_tx(raw).txid


@dataclass
class Chain:
    """A backend, and a chain to play with. `before` is called before each answer, by the method's name.

    The block at height h says that it was made at second h; who spends what is known of the mempool alone.
    """

    branch: list[str] = field(default_factory=list)
    raw: dict[str, bytes] = field(default_factory=dict)
    header: dict[str, bytes] = field(default_factory=dict)
    mempool: dict[str, bytes] = field(default_factory=dict)
    before: Callable[[str], None] = lambda _: None
    fetched: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    believed: bool = False
    name: str = "made-up node"

    def mine(self, *transactions: bytes, salt: int = 0, to: bytes = THEIRS) -> str:
        """A block on the tip with these transactions; they leave the mempool. Its own coin goes `to` a script."""
        height, previous = len(self.branch), self.branch[-1] if self.branch else "00" * 32
        parts = [transaction((to, 1), spends=[("00" * 32, 0xFFFFFFFF)], salt=salt + height), *transactions]
        root = merkle_root([txid_of(t) for t in parts])
        header = struct.pack("<i", 4) + bytes.fromhex(previous)[::-1] + bytes.fromhex(root)[::-1]
        header += struct.pack("<III", height, 0, salt)
        found = double_sha256(header)[::-1].hex()
        self.header[found] = header
        self.raw[found] = header + bytes([len(parts)]) + b"".join(parts)
        self.branch.append(found)
        for tx in transactions:
            self.mempool.pop(txid_of(tx), None)
        return found

    def take(self, *transactions: bytes) -> None:
        """Into the mempool."""
        self.mempool |= {txid_of(tx): tx for tx in transactions}

    def status(self) -> NodeStatus:
        """See the port."""
        tip = len(self.branch) - 1
        return NodeStatus(self.branch[0], tip, tip, self.branch[-1], True)

    def block_hash(self, height: int) -> str | None:
        """See the port."""
        self._ask("block_hash")
        return self.branch[height] if height < len(self.branch) else None

    def headers(self, first_height: int, count: int) -> list[bytes]:
        """See the port."""
        self._ask("headers")
        return [self.header[h] for h in self.branch[first_height : first_height + count]]

    def block(self, block_hash: str) -> bytes:
        """See the port."""
        self._ask("block")
        return self.raw[block_hash]

    def mempool_txids(self) -> list[str]:
        """See the port."""
        self._ask("mempool_txids")
        return list(self.mempool)

    def mempool_transactions(self, txids: Sequence[str]) -> dict[str, bytes]:
        """See the port."""
        self._ask("mempool_transactions")
        self.fetched += txids
        return {t: self.mempool[t] for t in txids if t in self.mempool}

    def spenders(self, outpoints: Sequence[Outpoint]) -> dict[Outpoint, Spender]:
        """See the port."""
        self._ask("spenders")
        found = {o: Spender(txid, None) for txid, raw in self.mempool.items() for o in parse_tx(raw).spends}
        return {o: found[o] for o in outpoints if o in found}

    def unspent(self, scripts: Sequence[bytes]) -> tuple[str, list[UnspentCoin]]:
        """See the port; nobody asks here."""
        return self.branch[-1], []

    def origin(self, tx: ParsedTx, block_hash: str, script: bytes) -> Origin | None:
        """See the port."""
        self._ask("origin")
        raws = [raw for block in self.branch for _, raw in raw_transactions(self.raw[block])]
        raw = spending(tx, raws, script)
        return None if raw is None else Origin(raw)

    def broadcast(self, raw: bytes) -> SendResult:
        """See the port."""
        return SendResult(Sent.ACCEPTED)

    def feerate_sat_vb(self, target_blocks: int) -> int | None:
        """See the port."""
        return None

    def close(self) -> None:
        """See the port."""

    def _ask(self, method: str) -> None:
        self.asked.append(method)
        self.before(method)


@dataclass
class Records:
    """What a database would hold: the known chain and the watch in one. `stored` are scripts not yet refreshed."""

    chain: dict[int, BlockRef] = field(default_factory=dict)
    scripts: set[bytes] = field(default_factory=lambda: {OURS})
    outpoints: set[bytes] = field(default_factory=set)
    stored: set[bytes] = field(default_factory=set)
    coins: dict[Outpoint, int | None] = field(default_factory=dict)
    inputs: dict[str, tuple[Outpoint, ...]] = field(default_factory=dict)
    in_mempool: set[str] = field(default_factory=set)
    cancellable: dict[bytes, Cancellable] = field(default_factory=dict)

    def tip(self) -> BlockRef | None:
        """See the port."""
        return self.chain[max(self.chain)] if self.chain else None

    def hash_at(self, height: int) -> str | None:
        """See the port."""
        return self.chain[height].hash if height in self.chain else None

    def opened(self) -> int | None:
        """See the port."""
        return None

    def refresh(self) -> None:
        """See the port."""
        self.scripts |= self.stored
        self.outpoints |= {outpoint_key(*o) for o in self.coins}
        self.outpoints |= {outpoint_key(*o) for inputs in self.inputs.values() for o in inputs}

    def coins_among(self, outpoints: Collection[Outpoint]) -> set[Outpoint]:
        """See the port."""
        return self.coins.keys() & set(outpoints)

    def payments_spending(self, outpoints: Collection[Outpoint]) -> dict[Outpoint, set[str]]:
        """See the port."""
        found: dict[Outpoint, set[str]] = {}
        for txid, inputs in self.inputs.items():
            for outpoint in set(inputs) & set(outpoints):
                found.setdefault(outpoint, set()).add(txid)
        return found

    def unconfirmed(self) -> set[str]:
        """See the port."""
        return set(self.in_mempool)

    def unsettled(self) -> set[str]:
        """See the port; nobody asks here."""
        return set()

    def recorded(self, items: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
        """See the port."""
        return {(txid, height) for (txid, _), height in self.coins.items() if height is not None} & set(items)

    def inputs_of(self, txids: Collection[str]) -> dict[str, list[Outpoint]]:
        """See the port."""
        return {txid: list(self.inputs.get(txid, ())) for txid in txids}

    def take(self, changes: Changes) -> None:
        """Write them down."""
        fork = changes.fork_height
        if fork is not None:
            self.chain = {h: ref for h, ref in self.chain.items() if h <= fork}
            self.coins = {o: None if h is not None and h > fork else h for o, h in self.coins.items()}
        for facts in changes.blocks:
            self.chain[facts.block.height] = facts.block
            self._found(facts.coins, facts.block.height)
        self._found(changes.mempool_coins, None)
        self.in_mempool -= changes.left | {rival.txid for rival in changes.rivals}

    def _found(self, coins: Iterable[FoundCoin], height: int | None) -> None:
        for coin in coins:
            self.coins[coin.txid, coin.vout] = height
            self.inputs[coin.txid] = coin.inputs
            if height is None:
                self.in_mempool.add(coin.txid)
            else:
                self.in_mempool.discard(coin.txid)


def gathered(follower: BlockFollower, chain: Chain, records: Records, heard: Collection[str] = ()) -> Changes:
    """What a look at the chain finds, written down."""
    changes = follower.gather(chain.status(), records, records, heard)
    assert changes is not None
    records.take(changes)
    return changes
