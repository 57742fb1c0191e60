"""terms of version 2: a cap, and the key that signs receipts"""

import sqlalchemy as sa
from alembic import op

from crowdfund.triggers import frozen
from crowdfund.wallet.amounts import MAX_MONEY_SATS

revision = "0005"
down_revision = "0004"


TRIGGERS = [
    frozen("campaigns", "cap_sats", when="OLD.terms IS NOT NULL"),
    frozen("accounts", "receipt_key", when="OLD.receipt_key IS NOT NULL"),
]


def upgrade() -> None:
    op.add_column("accounts", sa.Column("receipt_key", sa.Text(), nullable=True))
    # In words of its own, as SQLite can add a constraint only together with its column.
    integer = "INTEGER" if op.get_bind().dialect.name == "sqlite" else "BIGINT"
    op.execute(
        f"ALTER TABLE campaigns ADD COLUMN cap_sats {integer} DEFAULT 0 NOT NULL "
        f"CONSTRAINT cap_sats_in_range CHECK (cap_sats BETWEEN 0 AND {MAX_MONEY_SATS})"
    )
    for trigger in TRIGGERS:
        op.execute(trigger)
