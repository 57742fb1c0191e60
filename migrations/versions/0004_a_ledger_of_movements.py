"""a ledger of movements, and what halts settlement

The journal of confirmations goes: it is part of the ledger now. What the ledger holds at first is posted by the
program, with the rules that put every coin in its place (`books.open_ledger`).
"""

import sqlalchemy as sa
from alembic import op

import crowdfund.db
from crowdfund.triggers import after, dropped, frozen, guard, kept
from crowdfund.wallet.amounts import MAX_MONEY_SATS

revision = "0004"
down_revision = "0003"

ACCOUNTS = (
    "outside", "counted", "maturing", "late", "over_cap", "dust", "in_settlement", "paid_out", "refunded", "miner_fee",
    "unclaimed", "foreign_spend",
)  # fmt: skip


TRIGGERS = [
    frozen(
        "transfers",
        "id",
        "campaign_id",
        "coin_id",
        "key",
        "from_account",
        "to_account",
        "amount_sats",
        "what",
        "height",
        "block_hash",
        "at",
        "reverses",
        "prev_hash",
        "hash",
    ),
    *(kept(table) for table in ("transfers", "balances", "halts")),
    guard(
        "a_transfer_follows_the_last_one",
        "transfers",
        f"""(NEW.id <> 1 + COALESCE((SELECT max(id) FROM transfers), 0) OR NEW.prev_hash <>
            COALESCE((SELECT hash FROM transfers ORDER BY id DESC LIMIT 1), '{"0" * 64}'))""",
    ),
    guard(
        "a_transfer_is_of_the_campaigns_own_coin",
        "transfers",
        """NEW.campaign_id IS DISTINCT FROM
           (SELECT p.campaign_id FROM coins c JOIN pledges p ON p.id = c.pledge_id WHERE c.id = NEW.coin_id)""",
    ),
    # A coin has its value outside before it comes in; from then on no account gives more of it than it was given.
    guard(
        "no_account_gives_what_it_does_not_hold",
        "transfers",
        """NEW.amount_sats >
           CASE WHEN NEW.from_account = 'outside' THEN (SELECT value_sats FROM coins WHERE id = NEW.coin_id) ELSE 0 END
           + COALESCE((SELECT sum(CASE WHEN t.to_account = NEW.from_account THEN t.amount_sats ELSE -t.amount_sats END)
                       FROM transfers t WHERE t.coin_id = NEW.coin_id
                       AND (t.to_account = NEW.from_account OR t.from_account = NEW.from_account)), 0)""",
    ),
    guard(
        "a_contra_transfer_is_the_mirror_of_another",
        "transfers",
        """NEW.reverses IS NOT NULL AND NOT EXISTS (SELECT 1 FROM transfers t WHERE t.id = NEW.reverses
           AND t.reverses IS NULL AND t.coin_id = NEW.coin_id AND t.from_account = NEW.to_account
           AND t.to_account = NEW.from_account AND t.amount_sats = NEW.amount_sats)""",
    ),
    after(
        "a_transfer_moves_the_balances",
        "transfers",
        "INSERT",
        "TRUE",
        """INSERT INTO balances (campaign_id, account, sats) VALUES (NEW.campaign_id, NEW.from_account, 0),
             (NEW.campaign_id, NEW.to_account, 0) ON CONFLICT (campaign_id, account) DO NOTHING;
           UPDATE balances SET sats = sats - NEW.amount_sats
             WHERE campaign_id = NEW.campaign_id AND account = NEW.from_account;
           UPDATE balances SET sats = sats + NEW.amount_sats
             WHERE campaign_id = NEW.campaign_id AND account = NEW.to_account;""",
    ),
    frozen("halts", "id", "campaign_id", "reason", "began_at"),
    frozen("halts", "ended_at", "ended_reason", when="OLD.ended_at IS NOT NULL"),
]

ENTRIES = """
    CREATE VIEW entries AS
    SELECT id AS transfer_id, 1 AS position, campaign_id, coin_id, from_account AS account, -amount_sats AS amount_sats
    FROM transfers
    UNION ALL
    SELECT id, 2, campaign_id, coin_id, to_account, amount_sats FROM transfers"""


def upgrade() -> None:
    _drop_the_journal()
    _make_transfers()
    op.create_table(
        "balances",
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("sats", _integer(), nullable=False),
        _known("account"),
        sa.CheckConstraint("account = 'outside' OR sats >= 0", name="nobody_owes"),
        sa.CheckConstraint("sats = CAST(sats AS BIGINT)", name="sats_is_whole"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"]),
        sa.PrimaryKeyConstraint("campaign_id", "account"),
    )
    op.create_table(
        "halts",
        sa.Column("id", _integer(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("began_at", crowdfund.db.UtcDateTime(), nullable=False),
        sa.Column("ended_at", crowdfund.db.UtcDateTime(), nullable=True),
        sa.Column("ended_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("reason <> ''", name="with_a_reason"),
        sa.CheckConstraint("(ended_at IS NULL) = (ended_reason IS NULL)", name="ended_with_a_reason"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_halts_campaign_id", "halts", ["campaign_id"], unique=False)
    op.execute(ENTRIES)
    for trigger in TRIGGERS:
        op.execute(trigger)


def _make_transfers() -> None:
    op.create_table(
        "transfers",
        sa.Column("id", _integer(), autoincrement=False, nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("coin_id", _integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("from_account", sa.Text(), nullable=False),
        sa.Column("to_account", sa.Text(), nullable=False),
        sa.Column("amount_sats", _integer(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("height", _integer(), nullable=False),
        sa.Column("block_hash", sa.Text(), nullable=False),
        sa.Column("at", crowdfund.db.UtcDateTime(), nullable=False),
        sa.Column("reverses", _integer(), nullable=True),
        sa.Column("prev_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.CheckConstraint(f"amount_sats BETWEEN 1 AND {MAX_MONEY_SATS}", name="amount_sats_in_range"),
        sa.CheckConstraint("amount_sats = CAST(amount_sats AS BIGINT)", name="amount_sats_is_whole"),
        sa.CheckConstraint("from_account <> to_account", name="another_account"),
        _known("from_account"),
        _known("to_account"),
        sa.CheckConstraint("length(hash) = 64 AND length(prev_hash) = 64", name="a_whole_hash"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"]),
        sa.ForeignKeyConstraint(["coin_id"], ["coins.id"]),
        sa.ForeignKeyConstraint(["reverses"], ["transfers.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key"),
        sa.UniqueConstraint("reverses"),
        sa.UniqueConstraint("hash"),
    )
    op.create_index("ix_transfers_campaign_id", "transfers", ["campaign_id"], unique=False)
    op.create_index("ix_transfers_coin_id", "transfers", ["coin_id"], unique=False)


def _drop_the_journal() -> None:
    for trigger in ("first_confirmation", "a_confirmation"):
        op.execute(dropped(trigger, "coins"))
    op.drop_table("coin_entries")


def _known(column: str) -> sa.CheckConstraint:
    names = ", ".join(f"'{account}'" for account in ACCOUNTS)
    return sa.CheckConstraint(f"{column} IN ({names})", name=f"{column}_known")


def _integer() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")
