"""Asking creators who pledge to their own campaign whether it is their own money, before they pay."""

from __future__ import annotations

from datetime import UTC, datetime

from crowdfund.campaigns import own_money
from crowdfund.campaigns.models import Campaign, Pledge
from crowdfund.campaigns.rights import may
from crowdfund.projects.roles import Action
from crowdfund.sentences import N_
from crowdfund.web.forms import OWN, PledgeForm
from crowdfund.web.site import current_creator, here


def is_asked(campaign_id: str) -> bool:
    """Is it the campaign's own creator who pledges, as far as the session says?"""
    creator = current_creator()
    if creator is None:
        return False
    with here().database.reading() as db:
        campaign = db.get(Campaign, campaign_id)
        return campaign is not None and may(db, creator, Action.OWN_MONEY, campaign)


def unanswered(campaign_id: str, form: PledgeForm) -> dict[str, str]:
    """A sentence at the question where it is asked and was not answered."""
    if not is_asked(campaign_id) or form.own.data in OWN:
        return {}
    return {"own": N_("Please say whether this is your own money: backers are told what you put in yourself.")}


def note(pledge_id: str, form: PledgeForm) -> None:
    """Keep the answer, where the question was one."""
    with here().database.transaction() as db:
        pledge, creator = db.get_one(Pledge, pledge_id), current_creator()
        if creator is not None and may(db, creator, Action.OWN_MONEY, pledge.campaign):
            own_money.declare(db, creator, pledge, form.own.data == "Yes", datetime.now(UTC))
