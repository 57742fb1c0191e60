"""looks at whether a project stands behind its page here"""

import sqlalchemy as sa
from alembic import op

import crowdfund.db
from crowdfund.triggers import frozen, guard, kept

revision = "0017"
down_revision = "0016"

RULES = [
    frozen("project_proofs"),
    kept("project_proofs"),
    guard(
        "a_look_is_at_an_address_of_its_project",
        "project_proofs",
        """NOT EXISTS (SELECT 1 FROM projects p WHERE p.id = NEW.project_id
                       AND NEW.address IN (p.repository_url, p.site_url))""",
    ),
]
CHECKS = {
    "outcome_known": "outcome IN ('asked', 'shown', 'absent', 'unsure')",
    "way_known": "way IN ('', 'funding-manifest-urls', 'FUNDING.yml', 'challenge')",
    "shown_in_a_way": "(outcome = 'shown') = (way <> '')",
    "shown_somewhere": "(outcome = 'shown') = (url <> '')",
    "shown_by_a_line": "(outcome = 'shown') = (line <> '')",
    "shown_in_a_file": "(outcome = 'shown') = (length(sha256) = 64)",
    "not_shown_for_a_reason": "(outcome IN ('absent', 'unsure')) = (sentence <> '')",
    "asked_by_somebody": "outcome <> 'asked' OR asked_by IS NOT NULL",
    "address_bounded": "length(address) BETWEEN 1 AND 300",
    "url_bounded": "length(url) <= 2000",
    "line_bounded": "length(line) <= 500",
    "sentence_bounded": "length(sentence) <= 1000",
}


def _integer() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def upgrade() -> None:
    op.create_table(
        "project_proofs",
        sa.Column("id", _integer(), nullable=False),
        _text("project_id"),
        sa.Column("looked_at", crowdfund.db.UtcDateTime(), nullable=False),
        sa.Column("asked_by", _integer(), nullable=True),
        *map(_text, ("address", "outcome", "way", "url", "line", "sha256", "sentence")),
        *(sa.CheckConstraint(rule, name=name) for name, rule in CHECKS.items()),
        sa.ForeignKeyConstraint(["asked_by"], ["creators.id"]),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_project_proofs_project_id", "project_proofs", ["project_id", "id"], unique=False)
    for rule in RULES:
        op.execute(rule)
