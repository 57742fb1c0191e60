"""An installation of the first version is brought up to date with all that it holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import select, text

from crowdfund.campaigns.models import ChainView, Coin, CoinEntry, WatchedScript
from crowdfund.campaigns.recording import RecordedWatch
from crowdfund.chain.scan import outpoint_key
from crowdfund.db import ROOT, Database
from support.dying import dies_at

TXIDS = [f"{n:064x}" for n in range(1, 6)]
FILL = [
    "INSERT INTO creators VALUES (1, 'alice', 'alice', 'x', '2026-01-01 00:00:00')",
    """INSERT INTO campaigns (id, creator_id, title, summary, story, goal_sats, deadline_at, payout_address,
       project_url, license, created_at, next_index)
       VALUES ('c', 1, 't', 's', 's', 5, '2026-02-01 00:00:00', 'a', 'u', 'MIT', '2026-01-01 00:00:00', 3)""",
    *(
        f"""INSERT INTO pledges (id, campaign_id, "index", address, script, amount_sats, refund_address, refund_script,
            name, message, created_at, registered)
            VALUES ('p{n}', 'c', {n}, {address}, {script}, 9, 'r', x'00', '', '', '2026-01-01 00:00:00', 0)"""
        for n, address, script in ((0, "'a0'", "x'aa'"), (1, "NULL", "NULL"), (2, "'a2'", "x'bb'"))
    ),
    *(
        f"""INSERT INTO coins (id, pledge_id, txid, vout, value_sats, coinbase, first_seen_at, in_mempool, height,
            block_hash, spent_by, spent_height)
            VALUES ({n + 1}, 'p0', '{TXIDS[n]}', 0, {sats}, 0, '2026-01-01 00:00:00', {mempool}, {height}, {spent})"""
        for n, (sats, mempool, height, spent) in enumerate(
            [
                (5_000, 0, "7, 'h7'", "NULL, NULL"),
                (6_000, 0, "8, 'h8'", "'s', 9"),
                (7_000, 1, "NULL, NULL", "NULL, NULL"),
                (8_000, 0, "NULL, NULL", "NULL, NULL"),
                (0, 0, "8, 'h8'", "NULL, NULL"),
            ]
        )
    ),
    "INSERT INTO chain_view VALUES (1, 'live', '', 2, 40, '2026-01-01 00:00:00')",
]
OLD = ("creators", "campaigns", "pledges", "coins", "chain_view")


def migrate(database: Database, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def contents(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """The rows of the first version's tables, without the columns that are new."""
    found = {}
    with database.reading() as session:
        for table in OLD:
            columns = [r[1] for r in session.execute(text(f"PRAGMA table_info({table})")) if r[1] != "pause"]
            names = ", ".join(f'"{name}"' for name in columns)
            found[table] = [tuple(row) for row in session.execute(text(f"SELECT {names} FROM {table} ORDER BY 1"))]
    return found


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database of the first version, in use."""
    made = Database(f"sqlite:///{tmp_path / 'x.sqlite'}")
    migrate(made, "0001")
    with made.transaction() as session:
        for statement in FILL:
            session.execute(text(statement))
    yield made
    made.close()


def test_nothing_is_lost_on_the_way(database: Database) -> None:
    before = contents(database)
    assert [len(rows) for rows in before.values()] == [1, 1, 3, 5, 1]
    database.upgrade()
    assert contents(database) == before
    with database.reading() as session:
        assert session.get_one(ChainView, 1).pause == ""
        assert session.execute(text("PRAGMA foreign_key_check")).all() == []
        assert session.execute(text("PRAGMA integrity_check")).scalar() == "ok"


def test_addresses_given_out_before_are_watched(database: Database) -> None:
    database.upgrade()
    with database.reading() as session:
        assert session.scalars(select(WatchedScript.script).order_by(WatchedScript.id)).all() == [b"\xaa", b"\xbb"]
    watch = RecordedWatch(database)
    watch.refresh()
    assert watch.scripts == {b"\xaa", b"\xbb"}
    assert watch.outpoints == {outpoint_key(txid, 0) for txid in TXIDS}
    with database.transaction() as session:
        session.execute(text("UPDATE pledges SET address = 'a1', script = x'cc' WHERE id = 'p1'"))
    watch.refresh()
    assert watch.scripts == {b"\xaa", b"\xbb", b"\xcc"}, "and so are those that come"


def test_the_journal_begins_with_what_is_confirmed(database: Database) -> None:
    database.upgrade()

    def entries() -> list[tuple[int, int, int, str]]:
        with database.reading() as session:
            rows = session.scalars(select(CoinEntry).order_by(CoinEntry.id)).all()
            return [(e.coin_id, e.value_sats, e.height, e.block_hash) for e in rows]

    assert sorted(entries()) == [(1, 5_000, 7, "h7"), (2, 6_000, 8, "h8")]
    with database.transaction() as session:
        first = session.get_one(Coin, 1)
        first.height = first.block_hash = None
    assert entries()[2:] == [(1, -5_000, 7, "h7")]


def test_killed_at_any_step_it_rolls_back_and_goes_on(tmp_path: Path, database: Database) -> None:
    """All migrations are one transaction: a database is of the old version or of the new one, never between."""
    url, before = str(database.engine.url), contents(database)
    database.close()
    old = tables_of(url)
    died, step = 0, 1
    while dies_at(step, lambda: Database(url).upgrade()):
        died += 1
        assert tables_of(url) == old and contents(database) == before
        database.close()
        step += 1 if died < 12 else 5
    fresh = f"sqlite:///{tmp_path / 'fresh.sqlite'}"
    Database(fresh).upgrade()
    assert died > 15 and tables_of(url) == tables_of(fresh) and contents(database) == before


def tables_of(url: str) -> set[tuple[str, str]]:
    """All tables, indices and triggers, by a connection of one's own."""
    made = Database(url)
    with made.reading() as session:
        rows = session.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
        found = {(name, sql) for name, sql in rows}
    made.close()
    return found


def test_rows_edited_by_hand_are_refused(database: Database) -> None:
    """What the triggers keep, they keep from somebody at a prompt of SQLite, too."""
    database.upgrade()
    database.close()
    with closing(sqlite3.connect(str(database.engine.url.database), isolation_level=None)) as prompt:
        for edit in (
            "UPDATE coins SET value_sats = 1",
            "UPDATE pledges SET refund_script = x'aa'",
            "UPDATE coin_entries SET value_sats = 1",
            "DELETE FROM coins",
            "DELETE FROM pledges",
            "UPDATE campaigns SET next_index = 0",
        ):
            with pytest.raises(sqlite3.IntegrityError):
                prompt.execute(edit)


def test_an_empty_database_goes_the_same_way(tmp_path: Path, database: Database) -> None:
    def schema(of: Database) -> set[tuple[str, str]]:
        with of.reading() as session:
            rows = session.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
            return {(name, sql) for name, sql in rows}

    database.upgrade()
    fresh = Database(f"sqlite:///{tmp_path / 'fresh.sqlite'}")
    fresh.upgrade()
    assert schema(fresh) == schema(database)
    fresh.close()
