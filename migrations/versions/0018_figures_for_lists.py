"""figures of campaigns, as lists show them, and what says that they must be derived anew

The rows are filled in by the program, which derives them (`figures.fill`).
"""

import sqlalchemy as sa
from alembic import op

import crowdfund.db
from crowdfund.triggers import after, frozen, guard

revision = "0018"
down_revision = "0017"

MOST_SATS = 21_000_000 * 100_000_000
STATES = "'open', 'closing', 'releasing', 'released', 'refunding', 'refunded'"
CHECKS = {
    "goal_sats_in_range": f"goal_sats BETWEEN 1 AND {MOST_SATS}",
    "counted_sats_in_range": f"counted_sats BETWEEN 0 AND {MOST_SATS}",
    "seen_sats_in_range": f"seen_sats BETWEEN 0 AND {MOST_SATS}",
    "maturing_sats_in_range": f"maturing_sats BETWEEN 0 AND {MOST_SATS}",
    "state_known": f"state IN ({STATES})",
    "pledges_are_counted": "pledge_count >= 0",
    "percent_of_the_goal": "percent = counted_sats * 100 / goal_sats",
    "full_while_open": "NOT is_full OR state = 'open'",
    "height_of_a_block": "height >= 0",
}
OF_COIN = "(SELECT campaign_id FROM pledges WHERE id = NEW.pledge_id)"
OF_COIN_ID = "(SELECT p.campaign_id FROM pledges p JOIN coins c ON c.pledge_id = p.id WHERE c.id = NEW.coin_id)"
OF_BATCH = "(SELECT campaign_id FROM batches WHERE id = NEW.batch_id)"


def _touch(name: str, table: str, event: str, campaign: str = "NEW.campaign_id") -> sa.DDLElement:
    """Once is enough: what is touched already is not written again."""
    rows = f"UPDATE campaign_figures SET touched = TRUE WHERE campaign_id = {campaign} AND NOT touched;"
    return after(f"figures_of_{name}", table, event, "TRUE", rows)


RULES = [
    frozen(
        "campaign_figures",
        "campaign_id", "goal_sats", "ends_at", "published_at", "license", "kind", "creator_name", "search",
    ),
    guard(
        "figures_are_of_what_is_published",
        "campaign_figures",
        "(SELECT terms FROM campaigns WHERE id = NEW.campaign_id) IS NULL",
    ),
    _touch("a_new_coin", "coins", "INSERT", OF_COIN),
    _touch("a_moved_coin", "coins", "UPDATE OF height, in_mempool, spent_by, spent_height", OF_COIN),
    _touch("a_new_balance", "balances", "INSERT"),
    _touch("a_moved_balance", "balances", "UPDATE OF sats"),
    _touch("a_decision", "decisions", "INSERT"),
    _touch("a_batch", "batches", "INSERT"),
    _touch("an_attempt", "attempts", "INSERT", OF_BATCH),
    _touch("a_refund_of_ones_own", "timelocked_refunds", "INSERT", OF_COIN_ID),
    _touch("an_acknowledged_spend", "acknowledged_spends", "INSERT", OF_COIN_ID),
    _touch("a_cancellation", "cancellations", "INSERT"),
]  # fmt: skip
# What is equal first, then what is in order, so that a page of a list reads the rows that it shows and few others.
INDEXES = {
    "ends_at": ("state", "ends_at", "campaign_id"),
    "newest": ("state", "published_at", "campaign_id"),
    "percent": ("state", "percent"),
    "published_at": ("published_at", "campaign_id"),
    "counted_sats": ("counted_sats", "campaign_id"),
    "touched": ("touched",),
}


def _integer(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _time(name: str) -> sa.Column[object]:
    return sa.Column(name, crowdfund.db.UtcDateTime(), nullable=False)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=False)


def upgrade() -> None:
    op.create_table(
        "campaign_figures",
        _text("campaign_id"),
        _integer("goal_sats"),
        *map(_time, ("ends_at", "published_at")),
        *map(_text, ("license", "kind", "creator_name", "search", "state")),
        *map(_flag, ("cancelled", "is_full")),
        *map(_integer, ("counted_sats", "seen_sats", "maturing_sats", "pledge_count", "percent")),
        _flag("wants_help"),
        _integer("height"),
        sa.Column("touched", sa.Boolean(), server_default=sa.false(), nullable=False),
        *(sa.CheckConstraint(rule, name=name) for name, rule in CHECKS.items()),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"]),
        sa.PrimaryKeyConstraint("campaign_id"),
    )
    for name, columns in INDEXES.items():
        op.create_index(f"ix_campaign_figures_{name}", "campaign_figures", list(columns))
    for rule in RULES:
        op.execute(rule)
