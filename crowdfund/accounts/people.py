"""People who launch campaigns: their names, tokens for those who have no page, and the end of an account."""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from crowdfund.accounts import passwords, tokens
from crowdfund.accounts.models import (
    AccountEvent,
    Authenticator,
    Passkey,
    PasskeyChallenge,
    RecoveryCode,
    WebSession,
)
from crowdfund.campaigns.models import ApiToken, Campaign, Creator
from crowdfund.campaigns.picture_models import Picture, PictureRow
from crowdfund.errors import UserError
from crowdfund.notices.models import Subscription, Webhook
from crowdfund.projects import people as teams
from crowdfund.projects.models import Project
from crowdfund.sentences import N_, Sentence

NAME_LIMIT = 40
WORDS_OF_DRAFT = ("title", "summary", "story", "payout_address", "project_url", "details")
WRONG = N_("Name and password do not fit together.")
# Everything that a person takes along; campaigns and the creator's row itself stay, as others point at them.
OWN = (
    Passkey, PasskeyChallenge, Authenticator, RecoveryCode, WebSession, AccountEvent, ApiToken, Subscription, Webhook,
)  # fmt: skip


def sign_up(session: Session, name: str, password: str, now: datetime) -> Creator:
    """A new creator. Raises UserError if the name is taken or unusable, or the password too short."""
    clean_name(name)
    return open_account(session, name, passwords.hashed(password), now)


def open_account(session: Session, name: str, password_hash: str, now: datetime) -> Creator:
    """The same with a hash that was made before, or NO_PASSWORD. Raises UserError."""
    name = clean_name(name)
    creator = Creator(name=name, key=key_of(name), password_hash=password_hash, created_at=now)
    session.add(creator)
    _flush(session)
    return creator


def find(session: Session, name: str) -> Creator | None:
    """The creator of this name, however it is written."""
    return session.scalar(select(Creator).where(Creator.key == key_of(name.strip())))


def log_in(session: Session, name: str, password: str) -> Creator:
    """The creator with this name and password. Raises UserError with one sentence for every failure.

    A password is verified even where the name is unknown, so that the time taken tells nothing.
    """
    creator = find(session, name)
    if not passwords.fits(creator.password_hash if creator else None, password) or creator is None:
        raise UserError(WRONG, "password")
    return creator


def create_token(
    session: Session,
    name: str,
    now: datetime,
    scopes: Iterable[str] = tokens.EVERYTHING,
    label: str = "",
    expires_at: datetime | None = None,
) -> str:
    """A new token of the creator `name`, who is made if unknown (without a usable password). Raises UserError."""
    creator = find(session, name) or sign_up(session, name, secrets.token_urlsafe(32), now)
    return tokens.make(session, creator.id, now, scopes, label, expires_at)


def has_published(session: Session, creator_id: int) -> bool:
    """Do terms hold this creator's name?"""
    return bool(
        session.scalar(select(func.count()).where(Campaign.creator_id == creator_id, Campaign.terms.is_not(None)))
    )


def rename(session: Session, creator_id: int, name: str) -> str:
    """Give the account another name, and say it as it is kept. Raises UserError."""
    if has_published(session, creator_id):
        raise UserError("The terms of a published campaign hold your name, so it cannot change any more.", "name")
    creator, name = session.get_one(Creator, creator_id), clean_name(name)
    creator.name, creator.key = name, key_of(name)
    _flush(session)
    return name


def close(session: Session, creator_id: int) -> None:
    """End the account: its ways in, its log and the words of its drafts go, its name is free again.

    Raises UserError once a campaign is published: backers must be able to see who made it. What others work at, too,
    is left to them; a project of which one is the last owner has to get another one first.
    """
    if has_published(session, creator_id):
        raise UserError("An account with a published campaign cannot be closed: its terms name you for ever.")
    for project in teams.projects_of(session, creator_id):
        _leave(session, creator_id, project)
    creator = session.get_one(Creator, creator_id)
    # No name that can be typed has such a key; the tables let the last way in go only behind it.
    creator.name, creator.key = f"Closed account {creator_id}", f"closed\n{creator_id}"
    creator.password_hash = passwords.NO_PASSWORD
    session.flush()
    for table in OWN:
        session.execute(delete(table).where(table.creator_id == creator_id))


def _leave(session: Session, creator_id: int, project: Project) -> None:
    """Go from a project that others are in; forget what one is in alone. Raises UserError."""
    if len(teams.members_of(session, project.id)) > 1:
        teams.leave(session, creator_id, project.id, creator_id)
        return
    mine = Campaign.project_id == project.id
    if session.scalar(select(func.count()).where(mine, Campaign.terms.is_not(None))):
        raise UserError(f"“{project.name}” has a published campaign, and you are the last one in it: backers need you.")
    pictures = select(Picture.id).where(Picture.campaign_id.in_(select(Campaign.id).where(mine)))
    session.execute(delete(PictureRow).where(PictureRow.picture_id.in_(pictures)))
    session.execute(delete(Picture).where(Picture.id.in_(pictures)))
    session.execute(update(Campaign).where(mine).values(dict.fromkeys(WORDS_OF_DRAFT, "")))
    project.name = "Closed project"
    project.summary = project.repository_url = project.site_url = project.forks_of = project.bom_url = ""
    session.flush()


def clean_name(name: str) -> str:
    """A name fit to be shown: trimmed, composed, without control characters. Raises UserError otherwise."""
    name = unicodedata.normalize("NFC", name.strip())
    if not 2 <= len(name) <= NAME_LIMIT or not all(c.isprintable() for c in name):
        raise UserError(Sentence("A name has 2 to {limit} visible characters.", limit=NAME_LIMIT), "name")
    return name


def key_of(name: str) -> str:
    """The name without case and other differences that nobody sees."""
    return unicodedata.normalize("NFKC", name).casefold()


def _flush(session: Session) -> None:
    try:
        session.flush()
    except IntegrityError as error:
        if "cannot change" in str(error.orig):
            raise
        raise UserError("This name is taken; choose another one.", "name") from error
