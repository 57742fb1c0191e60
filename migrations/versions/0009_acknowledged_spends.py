"""acknowledged spends: what a person has said of coins that somebody else has spent"""

import sqlalchemy as sa
from alembic import op

import crowdfund.db
from crowdfund.triggers import frozen, guard, kept

revision = "0009"
down_revision = "0008"


def _integer() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "acknowledged_spends",
        sa.Column("id", _integer(), nullable=False),
        sa.Column("coin_id", _integer(), nullable=False),
        sa.Column("spent_by", sa.Text(), nullable=False),
        sa.Column("spent_height", _integer(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("at", crowdfund.db.UtcDateTime(), nullable=False),
        sa.CheckConstraint("why <> ''", name="with_a_reason"),
        sa.ForeignKeyConstraint(["coin_id"], ["coins.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("coin_id", "spent_by"),
    )
    op.execute(kept("acknowledged_spends"))
    op.execute(frozen("acknowledged_spends"))
    op.execute(
        guard(
            "only_a_spend_that_is_there_is_acknowledged",
            "acknowledged_spends",
            """NOT EXISTS (SELECT 1 FROM coins c WHERE c.id = NEW.coin_id AND c.spent_by = NEW.spent_by
               AND c.spent_height = NEW.spent_height)""",
        )
    )
    op.execute(
        guard(
            "what_we_have_signed_is_no_foreign_spend",
            "acknowledged_spends",
            """EXISTS (SELECT 1 FROM attempts WHERE txid = NEW.spent_by)
               OR EXISTS (SELECT 1 FROM timelocked_refunds WHERE txid = NEW.spent_by)""",
        )
    )
