"""PostgreSQL, made to keep the promises that the rest of the code knows from SQLite.

One writer at a time: every writing transaction first takes one lock of the whole database and gives it back by
ending. So two of them never start from the same reading, and the ids of rows grow in the order of the commits, which
those who read only what is new rely on. The lock is taken by the first statement of a READ COMMITTED transaction;
under a stricter isolation the moment that it sees could be one before the lock was had.

A commit that was acknowledged is on the disk: synchronous_commit is on, whatever the server's default, and a server
that does without fsync is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event

from crowdfund.errors import UserError, WorldError

CONNECT_TIMEOUT_S = 10
LOCK_TIMEOUT_MS = 30_000
# A writer that hangs between two statements keeps everybody out; after this long the server ends its transaction.
IDLE_TIMEOUT_MS = 300_000
# The lock's number, any will do as long as it stays: "crowdfun" in ASCII.
WRITER_LOCK = 0x63726F776466756E
CHANNEL = "crowdfund"
# All that visitors and creators can bring about, with what triggers write behind it.
WEB_MAY = {
    "creators": "INSERT, UPDATE (name, key, password_hash)",
    "api_tokens": "INSERT, UPDATE (last_used_at), DELETE",
    "kept_answers": "INSERT, DELETE",
    "passkeys": "INSERT, UPDATE (name, sign_count, last_used_at), DELETE",
    "passkey_challenges": "INSERT, DELETE",
    "authenticators": "INSERT, UPDATE (last_step, confirmed_at), DELETE",
    "recovery_codes": "INSERT, UPDATE (active, used_at), DELETE",
    "sessions": "INSERT, UPDATE (token_sha256, seen_at, proven_at), DELETE",
    "account_events": "INSERT, UPDATE (times), DELETE",
    "attempt_windows": "INSERT, UPDATE (attempts), DELETE",
    "campaigns": "INSERT, UPDATE",
    "campaign_figures": "INSERT, UPDATE (wants_help)",
    "pledges": "INSERT, UPDATE (address, script)",
    "refund_changes": "INSERT",
    "watched_scripts": "INSERT",
    "chain_view": "UPDATE",
    "update_versions": "INSERT",
    "posts": "INSERT",
    "post_approvals": "INSERT",
    "moderation": "INSERT",
    "own_money": "INSERT",
    "subscriptions": "INSERT, UPDATE (confirmed_at), DELETE",
    "mail_asks": "INSERT",
    "webhooks": "INSERT, DELETE",
    "notices": "UPDATE (again_at)",
    "projects": "INSERT, UPDATE",
    "project_members": "INSERT, UPDATE (role, left_at)",
    "project_invitations": "INSERT, UPDATE (used_by, used_at)",
    "rewards": "INSERT",
    "reward_claims": "INSERT, UPDATE (freed_at)",
    "deliverable_reports": "INSERT",
    "help_offers": "INSERT, UPDATE (state, answer, answered_at, answered_by)",
    "review_requests": "INSERT",
    "pictures": "INSERT, UPDATE (alt, position), DELETE",
    "picture_files": "INSERT, DELETE",
    "cancellation_drafts": "INSERT",
    "cancellation_sends": "INSERT",
    "project_proofs": "INSERT",
}
# All that telling people and looking at files of projects writes: nothing that money hangs on.
NOTIFY_MAY = {
    "project_proofs": "INSERT",
    "happenings": "INSERT",
    "notices": "INSERT, UPDATE",
    "deliveries": "INSERT",
    "subscriptions": "DELETE",
    "mail_asks": "DELETE",
    "webhooks": "UPDATE (failing_since, disabled_at, disabled_reason)",
}
# What nobody needs to read who tells people: it opens accounts, or says who was where.
NOT_FOR_NOTIFY = (
    "passkeys, passkey_challenges, authenticators, recovery_codes, sessions, account_events, api_tokens, kept_answers"
)
NO_LETTER = "\uffff"  # what Unicode calls no character at all
ROLE = re.compile(r"[a-z_][a-z0-9_]{0,62}")


def open_engine(url: URL) -> Engine:
    """The engine of the database that `url` names. Connections that the server has lost are noticed before use."""
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args=_arguments(url),
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    event.listen(engine, "before_cursor_execute", _ask_without_nul, retval=True)
    return engine


def read_only(engine: Engine) -> Engine:
    """The same engine, whose transactions take no lock, see one moment and cannot write."""
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


@contextmanager
def watching(engine: Engine) -> Iterator[Listener]:
    """A watch with a connection of its own. Raises WorldError."""
    try:
        borrowed = engine.raw_connection()
    except psycopg.Error as error:
        raise WorldError(f"The database cannot be watched: {error}.") from error
    with closing(borrowed):
        connection = borrowed.driver_connection
        borrowed.detach()  # kept for long, so it must not take a place in the pool
        assert isinstance(connection, psycopg.Connection)
        yield Listener(connection)


class Listener:
    """Waits for commits by the message that every writing transaction sends with its commit."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        try:
            connection.autocommit = True
            connection.execute(f"LISTEN {CHANNEL}")
        except psycopg.Error as error:
            raise WorldError(f"The database cannot be watched: {error}.") from error

    def wait(self, timeout_s: float) -> bool:
        """See `CommitWatch`."""
        try:
            return any(True for _ in self._connection.notifies(timeout=timeout_s, stop_after=1))
        except psycopg.Error as error:
            raise WorldError(f"The database cannot be watched: {error}.") from error


def grants(role: str, process: str = "web") -> list[str]:
    """Statements, for the owner to run after each upgrade, that let `role` read everything (`notify`: all but what
    opens accounts) and write what the web process, or `notify`, has to: no coin, no decision, no transaction.

    Nothing of money can be deleted, only ways into accounts, addresses for mail and webhooks, and pictures, which
    triggers keep from the moment of publishing on. Raises UserError.
    """
    if not ROLE.fullmatch(role):
        raise UserError(f"{role!r} is no name of a role: use small letters, digits and _.")
    may = NOTIFY_MAY if process == "notify" else WEB_MAY
    hidden = [f"REVOKE SELECT ON {NOT_FOR_NOTIFY} FROM {role};"] if process == "notify" else []
    return [
        f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role};",
        f"GRANT USAGE ON SCHEMA public TO {role};",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role};",
        *hidden,
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role};",
        *(f"GRANT {rights} ON {table} TO {role};" for table, rights in may.items()),
    ]


def _arguments(url: URL) -> dict[str, Any]:
    """What a connection is opened with. Statements are not kept prepared: that lets a pooler stand in between, and a
    migration change what they are about."""
    own = url.query.get("options", "")
    options = [own] if isinstance(own, str) else list(own)
    options += [f"-c lock_timeout={LOCK_TIMEOUT_MS}", f"-c idle_in_transaction_session_timeout={IDLE_TIMEOUT_MS}"]
    return {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "prepare_threshold": None,
        "application_name": "crowdfund",
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "options": " ".join(options).strip(),
    }


def _prepare(connection: Any, _record: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('synchronous_commit', 'on', false)"
            " WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')"
        )
        cursor.execute("SELECT current_setting('fsync'), current_setting('full_page_writes')")
        if cursor.fetchone() != ("on", "on"):
            raise WorldError(
                "PostgreSQL runs with fsync or full_page_writes off: a power cut could take payments out of the "
                "records. Turn both on.",
                retryable=False,
            )
    connection.commit()


def _ask_without_nul(
    _connection: Connection, _cursor: object, statement: str, values: Any, _context: object, _many: bool
) -> tuple[str, Any]:
    """Texts here cannot hold a NUL, so nothing is found where a visitor asks for one; no trouble with the server."""
    if statement.startswith("SELECT") and isinstance(values, dict):
        values = {k: v.replace("\0", NO_LETTER) if isinstance(v, str) else v for k, v in values.items()}
    return statement, values


def _begin(connection: Connection) -> None:
    if not connection.get_execution_options().get("postgresql_readonly", False):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER_LOCK}), pg_notify('{CHANNEL}', '')")
