"""The checks of the ledger: any single change by hand is found, halts settlement, and is let go once it is mended."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from crowdfund.campaigns import checking, halts, settling
from crowdfund.campaigns.checks import (
    Breach,
    HeldCoin,
    Link,
    LyingCoin,
    balance_breaches,
    place_breaches,
    received_breaches,
    theft_breaches,
    unspent_breaches,
)
from crowdfund.chain.follow import FoundSpend
from crowdfund.chain.port import UnspentCoin
from crowdfund.db import Database
from support.paper import Paper, coin

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TABLES = ("transfers", "balances", "coins", "decisions", "batch_inputs", "batch_outputs", "batches")

# What somebody with the file in his hands could do. Triggers and foreign keys are out of the way.
TAMPERED = {
    "an amount": "UPDATE transfers SET amount_sats = amount_sats + 1 WHERE id = 2",
    "an account": "UPDATE transfers SET to_account = 'late' WHERE id = 2",
    "where it came from": "UPDATE transfers SET from_account = 'dust' WHERE id = 4",
    "a coin": "UPDATE transfers SET coin_id = 2 WHERE id = 1",
    "a campaign": "UPDATE transfers SET campaign_id = (SELECT max(id) FROM campaigns WHERE id <> campaign_id)",
    "a key": "UPDATE transfers SET key = 'x' WHERE id = 1",
    "words": "UPDATE transfers SET what = 'x' WHERE id = 1",
    "a height": "UPDATE transfers SET height = 1 WHERE id = 1",
    "a block": "UPDATE transfers SET block_hash = 'x' WHERE id = 1",
    "a time": "UPDATE transfers SET at = '2020-01-01 00:00:00' WHERE id = 1",
    "what it reverses": "UPDATE transfers SET reverses = 1 WHERE id = 3",
    "a hash": f"UPDATE transfers SET hash = '{'a' * 64}' WHERE id = 2",
    "the hash before": f"UPDATE transfers SET prev_hash = '{'a' * 64}' WHERE id = 2",
    "the first gone": "DELETE FROM transfers WHERE id = 1",
    "one in the midst gone": "DELETE FROM transfers WHERE id = 3",
    "the last gone": "DELETE FROM transfers WHERE id = (SELECT max(id) FROM transfers)",
    "all gone": "DELETE FROM transfers",
    "a balance": "UPDATE balances SET sats = sats + 1 WHERE account = 'in_settlement'",
    "a balance of outside": "UPDATE balances SET sats = sats + 1 WHERE account = 'outside'",
    "an account's name": "UPDATE balances SET account = 'unclaimed' WHERE account = 'in_settlement'",
    "a balance gone": "DELETE FROM balances WHERE account = 'in_settlement'",
    "a coin's value": "UPDATE coins SET value_sats = value_sats - 1 WHERE id = 1",
    "a coin out of its block": "UPDATE coins SET height = NULL, block_hash = NULL WHERE id = 1",
    "a coin spent": "UPDATE coins SET spent_by = 'x', spent_height = 161 WHERE id = 1",
    "a coin moved to after the end": "UPDATE coins SET height = 165 WHERE id = 4",
    "a plan forgotten": "DELETE FROM batch_inputs WHERE coin_id = 1",
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with one decided campaign (coins 1 to 3: two planned, one dust) and an open one (coin 4)."""
    folder = tmp_path_factory.mktemp("paper")
    with Paper(folder) as paper:
        decided, still_open = paper.campaign(), paper.campaign(deadline_at=datetime(2026, 12, 1, tzinfo=UTC))
        pledge, other = paper.pledge(decided), paper.pledge(still_open)
        found = [coin(pledge, 60_000, "a"), coin(pledge, 40_000, "b"), coin(pledge, 999, "c"), coin(other, 5_000, "d")]
        paper.mine(found)
        paper.mine(blocks=161 - paper.tip)
        with paper.database.transaction() as session:
            assert settling.decide_campaign(session, decided, 2)
        paper.summary(decided)
        path = Path(str(paper.database.engine.url.database))
        with paper.database.engine.connect() as connection:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.exec_driver_sql("BEGIN")
    return path


@pytest.fixture
def database(original: Path, tmp_path: Path) -> Iterator[Database]:
    shutil.copy(original, tmp_path / "copy.sqlite")
    made = Database(f"sqlite:///{tmp_path / 'copy.sqlite'}")
    yield made
    made.close()


def breaches(database: Database) -> list[Breach]:
    with database.reading() as session:
        return checking.check_books(session)


def tamper(database: Database, statement: str) -> None:
    with database.engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        triggers = connection.exec_driver_sql(
            f"SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN {TABLES}"
        )
        for (name,) in triggers.all():
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        assert connection.exec_driver_sql(statement).rowcount > 0, "it changes something"
        connection.commit()
        connection.invalidate()


def test_without_a_change_all_holds(database: Database) -> None:
    assert breaches(database) == []
    checking.Checker(database).halt([])
    with database.reading() as session:
        assert halts.open_halts(session) == []


@pytest.mark.parametrize("statement", TAMPERED.values(), ids=TAMPERED.keys())
def test_a_change_by_hand_is_found_and_halts(statement: str, database: Database) -> None:
    tamper(database, statement)
    found = breaches(database)
    assert found and all(breach.halts and breach.sentence.endswith(".") for breach in found)
    checker = checking.Checker(database)
    checker.halt(found)
    checker.halt(found)
    lasting = checker.lasting()
    assert {halt.campaign_id for halt in lasting} == {breach.campaign_id for breach in found}
    assert len(lasting) == len({halt.campaign_id for halt in lasting}), "each is put on record once"
    assert all("is halted until" in halts.sentence(halt) for halt in lasting)


def test_a_halt_of_one_campaign_leaves_the_others_alone(database: Database) -> None:
    with database.transaction() as session:
        one, other = sorted(session.scalars(text("SELECT id FROM campaigns")))
        assert (
            halts.begin(session, [Breach(one, "Its sums are wrong."), Breach(other, "It waits.", halts=False)], NOW)
            == 1
        )
        assert halts.stopping(session, other) is None
        halt = halts.stopping(session, one)
        assert halt is not None and one in halts.sentence(halt)
        assert halts.begin(session, [Breach(None, "A theft.")], NOW) == 1
        assert [each.campaign_id for each in halts.open_halts(session)] == [None, one]
        assert halts.stopping(session, other) is not None
        assert halts.end_all(session, "mended", NOW) == 2
        assert halts.stopping(session, one) is None and halts.end_all(session, "again", NOW) == 0


def test_hashes_are_followed_from_where_they_were_left(database: Database) -> None:
    with database.reading() as session:
        half, found = checking.check_hashes(session, Link())
        assert not found and checking.check_hashes(session, half) == (half, [])
        assert checking.moved_since(session, half.id) == []
        assert len(checking.moved_since(session, 0)) == 2
        wrong = Link(1, "a" * 64)
        assert [b.sentence for b in checking.check_hashes(session, wrong)[1]] == [
            "Transfer 2 does not hang on the one before it."
        ]


def test_the_chain_must_hold_what_the_ledger_has_at_addresses(database: Database) -> None:
    with database.reading() as session:
        scripts = checking.issued_scripts(session)
        rows = session.execute(
            text("SELECT txid, vout, value_sats, p.script, height FROM coins c JOIN pledges p ON p.id = c.pledge_id")
        ).all()
        there = [UnspentCoin(r.txid, r.vout, r.value_sats, r.script, False, r.height) for r in rows]
        assert checking.check_unspent(session, scripts, there) == []
        less = checking.check_unspent(session, scripts, there[1:])
        assert len(less) == 1 and less[0].halts and "not among" in less[0].sentence
        more = checking.check_unspent(session, scripts, [*there, UnspentCoin("f" * 64, 0, 5, rows[0].script, False, 9)])
        assert len(more) == 1 and not more[0].halts, "it is taken in before anything is decided"


def test_sentences_name_the_difference() -> None:
    assert [b.sentence for b in balance_breaches("c", {"late": 5, "dust": -2}, {"late": 4, "dust": -2})] == [
        "Account dust has given 2 sat more than it was given.",
        "The balance of late is 5 sat; its transfers sum to 4 sat.",
        "All entries sum to 2 sat instead of nothing.",
    ]
    (moved,) = place_breaches("c", [HeldCoin("a:0", {"late": 5}, {}), HeldCoin("b:0", {"late": 5}, {"late": 5})])
    assert moved.sentence == "The ledger has a:0 in outside; by the rules it is in late (5 sat)."
    lying = LyingCoin("a", 0, 5, 7)
    assert [b.sentence for b in unspent_breaches("c", {"late": 4, "paid_out": 9}, [lying], [lying])] == [
        "The ledger has 4 sat at the addresses; the unspent coins hold 5 sat."
    ]


def test_what_only_one_side_knows_is_a_difference_and_the_order_is_always_the_same() -> None:
    assert [b.sentence for b in balance_breaches("c", {"late": 5, "outside": -5}, {"dust": 5, "outside": -5})] == [
        "The balance of dust is 0 sat; its transfers sum to 5 sat.",
        "The balance of late is 5 sat; its transfers sum to 0 sat.",
    ]
    assert [b.sentence for b in balance_breaches("c", {"late": -1, "dust": 1}, {"late": -1, "dust": 1})] == [
        "Account late has given 1 sat more than it was given."
    ]
    names = [f"account {n}" for n in range(9)]
    told = balance_breaches("c", dict.fromkeys(reversed(names), 1), {})
    assert (
        [name for name in names for b in told if f"of {name} is" in b.sentence]
        == names
        == [b.sentence.split(" is ")[0].removeprefix("The balance of ") for b in told]
    )
    (moved,) = place_breaches("c", [HeldCoin("a:0", {"late": 1, "dust": 2}, {"counted": 3})])
    assert (
        moved.sentence == "The ledger has a:0 in counted (3 sat); by the rules it is in dust (2 sat) and late (1 sat)."
    )


def test_coins_are_named_in_the_order_of_their_outpoints() -> None:
    lying = [LyingCoin(txid, vout, 5, 7) for txid in "abc" for vout in range(3)]
    missing = unspent_breaches("c", {"late": 45}, lying, [])
    unknown = unspent_breaches("c", {}, [], lying)
    for told, halts_all in ((missing, True), (unknown, False)):
        assert [b.sentence.split()[0] for b in told] == [f"{c.txid}:{c.vout}" for c in lying]
        assert all(b.halts is halts_all for b in told)


def test_what_came_in_is_what_blocks_hold() -> None:
    assert received_breaches("c", {}, 0) == received_breaches("c", {"outside": -5, "late": 5}, 5) == []
    assert received_breaches("c", {}, 1) == [
        Breach("c", "By the ledger 0 sat came in; the coins in blocks hold 1 sat.")
    ]


def test_without_a_theft_there_is_no_alarm() -> None:
    assert theft_breaches({}) == theft_breaches({"foreign_spend": 0, "late": 5}) == []
    assert theft_breaches({"foreign_spend": 7}, 7) == []
    (left,) = theft_breaches({"foreign_spend": 7}, 3)
    assert left.campaign_id is None and left.sentence.startswith("4 sat of ours")
    assert theft_breaches({"foreign_spend": 1}) == [
        Breach(None, "1 sat of ours were spent by a transaction that is not ours.")
    ]


def test_a_theft_concerns_all_until_a_reorganisation_undoes_it(tmp_path: Path) -> None:
    with Paper(tmp_path) as paper:
        paid = coin(paper.pledge(paper.campaign()), 5_000)
        paper.mine([paid])
        paper.mine([], [FoundSpend(paid.txid, 0, "stranger")])
        assert breaches(paper.database) == [
            Breach(None, "5,000 sat of ours were spent by a transaction that is not ours.")
        ]
        paper.fork(1)
        assert breaches(paper.database) == []
