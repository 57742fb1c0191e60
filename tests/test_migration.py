"""An installation of the first version is brought up to date with all that it holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import IntegrityError

from crowdfund.campaigns import books, checking
from crowdfund.campaigns.ledger_models import Transfer
from crowdfund.campaigns.models import BatchRow, ChainView, WatchedScript
from crowdfund.campaigns.recording import RecordedWatch
from crowdfund.chain.scan import outpoint_key
from crowdfund.db import ROOT, Database
from crowdfund.triggers import dropped
from support.crash_store import sound
from support.dying import dies_at
from support.postgres import DATABASES, new_database, spoken

TXIDS = [f"{n:064x}" for n in range(1, 6)]
FILL = [
    "INSERT INTO creators VALUES (1, 'alice', 'alice', 'x', '2026-01-01 00:00:00')",
    """INSERT INTO campaigns (id, creator_id, title, summary, story, goal_sats, deadline_at, payout_address,
       project_url, license, created_at, next_index)
       VALUES ('c', 1, 't', 's', 's', 5, '2026-02-01 00:00:00', 'a', 'u', 'MIT', '2026-01-01 00:00:00', 3)""",
    *(
        f"""INSERT INTO pledges (id, campaign_id, "index", address, script, amount_sats, refund_address, refund_script,
            name, message, created_at, registered)
            VALUES ('p{n}', 'c', {n}, {address}, {script}, 9, 'r', x'00', '', '', '2026-01-01 00:00:00', FALSE)"""
        for n, address, script in ((0, "'a0'", "x'aa'"), (1, "NULL", "NULL"), (2, "'a2'", "x'bb'"))
    ),
    *(
        f"""INSERT INTO coins (id, pledge_id, txid, vout, value_sats, coinbase, first_seen_at, in_mempool, height,
            block_hash, spent_by, spent_height)
            VALUES ({n + 1}, 'p0',
            '{TXIDS[n]}', 0, {sats}, FALSE, '2026-01-01 00:00:00', {mempool}, {height}, {spent})"""
        for n, (sats, mempool, height, spent) in enumerate(
            [
                (5_000, False, "7, 'h7'", "NULL, NULL"),
                (6_000, False, "8, 'h8'", "'s', 9"),
                (7_000, True, "NULL, NULL", "NULL, NULL"),
                (8_000, False, "NULL, NULL", "NULL, NULL"),
                (0, False, "8, 'h8'", "NULL, NULL"),
            ]
        )
    ),
    "INSERT INTO chain_view VALUES (1, 'live', '', 2, 40, '2026-01-01 00:00:00')",
]
SCHEMA = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL",
    "postgresql": """
        SELECT tgrelid::regclass || ' ' || tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
        UNION SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        UNION SELECT conrelid::regclass || ' ' || conname, pg_get_constraintdef(oid) FROM pg_constraint
        UNION SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
        UNION SELECT table_name || ' ' || column_name, data_type || is_nullable FROM information_schema.columns
        WHERE table_schema = 'public'""",
}
NEW = ("pause", "cap_sats", "receipt_due", "refund_number", "project_id", "details")
OLD = ("creators", "campaigns", "pledges", "coins", "chain_view")

PLANNED = [
    "INSERT INTO blocks VALUES (30, 'h30', 'h29', 1, 1)",
    "INSERT INTO decisions VALUES ('c', 'failed', 5000, 9, 'h9', 9)",
    *(
        statement
        for number, coin, raw, sent in ((1, 1, "x'0a'", "'2026-02-02 00:00:00'"), (2, 3, "NULL", "NULL"))
        for statement in (
            f"INSERT INTO batches VALUES ({number}, 'c', 'refund', {100 * number}, {number}, 20)",
            f"INSERT INTO batch_inputs VALUES ({coin}, {number}, 0)",
            f"INSERT INTO batch_outputs VALUES ({number}, 0, x'00', {(5_000, 7_000)[number - 1] - 100 * number}, 0)",
            f"INSERT INTO attempts VALUES ('a{number}', {number}, 1, {raw}, {sent}, NULL)",
        )
    ),
]


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
            columns = [c["name"] for c in inspect(database.engine).get_columns(table) if c["name"] not in NEW]
            names = ", ".join(f'"{name}"' for name in columns)
            found[table] = [tuple(row) for row in session.execute(text(f"SELECT {names} FROM {table} ORDER BY 1"))]
    return found


@pytest.fixture(params=DATABASES)
def kind(request: pytest.FixtureRequest) -> str:
    """Everything here happens on each."""
    return str(request.param)


def empty(kind: str, path: Path) -> AbstractContextManager[str]:
    """The address of a database without any table."""
    return new_database(empty=True) if kind == "postgresql" else nullcontext(f"sqlite:///{path}")


@pytest.fixture
def database(kind: str, tmp_path: Path) -> Iterator[Database]:
    """A database of the first version, in use."""
    with empty(kind, tmp_path / "x.sqlite") as url:
        made = Database(url)
        migrate(made, "0001")
        with made.transaction() as session:
            for statement in FILL:
                session.execute(text(spoken(made, statement)))
        yield made
        made.close()


def test_nothing_is_lost_on_the_way(database: Database) -> None:
    before = contents(database)
    assert [len(rows) for rows in before.values()] == [1, 1, 3, 5, 1]
    database.upgrade()
    assert contents(database) == before
    with database.reading() as session:
        assert session.get_one(ChainView, 1).pause == ""
    assert sound(database.engine.url.render_as_string(hide_password=False))


def test_addresses_given_out_before_are_watched(database: Database) -> None:
    database.upgrade()
    with database.reading() as session:
        assert session.scalars(select(WatchedScript.script).order_by(WatchedScript.id)).all() == [b"\xaa", b"\xbb"]
    watch = RecordedWatch(database)
    watch.refresh()
    assert watch.scripts == {b"\xaa", b"\xbb"}
    assert watch.outpoints == {outpoint_key(txid, 0) for txid in TXIDS}
    with database.transaction() as session:
        late = "UPDATE pledges SET address = 'a1', script = x'cc' WHERE id = 'p1'"
        session.execute(text(spoken(database, late)))
    watch.refresh()
    assert watch.scripts == {b"\xaa", b"\xbb", b"\xcc"}, "and so are those that come"


def test_the_ledger_opens_once_with_what_is_confirmed(database: Database) -> None:
    database.upgrade()
    with database.transaction() as session:
        session.execute(text("INSERT INTO blocks VALUES (9, 'h9', 'h8', 1, 1)"))
    assert books.open_ledger(database) == 2
    wanted = [("outside", "counted", 5_000, 7, "h7"), ("outside", "foreign_spend", 6_000, 8, "h8")]
    with database.reading() as session:
        rows = session.scalars(select(Transfer).order_by(Transfer.id)).all()
        assert [(t.from_account, t.to_account, t.amount_sats, t.height, t.block_hash) for t in rows] == wanted
        assert [b.sentence for b in checking.check_books(session)] == [
            "6,000 sat of ours were spent by a transaction that is not ours."
        ]
    assert books.open_ledger(database) == 0
    with database.transaction() as session:
        session.execute(dropped("transfers_kept", "transfers"))
        session.execute(text("DELETE FROM transfers"))
    assert books.open_ledger(database) == 0, "a ledger that was emptied by hand is not opened anew"
    with database.reading() as session:
        assert len(checking.check_books(session)) > 1


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
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
        step += 1 if died < 4 else 13
    fresh = f"sqlite:///{tmp_path / 'fresh.sqlite'}"
    Database(fresh).upgrade()
    assert died > 8 and tables_of(url) == tables_of(fresh) and contents(database) == before


def tables_of(url: str) -> set[tuple[str, str]]:
    """All tables, indices and triggers, by a connection of one's own."""
    made = Database(url)
    with made.reading() as session:
        rows = session.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
        found = {(name, sql) for name, sql in rows}
    made.close()
    return found


def test_rows_edited_by_hand_are_refused(database: Database) -> None:
    """What the triggers keep, they keep from somebody at a prompt of the database, too."""
    database.upgrade()
    books.open_ledger(database)
    for edit in (
        "UPDATE coins SET value_sats = 1",
        "UPDATE pledges SET refund_script = x'aa'",
        "UPDATE transfers SET amount_sats = 1",
        "DELETE FROM coins",
        "DELETE FROM pledges",
        "UPDATE campaigns SET next_index = 0",
    ):
        with pytest.raises(IntegrityError), database.engine.begin() as connection:
            connection.exec_driver_sql(spoken(database, edit))


def test_an_empty_refund_script_is_filled_in_once(database: Database) -> None:
    """As of a coin found after a restore: nobody knew whose it is."""
    database.upgrade()
    fill = spoken(database, "UPDATE pledges SET refund_script = x'aa', refund_address = 'r' WHERE id = 'unknown'")
    with database.transaction() as session:
        session.execute(
            text(
                spoken(
                    database,
                    """INSERT INTO pledges (id, campaign_id, "index", amount_sats, refund_address, refund_script, name,
                       message, created_at, registered)
                       VALUES ('unknown', 'c', 9, 9, '', x'', '', '', '2026-01-01 00:00:00', TRUE)""",
                )
            )
        )
        session.execute(text(fill))
    for edit in (fill.replace("aa", "bb"), "UPDATE pledges SET amount_sats = 8 WHERE id = 'unknown'"):
        with pytest.raises(IntegrityError, match="cannot change"), database.transaction() as session:
            session.execute(text(edit))


def test_the_ledger_of_an_empty_database_is_open_from_the_start(tmp_path: Path) -> None:
    fresh = Database(f"sqlite:///{tmp_path / 'fresh.sqlite'}")
    fresh.upgrade()
    assert books.open_ledger(fresh) == 0
    fresh.close()


def test_an_empty_database_goes_the_same_way(kind: str, tmp_path: Path, database: Database) -> None:
    def schema(of: Database) -> set[tuple[str, str]]:
        with of.reading() as session:
            return {(name, sql) for name, sql in session.execute(text(SCHEMA[kind]))}

    database.upgrade()
    with empty(kind, tmp_path / "fresh.sqlite") as url:
        fresh = Database(url)
        fresh.upgrade()
        assert len(schema(database)) > 60 and schema(fresh) == schema(database)
        fresh.close()


def test_plans_become_the_first_rungs_of_their_ladders(database: Database) -> None:
    migrate(database, "0002")
    with database.transaction() as session:
        for statement in PLANNED:
            session.execute(text(spoken(database, statement)))
    database.upgrade()
    with database.reading() as session:
        first, second = session.scalars(select(BatchRow).order_by(BatchRow.id)).all()
        assert (first.kind, first.parent_id, [i.coin_id for i in first.inputs]) == ("refund", None, [1])
        (sent,), (waiting,) = first.attempts, second.attempts
        assert (sent.txid, sent.number, sent.fee_sats, sent.feerate_sat_vb, sent.locktime) == ("a1", 1, 100, 1, 20)
        assert (sent.sealed, sent.raw, sent.sent_at, sent.sent_height) == (
            True, b"\n", datetime(2026, 2, 2, tzinfo=UTC), 30,
        )  # fmt: skip
        assert (waiting.sealed, waiting.raw, waiting.sent_at, waiting.sent_height) == (True, None, None, None)
        assert [(o.script, o.value_sats, o.index) for o in waiting.outputs] == [(b"\0", 6_800, 0)]
    assert not [name for name in inspect(database.engine).get_table_names() if name.startswith("old")]
    assert sound(database.engine.url.render_as_string(hide_password=False))
    with pytest.raises(IntegrityError, match="cannot change"), database.transaction() as session:
        session.execute(text("UPDATE attempts SET fee_sats = 99"))
    with database.transaction() as session:
        session.execute(text(spoken(database, "UPDATE attempts SET raw = x'0b' WHERE txid = 'a2'")))


def test_campaigns_of_before_are_adopted_by_projects(database: Database) -> None:
    """One for each creator and address; what is published is adopted, too, and keeps its terms and its hash."""
    migrate(database, "0008")
    more = [
        "INSERT INTO creators VALUES (2, 'bob', 'bob', 'x', '2026-01-01 00:00:00')",
        "INSERT INTO accounts (\"index\", xpub, fingerprint) VALUES (0, 'x', 'f')",
        *(
            f"""INSERT INTO campaigns (id, creator_id, title, summary, story, goal_sats, deadline_at, payout_address,
                project_url, license, created_at, next_index)
                VALUES ('{name}', {creator}, 't', 's', 's', 5, '2026-02-01 00:00:00', 'a', '{url}', '{license_}',
                '2026-01-01 00:00:00', 0)"""
            for name, creator, url, license_ in (
                ("d1", 1, "https://example.org/seed-drill", "CERN-OHL-S-2.0"),
                ("d2", 1, "https://example.org/seed-drill", "MIT"),
                ("d3", 1, "https://example.org/", "CC-BY-SA-4.0"),
                ("d4", 2, "https://example.org/seed-drill", "ODbL-1.0"),
            )
        ),
        """UPDATE campaigns SET terms = 'the terms', terms_hash = 'h', account_index = 0, descriptor = 'd',
           published_at = '2026-01-01 00:00:00' WHERE id = 'd1'""",
    ]
    with database.transaction() as session:
        for statement in more:
            session.execute(text(statement))
    database.upgrade()
    with database.reading() as session:
        rows = session.execute(
            text(
                """SELECT c.id, p.slug, p.kind, p.site_url, m.creator_id, m.role FROM campaigns c
                   JOIN projects p ON p.id = c.project_id JOIN project_members m ON m.project_id = p.id ORDER BY c.id"""
            )
        ).all()
        assert [tuple(row) for row in rows] == [
            ("c", "u", "software", "u", 1, "owner"),
            ("d1", "seed-drill", "hardware", "https://example.org/seed-drill", 1, "owner"),
            ("d2", "seed-drill", "hardware", "https://example.org/seed-drill", 1, "owner"),
            ("d3", "example-org", "culture", "https://example.org/", 1, "owner"),
            ("d4", "seed-drill-2", "data", "https://example.org/seed-drill", 2, "owner"),
        ]
        kept = session.execute(text("SELECT terms, terms_hash, details FROM campaigns WHERE id = 'd1'")).one()
        assert tuple(kept) == ("the terms", "h", "")
    for edit in (
        "UPDATE campaigns SET project_id = NULL WHERE id = 'd2'",
        "UPDATE campaigns SET details = 'x' WHERE id = 'd1'",
    ):
        with pytest.raises(IntegrityError), database.transaction() as session:
            session.execute(text(edit))


def test_addresses_of_before_go_on_in_english(database: Database) -> None:
    migrate(database, "0021")
    given = "INSERT INTO subscriptions (id, email, about, creator_id, key, asked_at) VALUES"
    with database.transaction() as session:
        session.execute(text(f"{given} (1, 'alice@example.org', 'creator:1', 1, 'k', '2026-01-01 00:00:00')"))
    database.upgrade()
    with database.reading() as session:
        assert session.scalars(text("SELECT language FROM subscriptions")).all() == ["en"]
