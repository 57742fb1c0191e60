"""All tables out of a database and into an empty one, whichever kind of database it is. Values only, no models.

A row is written as it is, with the ids and hashes it has: what triggers wrote on the way is a row too. So while rows
come back, the triggers are away; they are the last thing that the same transaction puts back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData, Table, func, inspect, select, text
from sqlalchemy.orm import Session
from sqlalchemy.types import Boolean, DateTime, Integer, LargeBinary, TypeDecorator, TypeEngine

from crowdfund.accounts import models as account_models
from crowdfund.backup.form import Part
from crowdfund.campaigns import (
    cancel_models,
    detail_models,
    figure_models,
    ledger_models,
    models,
    picture_models,
    refund_models,
    talk_models,
)
from crowdfund.db import ROOT, Base
from crowdfund.errors import WorldError
from crowdfund.notices import models as notices_models
from crowdfund.projects import proof_models

ROWS_AT_ONCE = 1_000
# Rows with pictures in them are large: as few of them as keep memory small.
LARGE = {"picture_files": 8}
TABLES = Base.metadata.sorted_tables
assert models.Campaign.metadata is ledger_models.Transfer.metadata is talk_models.Post.metadata is Base.metadata
assert notices_models.Notice.metadata is Base.metadata
assert detail_models.RewardRow.metadata is Base.metadata
assert cancel_models.CancellationDraft.metadata is proof_models.ProjectProof.metadata is Base.metadata
assert picture_models.Picture.metadata is refund_models.RefundChangeRow.metadata is Base.metadata
assert figure_models.CampaignFigures.metadata is Base.metadata
assert account_models.Passkey.metadata is Base.metadata


def revision_of(session: Session) -> str:
    """The migration that the database is at."""
    return str(session.execute(text("SELECT version_num FROM alembic_version")).scalar_one())


def row_counts(session: Session) -> dict[str, int]:
    """How many rows each table has."""
    return {t.name: session.scalar(select(func.count()).select_from(t)) or 0 for t in TABLES}


def exported(session: Session) -> Iterator[tuple[Part, Iterator[list[object]]]]:
    """Every table with its rows, one after the other, in the order in which they can come back."""
    for table in TABLES:
        kinds = {column.name: _kind(column.type) for column in table.columns}
        yield Part("table", table.name, kinds), _rows_of(session, table, list(kinds.values()))


def is_empty(connection: Connection) -> bool:
    """Whether there is no table at all."""
    return not inspect(connection).get_table_names()


def migrate(connection: Connection, revision: str) -> None:
    """Make the tables as they were at `revision` ("head" for now). Raises WorldError where it is not known here."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    config.attributes["connection"] = connection
    try:
        ScriptDirectory.from_config(config).get_revision(revision)
    except CommandError:
        raise WorldError("A newer version of this program made this backup; use that one.", retryable=False) from None
    command.upgrade(config, revision)


class Importer:
    """Takes rows, writes them in bundles."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._metadata = MetaData()
        self._table: Table | None = None
        self._kinds: list[tuple[str, str]] = []
        self._waiting: list[dict[str, object]] = []

    def begin(self, part: Part) -> None:
        """The rows that follow are those of this table."""
        self.flush()
        self._table = Table(part.name, self._metadata, autoload_with=self._connection, resolve_fks=False)
        self._kinds = list(part.columns.items())

    def take(self, row: Sequence[Any]) -> None:
        """A row of the table begun last."""
        pairs = zip(self._kinds, row, strict=True)
        self._waiting.append({name: _value(kind, value) for (name, kind), value in pairs})
        if len(self._waiting) >= _at_once(self._table):
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting and self._table is not None:
            self._connection.execute(self._table.insert(), self._waiting)
        self._waiting = []


@contextmanager
def without_triggers(connection: Connection) -> Iterator[None]:
    """The triggers are away inside, and back afterwards, in the transaction of the caller."""
    away, back = (_sqlite_triggers if connection.dialect.name == "sqlite" else _postgresql_triggers)(connection)
    for statement in away:
        connection.exec_driver_sql(statement)
    yield
    for statement in back:
        connection.exec_driver_sql(statement)


def _sqlite_triggers(connection: Connection) -> tuple[list[str], list[str]]:
    found = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name")).all()
    return [f'DROP TRIGGER "{name}"' for name, _ in found], [sql for _, sql in found]


def _postgresql_triggers(connection: Connection) -> tuple[list[str], list[str]]:
    """Foreign keys are no user's triggers and stay. At the end each counter goes on after the highest id."""
    names = inspect(connection).get_table_names()
    counted = [(t.name, c.name) for t in TABLES for c in t.columns if c is t.autoincrement_column and t.name in names]
    away = [f'ALTER TABLE "{name}" DISABLE TRIGGER USER' for name in names]
    back = [f'ALTER TABLE "{name}" ENABLE TRIGGER USER' for name in names]
    for table, column in counted:
        highest = f'(SELECT coalesce(max("{column}"), 0) + 1 FROM "{table}")'
        back.append(f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), {highest}, false)")
    return away, back


def _rows_of(session: Session, table: Table, kinds: list[str]) -> Iterator[list[object]]:
    rows = select(table).order_by(*table.primary_key.columns).execution_options(yield_per=_at_once(table))
    for row in session.execute(rows):
        yield [_plain(kind, value) for kind, value in zip(kinds, row, strict=True)]


def _at_once(table: Table | None) -> int:
    return ROWS_AT_ONCE if table is None else LARGE.get(table.name, ROWS_AT_ONCE)


def _kind(of: TypeEngine[Any]) -> str:
    plain = of.impl if isinstance(of, TypeDecorator) else of
    kinds = ((Boolean, "bool"), (Integer, "int"), (LargeBinary, "bytes"), (DateTime, "time"))
    return next((name for kind, name in kinds if isinstance(plain, kind)), "text")


def _plain(kind: str, value: Any) -> object:
    if value is None or kind in ("int", "bool", "text"):
        return value
    return value.hex() if kind == "bytes" else value.isoformat()


def _value(kind: str, value: Any) -> object:
    if value is None or kind in ("int", "bool", "text"):
        return value
    return bytes.fromhex(value) if kind == "bytes" else datetime.fromisoformat(value).replace(tzinfo=None)
