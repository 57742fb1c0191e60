"""telling people: what happened, who wants to know, the outbox"""

import sqlalchemy as sa
from alembic import op

import crowdfund.db
from crowdfund.triggers import frozen, guard, kept

revision = "0011"
down_revision = "0010"

RULES = [
    frozen("happenings"),
    kept("happenings"),
    frozen("notices", "happening_id", "channel", "recipient_id", "round", "created_at"),
    kept("notices"),
    frozen("notices", "state", "tries", "finished_at", when="OLD.state <> 'queued'"),
    guard("notices_begin_queued", "notices", "NEW.state <> 'queued'"),
    frozen("deliveries"),
    kept("deliveries"),
    # An address is confirmed once, by its own link; it never becomes another address or is about something else.
    frozen("subscriptions", "email", "about", "pledge_id", "campaign_id", "creator_id", "key"),
    guard(
        "subscriptions_stay_confirmed",
        "subscriptions",
        "OLD.confirmed_at IS NOT NULL AND NEW.confirmed_at IS DISTINCT FROM OLD.confirmed_at",
        on="UPDATE",
    ),
    frozen("webhooks", "creator_id", "url", "secret"),
]


def _integer() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _id() -> sa.Column[int]:
    return sa.Column("id", _integer(), nullable=False)


def _time(name: str, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, crowdfund.db.UtcDateTime(), nullable=nullable)


def _text(name: str, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "happenings",
        _id(),
        _text("key"),
        _text("kind"),
        _text("campaign_id", nullable=True),
        _text("pledge_id", nullable=True),
        sa.Column("target_id", _integer(), nullable=True),
        _time("at"),
        _time("noted_at"),
        _text("detail"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"]),
        sa.ForeignKeyConstraint(["pledge_id"], ["pledges.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key"),
    )
    op.create_index("ix_happenings_campaign_id", "happenings", ["campaign_id"], unique=False)
    _subscriptions()
    _webhooks()
    _outbox()
    for rule in RULES:
        op.execute(rule)


def _subscriptions() -> None:
    op.create_table(
        "subscriptions",
        _id(),
        _text("email"),
        _text("about"),
        _text("pledge_id", nullable=True),
        _text("campaign_id", nullable=True),
        sa.Column("creator_id", _integer(), nullable=True),
        _text("key"),
        _time("asked_at"),
        _time("confirmed_at", nullable=True),
        sa.CheckConstraint(
            "CASE WHEN pledge_id IS NULL THEN 0 ELSE 1 END + CASE WHEN campaign_id IS NULL THEN 0 ELSE 1 END"
            " + CASE WHEN creator_id IS NULL THEN 0 ELSE 1 END = 1",
            name="about_one_thing",
        ),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"]),
        sa.ForeignKeyConstraint(["creator_id"], ["creators.id"]),
        sa.ForeignKeyConstraint(["pledge_id"], ["pledges.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("email", "about"),
        sa.UniqueConstraint("pledge_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_subscriptions_campaign_id", "subscriptions", ["campaign_id"], unique=False)
    op.create_index("ix_subscriptions_creator_id", "subscriptions", ["creator_id"], unique=False)
    op.create_table("mail_asks", _id(), _text("email_sha256"), _time("at"), sa.PrimaryKeyConstraint("id"))
    op.create_index("ix_mail_asks_email_sha256", "mail_asks", ["email_sha256"], unique=False)
    op.create_index("ix_mail_asks_at", "mail_asks", ["at"], unique=False)


def _webhooks() -> None:
    op.create_table(
        "webhooks",
        _id(),
        sa.Column("creator_id", _integer(), nullable=False),
        _text("url"),
        _text("secret"),
        _text("events"),
        _time("created_at"),
        _time("failing_since", nullable=True),
        _time("disabled_at", nullable=True),
        sa.Column("disabled_reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.CheckConstraint("(disabled_at IS NULL) = (disabled_reason = '')", name="disabled_with_a_reason"),
        sa.ForeignKeyConstraint(["creator_id"], ["creators.id"]),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_webhooks_creator_id", "webhooks", ["creator_id"], unique=False)


def _outbox() -> None:
    op.create_table(
        "notices",
        _id(),
        sa.Column("happening_id", _integer(), nullable=False),
        _text("channel"),
        sa.Column("recipient_id", _integer(), nullable=False),
        sa.Column("round", _integer(), nullable=False),
        _text("state"),
        sa.Column("tries", _integer(), nullable=False),
        _time("created_at"),
        _time("next_at"),
        sa.Column("leased_by", sa.Text(), server_default=sa.text("''"), nullable=False),
        _time("leased_until", nullable=True),
        _time("finished_at", nullable=True),
        sa.Column("trouble", sa.Text(), server_default=sa.text("''"), nullable=False),
        _time("again_at", nullable=True),
        sa.CheckConstraint("channel IN ('mail', 'webhook')", name="channel_known"),
        sa.CheckConstraint("state IN ('queued', 'sent', 'given_up')", name="state_known"),
        sa.CheckConstraint("(state = 'queued') = (finished_at IS NULL)", name="finished_at_a_time"),
        sa.CheckConstraint("tries >= 0 AND round >= 0", name="counts_from_zero"),
        sa.ForeignKeyConstraint(["happening_id"], ["happenings.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("happening_id", "channel", "recipient_id", "round"),
    )
    op.create_index("ix_notices_next_at", "notices", ["next_at"], unique=False)
    op.create_table(
        "deliveries",
        _id(),
        sa.Column("notice_id", _integer(), nullable=False),
        _time("at"),
        sa.Column("ok", sa.Boolean(), nullable=False),
        sa.Column("status", _integer(), nullable=True),
        sa.Column("took_ms", _integer(), nullable=False),
        _text("sentence"),
        sa.ForeignKeyConstraint(["notice_id"], ["notices.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_deliveries_notice_id", "deliveries", ["notice_id"], unique=False)
