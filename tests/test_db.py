"""The database: safe settings, transactions that are whole, and a migration that is exactly the models."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, inspect, make_url, select, text
from sqlalchemy.exc import InternalError, OperationalError, StatementError

from crowdfund.backup.tables import TABLES
from crowdfund.campaigns.models import Creator
from crowdfund.db import ROOT, Database
from crowdfund.errors import UserError, WorldError
from support.postgres import DATABASES, Server, database_of, new_database, shared

METADATA = TABLES[0].metadata  # a backup knows every table
CHECK = re.compile(r"CONSTRAINT (\w+) CHECK \(")
CHECKS_OF_POSTGRESQL = (
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'c'"
    " AND connamespace = 'public'::regnamespace ORDER BY 1, 2"
)
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
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
        assert compare_metadata(context, METADATA) == []


def test_the_migration_has_the_models_checks_too(database: Database, tmp_path: Path) -> None:
    """Alembic compares no CHECK constraints, so the tables as the models make them are compared as text."""
    kind = database.engine.dialect.name
    with another(kind, tmp_path) as url:
        other = Database(url)
        METADATA.create_all(other.engine)
        found = [checks(database), checks(other)]
        other.close()
    assert found[0] == found[1] and sum(map(len, found[0].values())) >= 14


def another(kind: str, folder: Path) -> AbstractContextManager[str]:
    """A database without any table."""
    return new_database(empty=True) if kind == "postgresql" else nullcontext(f"sqlite:///{folder / 'other.sqlite'}")


def checks(database: Database) -> dict[str, list[tuple[str, str]]]:
    """What is checked, by table."""
    found: dict[str, list[tuple[str, str]]] = {}
    with database.reading() as session:
        if database.engine.dialect.name == "postgresql":
            for table, name, rule in session.execute(text(CHECKS_OF_POSTGRESQL)):
                found.setdefault(table, []).append((name, rule))
        else:
            for table, sql in session.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'table'")):
                found[table] = sorted((one[1], inside(sql[one.end() :])) for one in CHECK.finditer(sql))
    found.pop("alembic_version", None)
    found.pop("sqlite_sequence", None)
    return found


def inside(sql: str) -> str:
    """The text before the bracket that closes one opened just before it."""
    depth = 1
    for end, sign in enumerate(sql):
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if not depth:
            return sql[:end]
    raise AssertionError(sql)


def test_sqlite_is_set_up_for_safety(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'x.sqlite'}")
    for way in (database.transaction, database.reading):
        with way() as session:
            values = [
                session.execute(text(f"PRAGMA {name}")).scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            ]
        assert values == ["wal", 2, 1, 30_000]
    database.close()


@pytest.mark.parametrize(("server", "used"), [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")])
def test_postgresql_is_set_up_for_safety(server: str, used: str) -> None:
    with new_database() as url:
        name = make_url(url).database
        shared().execute(f"ALTER DATABASE {name} SET synchronous_commit = {server}")
        shared().execute(f"ALTER DATABASE {name} SET default_transaction_isolation = serializable")
        database = Database(url)
        for way, isolation in ((database.transaction, "read committed"), (database.reading, "repeatable read")):
            with way() as session:
                values = [
                    session.execute(text(f"SHOW {name}")).scalar()
                    for name in ("synchronous_commit", "transaction_isolation", "lock_timeout", "fsync")
                ]
            assert values == [used, isolation, "30s", "on"]
        database.close()


def test_a_server_that_does_not_write_to_the_disk_is_refused() -> None:
    server = Server("fsync=off")
    try:
        database = Database(server.url("postgres"))
        with pytest.raises(WorldError, match="fsync") as trouble:
            database.upgrade()
        assert not trouble.value.retryable
        database.close()
    finally:
        server.close()


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
    """PostgreSQL refuses at once; SQLite lets it happen and forgets it."""
    refused = database.engine.dialect.name == "postgresql"
    with (
        pytest.raises(InternalError, match="read-only") if refused else nullcontext(),
        database.reading() as session,
    ):
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


@pytest.mark.parametrize("kind", DATABASES)
def test_several_processes_may_upgrade_at_once(kind: str, tmp_path: Path) -> None:
    code = (
        "import sys; from crowdfund.db import Database\n"
        "database = Database(sys.argv[1]); database.upgrade(); database.close()"
    )
    with another(kind, tmp_path) as url:
        command = [sys.executable, "-c", code, url]
        running = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) for _ in range(3)]
        faults = [process.communicate(timeout=60)[1].decode() for process in running]
        assert [process.returncode for process in running] == [0] * 3, faults
        database = Database(url)
        assert count(database) == 0
        database.close()


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///", "mysql:///x", "postgresql://x", "postgresql+psycopg2://x/y", "sqlite+aiosqlite:///x"],
)
def test_another_database_is_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(UserError, match=r"SQLite.*PostgreSQL"):
        Database(url)


def test_the_password_of_a_database_is_in_no_sentence(tmp_path: Path) -> None:
    database = Database(f"postgresql://alice:very-secret@/x?host={tmp_path}")
    with pytest.raises(OperationalError) as trouble:
        database.upgrade()
    with pytest.raises(WorldError) as another, database.watching():
        raise AssertionError("there is nothing to watch")
    assert "very-secret" not in f"{trouble.value} {another.value.sentence}" and "crowdfund" not in str(tmp_path)
    database.close()


@pytest.mark.parametrize("kind", DATABASES)
def test_a_damaged_database_is_a_trouble_with_a_sentence(kind: str, tmp_path: Path) -> None:
    with another(kind, tmp_path) as url:
        database = Database(url)
        with database.engine.begin() as connection:
            connection.execute(text("CREATE TABLE accounts (x int)"))
        with pytest.raises(WorldError, match="cannot be brought up to date") as trouble:
            database.upgrade()
        assert not trouble.value.retryable
        tables = inspect(database.engine).get_table_names()
        assert tables == ["accounts"], "a migration that fails leaves nothing behind"
        database.close()


@pytest.mark.parametrize("kind", DATABASES)
def test_a_locked_database_is_an_error_and_not_a_half_write(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crowdfund.sqlite.BUSY_TIMEOUT_MS", 50)
    monkeypatch.setattr("crowdfund.postgresql.LOCK_TIMEOUT_MS", 50)
    with database_of(kind, tmp_path) as url:
        database = Database(url)
        database.upgrade()
        with database.transaction() as session:
            session.add(creator("one"))
            session.flush()
            with pytest.raises(OperationalError, match="lock"), database.transaction() as other:
                count_there = other.scalar(select(func.count()).select_from(Creator))
                raise AssertionError(f"a second writer began, and read {count_there}")
        assert count(database) == 1
        database.close()


def test_who_asks_for_what_no_text_holds_finds_nothing(database: Database) -> None:
    with database.transaction() as session:
        session.add(creator("one"))
    with database.reading() as session:
        assert session.scalar(select(Creator).where(Creator.key == "one\x00")) is None
        assert session.scalar(select(Creator).where(Creator.key.in_(["one\x00", "one"]))) is not None


def test_a_watch_hears_the_commits_of_others(database: Database) -> None:
    with database.watching() as watch:
        assert not watch.wait(0.01)
        with database.transaction() as session:
            session.add(creator("one"))
            session.flush()
            assert not watch.wait(0.01), "nothing is committed yet"
        assert watch.wait(5)
        assert not watch.wait(0.01), "each commit is told once"
        with database.reading() as session:
            session.scalar(select(func.count()).select_from(Creator))
        assert not watch.wait(0.01), "reading is no news"
        with pytest.raises(RuntimeError), database.transaction() as session:
            session.add(creator("two"))
            session.flush()
            raise RuntimeError("crash")
        assert not watch.wait(0.01), "what was undone is no news"


def test_a_server_that_restarts_costs_a_sentence_and_nothing_else() -> None:
    server = Server()
    try:
        database = Database(server.url("postgres"))
        database.upgrade()
        with database.watching() as watch:
            with pytest.raises(OperationalError), database.transaction() as session:
                session.add(creator("lost"))
                server.stop_at_once()
            with pytest.raises(WorldError, match="cannot be watched"):
                watch.wait(5)
        server.start()
        assert count(database) == 0, "no connection of before is used again"
        with database.transaction() as session:
            session.add(creator("kept"))
        server.stop_at_once()
        server.start()
        assert count(database) == 1, "what was committed is still there"
        database.close()
    finally:
        server.close()
