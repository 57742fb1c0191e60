"""The quick scan of a block against the plain parser: same hits, same verdict on damaged bytes."""

from __future__ import annotations

import random
import struct
from collections.abc import Set as AbstractSet

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdfund.chain import scan
from crowdfund.chain.regtest import RegtestNode
from crowdfund.chain.scan import fingerprints, outpoint_key, scan_block, scan_spends
from crowdfund.wallet.blocks import ParsedTx, parse_block, parse_tx
from support.node import new_address

HEADER = bytes(range(80))
OWN = [b"\0\x14" + bytes([n]) * 20 for n in range(6)]
OWN += [b"\xa9\x14" + b"s" * 20 + b"\x87", b"\x51\x20" + b"t" * 32, b"\x76\xa9\x14" + b"p" * 20 + b"\x88\xac"]
OWN += [b"", b"\x51", b"\x6a" * 300, b"\x51\x02\x4e\x73", bytes(0xFD)]
COINS = [bytes([n]) * 32 + struct.pack("<I", n) for n in range(1, 6)] + [bytes(32) + b"\xff" * 4]
LENGTHS = [*scan.OUTPUT_SCRIPTS, 0, 1, 2, 3, 0x4B, 0xFC, 0xFD, 0x100, 0x200]


def number(value: int) -> bytes:
    """A number as blocks spell it."""
    return bytes([value]) if value < 0xFD else b"\xfd" + struct.pack("<H", value)


def sized(data: bytes) -> bytes:
    return number(len(data)) + data


def slow(raw: bytes, scripts: AbstractSet[bytes], coins: AbstractSet[bytes]) -> list[ParsedTx]:
    """What `scan_block` must find, by the plain parser."""
    txs = parse_block(raw)[2]
    known = coins | {outpoint_key(t.txid, n) for t in txs for n, (_, s) in enumerate(t.outputs) if s in scripts}
    return [
        t
        for t in txs
        if any(s in scripts for _, s in t.outputs) or any(outpoint_key(*spent) in known for spent in t.spends)
    ]


def same(raw: bytes, scripts: AbstractSet[bytes], coins: AbstractSet[bytes]) -> None:
    """Both readers find the same, or both refuse."""
    try:
        expected = slow(raw, scripts, coins)
    except ValueError:
        with pytest.raises(ValueError, match=r"early|short|left over|none"):
            scan_block(raw, scripts, coins)
        with pytest.raises(ValueError, match=r"early|short|left over|none"):
            scan_spends(raw, scripts, coins)
        return
    assert scan_block(raw, scripts, coins) == expected
    hits, ends = scan_spends(raw, scripts, coins)
    assert hits == expected
    spent = [spend for raw_tx in parse_block(raw)[2] for spend in raw_tx.spends]
    told = {ends[n : n + 4] for n in range(0, len(ends), 4)}
    assert {fingerprints(outpoint_key(*spend)) for spend in spent} <= told


class Builder:
    """Blocks of random transactions. `source` decides everything, so a seed is a block."""

    def __init__(self, seed: int, odd: float) -> None:
        self.random = random.Random(seed)
        self.odd = odd
        self.made: list[bytes] = []

    def block(self, count: int) -> bytes:
        txs = [self.tx() for _ in range(count)]
        return HEADER + number(count) + b"".join(txs)

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def tx(self) -> bytes:
        inputs = self.few()
        witness = self.chance(0.7)
        body = number(inputs) + b"".join(self.input() for _ in range(inputs))
        outputs = self.few() if not self.chance(self.odd / 20) else 0
        body += number(outputs) + b"".join(self.output() for _ in range(outputs))
        version, locktime = self.random.randbytes(4), self.random.randbytes(4)
        stacks = b"".join(self.stack() for _ in range(inputs)) if witness else b""
        raw = version + (b"\0\1" if witness else b"") + body + stacks + locktime
        txid = parse_tx(raw).txid
        self.made += [outpoint_key(txid, n) for n in range(outputs)]
        return raw

    def few(self) -> int:
        if self.chance(self.odd):
            return self.random.choice([5, 6, 9, 30, 260])
        return self.random.randint(1, scan.MOST)

    def input(self) -> bytes:
        coins = [self.random.randbytes(36)] * 4 + self.made[-3:]
        if self.chance(0.1):
            coins = COINS
        length = self.random.choice([1, 50, 0xFC, 0xFD, 300] if self.chance(self.odd) else scan.SIGNATURE_SCRIPTS)
        return self.random.choice(coins) + sized(self.data(length)) + self.random.randbytes(4)

    def output(self) -> bytes:
        if self.chance(0.08):
            return self.random.randbytes(8) + sized(self.random.choice(OWN))
        length = self.random.choice(LENGTHS if self.chance(self.odd) else scan.OUTPUT_SCRIPTS)
        return self.random.randbytes(8) + sized(self.data(length))

    def stack(self) -> bytes:
        if self.chance(self.odd):
            items = [self.random.choice([0, 1, 5, 80, 0xFD, 600]) for _ in range(self.random.choice([0, 1, 6, 7]))]
        else:
            items = self.random.choices(scan.WITNESS_ITEMS, k=self.random.choice(scan.STACKS))
        return number(len(items)) + b"".join(sized(self.data(n)) for n in items)

    def data(self, size: int) -> bytes:
        """Random bytes, often with a watched script, its length before it, or a coin within."""
        if self.chance(0.3):
            inner = self.random.choice([sized(self.random.choice(OWN)), self.random.choice(COINS), b"\0\1\1\0"])
            return (self.random.randbytes(self.random.randint(0, 9)) + inner + self.random.randbytes(size))[:size]
        return self.random.randbytes(size)


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.02, 0.3, 1.0]), st.integers(1, 40), st.data())
def test_random_blocks(seed: int, odd: float, count: int, data: st.DataObject) -> None:
    raw = Builder(seed, odd).block(count)
    own = data.draw(st.sets(st.sampled_from(OWN)))
    coins = data.draw(st.sets(st.sampled_from(COINS)))
    same(raw, own, coins)
    same(raw, dict.fromkeys(own).keys(), frozenset(coins))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.05, 0.5]), st.data())
def test_damaged_blocks_get_the_same_verdict(seed: int, odd: float, data: st.DataObject) -> None:
    raw = Builder(seed, odd).block(data.draw(st.integers(1, 6)))
    for _ in range(10):
        altered = bytearray(raw)
        for _ in range(data.draw(st.integers(1, 3))):
            where = data.draw(st.integers(80, len(raw) - 1))
            altered[where] = data.draw(st.sampled_from([0, 1, 2, 22, 0xFC, 0xFD, 0xFE, 0xFF]) | st.integers(0, 255))
        same(bytes(altered), set(OWN), set(COINS))
        same(bytes(altered[: data.draw(st.integers(0, len(raw)))]), set(OWN), set(COINS))


@pytest.mark.parametrize("odd", [0.0, 0.5])
def test_every_truncation_and_every_single_altered_byte(odd: float) -> None:
    raw = min((Builder(seed, odd).block(3) for seed in range(60)), key=len)
    for length in range(len(raw)):
        with pytest.raises(ValueError, match=r"early|short|none"):
            scan_block(raw[:length], set(OWN), set(COINS))
    with pytest.raises(ValueError, match="left over"):
        scan_block(raw + b"\0", set(OWN), set(COINS))
    for where in range(80, len(raw)):
        for value in (0, 1, 3, 0xFD, 0xFF, raw[where] ^ 1, raw[where] ^ 0x80):
            same(raw[:where] + bytes([value]) + raw[where + 1 :], set(OWN), set(COINS))


def usual(spent: list[bytes], scripts: list[bytes]) -> bytes:
    """A transaction that spends as P2WPKH does."""
    inputs = b"".join(key + b"\0" + b"\xfd\xff\xff\xff" for key in spent)
    outputs = b"".join(struct.pack("<Q", 7) + sized(script) for script in scripts)
    stack = b"\2" + sized(b"\x30" * 71) + sized(b"\2" * 33)
    return (
        b"\2\0\0\0\0\1" + number(len(spent)) + inputs + number(len(scripts)) + outputs + stack * len(spent) + bytes(4)
    )


@pytest.mark.parametrize("reverse", [False, True])
def test_a_chain_within_one_block_is_found_to_any_depth(reverse: bool) -> None:
    stranger = b"\0\x14" + b"x" * 20
    txs, keys = [usual([b"q" * 36], [stranger, OWN[0]])], []
    for depth in range(20):
        keys = [outpoint_key(parse_tx(txs[-1]).txid, 1)]
        fill = [bytes([depth, n]) * 18 for n in range(depth % 7)]  # of usual and of unusual shape
        txs.append(usual([*fill, *keys], [stranger, OWN[depth % 9]]))
    last = usual([outpoint_key(parse_tx(txs[-1]).txid, 1)], [stranger])
    other = usual([outpoint_key(parse_tx(txs[-1]).txid, 0)], [stranger])
    block = [*txs, last, other]
    raw = HEADER + number(len(block)) + b"".join(block[::-1] if reverse else block)
    hits = scan_block(raw, set(OWN), set())
    expected = [parse_tx(tx) for tx in (*txs, last)]
    assert hits == (expected[::-1] if reverse else expected)


def test_fingerprints_are_those_of_each_outpoint_and_tell_outputs_apart() -> None:
    keys = [bytes([n]) * 32 + struct.pack("<I", n % 3) for n in range(1, 200)]
    assert fingerprints(b"".join(keys)) == b"".join(map(fingerprints, keys)) and fingerprints(b"") == b""
    assert len({fingerprints(keys[0][:32] + struct.pack("<I", n)) for n in range(256)}) == 256
    assert len({fingerprints(key) for key in keys}) == len(keys)


def test_many_transactions_of_usual_shape_are_all_cut_at_once() -> None:
    txs = [usual([random.Random(n).randbytes(36)] * (n % 4 + 1), [OWN[n % 6]] * (n % 3 + 1)) for n in range(2_000)]
    raw = HEADER + number(len(txs)) + b"".join(txs)
    assert not scan._cut(raw).unusual
    assert scan_block(raw, {OWN[1]}, set()) == [parse_tx(tx) for n, tx in enumerate(txs) if n % 6 == 1]


def test_nothing_watched_finds_nothing_but_still_judges() -> None:
    raw = HEADER + b"\1" + usual([b"q" * 36], [OWN[0]])
    assert scan_block(raw, set(), set()) == [] and scan_block(raw, {OWN[1]}, {b"r" * 36}) == []
    with pytest.raises(ValueError, match="left over"):
        scan_block(raw + b"\0", set(), set())
    with pytest.raises(ValueError, match="none"):
        scan_block(HEADER + b"\0", set(), set())


def test_blocks_of_a_real_node(node: RegtestNode) -> None:
    for kind in ("legacy", "p2sh-segwit", "bech32", "bech32m"):
        for _ in range(3):
            node.pay(new_address(node, kind), 1_000_000)
    node.mine()
    coins = [c for c in node.bank("listunspent") if c["amount"] * 100 == 1]
    for coin in coins:
        spent = [{"txid": coin["txid"], "vout": coin["vout"]}]
        raw = node.bank("createrawtransaction", spent, [{new_address(node): "0.005"}, {new_address(node): "0.0049"}])
        node.rpc("sendrawtransaction", node.bank("signrawtransactionwithwallet", raw)["hex"], 0)
    node.bank("sendmany", "", {new_address(node): "0.0001" for _ in range(30)})
    tip = node.mine()[0]
    keys = {outpoint_key(c["txid"], c["vout"]) for c in coins[::2]}
    for wanted in [tip, *(node.rpc("getblockhash", h) for h in (0, 1, 120, node.rpc("getblockcount") - 1))]:
        block = bytes.fromhex(node.rpc("getblock", wanted, 0))
        scripts = {script for tx in parse_block(block)[2] for _, script in tx.outputs}
        same(block, set(sorted(scripts)[::3]), keys)
        same(block, scripts, keys)
        same(block, set(), keys)
    assert len(scan_block(bytes.fromhex(node.rpc("getblock", tip, 0)), set(), keys)) >= len(keys)


def test_a_count_that_is_cut_off_is_no_block() -> None:
    with pytest.raises(ValueError, match="early"):
        scan_block(bytes(80) + b"\xfd", set(OWN), set(COINS))
