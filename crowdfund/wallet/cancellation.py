"""The transaction with which a creator ends a campaign before its deadline: its mark, and what it must spend. Pure.

It spends an output with the payout script of the terms, so that only who holds that key can make it, and it names the
terms and the public reason by their hashes. Where it lies in the chain is for others to ask (lifecycle, outcome_proof,
the audit); here it is asked what it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from crowdfund.wallet.blocks import ParsedTx, parse_tx

RULE = "cxl1"
"""How terms say that they can be cancelled in this way."""
HASH_SIZE = 32
REASON_LIMIT = 500
OP_RETURN = b"\x6a"
START = OP_RETURN + bytes([len(RULE) + 2 * HASH_SIZE]) + RULE.encode()
"""What each mark begins with: the one spelling that is read, a push of 68 bytes."""
SCRIPT_SIZE = len(START) + 2 * HASH_SIZE


@dataclass(frozen=True)
class CancellationProof:
    """What shows a cancellation to one who sees no network: the transaction, the one that made the output which it
    spends, and height, Merkle branch and position of the first in its block."""

    raw: bytes
    spent: bytes
    height: int
    branch: tuple[str, ...]
    position: int


def reason_hash(reason: str) -> bytes:
    """SHA-256 of the reason's UTF-8 bytes. Raises ValueError for half a character."""
    return sha256(reason.encode()).digest()


def mark(terms_hash: bytes, reason_sha256: bytes) -> bytes:
    """The script of the output that says: the campaign with these terms is cancelled, for this reason."""
    if len(terms_hash) != HASH_SIZE or len(reason_sha256) != HASH_SIZE:
        raise ValueError("a hash has 32 bytes")
    return START + terms_hash + reason_sha256


def read_mark(script: bytes) -> tuple[bytes, bytes] | None:
    """(hash of the terms, hash of the reason), None where the script is no mark."""
    if len(script) != SCRIPT_SIZE or not script.startswith(START):
        return None
    hashes = script[len(START) :]
    return hashes[:HASH_SIZE], hashes[HASH_SIZE:]


def marks(tx: ParsedTx) -> dict[bytes, bytes]:
    """Hash of the terms -> hash of the reason, for each campaign that the transaction names; its first word counts."""
    found: dict[bytes, bytes] = {}
    for _, script in tx.outputs:
        read = read_mark(script)
        if read is not None:
            found.setdefault(*read)
    return found


def spends_from(tx: ParsedTx, spent: ParsedTx, script: bytes) -> bool:
    """Does `tx` spend an output of `spent` that has this script?"""
    return any(txid == spent.txid and _pays(spent, vout, script) for txid, vout in tx.spends)


def spending(tx: ParsedTx, raws: Iterable[bytes], script: bytes) -> bytes | None:
    """The first of these raw transactions of which `tx` spends an output with this script. Raises ValueError."""
    return next((raw for raw in raws if spends_from(tx, parse_tx(raw), script)), None)


def check_cancels(tx: ParsedTx, spent: ParsedTx, payout_script: bytes, terms_hash: bytes) -> bytes:
    """The hash of the reason. Raises ValueError, with what is wrong, unless `tx` cancels the campaign with these terms
    and payout script by spending an output of `spent`."""
    reason_sha256 = marks(tx).get(terms_hash)
    if reason_sha256 is None:
        raise ValueError("the transaction does not name the terms of this campaign")
    if not spends_from(tx, spent, payout_script):
        raise ValueError("the transaction does not spend an output of the payout address")
    return reason_sha256


def _pays(tx: ParsedTx, vout: int, script: bytes) -> bool:
    return vout < len(tx.outputs) and tx.outputs[vout][1] == script
