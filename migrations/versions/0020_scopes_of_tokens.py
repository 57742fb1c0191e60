"""what a token of a program may do, how its owner knows it, and when it ends"""

import sqlalchemy as sa
from alembic import op

import crowdfund.db
from crowdfund.triggers import frozen

revision = "0020"
down_revision = "0019"

# A token that was there may do what it could: everything.
EVERYTHING = "read write publish notices"


def upgrade() -> None:
    op.add_column("api_tokens", sa.Column("name", sa.Text(), server_default="", nullable=False))
    op.add_column("api_tokens", sa.Column("prefix", sa.Text(), server_default="", nullable=False))
    op.add_column("api_tokens", sa.Column("scopes", sa.Text(), server_default=EVERYTHING, nullable=False))
    op.add_column("api_tokens", sa.Column("last_used_at", crowdfund.db.UtcDateTime(), nullable=True))
    op.add_column("api_tokens", sa.Column("expires_at", crowdfund.db.UtcDateTime(), nullable=True))
    op.create_index("ix_api_tokens_creator_id", "api_tokens", ["creator_id"], unique=False)
    op.execute(
        frozen("api_tokens", "creator_id", "token_sha256", "name", "prefix", "scopes", "created_at", "expires_at")
    )
