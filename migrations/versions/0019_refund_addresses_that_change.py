"""refund addresses that change by a signature of the one before"""

import sqlalchemy as sa
from alembic import op

import crowdfund.db
from crowdfund.triggers import after, dropped, frozen, guard, kept

revision = "0019"
down_revision = "0018"

OPEN = "state IN ('waiting', 'sent')"
# Once a decision is there, plans are; none may ever hold a script that the signer has no more.
SETTLED = """(EXISTS (SELECT 1 FROM decisions d JOIN pledges p ON p.campaign_id = d.campaign_id
                      WHERE p.id = NEW.pledge_id)
              OR EXISTS (SELECT 1 FROM batch_inputs b JOIN coins c ON c.id = b.coin_id
                         WHERE c.pledge_id = NEW.pledge_id))"""
FROM_HERE = """EXISTS (SELECT 1 FROM pledges p WHERE p.id = NEW.pledge_id AND p.refund_script = NEW.old_script
                       AND p.refund_address = NEW.old_address AND p.refund_number < NEW.number)"""
MOVED = " OR ".join(
    f"NEW.{name} IS DISTINCT FROM OLD.{name}" for name in ("refund_script", "refund_address", "refund_number")
)
BY_A_CHANGE = """EXISTS (SELECT 1 FROM refund_changes c WHERE c.pledge_id = OLD.id AND c.state = 'taken'
                         AND c.number > OLD.refund_number AND c.number = NEW.refund_number
                         AND c.old_script = OLD.refund_script AND c.new_script = NEW.refund_script
                         AND c.new_address = NEW.refund_address)"""
PLANNED = """EXISTS (SELECT 1 FROM batch_inputs b JOIN coins c ON c.id = b.coin_id WHERE c.pledge_id = OLD.id)"""
FILLED_IN = "(length(OLD.refund_script) = 0 AND NEW.refund_number = OLD.refund_number)"

RULES = [
    frozen(
        "refund_changes",
        *("id", "pledge_id", "number", "old_address", "old_script", "new_address", "new_script"),
        *("signature", "brought_at"),
    ),
    kept("refund_changes"),
    guard("a_change_begins_waiting", "refund_changes", "NEW.state <> 'waiting'"),
    guard("a_change_starts_from_the_address_of_now", "refund_changes", f"NOT {FROM_HERE}"),
    guard("no_change_once_the_campaign_is_decided", "refund_changes", SETTLED),
    guard(
        "a_change_goes_one_way",
        "refund_changes",
        """NOT ((OLD.state = 'waiting' AND NEW.state IN ('sent', 'refused'))
                OR (OLD.state = 'sent' AND NEW.state IN ('taken', 'refused')))""",
        on="UPDATE",
    ),
    # What the signer has taken holds from this very moment on.
    after(
        "a_taken_change_moves_its_pledge",
        "refund_changes",
        "UPDATE OF state",
        "NEW.state = 'taken'",
        """UPDATE pledges SET refund_script = NEW.new_script, refund_address = NEW.new_address,
           refund_number = NEW.number WHERE id = NEW.pledge_id;""",
    ),
    dropped("pledges_frozen_refund_script", "pledges"),
    guard(
        "a_refund_address_moves_by_a_taken_change",
        "pledges",
        f"({MOVED}) AND ({PLANNED} OR NOT ({FILLED_IN} OR {BY_A_CHANGE}))",
        on="UPDATE",
        says="pledges: the refund address cannot change but by a taken change",
    ),
    guard(
        "nothing_is_decided_while_a_refund_address_changes",
        "decisions",
        f"""EXISTS (SELECT 1 FROM refund_changes c JOIN pledges p ON p.id = c.pledge_id
                    WHERE p.campaign_id = NEW.campaign_id AND c.{OPEN})""",
    ),
]
LOCKED_RULES = [
    frozen("timelocked_refunds"),
    kept("timelocked_refunds"),
    guard(
        "a_time_locked_refund_balances",
        "timelocked_refunds",
        "(SELECT value_sats FROM coins WHERE id = NEW.coin_id) IS DISTINCT FROM NEW.value_sats + NEW.fee_sats",
    ),
    after(
        "figures_of_a_refund_of_ones_own",
        "timelocked_refunds",
        "INSERT",
        "TRUE",
        """UPDATE campaign_figures SET touched = TRUE WHERE NOT touched AND campaign_id =
           (SELECT p.campaign_id FROM pledges p JOIN coins c ON c.pledge_id = p.id WHERE c.id = NEW.coin_id);""",
    ),
]
LOCKED = "txid, coin_id, raw, value_sats, fee_sats, created_at"


def _integer() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("pledges", sa.Column("refund_number", _integer(), server_default="0", nullable=False))
    op.create_table(
        "refund_changes",
        sa.Column("id", _integer(), nullable=False),
        sa.Column("pledge_id", sa.Text(), nullable=False),
        sa.Column("number", _integer(), nullable=False),
        sa.Column("old_address", sa.Text(), nullable=False),
        sa.Column("old_script", sa.LargeBinary(), nullable=False),
        sa.Column("new_address", sa.Text(), nullable=False),
        sa.Column("new_script", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("brought_at", crowdfund.db.UtcDateTime(), nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("answered_at", crowdfund.db.UtcDateTime(), nullable=True),
        sa.Column("answer", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint("state IN ('waiting', 'sent', 'taken', 'refused')", name="state_known"),
        sa.CheckConstraint("(state IN ('taken', 'refused')) = (answered_at IS NOT NULL)", name="answered_when"),
        sa.CheckConstraint("(state = 'refused') = (answer <> '')", name="refused_for_a_reason"),
        sa.CheckConstraint("number >= 1", name="number_of_one_or_more"),
        sa.CheckConstraint("old_script <> new_script", name="another_script"),
        sa.CheckConstraint("length(old_script) > 0 AND length(new_script) > 0", name="scripts_there"),
        sa.CheckConstraint("length(signature) BETWEEN 1 AND 1000", name="signature_bounded"),
        sa.ForeignKeyConstraint(["pledge_id"], ["pledges.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_refund_changes_pledge_id", "refund_changes", ["pledge_id"], unique=False)
    op.create_index("ix_refund_changes_new_script", "refund_changes", ["new_script"], unique=False)
    _unique("one_open_change", ["pledge_id"], OPEN)
    _unique("each_number_taken_once", ["pledge_id", "number"], "state = 'taken'")
    for rule in RULES:
        op.execute(rule)
    _one_locked_refund_for_each_address()


def _unique(name: str, columns: list[str], where: str) -> None:
    told = sa.text(where)
    op.create_index(name, "refund_changes", columns, unique=True, sqlite_where=told, postgresql_where=told)


def _one_locked_refund_for_each_address() -> None:
    """A coin may have a second time-locked refund, to the address that has come later: they spend the same coin, so
    one of them at most is ever in the chain. The table is made anew, as SQLite takes no constraint away."""
    op.execute(f"CREATE TABLE old_timelocked_refunds AS SELECT {LOCKED} FROM timelocked_refunds")
    op.drop_table("timelocked_refunds")
    op.create_table(
        "timelocked_refunds",
        sa.Column("txid", sa.Text(), nullable=False),
        sa.Column("coin_id", _integer(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("value_sats", _integer(), nullable=False),
        sa.Column("fee_sats", _integer(), nullable=False),
        sa.Column("created_at", crowdfund.db.UtcDateTime(), nullable=False),
        sa.Column("change_number", _integer(), server_default="0", nullable=False),
        sa.CheckConstraint("value_sats BETWEEN 1 AND 2100000000000000", name="value_sats_in_range"),
        sa.CheckConstraint("fee_sats BETWEEN 1 AND 2100000000000000", name="fee_sats_in_range"),
        sa.ForeignKeyConstraint(["coin_id"], ["coins.id"]),
        sa.PrimaryKeyConstraint("txid"),
        sa.UniqueConstraint("coin_id", "change_number"),
    )
    op.execute(f"INSERT INTO timelocked_refunds ({LOCKED}) SELECT {LOCKED} FROM old_timelocked_refunds")
    op.drop_table("old_timelocked_refunds")
    for rule in LOCKED_RULES:
        op.execute(rule)
