"""accounts: passkeys, second factors, sessions, limits, and a log for their owners"""

import sqlalchemy as sa
from alembic import op

import crowdfund.db
from crowdfund.triggers import frozen, guard

revision = "0014"
down_revision = "0013"

CLOSED = "'closed\n'"  # how the key of a closed account begins
PUBLISHED = "EXISTS (SELECT 1 FROM campaigns WHERE creator_id = OLD.id AND terms IS NOT NULL)"

TRIGGERS = [
    # Terms hold the name. Drafts do not.
    frozen("creators", "name", "key", when=PUBLISHED),
    frozen("creators", "id", "created_at"),
    # Nobody is locked out by a removal: only a closed account has no way in.
    guard(
        "creators_keep_a_way_in",
        "creators",
        f"""NEW.password_hash = '' AND OLD.password_hash <> '' AND substr(NEW.key, 1, 7) <> {CLOSED}
            AND NOT EXISTS (SELECT 1 FROM passkeys WHERE creator_id = NEW.id)""",
        on="UPDATE",
    ),
    guard(
        "passkeys_keep_a_way_in",
        "passkeys",
        f"""EXISTS (SELECT 1 FROM creators WHERE id = OLD.creator_id AND password_hash = ''
                AND substr(key, 1, 7) <> {CLOSED})
            AND NOT EXISTS (SELECT 1 FROM passkeys WHERE creator_id = OLD.creator_id AND id <> OLD.id)""",
        on="DELETE",
    ),
    frozen("passkeys", "id", "creator_id", "credential_id", "public_key", "user_handle", "created_at"),
    frozen("passkeys", "sign_count", when="NEW.sign_count < OLD.sign_count"),
    frozen("authenticators", "creator_id", "secret", "created_at"),
    frozen("authenticators", "last_step", when="NEW.last_step < OLD.last_step"),
    frozen("authenticators", "confirmed_at", when="OLD.confirmed_at IS NOT NULL"),
    frozen("recovery_codes", "id", "creator_id", "code_sha256", "created_at"),
    frozen("recovery_codes", "used_at", when="OLD.used_at IS NOT NULL"),
    frozen("recovery_codes", "active", when="OLD.active"),
    frozen("passkey_challenges"),
    frozen("sessions", "id", "creator_id", "way", "second_due", "began_at", "expires_at"),
    frozen("account_events", "id", "creator_id", "happened_at", "kind", "detail", "address"),
    frozen("account_events", "times", when="NEW.times < OLD.times"),
    frozen("attempt_windows", "attempts", when="NEW.attempts < OLD.attempts"),
]


def _integer() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _id() -> sa.Column[int]:
    """With `sqlite_autoincrement`: rows here go, and a number that comes back would stand for somebody else's."""
    return sa.Column("id", _integer(), primary_key=True)


def _creator(nullable: bool = False, primary_key: bool = False) -> sa.Column[int]:
    return sa.Column(
        "creator_id", _integer(), sa.ForeignKey("creators.id"), nullable=nullable, primary_key=primary_key,
        autoincrement=False,
    )  # fmt: skip


def _time(name: str, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, crowdfund.db.UtcDateTime(), nullable=nullable)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _bytes(name: str, nullable: bool = False) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(), nullable=nullable)


def _length(column: str, low: int, high: int) -> sa.CheckConstraint:
    return sa.CheckConstraint(f"length({column}) BETWEEN {low} AND {high}", name=f"{column}_length")


def upgrade() -> None:
    _ways_in()
    _second_factors()
    _sessions()
    op.create_table(
        "account_events",
        _id(),
        _creator(),
        _time("happened_at"),
        _text("kind"),
        _text("detail"),
        _text("address"),
        sa.Column("times", _integer(), nullable=False),
        sa.CheckConstraint("times >= 1", name="times_of_one_or_more"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_account_events_creator_id", "account_events", ["creator_id"])
    op.create_table(
        "attempt_windows",
        _text("rule"),
        _text("subject_sha256"),
        _time("began_at"),
        _time("ends_at"),
        sa.Column("attempts", _integer(), nullable=False),
        sa.PrimaryKeyConstraint("rule", "subject_sha256", "began_at"),
        _length("subject_sha256", 64, 64),
        sa.CheckConstraint("attempts >= 1", name="attempts_of_one_or_more"),
        sa.CheckConstraint("ends_at > began_at", name="ends_later"),
    )
    op.create_index("ix_attempt_windows_ends_at", "attempt_windows", ["ends_at"])
    for trigger in TRIGGERS:
        op.execute(trigger)


def _ways_in() -> None:
    op.create_table(
        "passkeys",
        _id(),
        _creator(),
        _bytes("credential_id"),
        _bytes("public_key"),
        _bytes("user_handle"),
        sa.Column("sign_count", _integer(), nullable=False),
        _text("name"),
        _time("created_at"),
        _time("last_used_at", nullable=True),
        sa.UniqueConstraint("credential_id"),
        _length("credential_id", 16, 1023),
        _length("public_key", 32, 4096),
        _length("user_handle", 32, 32),
        _length("name", 1, 40),
        sa.CheckConstraint("sign_count BETWEEN 0 AND 4294967295", name="sign_count_in_range"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_passkeys_creator_id", "passkeys", ["creator_id"])
    op.create_table(
        "passkey_challenges",
        _bytes("challenge"),
        _text("purpose"),
        _creator(nullable=True),
        _bytes("user_handle", nullable=True),
        _time("expires_at"),
        sa.PrimaryKeyConstraint("challenge"),
        _length("challenge", 32, 32),
        _length("user_handle", 32, 32),
        sa.CheckConstraint("purpose IN ('sign_up', 'log_in', 'second', 'add', 'confirm')", name="purpose_known"),
    )
    op.create_index("ix_passkey_challenges_creator_id", "passkey_challenges", ["creator_id"])
    op.create_index("ix_passkey_challenges_expires_at", "passkey_challenges", ["expires_at"])


def _second_factors() -> None:
    op.create_table(
        "authenticators",
        _creator(primary_key=True),
        _text("secret"),
        sa.Column("last_step", _integer(), nullable=False),
        _time("created_at"),
        _time("confirmed_at", nullable=True),
        _length("secret", 32, 32),
        sa.CheckConstraint("last_step >= 0", name="last_step_in_range"),
    )
    op.create_table(
        "recovery_codes",
        _id(),
        _creator(),
        _text("code_sha256"),
        sa.Column("active", sa.Boolean(), nullable=False),
        _time("created_at"),
        _time("used_at", nullable=True),
        sa.UniqueConstraint("creator_id", "code_sha256"),
        _length("code_sha256", 64, 64),
        sa.CheckConstraint("used_at IS NULL OR active", name="active_before_used"),
        sqlite_autoincrement=True,
    )


def _sessions() -> None:
    op.create_table(
        "sessions",
        _id(),
        _text("token_sha256"),
        _creator(),
        _text("way"),
        sa.Column("second_due", sa.Boolean(), nullable=False),
        _time("began_at"),
        _time("seen_at"),
        _time("proven_at"),
        _time("expires_at"),
        _text("address"),
        _text("agent"),
        sa.UniqueConstraint("token_sha256"),
        _length("token_sha256", 64, 64),
        sa.CheckConstraint("way IN ('password', 'passkey', 'recovery')", name="way_known"),
        sa.CheckConstraint("expires_at > began_at", name="expires_later"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_sessions_creator_id", "sessions", ["creator_id"])
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])
