"""The tables of what people say about a campaign: updates, questions, answers, comments, what was hidden, own money.

Nothing here is ever changed or deleted; triggers in the migrations see to that. An edit is another row, and hiding is
a row in a log. No table here has a say in what becomes of money.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from crowdfund.campaigns.models import Campaign, Creator, Pledge
from crowdfund.db import Base

TALK = "'question', 'answer', 'comment'"


class UpdateVersion(Base):
    """A text of an update. Versions of one `number` follow each other; the newest is shown, the others stay readable.
    `text` is Markdown."""

    __tablename__ = "update_versions"
    __table_args__ = (
        UniqueConstraint("campaign_id", "number", "version"),
        CheckConstraint("title <> '' AND text <> ''", name="an_update_says_something"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey(Campaign.id))
    number: Mapped[int]
    version: Mapped[int]
    title: Mapped[str]
    text: Mapped[str]
    creator_id: Mapped[int] = mapped_column(ForeignKey(Creator.id))
    created_at: Mapped[datetime]

    creator: Mapped[Creator] = relationship()


class Post(Base):
    """A question, an answer to one, or a comment: plain text.

    `pledge_id` is the pledge of a backer who comments; it is secret and never leaves the database. `creator_id` is set
    for what the campaign's side wrote.
    """

    __tablename__ = "posts"
    __table_args__ = (
        CheckConstraint(f"kind IN ({TALK})", name="post_kind_known"),
        CheckConstraint("role IN ('visitor', 'backer', 'creator')", name="post_role_known"),
        CheckConstraint("(kind = 'answer') = (question_id IS NOT NULL)", name="an_answer_names_a_question"),
        CheckConstraint("(role = 'backer') = (pledge_id IS NOT NULL)", name="a_backer_has_a_pledge"),
        CheckConstraint("(role = 'creator') = (creator_id IS NOT NULL)", name="a_creator_has_an_account"),
        CheckConstraint("kind <> 'answer' OR role = 'creator'", name="creators_answer"),
        CheckConstraint("(kind = 'question') = (role = 'visitor')", name="visitors_ask"),
        CheckConstraint("text <> ''", name="a_post_says_something"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey(Campaign.id), index=True)
    kind: Mapped[str]
    role: Mapped[str]
    question_id: Mapped[int | None] = mapped_column(ForeignKey("posts.id"), index=True)
    pledge_id: Mapped[str | None] = mapped_column(ForeignKey(Pledge.id), index=True)
    creator_id: Mapped[int | None] = mapped_column(ForeignKey(Creator.id))
    name: Mapped[str]
    text: Mapped[str]
    created_at: Mapped[datetime]


class Approval(Base):
    """A question that may be read by everyone before it is answered, and whose word that was."""

    __tablename__ = "post_approvals"
    __table_args__ = (CheckConstraint("role IN ('creator', 'operator')", name="approver_known"),)

    post_id: Mapped[int] = mapped_column(ForeignKey(Post.id), primary_key=True, autoincrement=False)
    role: Mapped[str]
    created_at: Mapped[datetime]


class Moderation(Base):
    """A line of the public log: something was hidden, or shown again, by whom and why.

    Exactly one of `update_number`, `post_id` and `pledge_id` (a backer's name and message) says what. `sha256` is of
    the text as it was then: see `moderation.fingerprint`.
    """

    __tablename__ = "moderation"
    __table_args__ = (
        CheckConstraint(f"kind IN ('update', {TALK}, 'pledge')", name="moderated_kind_known"),
        CheckConstraint("(kind = 'update') = (update_number IS NOT NULL)", name="an_update_has_a_number"),
        CheckConstraint(f"(kind IN ({TALK})) = (post_id IS NOT NULL)", name="a_post_is_named"),
        CheckConstraint("(kind = 'pledge') = (pledge_id IS NOT NULL)", name="a_pledge_is_named"),
        CheckConstraint("action IN ('hide', 'show')", name="action_known"),
        CheckConstraint("role IN ('creator', 'operator')", name="moderator_known"),
        CheckConstraint("reason <> ''", name="a_reason_is_given"),
        CheckConstraint("length(sha256) = 64", name="a_whole_fingerprint"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey(Campaign.id), index=True)
    kind: Mapped[str]
    update_number: Mapped[int | None]
    post_id: Mapped[int | None] = mapped_column(ForeignKey(Post.id), index=True)
    pledge_id: Mapped[str | None] = mapped_column(ForeignKey(Pledge.id), index=True)
    action: Mapped[str]
    role: Mapped[str]
    reason: Mapped[str]
    sha256: Mapped[str]
    created_at: Mapped[datetime]


class OwnMoney(Base):
    """The creator says that a pledge is, or is not, their own money. The last word on a pledge counts; all stay."""

    __tablename__ = "own_money"

    id: Mapped[int] = mapped_column(primary_key=True)
    pledge_id: Mapped[str] = mapped_column(ForeignKey(Pledge.id), index=True)
    own: Mapped[bool]
    creator_id: Mapped[int] = mapped_column(ForeignKey(Creator.id))
    created_at: Mapped[datetime]
