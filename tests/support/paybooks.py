"""The database as the judge of settlements reads it: plain rows, over a connection of its own.

All that is known here of tables and columns is known in this file only.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from crowdfund.campaigns import queries
from crowdfund.db import Database
from support.model import Outpoint, Verdict

Row = tuple[Any, ...]

# Rows that never change: None stands for all columns, else those that may change are named. A column that is NULL may
# be filled once.
FOREVER: dict[str, tuple[str, ...]] = {
    "decisions": (),
    "endings": (),
    "counted_coins": (),
    "timelocked_refunds": (),
    "batches": (),
    "batch_inputs": (),
    "batch_outputs": (),
    "attempts": ("sealed", "refusal"),
    "attempt_outputs": (),
    "pledges": ("registered", "receipt_due"),
    "coins": ("in_mempool", "height", "block_hash", "spent_by", "spent_height"),
    "coin_entries": (),
    "payment_inputs": (),
    "watched_scripts": (),
    "accounts": (),
    "transfers": (),
    "receipts": (),
}
SPENT_BUCKETS = ("paid_out", "refunded", "miner_fee", "foreign_spend")


@dataclass(frozen=True)
class Plan:
    """A coin that a batch would spend, in the words of the books."""

    outpoint: Outpoint
    campaign: str
    kind: str
    batch: int
    parent: int | None


@dataclass(frozen=True)
class Terms:
    """What was agreed on; the deadline in unix seconds, a cap of 0 for none."""

    id: str
    goal_sats: int
    deadline: int
    confirmations: int
    payout_script: bytes
    cap_sats: int
    timelock_height: int
    timelock_sat_vb: int


@dataclass(frozen=True)
class Given:
    """A pledge's address as it was given out."""

    campaign: str
    index: int
    script: bytes
    refund_script: bytes
    amount_sats: int


class Shelf:
    """One database file, looked at from outside."""

    def __init__(self, path: str, database: Database) -> None:
        self._rows_of = sqlite3.connect(path, isolation_level=None)
        self._database = database
        self._version: object = None
        self._columns: dict[str, tuple[list[str], list[str]]] = {}
        self._learn()

    def close(self) -> None:
        """Let go of the file."""
        self._rows_of.close()

    def changed(self) -> bool:
        """Has anybody written since the last time?"""
        before, self._version = self._version, self.rows("PRAGMA data_version")
        return before != self._version

    def tip(self) -> str:
        """The hash of the last recorded block."""
        return str(self.rows("SELECT hash FROM blocks ORDER BY height DESC LIMIT 1")[0][0])

    def terms(self) -> dict[str, Terms]:
        """Every published campaign, by its id."""
        found = {}
        for name, text in self.rows("SELECT id, terms FROM campaigns WHERE terms IS NOT NULL ORDER BY id"):
            terms = json.loads(text)
            deadline = int(datetime.fromisoformat(terms["deadline_at"]).timestamp())
            found[str(name)] = Terms(
                name,
                terms["goal_sats"],
                deadline,
                terms["confirmations"],
                bytes.fromhex(terms["payout_script"]),
                terms["cap_sats"],
                terms["timelock_height"],
                terms["timelock_feerate_sat_vb"],
            )
        return found

    def decisions(self) -> dict[str, Verdict]:
        """By campaign."""
        rows = self.rows("SELECT campaign_id, outcome, counted_sats, closing_height, closing_hash FROM decisions")
        return {row[0]: Verdict(*row[1:]) for row in rows}

    def plans(self) -> list[Plan]:
        """Every input of every batch, the oldest first."""
        rows = self.rows(
            "SELECT coins.txid, coins.vout, campaign_id, kind, batches.id, parent_id FROM batch_inputs"
            " JOIN coins ON coins.id = coin_id JOIN batches ON batches.id = batch_id ORDER BY batches.id, position"
        )
        return [Plan((row[0], row[1]), *row[2:]) for row in rows]

    def is_stored(self, raw: bytes) -> bool:
        """Would these bytes, and that they may be anywhere, be known after a power cut now?"""
        rows = self.rows("SELECT sent_at FROM attempts WHERE raw = ?", raw)
        return len(rows) == 1 and rows[0][0] is not None

    def attempts(self) -> set[str]:
        """The txid of every attempt."""
        return {row[0] for row in self.rows("SELECT txid FROM attempts")}

    def held_refunds(self) -> set[str]:
        """The txid of every time-locked refund that a backer can have."""
        return {row[0] for row in self.rows("SELECT txid FROM timelocked_refunds")}

    def given(self) -> list[Given]:
        """Every address given out."""
        rows = self.rows(
            'SELECT campaign_id, "index", script, refund_script, amount_sats FROM pledges WHERE script IS NOT NULL'
            ' ORDER BY created_at, campaign_id, "index"'
        )
        return [Given(*row) for row in rows]

    def indices(self) -> list[tuple[str, int]]:
        """(campaign, address index) of every pledge, whether it has its address or not."""
        return [(row[0], row[1]) for row in self.rows('SELECT campaign_id, "index" FROM pledges')]

    def is_registered(self, script: bytes) -> bool:
        """Does the signer surely know where this pledge is refunded to?"""
        return bool(self.rows("SELECT id FROM pledges WHERE script = ? AND registered", script))

    def account(self, campaign: str) -> tuple[str, int]:
        """(terms, account index), as the signer wants them."""
        (row,) = self.rows("SELECT terms, account_index FROM campaigns WHERE id = ?", campaign)
        return str(row[0]), int(row[1])

    def confirmed(self) -> list[Row]:
        """(txid, vout, satoshi, script, height, spender) of the coins that a block holds."""
        return self.rows(
            "SELECT txid, vout, value_sats, script, height, spent_by FROM coins JOIN pledges ON pledges.id = pledge_id"
            " WHERE height IS NOT NULL"
        )

    def buckets(self, campaign: str) -> tuple[dict[str, int], int]:
        """(what the ledger has of money that was spent, the sum of all that it has lying at our addresses)."""
        rows = self.rows("SELECT account, sats FROM balances WHERE campaign_id = ? AND account <> 'outside'", campaign)
        spent = {account: sats for account, sats in rows if account in SPENT_BUCKETS}
        return dict.fromkeys(SPENT_BUCKETS, 0) | spent, sum(sats for _, sats in rows) - sum(spent.values())

    def shown(self, campaign: str) -> tuple[dict[str, int], int]:
        """The same as pages show it."""
        with self._database.reading() as session:
            found = queries.summarise(queries.load(session, campaign)).buckets
        spent = {str(name): sats for name, sats in found.items() if name in SPENT_BUCKETS}
        return spent, sum(found.values()) - sum(spent.values())

    def forever(self) -> dict[Row, Row]:
        """(table, key) -> what must stay as it is."""
        return {
            (table, *row[: len(keys)]): row
            for table, (keys, others) in self._columns.items()
            for row in self.rows(f"SELECT {', '.join([*keys, *others])} FROM {table}")
        }

    def rows(self, query: str, *values: object) -> list[Row]:
        """What is committed now."""
        return self._rows_of.execute(query, values).fetchall()

    def _learn(self) -> None:
        for table, may_change in FOREVER.items():
            info = self.rows(f"PRAGMA table_info({table})")
            keys = [f'"{row[1]}"' for row in info if row[5]]
            others = [f'"{row[1]}"' for row in info if not row[5] and row[1] not in may_change]
            if info:
                self._columns[table] = (keys, others)
