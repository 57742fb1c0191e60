"""The tables of telling: what happened, who wants to know, and the outbox.

No row here decides about money. Addresses stand in `subscriptions` alone, so that deleting one row forgets a person.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from crowdfund.campaigns.models import Campaign, Creator, Pledge
from crowdfund.db import Base

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-"
"""What codes of languages are made of."""


class Happening(Base):
    """Something that people are told of, noted once: `key` names it. Rows are kept as they are for ever.

    `at` is when it happened (for what a block says, the block's time), `noted_at` our clock. `target_id` is the
    subscription or webhook that alone is told, where the kind says so. `detail` is JSON.
    """

    __tablename__ = "happenings"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    campaign_id: Mapped[str | None] = mapped_column(ForeignKey(Campaign.id), index=True)
    pledge_id: Mapped[str | None] = mapped_column(ForeignKey(Pledge.id))
    target_id: Mapped[int | None]
    at: Mapped[datetime]
    noted_at: Mapped[datetime]
    detail: Mapped[str]


class Subscription(Base):
    """A mail address and what it wants to hear of: one pledge, one campaign, or all of one creator's campaigns.

    Nothing but the question whether it is right is sent to an address before `confirmed_at` is set. `key` makes the
    tokens of its links. `language` is the one that was chosen when it was given; whether it is still offered is seen
    when a mail is written.
    """

    __tablename__ = "subscriptions"
    __table_args__ = (
        UniqueConstraint("email", "about"),
        CheckConstraint(
            "CASE WHEN pledge_id IS NULL THEN 0 ELSE 1 END + CASE WHEN campaign_id IS NULL THEN 0 ELSE 1 END"
            " + CASE WHEN creator_id IS NULL THEN 0 ELSE 1 END = 1",
            name="about_one_thing",
        ),
        CheckConstraint(
            f"length(language) BETWEEN 2 AND 12 AND ltrim(language, '{LETTERS}') = ''", name="language_is_a_code"
        ),
        {"sqlite_autoincrement": True},  # the outbox names ids: none may come back as somebody else's
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    about: Mapped[str]
    pledge_id: Mapped[str | None] = mapped_column(ForeignKey(Pledge.id), unique=True)
    campaign_id: Mapped[str | None] = mapped_column(ForeignKey(Campaign.id), index=True)
    creator_id: Mapped[int | None] = mapped_column(ForeignKey(Creator.id), index=True)
    key: Mapped[str]
    asked_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]
    language: Mapped[str] = mapped_column(default="en", server_default=text("'en'"))


class MailAsk(Base):
    """Somebody asked for a mail to an address, of which the SHA-256 is kept for a day: so many and no more."""

    __tablename__ = "mail_asks"

    id: Mapped[int] = mapped_column(primary_key=True)
    email_sha256: Mapped[str] = mapped_column(index=True)
    at: Mapped[datetime] = mapped_column(index=True)


class Webhook(Base):
    """A program of a creator's that is told. `events` are kinds, with a space between two. `failing_since` is the
    first failure after the last success; after three days of them, `disabled_at` is set."""

    __tablename__ = "webhooks"
    __table_args__ = (
        CheckConstraint("(disabled_at IS NULL) = (disabled_reason = '')", name="disabled_with_a_reason"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    creator_id: Mapped[int] = mapped_column(ForeignKey(Creator.id), index=True)
    url: Mapped[str]
    secret: Mapped[str]
    events: Mapped[str]
    created_at: Mapped[datetime]
    failing_since: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[str] = mapped_column(default="", server_default=text("''"))


class Notice(Base):
    """One thing to tell one recipient by one channel: never twice, which the unique key says.

    `recipient_id` is a subscription or a webhook; 0 is the operator. `round` grows where a creator asks for the same
    once more (`again_at`). While `leased_until` lies ahead, the sender `leased_by` is at it. `sent` and `given_up` are
    final.
    """

    __tablename__ = "notices"
    __table_args__ = (
        UniqueConstraint("happening_id", "channel", "recipient_id", "round"),
        CheckConstraint("channel IN ('mail', 'webhook')", name="channel_known"),
        CheckConstraint("state IN ('queued', 'sent', 'given_up')", name="state_known"),
        CheckConstraint("(state = 'queued') = (finished_at IS NULL)", name="finished_at_a_time"),
        CheckConstraint("tries >= 0 AND round >= 0", name="counts_from_zero"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    happening_id: Mapped[int] = mapped_column(ForeignKey(Happening.id))
    channel: Mapped[str]
    recipient_id: Mapped[int]
    round: Mapped[int] = mapped_column(default=0)
    state: Mapped[str] = mapped_column(default="queued")
    tries: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    next_at: Mapped[datetime] = mapped_column(index=True)
    leased_by: Mapped[str] = mapped_column(default="", server_default=text("''"))
    leased_until: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    trouble: Mapped[str] = mapped_column(default="", server_default=text("''"))
    again_at: Mapped[datetime | None]

    happening: Mapped[Happening] = relationship()
    deliveries: Mapped[list[Delivery]] = relationship(order_by="Delivery.id")


class Delivery(Base):
    """One attempt to deliver a notice. `status` is the code that the other side answered, NULL for no answer."""

    __tablename__ = "deliveries"

    id: Mapped[int] = mapped_column(primary_key=True)
    notice_id: Mapped[int] = mapped_column(ForeignKey(Notice.id), index=True)
    at: Mapped[datetime]
    ok: Mapped[bool]
    status: Mapped[int | None]
    took_ms: Mapped[int]
    sentence: Mapped[str]
