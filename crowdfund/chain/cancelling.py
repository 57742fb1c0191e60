"""Finding the transactions that cancel campaigns, in whatever a server hands out.

May ask a backend; may not write. What is found is what the rule says (wallet/cancellation.py), proven to lie in its
block; whether that block comes early enough is for the campaign to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from crowdfund.chain.port import BlockRef, ChainBackend, WrongAnswer
from crowdfund.wallet.blocks import ParsedTx, parse_tx
from crowdfund.wallet.cancellation import marks
from crowdfund.wallet.merkle import could_be_node, verify_branch


@dataclass(frozen=True)
class Cancellable:
    """A campaign that can be cancelled: the script that must be spent from, and the block after which that counts."""

    payout_script: bytes
    opened_height: int


@dataclass(frozen=True)
class Placed:
    """A transaction with its place in a block: raw bytes, Merkle branch (hex) and position."""

    raw: bytes
    branch: tuple[str, ...]
    position: int


@dataclass(frozen=True)
class FoundCancellation:
    """A transaction in a block that cancels the campaign whose terms have this hash. `spent`: the transaction that made
    the output which it spends, None where the server no longer has it."""

    terms_hash: bytes
    txid: str
    placed: Placed
    spent: bytes | None
    reason_sha256: bytes


def named(tx: ParsedTx, height: int, wanted: Mapping[bytes, Cancellable]) -> dict[bytes, bytes]:
    """Hash of the terms -> hash of the reason, of those wanted campaigns that a transaction at this height names. Most
    likely it cancels them; whether it may is the next question."""
    return {terms: why for terms, why in marks(tx).items() if terms in wanted and wanted[terms].opened_height < height}


def cancellations(
    backend: ChainBackend, ref: BlockRef, held: Iterable[Placed], wanted: Mapping[bytes, Cancellable]
) -> tuple[FoundCancellation, ...]:
    """Those among these transactions of the block that cancel one of `wanted`, in the order of the block. Raises
    WorldError; WrongAnswer where one is not in the block."""
    found = []
    for placed in sorted(held, key=lambda one: one.position):
        tx = parse_tx(placed.raw)
        for terms_hash, reason in named(tx, ref.height, wanted).items():
            origin = backend.origin(tx, ref.hash, wanted[terms_hash].payout_script)
            if origin is not None:
                _refuse_misplaced(tx.txid, placed, ref)
                found.append(FoundCancellation(terms_hash, tx.txid, placed, origin.raw, reason))
    return tuple(found)


def _refuse_misplaced(txid: str, placed: Placed, ref: BlockRef) -> None:
    try:
        root = verify_branch(txid, placed.branch, placed.position)
    except ValueError as error:
        raise WrongAnswer(f"The proof that {txid} is in block {ref.height} is none: {error}.") from error
    if root != ref.merkle_root or could_be_node(placed.raw, txid):
        raise WrongAnswer(f"Transaction {txid} is not in block {ref.height} as was told.")
