"""Creators say which pledges are their own money. It is their statement: no chain can prove or disprove it.

Statements are only ever added; the last one on a pledge counts. It changes no sum and no outcome.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crowdfund.campaigns.models import Creator, Pledge
from crowdfund.campaigns.recording import tell_pages
from crowdfund.campaigns.rights import may
from crowdfund.campaigns.talk_models import OwnMoney
from crowdfund.errors import NotFound
from crowdfund.projects.roles import Action

_last = select(func.max(OwnMoney.id)).group_by(OwnMoney.pledge_id)


def declare(session: Session, creator: Creator, pledge: Pledge, own: bool, now: datetime) -> None:
    """Whether a pledge to an own campaign is own money. To say the same again changes nothing. Raises NotFound."""
    if not may(session, creator, Action.OWN_MONEY, pledge.campaign):
        raise NotFound("There is no such pledge to a campaign of yours.")
    if _said(session, pledge.id) is own:
        return
    session.add(OwnMoney(pledge_id=pledge.id, own=own, creator_id=creator.id, created_at=now))
    session.flush()
    tell_pages(session)


def of_campaign(session: Session, campaign_id: str) -> frozenset[str]:
    """Ids of the pledges that are said to be the creator's own money; they are secret."""
    rows = session.scalars(
        select(OwnMoney.pledge_id)
        .join(Pledge, Pledge.id == OwnMoney.pledge_id)
        .where(Pledge.campaign_id == campaign_id, OwnMoney.id.in_(_last), OwnMoney.own)
    )
    return frozenset(rows)


def _said(session: Session, pledge_id: str) -> bool | None:
    """The last word on a pledge, None if nothing was said."""
    return session.scalar(
        select(OwnMoney.own).where(OwnMoney.pledge_id == pledge_id).order_by(OwnMoney.id.desc()).limit(1)
    )
