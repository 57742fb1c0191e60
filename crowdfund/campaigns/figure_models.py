"""The table of figures: what lists of campaigns show, one row for each published campaign.

Nothing here is a fact. Every figure is what `queries.summarise` derives, kept so that a list of ten thousand campaigns
reads no pledge; `figures` keeps it true, and a row may be made anew at any time. No decision may rest on it.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, false
from sqlalchemy.orm import Mapped, mapped_column, relationship

from crowdfund.campaigns.lifecycle import CampaignState
from crowdfund.campaigns.models import Campaign
from crowdfund.db import Base
from crowdfund.wallet.amounts import MAX_MONEY_SATS

_STATES = ", ".join(f"'{state}'" for state in CampaignState if state is not CampaignState.DRAFT)


def _money(column: str, low: int = 0) -> CheckConstraint:
    return CheckConstraint(f"{column} BETWEEN {low} AND {MAX_MONEY_SATS}", name=f"{column}_in_range")


class CampaignFigures(Base):
    """A published campaign as lists show it. The first columns repeat its frozen terms and details: `search` is all
    that is searched, without case and accents.

    `height` is the tip of which the figures speak. `touched` is set by triggers as soon as something that they are
    derived from has changed, and goes when they are derived anew.
    """

    __tablename__ = "campaign_figures"
    __table_args__ = (
        _money("goal_sats", 1),
        _money("counted_sats"),
        _money("seen_sats"),
        _money("maturing_sats"),
        CheckConstraint(f"state IN ({_STATES})", name="state_known"),
        CheckConstraint("pledge_count >= 0", name="pledges_are_counted"),
        CheckConstraint("percent = counted_sats * 100 / goal_sats", name="percent_of_the_goal"),
        CheckConstraint("NOT is_full OR state = 'open'", name="full_while_open"),
        CheckConstraint("height >= 0", name="height_of_a_block"),
        Index("ix_campaign_figures_ends_at", "state", "ends_at", "campaign_id"),
        Index("ix_campaign_figures_newest", "state", "published_at", "campaign_id"),
        Index("ix_campaign_figures_percent", "state", "percent"),
        Index("ix_campaign_figures_published_at", "published_at", "campaign_id"),
        Index("ix_campaign_figures_counted_sats", "counted_sats", "campaign_id"),
    )

    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    goal_sats: Mapped[int]
    ends_at: Mapped[datetime]
    published_at: Mapped[datetime]
    license: Mapped[str]
    kind: Mapped[str]
    creator_name: Mapped[str]
    search: Mapped[str]
    state: Mapped[str]
    cancelled: Mapped[bool]
    is_full: Mapped[bool]
    counted_sats: Mapped[int]
    seen_sats: Mapped[int]
    maturing_sats: Mapped[int]
    pledge_count: Mapped[int]
    percent: Mapped[int]
    wants_help: Mapped[bool]
    height: Mapped[int]
    touched: Mapped[bool] = mapped_column(default=False, server_default=false(), index=True)

    campaign: Mapped[Campaign] = relationship()
