"""a ladder of fees: amounts belong to attempts, and a batch can be split"""

import sqlalchemy as sa
from alembic import op

import crowdfund.db
from crowdfund.triggers import frozen, guard, kept

revision = "0003"
down_revision = "0002"

MOVED = ("attempts", "batch_outputs", "batch_inputs", "batches")  # in the order in which they can be dropped


TRIGGERS = [
    frozen("batches", "id", "campaign_id", "kind", "parent_id"),
    frozen("batch_inputs", "batch_id", "position", "coin_id"),
    frozen("attempts", "txid", "batch_id", "number", "fee_sats", "feerate_sat_vb", "locktime"),
    frozen("attempts", "sealed", when="OLD.sealed"),
    frozen("attempts", "raw", when="OLD.raw IS NOT NULL"),
    frozen("attempts", "sent_at", "sent_height", when="OLD.sent_at IS NOT NULL"),
    frozen("attempt_outputs", "txid", "position", "script", "value_sats", "index"),
    *(kept(table) for table in ("batches", "batch_inputs", "attempts", "attempt_outputs")),
    guard(
        "release_only_when_funded",
        "batches",
        """NEW.kind = 'release' AND (SELECT outcome FROM decisions WHERE campaign_id = NEW.campaign_id)
           IS DISTINCT FROM 'funded'""",
    ),
    guard(
        "a_part_is_of_the_same_settlement",
        "batches",
        """NEW.parent_id IS NOT NULL AND NOT EXISTS (
             SELECT 1 FROM batches p JOIN attempts a ON a.batch_id = p.id
             WHERE p.id = NEW.parent_id AND p.campaign_id = NEW.campaign_id AND p.kind = NEW.kind AND a.sealed)""",
    ),
    guard(
        "only_the_campaigns_own_coins",
        "batch_inputs",
        """(SELECT campaign_id FROM batches WHERE id = NEW.batch_id) IS DISTINCT FROM
           (SELECT p.campaign_id FROM coins c JOIN pledges p ON p.id = c.pledge_id WHERE c.id = NEW.coin_id)""",
    ),
    # A coin is in one batch that was planned as it is, and from there on in one part of each batch that was split.
    guard(
        "a_coin_is_planned_once",
        "batch_inputs",
        """(SELECT parent_id FROM batches WHERE id = NEW.batch_id) IS NULL
           AND EXISTS (SELECT 1 FROM batch_inputs WHERE coin_id = NEW.coin_id)""",
    ),
    guard(
        "a_part_holds_coins_of_the_whole",
        "batch_inputs",
        """EXISTS (SELECT 1 FROM batches b WHERE b.id = NEW.batch_id AND b.parent_id IS NOT NULL AND NOT EXISTS (
             SELECT 1 FROM batch_inputs i WHERE i.coin_id = NEW.coin_id AND i.batch_id = b.parent_id))""",
    ),
    guard(
        "parts_have_no_coin_in_common",
        "batch_inputs",
        """EXISTS (SELECT 1 FROM batches b JOIN batches s ON s.parent_id = b.parent_id
                   JOIN batch_inputs i ON i.batch_id = s.id
                   WHERE b.id = NEW.batch_id AND i.coin_id = NEW.coin_id)""",
    ),
    guard(
        "nothing_joins_a_planned_batch",
        "batch_inputs",
        "EXISTS (SELECT 1 FROM attempts WHERE batch_id = NEW.batch_id)",
    ),
    # The ladder: one rung after the other, each complete, each dearer than the one before.
    guard(
        "rungs_are_numbered_in_order",
        "attempts",
        """NEW.number IS DISTINCT FROM (SELECT coalesce(max(number), 0) + 1 FROM attempts
                                        WHERE batch_id = NEW.batch_id)""",
    ),
    guard(
        "the_ladder_never_goes_down",
        "attempts",
        """EXISTS (SELECT 1 FROM attempts WHERE batch_id = NEW.batch_id
                   AND (NOT sealed OR fee_sats >= NEW.fee_sats OR feerate_sat_vb > NEW.feerate_sat_vb))""",
    ),
    guard(
        "a_part_is_less_than_the_whole",
        "attempts",
        """EXISTS (SELECT 1 FROM batches b WHERE b.id = NEW.batch_id AND b.parent_id IS NOT NULL
                   AND (SELECT count(*) FROM batch_inputs WHERE batch_id = b.id) >=
                       (SELECT count(*) FROM batch_inputs WHERE batch_id = b.parent_id))""",
    ),
    guard("an_attempt_begins_unsealed", "attempts", "NEW.sealed"),
    guard(
        "nothing_joins_a_sealed_attempt",
        "attempt_outputs",
        "EXISTS (SELECT 1 FROM attempts WHERE txid = NEW.txid AND sealed)",
    ),
    guard(
        "inputs_are_outputs_plus_fee",
        "attempts",
        """NEW.sealed AND NOT OLD.sealed AND
           coalesce((SELECT sum(c.value_sats) FROM batch_inputs i JOIN coins c ON c.id = i.coin_id
                     WHERE i.batch_id = NEW.batch_id), 0)
           IS DISTINCT FROM
           NEW.fee_sats + (SELECT sum(o.value_sats) FROM attempt_outputs o WHERE o.txid = NEW.txid)""",
        on="UPDATE",
    ),
    guard(
        "every_rung_pays_the_same_scripts",
        "attempts",
        """NEW.sealed AND NOT OLD.sealed AND EXISTS (
             SELECT 1 FROM attempts f WHERE f.batch_id = NEW.batch_id AND f.number = 1 AND f.txid <> NEW.txid AND (
               (SELECT count(*) FROM attempt_outputs WHERE txid = f.txid)
               <> (SELECT count(*) FROM attempt_outputs WHERE txid = NEW.txid)
               OR EXISTS (
                 SELECT 1 FROM attempt_outputs o WHERE o.txid = NEW.txid AND NOT EXISTS (
                   SELECT 1 FROM attempt_outputs p WHERE p.txid = f.txid AND p.position = o.position
                   AND p.script = o.script AND p."index" IS NOT DISTINCT FROM o."index"))))""",
        on="UPDATE",
    ),
]


def _integer() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    for table in MOVED:
        op.execute(f"CREATE TABLE old_{table} AS SELECT * FROM {table}")
    for table in MOVED:
        op.drop_table(table)  # and its triggers
    _create()
    _carry_over()
    for table in MOVED:
        op.drop_table(f"old_{table}")
    for trigger in TRIGGERS:
        op.execute(trigger)


def _create() -> None:
    op.create_table(
        "batches",
        sa.Column("id", _integer(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("parent_id", _integer(), nullable=True),
        sa.CheckConstraint("kind IN ('release', 'refund')", name="kind_known"),
        sa.ForeignKeyConstraint(["campaign_id"], ["decisions.campaign_id"]),
        sa.ForeignKeyConstraint(["parent_id"], ["batches.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_batches_campaign_id", "batches", ["campaign_id"], unique=False)
    op.create_index("ix_batches_parent_id", "batches", ["parent_id"], unique=False)
    op.create_table(
        "batch_inputs",
        sa.Column("batch_id", _integer(), nullable=False),
        sa.Column("position", _integer(), nullable=False),
        sa.Column("coin_id", _integer(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"]),
        sa.ForeignKeyConstraint(["coin_id"], ["coins.id"]),
        sa.PrimaryKeyConstraint("batch_id", "position"),
        sa.UniqueConstraint("coin_id", "batch_id"),
    )
    op.create_table(
        "attempts",
        sa.Column("txid", sa.Text(), nullable=False),
        sa.Column("batch_id", _integer(), nullable=False),
        sa.Column("number", _integer(), nullable=False),
        sa.Column("fee_sats", _integer(), nullable=False),
        sa.Column("feerate_sat_vb", _integer(), nullable=False),
        sa.Column("locktime", _integer(), nullable=False),
        sa.Column("sealed", sa.Boolean(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=True),
        sa.Column("sent_at", crowdfund.db.UtcDateTime(), nullable=True),
        sa.Column("sent_height", _integer(), nullable=True),
        sa.Column("refusal", sa.Text(), nullable=True),
        sa.CheckConstraint("sent_at IS NULL OR raw IS NOT NULL", name="stored_before_sent"),
        sa.CheckConstraint("raw IS NULL OR sealed", name="sealed_before_signed"),
        sa.CheckConstraint("(sent_at IS NULL) = (sent_height IS NULL)", name="sent_at_a_height"),
        sa.CheckConstraint("feerate_sat_vb >= 1", name="feerate_of_one_or_more"),
        sa.CheckConstraint("fee_sats BETWEEN 1 AND 2100000000000000", name="fee_sats_in_range"),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"]),
        sa.PrimaryKeyConstraint("txid"),
        sa.UniqueConstraint("batch_id", "number"),
    )
    op.create_table(
        "attempt_outputs",
        sa.Column("txid", sa.Text(), nullable=False),
        sa.Column("position", _integer(), nullable=False),
        sa.Column("script", sa.LargeBinary(), nullable=False),
        sa.Column("value_sats", _integer(), nullable=False),
        sa.Column("index", _integer(), nullable=True),
        sa.CheckConstraint("value_sats BETWEEN 1 AND 2100000000000000", name="value_sats_in_range"),
        sa.ForeignKeyConstraint(["txid"], ["attempts.txid"]),
        sa.PrimaryKeyConstraint("txid", "position"),
    )


def _carry_over() -> None:
    """What was planned before has one attempt each, whole and checked. When it was sent, its height was not kept: the
    tip stands in for it, so that it is given its blocks before it is bumped."""
    op.execute("INSERT INTO batches (id, campaign_id, kind) SELECT id, campaign_id, kind FROM old_batches")
    op.execute(
        "INSERT INTO batch_inputs (batch_id, position, coin_id) "
        "SELECT batch_id, position, coin_id FROM old_batch_inputs"
    )
    op.execute(
        """INSERT INTO attempts (txid, batch_id, number, fee_sats, feerate_sat_vb, locktime, sealed, raw, sent_at,
                                 sent_height, refusal)
           SELECT a.txid, a.batch_id, a.number, b.fee_sats, b.feerate_sat_vb, b.locktime, TRUE, a.raw, a.sent_at,
                  CASE WHEN a.sent_at IS NOT NULL THEN coalesce((SELECT max(height) FROM blocks), b.locktime) END,
                  a.refusal
           FROM old_attempts a JOIN old_batches b ON b.id = a.batch_id"""
    )
    op.execute(
        """INSERT INTO attempt_outputs (txid, position, script, value_sats, "index")
           SELECT a.txid, o.position, o.script, o.value_sats, o."index"
           FROM old_batch_outputs o JOIN old_attempts a ON a.batch_id = o.batch_id"""
    )
