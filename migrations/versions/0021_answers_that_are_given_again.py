"""answers to requests with an Idempotency-Key, which are given again for a day"""

import sqlalchemy as sa
from alembic import op

import crowdfund.db
from crowdfund.triggers import frozen

revision = "0021"
down_revision = "0020"


def _integer() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "kept_answers",
        sa.Column("owner_sha256", sa.Text(), nullable=False),
        sa.Column("key_sha256", sa.Text(), nullable=False),
        sa.Column("request_sha256", sa.Text(), nullable=False),
        sa.Column("status", _integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("expires_at", crowdfund.db.UtcDateTime(), nullable=False),
        sa.CheckConstraint("length(owner_sha256) BETWEEN 64 AND 64", name="owner_sha256_length"),
        sa.CheckConstraint("length(key_sha256) BETWEEN 64 AND 64", name="key_sha256_length"),
        sa.CheckConstraint("length(request_sha256) BETWEEN 64 AND 64", name="request_sha256_length"),
        sa.CheckConstraint("status = 102 OR status BETWEEN 200 AND 299", name="status_of_success"),
        sa.PrimaryKeyConstraint("owner_sha256", "key_sha256"),
    )
    op.create_index("ix_kept_answers_expires_at", "kept_answers", ["expires_at"], unique=False)
    op.execute(frozen("kept_answers"))
