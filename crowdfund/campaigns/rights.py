"""Who may do what with a published campaign, answered in one place."""

from __future__ import annotations

from enum import StrEnum

from crowdfund.campaigns.models import Campaign, Creator


class Action(StrEnum):
    """What only the campaign's side may do."""

    UPDATE = "write updates"
    ANSWER = "answer questions"
    MODERATE = "hide what others wrote"
    DASHBOARD = "see the dashboard"
    OWN_MONEY = "declare own money"


def may(creator: Creator | None, action: Action, campaign: Campaign) -> bool:
    """Whether somebody (None: a visitor without an account) may do this. Nobody may anything of a draft."""
    return creator is not None and campaign.terms is not None and creator.id == campaign.creator_id
