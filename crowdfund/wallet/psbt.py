"""PSBT (BIP 174, version 0): plans for signers on other machines, and the signatures that come back. Pure.

Every input says what it spends (`witness_utxo`) and by which key (derivation path from the master key on), so that a
wallet with the seed can sign knowing nothing else. What comes back is read strictly and is not believed: the caller
checks every byte with `verify_signed` before it is stored.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from embit.hashes import hash160

from crowdfund.errors import UserError
from crowdfund.wallet.descriptors import derive_key, key_origin
from crowdfund.wallet.transactions import TxOutput, UnsignedTx, output_bytes

MAGIC = b"psbt\xff"
MAX_BYTES = 4 * 1024 * 1024
MAX_INPUTS = 10_000
UNSIGNED_TX = b"\x00"
WITNESS_UTXO, PARTIAL_SIG, BIP32_DERIVATION, FINAL_WITNESS = b"\x01", b"\x02", b"\x06", b"\x08"
INPUT_BYTES = 36 + 1 + 4  # of an input without a script: outpoint, length, sequence

Pairs = dict[bytes, bytes]


@dataclass(frozen=True)
class SignedPsbt:
    """A transaction with all its signatures, as somebody says."""

    txid: str
    raw: bytes


def write_psbt(tx: UnsignedTx, descriptor: str, raw: bytes | None = None) -> bytes:
    """The plan as a PSBT; with the signed transaction `raw` one that is finalised."""
    maps = [_map({UNSIGNED_TX: tx.serialize()})]
    witnesses = [b""] * len(tx.inputs) if raw is None else _witnesses_of(tx, raw)
    for spent, witness in zip(tx.inputs, witnesses, strict=True):
        public = derive_key(descriptor, spent.index).sec()
        utxo = output_bytes(TxOutput(b"\x00\x14" + hash160(public), spent.value_sats))
        if witness:
            maps.append(_map({WITNESS_UTXO: utxo, FINAL_WITNESS: witness}))
        else:
            fingerprint, steps = key_origin(descriptor, spent.index)
            path = fingerprint + b"".join(struct.pack("<I", step) for step in steps)
            maps.append(_map({WITNESS_UTXO: utxo, BIP32_DERIVATION + public: path}))
    maps += [_map({})] * len(tx.outputs)
    return MAGIC + b"".join(maps)


def read_signed(data: bytes) -> SignedPsbt:
    """A signed PSBT, binary or in base64, finalised or not. Raises UserError where it is none or lacks a signature."""
    try:
        reader = _Reader(_binary(data))
        unsigned = reader.pairs()[UNSIGNED_TX]
        count = _input_count(unsigned)
        witnesses = [_witness(reader.pairs(), number) for number in range(count)]
    except (KeyError, IndexError, struct.error) as error:
        raise UserError("This PSBT is damaged, or of a version that is not read here.") from error
    txid = sha256(sha256(unsigned).digest()).digest()[::-1].hex()
    return SignedPsbt(txid, unsigned[:4] + b"\x00\x01" + unsigned[4:-4] + b"".join(witnesses) + unsigned[-4:])


def _binary(data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        raise UserError("This file is too long for a PSBT.")
    if not data.startswith(MAGIC):
        try:
            data = base64.b64decode(b"".join(data.split()), validate=True)
        except (ValueError, binascii.Error):
            raise UserError("This is no PSBT.") from None
    if not data.startswith(MAGIC):
        raise UserError("This is no PSBT.")
    return data[len(MAGIC) :]


def _input_count(unsigned: bytes) -> int:
    """Of a transaction whose inputs have empty scripts."""
    reader = _Reader(unsigned[4:])
    count = reader.number()
    if not 0 < count <= MAX_INPUTS or len(unsigned) < 4 + count * INPUT_BYTES:
        raise UserError("This PSBT is damaged: its transaction has no inputs, or too many.")
    return count


def _witness(pairs: Mapping[bytes, bytes], number: int) -> bytes:
    """The witness of an input: the final one, or the one that follows from its only signature."""
    if FINAL_WITNESS in pairs:
        return pairs[FINAL_WITNESS]
    found = [(key[1:], value) for key, value in pairs.items() if key[:1] == PARTIAL_SIG]
    if len(found) != 1:
        raise UserError(f"Input {number} of this PSBT has {len(found)} signatures; it must have one.")
    public, signature = found[0]
    return b"\x02" + _sized(signature) + _sized(public)


def _witnesses_of(tx: UnsignedTx, raw: bytes) -> Iterator[bytes]:
    """The witness of each input of a transaction that `verify_signed` has passed."""
    reader = _Reader(raw[len(tx.serialize()) - 4 + 2 :])
    for _ in tx.inputs:
        items = [reader.take(reader.number()) for _ in range(reader.number())]
        yield bytes([len(items)]) + b"".join(map(_sized, items))


class _Reader:
    """Bytes from left to right. Raises IndexError at their end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise IndexError("the bytes end too soon")
        self._at, start = end, self._at
        return self._data[start:end]

    def number(self) -> int:
        """A number as BIP 174 writes lengths (compact size)."""
        first = self.take(1)[0]
        if first < 0xFD:
            return first
        form = {0xFD: "<H", 0xFE: "<I", 0xFF: "<Q"}[first]
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def pairs(self) -> Pairs:
        """One map. Raises UserError where a key stands twice."""
        found: Pairs = {}
        while length := self.number():
            key = self.take(length)
            if key in found:
                raise UserError("This PSBT is damaged: a key stands twice.")
            found[key] = self.take(self.number())
        return found


def _map(pairs: Mapping[bytes, bytes]) -> bytes:
    return b"".join(_sized(key) + _sized(value) for key, value in pairs.items()) + b"\x00"


def _sized(data: bytes) -> bytes:
    n = len(data)
    size = bytes([n]) if n < 0xFD else struct.pack("<BH", 0xFD, n) if n <= 0xFFFF else struct.pack("<BI", 0xFE, n)
    return size + data
