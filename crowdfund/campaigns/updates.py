"""Updates: what a creator tells of a campaign as it goes on. Published at once, numbered, and never edited in silence:
an edit is a further version, and the earlier ones stay readable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from crowdfund.campaigns import moderation
from crowdfund.campaigns.drafts import clean_text
from crowdfund.campaigns.models import Campaign, Creator
from crowdfund.campaigns.moderation import Hiding, Target
from crowdfund.campaigns.recording import tell_pages
from crowdfund.campaigns.rights import may
from crowdfund.campaigns.talk_models import UpdateVersion
from crowdfund.errors import NotFound, Problems, UserError
from crowdfund.projects.roles import Action

TITLE_LIMIT = 120
TEXT_LIMIT = 20_000
MOST_VERSIONS = 100


@dataclass(frozen=True)
class Update:
    """One update with all its versions, the newest first. `hidden` says why, while it is."""

    number: int
    versions: Sequence[UpdateVersion]
    hidden: Hiding | None

    @property
    def newest(self) -> UpdateVersion:
        """The version that counts."""
        return self.versions[0]

    @property
    def published_at(self) -> datetime:
        """When it was first told."""
        return self.versions[-1].created_at


def write(
    session: Session,
    creator: Creator,
    campaign: Campaign,
    title: str,
    text: str,
    now: datetime,
    number: int | None = None,
) -> int:
    """Publish a new update, or another version of `number`; returns its number. Raises Problems, UserError, NotFound.

    An edit that changes nothing is no edit.
    """
    if not may(session, creator, Action.UPDATE, campaign):
        raise NotFound("There is no such campaign among yours.")
    title, text = _checked(title, text)
    version = 1
    if number is None:
        number = 1 + max((u.number for u in of_campaign(session, campaign.id)), default=0)
    else:
        before = find(session, campaign.id, number)
        _refuse_edit(before)
        if (before.newest.title, before.newest.text) == (title, text):
            return number
        version = before.newest.version + 1
    row = UpdateVersion(
        campaign_id=campaign.id, number=number, version=version, title=title, text=text, creator_id=creator.id,
        created_at=now,
    )  # fmt: skip
    session.add(row)
    session.flush()
    tell_pages(session)
    return number


def of_campaign(session: Session, campaign_id: str) -> list[Update]:
    """All of them, the newest first."""
    rows = session.scalars(
        select(UpdateVersion)
        .where(UpdateVersion.campaign_id == campaign_id)
        .order_by(UpdateVersion.number.desc(), UpdateVersion.version.desc())
        .options(joinedload(UpdateVersion.creator))
    ).all()
    hidden = moderation.hidden(session, campaign_id)
    return [
        Update(number, list(versions), hidden.get(Target.update(number)))
        for number, versions in groupby(rows, key=lambda row: row.number)
    ]


def find(session: Session, campaign_id: str, number: int) -> Update:
    """One of them. Raises NotFound."""
    found = next((u for u in of_campaign(session, campaign_id) if u.number == number), None)
    if found is None:
        raise NotFound("There is no such update.")
    return found


def _refuse_edit(update: Update) -> None:
    if update.hidden:
        raise UserError("This update is hidden: it can be edited once it is shown again.")
    if len(update.versions) >= MOST_VERSIONS:
        raise UserError("This update was edited too often; write a new one.")


def _checked(title: str, text: str) -> tuple[str, str]:
    """Tidied up. Raises Problems with a sentence for each field."""
    title, text, problems = " ".join(clean_text(title).split()), clean_text(text), {}
    for field, value, limit in (("title", title, TITLE_LIMIT), ("text", text, TEXT_LIMIT)):
        if not value:
            problems[field] = f"Please write a {field}."
        elif len(value) > limit:
            problems[field] = f"The {field} has {len(value)} characters; at most {limit} fit."
    if problems:
        raise Problems(problems)
    return title, text
