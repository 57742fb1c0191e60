"""Tokens of programs: what each may do, and who has it. A token is told once; the row has its SHA-256 only.

A token is never changed, only made and taken back: what somebody has seen of it stays true.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crowdfund.campaigns.models import ApiToken, Creator
from crowdfund.errors import NotFound, UserError

SCOPES = {
    "read": "read what only you see: drafts, projects, pledges to your campaigns, offers of help",
    "write": "write drafts, projects, updates, answers and reports",
    "publish": "publish, cancel, and change the payout address of a draft",
    "notices": "see and change where you are told of what happens: mail and webhooks",
}
EVERYTHING = tuple(SCOPES)
NAME_LIMIT = 60
PREFIX_LENGTH = 6
MOST = 50
LONGEST = timedelta(days=3_660)
TOUCHED = timedelta(minutes=10)


@dataclass(frozen=True)
class Caller:
    """Who calls with which rights."""

    token_id: int
    creator: Creator
    scopes: frozenset[str]


def make(
    session: Session,
    creator_id: int,
    now: datetime,
    scopes: Iterable[str] = EVERYTHING,
    name: str = "",
    expires_at: datetime | None = None,
) -> str:
    """A new token, which is kept nowhere. Raises UserError."""
    wanted = set(scopes)
    if not wanted or wanted - set(SCOPES):
        raise UserError(f"Choose what the token may do: {', '.join(SCOPES)}.", "scopes")
    name = " ".join(name.split())
    if len(name) > NAME_LIMIT or not name.isprintable():
        raise UserError(f"A token's name has at most {NAME_LIMIT} visible characters.", "token_name")
    if expires_at is not None and not now < expires_at <= now + LONGEST:
        raise UserError("A token ends within ten years from now, or never.", "days")
    if (session.scalar(select(func.count()).where(ApiToken.creator_id == creator_id)) or 0) >= MOST:
        raise UserError(f"There are {MOST} tokens, and more are not possible; take one back first.")
    token = secrets.token_urlsafe(32)
    session.add(
        ApiToken(
            creator_id=creator_id, token_sha256=digest(token), name=name, prefix=token[:PREFIX_LENGTH],
            scopes=" ".join(s for s in SCOPES if s in wanted), created_at=now, expires_at=expires_at,
        )
    )  # fmt: skip
    session.flush()
    return token


def caller(session: Session, token: str, now: datetime) -> Caller | None:
    """Who calls with this token; None if nobody, or if it has ended."""
    row = _row(session, token, now)
    return (
        None if row is None else Caller(row.id, session.get_one(Creator, row.creator_id), frozenset(row.scopes.split()))
    )


def touch(session: Session, token: str, now: datetime) -> None:
    """Note that the token was used, to ten minutes."""
    row = _row(session, token, now)
    if row is not None and _is_due(row, now):
        row.last_used_at = now


def needs_touch(session: Session, token_id: int, now: datetime) -> bool:
    """Is it worth writing down that this token was used?"""
    row = session.get(ApiToken, token_id)
    return row is not None and _is_due(row, now)


def of_creator(session: Session, creator_id: int) -> list[ApiToken]:
    """All of them, the newest first."""
    mine = select(ApiToken).where(ApiToken.creator_id == creator_id)
    return list(session.scalars(mine.order_by(ApiToken.id.desc())))


def revoke(session: Session, creator_id: int, token_id: int) -> str:
    """Take a token back; returns its name. Raises NotFound for another's, as if it were not there."""
    row = session.get(ApiToken, token_id)
    if row is None or row.creator_id != creator_id:
        raise NotFound("There is no such token among yours.")
    session.delete(row)
    session.flush()
    return row.name


def digest(token: str) -> str:
    """What is kept of it."""
    return sha256(token.encode(errors="surrogatepass")).hexdigest()


def _row(session: Session, token: str, now: datetime) -> ApiToken | None:
    row = session.scalar(select(ApiToken).where(ApiToken.token_sha256 == digest(token)))
    return None if row is None or (row.expires_at is not None and row.expires_at <= now) else row


def _is_due(row: ApiToken, now: datetime) -> bool:
    return row.last_used_at is None or now - row.last_used_at > TOUCHED
