"""Full blocks on a private regtest node, made without a single signature.

Every coin is the hash of a script that takes any data and is content, so the witness that spends it can have the
size of a signature and a key, and on the wire a transaction looks like one of the usual kinds. Blocks go to the
node by `submitblock`; nothing touches a mempool. The same seed makes the same blocks.
"""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import new, sha256

from crowdfund.chain.regtest import RegtestNode
from crowdfund.errors import WorldError
from crowdfund.wallet.blocks import double_sha256, merkle_root

BITS = 0x207FFFFF
TARGET = 0x7FFFFF << 8 * (0x20 - 3)
HALVING = 150  # blocks, on regtest
MATURITY = 100
REWARDS = 30  # mature rewards to begin with; each pays for one fan of coins
PAIRS = 4_150  # transactions in a typical block
VARIED = 2_900  # in a block of many shapes
HEAVY = 18  # in a heavy block
HEAVY_ITEMS = 400  # of 520 bytes, in the witness of each of them
HITS = 20
LOCKTIME = bytes(4)
SEQUENCE = b"\xfd\xff\xff\xff"
MARKER = b"\0\1"
COMMITMENT = b"\x6a\x24\xaa\x21\xa9\xed"
DROP_ALL = b"\x6d" * (HEAVY_ITEMS // 2) + b"\x51"  # 2DROP…, TRUE


@dataclass(frozen=True, slots=True)
class Coin:
    """An output anybody can spend. `kind` is what spending it looks like: "wpkh", "sh-wpkh" (P2WPKH in P2SH) and
    "pkh" one signature and one key, "heavy" 208 kB of witness. `script` is the one behind the hash."""

    kind: str
    script: bytes
    sats: int
    outpoint: bytes = b""

    @property
    def locking(self) -> bytes:
        """The locking script."""
        if self.kind == "pkh":
            return _p2sh(self.script)
        witness_program = b"\0\x20" + sha256(self.script).digest()
        return _p2sh(witness_program) if self.kind == "sh-wpkh" else witness_program


@dataclass(frozen=True, slots=True)
class Tx:
    """A transaction with its two ids in hex."""

    raw: bytes
    txid: str
    wtxid: str


def watched_scripts(count: int, seed: int = 1) -> list[bytes]:
    """`count` P2WPKH locking scripts whose keys nobody knows."""
    source = random.Random(seed)
    return [b"\0\x14" + source.randbytes(20) for _ in range(count)]


class Maker:
    """Makes blocks on a fresh node. `watched` are the scripts that some `HITS` outputs of each block pay."""

    def __init__(self, node: RegtestNode, watched: Sequence[bytes], seed: int = 2) -> None:
        self._node, self._watched, self._random = node, watched, random.Random(seed)
        self._time = int(time.time()) - 86_400
        self._height, self._tip = 0, str(node.rpc("getbestblockhash"))
        self._rewards: list[Coin] = []
        self._coins: dict[str, list[Coin]] = {"wpkh": [], "sh-wpkh": [], "pkh": [], "heavy": []}
        for _ in range(MATURITY + REWARDS):
            self._submit([])

    def typical(self, count: int) -> list[str]:
        """Hashes of `count` blocks of some 4,150 transactions with two inputs and two outputs each."""
        self._provide("wpkh", 2 * PAIRS + HITS * count)
        return [self._submit([self._pair(hit) for hit in self._hits(PAIRS)]) for _ in range(count)]

    def varied(self, count: int) -> list[str]:
        """Hashes of `count` blocks with a mixture of inputs and outputs as on the main chain."""
        hashes = []
        for _ in range(count):
            for kind, coins in (("wpkh", 6_000), ("sh-wpkh", 1_500), ("pkh", 2_500)):
                self._provide(kind, coins)
            hashes.append(self._submit([self._varied(hit) for hit in self._hits(VARIED)]))
        return hashes

    def heavy(self, count: int) -> list[str]:
        """Hashes of `count` blocks of 3.8 MB, nearly all of it witness; every transaction is a hit."""
        self._provide("heavy", HEAVY * count)
        return [self._submit([self._heavy() for _ in range(HEAVY)]) for _ in range(count)]

    def _hits(self, count: int) -> list[bool]:
        hits = set(self._random.sample(range(count), HITS))
        return [n in hits for n in range(count)]

    def _pair(self, hit: bool) -> Tx:
        """Two coins into two; if `hit`, one of them goes to a watched script."""
        spent = self._take("wpkh", 2)
        half = sum(coin.sats for coin in spent) // 2
        made: list[Coin | bytes] = [self._new("wpkh", half), self._new("wpkh", half)]
        if hit:
            made[0] = self._random.choice(self._watched)
        return self._tx(spent, made)

    def _varied(self, hit: bool) -> Tx:
        """One to some inputs of one kind, one to many outputs of all kinds, which nobody can spend."""
        source = self._random
        kind = source.choices(("wpkh", "sh-wpkh", "pkh"), (65, 12, 23))[0]
        inputs = source.choices((1, 2, 3, 4, 5, 8, 30), (70, 15, 6, 3, 2, 3, 1))[0]
        outputs = source.choices((1, 2, 3, 4, 5, 6, 8, 14, 40), (25, 55, 7, 3, 2, 2, 2, 3, 1))[0]
        made: list[Coin | bytes] = [self._foreign() for _ in range(outputs)]
        if hit:
            made[source.randrange(outputs)] = source.choice(self._watched)
        return self._tx(self._take(kind, inputs), made)

    def _foreign(self) -> bytes:
        """A locking script of a usual kind."""
        source = self._random
        start, size, end = source.choices(
            [
                (b"\0\x14", 20, b""),
                (b"\x51\x20", 32, b""),
                (b"\x76\xa9\x14", 20, b"\x88\xac"),
                (b"\xa9\x14", 20, b"\x87"),
                (b"\0\x20", 32, b""),
                (b"\x6a", 0, b""),
            ],
            (48, 16, 12, 12, 4, 8),
        )[0]
        if start == b"\x6a":
            size = source.choice((8, 16, 20, 32, 75))
            start += bytes([size])
        return start + source.randbytes(size) + end

    def _heavy(self) -> Tx:
        return self._tx(self._take("heavy", 1), [self._random.choice(self._watched)])

    def _new(self, kind: str, sats: int) -> Coin:
        """A coin to be made, with a script of its own: 33 bytes as a key has, or 34."""
        size = 30 if kind == "pkh" else 29
        script = bytes([size]) + self._random.randbytes(size) + b"\x75\x75\x51"  # DROP DROP TRUE
        return Coin(kind, DROP_ALL if kind == "heavy" else script, sats)

    def _take(self, kind: str, count: int) -> list[Coin]:
        coins = self._coins[kind]
        self._coins[kind], taken = coins[count:], coins[:count]
        return taken

    def _provide(self, kind: str, count: int) -> None:
        """See that there are `count` coins of the kind, by a block that fans a reward out into them."""
        missing = count - len(self._coins[kind])
        if missing > 0:
            reward = self._rewards.pop(0)
            share = reward.sats // missing
            self._submit([self._tx([reward], [self._new(kind, share) for _ in range(missing)])])

    def _tx(self, spent: Sequence[Coin], made: Sequence[Coin | bytes]) -> Tx:
        """A transaction without fee or change: what the scripts among `made` get is 600 sat, the rest is lost."""
        inputs = b"".join(coin.outpoint + self._signature_script(coin) + SEQUENCE for coin in spent)
        outputs = b"".join(
            _output(coin.sats, coin.locking) if isinstance(coin, Coin) else _output(600, coin) for coin in made
        )
        witness = b"".join(self._witness(coin) for coin in spent)
        tx = _assembled(_size(len(spent)) + inputs + _size(len(made)) + outputs, witness)
        wire = bytes.fromhex(tx.txid)[::-1]
        for vout, coin in enumerate(made):
            if isinstance(coin, Coin):
                self._coins[coin.kind].append(replace(coin, outpoint=wire + struct.pack("<I", vout)))
        return tx

    def _signature(self) -> bytes:
        size = self._random.choice((71, 72))
        return bytes([size]) + self._random.randbytes(size)

    def _signature_script(self, coin: Coin) -> bytes:
        if coin.kind == "pkh":
            return _sized(self._signature() + _sized(coin.script))
        return _sized(_sized(b"\0\x20" + sha256(coin.script).digest())) if coin.kind == "sh-wpkh" else b"\0"

    def _witness(self, coin: Coin) -> bytes:
        if coin.kind == "pkh":
            return b""
        if coin.kind == "heavy":
            items = b"".join(_sized(self._random.randbytes(520)) for _ in range(HEAVY_ITEMS))
            return _size(HEAVY_ITEMS + 1) + items + _sized(coin.script)
        return b"\2" + self._signature() + _sized(coin.script)

    def _submit(self, txs: Sequence[Tx]) -> str:
        """Put the transactions into a block on top of the chain; returns its hash. Raises WorldError if refused."""
        self._height += 1
        self._time += 60
        coinbase = self._coinbase(txs)
        root = bytes.fromhex(merkle_root([coinbase.txid, *(tx.txid for tx in txs)]))[::-1]
        start = struct.pack("<I", 0x20000000) + bytes.fromhex(self._tip)[::-1] + root
        header = _mined(start + struct.pack("<II", self._time, BITS))
        block = header + _size(len(txs) + 1) + coinbase.raw + b"".join(tx.raw for tx in txs)
        refusal = self._node.rpc("submitblock", block.hex())
        if refusal is not None:
            raise WorldError(f"The node refused a block made for measuring: {refusal}.", retryable=False)
        self._tip = double_sha256(header)[::-1].hex()
        return self._tip

    def _coinbase(self, txs: Sequence[Tx]) -> Tx:
        number = self._height.to_bytes(self._height.bit_length() // 8 + 1, "little")
        text = _sized((bytes([0x50 + self._height]) if self._height <= 16 else _sized(number)) + b"\0\0")
        reward = self._new("wpkh", 50 * 100_000_000 >> self._height // HALVING)
        commitment = double_sha256(bytes.fromhex(merkle_root(["00" * 32, *(t.wtxid for t in txs)]))[::-1] + bytes(32))
        outputs = _output(reward.sats, reward.locking) + _output(0, COMMITMENT + commitment)
        tx = _assembled(b"\1" + bytes(32) + b"\xff" * 4 + text + b"\xff" * 4 + b"\2" + outputs, b"\1\x20" + bytes(32))
        self._rewards.append(replace(reward, outpoint=bytes.fromhex(tx.txid)[::-1] + bytes(4)))
        return tx


def _assembled(body: bytes, witness: bytes) -> Tx:
    version = b"\2\0\0\0"
    stripped = version + body + LOCKTIME
    raw = version + MARKER + body + witness + LOCKTIME if witness else stripped
    return Tx(raw, double_sha256(stripped)[::-1].hex(), double_sha256(raw)[::-1].hex())


def _mined(start: bytes) -> bytes:
    """The header with the first nonce that has enough work."""
    headers = (start + struct.pack("<I", nonce) for nonce in range(1 << 32))
    return next(h for h in headers if int.from_bytes(double_sha256(h), "little") <= TARGET)


def _p2sh(script: bytes) -> bytes:
    return b"\xa9\x14" + new("ripemd160", sha256(script).digest(), usedforsecurity=False).digest() + b"\x87"


def _output(sats: int, script: bytes) -> bytes:
    return struct.pack("<Q", sats) + _sized(script)


def _sized(data: bytes) -> bytes:
    return _size(len(data)) + data


def _size(number: int) -> bytes:
    return bytes([number]) if number < 0xFD else b"\xfd" + struct.pack("<H", number)
