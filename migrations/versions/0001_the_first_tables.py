"""the first tables"""

import sqlalchemy as sa
from alembic import op

import crowdfund.db
from crowdfund.triggers import frozen, guard, kept

revision = "0001"
down_revision = None

TRIGGERS = [
    # Terms are frozen by publishing; an index once given out never comes back.
    frozen(
        "campaigns",
        "terms",
        "terms_hash",
        "creator_id",
        "title",
        "summary",
        "story",
        "goal_sats",
        "deadline_at",
        "payout_address",
        "project_url",
        "license",
        "account_index",
        "descriptor",
        "published_at",
        when="OLD.terms IS NOT NULL",
    ),
    frozen("campaigns", "next_index", when="NEW.next_index < OLD.next_index"),
    frozen("pledges", "id", "campaign_id", "index", "amount_sats", "refund_script", "refund_address"),
    frozen("pledges", "address", "script", when="OLD.address IS NOT NULL"),
    frozen("coins", "txid", "vout", "value_sats", "pledge_id", "coinbase"),
    # What was decided and planned stays as it is.
    frozen("decisions", "campaign_id", "outcome", "counted_sats", "closing_height", "closing_hash"),
    frozen("batches", "id", "campaign_id", "kind", "fee_sats", "feerate_sat_vb", "locktime"),
    frozen("batch_inputs", "coin_id", "batch_id", "position"),
    frozen("batch_outputs", "batch_id", "position", "script", "value_sats", "index"),
    frozen("attempts", "txid", "batch_id", "number"),
    frozen("attempts", "raw", when="OLD.raw IS NOT NULL"),
    frozen("attempts", "sent_at", when="OLD.sent_at IS NOT NULL"),
    *(
        kept(table)
        for table in (
            "campaigns",
            "pledges",
            "coins",
            "decisions",
            "batches",
            "batch_inputs",
            "batch_outputs",
            "attempts",
        )
    ),
    guard(
        "release_only_when_funded",
        "batches",
        """NEW.kind = 'release' AND (SELECT outcome FROM decisions WHERE campaign_id = NEW.campaign_id)
           IS DISTINCT FROM 'funded'""",
    ),
    guard(
        "only_the_campaigns_own_coins",
        "batch_inputs",
        """(SELECT campaign_id FROM batches WHERE id = NEW.batch_id) IS DISTINCT FROM
           (SELECT p.campaign_id FROM coins c JOIN pledges p ON p.id = c.pledge_id WHERE c.id = NEW.coin_id)""",
    ),
    *(
        guard(
            f"nothing_joins_a_planned_batch_as_{table}",
            table,
            "EXISTS (SELECT 1 FROM attempts WHERE batch_id = NEW.batch_id)",
        )
        for table in ("batch_inputs", "batch_outputs")
    ),
    # The first attempt is stored last, when inputs and outputs are in place: now they must balance.
    guard(
        "inputs_are_outputs_plus_fee",
        "attempts",
        """(SELECT sum(c.value_sats) FROM batch_inputs i JOIN coins c ON c.id = i.coin_id
            WHERE i.batch_id = NEW.batch_id)
           IS DISTINCT FROM (SELECT b.fee_sats + (SELECT sum(o.value_sats) FROM batch_outputs o WHERE o.batch_id = b.id)
                   FROM batches b WHERE b.id = NEW.batch_id)""",
    ),
]


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("index", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("xpub", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("index"),
        sa.UniqueConstraint("xpub"),
    )
    op.create_table(
        "blocks",
        sa.Column(
            "height",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("prev_hash", sa.Text(), nullable=False),
        sa.Column("time", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("median_time_past", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("height"),
        sa.UniqueConstraint("hash"),
    )
    op.create_index("ix_blocks_median_time_past", "blocks", ["median_time_past"], unique=False)

    op.create_table(
        "chain_view",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("trouble", sa.Text(), nullable=False),
        sa.Column("feerate_sat_vb", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("changes", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("seen_at", crowdfund.db.UtcDateTime(), nullable=False),
        sa.CheckConstraint("id = 1", name="one_row"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "creators",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("created_at", crowdfund.db.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key"),
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("creator_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("token_sha256", sa.Text(), nullable=False),
        sa.Column("created_at", crowdfund.db.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["creator_id"],
            ["creators.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("token_sha256"),
    )
    op.create_table(
        "campaigns",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("creator_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("story", sa.Text(), nullable=False),
        sa.Column("goal_sats", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("deadline_at", crowdfund.db.UtcDateTime(), nullable=False),
        sa.Column("payout_address", sa.Text(), nullable=False),
        sa.Column("project_url", sa.Text(), nullable=False),
        sa.Column("license", sa.Text(), nullable=False),
        sa.Column("created_at", crowdfund.db.UtcDateTime(), nullable=False),
        sa.Column("terms", sa.Text(), nullable=True),
        sa.Column("terms_hash", sa.Text(), nullable=True),
        sa.Column("account_index", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("descriptor", sa.Text(), nullable=True),
        sa.Column("published_at", crowdfund.db.UtcDateTime(), nullable=True),
        sa.Column("next_index", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.CheckConstraint("goal_sats BETWEEN 1 AND 2100000000000000", name="goal_sats_in_range"),
        sa.CheckConstraint("next_index >= 0", name="next_index_grows"),
        sa.ForeignKeyConstraint(
            ["account_index"],
            ["accounts.index"],
        ),
        sa.ForeignKeyConstraint(
            ["creator_id"],
            ["creators.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("account_index"),
        sa.UniqueConstraint("descriptor"),
        sa.UniqueConstraint("terms_hash"),
    )
    op.create_index("ix_campaigns_creator_id", "campaigns", ["creator_id"], unique=False)

    op.create_table(
        "decisions",
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("counted_sats", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("closing_height", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("closing_hash", sa.Text(), nullable=False),
        sa.Column("decided_height", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.CheckConstraint("outcome IN ('funded', 'failed')", name="outcome_known"),
        sa.CheckConstraint("counted_sats BETWEEN 0 AND 2100000000000000", name="counted_sats_in_range"),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["campaigns.id"],
        ),
        sa.PrimaryKeyConstraint("campaign_id"),
    )
    op.create_table(
        "pledges",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("index", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("script", sa.LargeBinary(), nullable=True),
        sa.Column("amount_sats", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("refund_address", sa.Text(), nullable=False),
        sa.Column("refund_script", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("created_at", crowdfund.db.UtcDateTime(), nullable=False),
        sa.Column("registered", sa.Boolean(), nullable=False),
        sa.CheckConstraint("amount_sats BETWEEN 1 AND 2100000000000000", name="amount_sats_in_range"),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["campaigns.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("address"),
        sa.UniqueConstraint("campaign_id", "index"),
        sa.UniqueConstraint("script"),
    )
    op.create_index("ix_pledges_refund_script", "pledges", ["refund_script"], unique=False)
    op.create_index("ix_pledges_registered", "pledges", ["registered"], unique=False)
    op.create_table(
        "batches",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("fee_sats", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("feerate_sat_vb", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("locktime", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.CheckConstraint("kind IN ('release', 'refund')", name="kind_known"),
        sa.CheckConstraint("fee_sats BETWEEN 1 AND 2100000000000000", name="fee_sats_in_range"),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["decisions.campaign_id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_batches_campaign_id", "batches", ["campaign_id"], unique=False)

    op.create_table(
        "coins",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("pledge_id", sa.Text(), nullable=False),
        sa.Column("txid", sa.Text(), nullable=False),
        sa.Column("vout", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("value_sats", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("coinbase", sa.Boolean(), nullable=False),
        sa.Column("first_seen_at", crowdfund.db.UtcDateTime(), nullable=False),
        sa.Column("in_mempool", sa.Boolean(), nullable=False),
        sa.Column("height", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("block_hash", sa.Text(), nullable=True),
        sa.Column("spent_by", sa.Text(), nullable=True),
        sa.Column("spent_height", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.CheckConstraint("(height IS NULL) = (block_hash IS NULL)", name="height_with_hash"),
        sa.CheckConstraint("(spent_by IS NULL) = (spent_height IS NULL)", name="spender_with_height"),
        sa.CheckConstraint("NOT (in_mempool AND height IS NOT NULL)", name="mempool_or_block"),
        sa.CheckConstraint("value_sats BETWEEN 0 AND 2100000000000000", name="value_sats_in_range"),
        sa.ForeignKeyConstraint(
            ["pledge_id"],
            ["pledges.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("txid", "vout"),
    )
    op.create_index("ix_coins_height", "coins", ["height"], unique=False)
    op.create_index("ix_coins_in_mempool", "coins", ["in_mempool"], unique=False)
    op.create_index("ix_coins_pledge_id", "coins", ["pledge_id"], unique=False)
    op.create_index("ix_coins_spent_height", "coins", ["spent_height"], unique=False)

    op.create_table(
        "attempts",
        sa.Column("txid", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=True),
        sa.Column("sent_at", crowdfund.db.UtcDateTime(), nullable=True),
        sa.Column("refusal", sa.Text(), nullable=True),
        sa.CheckConstraint("sent_at IS NULL OR raw IS NOT NULL", name="stored_before_sent"),
        sa.ForeignKeyConstraint(
            ["batch_id"],
            ["batches.id"],
        ),
        sa.PrimaryKeyConstraint("txid"),
        sa.UniqueConstraint("batch_id", "number"),
    )
    op.create_table(
        "batch_inputs",
        sa.Column("coin_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("batch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id"],
            ["batches.id"],
        ),
        sa.ForeignKeyConstraint(
            ["coin_id"],
            ["coins.id"],
        ),
        sa.PrimaryKeyConstraint("coin_id"),
    )
    op.create_index("ix_batch_inputs_batch_id", "batch_inputs", ["batch_id"], unique=False)

    op.create_table(
        "batch_outputs",
        sa.Column("batch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("script", sa.LargeBinary(), nullable=False),
        sa.Column("value_sats", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("index", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.CheckConstraint("value_sats BETWEEN 1 AND 2100000000000000", name="value_sats_in_range"),
        sa.ForeignKeyConstraint(
            ["batch_id"],
            ["batches.id"],
        ),
        sa.PrimaryKeyConstraint("batch_id", "position"),
    )
    for trigger in TRIGGERS:
        op.execute(trigger)
