"""Signing settlement transactions: BIP 143, each part hashed once, RFC 6979 signatures by libsecp256k1 (coincurve).

Takes keys and values, asks nobody and decides nothing: what may be signed is policy.py's business. The bytes are those
that bitcoinlib signs; the tests compare them.
"""

from __future__ import annotations

import struct
from hashlib import sha256

from embit.hashes import hash160

from crowdfund.wallet.fast_keys import PrivateBranch
from crowdfund.wallet.transactions import SEQUENCE, SIGHASH_ALL, VERSION, UnsignedTx, outpoint_bytes, output_bytes


class Digests:
    """What the signatures of one transaction cover: the shared parts are hashed once, whatever the number of inputs."""

    def __init__(self, tx: UnsignedTx) -> None:
        prevouts = _double_sha256(b"".join(outpoint_bytes(i) for i in tx.inputs))
        sequences = _double_sha256(struct.pack("<I", SEQUENCE) * len(tx.inputs))
        outputs = _double_sha256(b"".join(output_bytes(o) for o in tx.outputs))
        self._tx = tx
        self._head = struct.pack("<i", VERSION) + prevouts + sequences
        self._tail = struct.pack("<I", SEQUENCE) + outputs + struct.pack("<II", tx.locktime, SIGHASH_ALL)

    def of(self, position: int, key_hash: bytes) -> bytes:
        """The digest that input `position` signs with the key whose HASH160 is `key_hash`."""
        spent = self._tx.inputs[position]
        code = b"\x19\x76\xa9\x14" + key_hash + b"\x88\xac"
        value = struct.pack("<q", spent.value_sats)
        return _double_sha256(self._head + outpoint_bytes(spent) + code + value + self._tail)


def sign(tx: UnsignedTx, branch: PrivateBranch) -> bytes:
    """The transaction with a witness for each input, by the child of `branch` at the input's index (BIP 144)."""
    bare, digests = tx.serialize(), Digests(tx)
    parts = [bare[:4], b"\x00\x01", bare[4:-4]]
    for position, spent in enumerate(tx.inputs):
        key = branch.child(spent.index)
        public = key.public_key.format()
        signature = key.sign(digests.of(position, hash160(public)), hasher=None) + bytes([SIGHASH_ALL])
        parts.append(bytes([2, len(signature)]) + signature + bytes([len(public)]) + public)
    return b"".join([*parts, bare[-4:]])


def script_at(branch: PrivateBranch, index: int) -> bytes:
    """The locking script (P2WPKH) of the address at `index`, from the private side alone."""
    return b"\x00\x14" + hash160(branch.child(index).public_key.format())


def _double_sha256(data: bytes) -> bytes:
    return sha256(sha256(data).digest()).digest()
