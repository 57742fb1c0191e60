"""Reading raw blocks and transactions: txids, inputs, outputs. Pure, and strict about lengths.

Written for speed in plain Python: one pass, no object per field that nobody reads.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import sha256

HEADER_SIZE = 80
MERKLE_ROOT = slice(36, 68)  # of the header
NULL_TXID = bytes(32)


@dataclass(frozen=True, slots=True)
class ParsedTx:
    """A transaction as the watcher needs it. `spends` are outpoints (txid hex, vout); a coinbase has none."""

    txid: str
    coinbase: bool
    spends: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[int, bytes], ...]
    locktime: int = 0


def double_sha256(data: bytes) -> bytes:
    """SHA-256 twice, as block and transaction ids use it."""
    return sha256(sha256(data).digest()).digest()


def parse_block(raw: bytes) -> tuple[str, str, list[ParsedTx]]:
    """(hash, hash of the block before, transactions). Raises ValueError if the bytes are not one whole block."""
    if len(raw) < HEADER_SIZE + 1:
        raise ValueError("too short for a block")
    count, position = _varint(raw, HEADER_SIZE)
    if not count:
        raise ValueError("a block without transactions is none")
    transactions = []
    for _ in range(count):
        tx, position = _read_tx(raw, position)
        transactions.append(tx)
    if position != len(raw):
        raise ValueError("bytes left over after the last transaction")
    return double_sha256(raw[:HEADER_SIZE])[::-1].hex(), raw[4:36][::-1].hex(), transactions


def raw_transactions(raw: bytes) -> list[tuple[str, bytes]]:
    """(txid, raw bytes) of each transaction of a block. Raises ValueError as `parse_block` does."""
    count, position = _varint(raw, HEADER_SIZE)
    found = []
    for _ in range(count):
        tx, end = _read_tx(raw, position)
        found.append((tx.txid, raw[position:end]))
        position = end
    if position != len(raw):
        raise ValueError("bytes left over after the last transaction")
    return found


def parse_tx(raw: bytes) -> ParsedTx:
    """One transaction with or without witness (BIP 144). Raises ValueError if the bytes are not one."""
    tx, position = _read_tx(raw, 0)
    if position != len(raw):
        raise ValueError("bytes left over after the transaction")
    return tx


def without_witness(raw: bytes) -> bytes:
    """The bytes of a transaction that its txid is the hash of. Raises ValueError if `raw` is not one."""
    parse_tx(raw)
    if raw[4:6] != b"\x00\x01":
        return raw
    _, _, position = _read_inputs(raw, 6)
    _, position = _read_outputs(raw, position)
    return raw[:4] + raw[6:position] + raw[-4:]


def merkle_root(txids: list[str]) -> str:
    """The Merkle root over one or more txids in block order."""
    level = [bytes.fromhex(txid)[::-1] for txid in txids]
    while len(level) > 1:
        if len(level) % 2:
            level.append(level[-1])
        level = [double_sha256(level[i] + level[i + 1]) for i in range(0, len(level), 2)]
    return level[0][::-1].hex()


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    try:
        first = raw[position]
        if first < 0xFD:
            return first, position + 1
        form, size = {0xFD: ("<H", 2), 0xFE: ("<I", 4), 0xFF: ("<Q", 8)}[first]
        return struct.unpack_from(form, raw, position + 1)[0], position + 1 + size
    except (IndexError, struct.error) as error:
        raise ValueError("the bytes end too early") from error


def _read_tx(raw: bytes, start: int) -> tuple[ParsedTx, int]:
    witness = raw[start + 4 : start + 6] == b"\x00\x01"
    body = start + (6 if witness else 4)
    position = body
    spends, coinbase, position = _read_inputs(raw, position)
    outputs, position = _read_outputs(raw, position)
    body_end = position
    if witness:
        position = _skip_witnesses(raw, position, len(spends))
    if position + 4 > len(raw):
        raise ValueError("the bytes end too early")
    stripped = raw[start : start + 4] + raw[body:body_end] + raw[position : position + 4]
    txid = double_sha256(stripped)[::-1].hex()
    locktime = int.from_bytes(raw[position : position + 4], "little")
    return ParsedTx(txid, coinbase, () if coinbase else tuple(spends), tuple(outputs), locktime), position + 4


def _read_inputs(raw: bytes, position: int) -> tuple[list[tuple[str, int]], bool, int]:
    count, position = _varint(raw, position)
    _bound(raw, position, count * 41)
    spends = []
    coinbase = False
    for _ in range(count):
        txid = raw[position : position + 32]
        coinbase = coinbase or txid == NULL_TXID
        _bound(raw, position, 36)
        spends.append((txid[::-1].hex(), int.from_bytes(raw[position + 32 : position + 36], "little")))
        length, position = _varint(raw, position + 36)
        position += length + 4
    return spends, coinbase, position


def _read_outputs(raw: bytes, position: int) -> tuple[list[tuple[int, bytes]], int]:
    count, position = _varint(raw, position)
    _bound(raw, position, count * 9)
    outputs = []
    for _ in range(count):
        value = int.from_bytes(raw[position : position + 8], "little")
        length, position = _varint(raw, position + 8)
        _bound(raw, position, length)
        outputs.append((value, raw[position : position + length]))
        position += length
    return outputs, position


def _skip_witnesses(raw: bytes, position: int, input_count: int) -> int:
    for _ in range(input_count):
        items, position = _varint(raw, position)
        _bound(raw, position, items)
        for _ in range(items):
            length, position = _varint(raw, position)
            position += length
    return position


def _bound(raw: bytes, position: int, size: int) -> None:
    """Refuse a length that the bytes cannot hold before looping over it."""
    if position + size > len(raw):
        raise ValueError("the bytes end too early")
