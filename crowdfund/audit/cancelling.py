"""Is a transaction the cancellation of a campaign? Asked of the bundle's own claims, and of what a server says.

Written anew, on the rule alone (one push after OP_RETURN: four letters, the hash of the terms, the hash of the reason;
an input that spends the payout script) and not on the site's code, so that a mistake there is seen here. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from crowdfund.audit.claims import Cancellation, Claims
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.wallet.blocks import ParsedTx, double_sha256, parse_tx

LETTERS = "cxl1"


def reason_named(tx: ParsedTx, terms_hash: bytes) -> bytes | None:
    """The hash of the reason in the first output that names these terms; None where there is none."""
    head = bytes([0x6A, 4 + 32 + 32]) + LETTERS.encode("ascii") + terms_hash
    scripts = [script for _, script in tx.outputs if script[: len(head)] == head and len(script) == len(head) + 32]
    return scripts[0][len(head) :] if scripts else None


def cancellation_problems(claims: Claims, terms: CampaignTerms) -> Iterator[str]:
    """What the bundle says of a cancellation must be one under its terms, and be what ended the campaign."""
    told = claims.cancellation
    if told is None:
        return
    if terms.cancellable != LETTERS:
        yield "The bundle says that the campaign was cancelled; its terms cannot be."
    if told.height <= terms.opened_height:
        yield f"The cancellation is in block {told.height:,}; the campaign was opened in block {terms.opened_height:,}."
    if claims.closing is None or claims.closing[0] != told.height:
        yield f"The cancellation is in block {told.height:,}, and another block is said to end the campaign."
    yield from _transaction_problems(told, terms)


def _transaction_problems(told: Cancellation, terms: CampaignTerms) -> Iterator[str]:
    try:
        tx, spent = parse_tx(told.raw), None if told.spent is None else parse_tx(told.spent)
    except ValueError as error:
        yield f"The cancellation, or what it spends, cannot be read: {error}."
        return
    if double_sha256(told.raw)[::-1].hex() != told.txid or tx.txid != told.txid:
        yield f"The cancellation is called {told.txid} in the bundle; it is {tx.txid}, or more than that."
    reason = reason_named(tx, terms.hash)
    if reason is None:
        yield f"Transaction {told.txid} does not name these terms: it cancels nothing here."
    elif told.reason is not None and sha256(told.reason.encode()).digest() != reason:
        yield "The reason for the cancellation is not the one that the transaction names by its hash."
    if spent is None or told.spent is None:
        return
    whole = double_sha256(told.spent)[::-1].hex() == spent.txid
    if not whole or not _spends(tx, spent, bytes.fromhex(terms.payout_script)):
        yield f"Transaction {told.txid} does not spend an output of the payout address as it is said to."


def _spends(tx: ParsedTx, spent: ParsedTx, script: bytes) -> bool:
    outputs = {(spent.txid, number) for number, (_, paid) in enumerate(spent.outputs) if paid == script}
    return not outputs.isdisjoint(tx.spends)
