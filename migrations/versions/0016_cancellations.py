"""cancellations: what ends a campaign before its deadline, and how its creator comes to one"""

import sqlalchemy as sa
from alembic import op

from crowdfund.triggers import frozen, guard, kept

revision = "0016"
down_revision = "0015"

OWN = """SELECT id FROM cancellations WHERE id = NEW.cancellation_id AND campaign_id = NEW.campaign_id
    AND height = NEW.closing_height AND block_hash = NEW.closing_hash"""
PUBLISHED = "(SELECT terms FROM campaigns WHERE id = NEW.campaign_id) IS NULL"

RULES = [
    frozen("cancellations"),
    kept("cancellations"),
    guard("only_what_is_published_is_cancelled", "cancellations", PUBLISHED),
    guard(
        "a_cancelled_campaign_has_failed_in_that_block",
        "decisions",
        f"NEW.cancellation_id IS NOT NULL AND (NEW.outcome <> 'failed' OR NOT EXISTS ({OWN}))",
    ),
    frozen("decisions", "cancellation_id"),
    frozen("cancellation_drafts"),
    kept("cancellation_drafts"),
    guard("only_what_is_published_has_a_cancellation_drafted", "cancellation_drafts", PUBLISHED),
    frozen("cancellation_sends", "id", "campaign_id", "creator_id", "txid", "raw", "brought_at"),
    kept("cancellation_sends"),
]


def _integer() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "cancellations",
        sa.Column("id", _integer(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("txid", sa.Text(), nullable=False),
        sa.Column("height", _integer(), nullable=False),
        sa.Column("block_hash", sa.Text(), nullable=False),
        sa.Column("position", _integer(), nullable=False),
        sa.Column("branch", sa.LargeBinary(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("spent", sa.LargeBinary(), nullable=True),
        sa.Column("reason_sha256", sa.Text(), nullable=False),
        sa.Column("found_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint("length(reason_sha256) = 64", name="reason_by_its_hash"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("campaign_id", "txid", "block_hash"),
    )
    op.create_table(
        "cancellation_drafts",
        sa.Column("id", _integer(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("creator_id", _integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("spent", sa.LargeBinary(), nullable=False),
        sa.Column("vout", _integer(), nullable=False),
        sa.Column("feerate_sat_vb", _integer(), nullable=False),
        sa.Column("made_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint("length(reason) BETWEEN 1 AND 500", name="reason_of_some_lines"),
        sa.CheckConstraint("feerate_sat_vb >= 1", name="feerate_of_one_or_more"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"]),
        sa.ForeignKeyConstraint(["creator_id"], ["creators.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_cancellation_drafts_campaign_id", "cancellation_drafts", ["campaign_id"], unique=False)
    op.create_table(
        "cancellation_sends",
        sa.Column("id", _integer(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("creator_id", _integer(), nullable=False),
        sa.Column("txid", sa.Text(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("brought_at", sa.DateTime(), nullable=False),
        sa.Column("sent_at", sa.DateTime(), nullable=True),
        sa.Column("answer", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"]),
        sa.ForeignKeyConstraint(["creator_id"], ["creators.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("campaign_id", "txid"),
    )
    # In words of its own, as SQLite can add a constraint only together with its column.
    integer = "INTEGER" if op.get_bind().dialect.name == "sqlite" else "BIGINT"
    op.execute(f"ALTER TABLE decisions ADD COLUMN cancellation_id {integer} REFERENCES cancellations (id)")
    for rule in RULES:
        op.execute(rule)
