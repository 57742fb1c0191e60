"""restores: an installation that came back from a backup first looks through the chain"""

import sqlalchemy as sa
from alembic import op

import crowdfund.db
from crowdfund.triggers import dropped, frozen, kept

revision = "0006"
down_revision = "0005"


def _integer() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "restores",
        sa.Column("id", _integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("restored_at", crowdfund.db.UtcDateTime(), nullable=False),
        sa.Column("from_height", _integer(), nullable=True),
        sa.Column("first_account", _integer(), nullable=False),
        sa.Column("caught_up_at", crowdfund.db.UtcDateTime(), nullable=True),
        sa.CheckConstraint("source IN ('backup', 'seed')", name="source_known"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.execute(kept("restores"))
    op.execute(frozen("restores", "id", "source", "restored_at", "from_height", "first_account"))
    op.execute(frozen("restores", "caught_up_at", when="OLD.caught_up_at IS NOT NULL"))
    # A coin found after a restore may wait for its refund address: an empty one is filled in once.
    op.execute(dropped("pledges_frozen_id", "pledges"))
    op.execute(frozen("pledges", "id", "campaign_id", "index", "amount_sats"))
    op.execute(frozen("pledges", "refund_script", "refund_address", when="length(OLD.refund_script) > 0"))
