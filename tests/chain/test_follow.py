"""Following a chain that this test makes up: reorganisations, moving tips, lies and damaged bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

import pytest

from crowdfund.chain.blocks import double_sha256, merkle_root, parse_tx
from crowdfund.chain.follow import FIRST_BLOCKS, MAX_BLOCKS_AT_ONCE, BlockFacts, Changes, Follower
from crowdfund.chain.port import BlockRef, NodeStatus, SendResult, Sent, UnspentCoin
from crowdfund.errors import WorldError

OURS, THEIRS = b"\x00\x14" + b"o" * 20, b"\x00\x14" + b"t" * 20


def transaction(*outputs: tuple[bytes, int], spends: Sequence[tuple[str, int]] = (), salt: int = 0) -> bytes:
    """A raw transaction; without `spends` it spends an outpoint that depends on `salt`."""
    inputs = list(spends) or [(f"{salt + 1:064x}", 0)]
    parts = [struct.pack("<iB", 2, len(inputs))]
    parts += [bytes.fromhex(txid)[::-1] + struct.pack("<IBI", vout, 0, 0) for txid, vout in inputs]
    parts.append(bytes([len(outputs)]))
    parts += [struct.pack("<qB", sats, len(script)) + script for script, sats in outputs]
    return b"".join([*parts, struct.pack("<I", salt)])


def txid_of(raw: bytes) -> str:
    return parse_tx(raw).txid


@dataclass
class Chain:
    """A backend, and a chain to play with. `before` is called before each answer, by the method's name."""

    branch: list[str] = field(default_factory=list)
    refs: dict[str, BlockRef] = field(default_factory=dict)
    raw: dict[str, bytes] = field(default_factory=dict)
    mempool: dict[str, bytes] = field(default_factory=dict)
    before: Callable[[str], None] = lambda _: None
    fetched: list[str] = field(default_factory=list)

    def mine(self, *transactions: bytes, salt: int = 0) -> str:
        """A block on the tip with these transactions; they leave the mempool."""
        height, previous = len(self.branch), self.branch[-1] if self.branch else "00" * 32
        parts = [transaction((THEIRS, 1), spends=[("00" * 32, height)], salt=salt), *transactions]
        root = merkle_root([txid_of(t) for t in parts])
        header = struct.pack("<i", 4) + bytes.fromhex(previous)[::-1] + bytes.fromhex(root)[::-1]
        header += struct.pack("<III", height, 0, salt)
        found = double_sha256(header)[::-1].hex()
        self.raw[found] = header + bytes([len(parts)]) + b"".join(parts)
        self.refs[found] = BlockRef(height, found, previous if height else "", height, height)
        self.branch.append(found)
        for tx in transactions:
            self.mempool.pop(txid_of(tx), None)
        return found

    def status(self) -> NodeStatus:
        tip = len(self.branch) - 1
        return NodeStatus(self.branch[0], tip, tip, self.branch[-1], tip, True)

    def block_hash(self, height: int) -> str | None:
        self.before("block_hash")
        return self.branch[height] if height < len(self.branch) else None

    def block_refs(self, hashes: Sequence[str]) -> list[BlockRef]:
        self.before("block_refs")
        return [self.refs[h] for h in hashes]

    def block(self, block_hash: str) -> bytes:
        self.before("block")
        return self.raw[block_hash]

    def mempool_txids(self) -> list[str]:
        self.before("mempool_txids")
        return list(self.mempool)

    def mempool_transactions(self, txids: Sequence[str]) -> dict[str, bytes]:
        self.before("mempool_transactions")
        self.fetched += txids
        return {t: self.mempool[t] for t in txids if t in self.mempool}

    def unspent(self, scripts: Sequence[bytes]) -> tuple[str, list[UnspentCoin]]:
        return self.branch[-1], []

    def broadcast(self, raw: bytes) -> SendResult:
        return SendResult(Sent.ACCEPTED)

    def feerate_sat_vb(self, target_blocks: int) -> int | None:
        return None


@dataclass
class Records:
    """What a database would hold: the known chain and the watch in one."""

    chain: dict[int, BlockRef] = field(default_factory=dict)
    scripts: set[bytes] = field(default_factory=lambda: {OURS})
    coins: set[tuple[str, int]] = field(default_factory=set)

    def tip(self) -> BlockRef | None:
        return self.chain[max(self.chain)] if self.chain else None

    def hash_at(self, height: int) -> str | None:
        return self.chain[height].hash if height in self.chain else None

    def scripts_among(self, scripts: Collection[bytes]) -> set[bytes]:
        return self.scripts & set(scripts)

    def coins_among(self, outpoints: Collection[tuple[str, int]]) -> set[tuple[str, int]]:
        return self.coins & set(outpoints)

    def take(self, changes: Changes) -> None:
        if changes.fork_height is not None:
            self.chain = {h: ref for h, ref in self.chain.items() if h <= changes.fork_height}
        for facts in changes.blocks:
            self.chain[facts.block.height] = facts.block
            self.coins |= {(c.txid, c.vout) for c in facts.coins}


@pytest.fixture
def chain() -> Chain:
    made = Chain()
    for _ in range(5):
        made.mine()
    return made


def gathered(follower: Follower, chain: Chain, records: Records) -> Changes:
    changes = follower.gather(chain.status(), records, records)
    assert changes is not None
    records.take(changes)
    return changes


def paid(facts: Sequence[BlockFacts]) -> list[int]:
    return [c.value_sats for f in facts for c in f.coins]


def test_the_first_look_takes_the_last_blocks_and_the_mempool(chain: Chain) -> None:
    chain.mempool = {txid_of(t): t for t in (transaction((OURS, 7), (OURS, 8)), transaction((THEIRS, 9), salt=1))}
    changes = gathered(Follower(chain), chain, records := Records())
    assert [f.block.height for f in changes.blocks] == [0, 1, 2, 3, 4]
    assert [(c.value_sats, c.vout) for c in changes.mempool_coins] == [(7, 0), (8, 1)]
    assert changes.complete and changes.fork_height is None and changes.mempool_txids == chain.mempool.keys()
    again = gathered(Follower(chain), chain, records)
    assert again.blocks == () and again.fork_height is None


def test_a_long_way_is_taken_in_parts(chain: Chain) -> None:
    records = Records()
    gathered(follower := Follower(chain), chain, records)
    for _ in range(MAX_BLOCKS_AT_ONCE * 2 + 1):
        chain.mine()
    parts = [gathered(follower, chain, records) for _ in range(3)]
    assert [len(p.blocks) for p in parts] == [MAX_BLOCKS_AT_ONCE, MAX_BLOCKS_AT_ONCE, 1]
    assert [p.complete for p in parts] == [False, False, True]
    fresh = gathered(Follower(chain), chain, Records())
    assert len(fresh.blocks) == FIRST_BLOCKS and fresh.complete


def test_a_transaction_is_fetched_once_and_again_after_forgetting(chain: Chain) -> None:
    tx = transaction((OURS, 7))
    chain.mempool = {txid_of(tx): tx}
    follower, records = Follower(chain), Records()
    assert len(gathered(follower, chain, records).mempool_coins) == 1
    assert len(gathered(follower, chain, records).mempool_coins) == 0
    follower.forget_mempool()
    assert len(gathered(follower, chain, records).mempool_coins) == 1
    chain.mempool = {}
    gathered(follower, chain, records)
    chain.mempool = {txid_of(tx): tx}
    assert len(gathered(follower, chain, records).mempool_coins) == 1, "it had left and is back"
    assert chain.fetched == [txid_of(tx)] * 3


def test_coins_and_their_spends_in_one_block_and_later(chain: Chain) -> None:
    records = Records()
    gathered(follower := Follower(chain), chain, records)
    pay = transaction((OURS, 7), (THEIRS, 1), (OURS, 8))
    spend = transaction((THEIRS, 6), spends=[(txid_of(pay), 0), (txid_of(pay), 1)])
    chain.mine(pay, spend)
    chain.mine(later := transaction((THEIRS, 7), spends=[(txid_of(pay), 2)], salt=3))
    facts = gathered(follower, chain, records).blocks
    assert paid(facts) == [7, 8]
    assert [(s.vout, s.spent_by) for f in facts for s in f.spends] == [(0, txid_of(spend)), (2, txid_of(later))]
    chain.mine(last := transaction((THEIRS, 7), spends=[(txid_of(pay), 2)], salt=4))
    assert [s.spent_by for s in gathered(follower, chain, records).blocks[0].spends] == [txid_of(last)]


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("growth", [-1, 0, 3])
def test_a_reorganisation_names_the_fork_and_brings_the_new_branch(depth: int, growth: int, chain: Chain) -> None:
    records = Records()
    gathered(follower := Follower(chain), chain, records)
    fork = len(chain.branch) - depth - 1
    del chain.branch[fork + 1 :]
    for _ in range(depth + growth):
        chain.mine(transaction((OURS, 5)), salt=77)
    changes = gathered(follower, chain, records)
    assert changes.fork_height == fork
    assert [f.block.hash for f in changes.blocks] == chain.branch[fork + 1 :]
    assert [records.hash_at(h) for h in range(len(chain.branch))] == chain.branch
    assert records.hash_at(len(chain.branch)) is None


def test_another_chain_is_refused(chain: Chain) -> None:
    records = Records()
    gathered(Follower(chain), chain, records)
    other = Chain()
    for _ in range(9):
        other.mine(salt=5)
    with pytest.raises(WorldError, match="shares no block") as refused:
        Follower(other).gather(other.status(), records, records)
    assert refused.value.retryable


@pytest.mark.parametrize("moment", ["block_hash", "block_refs", "block", "mempool_txids", "mempool_transactions"])
@pytest.mark.parametrize("kind", ["block", "reorganisation"])
def test_a_tip_that_moves_meanwhile_starts_it_over(moment: str, kind: str, chain: Chain) -> None:
    """A transaction that a new block takes from the mempool must not look as if it had vanished."""
    records = Records()
    follower = Follower(chain)
    gathered(follower, chain, records)
    chain.mine()
    tx = transaction((OURS, 7))
    chain.mempool = {txid_of(tx): tx}
    moved: list[str] = []

    def move(method: str) -> None:
        if method == moment and not moved:
            moved.append(method)
            if kind == "reorganisation":
                del chain.branch[-1]
                chain.mine(salt=9)
            chain.mine(tx)

    status = chain.status()
    chain.before = move
    assert follower.gather(status, records, records) is None
    assert moved
    changes = gathered(follower, chain, records)
    assert paid(changes.blocks) == [7] and changes.mempool_coins == ()


def test_an_address_stored_while_the_blocks_are_fetched_is_watched(chain: Chain) -> None:
    """The payment may be there as soon as the address is: the scripts are asked for last."""
    records = Records(scripts=set())
    tx, other = transaction((OURS, 7)), transaction((OURS, 8), salt=2)
    chain.mine(tx)
    chain.mempool = {txid_of(other): other}

    def late(method: str) -> None:
        if method == "mempool_transactions":
            records.scripts = {OURS}

    chain.before = late
    changes = gathered(Follower(chain), chain, records)
    assert paid(changes.blocks) == [7] and [c.value_sats for c in changes.mempool_coins] == [8]


def test_a_transaction_that_leaves_while_it_is_fetched_is_looked_at_again(chain: Chain) -> None:
    tx = transaction((OURS, 7))
    chain.mempool = {txid_of(tx): tx}
    chain.before = lambda method: chain.mempool.clear() if method == "mempool_transactions" else None
    follower, records = Follower(chain), Records()
    assert gathered(follower, chain, records).mempool_coins == ()
    chain.before = lambda _: None
    chain.mempool = {txid_of(tx): tx}
    assert len(gathered(follower, chain, records).mempool_coins) == 1


def test_damaged_blocks_are_refused(chain: Chain) -> None:
    tip = chain.mine(transaction((OURS, 7)))
    good = chain.raw[tip]
    follower, records = Follower(chain), Records()
    for where in range(len(good)):
        chain.raw[tip] = good[:where] + bytes([good[where] ^ 1]) + good[where + 1 :]
        with pytest.raises(WorldError, match=r"damaged|another block"):
            follower.gather(chain.status(), records, records)
    for raw in (b"", good[:80], good[:-1], good + b"\0", chain.raw[chain.branch[2]], good[:80] + b"\0"):
        chain.raw[tip] = raw
        with pytest.raises(WorldError, match=r"damaged|another block"):
            follower.gather(chain.status(), records, records)
    chain.raw[tip] = good
    assert paid(gathered(follower, chain, records).blocks) == [7]


def test_damaged_unconfirmed_transactions_are_refused(chain: Chain) -> None:
    tx, other = transaction((OURS, 7)), transaction((OURS, 8), salt=1)
    for raw in (b"", tx[:-1], tx + b"\0", other, tx[:-1] + b"\xff"):
        chain.mempool = {txid_of(tx): raw}
        with pytest.raises(WorldError, match=r"damaged|another transaction"):
            Follower(chain).gather(chain.status(), Records(), Records())


def test_headers_that_do_not_follow_each_other_are_not_taken(chain: Chain) -> None:
    records = Records()
    follower = Follower(chain)
    gathered(follower, chain, records)
    first = chain.mine()
    chain.mine()
    chain.refs[first] = replace(chain.refs[first], prev_hash=chain.branch[1])
    with pytest.raises(WorldError, match="another block"):
        follower.gather(chain.status(), records, records)
