"""The tables of a cancellation on its way: what a creator asked for, and what was brought back signed.

Nothing of them decides anything: what ends a campaign is the row of a block (models.Cancellation).
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from crowdfund.db import Base
from crowdfund.wallet.cancellation import REASON_LIMIT


class CancellationDraft(Base):
    """A transaction that a creator asked for: the public reason, the coin at the payout address by its transaction and
    output number, and the feerate in sat/vB. Append-only."""

    __tablename__ = "cancellation_drafts"
    __table_args__ = (
        CheckConstraint(f"length(reason) BETWEEN 1 AND {REASON_LIMIT}", name="reason_of_some_lines"),
        CheckConstraint("feerate_sat_vb >= 1", name="feerate_of_one_or_more"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"), index=True)
    creator_id: Mapped[int] = mapped_column(ForeignKey("creators.id"))
    reason: Mapped[str]
    spent: Mapped[bytes]
    vout: Mapped[int]
    feerate_sat_vb: Mapped[int]
    made_at: Mapped[datetime]


class CancellationSend(Base):
    """A signed transaction that a creator brought, for the worker to send. `answer`: why the network did not take it,
    empty where it did."""

    __tablename__ = "cancellation_sends"
    __table_args__ = (UniqueConstraint("campaign_id", "txid"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"))
    creator_id: Mapped[int] = mapped_column(ForeignKey("creators.id"))
    txid: Mapped[str]
    raw: Mapped[bytes]
    brought_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    answer: Mapped[str] = mapped_column(default="", server_default=text("''"))
