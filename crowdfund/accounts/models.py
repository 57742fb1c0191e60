"""The tables of accounts. Secrets are kept as hashes, but for that of an authenticator app, which has none.

Unlike payments, these rows belong to a person: they go when a way in, a session or the account goes. A number that was
given once is never given again (SQLite has to be told so), or it would stand for somebody else's.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from crowdfund.db import Base

PURPOSES = ("sign_up", "log_in", "second", "add", "confirm")
NEVER_AGAIN = {"sqlite_autoincrement": True}
WAYS = ("password", "passkey", "recovery")


def _length(column: str, low: int, high: int) -> CheckConstraint:
    return CheckConstraint(f"length({column}) BETWEEN {low} AND {high}", name=f"{column}_length")


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(map(repr, values))})", name=f"{column}_known")


class Passkey(Base):
    """A public key of a person's authenticator. `user_handle` is the name by which authenticators know the account,
    the same for all of its passkeys; `sign_count` only grows, or stays 0 where an authenticator does not count."""

    __tablename__ = "passkeys"
    __table_args__ = (
        _length("credential_id", 16, 1023),
        _length("public_key", 32, 4096),
        _length("user_handle", 32, 32),
        _length("name", 1, 40),
        CheckConstraint("sign_count BETWEEN 0 AND 4294967295", name="sign_count_in_range"),
        NEVER_AGAIN,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    creator_id: Mapped[int] = mapped_column(ForeignKey("creators.id"), index=True)
    credential_id: Mapped[bytes] = mapped_column(unique=True)
    public_key: Mapped[bytes]
    user_handle: Mapped[bytes]
    sign_count: Mapped[int]
    name: Mapped[str]
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]


class PasskeyChallenge(Base):
    """A question that one browser may answer once: the row goes with the answer, right or wrong."""

    __tablename__ = "passkey_challenges"
    __table_args__ = (_length("challenge", 32, 32), _length("user_handle", 32, 32), _one_of("purpose", PURPOSES))

    challenge: Mapped[bytes] = mapped_column(primary_key=True)
    purpose: Mapped[str]
    creator_id: Mapped[int | None] = mapped_column(ForeignKey("creators.id"), index=True)
    user_handle: Mapped[bytes | None]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class Authenticator(Base):
    """The secret of an authenticator app (RFC 6238), in use once `confirmed_at` is set. `last_step` is the time step of
    the code used last; no code of it or before it is taken again."""

    __tablename__ = "authenticators"
    __table_args__ = (_length("secret", 32, 32), CheckConstraint("last_step >= 0", name="last_step_in_range"))

    creator_id: Mapped[int] = mapped_column(ForeignKey("creators.id"), primary_key=True, autoincrement=False)
    secret: Mapped[str]
    last_step: Mapped[int]
    created_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]


class RecoveryCode(Base):
    """One of ten. Good for nothing before `active`: that is when its owner has shown to have them written down."""

    __tablename__ = "recovery_codes"
    __table_args__ = (
        UniqueConstraint("creator_id", "code_sha256"),
        _length("code_sha256", 64, 64),
        CheckConstraint("used_at IS NULL OR active", name="active_before_used"),
        NEVER_AGAIN,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    creator_id: Mapped[int] = mapped_column(ForeignKey("creators.id"))
    code_sha256: Mapped[str]
    active: Mapped[bool]
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class WebSession(Base):
    """A browser that is logged in, or, while `second_due`, half in. `seen_at` is the last request, to ten minutes;
    `proven_at` when the person last showed a way in."""

    __tablename__ = "sessions"
    __table_args__ = (
        _length("token_sha256", 64, 64),
        _one_of("way", WAYS),
        CheckConstraint("expires_at > began_at", name="expires_later"),
        NEVER_AGAIN,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    token_sha256: Mapped[str] = mapped_column(unique=True)
    creator_id: Mapped[int] = mapped_column(ForeignKey("creators.id"), index=True)
    way: Mapped[str]
    second_due: Mapped[bool]
    began_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    proven_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    address: Mapped[str]
    agent: Mapped[str]


class AccountEvent(Base):
    """A line of an account's log. `times` counts what happened again and again within the hour."""

    __tablename__ = "account_events"
    __table_args__ = (CheckConstraint("times >= 1", name="times_of_one_or_more"), NEVER_AGAIN)

    id: Mapped[int] = mapped_column(primary_key=True)
    creator_id: Mapped[int] = mapped_column(ForeignKey("creators.id"), index=True)
    happened_at: Mapped[datetime]
    kind: Mapped[str]
    detail: Mapped[str]
    address: Mapped[str]
    times: Mapped[int]


class AttemptWindow(Base):
    """How often somebody tried something in one window of time; who it was is kept as a hash."""

    __tablename__ = "attempt_windows"
    __table_args__ = (
        _length("subject_sha256", 64, 64),
        CheckConstraint("attempts >= 1", name="attempts_of_one_or_more"),
        CheckConstraint("ends_at > began_at", name="ends_later"),
    )

    rule: Mapped[str] = mapped_column(primary_key=True)
    subject_sha256: Mapped[str] = mapped_column(primary_key=True)
    began_at: Mapped[datetime] = mapped_column(primary_key=True)
    ends_at: Mapped[datetime] = mapped_column(index=True)
    attempts: Mapped[int]


class KeptAnswer(Base):
    """The answer to a request that came with a key, given again for a day. Whose key it is, the key and the request are
    kept as hashes. The row is written together with what the request made, so that it is made once. A `status` of 102
    says that the answer is being made; `body` says by whom."""

    __tablename__ = "kept_answers"
    __table_args__ = (
        _length("owner_sha256", 64, 64),
        _length("key_sha256", 64, 64),
        _length("request_sha256", 64, 64),
        CheckConstraint("status = 102 OR status BETWEEN 200 AND 299", name="status_of_success"),
    )

    owner_sha256: Mapped[str] = mapped_column(primary_key=True)
    key_sha256: Mapped[str] = mapped_column(primary_key=True)
    request_sha256: Mapped[str]
    status: Mapped[int]
    body: Mapped[str]
    expires_at: Mapped[datetime] = mapped_column(index=True)
