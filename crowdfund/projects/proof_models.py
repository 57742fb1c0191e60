"""The table of looks at whether a project stands behind its page here. Rows are only added; triggers see to that."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from crowdfund.db import Base

ASKED, SHOWN, ABSENT, UNSURE = "asked", "shown", "absent", "unsure"
ADDRESS_LIMIT, URL_LIMIT, LINE_LIMIT, SENTENCE_LIMIT = 300, 2_000, 500, 1_000


class ProjectProof(Base):
    """A look at the files of a project at one of its addresses, or (`asked`) that somebody wants one.

    `shown`: by `way` the file at `url` with this `sha256` said so, on the `line`. `absent`: it was not there, `unsure`:
    nobody answered; why is the `sentence`. `asked_by` is None where nobody asked but the day was over.
    """

    __tablename__ = "project_proofs"
    __table_args__ = (
        Index("ix_project_proofs_project_id", "project_id", "id"),
        CheckConstraint("outcome IN ('asked', 'shown', 'absent', 'unsure')", name="outcome_known"),
        CheckConstraint("way IN ('', 'funding-manifest-urls', 'FUNDING.yml', 'challenge')", name="way_known"),
        CheckConstraint("(outcome = 'shown') = (way <> '')", name="shown_in_a_way"),
        CheckConstraint("(outcome = 'shown') = (url <> '')", name="shown_somewhere"),
        CheckConstraint("(outcome = 'shown') = (line <> '')", name="shown_by_a_line"),
        CheckConstraint("(outcome = 'shown') = (length(sha256) = 64)", name="shown_in_a_file"),
        CheckConstraint("(outcome IN ('absent', 'unsure')) = (sentence <> '')", name="not_shown_for_a_reason"),
        CheckConstraint("outcome <> 'asked' OR asked_by IS NOT NULL", name="asked_by_somebody"),
        CheckConstraint(f"length(address) BETWEEN 1 AND {ADDRESS_LIMIT}", name="address_bounded"),
        CheckConstraint(f"length(url) <= {URL_LIMIT}", name="url_bounded"),
        CheckConstraint(f"length(line) <= {LINE_LIMIT}", name="line_bounded"),
        CheckConstraint(f"length(sentence) <= {SENTENCE_LIMIT}", name="sentence_bounded"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    looked_at: Mapped[datetime]
    asked_by: Mapped[int | None] = mapped_column(ForeignKey("creators.id"))
    address: Mapped[str]
    outcome: Mapped[str]
    way: Mapped[str] = mapped_column(default="")
    url: Mapped[str] = mapped_column(default="")
    line: Mapped[str] = mapped_column(default="")
    sha256: Mapped[str] = mapped_column(default="")
    sentence: Mapped[str] = mapped_column(default="")
