"""Help that is not money, as a campaign asks for it: each line, and how much of it was accepted. Reads only."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crowdfund.campaigns.detail_models import HelpOffer
from crowdfund.campaigns.details import Details, Need
from crowdfund.campaigns.models import Campaign

ACCEPTED = "accepted"


@dataclass(frozen=True)
class NeedProgress:
    """A line of help wanted, and how much of it was accepted."""

    number: int
    need: Need
    accepted: int

    @property
    def percent(self) -> int:
        """Of what is wanted, at most 100."""
        return min(100, self.accepted * 100 // max(1, self.need.amount))

    @property
    def open(self) -> bool:
        """Is some of it still wanted?"""
        return self.accepted < self.need.amount


def progress(session: Session, campaign: Campaign) -> list[NeedProgress]:
    """The help wanted, in the order of the details."""
    sums = (
        select(HelpOffer.need, func.sum(HelpOffer.amount))
        .where(HelpOffer.campaign_id == campaign.id, HelpOffer.state == ACCEPTED)
        .group_by(HelpOffer.need)
    )
    accepted: dict[int, int] = {need: int(amount) for need, amount in session.execute(sums)}
    needs = Details.parse(campaign.details).needs
    return [NeedProgress(number, need, accepted.get(number, 0)) for number, need in enumerate(needs)]
