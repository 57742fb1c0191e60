"""Who may do what with a published campaign: whoever has a role in its project that allows it."""

from __future__ import annotations

from sqlalchemy.orm import Session

from crowdfund.campaigns.models import Campaign, Creator
from crowdfund.projects import people, roles
from crowdfund.projects.roles import Action


def may(session: Session, creator: Creator | None, action: Action, campaign: Campaign) -> bool:
    """Whether somebody (None: a visitor without an account) may do this. Nobody may anything of a draft."""
    if creator is None or campaign.terms is None:
        return False
    return roles.may(people.role_of(session, creator.id, campaign.project_id), action)
