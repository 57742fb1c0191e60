"""Settlement transactions: built as values, known by their txid before they are signed, verified after.

Pure serialisation is ours (BIP 144 without witness is the txid's preimage); signatures are checked by embit,
which took no part in making them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import sha256

from embit.base import EmbitError
from embit.ec import Signature
from embit.hashes import hash160
from embit.script import Script
from embit.transaction import Transaction

from crowdfund.errors import WorldError
from crowdfund.wallet.descriptors import derive_key

VERSION = 2
SEQUENCE = 0xFFFFFFFD  # replaceable (BIP 125) and lock time enforced
SIGHASH_ALL = 1


@dataclass(frozen=True)
class TxInput:
    """An outpoint of ours: its value in satoshi and the index of its address in the campaign's descriptor."""

    txid: str
    vout: int
    value_sats: int
    index: int


@dataclass(frozen=True)
class TxOutput:
    """A locking script and its value in satoshi. `index` names the pledge that a refund belongs to."""

    script: bytes
    value_sats: int
    index: int | None = None


@dataclass(frozen=True)
class UnsignedTx:
    """All that is signed: inputs, outputs and lock time, in order."""

    inputs: tuple[TxInput, ...]
    outputs: tuple[TxOutput, ...]
    locktime: int

    @property
    def fee_sats(self) -> int:
        """What the miners get: inputs less outputs."""
        return sum(i.value_sats for i in self.inputs) - sum(o.value_sats for o in self.outputs)

    def serialize(self) -> bytes:
        """The transaction without witnesses: the bytes that its txid is the hash of."""
        parts = [struct.pack("<i", VERSION), _varint(len(self.inputs))]
        parts += [outpoint_bytes(i) + b"\x00" + struct.pack("<I", SEQUENCE) for i in self.inputs]
        parts.append(_varint(len(self.outputs)))
        parts += [output_bytes(o) for o in self.outputs]
        parts.append(struct.pack("<I", self.locktime))
        return b"".join(parts)

    @property
    def txid(self) -> str:
        """Known before signing, as every input is segwit."""
        return sha256(sha256(self.serialize()).digest()).digest()[::-1].hex()


def outpoint_bytes(spent: TxInput) -> bytes:
    """The outpoint as it stands in a transaction."""
    return bytes.fromhex(spent.txid)[::-1] + struct.pack("<I", spent.vout)


def output_bytes(output: TxOutput) -> bytes:
    """The output as it stands in a transaction."""
    return struct.pack("<q", output.value_sats) + _varint(len(output.script)) + output.script


def verify_signed(raw: bytes, expected: UnsignedTx, descriptor: str) -> None:
    """Check that `raw` is `expected`, signed with the campaign's keys and nothing else.

    Raises WorldError (not retryable) at the first difference: such bytes are never stored and never sent.
    """
    try:
        tx = Transaction.parse(raw)
        unsigned = Transaction(tx.version, tx.vin, tx.vout, tx.locktime)
        same = unsigned.txid().hex() == expected.txid and tx.serialize() == raw
        valid = same and all(_input_is_valid(tx, n, i, descriptor) for n, i in enumerate(expected.inputs))
    except (EmbitError, ValueError, IndexError, RuntimeError, OverflowError) as error:
        raise WorldError(f"The signer's answer cannot be read: {error}.", retryable=False) from error
    if not same:
        raise WorldError("The signer signed another transaction than the one asked for.", retryable=False)
    if not valid:
        raise WorldError("A signature from the signer is not valid.", retryable=False)


def _input_is_valid(tx: Transaction, position: int, spent: TxInput, descriptor: str) -> bool:
    """BIP 143: the signature covers this outpoint, its value and all outputs, by the key of this address."""
    items = tx.vin[position].witness.items
    if len(items) != 2 or items[0][-1] != SIGHASH_ALL or tx.vin[position].script_sig.data:
        return False
    public = derive_key(descriptor, spent.index)
    if items[1] != public.sec():
        return False
    digest = tx.sighash_segwit(position, Script(b"\x76\xa9\x14" + hash160(items[1]) + b"\x88\xac"), spent.value_sats)
    return bool(public.verify(Signature.parse(items[0][:-1]), digest))


def _varint(n: int) -> bytes:
    if n < 0xFD:
        return bytes([n])
    return b"\xfd" + struct.pack("<H", n) if n <= 0xFFFF else b"\xfe" + struct.pack("<I", n)
