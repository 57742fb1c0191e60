"""The table of changes of refund addresses: what backers brought signed, and what the signer said. Never deleted.

A change that is taken moves its pledge in the same statement: a trigger sees to it, and nothing else moves one.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from crowdfund.db import Base

_OPEN = text("state IN ('waiting', 'sent')")
_TAKEN = text("state = 'taken'")


class ChangeState(StrEnum):
    """Where a change stands. From `sent` on the signer may have it, so nothing is decided before it has answered."""

    WAITING = "waiting"
    SENT = "sent"
    TAKEN = "taken"
    REFUSED = "refused"


OPEN = (ChangeState.WAITING, ChangeState.SENT)


class RefundChangeRow(Base):
    """Another refund address for a pledge, signed by the one before. `number` counts the changes of a pledge that were
    taken; `answer` says why it was refused."""

    __tablename__ = "refund_changes"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'sent', 'taken', 'refused')", name="state_known"),
        CheckConstraint("(state IN ('taken', 'refused')) = (answered_at IS NOT NULL)", name="answered_when"),
        CheckConstraint("(state = 'refused') = (answer <> '')", name="refused_for_a_reason"),
        CheckConstraint("number >= 1", name="number_of_one_or_more"),
        CheckConstraint("old_script <> new_script", name="another_script"),
        CheckConstraint("length(old_script) > 0 AND length(new_script) > 0", name="scripts_there"),
        CheckConstraint("length(signature) BETWEEN 1 AND 1000", name="signature_bounded"),
        Index("one_open_change", "pledge_id", unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN),
        Index(
            "each_number_taken_once", "pledge_id", "number", unique=True, sqlite_where=_TAKEN, postgresql_where=_TAKEN
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    pledge_id: Mapped[str] = mapped_column(ForeignKey("pledges.id"), index=True)
    number: Mapped[int]
    old_address: Mapped[str]
    old_script: Mapped[bytes]
    new_address: Mapped[str]
    new_script: Mapped[bytes] = mapped_column(index=True)
    signature: Mapped[str]
    brought_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(default=ChangeState.WAITING.value, server_default=text("'waiting'"))
    answered_at: Mapped[datetime | None]
    answer: Mapped[str] = mapped_column(default="", server_default=text("''"))
