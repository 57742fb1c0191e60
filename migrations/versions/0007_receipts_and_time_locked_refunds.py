"""receipts, and refunds that are valid from a stated block on"""

import sqlalchemy as sa
from alembic import op

import crowdfund.db
from crowdfund.triggers import frozen, guard, kept

revision = "0007"
down_revision = "0006"

RULES = [
    *(rule for table in ("receipts", "timelocked_refunds") for rule in (frozen(table), kept(table))),
    # What a backer may broadcast spends the coin whole: what does not come back goes to the miners.
    guard(
        "a_time_locked_refund_balances",
        "timelocked_refunds",
        "(SELECT value_sats FROM coins WHERE id = NEW.coin_id) IS DISTINCT FROM NEW.value_sats + NEW.fee_sats",
    ),
]


def _integer() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("pledges", sa.Column("receipt_due", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_index("ix_pledges_receipt_due", "pledges", ["receipt_due"], unique=False)
    op.create_table(
        "receipts",
        sa.Column("pledge_id", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("created_at", crowdfund.db.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["pledge_id"], ["pledges.id"]),
        sa.PrimaryKeyConstraint("pledge_id"),
    )
    op.create_table(
        "timelocked_refunds",
        sa.Column("txid", sa.Text(), nullable=False),
        sa.Column("coin_id", _integer(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("value_sats", _integer(), nullable=False),
        sa.Column("fee_sats", _integer(), nullable=False),
        sa.Column("created_at", crowdfund.db.UtcDateTime(), nullable=False),
        sa.CheckConstraint("value_sats BETWEEN 1 AND 2100000000000000", name="value_sats_in_range"),
        sa.CheckConstraint("fee_sats BETWEEN 1 AND 2100000000000000", name="fee_sats_in_range"),
        sa.ForeignKeyConstraint(["coin_id"], ["coins.id"]),
        sa.PrimaryKeyConstraint("txid"),
        sa.UniqueConstraint("coin_id"),
    )
    for rule in RULES:
        op.execute(rule)
