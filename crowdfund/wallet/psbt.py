"""Partially signed transactions (BIP 174, version 0): how a settlement travels to a signer without a wire, and back.

What comes back is believed in nothing: `read_signed` only puts the bytes of a transaction together, and
`transactions.verify_signed` decides whether they are the planned one, signed with the campaign's keys.
"""

from __future__ import annotations

import base64
import binascii

from embit.base import EmbitError
from embit.ec import PublicKey
from embit.psbt import PSBT, DerivationPath
from embit.script import Script, Witness
from embit.transaction import Transaction, TransactionOutput

from crowdfund.errors import UserError
from crowdfund.wallet.descriptors import derive_script, key_origin
from crowdfund.wallet.transactions import SIGHASH_ALL, UnsignedTx

MAGIC = b"psbt\xff"
UNSIGNED_TX_KEY = b"\x01\x00"  # version 0 begins with it, and no other version has it
MAX_BYTES = 16 * 1024 * 1024

# What embit raises at bytes that are not what it expects.
UNREADABLE = (EmbitError, ValueError, IndexError, KeyError, TypeError, RuntimeError, OverflowError, MemoryError)


def to_psbt(tx: UnsignedTx, descriptor: str) -> bytes:
    """The PSBT of `tx`: each input with the output it spends, its key and the key's whole path from the seed."""
    psbt = PSBT(Transaction.parse(tx.serialize()))
    for scope, spent in zip(psbt.inputs, tx.inputs, strict=True):
        key = key_origin(descriptor, spent.index)
        scope.witness_utxo = TransactionOutput(spent.value_sats, Script(derive_script(descriptor, spent.index)))
        scope.sighash_type = SIGHASH_ALL
        scope.bip32_derivations[PublicKey.parse(key.public_key)] = DerivationPath(key.fingerprint, list(key.path))
    return psbt.serialize()


def signed_psbt(raw: bytes, tx: UnsignedTx, descriptor: str) -> bytes:
    """The PSBT of `tx` with the witnesses of the signed transaction `raw` in it: finalised."""
    psbt = PSBT.parse(to_psbt(tx, descriptor))
    for scope, signed in zip(psbt.inputs, Transaction.parse(raw).vin, strict=True):
        scope.final_scriptwitness = signed.witness
        scope.bip32_derivations.clear()
        scope.sighash_type = None
    return psbt.serialize()


def read_signed(data: bytes) -> bytes:
    """The transaction in what a signer gave back: a PSBT (finalised or not, bytes or base64), or hex of a transaction.

    Raises UserError with one sentence for anything else, and where an input is not signed.
    """
    if len(data) > MAX_BYTES:
        raise UserError(f"this has more than {MAX_BYTES} bytes, and no settlement is that long.")
    binary = data if data.startswith(MAGIC) else from_text(data)
    try:
        if not binary.startswith(MAGIC):
            return _checked_transaction(binary)
        if not binary.startswith(MAGIC + UNSIGNED_TX_KEY):
            raise UserError("this is a PSBT of another version than 0 (BIP 174).")
        return _finalised(PSBT.parse(binary))
    except UNREADABLE as error:
        raise UserError("this is neither a signed PSBT (BIP 174) nor a signed transaction.") from error


def txid_of(raw: bytes) -> str:
    """The txid of a transaction that `read_signed` gave."""
    tx = Transaction.parse(raw)
    return Transaction(tx.version, tx.vin, tx.vout, tx.locktime).txid().hex()


def from_text(data: bytes) -> bytes:
    """The bytes that hex or base64 text stands for, whatever space is around and in it."""
    text = b"".join(data.split())
    try:
        return bytes.fromhex(text.decode("ascii"))
    except ValueError:
        pass  # not hex; UnicodeDecodeError is one, too
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise UserError("this is neither a PSBT as bytes or base64 nor a transaction in hex.") from error


def _checked_transaction(binary: bytes) -> bytes:
    tx = Transaction.parse(binary)
    if tx.serialize() != binary:
        raise ValueError("not spelt as it should be")
    if not tx.vin or any(not i.witness.items for i in tx.vin):
        raise UserError("this transaction is not signed.")
    return binary


def _finalised(psbt: PSBT) -> bytes:
    """Each input's witness: the one that is there, or its only signature and key."""
    tx = psbt.tx
    for position, scope in enumerate(psbt.inputs):
        if scope.final_scriptwitness is not None:
            witness = scope.final_scriptwitness
        elif len(scope.partial_sigs) == 1:
            ((key, signature),) = scope.partial_sigs.items()
            witness = Witness([signature, key.sec()])
        else:
            raise UserError(f"input {position + 1} of {len(psbt.inputs)} is not signed; let the signer finish it.")
        if scope.final_scriptsig is not None and scope.final_scriptsig.data:
            raise UserError(f"input {position + 1} has a signature of an older kind than its address asks for.")
        tx.vin[position].witness = witness
    return tx.serialize()
