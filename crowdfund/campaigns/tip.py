"""Two questions to the recorded chain: where it ends, and where a campaign closes."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crowdfund.campaigns.models import Block


def chain_tip(session: Session) -> Block | None:
    """The last recorded block."""
    return session.scalar(select(Block).order_by(Block.height.desc()).limit(1))


def closing_block(session: Session, deadline: datetime) -> Block | None:
    """The first recorded block whose median time past is later than the deadline."""
    height = select(func.min(Block.height)).where(Block.median_time_past > int(deadline.timestamp())).scalar_subquery()
    return session.scalar(select(Block).where(Block.height == height))
