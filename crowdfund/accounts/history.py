"""An account's log: what its owner is told of log-ins, failed attempts and changed ways in. Nothing else reads it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from crowdfund.accounts.models import AccountEvent

KEPT = timedelta(days=400)
AGAIN = timedelta(hours=1)
SHOWN = 50
# What strangers can bring about: as many as they like of these must not push the rest out of sight.
KNOCKS = ("failed", "recovery_failed")
KNOCKS_SHOWN = 15
TEXT_LIMIT = 200


@dataclass(frozen=True)
class Visit:
    """Who is at the door: the address that the request came from, what the browser calls itself, and the time."""

    address: str
    agent: str
    now: datetime


def note(session: Session, creator_id: int, kind: str, visit: Visit, detail: str = "") -> None:
    """Write a line. The same from the same address within the hour counts up instead, so that nobody can flood it."""
    last = session.scalar(
        select(AccountEvent)
        .where(AccountEvent.creator_id == creator_id, AccountEvent.kind == kind, AccountEvent.detail == detail)
        .where(AccountEvent.address == visit.address, AccountEvent.happened_at > visit.now - AGAIN)
        .order_by(AccountEvent.id.desc())
        .limit(1)
    )
    if last is not None:
        last.times += 1
        return
    old = AccountEvent.happened_at < visit.now - KEPT
    session.execute(delete(AccountEvent).where(AccountEvent.creator_id == creator_id, old))
    event = AccountEvent(creator_id=creator_id, happened_at=visit.now, kind=kind, detail=detail[:TEXT_LIMIT], times=1)
    event.address = visit.address
    session.add(event)


def latest(session: Session, creator_id: int) -> list[AccountEvent]:
    """The newest lines first; of failed attempts by whoever it was, only some."""
    mine = select(AccountEvent).where(AccountEvent.creator_id == creator_id).order_by(AccountEvent.id.desc())
    knocks = session.scalars(mine.where(AccountEvent.kind.in_(KNOCKS)).limit(KNOCKS_SHOWN))
    others = session.scalars(mine.where(AccountEvent.kind.not_in(KNOCKS)).limit(SHOWN))
    return sorted([*knocks, *others], key=lambda line: line.id, reverse=True)
