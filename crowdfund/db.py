"""The database: engine, and the two ways into it. `transaction()` writes, `reading()` cannot.

SQLite is opened for safety first: write-ahead log, synchronous=FULL, foreign keys, and BEGIN IMMEDIATE for every
writing transaction, so that two of them never start from the same reading. Recursive triggers are on because
without them INSERT OR REPLACE would slip past the triggers that keep rows.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from alembic import command
from alembic.config import Config
from sqlalchemy import (
    BigInteger,
    Connection,
    DateTime,
    Dialect,
    Engine,
    Integer,
    PoolProxiedConnection,
    Text,
    TypeDecorator,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import DeclarativeBase, Session

from crowdfund.errors import UserError, WorldError

ROOT = Path(__file__).resolve().parent.parent
BUSY_TIMEOUT_MS = 30_000
# How often a waiting thread asks SQLite whether anybody has committed: two microseconds each time, one percent of a
# processor in all. It is the most by which a page learns of a change later than it could.
COMMIT_POLL_S = 0.005


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC on the Python side, whatever the database keeps."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive datetime rather than guess its zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime has no place in the database")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """What was stored is UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """All tables. Integers have 64 bits everywhere: an amount in satoshi needs 51."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        int: BigInteger().with_variant(Integer(), "sqlite"),
        datetime: UtcDateTime(),
        str: Text(),
    }


class CommitWatch:
    """Waits until any other connection, of whatever process, has committed. SQLite's way: its own count of commits.

    May be used by one thread only. What has been committed it does not know: the reader looks. Raises WorldError.
    """

    def __init__(self, connection: PoolProxiedConnection) -> None:
        self._cursor = connection.cursor()
        self._seen = self._version()

    def wait(self, timeout_s: float) -> bool:
        """True as soon as something was committed since the last call (or since the watch began), else False after
        `timeout_s`."""
        end = time.monotonic() + timeout_s
        while (version := self._version()) == self._seen:
            if time.monotonic() >= end:
                return False
            time.sleep(COMMIT_POLL_S)
        self._seen = version
        return True

    def _version(self) -> object:
        try:
            self._cursor.execute("PRAGMA data_version")
            return self._cursor.fetchone()
        except sqlite3.Error as error:
            raise WorldError(f"The database cannot be watched: {error}.") from error


class Database:
    """One engine for one process (made after a fork, never before)."""

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self._readonly = self.engine.execution_options(crowdfund_readonly=True)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session whose work is committed as a whole at the end, or not at all."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one moment of the database and leaves nothing behind."""
        with Session(self._readonly, autoflush=False) as session:
            yield session

    @contextmanager
    def watching(self) -> Iterator[CommitWatch]:
        """A way to wait for the commits of others, for one thread, with a connection of its own.

        Each kind of database brings its own: SQLite is polled, another one may send a message. Raises WorldError.
        """
        try:
            borrowed = self.engine.raw_connection()
        except sqlite3.Error as error:
            raise WorldError(f"The database cannot be watched: {error}.") from error
        with closing(borrowed):
            borrowed.detach()  # kept for long, so it must not take a place in the pool
            yield CommitWatch(borrowed)

    def upgrade(self) -> None:
        """Bring the tables to the newest migration. Safe to call at every start, by several processes at once."""
        config = Config()
        config.set_main_option("script_location", str(ROOT / "migrations"))
        with self.engine.begin() as connection:
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except DBAPIError as error:
                raise WorldError(
                    f"The database cannot be brought up to date: {error.orig}.", retryable=False
                ) from error

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        usable = parsed.get_backend_name() == "sqlite" and parsed.database
    except ArgumentError:
        usable = None
    if not usable or not parsed.database:
        raise UserError("CROWDFUND_DATABASE_URL must name an SQLite file (sqlite:///path) in this version.")
    Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000}, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver's own BEGIN comes too late and is not IMMEDIATE
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "recursive_triggers=ON",
        f"busy_timeout={BUSY_TIMEOUT_MS}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    readonly = connection.get_execution_options().get("crowdfund_readonly", False)
    connection.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")
