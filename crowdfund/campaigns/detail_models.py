"""The tables beside a campaign's details: rewards and who claims them, what was delivered, help offered, reviews.

The rows of `rewards` are written from the frozen details when a campaign is published, so that the database itself can
see to it that nobody gets what is no longer there.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from crowdfund.campaigns.models import Campaign, Creator, Pledge
from crowdfund.db import Base


class RewardRow(Base):
    """A reward of a published campaign, by its number in the details. `stock` of 0 is as many as are asked for."""

    __tablename__ = "rewards"
    __table_args__ = (
        CheckConstraint("stock >= 0", name="stock_not_negative"),
        CheckConstraint("minimum_sats >= 1", name="minimum_of_one_or_more"),
    )

    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    minimum_sats: Mapped[int]
    stock: Mapped[int]


class RewardClaim(Base):
    """A pledge that wants a reward. It holds one of the stock while `freed_at` is NULL; a trigger counts.

    `reserved_at` is the chain's time when the pledge was made.
    """

    __tablename__ = "reward_claims"
    __table_args__ = (
        ForeignKeyConstraint(["campaign_id", "number"], ["rewards.campaign_id", "rewards.number"]),
    )  # fmt: skip

    pledge_id: Mapped[str] = mapped_column(ForeignKey("pledges.id"), primary_key=True)
    campaign_id: Mapped[str] = mapped_column(index=True)
    number: Mapped[int]
    reserved_at: Mapped[datetime]
    freed_at: Mapped[datetime | None]

    pledge: Mapped[Pledge] = relationship()
    reward: Mapped[RewardRow] = relationship()


class DeliverableReport(Base):
    """What has become of a deliverable since the terms froze: a log that only grows; the newest line counts."""

    __tablename__ = "deliverable_reports"
    __table_args__ = (
        CheckConstraint("state IN ('planned', 'there')", name="state_known"),
        CheckConstraint("number >= 0", name="number_of_a_line"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"), index=True)
    number: Mapped[int]
    state: Mapped[str]
    url: Mapped[str]
    creator_id: Mapped[int] = mapped_column(ForeignKey("creators.id"))
    reported_at: Mapped[datetime]


class HelpOffer(Base):
    """Somebody who offers help that is not money. `contact` is for the project alone. `need` is the number of the line
    in the details; `state` goes from offered to accepted or declined, once, with `answer`."""

    __tablename__ = "help_offers"
    __table_args__ = (
        CheckConstraint("state IN ('offered', 'accepted', 'declined')", name="state_known"),
        CheckConstraint("amount >= 1", name="amount_of_one_or_more"),
        CheckConstraint("(state = 'offered') = (answered_at IS NULL)", name="answered_at_a_time"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"), index=True)
    need: Mapped[int]
    amount: Mapped[int]
    name: Mapped[str]
    contact: Mapped[str]
    message: Mapped[str]
    offered_at: Mapped[datetime]
    state: Mapped[str]
    answer: Mapped[str]
    answered_at: Mapped[datetime | None]
    answered_by: Mapped[int | None] = mapped_column(ForeignKey("creators.id"))

    campaign: Mapped[Campaign] = relationship()


class ReviewRequest(Base):
    """A draft as it was when its project asked for review: `draft_sha256` is that of all that would freeze."""

    __tablename__ = "review_requests"

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"), index=True)
    draft_sha256: Mapped[str]
    creator_id: Mapped[int] = mapped_column(ForeignKey("creators.id"))
    asked_at: Mapped[datetime]

    campaign: Mapped[Campaign] = relationship()
    creator: Mapped[Creator] = relationship()
    verdict: Mapped[ReviewVerdict | None] = relationship(back_populates="request")


class ReviewVerdict(Base):
    """What the operator said to a request; the web process cannot write here."""

    __tablename__ = "review_verdicts"
    __table_args__ = (CheckConstraint("approved OR reason <> ''", name="a_reason_to_send_back"),)

    request_id: Mapped[int] = mapped_column(ForeignKey("review_requests.id"), primary_key=True, autoincrement=False)
    approved: Mapped[bool]
    reason: Mapped[str]
    decided_at: Mapped[datetime]

    request: Mapped[ReviewRequest] = relationship(back_populates="verdict")
