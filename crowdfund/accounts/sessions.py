"""Sessions: one row for each browser that is in. The browser has a random token, the row its SHA-256 only.

A token is changed whenever more is allowed than before, so that one seen earlier is worth nothing later.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from crowdfund.accounts.history import TEXT_LIMIT, Visit
from crowdfund.accounts.models import WebSession
from crowdfund.errors import NotFound

LIFE = timedelta(days=30)
HALF_LIFE = timedelta(minutes=10)  # of a session that still owes its second factor
IDLE = timedelta(hours=12)
FRESH = timedelta(minutes=15)
TOUCHED = timedelta(minutes=10)


def begin(session: Session, creator_id: int, way: str, visit: Visit, second_due: bool = False) -> str:
    """A new session; returns its token, which is kept nowhere."""
    token, now = secrets.token_urlsafe(32), visit.now
    session.execute(delete(WebSession).where(WebSession.expires_at < now))
    session.add(
        WebSession(
            token_sha256=_digest(token),
            creator_id=creator_id,
            way=way,
            second_due=second_due,
            began_at=now,
            seen_at=now,
            proven_at=now,
            expires_at=now + (HALF_LIFE if second_due else LIFE),
            address=visit.address,
            agent=visit.agent[:TEXT_LIMIT],
        )
    )
    session.flush()
    return token


def find(session: Session, token: str | None, now: datetime) -> WebSession | None:
    """The session of this token, unless it has ended; one that is half in, too."""
    if not token:
        return None
    mine = select(WebSession).where(WebSession.token_sha256 == _digest(token), WebSession.expires_at > now)
    return session.scalar(mine)


def rotate(session: Session, session_id: int, now: datetime, proven: bool = False) -> str:
    """A new token in place of the one before; with `proven`, a way in was shown just now. Raises NotFound."""
    row = _own(session, session_id)
    token = secrets.token_urlsafe(32)
    row.token_sha256 = _digest(token)
    if proven:
        row.proven_at = row.seen_at = now
    session.flush()
    return token


def touch(session: Session, session_id: int, now: datetime) -> None:
    """Note that the browser is at work. One that was idle for too long stays asleep until a way in is shown."""
    row = session.get(WebSession, session_id)
    if row is not None and needs_touch(row, now):
        row.seen_at = now


def needs_touch(row: WebSession, now: datetime) -> bool:
    """Is it worth writing down that this session was used?"""
    return TOUCHED < now - row.seen_at < IDLE


def awake(row: WebSession, now: datetime) -> bool:
    """Was it used within the last twelve hours?"""
    return now - row.seen_at < IDLE


def fresh(row: WebSession, now: datetime) -> bool:
    """Was a way in shown within the last quarter of an hour? Only then can the ways in be changed."""
    return now - row.proven_at < FRESH


def end(session: Session, creator_id: int, session_id: int) -> None:
    """End one session of this person. Raises NotFound for another's."""
    row = session.get(WebSession, session_id)
    if row is None or row.creator_id != creator_id:
        raise NotFound("There is no such session among yours.")
    session.delete(row)


def end_others(session: Session, creator_id: int, session_id: int) -> int:
    """End all sessions of this person but one; returns how many."""
    others = [s for s in of_creator(session, creator_id) if s.id != session_id]
    for row in others:
        session.delete(row)
    return len(others)


def of_creator(session: Session, creator_id: int) -> list[WebSession]:
    """All sessions of this person, half ones too, the newest first."""
    mine = select(WebSession).where(WebSession.creator_id == creator_id)
    return list(session.scalars(mine.order_by(WebSession.id.desc())))


def _own(session: Session, session_id: int) -> WebSession:
    row = session.get(WebSession, session_id)
    if row is None:
        raise NotFound("This session has ended.")
    return row


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()
