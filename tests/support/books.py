"""Books under test: a real database and a real worker, looked at after every single round and held against the model.

The signer never answers, so that nothing is ever paid: watching and deciding alone are on trial.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy.orm import Session

from crowdfund.accounts import people
from crowdfund.campaigns import checking, halts, incidents, queries, service
from crowdfund.campaigns.drafts import Draft
from crowdfund.campaigns.models import Pledge
from crowdfund.campaigns.queries import Snapshot
from crowdfund.chain.backends import AnyBackend
from crowdfund.config import Settings
from crowdfund.db import Database
from crowdfund.errors import WorldError
from crowdfund.wallet.keystore import Keystore
from crowdfund.wallet.signer_client import SignerClient
from crowdfund.worker import Worker
from support import ledger, model
from support.model import Block, ModelCoin, Outpoint, Promise, PromisedPledge, Tx, Verdict
from support.paper import PAYOUT
from support.signing import offered_accounts

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MOST_ROUNDS = 1_000  # a long story, told again from its first block, takes hundreds
GOALS = (50_000, 150_000)
CAPS = (50_000, 0)
CONFIRMATIONS = (3, 1)


class Broken(Exception):
    """A disk that fails in the midst of writing."""


class FailingDatabase(Database):
    """`fails_at` counts writing transactions down; the one that finds 0 does its work and then is undone."""

    fails_at: int | None = None

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """As ever, but for the one that fails."""
        with super().transaction() as session:
            yield session
            if self.fails_at is not None:
                self.fails_at -= 1
                if self.fails_at < 0:
                    self.fails_at = None
                    raise Broken


class MuteSigner(SignerClient):
    """A signer that is away."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"))

    def _ask(self, *_: Any, **__: Any) -> Any:
        raise WorldError("The signer does not answer.")

    accounts = register = sign = _ask


class Readable(Protocol):
    """What the books are held against: a chain that can be read as a whole."""

    def branch(self, tip_hash: str) -> list[Block]:
        """The blocks from the first one up to this one."""

    def mempool(self) -> Mapping[str, Tx]:
        """What waits to be confirmed."""

    @property
    def tip(self) -> Block:
        """The last block of the best branch."""

    @property
    def tips(self) -> Sequence[str]:
        """Every block that was ever the tip, in that order."""


@dataclass
class Books:
    """One database and its worker. What the model must remember, since no chain tells it, is kept here."""

    story: Readable
    database: FailingDatabase
    backend: AnyBackend
    promises: list[Promise]
    pledges: list[PromisedPledge] = field(default_factory=list)
    txs: dict[str, Tx] = field(default_factory=dict)
    noticed: set[str] = field(default_factory=set)
    rivalled: set[str] = field(default_factory=set)
    told: list[tuple[int, int, int]] = field(default_factory=list)
    decided: dict[str, Verdict] = field(default_factory=dict)
    planned: set[Outpoint] = field(default_factory=set)
    disturbed: bool = False

    def __post_init__(self) -> None:
        self._reader = sqlite3.connect(self.database.engine.url.database or "", isolation_level=None)
        self.restart()

    def close(self) -> None:
        """Let go of the database."""
        self._reader.close()
        self.database.close()

    def restart(self) -> None:
        """A worker without memory."""
        self.worker = Worker(self.database, self.backend, MuteSigner(), "regtest")

    def pledge(self, pledge: PromisedPledge, index: int) -> None:
        """A pledge is made, as the web process would store it."""
        with Database.transaction(self.database) as session:
            session.add(
                Pledge(
                    id=pledge.id,
                    campaign_id=pledge.campaign,
                    index=index,
                    address=pledge.id,
                    script=pledge.script,
                    amount_sats=pledge.amount_sats,
                    refund_address=PAYOUT,
                    refund_script=b"\x00\x14" + b"r" * 20,
                    name="",
                    message="",
                    created_at=NOW,
                )
            )
        self.pledges.append(pledge)

    def descriptor(self, campaign_id: str) -> str:
        """The campaign's, from which its addresses follow."""
        ((found,),) = self._reader.execute("SELECT descriptor FROM campaigns WHERE id = ?", [campaign_id]).fetchall()
        return str(found)

    def look(self) -> None:
        """Rounds until nothing changes; after each of them the books must be true, and at the end complete."""
        for _ in range(MOST_ROUNDS):
            if not self.round() and not self.disturbed:
                self.check_all()
                return
        raise AssertionError("the worker never comes to rest")

    def round(self) -> bool:
        """One round, and what must hold after any."""
        self.disturbed = False
        before, since = self._tip(), len(self.story.tips) - 1
        self.remember()
        try:
            again = self.worker.round()
        except (Broken, WorldError):
            again = True
        self.remember()
        self.check_blocks(before)
        self.check_verdicts(self.story.tips[since:])
        return again

    def remember(self) -> None:
        """Take note of every transaction that pays us or could stand in such a one's way."""
        for tx in self.story.mempool().values():
            self.txs[tx.txid] = tx
        for block in self.story.branch(self.story.tip.hash):
            for tx in block.txs:
                self.txs[tx.txid] = tx

    def check_blocks(self, before: str | None) -> None:
        """Blocks, confirmed coins, ledger and incidents follow from the last recorded block, whatever it is."""
        tip = self._tip()
        assert tip is not None
        branch = self.story.branch(tip)
        rows = self._rows("SELECT height, hash, prev_hash, time, median_time_past FROM blocks ORDER BY height")
        first = rows[0][0]
        assert rows == [(b.height, b.hash, b.prev, b.time, model.median_time(branch, b.height)) for b in branch[first:]]
        truth = model.confirmed(branch, self.pledges)
        found = self._rows(
            "SELECT txid, vout, value_sats, pledge_id, coinbase, height, block_hash, spent_by, spent_height FROM coins"
            " WHERE height IS NOT NULL"
        )
        wanted = [
            (c.txid, c.vout, c.value_sats, c.pledge.id, c.coinbase, c.height, c.block_hash, c.spent_by, c.spent_height)
            for c in truth.values()
        ]
        assert sorted(found) == sorted(wanted)
        came_in = self._rows(
            "SELECT coins.txid, coins.vout, -sum(amount_sats) FROM entries JOIN coins ON coins.id = coin_id"
            " WHERE account = 'outside' GROUP BY coin_id HAVING sum(amount_sats) <> 0"
        )
        assert sorted(came_in) == sorted((c.txid, c.vout, c.value_sats) for c in truth.values() if c.value_sats)
        self._check_incidents(before, branch)

    def check_all(self) -> None:
        """The rest: what is unconfirmed, what became of what is gone, and every figure and state."""
        assert self._tip() == self.story.tip.hash
        ledger.holds(self.database)
        self._resume()
        branch, pool = self.story.branch(self.story.tip.hash), self.story.mempool()
        listed = self._listed(branch, pool)
        seen = {c.outpoint for c in listed if c.txid in pool}
        flags = self._rows("SELECT txid, vout FROM coins WHERE in_mempool")
        assert set(flags) == seen
        fates = self._fates(listed, branch, pool)
        self._check_plans(listed)
        with self.database.reading() as session:
            for promise in self.promises:
                own = [c for c in listed if c.pledge.campaign == promise.id]
                decided = self._check_decision(promise, branch)
                closing = decided.closing_height if decided else model.closing_height(branch, promise.deadline)
                outcome = decided.outcome if decided else None
                snapshot = queries.load(session, promise.id)
                self._check_figures(snapshot, promise, own, seen, closing, outcome, branch[-1].height)
                worths = model.worths(own, closing, branch[-1].height, promise.cap_sats)
                lost = self._lost_for_good(own, branch, pool, promise.confirmations)
                self._check_pledges(snapshot, own, seen, fates, worths, outcome is not None, lost)

    def _check_figures(
        self,
        snapshot: Snapshot,
        promise: Promise,
        coins: Sequence[ModelCoin],
        seen: set[Outpoint],
        closing: int | None,
        outcome: str | None,
        tip_height: int,
    ) -> None:
        found = queries.summarise(snapshot)
        wanted = model.figures(promise, coins, seen, self.planned, self._binding(), closing, outcome, tip_height)
        told = {bucket.value: sats for bucket, sats in sorted(found.buckets.items()) if sats}
        shown = model.Figures(
            found.state.value, found.counted_sats, found.seen_sats, found.received_sats, found.pledge_count, told
        )
        assert shown == wanted, (shown, wanted, self.planned)
        assert sum(told.values()) == found.received_sats
        assert snapshot.closing_height == closing

    def _check_pledges(
        self,
        snapshot: Snapshot,
        coins: Sequence[ModelCoin],
        seen: set[Outpoint],
        fates: Mapping[str, set[str]],
        worths: Mapping[Outpoint, str],
        decided: bool,
        lost: set[Outpoint],
    ) -> None:
        """`lost`: coins that no plan waits for any more, if what was noticed in their place is as deep as this asks."""
        by_id = {pledge.id: pledge for pledge in snapshot.pledges}
        for pledge in self.pledges:
            if pledge.campaign != snapshot.campaign.id:
                continue
            own = [coin for coin in coins if coin.pledge == pledge]
            state = "awaiting"
            if pledge.id in by_id:
                state = queries.pledge_summary(snapshot, by_id[pledge.id]).state.value
            last = own[-1].txid if own else ""
            wanted = {
                model.pledge_state(pledge, own, seen, planned, {last: fate}, worths, decided)
                for fate in fates.get(last, {""})
                for planned in (self.planned, self.planned - lost)
            }
            assert state in wanted, (pledge, own)

    def _listed(self, branch: Sequence[Block], pool: Mapping[str, Tx]) -> list[ModelCoin]:
        """Every coin that the books ever noticed, in their order, as the chain has it; none there is missing."""
        by_script = {pledge.script: pledge for pledge in self.pledges}
        everything = {c.outpoint: c for tx in self.txs.values() for c in model.paid_by(tx, by_script)}
        everything |= model.confirmed(branch, self.pledges)
        rows = self._rows("SELECT txid, vout, value_sats, pledge_id, coinbase FROM coins ORDER BY id")
        listed = [everything[(row[0], row[1])] for row in rows]
        assert rows == [(c.txid, c.vout, c.value_sats, c.pledge.id, c.coinbase) for c in listed]
        waiting = {c.outpoint for tx in pool.values() for c in model.paid_by(tx, by_script)}
        assert waiting <= {c.outpoint for c in listed}
        assert self.noticed <= {c.txid for c in listed}, "what was seen once is never forgotten"
        self.noticed |= {c.txid for c in listed}
        return listed

    def _fates(
        self, listed: Sequence[ModelCoin], branch: Sequence[Block], pool: Mapping[str, Tx]
    ) -> dict[str, set[str]]:
        """What may be said of payments that are gone. A rival that is gone, too, may have been noticed or not."""
        mined = [tx for block in branch for tx in block.txs]
        fates: dict[str, set[str]] = {}
        for txid in {c.txid for c in listed if c.height is None and c.txid not in pool}:
            if model.rivals_in(self.txs[txid], mined):
                fates[txid] = {"double_spent"}
            elif model.rivals_in(self.txs[txid], self.txs.values()):
                fates[txid] = {"replaced", "evicted"}
            else:
                fates[txid] = {"evicted"}
        return fates

    def _lost_for_good(
        self, coins: Sequence[ModelCoin], branch: Sequence[Block], pool: Mapping[str, Tx], confirmations: int
    ) -> set[Outpoint]:
        """Coins that are gone, while something that cannot stand beside them is in a block deep enough."""
        deep = [tx for block in branch[: len(branch) - confirmations + 1] for tx in block.txs]
        gone = [c for c in coins if c.height is None and c.txid not in pool]
        return {c.outpoint for c in gone if model.rivals_in(self.txs[c.txid], deep)}

    def _check_plans(self, listed: Sequence[ModelCoin]) -> None:
        rows = self._rows("SELECT txid, vout FROM batch_inputs JOIN coins ON coins.id = coin_id")
        assert self.planned <= set(rows), "a plan is never unmade"
        for coin in listed:
            if coin.outpoint in set(rows) - self.planned:
                assert coin.pledge.campaign in self.decided and coin.value_sats >= model.DUST_BELOW_SATS
        self.planned = set(rows)

    def _resume(self) -> None:
        """Once the chain has taken a theft back, the operator lets settlement go on."""
        with self.database.reading() as session:
            lasting, found = halts.open_halts(session), checking.check_books(session)
        if lasting and not found:
            with Database.transaction(self.database) as session:
                assert halts.end_all(session, "the theft is undone", NOW) == len(lasting) == 1
            self.look()

    def _binding(self) -> set[Outpoint]:
        """The inputs of every payout, and of the first refund of a campaign that failed."""
        rows = self._rows(
            "SELECT txid, vout FROM batch_inputs JOIN coins ON coins.id = coin_id JOIN batches ON batches.id = batch_id"
            " WHERE kind = 'release' OR batch_id IN (SELECT min(batches.id) FROM batches JOIN decisions USING"
            " (campaign_id) WHERE outcome = 'failed' GROUP BY campaign_id)"
        )
        return set(rows)

    def check_verdicts(self, tips: Sequence[str]) -> None:
        """A decision never changes; a new one is that of a chain whose tip was seen in this round."""
        stored = self._verdicts()
        assert {name: stored.get(name) for name in self.decided} == self.decided
        for promise in self.promises:
            if promise.id in stored.keys() - self.decided.keys():
                branches = [self.story.branch(tip) for tip in tips]
                assert stored[promise.id] in [model.verdict(b, promise, self.pledges) for b in branches]
        self.decided = stored

    def _check_decision(self, promise: Promise, branch: Sequence[Block]) -> Verdict | None:
        """It is there as soon as it can be, unless somebody has our keys."""
        stored = self.decided.get(promise.id)
        assert stored or self._robbed(branch) or not model.verdict(branch, promise, self.pledges)
        return stored

    def _robbed(self, branch: Sequence[Block]) -> bool:
        return any(coin.spent_by for coin in model.confirmed(branch, self.pledges).values())

    def _verdicts(self) -> dict[str, Verdict]:
        rows = self._rows("SELECT campaign_id, outcome, counted_sats, closing_height, closing_hash FROM decisions")
        return {row[0]: Verdict(*row[1:]) for row in rows}

    def _check_incidents(self, before: str | None, branch: Sequence[Block]) -> None:
        """One line for each time that a recorded block was lost, in numbers that the branches themselves give."""
        if before is not None and before not in {block.hash for block in branch}:
            old = self.story.branch(before)
            held = {block.hash for block in branch}
            lost = [block for block in old if block.hash not in held]
            with_coins = model.confirmed(old, self.pledges).values()
            pledges = {c.pledge.id for c in with_coins if c.height is not None and c.height >= lost[0].height}
            self.told.append((lost[0].height, len(lost), len(pledges)))
            with self.database.reading() as session:
                newest = incidents.of_site(session)[0].sentence
            blocks = f"reorganisation of {len(lost)} block{'s' * (len(lost) > 1)} at height {lost[0].height}"
            assert blocks in newest
            assert (f"{len(pledges)} pledge{'s' * (len(pledges) > 1)} un-confirmed" in newest) == bool(pledges)
        rows = self._rows(
            "SELECT height, depth, (SELECT count(DISTINCT pledge_id) FROM incident_coins JOIN coins"
            " ON coins.id = coin_id WHERE incident_id = incidents.id) FROM incidents ORDER BY id"
        )
        assert rows == self.told

    def states(self) -> dict[str, int]:
        """How many pledges are in each state."""
        found: list[str] = []
        with self.database.reading() as session:
            for pledge in self.pledges:
                found.append(queries.pledge_summary(*queries.load_by_pledge(session, pledge.id)).state.value)
        return {state: found.count(state) for state in found}

    def facts(self) -> list[tuple[Any, ...]]:
        """Everything that follows from the chain as it is, whatever was seen on the way."""
        coins = (
            "SELECT txid, vout, pledge_id, value_sats, coinbase, height, block_hash, in_mempool, spent_by, spent_height"
            " FROM coins WHERE height IS NOT NULL OR in_mempool ORDER BY txid, vout"
        )
        return self._rows(coins) + self._rows("SELECT * FROM blocks ORDER BY height")

    def _tip(self) -> str | None:
        rows = self._rows("SELECT hash FROM blocks ORDER BY height DESC LIMIT 1")
        return str(rows[0][0]) if rows else None

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return self._reader.execute(query).fetchall()


def template(folder: Path, backend: AnyBackend, deadlines: Sequence[int]) -> tuple[Path, list[Promise]]:
    """A database in `folder` with two published campaigns; what `backend` shows is recorded already."""
    path = folder / "template.sqlite"
    database = FailingDatabase(f"sqlite:///{path}")
    database.upgrade()
    store = Keystore("abandon " * 11 + "about", "regtest")
    with database.transaction() as session:
        service.store_accounts(session, offered_accounts(store, range(2)))
        creator = people.sign_up(session, "alice", "correct horse battery", NOW).id
    worker = Worker(database, backend, MuteSigner(), "regtest")
    while worker.round():
        pass
    promises = []
    for number, deadline in enumerate(deadlines):
        settings = Settings.from_env(
            {"CROWDFUND_DATA_DIR": str(folder), "CROWDFUND_CONFIRMATIONS": str(CONFIRMATIONS[number])}
        )
        draft = Draft(
            f"Campaign {number}", "Drawings.", "By hand.", GOALS[number], datetime.fromtimestamp(deadline, UTC),
            PAYOUT, "https://example.org", "MIT", CAPS[number],
        )  # fmt: skip
        with database.transaction() as session:
            made = service.save_draft(session, settings, creator, draft).id
            service.publish(session, settings, creator, made)
        promises.append(Promise(made, GOALS[number], deadline, CONFIRMATIONS[number], CAPS[number]))
    database.close()
    return path, promises
