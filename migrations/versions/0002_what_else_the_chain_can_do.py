"""what else the chain can do: replaced and double-spent payments, contra entries, incidents"""

import sqlalchemy as sa
from alembic import op

import crowdfund.db
from crowdfund.triggers import after, frozen, guard, kept

revision = "0002"
down_revision = "0001"

TRIGGERS = [
    # An address that is stored is watched: nobody has to remember to say so.
    after(
        "issued_is_watched",
        "pledges",
        "UPDATE OF script",
        "NEW.script IS NOT NULL AND OLD.script IS NULL",
        "INSERT INTO watched_scripts (script) VALUES (NEW.script);",
    ),
    after(
        "inserted_is_watched",
        "pledges",
        "INSERT",
        "NEW.script IS NOT NULL",
        "INSERT INTO watched_scripts (script) VALUES (NEW.script);",
    ),
    # Each confirmation is an entry, and losing its block is the contra entry.
    after(
        "first_confirmation",
        "coins",
        "INSERT",
        "NEW.height IS NOT NULL AND NEW.value_sats > 0",
        """INSERT INTO coin_entries (coin_id, value_sats, height, block_hash)
           VALUES (NEW.id, NEW.value_sats, NEW.height, NEW.block_hash);""",
    ),
    after(
        "a_confirmation",
        "coins",
        "UPDATE OF height, block_hash",
        "NEW.block_hash IS DISTINCT FROM OLD.block_hash AND NEW.value_sats > 0",
        """INSERT INTO coin_entries (coin_id, value_sats, height, block_hash)
           SELECT OLD.id, -OLD.value_sats, OLD.height, OLD.block_hash WHERE OLD.height IS NOT NULL;
           INSERT INTO coin_entries (coin_id, value_sats, height, block_hash)
           SELECT NEW.id, NEW.value_sats, NEW.height, NEW.block_hash WHERE NEW.height IS NOT NULL;""",
    ),
    *(kept(table) for table in ("watched_scripts", "payment_inputs", "coin_entries", "incidents", "incident_coins")),
    *(frozen(table) for table in ("watched_scripts", "payment_inputs", "coin_entries", "incident_coins")),
    guard(
        "incidents_frozen",
        "incidents",
        """OLD.ended_at IS NOT NULL OR NEW.kind <> OLD.kind OR NEW.height <> OLD.height OR NEW.depth <> OLD.depth
           OR NEW.began_at <> OLD.began_at OR NEW.campaign_id IS DISTINCT FROM OLD.campaign_id""",
        on="UPDATE",
        says="incidents: only an end can be added",
    ),
]


def _integer() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "watched_scripts",
        sa.Column("id", _integer(), nullable=False),
        sa.Column("script", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("script"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "payment_inputs",
        sa.Column("id", _integer(), nullable=False),
        sa.Column("txid", sa.Text(), nullable=False),
        sa.Column("prev_txid", sa.Text(), nullable=False),
        sa.Column("prev_vout", _integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("txid", "prev_txid", "prev_vout"),
    )
    op.create_index("ix_payment_inputs_prev_txid", "payment_inputs", ["prev_txid"], unique=False)
    op.create_table(
        "rivals",
        sa.Column("txid", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("height", _integer(), nullable=True),
        sa.CheckConstraint("txid <> by", name="another_transaction"),
        sa.PrimaryKeyConstraint("txid"),
    )
    op.create_index("ix_rivals_height", "rivals", ["height"], unique=False)
    op.create_table(
        "coin_entries",
        sa.Column("id", _integer(), nullable=False),
        sa.Column("coin_id", _integer(), nullable=False),
        sa.Column("value_sats", _integer(), nullable=False),
        sa.Column("height", _integer(), nullable=False),
        sa.Column("block_hash", sa.Text(), nullable=False),
        sa.CheckConstraint("value_sats <> 0", name="an_amount"),
        sa.ForeignKeyConstraint(["coin_id"], ["coins.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_coin_entries_coin_id", "coin_entries", ["coin_id"], unique=False)
    op.create_table(
        "incidents",
        sa.Column("id", _integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("height", _integer(), nullable=False),
        sa.Column("depth", _integer(), nullable=False),
        sa.Column("began_at", crowdfund.db.UtcDateTime(), nullable=False),
        sa.Column("ended_at", crowdfund.db.UtcDateTime(), nullable=True),
        sa.Column("campaign_id", sa.Text(), nullable=True),
        sa.CheckConstraint("kind IN ('reorganisation', 'disagreement')", name="kind_known"),
        sa.CheckConstraint("depth >= 1", name="depth_of_one_or_more"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_incidents_campaign_id", "incidents", ["campaign_id"], unique=False)
    op.create_table(
        "incident_coins",
        sa.Column("incident_id", _integer(), nullable=False),
        sa.Column("coin_id", _integer(), nullable=False),
        sa.ForeignKeyConstraint(["incident_id"], ["incidents.id"]),
        sa.ForeignKeyConstraint(["coin_id"], ["coins.id"]),
        sa.PrimaryKeyConstraint("incident_id", "coin_id"),
    )
    op.create_index("ix_incident_coins_coin_id", "incident_coins", ["coin_id"], unique=False)
    op.create_index("ix_coins_spent_by", "coins", ["spent_by"], unique=False)
    op.add_column("chain_view", sa.Column("pause", sa.Text(), server_default="", nullable=False))
    op.execute("INSERT INTO watched_scripts (script) SELECT script FROM pledges WHERE script IS NOT NULL")
    op.execute(
        "INSERT INTO coin_entries (coin_id, value_sats, height, block_hash) "
        "SELECT id, value_sats, height, block_hash FROM coins WHERE height IS NOT NULL AND value_sats > 0"
    )
    for trigger in TRIGGERS:
        op.execute(trigger)
