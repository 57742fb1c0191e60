"""How long the settlement of a large campaign takes, against named limits: python -m bench.settle [--pledges N]

A campaign of 100,000 pledges, each with a confirmed coin at an address derived from its terms, 4,000 in a block, is
closed twice: once released, once refunded. Each time one process of its own does what worker and signer do, on a real
database (SQLite; with --postgres a PostgreSQL server) and with a real signer and its log. The limits: a minute for
deciding, planning and storing; a gigabyte of memory for worker and signer together; and for signing, what libsecp256k1
takes for the bare signatures over the same digests with the same keys. The last line is one JSON object:

plan_100k_s          seconds to decide, plan, post in the ledger and commit, in one transaction; the slower ending
rss_mb               the most memory that the process of an ending ever held, megabytes; the larger ending
sign_ratio_libsecp   the signer's rate / that of the bare signatures, over all batches (1 = nothing is lost on requests,
                     rules, log, keys, digests and bytes); the lower of both endings
sign_per_s           inputs signed in a second by the signer, its log flushed for each batch
address_per_s        addresses derived in a second by both libraries, compared
pledges              how many there were
release_…, refund_…  of each ending, in seconds unless the name says otherwise:
  keep_s             keeping each coin's transaction and branch while its block is at hand, over the campaign's life
  register_s         telling the signer all refund addresses
  first_look_s       all checks of a worker that has just started: every hash of the ledger, every coin of the campaign
  load_s             reading the campaign with every coin, and the figures that its page shows
  before_s           the checks before deciding
  ending_s           putting together what shows the outcome: headers, and each coin that counts in its block
  plan_s             deciding, planning, posting, committing; what shows the outcome is kept with it
  batches            transactions planned
  jobs_s             reading all of them back
  show_s             showing the signer the end, and every coin
  sign_per_s         inputs signed in a second, by the signer as it is
  libsecp_per_s      the bare signatures
  verify_per_s       inputs verified in a second by the worker
  store_s            storing all signed transactions, one commit each
  round_s            one round of the worker at a new block, in which all that was planned waits and is sent again; the
                     checks see all that was posted since
  idle_round_s       the next one, in which the ledger has not moved
  block_s            recording a block that holds 26 of these transactions, as many as fit
  look_s             the checks after it
  rss_mb             the most memory that this process ever held
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from sqlalchemy import insert, select, update

from bench.paper_chain import Headers, Node, PaperChain
from bench.signing import bare_signing_of, measure_addresses
from crowdfund.campaigns import attempts, books, checking, queries, recording, settling
from crowdfund.campaigns.attempts import Job
from crowdfund.campaigns.lifecycle import Outcome
from crowdfund.campaigns.models import Campaign, Coin, Pledge
from crowdfund.campaigns.shown_endings import ShownEnding
from crowdfund.chain.follow import BlockFacts, Changes, FoundSpend
from crowdfund.chain.port import BlockRef, NodeStatus
from crowdfund.db import Database
from crowdfund.proving import Prover, ending_of
from crowdfund.wallet.addresses import address_of
from crowdfund.wallet.descriptors import derive_script
from crowdfund.wallet.signer import Signer
from crowdfund.wallet.signer_client import SignerClient
from crowdfund.wallet.signer_here import SignerHere
from crowdfund.wallet.signer_log import SignerLog
from crowdfund.wallet.transactions import verify_signed
from crowdfund.worker import Worker
from support.postgres import database_of
from support.signing import STORE
from support.simchain import make_tx

PLEDGES = 100_000
SATS = 50_000
FEERATE = 2
PAID_IN_A_BLOCK = 4_000
SETTLED_IN_A_BLOCK = 26
PLAN_LIMIT_S, MEMORY_LIMIT_MB = 60, 1_000
CLOSED_AT = 161

_T = TypeVar("_T")


@dataclass
class Clock:
    """Seconds by name. What is measured several times is added up."""

    ending: str
    taken: dict[str, float] = field(default_factory=dict)

    def time(self, name: str, work: Callable[[], _T]) -> _T:
        """Do the work, and note how long it took."""
        began = time.perf_counter()
        done = work()
        self.taken[name] = self.taken.get(name, 0) + time.perf_counter() - began
        return done

    def step(self, name: str, work: Callable[[], _T]) -> _T:
        """The same, and say so."""
        done = self.time(name, work)
        say(f"  {self.ending} {name} {self.taken[name]:.2f}")
        return done


def say(line: str) -> None:
    """Progress, apart from the results."""
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Filled:
    """A campaign at its end: its id, the chain's headers, and how long it took to keep what shows its coins."""

    campaign_id: str
    headers: Headers
    keep_s: float


def fill(folder: Path, url: str, pledges: int, goal_sats: int) -> Filled:
    """The campaign, its pledges and a coin for each, posted and closed. Runs in a fresh process."""
    with PaperChain(folder, database_url=url) as paper:
        campaign_id = paper.campaign(goal_sats=goal_sats)
        node = Node(paper.headers)
        for first in range(0, pledges, PAID_IN_A_BLOCK):
            _fill_block(paper, node, campaign_id, range(first, min(first + PAID_IN_A_BLOCK, pledges)))
            say(f"  {min(first + PAID_IN_A_BLOCK, pledges):,} pledges paid")
        with paper.database.transaction() as session:
            session.execute(update(Campaign).where(Campaign.id == campaign_id).values(next_index=pledges))
            books.post_whole(session, [campaign_id])
        paper.mine(blocks=CLOSED_AT - paper.tip)
        began = time.perf_counter()
        Prover(paper.database, node).keep(paper.headers.hashes[-1])
        return Filled(campaign_id, paper.headers, time.perf_counter() - began)


def _fill_block(paper: PaperChain, node: Node, campaign_id: str, indices: range) -> None:
    """Pledges with these indices, paid in the next block."""
    now = datetime.now(UTC)
    with paper.database.reading() as session:
        descriptor = session.get_one(Campaign, campaign_id).descriptor or ""
    names = {index: sha256(f"{campaign_id}{index}".encode()) for index in indices}
    scripts = {index: derive_script(descriptor, index) for index in indices}
    refunds = {index: b"\0\x14" + name.digest()[:20] for index, name in names.items()}
    txs = {
        index: make_tx([(name.hexdigest(), 0)], [(SATS + index, scripts[index])], index)
        for index, name in names.items()
    }
    paper.headers.add([tx.txid for tx in txs.values()])
    paper.mine()
    node.hold(paper.tip, list(txs.values()))
    block = paper.ref(paper.tip)
    with paper.database.transaction() as session:
        pledges = [
            {
                "id": name.hexdigest(), "campaign_id": campaign_id, "index": index, "script": scripts[index],
                "address": address_of(scripts[index], "regtest"), "amount_sats": SATS, "name": "", "message": "",
                "refund_address": address_of(refunds[index], "regtest"), "refund_script": refunds[index],
                "created_at": now, "registered": True,
            }
            for index, name in names.items()
        ]  # fmt: skip
        coins = [
            {
                "pledge_id": name.hexdigest(), "txid": txs[index].txid, "vout": 0,
                "value_sats": SATS + index, "coinbase": False, "first_seen_at": now, "in_mempool": False,
                "height": block.height, "block_hash": block.hash,
            }
            for index, name in names.items()
        ]  # fmt: skip
        session.execute(insert(Pledge), pledges)
        session.execute(insert(Coin), coins)


@dataclass
class Ending:
    """One campaign on its way to one of its two endings, and the clock."""

    database: Database
    campaign_id: str
    node: Node
    signer: SignerClient
    clock: Clock

    def settle(self) -> dict[str, float]:
        """Every step, in order."""
        self.register()
        self.plan()
        jobs = self.clock.step("jobs_s", self.jobs)
        self.clock.step("show_s", functools.partial(self.show, jobs))
        inputs = self.sign(jobs)
        self.rounds()
        self.mine(jobs[:SETTLED_IN_A_BLOCK])
        taken = self.clock.taken
        rates = {f"{name}_per_s": inputs / taken.pop(name) for name in ("sign", "libsecp", "verify")}
        return {**taken, **rates, "batches": len(jobs), "rss_mb": peak_mb()}

    def register(self) -> None:
        """Tell the signer every refund address."""
        with self.database.reading() as session:
            campaign = session.get_one(Campaign, self.campaign_id)
            scripts = select(Pledge.index, Pledge.refund_script).where(Pledge.campaign_id == self.campaign_id)
            refunds = dict(session.execute(scripts).tuples().all())
        work = functools.partial(self.signer.register, campaign.terms or "", campaign.account_index or 0, refunds)
        self.clock.step("register_s", work)

    def plan(self) -> None:
        """What the worker does up to the decision, and the decision with its plan."""
        checker = checking.Checker(self.database)
        self.clock.step("first_look_s", lambda: checker.look(self.node, self.status()))
        self.clock.step("load_s", self.load)
        self.clock.step("before_s", lambda: checker.before_deciding(self.campaign_id))
        with self.database.reading() as session:
            (due,) = settling.campaigns_due(session, self.status().height)
        ending = self.clock.step("ending_s", lambda: ending_of(self.database, self.node, due))
        if checker.lasting() or not self.clock.step("plan_s", lambda: self.decide(ending)):
            raise RuntimeError("the campaign cannot be decided")

    def load(self) -> None:
        """A page of the campaign."""
        with self.database.reading() as session:
            queries.summarise(queries.load(session, self.campaign_id))

    def decide(self, ending: ShownEnding) -> bool:
        """One transaction."""
        with self.database.transaction() as session:
            return settling.decide_campaign(session, self.campaign_id, FEERATE, ending)

    def jobs(self) -> list[Job]:
        """Everything planned, as the worker reads it."""
        with self.database.reading() as session:
            return [attempts.job(session, batch_id) for batch_id in attempts.open_batches(session)]

    def show(self, jobs: list[Job]) -> None:
        """Show the signer what they rest on."""
        prover = Prover(self.database, self.node)
        for job in jobs:
            prover.show(self.signer, job)

    def sign(self, jobs: list[Job]) -> int:
        """Sign, verify and store every batch, each beside its bare signatures; returns the number of inputs."""
        for number, job in enumerate(jobs, 1):
            bare = bare_signing_of(job.tx, STORE.branch(job.account_index, sha256(job.terms.encode()).digest()))
            self.clock.time("libsecp", bare)
            sign = functools.partial(self.signer.sign, job.terms, job.account_index, job.kind, job.tx)
            raw = self.clock.time("sign", sign)
            self.clock.time("verify", functools.partial(verify_signed, raw, job.tx, job.descriptor))
            self.clock.time("store_s", functools.partial(self.store, job.txid, raw))
            if number % 50 == 0 or number == len(jobs):
                say(f"  {self.clock.ending} {number} of {len(jobs)} batches signed")
        return sum(len(job.tx.inputs) for job in jobs)

    def store(self, txid: str, raw: bytes) -> None:
        """One transaction."""
        with self.database.transaction() as session:
            attempts.store_signed(session, txid, raw)

    def rounds(self) -> None:
        """Two blocks in which nothing of ours is."""
        worker = Worker(self.database, self.node, self.signer, "regtest")
        worker.settle(self.status())  # a worker that has just started checks everything: measured above
        for name in ("round_s", "idle_round_s"):
            self.record([])
            self.clock.step(name, lambda: worker.settle(self.status()))

    def mine(self, jobs: list[Job]) -> None:
        """A block full of our own transactions."""
        checker = checking.Checker(self.database)
        checker.look(self.node, self.status())
        spends = [FoundSpend(i.txid, i.vout, job.txid) for job in jobs for i in job.tx.inputs]
        self.clock.step("block_s", lambda: self.record(spends))
        self.clock.step("look_s", lambda: checker.look(self.node, self.status()))
        if checker.lasting():
            raise RuntimeError("the books do not agree")

    def record(self, spends: list[FoundSpend]) -> None:
        """The next block, with these spends."""
        status = self.status()
        height, now = status.height + 1, datetime.now(UTC)
        block = BlockRef(height, sha256(b"%d" % height).hexdigest(), status.tip_hash, 2**32, 2**32)
        with self.database.transaction() as session:
            recording.record(
                session, Changes(None, (BlockFacts(block, (), tuple(spends)),), (), height, complete=False), now
            )

    def status(self) -> NodeStatus:
        """As a node would say it whose chain is recorded to the end."""
        with self.database.reading() as session:
            tip = recording.RecordedChain(session).tip()
        if tip is None:
            raise RuntimeError("no block was recorded")
        return NodeStatus("", tip.height, tip.height, tip.hash, True)


def measure_ending(folder: Path, url: str, filled: Filled, ending: str) -> dict[str, float]:
    """All figures of one ending. Runs in a process of its own."""
    logging.disable(logging.INFO)
    signer = SignerHere(Signer(STORE, SignerLog(folder / "signer.jsonl"), "regtest"))
    database = Database(url)
    try:
        clock = Clock(ending, {"keep_s": filled.keep_s})
        return Ending(database, filled.campaign_id, Node(filled.headers), signer, clock).settle()
    finally:
        database.close()


def peak_mb() -> float:
    """The most memory that this process held so far, megabytes (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024 / 1e6


@contextmanager
def fresh_process() -> Iterator[ProcessPoolExecutor]:
    """A process that has nothing else in its memory."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
        yield fresh


def measure(pledges: int, kind: str) -> dict[str, float]:
    """All results, by key; `kind` is that of the database."""
    found: dict[str, float] = {}
    endings = {"release": (Outcome.FUNDED, 0), "refund": (Outcome.FAILED, 1)}
    for ending, (outcome, missing_sats) in endings.items():
        say(f"{pledges:,} pledges of a campaign that will be {outcome}")
        goal_sats = sum(range(SATS, SATS + pledges)) + missing_sats
        with scratch() as folder, database_of(kind, folder) as url:
            with fresh_process() as fresh:
                filled = fresh.submit(fill, folder, url, pledges, goal_sats).result()
            with fresh_process() as fresh:
                taken = fresh.submit(measure_ending, folder, url, filled, ending).result()
        found.update({f"{ending}_{name}": value for name, value in taken.items()})
    say("deriving addresses")
    return {**totals(found, list(endings)), **measure_addresses(), "pledges": pledges, **found}


def totals(found: dict[str, float], endings: list[str]) -> dict[str, float]:
    """The worse of the endings, for each figure that has a limit."""
    return {
        "plan_100k_s": max(found[f"{e}_plan_s"] for e in endings),
        "rss_mb": max(found[f"{e}_rss_mb"] for e in endings),
        "sign_ratio_libsecp": min(found[f"{e}_sign_per_s"] / found[f"{e}_libsecp_per_s"] for e in endings),
        "sign_per_s": min(found[f"{e}_sign_per_s"] for e in endings),
    }


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder in memory where there is such a thing, gone at the end."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def main() -> None:
    """Measure, print a table, and the JSON object as the last line."""
    parser = argparse.ArgumentParser(description="How long the settlement of a large campaign takes.")
    parser.add_argument("--pledges", type=int, default=PLEDGES, help=f"pledges of the campaign ({PLEDGES:,})")
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL instead of SQLite")
    chosen = parser.parse_args()
    kind = "postgresql" if chosen.postgres else "sqlite"
    results = {key: round(value, 3) for key, value in measure(chosen.pledges, kind).items()}
    limits = {
        "plan_100k_s": f"limit {PLAN_LIMIT_S} s",
        "rss_mb": f"limit {MEMORY_LIMIT_MB:,} MB",
        "sign_ratio_libsecp": "of libsecp256k1's own rate",
    }
    print(f"Settling a campaign of {chosen.pledges:,} pledges, {kind}")
    for key, value in results.items():
        print(f"  {key:24}{value:>14,.3f}  {limits.get(key, '')}".rstrip())
    print(json.dumps(results))


if __name__ == "__main__":
    main()
