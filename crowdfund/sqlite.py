"""SQLite, opened for safety first: write-ahead log, synchronous=FULL, foreign keys, and BEGIN IMMEDIATE for every
writing transaction, so that two of them never start from the same reading. Recursive triggers are on because
without them INSERT OR REPLACE would slip past the triggers that keep rows.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, PoolProxiedConnection, create_engine, event

from crowdfund.errors import WorldError

BUSY_TIMEOUT_MS = 30_000
# How often a waiting thread asks SQLite whether anybody has committed: two microseconds each time, one percent of a
# processor in all. It is the most by which a page learns of a change later than it could.
COMMIT_POLL_S = 0.005


def open_engine(url: URL) -> Engine:
    """The engine of the file that `url` names; folders on the way to it are made."""
    Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000}, hide_parameters=True)
    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", _begin)
    return engine


def prepare(connection: Any, _record: object = None) -> None:
    """Set a new connection of the driver to safety first."""
    connection.isolation_level = None  # the driver's own BEGIN comes too late and is not IMMEDIATE
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "recursive_triggers=ON",
        f"busy_timeout={BUSY_TIMEOUT_MS}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def read_only(engine: Engine) -> Engine:
    """The same engine, whose transactions hinder no writer and see one moment."""
    return engine.execution_options(crowdfund_readonly=True)


@contextmanager
def watching(engine: Engine) -> Iterator[FileWatch]:
    """A watch with a connection of its own. Raises WorldError."""
    try:
        borrowed = engine.raw_connection()
    except sqlite3.Error as error:
        raise WorldError(f"The database cannot be watched: {error}.") from error
    with closing(borrowed):
        borrowed.detach()  # kept for long, so it must not take a place in the pool
        yield FileWatch(borrowed)


class FileWatch:
    """Waits for commits by SQLite's own count of those of other connections."""

    def __init__(self, connection: PoolProxiedConnection) -> None:
        self._cursor = connection.cursor()
        self._seen = self._version()

    def wait(self, timeout_s: float) -> bool:
        """See `CommitWatch`."""
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


def _begin(connection: Connection) -> None:
    readonly = connection.get_execution_options().get("crowdfund_readonly", False)
    connection.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")
