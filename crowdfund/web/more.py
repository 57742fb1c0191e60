"""What a campaign's page shows beside the money: what becomes open, budget, rewards, help, risks, the project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flask_babel import gettext as _
from markupsafe import Markup
from sqlalchemy import select
from sqlalchemy.orm import Session

from crowdfund.campaigns import delivery, stock, wanted
from crowdfund.campaigns.delivery import Delivery
from crowdfund.campaigns.detail_models import HelpOffer
from crowdfund.campaigns.details import BudgetLine, Details
from crowdfund.campaigns.models import Campaign, Pledge
from crowdfund.campaigns.rewards import RESERVED_FOR, ClaimState
from crowdfund.campaigns.stock import Shelf
from crowdfund.campaigns.wanted import NeedProgress
from crowdfund.projects import people
from crowdfund.projects.models import Project, ProjectMember
from crowdfund.sentences import N_
from crowdfund.web.budget_drawing import budget_svg, budget_text, in_order
from crowdfund.web.filters import when
from crowdfund.web.markdown import story_html

THANKS_SHOWN = 50


@dataclass(frozen=True)
class MoreView:
    """All of it. `shelves` and `needs` of a draft have everything left and nothing accepted."""

    details: Details
    deliveries: list[Delivery]
    budget: list[BudgetLine]
    budget_svg: Markup
    budget_text: str
    shelves: list[Shelf]
    needs: list[NeedProgress]
    thanks: Sequence[HelpOffer]
    about_html: Markup
    risks_html: Markup
    project: Project | None
    members: list[ProjectMember]

    @property
    def optimum_sats(self) -> int:
        """What would make it better than the goal alone; 0 where nobody said."""
        more = self.details.optimum_sats
        return more if more > self.details.minimum_sats else 0


@dataclass(frozen=True)
class RewardView:
    """The reward that a pledge asked for, and how that stands."""

    title: str
    text: str
    state: ClaimState
    sentence: Markup


def more_view(db: Session, campaign: Campaign) -> MoreView:
    """The rest of a campaign or draft."""
    details = Details.parse(campaign.details)
    drafted = [Shelf(n, reward, reward.stock or None, 0) for n, reward in enumerate(details.rewards)]
    return MoreView(
        details=details,
        deliveries=delivery.deliveries(db, campaign),
        budget=in_order(details.budget),
        budget_svg=budget_svg(details),
        budget_text=budget_text(details),
        shelves=drafted if campaign.terms is None else stock.shelves(db, campaign),
        needs=wanted.progress(db, campaign),
        thanks=_thanks(db, campaign.id),
        about_html=story_html(details.about),
        risks_html=story_html(details.risks),
        project=campaign.project,
        members=people.members_of(db, campaign.project_id) if campaign.project_id else [],
    )


def reward_view(db: Session, pledge: Pledge) -> RewardView | None:
    """The reward of a pledge; None if it asked for none."""
    found = stock.of_pledge(db, pledge)
    if found is None:
        return None
    reward, state, reserved_at = found
    until = when(reserved_at + RESERVED_FOR)
    return RewardView(
        reward.title, reward.text, state, Markup(_(_SENTENCES[state, bool(reward.stock)])) % {"when": until}
    )


_HELD = N_("It is yours, if the campaign reaches its goal.")
_SENTENCES = {
    (ClaimState.HELD, True): _HELD,
    (ClaimState.HELD, False): _HELD,
    (ClaimState.RESERVED, True): N_(
        "One is kept for you until %(when)s. It becomes yours when your payment is in a block by then."
    ),
    (ClaimState.RESERVED, False): N_(
        "It becomes yours when your payment is in a block; there are as many as are asked for."
    ),
    (ClaimState.FREED, True): N_(
        "It was kept for you until %(when)s. You can still pay, and your money counts; the reward is yours only if one "
        "is left when your payment is in a block."
    ),
    (ClaimState.MISSED, True): N_(
        "It was kept for you until %(when)s. Your payment came after that, when none was left. Your money counts all "
        "the same."
    ),
}


def _thanks(db: Session, campaign_id: str) -> Sequence[HelpOffer]:
    accepted = select(HelpOffer).where(HelpOffer.campaign_id == campaign_id, HelpOffer.state == wanted.ACCEPTED)
    return db.scalars(accepted.order_by(HelpOffer.answered_at.desc()).limit(THANKS_SHOWN)).all()
