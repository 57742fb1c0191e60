"""The database: safe settings, transactions that are whole, and a migration that is exactly the models."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError, StatementError

from crowdfund.campaigns.models import Creator
from crowdfund.db import ROOT, Base, Database
from crowdfund.errors import UserError, WorldError

CHECK = re.compile(r"CONSTRAINT (\w+) CHECK \((.*)\)")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'deep' / 'x.sqlite'}")
    made.upgrade()
    yield made
    made.close()


def creator(name: str, created_at: datetime = NOW) -> Creator:
    return Creator(name=name, key=name, password_hash="x", created_at=created_at)


def count(database: Database) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(Creator)) or 0


def test_the_migration_is_exactly_the_models(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_the_migration_has_the_models_checks_too(database: Database, tmp_path: Path) -> None:
    """Alembic compares no CHECK constraints, so the tables as the models make them are compared as text."""
    other = Database(f"sqlite:///{tmp_path / 'models.sqlite'}")
    Base.metadata.create_all(other.engine)
    query = text("SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'alembic%'")
    found = []
    for one in (database, other):
        with one.reading() as session:
            found.append({name: sorted(CHECK.findall(sql)) for name, sql in session.execute(query)})
    other.close()
    assert found[0] == found[1] and sum(map(len, found[0].values())) >= 14


def test_sqlite_is_set_up_for_safety(database: Database) -> None:
    for way in (database.transaction, database.reading):
        with way() as session:
            values = [
                session.execute(text(f"PRAGMA {name}")).scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            ]
        assert values == ["wal", 2, 1, 30_000]


def test_a_transaction_is_written_as_a_whole_or_not_at_all(database: Database) -> None:
    with pytest.raises(RuntimeError, match="crash"), database.transaction() as session:
        session.add(creator("one"))
        session.flush()
        raise RuntimeError("crash")
    assert count(database) == 0
    with database.transaction() as session:
        session.add_all([creator("one"), creator("two")])
    assert count(database) == 2


def test_reading_leaves_nothing_behind(database: Database) -> None:
    with database.reading() as session:
        session.add(creator("one"))
        session.flush()
    assert count(database) == 0


def test_reading_sees_one_moment_and_hinders_no_writer(database: Database) -> None:
    with database.reading() as session:
        before = session.scalar(select(func.count()).select_from(Creator))
        with database.transaction() as other:
            other.add(creator("one"))
        assert session.scalar(select(func.count()).select_from(Creator)) == before == 0
    assert count(database) == 1


def test_two_writers_never_start_from_the_same_reading(database: Database) -> None:
    """A lost update: each reads the number, waits, and writes one more."""
    start = threading.Barrier(4)

    def add() -> None:
        start.wait()
        for _ in range(10):
            with database.transaction() as session:
                number = session.scalar(select(func.count()).select_from(Creator))
                session.add(creator(str(number)))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(database) == 40


def test_times_are_aware_and_utc(database: Database) -> None:
    away = timezone(timedelta(hours=-7))
    with database.transaction() as session:
        session.add(creator("one", NOW.astimezone(away)))
    with database.reading() as session:
        found = session.scalar(select(Creator.created_at))
    assert found == NOW and found is not None and found.tzinfo is UTC
    with pytest.raises(StatementError, match="naive"), database.transaction() as session:
        session.add(creator("two", NOW.replace(tzinfo=None)))


def test_upgrading_again_changes_nothing(database: Database) -> None:
    with database.transaction() as session:
        session.add(creator("one"))
    database.upgrade()
    assert count(database) == 1


def test_several_processes_may_upgrade_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from crowdfund.db import Database\n"
        "database = Database(sys.argv[1]); database.upgrade(); database.close()"
    )
    url = f"sqlite:///{tmp_path / 'x.sqlite'}"
    running = [subprocess.Popen([sys.executable, "-c", code, url], cwd=ROOT, stderr=subprocess.PIPE) for _ in range(4)]
    faults = [process.communicate(timeout=60)[1].decode() for process in running]
    assert [process.returncode for process in running] == [0] * 4, faults
    database = Database(url)
    assert count(database) == 0
    database.close()


@pytest.mark.parametrize("url", ["postgresql://x/y", "sqlite://", "sqlite:///", "mysql:///x"])
def test_another_database_is_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(UserError, match="SQLite"):
        Database(url)


def test_a_damaged_database_is_a_trouble_with_a_sentence(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'x.sqlite'}")
    with database.engine.begin() as connection:
        connection.execute(text("CREATE TABLE accounts (x)"))
    with pytest.raises(WorldError, match="cannot be brought up to date") as trouble:
        database.upgrade()
    assert not trouble.value.retryable
    with database.engine.begin() as connection:
        tables = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars().all()
    assert tables == ["accounts"], "a migration that fails leaves nothing behind"
    database.close()


def test_a_locked_database_is_an_error_and_not_a_half_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crowdfund.db.BUSY_TIMEOUT_MS", 50)
    database = Database(f"sqlite:///{tmp_path / 'x.sqlite'}")
    database.upgrade()
    with database.transaction() as session:
        session.add(creator("one"))
        session.flush()
        with pytest.raises(OperationalError, match="locked"), database.transaction() as other:
            count_there = other.scalar(select(func.count()).select_from(Creator))
            raise AssertionError(f"a second writer began, and read {count_there}")
    assert count(database) == 1
    database.close()
