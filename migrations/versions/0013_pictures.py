"""pictures of campaigns, which freeze with the terms"""

import sqlalchemy as sa
from alembic import op

from crowdfund.triggers import frozen, guard

revision = "0013"
down_revision = "0012"

MOST = 9
FROZEN = "the pictures of a published campaign cannot change"
ITS_CAMPAIGN = "SELECT c.terms FROM pictures p JOIN campaigns c ON c.id = p.campaign_id WHERE p.id = {}.picture_id"


def _published(row: str) -> str:
    return f"(SELECT terms FROM campaigns WHERE id = {row}.campaign_id) IS NOT NULL"


RULES = [
    guard("pictures_come_before_publishing", "pictures", _published("NEW"), says=FROZEN),
    guard("pictures_change_before_publishing", "pictures", _published("OLD"), on="UPDATE", says=FROZEN),
    guard("pictures_go_before_publishing", "pictures", _published("OLD"), on="DELETE", says=FROZEN),
    frozen("pictures", "id", "campaign_id", "sha256"),
    guard(
        "so_many_pictures_at_most",
        "pictures",
        f"(SELECT count(*) FROM pictures WHERE campaign_id = NEW.campaign_id) >= {MOST}",
    ),
    guard("files_come_before_publishing", "picture_files", f"({ITS_CAMPAIGN.format('NEW')}) IS NOT NULL", says=FROZEN),
    guard(
        "files_go_before_publishing",
        "picture_files",
        f"({ITS_CAMPAIGN.format('OLD')}) IS NOT NULL",
        on="DELETE",
        says=FROZEN,
    ),
    frozen("picture_files"),
]


def _integer() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "pictures",
        sa.Column("id", _integer(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("position", _integer(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("alt", sa.Text(), nullable=False),
        sa.CheckConstraint("position >= 0", name="position_from_zero"),
        sa.CheckConstraint("length(sha256) = 64", name="sha256_in_hex"),
        sa.CheckConstraint("length(alt) BETWEEN 1 AND 250", name="alt_of_a_line"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("campaign_id", "position"),
        sa.UniqueConstraint("campaign_id", "sha256"),
    )
    op.create_table(
        "picture_files",
        sa.Column("picture_id", _integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("width", _integer(), nullable=False),
        sa.Column("height", _integer(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("kind IN ('webp', 'jpeg')", name="kind_known"),
        sa.CheckConstraint("width BETWEEN 1 AND 1600", name="width_in_range"),
        sa.CheckConstraint("height BETWEEN 1 AND 2400", name="height_in_range"),
        sa.CheckConstraint("length(data) BETWEEN 1 AND 1000000", name="data_of_a_megabyte"),
        sa.ForeignKeyConstraint(["picture_id"], ["pictures.id"]),
        sa.PrimaryKeyConstraint("picture_id", "kind", "width"),
    )
    op.create_index("ix_picture_files_sha256", "picture_files", ["sha256"], unique=False)
    for rule in RULES:
        op.execute(rule)
