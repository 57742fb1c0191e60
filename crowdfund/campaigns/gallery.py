"""The pictures of campaigns: added, described, ordered and removed while a campaign is a draft; read by everyone.

Where no such thing can be done, UserError says so in a sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, selectinload

from crowdfund.campaigns.drafts import clean_line
from crowdfund.campaigns.models import Campaign
from crowdfund.campaigns.picture_models import Picture, PictureRow
from crowdfund.campaigns.service import own_campaign
from crowdfund.errors import NotFound, UserError
from crowdfund.projects.models import ProjectMember
from crowdfund.projects.pictures import PictureFile
from crowdfund.projects.roles import Action

MOST = 9
ALT_LIMIT = 250
FROZEN = "This campaign is published: its pictures cannot change any more."


class Move(StrEnum):
    """Where a picture can go in the order."""

    FIRST = "first"
    EARLIER = "earlier"
    LATER = "later"


def check_alt(text: str) -> str:
    """What the picture shows, tidied up to one line. Raises UserError."""
    try:
        return clean_line("alt", text, ALT_LIMIT)
    except UserError as error:
        if "characters" in error.sentence:
            raise UserError(f"Say it in {ALT_LIMIT} characters or fewer.", "alt") from None
        raise UserError("Say what the picture shows, for those who cannot see it.", "alt") from None


def check_room(session: Session, creator_id: int, campaign_id: str) -> Campaign:
    """The draft, if one more picture can be added to it. Raises UserError, NotFound."""
    campaign = _draft(session, creator_id, campaign_id)
    held = session.scalar(select(func.count()).where(Picture.campaign_id == campaign_id)) or 0
    if held >= MOST:
        raise UserError(f"A campaign has at most {MOST} pictures. Remove one first.", "picture")
    return campaign


def add(session: Session, creator_id: int, campaign_id: str, files: Sequence[PictureFile], alt: str) -> Picture:
    """A picture behind the others; `files` come from `make_anew`, the widest first. Raises UserError, NotFound."""
    alt = check_alt(alt)
    check_room(session, creator_id, campaign_id)
    digest = files[0].sha256
    if session.scalar(select(Picture.id).where(Picture.campaign_id == campaign_id, Picture.sha256 == digest)):
        raise UserError("This picture is among them already.", "picture")
    last = session.scalar(select(func.max(Picture.position)).where(Picture.campaign_id == campaign_id))
    rows = [PictureRow(kind=f.kind, width=f.width, height=f.height, sha256=f.sha256, data=f.data) for f in files]
    picture = Picture(
        campaign_id=campaign_id, position=0 if last is None else last + 1, sha256=digest, alt=alt, files=rows
    )
    session.add(picture)
    session.flush()
    return picture


def describe(session: Session, creator_id: int, campaign_id: str, picture_id: int, alt: str) -> None:
    """Other words for a picture. Raises UserError, NotFound."""
    _own(session, creator_id, campaign_id, picture_id).alt = check_alt(alt)
    session.flush()


def move(session: Session, creator_id: int, campaign_id: str, picture_id: int, to: Move) -> None:
    """Another place in the order. Raises UserError, NotFound."""
    moved = _own(session, creator_id, campaign_id, picture_id)
    order = of_campaign(session, campaign_id)
    at = order.index(moved)
    order.remove(moved)
    order.insert({Move.FIRST: 0, Move.EARLIER: max(0, at - 1), Move.LATER: at + 1}[to], moved)
    # No two may ever have the same place: all go behind the last one first, then come back.
    behind = max(picture.position for picture in order) + 1
    for start in (behind, 0):
        for number, picture in enumerate(order):
            picture.position = start + number
        session.flush()


def remove(session: Session, creator_id: int, campaign_id: str, picture_id: int) -> None:
    """A picture and its bytes go. Raises UserError, NotFound."""
    session.delete(_own(session, creator_id, campaign_id, picture_id))
    session.flush()


def of_campaign(session: Session, campaign_id: str) -> list[Picture]:
    """A campaign's pictures in their order, without their bytes."""
    return of_campaigns(session, [campaign_id]).get(campaign_id, [])


def of_campaigns(session: Session, campaign_ids: Iterable[str]) -> dict[str, list[Picture]]:
    """The pictures of each campaign that has any, in their order, without their bytes."""
    chosen = select(Picture).where(Picture.campaign_id.in_(list(campaign_ids))).order_by(Picture.position)
    found: dict[str, list[Picture]] = {}
    for picture in session.scalars(chosen.options(selectinload(Picture.files))):
        found.setdefault(picture.campaign_id, []).append(picture)
    return found


def published(session: Session, kind: str, sha256: str) -> bytes | None:
    """The bytes that have this hash, if a published campaign shows them."""
    return session.scalar(_holders(kind, sha256).where(Campaign.terms.is_not(None)).limit(1))


def drafted(session: Session, kind: str, sha256: str, creator_id: int) -> bytes:
    """The bytes that have this hash, of a draft of a project that the creator is in. Raises NotFound."""
    own = select(ProjectMember.project_id).where(
        ProjectMember.creator_id == creator_id, ProjectMember.left_at.is_(None)
    )
    data = session.scalar(_holders(kind, sha256).where(Campaign.project_id.in_(own)).limit(1))
    if data is None:
        raise NotFound("There is no such picture.")
    return data


def _holders(kind: str, sha256: str) -> Select[bytes]:
    return (
        select(PictureRow.data)
        .join(Picture, Picture.id == PictureRow.picture_id)
        .join(Campaign, Campaign.id == Picture.campaign_id)
        .where(PictureRow.sha256 == sha256, PictureRow.kind == kind)
    )


def _draft(session: Session, creator_id: int, campaign_id: str) -> Campaign:
    campaign = own_campaign(session, creator_id, campaign_id, Action.WRITE)
    if campaign.terms is not None:
        raise UserError(FROZEN)
    return campaign


def _own(session: Session, creator_id: int, campaign_id: str, picture_id: int) -> Picture:
    _draft(session, creator_id, campaign_id)
    picture = session.get(Picture, picture_id)
    if picture is None or picture.campaign_id != campaign_id:
        raise NotFound("There is no such picture in this draft.")
    return picture
