"""Cancellations in the database: which one ended a campaign, and what shows it.

May not decide anything: what ends a campaign is asked of `endings`.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from crowdfund.campaigns.cancel_models import CancellationDraft
from crowdfund.campaigns.endings import ending_block
from crowdfund.campaigns.models import Cancellation, DecisionRow
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.wallet.blocks import parse_tx
from crowdfund.wallet.cancellation import reason_hash, spending

HASH_SIZE = 32


@dataclass(frozen=True)
class HeldCancellation:
    """A cancellation and what shows it in its block. `spent`: the transaction that made the output which it spends,
    None where nobody has it yet; `reason`: None where its text was never given here."""

    id: int
    txid: str
    raw: bytes
    spent: bytes | None
    height: int
    block_hash: str
    branch: tuple[str, ...]
    position: int
    reason_sha256: str
    reason: str | None


def of_decided(
    session: Session, campaign_id: str, terms: CampaignTerms, *, then: bool = False
) -> HeldCancellation | None:
    """What ended this decided campaign, None where it was not cancelled.

    The cancellation `then` is the one that was decided on. Otherwise it is as the chain has it now, or, where a
    reorganisation has taken it away since, as it was; and there is none where the closing block came meanwhile."""
    row = session.get_one(DecisionRow, campaign_id).cancellation
    end = None if row is None or then else ending_block(session, campaign_id, terms)
    if end is not None:
        row = end.cancellation
    return None if row is None else held(session, row, terms)


def spent_by(session: Session, row: Cancellation, payout_script: bytes) -> bytes | None:
    """The transaction that made the output which a cancellation spends: found with it, or brought by a creator."""
    if row.spent is not None:
        return row.spent
    drafts = select(CancellationDraft.spent).where(CancellationDraft.campaign_id == row.campaign_id)
    return spending(parse_tx(row.raw), session.scalars(drafts), payout_script)


def reason_of(session: Session, row: Cancellation) -> str | None:
    """The public reason, None where its text was never given here."""
    drafts = select(CancellationDraft.reason).where(CancellationDraft.campaign_id == row.campaign_id)
    return next((text for text in session.scalars(drafts) if reason_hash(text).hex() == row.reason_sha256), None)


def branch_steps(branch: bytes) -> tuple[str, ...]:
    """A stored Merkle branch as proofs spell it."""
    return tuple(branch[i : i + HASH_SIZE].hex() for i in range(0, len(branch), HASH_SIZE))


def held(session: Session, row: Cancellation, terms: CampaignTerms) -> HeldCancellation:
    """The row, with what creators brought."""
    return HeldCancellation(
        id=row.id,
        txid=row.txid,
        raw=row.raw,
        spent=spent_by(session, row, bytes.fromhex(terms.payout_script)),
        height=row.height,
        block_hash=row.block_hash,
        branch=branch_steps(row.branch),
        position=row.position,
        reason_sha256=row.reason_sha256,
        reason=reason_of(session, row),
    )
