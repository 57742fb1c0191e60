"""What keeps settlement from going on, on record: begun by a check that failed, ended when all checks hold again.

While a halt lasts, nothing of its campaign (or, without one, of any) is decided, planned, signed or sent. The chain is
watched all the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from crowdfund.campaigns.checks import Breach
from crowdfund.campaigns.ledger_models import Halt
from crowdfund.campaigns.models import Campaign
from crowdfund.campaigns.recording import tell_pages


def begin(session: Session, breaches: Iterable[Breach], now: datetime) -> int:
    """One halt for each campaign concerned, with the first breach as its reason; returns how many are new."""
    first: dict[str | None, str] = {}
    for breach in breaches:
        if breach.halts:
            first.setdefault(breach.campaign_id, breach.sentence)
    standing = {halt.campaign_id for halt in open_halts(session)}
    new = [Halt(campaign_id=c, reason=why, began_at=now) for c, why in first.items() if c not in standing]
    session.add_all(new)
    session.flush()
    if new:
        tell_pages(session)
    return len(new)


def open_halts(session: Session) -> list[Halt]:
    """Those that last, what concerns all campaigns first."""
    rows = session.scalars(select(Halt).where(Halt.ended_at.is_(None)).order_by(Halt.id)).all()
    return sorted(rows, key=lambda halt: halt.campaign_id is not None)


def stops_campaign() -> ColumnElement[bool]:
    """Does a halt keep the campaign of this row from being settled? For queries of `Campaign`."""
    concerns = or_(Halt.campaign_id.is_(None), Halt.campaign_id == Campaign.id)
    return select(Halt.id).where(Halt.ended_at.is_(None), concerns).exists()


def stopping(session: Session, campaign_id: str) -> Halt | None:
    """A halt that keeps this campaign from being settled."""
    concerns = or_(Halt.campaign_id.is_(None), Halt.campaign_id == campaign_id)
    return session.scalar(select(Halt).where(Halt.ended_at.is_(None), concerns).order_by(Halt.id).limit(1))


def end_all(session: Session, why: str, now: datetime) -> int:
    """All checks hold again: end every halt, with the operator's reason. Returns how many."""
    lasting = open_halts(session)
    for halt in lasting:
        halt.ended_at, halt.ended_reason = now, why
    if lasting:
        tell_pages(session)
    return len(lasting)


def sentence(halt: Halt) -> str:
    """For the operator."""
    whose = "Settlement" if halt.campaign_id is None else f"Settlement of campaign {halt.campaign_id}"
    return f"{halt.reason} {whose} is halted until `crowdfund check --resume` finds that all holds again."
