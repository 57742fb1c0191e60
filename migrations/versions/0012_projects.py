"""projects and their people; details of campaigns, rewards, deliveries, help and reviews

Every campaign that is there already is adopted: one project for each creator and project address.
"""

import secrets
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

import crowdfund.db
from crowdfund.projects.naming import guessed_kind, name_from_url, slug_of
from crowdfund.triggers import frozen, guard, kept

revision = "0012"
down_revision = "0011"

STOCK_GONE = """(SELECT stock FROM rewards WHERE campaign_id = NEW.campaign_id AND number = NEW.number) BETWEEN 1 AND
    (SELECT count(*) FROM reward_claims
     WHERE campaign_id = NEW.campaign_id AND number = NEW.number AND freed_at IS NULL)"""
IS_DRAFT = "(SELECT terms FROM campaigns WHERE id = NEW.campaign_id) IS NULL"

TRIGGERS = [
    frozen("campaigns", "project_id", "details", when="OLD.terms IS NOT NULL"),
    guard("a_campaign_belongs_to_a_project", "campaigns", "NEW.project_id IS NULL"),
    guard("a_campaign_keeps_a_project", "campaigns", "NEW.project_id IS NULL", on="UPDATE"),
    frozen("projects", "id", "slug", "created_at"),
    frozen("project_members", "project_id", "creator_id", "joined_at"),
    guard(
        "the_last_owner_stays",
        "project_members",
        """OLD.role = 'owner' AND OLD.left_at IS NULL AND (NEW.role <> 'owner' OR NEW.left_at IS NOT NULL)
           AND NOT EXISTS (SELECT 1 FROM project_members m WHERE m.project_id = OLD.project_id
                           AND m.creator_id <> OLD.creator_id AND m.role = 'owner' AND m.left_at IS NULL)""",
        on="UPDATE",
    ),
    frozen("project_invitations", "id", "project_id", "role", "token_sha256", "made_by", "made_at", "expires_at"),
    frozen("project_invitations", "used_by", "used_at", when="OLD.used_by IS NOT NULL"),
    # Rewards come with the terms, before anybody could have chosen one.
    frozen("rewards"),
    guard("rewards_come_with_the_terms", "rewards", IS_DRAFT),
    guard(
        "rewards_come_before_pledges",
        "rewards",
        "EXISTS (SELECT 1 FROM pledges WHERE campaign_id = NEW.campaign_id)",
    ),
    frozen("reward_claims", "pledge_id", "campaign_id", "number", "reserved_at"),
    guard(
        "a_claim_reaches_the_minimum_of_its_own_campaign",
        "reward_claims",
        """NOT EXISTS (SELECT 1 FROM pledges p JOIN rewards r ON r.campaign_id = p.campaign_id
                       WHERE p.id = NEW.pledge_id AND p.campaign_id = NEW.campaign_id AND r.number = NEW.number
                       AND p.amount_sats >= r.minimum_sats)""",
    ),
    guard("stock_is_never_oversold", "reward_claims", f"NEW.freed_at IS NULL AND {STOCK_GONE}"),
    guard(
        "stock_is_never_oversold_later",
        "reward_claims",
        f"OLD.freed_at IS NOT NULL AND NEW.freed_at IS NULL AND {STOCK_GONE}",
        on="UPDATE",
    ),
    frozen("deliverable_reports"),
    guard("deliveries_are_of_published_campaigns", "deliverable_reports", IS_DRAFT),
    frozen("help_offers", "id", "campaign_id", "need", "amount", "name", "contact", "message", "offered_at"),
    frozen("help_offers", "state", "answer", "answered_at", "answered_by", when="OLD.state <> 'offered'"),
    guard("help_is_offered_to_published_campaigns", "help_offers", IS_DRAFT),
    frozen("review_requests"),
    frozen("review_verdicts"),
    *(
        kept(table)
        for table in (
            "projects",
            "project_members",
            "project_invitations",
            "rewards",
            "reward_claims",
            "deliverable_reports",
            "help_offers",
            "review_requests",
            "review_verdicts",
        )
    ),
]


def _integer() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _number(name: str, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, _integer(), nullable=nullable)


def _text(name: str, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _time(name: str, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, crowdfund.db.UtcDateTime(), nullable=nullable)


def upgrade() -> None:
    _projects()
    op.execute("ALTER TABLE campaigns ADD COLUMN project_id TEXT REFERENCES projects (id)")
    op.create_index("ix_campaigns_project_id", "campaigns", ["project_id"], unique=False)
    op.add_column("campaigns", sa.Column("details", sa.Text(), server_default=sa.text("''"), nullable=False))
    _rewards()
    _deliveries_and_help()
    _reviews()
    _adopt(op.get_bind())
    for trigger in TRIGGERS:
        op.execute(trigger)


def _projects() -> None:
    role = "role IN ('owner', 'editor', 'treasurer')"
    op.create_table(
        "projects",
        *map(_text, ("id", "slug", "name", "summary", "kind", "repository_url", "site_url", "license", "forks_of")),
        *map(_number, ("technology_readiness", "documentation_readiness")),
        _text("bom_url"),
        _time("created_at"),
        sa.CheckConstraint("kind IN ('software', 'hardware', 'culture', 'data')", name="kind_known"),
        sa.CheckConstraint("technology_readiness BETWEEN 0 AND 6", name="technology_readiness_in_range"),
        sa.CheckConstraint("documentation_readiness BETWEEN 0 AND 4", name="documentation_readiness_in_range"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("slug"),
    )
    op.create_table(
        "project_members",
        _text("project_id"),
        sa.Column("creator_id", _integer(), autoincrement=False, nullable=False),
        _text("role"),
        _time("joined_at"),
        _time("left_at", nullable=True),
        sa.CheckConstraint(role, name="role_known"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"]),
        sa.ForeignKeyConstraint(["creator_id"], ["creators.id"]),
        sa.PrimaryKeyConstraint("project_id", "creator_id"),
    )
    op.create_index("ix_project_members_creator_id", "project_members", ["creator_id"], unique=False)
    op.create_table(
        "project_invitations",
        _number("id"),
        *map(_text, ("project_id", "role", "token_sha256")),
        _number("made_by"),
        *map(_time, ("made_at", "expires_at")),
        _number("used_by", nullable=True),
        _time("used_at", nullable=True),
        sa.CheckConstraint(role, name="role_known"),
        sa.CheckConstraint("(used_by IS NULL) = (used_at IS NULL)", name="used_by_somebody"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"]),
        sa.ForeignKeyConstraint(["made_by"], ["creators.id"]),
        sa.ForeignKeyConstraint(["used_by"], ["creators.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("token_sha256"),
    )
    op.create_index("ix_project_invitations_project_id", "project_invitations", ["project_id"], unique=False)


def _rewards() -> None:
    op.create_table(
        "rewards",
        _text("campaign_id"),
        sa.Column("number", _integer(), autoincrement=False, nullable=False),
        *map(_number, ("minimum_sats", "stock")),
        sa.CheckConstraint("stock >= 0", name="stock_not_negative"),
        sa.CheckConstraint("minimum_sats >= 1", name="minimum_of_one_or_more"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"]),
        sa.PrimaryKeyConstraint("campaign_id", "number"),
    )
    op.create_table(
        "reward_claims",
        *map(_text, ("pledge_id", "campaign_id")),
        _number("number"),
        _time("reserved_at"),
        _time("freed_at", nullable=True),
        sa.ForeignKeyConstraint(["pledge_id"], ["pledges.id"]),
        sa.ForeignKeyConstraint(["campaign_id", "number"], ["rewards.campaign_id", "rewards.number"]),
        sa.PrimaryKeyConstraint("pledge_id"),
    )
    op.create_index("ix_reward_claims_campaign_id", "reward_claims", ["campaign_id"], unique=False)


def _deliveries_and_help() -> None:
    op.create_table(
        "deliverable_reports",
        _number("id"),
        _text("campaign_id"),
        _number("number"),
        *map(_text, ("state", "url")),
        _number("creator_id"),
        _time("reported_at"),
        sa.CheckConstraint("state IN ('planned', 'there')", name="state_known"),
        sa.CheckConstraint("number >= 0", name="number_of_a_line"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"]),
        sa.ForeignKeyConstraint(["creator_id"], ["creators.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_deliverable_reports_campaign_id", "deliverable_reports", ["campaign_id"], unique=False)
    op.create_table(
        "help_offers",
        _number("id"),
        _text("campaign_id"),
        *map(_number, ("need", "amount")),
        *map(_text, ("name", "contact", "message")),
        _time("offered_at"),
        *map(_text, ("state", "answer")),
        _time("answered_at", nullable=True),
        _number("answered_by", nullable=True),
        sa.CheckConstraint("state IN ('offered', 'accepted', 'declined')", name="state_known"),
        sa.CheckConstraint("amount >= 1", name="amount_of_one_or_more"),
        sa.CheckConstraint("(state = 'offered') = (answered_at IS NULL)", name="answered_at_a_time"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"]),
        sa.ForeignKeyConstraint(["answered_by"], ["creators.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_help_offers_campaign_id", "help_offers", ["campaign_id"], unique=False)


def _reviews() -> None:
    op.create_table(
        "review_requests",
        _number("id"),
        *map(_text, ("campaign_id", "draft_sha256")),
        _number("creator_id"),
        _time("asked_at"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"]),
        sa.ForeignKeyConstraint(["creator_id"], ["creators.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_review_requests_campaign_id", "review_requests", ["campaign_id"], unique=False)
    op.create_table(
        "review_verdicts",
        sa.Column("request_id", _integer(), autoincrement=False, nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=False),
        _text("reason"),
        _time("decided_at"),
        sa.CheckConstraint("approved OR reason <> ''", name="a_reason_to_send_back"),
        sa.ForeignKeyConstraint(["request_id"], ["review_requests.id"]),
        sa.PrimaryKeyConstraint("request_id"),
    )


def _adopt(connection: sa.Connection) -> None:
    """A project for each creator and project address, owned by that creator."""
    found = connection.execute(
        sa.text("SELECT creator_id, project_url, min(license) FROM campaigns GROUP BY 1, 2 ORDER BY 1, 2")
    ).all()
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(sep=" ")
    taken: set[str] = set()
    for creator_id, url, license_ in found:
        name = name_from_url(url)
        slug = slug_of(name, taken)
        taken.add(slug)
        values = {"id": secrets.token_hex(8), "slug": slug, "name": name, "kind": guessed_kind(license_), "url": url}
        values |= {"license": license_, "creator": creator_id, "now": now}
        connection.execute(
            sa.text(
                """INSERT INTO projects (id, slug, name, summary, kind, repository_url, site_url, license, forks_of,
                   technology_readiness, documentation_readiness, bom_url, created_at)
                   VALUES (:id, :slug, :name, '', :kind, '', :url, :license, '', 0, 0, '', :now)"""
            ),
            values,
        )
        connection.execute(
            sa.text(
                """INSERT INTO project_members (project_id, creator_id, role, joined_at)
                   VALUES (:id, :creator, 'owner', :now)"""
            ),
            values,
        )
        connection.execute(
            sa.text("UPDATE campaigns SET project_id = :id WHERE creator_id = :creator AND project_url = :url"), values
        )
