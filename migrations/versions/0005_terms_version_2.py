"""terms of version 2: a cap, and the key that signs receipts"""

import sqlalchemy as sa
from alembic import op

from crowdfund.wallet.amounts import MAX_MONEY_SATS

revision = "0005"
down_revision = "0002"


def frozen(table: str, *columns: str, when: str) -> str:
    """A trigger that refuses to change these columns while `when` holds for the old row."""
    changed = " OR ".join(f'NEW."{c}" IS DISTINCT FROM OLD."{c}"' for c in columns)
    return f"""
        CREATE TRIGGER {table}_frozen_{columns[0]} BEFORE UPDATE ON {table} WHEN ({when}) AND ({changed})
        BEGIN SELECT RAISE(ABORT, '{table}: {", ".join(columns)} cannot change'); END"""


TRIGGERS = [
    frozen("campaigns", "cap_sats", when="OLD.terms IS NOT NULL"),
    frozen("accounts", "receipt_key", when="OLD.receipt_key IS NOT NULL"),
]


def upgrade() -> None:
    op.add_column("accounts", sa.Column("receipt_key", sa.Text(), nullable=True))
    # In words of its own, as SQLite can add a constraint only together with its column.
    op.execute(
        "ALTER TABLE campaigns ADD COLUMN cap_sats BIGINT DEFAULT 0 NOT NULL "
        f"CONSTRAINT cap_sats_in_range CHECK (cap_sats BETWEEN 0 AND {MAX_MONEY_SATS})"
    )
    for trigger in TRIGGERS:
        op.execute(trigger)
