"""endings: what shows how a campaign ended, kept with its decision whatever becomes of the chain"""

import sqlalchemy as sa
from alembic import op

from crowdfund.triggers import frozen, guard, kept

revision = "0015"
down_revision = "0014"


def _integer() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "endings",
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("headers", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["decisions.campaign_id"]),
        sa.PrimaryKeyConstraint("campaign_id"),
    )
    op.create_table(
        "counted_coins",
        sa.Column("coin_id", _integer(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("height", _integer(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("branch", sa.LargeBinary(), nullable=False),
        sa.Column("position", _integer(), nullable=False),
        sa.ForeignKeyConstraint(["coin_id"], ["coins.id"]),
        sa.ForeignKeyConstraint(["campaign_id"], ["endings.campaign_id"]),
        sa.PrimaryKeyConstraint("coin_id"),
    )
    op.create_index("ix_counted_coins_campaign_id", "counted_coins", ["campaign_id"])
    for table in ("endings", "counted_coins"):
        op.execute(kept(table))
        op.execute(frozen(table))
    op.execute(
        guard(
            "what_counts_is_of_its_campaign",
            "counted_coins",
            """NOT EXISTS (SELECT 1 FROM coins c JOIN pledges p ON p.id = c.pledge_id
               WHERE c.id = NEW.coin_id AND p.campaign_id = NEW.campaign_id)""",
        )
    )
