"""What is hidden, and the public log of it. Nothing is ever deleted: hiding is a line with a reason, and so is showing
again. What a hidden text said is kept, and its fingerprint is public, so that an auditor who has the text can prove it.

May not: touch money, or tell which secret link belongs to a pledge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Self

from sqlalchemy import select
from sqlalchemy.orm import Session

from crowdfund.campaigns.drafts import clean_text
from crowdfund.campaigns.models import Campaign, Pledge
from crowdfund.campaigns.recording import tell_pages
from crowdfund.campaigns.talk_models import Moderation, Post, UpdateVersion
from crowdfund.errors import NotFound, UserError
from crowdfund.sentences import Sentence

REASON_LIMIT = 500
SHOWN = 200
CREATOR, OPERATOR = "creator", "operator"
WORDS = {
    "update": "an update",
    "question": "a question",
    "answer": "an answer",
    "comment": "a comment",
    "pledge": "a backer’s name and message",
}


@dataclass(frozen=True)
class Target:
    """What can be hidden; exactly one of the three is set. `pledge_id` is secret."""

    update_number: int | None = None
    post_id: int | None = None
    pledge_id: str | None = None

    @classmethod
    def update(cls, number: int) -> Self:
        """An update, with all its versions."""
        return cls(update_number=number)

    @classmethod
    def post(cls, post_id: int) -> Self:
        """A question, an answer or a comment."""
        return cls(post_id=post_id)

    @classmethod
    def pledge(cls, pledge_id: str) -> Self:
        """The name and the message that a backer left."""
        return cls(pledge_id=pledge_id)


@dataclass(frozen=True)
class Hiding:
    """Since when something is hidden, by whom (a role) and why."""

    at: datetime
    role: str
    reason: str
    sha256: str


@dataclass(frozen=True)
class LogLine:
    """A line of the public log. `where` names the update or post; a pledge has no name in public."""

    at: datetime
    campaign_id: str
    kind: str
    what: str
    where: str
    action: str
    role: str
    reason: str
    sha256: str


def fingerprint(*parts: str) -> str:
    """SHA-256, in hex, of a text in UTF-8; where it has two parts (a title and a text, a name and a message), they
    stand with an empty line between them."""
    return sha256("\n\n".join(parts).encode()).hexdigest()


def find(session: Session, campaign_id: str, kind: str, number: int) -> Target:
    """By the number that people see: an update's, a post's, or the place of a pledge's address. Raises NotFound."""
    if kind == "update":
        return Target.update(number)
    if kind == "post":
        return Target.post(number)
    if kind == "pledge":
        where = (Pledge.campaign_id == campaign_id, Pledge.index == number, Pledge.address.is_not(None))
        pledge_id = session.scalar(select(Pledge.id).where(*where))
        if pledge_id is not None:
            return Target.pledge(pledge_id)
    raise NotFound("There is nothing of that kind and number.")


def hide(session: Session, campaign: Campaign, target: Target, role: str, reason: str, now: datetime) -> None:
    """Hide it. Raises UserError without a reason or where it is hidden, NotFound."""
    if target in hidden(session, campaign.id):
        raise UserError("This is hidden already.")
    _note(session, campaign, target, "hide", role, reason, now)


def show(session: Session, campaign: Campaign, target: Target, role: str, reason: str, now: datetime) -> None:
    """Show it again. What an operator hid, no creator brings back. Raises UserError, NotFound."""
    before = hidden(session, campaign.id).get(target)
    if before is None:
        raise UserError("This is not hidden.")
    if before.role == OPERATOR and role != OPERATOR:
        raise UserError("The operator of this site hid this, so only the operator can show it again.")
    _note(session, campaign, target, "show", role, reason, now)


def hidden(session: Session, campaign_id: str) -> dict[Target, Hiding]:
    """Everything of a campaign that is hidden now."""
    found: dict[Target, Hiding] = {}
    for row in session.scalars(select(Moderation).where(Moderation.campaign_id == campaign_id).order_by(Moderation.id)):
        target = Target(row.update_number, row.post_id, row.pledge_id)
        if row.action == "hide":
            found[target] = Hiding(row.created_at, row.role, row.reason, row.sha256)
        else:
            found.pop(target, None)
    return found


def hidden_pledges(session: Session, campaign_id: str) -> frozenset[str]:
    """Ids of the pledges whose name and message are hidden; they are secret."""
    return frozenset(target.pledge_id for target in hidden(session, campaign_id) if target.pledge_id is not None)


def log(session: Session, campaign_id: str | None = None) -> list[LogLine]:
    """The log of a campaign or of the whole site, the newest first."""
    wanted = select(Moderation).order_by(Moderation.id.desc()).limit(SHOWN)
    if campaign_id is not None:
        wanted = wanted.where(Moderation.campaign_id == campaign_id)
    return [_line(row) for row in session.scalars(wanted)]


def text_of(session: Session, campaign_id: str, target: Target) -> tuple[str, Sequence[str]]:
    """(kind, the parts of the text as they are now). Raises NotFound."""
    if target.update_number is not None:
        newest = session.scalar(
            select(UpdateVersion)
            .where(UpdateVersion.campaign_id == campaign_id, UpdateVersion.number == target.update_number)
            .order_by(UpdateVersion.version.desc())
            .limit(1)
        )
        if newest is not None:
            return "update", (newest.title, newest.text)
    elif target.post_id is not None:
        post = session.get(Post, target.post_id)
        if post is not None and post.campaign_id == campaign_id:
            return post.kind, (post.text,)
    elif target.pledge_id is not None:
        pledge = session.get(Pledge, target.pledge_id)
        if pledge is not None and pledge.campaign_id == campaign_id:
            return "pledge", (pledge.name, pledge.message)
    raise NotFound("There is nothing of that kind and number.")


def _note(
    session: Session, campaign: Campaign, target: Target, action: str, role: str, reason: str, now: datetime
) -> None:
    reason = " ".join(clean_text(reason).split())
    if not reason:
        raise UserError("Please give a reason: everyone can read it in the log.", "reason")
    if len(reason) > REASON_LIMIT:
        raise UserError(f"The reason has {len(reason)} characters; at most {REASON_LIMIT} fit.", "reason")
    kind, parts = text_of(session, campaign.id, target)
    row = Moderation(
        campaign_id=campaign.id, kind=kind, update_number=target.update_number, post_id=target.post_id,
        pledge_id=target.pledge_id, action=action, role=role, reason=reason, sha256=fingerprint(*parts), created_at=now,
    )  # fmt: skip
    session.add(row)
    session.flush()
    tell_pages(session)


def _line(row: Moderation) -> LogLine:
    number = row.update_number or row.post_id
    return LogLine(
        at=row.created_at, campaign_id=row.campaign_id, kind=row.kind, what=WORDS[row.kind],
        where="" if number is None else Sentence("number {number}", number=number),
        action=row.action, role=row.role, reason=row.reason,
        sha256=row.sha256,
    )  # fmt: skip
