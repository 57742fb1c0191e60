"""The database: engine, and the two ways into it. `transaction()` writes, `reading()` cannot.

It is an SQLite file or a PostgreSQL server; `sqlite` and `postgresql` know the difference, nobody else. Both keep the
same promises: one writer at a time, a reader sees one moment and hinders nobody, and what was committed stays, also
over a power cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from sqlalchemy import URL, BigInteger, DateTime, Dialect, Integer, Text, TypeDecorator, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import DeclarativeBase, Session

from crowdfund.errors import UserError, WorldError

if TYPE_CHECKING:
    from alembic.config import Config

ROOT = Path(__file__).resolve().parent.parent


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


class CommitWatch(Protocol):
    """Waits until any other connection, of whatever process, has committed.

    May be used by one thread only. What has been committed it does not know: the reader looks. Raises WorldError.
    """

    def wait(self, timeout_s: float) -> bool:
        """True as soon as something was committed since the last call (or since the watch began), else False after
        `timeout_s`."""


class Database:
    """One engine for one process (made after a fork, never before)."""

    def __init__(self, url: str) -> None:
        parsed = _parsed(url)
        self._kind = _kind(parsed.get_backend_name())
        self.engine = self._kind.open_engine(parsed)
        self._readonly = self._kind.read_only(self.engine)

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

        Each kind of database brings its own: SQLite is polled, PostgreSQL sends a message. Raises WorldError.
        """
        with self._kind.watching(self.engine) as watch:
            yield watch

    def upgrade(self) -> None:
        """Bring the tables to the newest migration. Safe to call at every start, by several processes at once."""
        from alembic import command  # only now: audits, and much else that has a database, never come here
        from alembic.migration import MigrationContext

        config, newest = _migrations()
        with self.engine.begin() as connection:
            if MigrationContext.configure(connection).get_current_revision() == newest:
                return
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


@cache
def _migrations() -> tuple[Config, str | None]:
    """Where they are, and the newest one."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    return config, ScriptDirectory.from_config(config).get_current_head()


def _kind(name: str) -> ModuleType:
    """What knows this kind of database. The other one, and its driver, are not loaded."""
    if name == "postgresql":
        from crowdfund import postgresql

        return postgresql
    from crowdfund import sqlite

    return sqlite


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
        usable = parsed.drivername in ("sqlite", "postgresql", "postgresql+psycopg") and parsed.database
    except ArgumentError:
        usable = None
    if not usable:
        raise UserError(
            "CROWDFUND_DATABASE_URL must name an SQLite file (sqlite:///path) or a PostgreSQL database "
            "(postgresql://user@host/name)."
        )
    return parsed
