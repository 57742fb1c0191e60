"""Finds in a raw block the transactions that pay watched scripts or spend known coins, as fast as plain Python can.

A loop that steps through a full block takes longer than everything else the watcher does with it. So transactions
of the usual shapes are cut out, thousands in one call, by a regular expression that knows their whole grammar, and
the few others by a plain walk. Both only select: whatever is handed out has been read by `blocks.parse_tx`.
Pure. May not: compute ids of transactions that are no hits, or check the Merkle root.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import chain, compress, count
from typing import Any

from crowdfund.wallet.blocks import HEADER_SIZE, ParsedTx, parse_tx
from crowdfund.wallet.cancellation import read_mark

TXID_SIZE = 32
OUTPOINT_SIZE = 36
FINGERPRINT_SIZE = 4

MOST = 4  # inputs, and outputs, of a transaction of usual shape
# Lengths in bytes, the frequent ones first. All are below 0xfd and so written in a single byte.
SIGNATURE_SCRIPTS = (0, 107, 106, 23, 108, 105, 35)
OUTPUT_SCRIPTS = (22, 34, 23, 25, 4, *range(5, 22), 24, *range(26, 34), *range(35, 43), 77, 83)
WITNESS_ITEMS = (71, 72, 33, 64, 0, 65, 70, 73, 105, 32, 34, 1, 35, 37)
STACKS = (2, 1, 0, 4, 3, 5)  # numbers of items


def _any(size: int) -> bytes:
    """Exactly `size` bytes, never given back: the lengths leave nothing to try again."""
    return b".{%d}+" % size if size else b""


def _number(number: int) -> bytes:
    return b"\\x%02x" % number


def _sized(sizes: Iterable[int]) -> bytes:
    """A length in one byte, and as many bytes."""
    return b"(?:" + b"|".join(_number(size) + _any(size) for size in sizes) + b")"


def _chosen(sizes: Iterable[int]) -> bytes:
    """As many bytes as the byte before them says."""
    return b"|".join(b"(?<=%s)%s" % (_number(size), _any(size)) for size in sizes)


def _count(name: bytes) -> bytes:
    """A number from 1 to MOST in one byte. The empty group `name`K is set where the number is K < MOST."""
    flags = b"".join(b"%s(?P<%s%d>)|" % (_number(k), name, k) for k in range(1, MOST))
    return b"(?:" + flags + _number(MOST) + b")"


def _repeated(parts: Sequence[bytes], name: bytes) -> bytes:
    """As many of the MOST parts as the flags of `name` say."""
    pattern = parts[-1]
    for k in reversed(range(1, MOST)):
        pattern = parts[k - 1] + b"(?(%s%d)|%s)" % (name, k, pattern)
    return pattern


def _usual() -> bytes:
    """A whole transaction of usual shape, or else all the rest of the bytes: then every group is None."""
    each = range(1, MOST + 1)
    inputs = [b"(?P<in%d>%s)" % (k, _any(OUTPOINT_SIZE)) + _sized(SIGNATURE_SCRIPTS) + _any(4) for k in each]
    outputs = [_any(9) + b"(?P<out%d>%s)" % (k, _chosen(OUTPUT_SCRIPTS)) for k in each]
    stack = b"(?:" + b"|".join(_number(n) + _sized(WITNESS_ITEMS) * n for n in STACKS) + b")"
    return b"".join(
        [
            b"(?s)(?P<tx>" + _any(4) + b"(?P<witness>\\x00\\x01)?",
            _count(b"inputs") + _repeated(inputs, b"inputs"),
            _count(b"outputs") + _repeated(outputs, b"outputs"),
            b"(?(witness)" + _repeated([stack] * MOST, b"inputs") + b")" + _any(4) + b")|.++",
        ]
    )


_USUAL = re.compile(_usual())
_ROW = _USUAL.groups + 1  # `split` puts the bytes before each match, here none, in front of its groups
_TX = _USUAL.groupindex["tx"]
_INPUTS = [_USUAL.groupindex[f"in{k}"] for k in range(1, MOST + 1)]
_OUTPUTS = [_USUAL.groupindex[f"out{k}"] for k in range(1, MOST + 1)]


def outpoint_key(txid: str, vout: int) -> bytes:
    """An outpoint as inputs spell it: txid in wire order and the number of the output, 36 bytes."""
    return bytes.fromhex(txid)[::-1] + vout.to_bytes(4, "little")


def scan_block(raw: bytes, scripts: AbstractSet[bytes], outpoints: AbstractSet[bytes] = frozenset()) -> list[ParsedTx]:
    """The transactions, in block order, that pay one of `scripts` or spend one of `outpoints` (see `outpoint_key`), and
    those that say that they cancel a campaign (wallet/cancellation.py).

    A transaction that spends an output found by this very call is one of them.
    Raises ValueError if the bytes are not exactly one block, just as `blocks.parse_block` does.
    """
    return _hits(_cut(raw), scripts, outpoints)


def scan_spends(raw: bytes, scripts: AbstractSet[bytes], outpoints: AbstractSet[bytes]) -> tuple[list[ParsedTx], bytes]:
    """What `scan_block` finds, and the `fingerprints` of all outpoints that the block spends."""
    pieces = _cut(raw)
    keys = b"".join(filter(None, chain(*(pieces.rows[column::_ROW] for column in _INPUTS))))
    keys += b"".join(chain(*(spent for _, spent, _ in pieces.unusual)))
    return _hits(pieces, scripts, outpoints), fingerprints(keys)


def fingerprints(keys: bytes) -> bytes:
    """FINGERPRINT_SIZE bytes for each of the outpoints whose keys are strung together: the last of the txid, one of
    them mixed with the output's number. Made byte by byte of all keys at once, much faster than key by key."""
    count = len(keys) // OUTPOINT_SIZE
    made = bytearray(count * FINGERPRINT_SIZE)
    for n in range(FINGERPRINT_SIZE):
        made[n::FINGERPRINT_SIZE] = keys[TXID_SIZE - FINGERPRINT_SIZE + n :: OUTPOINT_SIZE]
    mixed = int.from_bytes(made[::FINGERPRINT_SIZE], "little") ^ int.from_bytes(
        keys[TXID_SIZE::OUTPOINT_SIZE], "little"
    )
    made[::FINGERPRINT_SIZE] = mixed.to_bytes(count, "little")
    return bytes(made)


@dataclass(slots=True)
class _Pieces:
    """A block, cut up. `rows` has _ROW items for each transaction, as the groups of `_USUAL` are numbered; those of
    unusual ones are empty but for the bytes. `unusual`: (number, outpoints spent, scripts paid)."""

    rows: list[Any] = field(default_factory=list)
    unusual: list[tuple[int, list[bytes], list[bytes]]] = field(default_factory=list)

    def tx(self, number: int) -> bytes:
        """The transaction's bytes."""
        return bytes(self.rows[number * _ROW + _TX])

    def holding(self, columns: list[int], wanted: AbstractSet[bytes]) -> list[int]:
        """Numbers of the transactions of usual shape that have one of `wanted` in one of these columns."""
        numbers: list[int] = []
        for column in columns if wanted else ():
            values = self.rows[column::_ROW]
            if not wanted.isdisjoint(values):
                numbers += compress(count(), map(wanted.__contains__, values))
        return numbers


def _cut(raw: bytes) -> _Pieces:
    """The whole block in pieces. Raises ValueError as `blocks.parse_block` does."""
    if len(raw) <= HEADER_SIZE:
        raise ValueError("too short for a block")
    try:
        tx_count, position = _number_at(raw, HEADER_SIZE)
    except IndexError as error:
        raise ValueError("a block that ends early") from error
    if not tx_count:
        raise ValueError("a block without transactions is none")
    whole, pieces = memoryview(raw), _Pieces()
    rows, size = pieces.rows, tx_count * _ROW
    while len(rows) < size:
        found = _USUAL.split(whole[position:])
        rest = len(found) > 1 and found[_TX - 1 - _ROW] is None
        del found[-1 - rest * _ROW :]
        position += sum(map(len, found[_TX::_ROW]))
        rows += found
        if len(rows) < size:
            spent, paid, end = _walk(raw, position)
            pieces.unusual.append((len(rows) // _ROW, spent, paid))
            rows += [None] * _ROW
            rows[_TX - _ROW] = whole[position:end]
            position = end
    if len(rows) > size or position != len(raw):
        raise ValueError("bytes left over after the last transaction")
    return pieces


def _hits(pieces: _Pieces, scripts: AbstractSet[bytes], outpoints: AbstractSet[bytes]) -> list[ParsedTx]:
    """The transactions among the pieces that `scan_block` is after, read by `parse_tx`."""
    paying = {*pieces.holding(_OUTPUTS, scripts)}
    # No usual output has the length of a mark.
    paying.update(n for n, _, paid in pieces.unusual if not scripts.isdisjoint(paid) or any(map(read_mark, paid)))
    hits = {n: parse_tx(pieces.tx(n)) for n in paying}
    found = {
        outpoint_key(tx.txid, vout)
        for tx in hits.values()
        for vout, (_, script) in enumerate(tx.outputs)
        if script in scripts
    }
    spending = {*pieces.holding(_INPUTS, outpoints), *pieces.holding(_INPUTS, found)}
    for known in (outpoints, found):
        spending.update(n for n, spent, _ in pieces.unusual if not known.isdisjoint(spent))
    for n in spending - paying:
        tx = parse_tx(pieces.tx(n))
        if not tx.coinbase:
            hits[n] = tx
    return [hits[n] for n in sorted(hits)]


def _walk(raw: bytes, start: int) -> tuple[list[bytes], list[bytes], int]:
    """(outpoints spent, scripts paid, end) of the transaction at `start`."""
    try:
        witness = raw[start + 4 : start + 6] == b"\0\1"
        spent, position = _walk_inputs(raw, start + (6 if witness else 4))
        paid, position = _walk_outputs(raw, position)
        if witness:
            position = _walk_witnesses(raw, position, len(spent))
    except IndexError as error:
        raise ValueError("the bytes end too early") from error
    if position + 4 > len(raw):
        raise ValueError("the bytes end too early")
    return spent, paid, position + 4


# In these three a length of one byte, which nearly all are, costs no call.


def _walk_inputs(raw: bytes, position: int) -> tuple[list[bytes], int]:
    count, position = _number_at(raw, position)
    spent = []
    for _ in range(count):
        spent.append(raw[position : position + OUTPOINT_SIZE])
        position += OUTPOINT_SIZE
        length = raw[position]
        if length < 0xFD:
            position += length + 5
        else:
            length, position = _number_at(raw, position)
            position += length + 4
    return spent, position


def _walk_outputs(raw: bytes, position: int) -> tuple[list[bytes], int]:
    count, position = _number_at(raw, position)
    paid = []
    for _ in range(count):
        position += 9
        length = raw[position - 1]
        if length >= 0xFD:
            length, position = _number_at(raw, position - 1)
        paid.append(raw[position : position + length])
        position += length
    return paid, position


def _walk_witnesses(raw: bytes, position: int, input_count: int) -> int:
    for _ in range(input_count):
        items, position = _number_at(raw, position)
        for _ in range(items):
            length = raw[position]
            position += 1
            if length >= 0xFD:
                length, position = _number_at(raw, position - 1)
            position += length
    return position


def _number_at(raw: bytes, position: int) -> tuple[int, int]:
    """(number, position after it). Raises IndexError beyond the end."""
    first = raw[position]
    if first < 0xFD:
        return first, position + 1
    end = position + 1 + (2 << first - 0xFD)
    raw[end - 1]
    return int.from_bytes(raw[position + 1 : end], "little"), end
