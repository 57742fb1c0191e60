"""What follows when a settlement's transaction does not get into a block: a dearer one, or two smaller ones. Pure.

Every rung spends the same coins and pays the same scripts, each a little less; the parts of a batch spend its coins
between them. So whatever of all that is confirmed first, nobody is paid twice.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from crowdfund.campaigns.lifecycle import Kind
from crowdfund.campaigns.settlement import CAPS, Batch, FeeCaps, Recipient, SpendableCoin, priced_up_to
from crowdfund.wallet.fees import MIN_FEERATE_SAT_VB

Outpoint = tuple[str, int]

PATIENCE_BLOCKS = 6


class Refusal(StrEnum):
    """What a node's refusal asks of us: to pay more, to wait, or to look at what the transaction holds."""

    FEE = "fee"
    WAIT = "wait"
    CONTENT = "content"


# As Bitcoin Core and Knots word them; Electrum and Esplora servers hand their node's words on.
_ABOUT_FEE = (
    "fee not met",
    "fee-not-met",
    "insufficient fee",
    "mempool full",
    "replacement-failed",
    "insufficient-fee",
)
_ABOUT_OTHERS = (
    "missing", "conflict", "already", "too many potential replacements", "too-many-replacements", "non-final",
    "too-long-mempool-chain", "cluster", "replacement-adds-unconfirmed", "maxfeerate", "max-fee-exceeded",
)  # fmt: skip


def refusal_kind(reason: str) -> Refusal:
    """What to make of a node's words. What we do not know is about the content: split, nobody else is kept waiting."""
    words = reason.lower()
    if any(known in words for known in _ABOUT_FEE):
        return Refusal.FEE
    return Refusal.WAIT if any(known in words for known in _ABOUT_OTHERS) else Refusal.CONTENT


def is_bump_due(number: int, sent_height: int | None, refusal: str | None, tip_height: int) -> bool:
    """Is it time for a dearer transaction than attempt `number`, first sent at height `sent_height`? At once when the
    node finds the fee too low, else after six blocks; after the first one, one bump a block at most. Never where no
    fee would help: what it spends is lost for now, or the node does not like what it holds."""
    if sent_height is None or (number > 1 and tip_height <= sent_height):
        return False
    if refusal is not None:
        return refusal_kind(refusal) is Refusal.FEE
    return tip_height - sent_height >= PATIENCE_BLOCKS


def next_attempt(previous: Batch, estimate_sat_vb: int, caps: FeeCaps = CAPS) -> Batch | None:
    """The next rung: a quarter more, one sat/vB more or the estimate, whichever is most, as far as the caps allow.

    None at the top of the ladder: nobody is left out to make room for a higher fee.
    """
    rate = previous.feerate_sat_vb
    asked = max(-(-rate * 5 // 4), rate + 1, estimate_sat_vb)
    return priced_up_to(
        previous.kind, previous.inputs, previous.recipients, min(asked, caps.feerate_sat_vb), caps, rate + 1
    )


def split(whole: Batch, estimate_sat_vb: int, caps: FeeCaps = CAPS) -> tuple[Batch, ...]:
    """The batch in two halves, by pledges or, in a release, by coins; nothing if it cannot be halved."""
    rate = max(whole.feerate_sat_vb, min(estimate_sat_vb, caps.feerate_sat_vb))
    parts = [
        priced_up_to(whole.kind, inputs, recipients, rate, caps, MIN_FEERATE_SAT_VB)
        for inputs, recipients in _halves(whole)
    ]
    found = tuple(part for part in parts if part is not None)
    return found if len(found) == len(parts) else ()


def without(whole: Batch, gone: Collection[Outpoint], estimate_sat_vb: int, caps: FeeCaps = CAPS) -> tuple[Batch, ...]:
    """What is left of the batch when these coins were taken by others; nothing if that cannot be paid within the caps
    today."""
    inputs = [coin for coin in whole.inputs if (coin.txid, coin.vout) not in gone]
    left = {coin.index for coin in inputs}
    recipients = [r for r in whole.recipients if r.index is None or r.index in left]
    rate = min(estimate_sat_vb, caps.feerate_sat_vb)
    rest = priced_up_to(whole.kind, inputs, recipients, rate, caps) if inputs else None
    return () if rest is None else (rest,)


def _halves(whole: Batch) -> list[tuple[list[SpendableCoin], list[Recipient]]]:
    coins, recipients = list(whole.inputs), list(whole.recipients)
    if whole.kind is Kind.RELEASE:
        middle = len(coins) // 2
        return [(coins[:middle], recipients), (coins[middle:], recipients)] if middle else []
    middle = len(recipients) // 2
    first = {r.index for r in recipients[:middle]}
    if not middle:
        return []
    return [
        ([c for c in coins if c.index in first], recipients[:middle]),
        ([c for c in coins if c.index not in first], recipients[middle:]),
    ]
