"""What the tables themselves refuse: every trigger and every check, by plain SQL as a bug or an intruder would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from crowdfund.campaigns.models import (
    Account,
    Attempt,
    BatchInput,
    BatchOutput,
    BatchRow,
    Block,
    Campaign,
    ChainView,
    Coin,
    Creator,
    DecisionRow,
    Incident,
    IncidentCoin,
    PaymentInput,
    Pledge,
    RivalRow,
)
from crowdfund.db import Base, Database
from crowdfund.wallet.amounts import MAX_MONEY_SATS
from support.postgres import DATABASES, database_of, on_postgresql, spoken

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def campaign(name: str, number: int, published: bool = True) -> Campaign:
    return Campaign(
        id=name, creator_id=1, title="t", summary="s", story="s", goal_sats=5, deadline_at=NOW, payout_address="a",
        project_url="u", license="MIT", created_at=NOW, next_index=3, terms=f"terms {name}" if published else None,
        terms_hash=name if published else None, account_index=number if published else None,
        descriptor=name if published else None, published_at=NOW if published else None,
    )  # fmt: skip


def pledge(name: str, campaign_id: str, index: int, shown: bool = True) -> Pledge:
    return Pledge(
        id=name, campaign_id=campaign_id, index=index, address=name if shown else None,
        script=name.encode() if shown else None, amount_sats=10_000, refund_address="r", refund_script=b"r",
        name="", message="", created_at=NOW,
    )  # fmt: skip


def coin(number: int, pledge_id: str) -> Coin:
    return Coin(
        id=number, pledge_id=pledge_id, txid=f"t{number}", vout=0, value_sats=10_000, coinbase=False,
        first_seen_at=NOW, in_mempool=False, height=5, block_hash="h",
    )  # fmt: skip


def fill(session: Session) -> None:
    """Two campaigns: `won` is funded and settled, `lost` has failed; a draft beside them."""
    session.add(Creator(id=1, name="alice", key="alice", password_hash="x", created_at=NOW))
    session.add_all(Account(index=n, xpub=f"x{n}", fingerprint="f") for n in range(4))
    session.flush()
    session.add_all([campaign("won", 0), campaign("lost", 1), campaign("open", 2), campaign("draft", 3, False)])
    session.flush()
    session.add_all([pledge("p1", "won", 0), pledge("p2", "lost", 0), pledge("p3", "won", 1, False)])
    session.flush()
    session.add_all([coin(1, "p1"), coin(2, "p2"), coin(3, "p1"), coin(4, "p2")])
    session.add(Block(height=5, hash="h", prev_hash="g", time=1, median_time_past=1))
    session.add(ChainView(id=1, state="live", trouble="", feerate_sat_vb=1, changes=0, seen_at=NOW))
    for name, outcome in (("won", "funded"), ("lost", "failed")):
        session.add(
            DecisionRow(
                campaign_id=name, outcome=outcome, counted_sats=1, closing_height=5, closing_hash="h", decided_height=5
            )
        )
    session.flush()
    session.add(BatchRow(id=1, campaign_id="won", kind="release", fee_sats=100, feerate_sat_vb=1, locktime=5))
    session.flush()
    session.add(BatchInput(coin_id=1, batch_id=1, position=0))
    session.add(BatchOutput(batch_id=1, position=0, script=b"p", value_sats=9_900, index=None))
    session.flush()
    session.add(Attempt(txid="a1", batch_id=1, number=1, raw=b"raw", sent_at=NOW))
    session.add(PaymentInput(txid="t1", prev_txid="x", prev_vout=0))
    session.add(RivalRow(txid="t9", by="t1", height=None))
    for number, ended_at in ((1, NOW), (2, None)):
        session.add(
            Incident(id=number, kind="disagreement", height=5, depth=1, began_at=NOW, ended_at=ended_at,
                     campaign_id="open")
        )  # fmt: skip
    session.flush()
    session.add(IncidentCoin(incident_id=1, coin_id=1))


@contextmanager
def filled(url: str) -> Iterator[Database]:
    made = Database(url)
    made.upgrade()
    with made.transaction() as session:
        fill(session)
    if on_postgresql(made):
        run(made, *(f"SELECT setval('{table}_id_seq', 100)" for table in NUMBERED))
    yield made
    made.close()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with filled(database_url) as made:
        yield made


@pytest.fixture(scope="module", params=DATABASES)
def unmoved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One for all tests in which nothing may change."""
    with database_of(request.param, tmp_path_factory.mktemp("unmoved")) as url, filled(url) as made:
        yield made


def run(database: Database, *statements: str) -> None:
    with database.transaction() as session:
        for statement in statements:
            session.execute(text(spoken(database, statement)))


BATCH = "INSERT INTO batches (id, campaign_id, kind, fee_sats, feerate_sat_vb, locktime) VALUES"
INPUT = "INSERT INTO batch_inputs (coin_id, batch_id, position) VALUES"
OUTPUT = 'INSERT INTO batch_outputs (batch_id, position, script, value_sats, "index") VALUES'
ATTEMPT = "INSERT INTO attempts (txid, batch_id, number) VALUES"
COIN = (
    "INSERT INTO coins (pledge_id, txid, vout, value_sats, coinbase, first_seen_at, in_mempool, height, block_hash,"
    " spent_by, spent_height) VALUES"
)
ENTRY = "INSERT INTO coin_entries (coin_id, value_sats, height, block_hash) VALUES"
INCIDENT = "INSERT INTO incidents (kind, height, depth, began_at) VALUES"

REFUSED = {
    # published terms
    "terms": "UPDATE campaigns SET terms = 'other' WHERE id = 'won'",
    "terms away": "UPDATE campaigns SET terms = NULL, terms_hash = NULL WHERE id = 'won'",
    "terms hash": "UPDATE campaigns SET terms_hash = 'other' WHERE id = 'won'",
    "story": "UPDATE campaigns SET story = 'other' WHERE id = 'won'",
    "account": "UPDATE campaigns SET account_index = 3 WHERE id = 'won'",
    "descriptor": "UPDATE campaigns SET descriptor = 'other' WHERE id = 'won'",
    "published": "UPDATE campaigns SET published_at = NULL WHERE id = 'won'",
    "index back": "UPDATE campaigns SET next_index = 2 WHERE id = 'won'",
    "index back in a draft": "UPDATE campaigns SET next_index = next_index - 1 WHERE id = 'draft'",
    "index below zero": "UPDATE campaigns SET next_index = -1 WHERE id = 'draft'",
    "an account twice": "UPDATE campaigns SET account_index = 0 WHERE id = 'draft'",
    "an account that is none": "UPDATE campaigns SET account_index = 99 WHERE id = 'draft'",
    "the same terms twice": "UPDATE campaigns SET terms = 'x', terms_hash = 'won' WHERE id = 'draft'",
    "no goal": "UPDATE campaigns SET goal_sats = 0 WHERE id = 'draft'",
    "goal above all money": f"UPDATE campaigns SET goal_sats = {MAX_MONEY_SATS + 1} WHERE id = 'draft'",
    # pledges
    "address": "UPDATE pledges SET address = 'other' WHERE id = 'p1'",
    "address away": "UPDATE pledges SET address = NULL, script = NULL WHERE id = 'p1'",
    "script": "UPDATE pledges SET script = x'00' WHERE id = 'p1'",
    "refund script": "UPDATE pledges SET refund_script = x'00' WHERE id = 'p1'",
    "refund script of an unshown pledge": "UPDATE pledges SET refund_script = x'00' WHERE id = 'p3'",
    "refund address": "UPDATE pledges SET refund_address = 'other' WHERE id = 'p1'",
    "pledge index": "UPDATE pledges SET \"index\" = 9 WHERE id = 'p1'",
    "pledge amount": "UPDATE pledges SET amount_sats = 1 WHERE id = 'p1'",
    "pledge moved": "UPDATE pledges SET campaign_id = 'lost' WHERE id = 'p1'",
    "pledge id": "UPDATE pledges SET id = 'other' WHERE id = 'p3'",
    "an address twice": "UPDATE pledges SET address = 'p1', script = x'01' WHERE id = 'p3'",
    "a script twice": "UPDATE pledges SET address = 'x', script = CAST('p1' AS BLOB) WHERE id = 'p3'",
    # coins
    "coin value": "UPDATE coins SET value_sats = 1 WHERE id = 1",
    "coin txid": "UPDATE coins SET txid = 'other' WHERE id = 1",
    "coin vout": "UPDATE coins SET vout = 1 WHERE id = 1",
    "coin pledge": "UPDATE coins SET pledge_id = 'p2' WHERE id = 1",
    "coin coinbase": "UPDATE coins SET coinbase = TRUE WHERE id = 1",
    "an outpoint twice": f"{COIN} ('p1', 't1', 0, 5, FALSE, '2026-01-01', FALSE, NULL, NULL, NULL, NULL)",
    "a coin of nobody": f"{COIN} ('p9', 't9', 0, 5, FALSE, '2026-01-01', FALSE, NULL, NULL, NULL, NULL)",
    "a negative coin": f"{COIN} ('p1', 't9', 0, -1, FALSE, '2026-01-01', FALSE, NULL, NULL, NULL, NULL)",
    "too much money": f"{COIN} "
    f"('p1', 't9', 0, {MAX_MONEY_SATS + 1}, FALSE, '2026-01-01', FALSE, NULL, NULL, NULL, NULL)",
    "a height without a hash": "UPDATE coins SET block_hash = NULL WHERE id = 1",
    "a hash without a height": "UPDATE coins SET height = NULL WHERE id = 1",
    "a spender without height": "UPDATE coins SET spent_by = 'x' WHERE id = 1",
    "in a block and in the mempool": "UPDATE coins SET in_mempool = TRUE WHERE id = 1",
    # decisions and plans
    "outcome": "UPDATE decisions SET outcome = 'failed' WHERE campaign_id = 'won'",
    "counted": "UPDATE decisions SET counted_sats = 2 WHERE campaign_id = 'won'",
    "closing": "UPDATE decisions SET closing_height = 6 WHERE campaign_id = 'won'",
    "closing hash": "UPDATE decisions SET closing_hash = 'x' WHERE campaign_id = 'won'",
    "decision moved": "UPDATE decisions SET campaign_id = 'open' WHERE campaign_id = 'won'",
    "a second decision": "INSERT INTO decisions VALUES ('won', 'failed', 1, 5, 'h', 5)",
    "an unknown outcome": "INSERT INTO decisions VALUES ('open', 'maybe', 1, 5, 'h', 5)",
    "release of a failed campaign": f"{BATCH} (2, 'lost', 'release', 1, 1, 5)",
    "release of an undecided campaign": f"{BATCH} (2, 'open', 'release', 1, 1, 5)",
    "refund of an undecided campaign": f"{BATCH} (2, 'open', 'refund', 1, 1, 5)",
    "an unknown kind": f"{BATCH} (2, 'won', 'gift', 1, 1, 5)",
    "a batch without fee": f"{BATCH} (2, 'won', 'release', 0, 1, 5)",
    "batch kind": "UPDATE batches SET kind = 'refund' WHERE id = 1",
    "batch fee": "UPDATE batches SET fee_sats = 101 WHERE id = 1",
    "batch locktime": "UPDATE batches SET locktime = 6 WHERE id = 1",
    "batch feerate": "UPDATE batches SET feerate_sat_vb = 6 WHERE id = 1",
    "batch moved": "UPDATE batches SET campaign_id = 'lost' WHERE id = 1",
    "a coin in two batches": f"{INPUT} (1, 1, 1)",
    "a foreign campaign's coin": f"{INPUT} (2, 1, 1)",
    "an input moved": "UPDATE batch_inputs SET position = 5 WHERE coin_id = 1",
    "an input exchanged": "UPDATE batch_inputs SET coin_id = 3 WHERE coin_id = 1",
    "an output's value": "UPDATE batch_outputs SET value_sats = 1 WHERE batch_id = 1",
    "an output's script": "UPDATE batch_outputs SET script = x'00' WHERE batch_id = 1",
    "an output of nothing": f"{OUTPUT} (1, 1, x'00', 0, NULL)",
    # attempts
    "raw bytes": "UPDATE attempts SET raw = x'00' WHERE txid = 'a1'",
    "raw bytes away": "UPDATE attempts SET raw = NULL WHERE txid = 'a1'",
    "sent at": "UPDATE attempts SET sent_at = NULL WHERE txid = 'a1'",
    "txid": "UPDATE attempts SET txid = 'x' WHERE txid = 'a1'",
    "attempt moved": "UPDATE attempts SET number = 2 WHERE txid = 'a1'",
    "sent before signed": (
        "INSERT INTO attempts (txid, batch_id, number, sent_at) VALUES ('a2', 1, 2, '2026-01-01 00:00:00')"
    ),
    "a number twice": f"{ATTEMPT} ('a2', 1, 1)",
    "two chain views": (
        "INSERT INTO chain_view (id, state, trouble, feerate_sat_vb, changes, seen_at)"
        " VALUES (2, 'x', '', 1, 0, '2026-01-01 00:00:00')"
    ),
    # what the chain did
    "a watched script": "UPDATE watched_scripts SET script = x'00' WHERE id = 1",
    "a watched script's place": "UPDATE watched_scripts SET id = 99 WHERE id = 1",
    "a script watched twice": "INSERT INTO watched_scripts (script) VALUES (CAST('p1' AS BLOB))",
    "what a payment spends": "UPDATE payment_inputs SET prev_vout = 1",
    "an input twice": "INSERT INTO payment_inputs (txid, prev_txid, prev_vout) VALUES ('t1', 'x', 0)",
    "an entry's value": "UPDATE coin_entries SET value_sats = 1 WHERE coin_id = 1",
    "an entry's block": "UPDATE coin_entries SET block_hash = 'x' WHERE coin_id = 1",
    "an entry of nothing": f"{ENTRY} (1, 0, 5, 'h')",
    "an entry of no coin": f"{ENTRY} (99, 1, 5, 'h')",
    "a rival of itself": "INSERT INTO rivals (txid, by) VALUES ('t8', 't8')",
    "two rivals": "INSERT INTO rivals (txid, by) VALUES ('t9', 't8')",
    "an incident of another kind": f"{INCIDENT} ('rumour', 5, 1, '2026-01-01 00:00:00')",
    "an incident without depth": f"{INCIDENT} ('reorganisation', 5, 0, '2026-01-01 00:00:00')",
    "an incident's kind": "UPDATE incidents SET kind = 'reorganisation' WHERE id = 2",
    "an incident's height": "UPDATE incidents SET height = 6 WHERE id = 2",
    "an incident's depth": "UPDATE incidents SET depth = 6 WHERE id = 2",
    "an incident's beginning": "UPDATE incidents SET began_at = '2020-01-01 00:00:00' WHERE id = 2",
    "an incident's campaign": "UPDATE incidents SET campaign_id = NULL WHERE id = 2",
    "an incident's end": "UPDATE incidents SET ended_at = '2030-01-01 00:00:00' WHERE id = 1",
    "an incident's end away": "UPDATE incidents SET ended_at = NULL WHERE id = 1",
    "an incident's coin": "UPDATE incident_coins SET coin_id = 2",
    "a watched script replaced": "INSERT OR REPLACE INTO watched_scripts VALUES (1, x'00')",
    "an entry replaced": "INSERT OR REPLACE INTO coin_entries VALUES (1, 1, 1, 1, 'x')",
    "an input replaced": "INSERT OR REPLACE INTO payment_inputs VALUES (1, 't1', 'x', 5)",
    "an incident replaced": (
        "INSERT OR REPLACE INTO incidents VALUES (1, 'disagreement', 6, 1, '2026-01-01 00:00:00', NULL, NULL)"
    ),
}
NUMBERED = ("creators", "coins", "batches", "watched_scripts", "payment_inputs", "coin_entries", "incidents")
KEPT = (
    "campaigns", "pledges", "coins", "decisions", "batches", "batch_inputs", "batch_outputs", "attempts",
    "watched_scripts", "payment_inputs", "coin_entries", "incidents", "incident_coins",
)  # fmt: skip


@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED.keys())
def test_what_must_not_change_does_not(statement: str, unmoved: Database) -> None:
    before = dump(unmoved)
    with pytest.raises(IntegrityError):
        run(unmoved, statement)
    assert dump(unmoved) == before


@pytest.mark.parametrize("table", KEPT)
def test_rows_are_kept_for_ever(table: str, database: Database) -> None:
    if on_postgresql(database):
        with pytest.raises(IntegrityError, match="kept for ever"):
            run(database, f"TRUNCATE {table} CASCADE")
    else:
        run(database, "PRAGMA foreign_keys = OFF")
    with pytest.raises(IntegrityError, match="kept for ever"):
        run(database, f"DELETE FROM {table}")


@pytest.mark.parametrize("fee", [99, 101])
def test_an_unbalanced_batch_gets_no_attempt(fee: int, database: Database) -> None:
    with pytest.raises(IntegrityError, match="inputs_are_outputs_plus_fee"):
        run(
            database,
            f"{BATCH} (2, 'lost', 'refund', {fee}, 1, 5)",
            f"{INPUT} (2, 2, 0)",
            f"{OUTPUT} (2, 0, x'00', 9900, 0)",
            f"{ATTEMPT} ('a2', 2, 1)",
        )


def test_a_batch_without_inputs_or_without_outputs_gets_no_attempt(database: Database) -> None:
    for part in (f"{INPUT} (2, 2, 0)", f"{OUTPUT} (2, 0, x'00', 9900, 0)"):
        with pytest.raises(IntegrityError, match="inputs_are_outputs_plus_fee"):
            run(database, f"{BATCH} (2, 'lost', 'refund', 100, 1, 5)", part, f"{ATTEMPT} ('a2', 2, 1)")


ALLOWED = [
    "UPDATE campaigns SET next_index = 4 WHERE id = 'won'",
    "UPDATE campaigns SET title = 'x', terms = 't', terms_hash = 'h', account_index = 3 WHERE id = 'draft'",
    "UPDATE pledges SET address = 'x', script = x'01' WHERE id = 'p3'",
    "UPDATE pledges SET registered = TRUE",
    "UPDATE coins SET height = NULL, block_hash = NULL, in_mempool = TRUE WHERE id = 1",
    "UPDATE coins SET spent_by = 'x', spent_height = 7 WHERE id = 1",
    "UPDATE attempts SET refusal = 'no'",
    "DELETE FROM blocks",
    "DELETE FROM rivals",
    "UPDATE rivals SET by = 't8', height = 9",
    "UPDATE incidents SET ended_at = '2026-11-22 13:00:00' WHERE id = 2",
    f"{BATCH} (2, 'lost', 'refund', 1, 1, 5)",
    f"{BATCH} (2, 'won', 'refund', 1, 1, 5)",
]


@pytest.mark.parametrize("statement", ALLOWED)
def test_what_the_work_needs_is_allowed(statement: str, database: Database) -> None:
    run(database, statement)


def dump(database: Database) -> dict[str, list[str]]:
    """Every row of every table."""
    with database.reading() as session:
        tables = Base.metadata.sorted_tables
        return {table.name: sorted(repr(tuple(row)) for row in session.execute(select(table))) for table in tables}
