"""what people say: updates, questions, comments, the log of what was hidden, and whose money it is"""

import sqlalchemy as sa
from alembic import op

import crowdfund.db
from crowdfund.triggers import frozen, guard, kept

revision = "0010"
down_revision = "0009"

TABLES = ("update_versions", "posts", "post_approvals", "moderation", "own_money")
PUBLISHED = "NOT EXISTS (SELECT 1 FROM campaigns WHERE id = NEW.campaign_id AND terms IS NOT NULL)"
LAST_ACTION = """(SELECT m.action FROM moderation m WHERE m.campaign_id = NEW.campaign_id
    AND m.update_number IS NOT DISTINCT FROM NEW.update_number AND m.post_id IS NOT DISTINCT FROM NEW.post_id
    AND m.pledge_id IS NOT DISTINCT FROM NEW.pledge_id ORDER BY m.id DESC LIMIT 1)"""
RULES = [
    *(rule for table in TABLES for rule in (frozen(table), kept(table))),
    guard("updates_of_published_campaigns", "update_versions", PUBLISHED),
    # 1, 2, 3 …, and so are the versions of each: none can be slipped in, and none left out.
    guard(
        "updates_are_numbered",
        "update_versions",
        """NEW.version <> 1 + coalesce((SELECT max(version) FROM update_versions
               WHERE campaign_id = NEW.campaign_id AND number = NEW.number), 0)
           OR (NEW.version = 1 AND NEW.number <> 1 + coalesce((SELECT max(number) FROM update_versions
               WHERE campaign_id = NEW.campaign_id), 0))""",
    ),
    guard("talk_of_published_campaigns", "posts", PUBLISHED),
    guard(
        "an_answer_has_its_question",
        "posts",
        """NEW.question_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM posts
               WHERE id = NEW.question_id AND kind = 'question' AND campaign_id = NEW.campaign_id)""",
    ),
    guard(
        "a_backer_of_this_campaign",
        "posts",
        """NEW.pledge_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM pledges
               WHERE id = NEW.pledge_id AND campaign_id = NEW.campaign_id)""",
    ),
    guard(
        "only_questions_wait_for_approval",
        "post_approvals",
        "NOT EXISTS (SELECT 1 FROM posts WHERE id = NEW.post_id AND kind = 'question')",
    ),
    guard(
        "what_is_moderated_is_of_this_campaign",
        "moderation",
        """(NEW.update_number IS NOT NULL AND NOT EXISTS (SELECT 1 FROM update_versions
               WHERE campaign_id = NEW.campaign_id AND number = NEW.update_number))
           OR (NEW.post_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM posts
               WHERE id = NEW.post_id AND kind = NEW.kind AND campaign_id = NEW.campaign_id))
           OR (NEW.pledge_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM pledges
               WHERE id = NEW.pledge_id AND campaign_id = NEW.campaign_id))""",
    ),
    guard("hidden_and_shown_in_turn", "moderation", f"NEW.action = coalesce({LAST_ACTION}, 'show')"),
    guard(
        "said_once_until_changed",
        "own_money",
        "NEW.own = (SELECT o.own FROM own_money o WHERE o.pledge_id = NEW.pledge_id ORDER BY o.id DESC LIMIT 1)",
    ),
]


def _integer() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _updates()
    _posts()
    _moderation()
    _own_money()
    for rule in RULES:
        op.execute(rule)


def _updates() -> None:
    op.create_table(
        "update_versions",
        sa.Column("id", _integer(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("number", _integer(), nullable=False),
        sa.Column("version", _integer(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("creator_id", _integer(), nullable=False),
        sa.Column("created_at", crowdfund.db.UtcDateTime(), nullable=False),
        sa.CheckConstraint("title <> '' AND text <> ''", name="an_update_says_something"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"]),
        sa.ForeignKeyConstraint(["creator_id"], ["creators.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("campaign_id", "number", "version"),
    )


def _posts() -> None:
    op.create_table(
        "posts",
        sa.Column("id", _integer(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("question_id", _integer(), nullable=True),
        sa.Column("pledge_id", sa.Text(), nullable=True),
        sa.Column("creator_id", _integer(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", crowdfund.db.UtcDateTime(), nullable=False),
        sa.CheckConstraint("kind IN ('question', 'answer', 'comment')", name="post_kind_known"),
        sa.CheckConstraint("role IN ('visitor', 'backer', 'creator')", name="post_role_known"),
        sa.CheckConstraint("(kind = 'answer') = (question_id IS NOT NULL)", name="an_answer_names_a_question"),
        sa.CheckConstraint("(role = 'backer') = (pledge_id IS NOT NULL)", name="a_backer_has_a_pledge"),
        sa.CheckConstraint("(role = 'creator') = (creator_id IS NOT NULL)", name="a_creator_has_an_account"),
        sa.CheckConstraint("kind <> 'answer' OR role = 'creator'", name="creators_answer"),
        sa.CheckConstraint("(kind = 'question') = (role = 'visitor')", name="visitors_ask"),
        sa.CheckConstraint("text <> ''", name="a_post_says_something"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"]),
        sa.ForeignKeyConstraint(["question_id"], ["posts.id"]),
        sa.ForeignKeyConstraint(["pledge_id"], ["pledges.id"]),
        sa.ForeignKeyConstraint(["creator_id"], ["creators.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    for column in ("campaign_id", "question_id", "pledge_id"):
        op.create_index(f"ix_posts_{column}", "posts", [column], unique=False)
    op.create_table(
        "post_approvals",
        sa.Column("post_id", _integer(), autoincrement=False, nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", crowdfund.db.UtcDateTime(), nullable=False),
        sa.CheckConstraint("role IN ('creator', 'operator')", name="approver_known"),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"]),
        sa.PrimaryKeyConstraint("post_id"),
    )


def _moderation() -> None:
    talk = "'question', 'answer', 'comment'"
    op.create_table(
        "moderation",
        sa.Column("id", _integer(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("update_number", _integer(), nullable=True),
        sa.Column("post_id", _integer(), nullable=True),
        sa.Column("pledge_id", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("created_at", crowdfund.db.UtcDateTime(), nullable=False),
        sa.CheckConstraint(f"kind IN ('update', {talk}, 'pledge')", name="moderated_kind_known"),
        sa.CheckConstraint("(kind = 'update') = (update_number IS NOT NULL)", name="an_update_has_a_number"),
        sa.CheckConstraint(f"(kind IN ({talk})) = (post_id IS NOT NULL)", name="a_post_is_named"),
        sa.CheckConstraint("(kind = 'pledge') = (pledge_id IS NOT NULL)", name="a_pledge_is_named"),
        sa.CheckConstraint("action IN ('hide', 'show')", name="action_known"),
        sa.CheckConstraint("role IN ('creator', 'operator')", name="moderator_known"),
        sa.CheckConstraint("reason <> ''", name="a_reason_is_given"),
        sa.CheckConstraint("length(sha256) = 64", name="a_whole_fingerprint"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"]),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"]),
        sa.ForeignKeyConstraint(["pledge_id"], ["pledges.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    for column in ("campaign_id", "post_id", "pledge_id"):
        op.create_index(f"ix_moderation_{column}", "moderation", [column], unique=False)


def _own_money() -> None:
    op.create_table(
        "own_money",
        sa.Column("id", _integer(), nullable=False),
        sa.Column("pledge_id", sa.Text(), nullable=False),
        sa.Column("own", sa.Boolean(), nullable=False),
        sa.Column("creator_id", _integer(), nullable=False),
        sa.Column("created_at", crowdfund.db.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["creator_id"], ["creators.id"]),
        sa.ForeignKeyConstraint(["pledge_id"], ["pledges.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_own_money_pledge_id", "own_money", ["pledge_id"], unique=False)
