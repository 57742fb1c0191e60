"""Which campaigns a program asks for, a few at a time: their ids alone, so that only what is shown is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from crowdfund.campaigns.figure_models import CampaignFigures
from crowdfund.campaigns.models import Campaign
from crowdfund.projects.models import Project, ProjectMember

Place = tuple[datetime, str]


@dataclass(frozen=True)
class Wanted:
    """`words` are in the title or the line below it; the others are exactly that, `state` as the stored figures have
    it; empty is any."""

    words: str = ""
    license: str = ""
    project: str = ""
    state: str = ""


def published(session: Session, wanted: Wanted, after: Place | None, most: int) -> list[Place]:
    """When published and id, the newest first, from the one behind `after` on."""
    when = Campaign.published_at
    found = select(when, Campaign.id).where(Campaign.terms.is_not(None), *_conditions(wanted))
    if after is not None:
        found = found.where(or_(when < after[0], and_(when == after[0], Campaign.id < after[1])))
    rows = session.execute(found.order_by(when.desc(), Campaign.id.desc()).limit(most))
    return [(at, campaign_id) for at, campaign_id in rows if at is not None]


def of_creator(session: Session, creator_id: int) -> list[Place]:
    """When begun and id of all campaigns and drafts in the creator's projects, the newest first."""
    rows = session.execute(
        select(Campaign.created_at, Campaign.id)
        .join(ProjectMember, ProjectMember.project_id == Campaign.project_id)
        .where(ProjectMember.creator_id == creator_id, ProjectMember.left_at.is_(None))
        .order_by(Campaign.created_at.desc(), Campaign.id.desc())
    )
    return [(at, campaign_id) for at, campaign_id in rows]


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    for word in wanted.words.split():
        found.append(
            or_(Campaign.title.icontains(word, autoescape=True), Campaign.summary.icontains(word, autoescape=True))
        )
    if wanted.license:
        found.append(Campaign.license == wanted.license)
    if wanted.state:
        found.append(Campaign.id.in_(select(CampaignFigures.campaign_id).where(CampaignFigures.state == wanted.state)))
    if wanted.project:
        found.append(Campaign.project_id == select(Project.id).where(Project.slug == wanted.project).scalar_subquery())
    return found
