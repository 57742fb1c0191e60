"""The worker: watch, decide, settle, broadcast. Holds no key.

One loop, one process (a lock sees to it). Each step reads, asks, and writes in one transaction of its own, so that
being killed between any two of them loses nothing: the next round finds the stored step and goes on from there.
A plan is never made twice, and "I do not see my transaction" never means "I did not pay".
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from crowdfund.campaigns import recording, service, settling
from crowdfund.campaigns.settling import Job
from crowdfund.chain.follow import Follower
from crowdfund.chain.port import ChainBackend, NodeStatus
from crowdfund.db import Database
from crowdfund.errors import UserError, WorldError
from crowdfund.wallet.fees import clamp_feerate
from crowdfund.wallet.networks import NETWORKS
from crowdfund.wallet.signer_client import SignerClient
from crowdfund.wallet.transactions import verify_signed

log = logging.getLogger("crowdfund.worker")

SPARE_ACCOUNTS = 20
POLL_S = 0.4
MAX_WAIT_S = 15
HEARTBEAT = timedelta(seconds=10)
FEE_TARGET_BLOCKS = 6


@dataclass
class Worker:
    """What a round needs. What it keeps between rounds are hints only: a restart changes nothing."""

    database: Database
    backend: ChainBackend
    signer: SignerClient
    network: str
    _follower: Follower = field(init=False)
    _feerate_sat_vb: int | None = None
    _planned_at: str = ""
    _seed_known: bool = False
    _sent_at: dict[str, str] = field(default_factory=dict)
    _view: tuple[str, str] = ("", "")
    _view_at: datetime | None = None

    def __post_init__(self) -> None:
        self._follower = Follower(self.backend)

    def round(self) -> bool:
        """One round; True if another one should follow at once.

        Raises WorldError where the node is away or is the wrong one: then nothing is decided.
        """
        status = self.backend.status()
        self._refuse_wrong_chain(status)
        outcome = self.watch(status)
        if outcome is None:
            return True
        trouble = self._settle_safely(status) if status.synced else ""
        self.show("live" if status.synced else f"catching up {status.height} of {status.headers} blocks", trouble)
        return outcome

    def watch(self, status: NodeStatus) -> bool | None:
        """Gather and write down; True if anything changed, None while the chain moves or more blocks wait."""
        try:
            return self._watch(status)
        except (WorldError, SQLAlchemyError):
            self._follower.forget_mempool()  # what was looked at may not have been written down
            raise

    def _watch(self, status: NodeStatus) -> bool | None:
        with self.database.reading() as known, self.database.reading() as ours:
            changes = self._follower.gather(status, recording.RecordedChain(known), recording.RecordedWatch(ours))
        if changes is None:
            return None
        if changes.blocks or self._feerate_sat_vb is None:
            self._feerate_sat_vb = clamp_feerate(self.backend.feerate_sat_vb(FEE_TARGET_BLOCKS))
        with self.database.reading() as session:
            if not recording.is_news(session, changes):
                return False
        with self.database.transaction() as session:
            recording.record(session, changes, datetime.now(UTC))
        if not changes.complete:
            self.show(f"catching up {changes.blocks[-1].block.height} of {status.headers} blocks", "")
            return None
        return True

    def settle(self, status: NodeStatus) -> None:
        """Decide and plan what is due, then take every open attempt one step further. Raises WorldError."""
        with self.database.reading() as session:
            stolen = settling.foreign_spends(session)
        if stolen:
            raise WorldError(f"{stolen[0]} was spent by a transaction that is not ours. Settlement is halted.")
        if self._planned_at != status.tip_hash:
            self._decide_and_plan(status)
            self._planned_at = status.tip_hash
        with self.database.reading() as session:
            jobs = settling.open_jobs(session)
        troubles = [trouble for job in jobs if (trouble := self._advance(job, status))]
        if troubles:
            raise troubles[0]

    def keep_accounts(self) -> None:
        """Ask the signer for account xpubs ahead of time, so that publishing works while it is away.

        The first time, the first account is asked for again: a signer with another seed is found out at once.
        """
        if not self._seed_known:
            offered = self.signer.accounts(0, 1)
            with self.database.reading() as session:
                service.refuse_other_seed(session, offered)
            self._seed_known = True
        with self.database.reading() as session:
            first, spare = service.account_stock(session)
        if spare < SPARE_ACCOUNTS // 2:
            offered = self.signer.accounts(first, SPARE_ACCOUNTS)
            with self.database.transaction() as session:
                service.store_accounts(session, offered)

    def register_refunds(self) -> None:
        """Tell the signer of new refund addresses, before anyone could change them here."""
        with self.database.reading() as session:
            waiting = settling.unregistered(session)
        refused = None
        for batch in waiting:
            try:
                self.signer.register(batch.terms, batch.account_index, batch.refunds)
            except WorldError as error:
                refused = error  # one campaign's trouble is not the others'
                continue
            with self.database.transaction() as session:
                settling.mark_registered(session, batch.pledge_ids)
        if refused is not None:
            raise refused

    def show(self, state: str, trouble: str) -> None:
        """Write how things stand, when that changes and every ten seconds."""
        now = datetime.now(UTC)
        if self._view != (state, trouble) or self._view_at is None or now - self._view_at >= HEARTBEAT:
            with self.database.transaction() as session:
                recording.set_view(session, state, trouble, self._feerate_sat_vb, now)
            self._view, self._view_at = (state, trouble), now

    def note_unreachable(self) -> None:
        """Write since when the node does not answer."""
        state = self._view[0]
        if not state.startswith("node unreachable"):
            state = f"node unreachable since {datetime.now(UTC):%H:%M} UTC"
        self.show(state, self._view[1])

    def note_fault(self) -> None:
        """Write that something unforeseen stands in the way."""
        self.show(self._view[0], "The worker met a fault; its log says more.")

    def _settle_safely(self, status: NodeStatus) -> str:
        """All that needs the signer; what stands in the way is a sentence for the operator, and the rest goes on."""
        troubles = []
        for step in (self.keep_accounts, self.register_refunds, lambda: self.settle(status)):
            try:
                step()
            except (WorldError, UserError) as error:
                troubles.append(error.sentence)
        if troubles and troubles[0] != self._view[1]:
            log.warning("%s", troubles[0])
        return troubles[0] if troubles else ""

    def _adopt_early_coins(self, campaign_id: str, status: NodeStatus) -> None:
        """Before an outcome is decided, ask the node's own set of unspent outputs for coins that we never noticed.

        Only we can spend them, so that set holds them all, also those paid before their address was given out.
        """
        with self.database.reading() as session:
            scripts = settling.issued_scripts(session, campaign_id)
        if not scripts:
            return
        tip_hash, unspent = self.backend.unspent(scripts)
        if tip_hash != status.tip_hash:
            raise WorldError("The chain has moved while its coins were counted; they are counted again.")
        with self.database.reading() as session:
            known = recording.RecordedWatch(session).coins_among({(c.txid, c.vout) for c in unspent})
        early = [(c, self.backend.block_hash(c.height) or "") for c in unspent if (c.txid, c.vout) not in known]
        if early:
            with self.database.transaction() as session:
                recording.adopt(session, early, datetime.now(UTC))
            log.info("campaign %s: %s coins are older than their addresses", campaign_id, len(early))

    def _decide_and_plan(self, status: NodeStatus) -> None:
        with self.database.reading() as session:
            due = settling.campaigns_due(session, status.height)
            loose = settling.decided_with_loose_coins(session)
        feerate_sat_vb = clamp_feerate(self._feerate_sat_vb)
        for campaign_id in due:
            self._adopt_early_coins(campaign_id, status)
            with self.database.transaction() as session:
                if settling.decide_campaign(session, campaign_id, feerate_sat_vb):
                    log.info("campaign %s is decided", campaign_id)
        for campaign_id in loose:
            with self.database.transaction() as session:
                settling.plan_campaign(session, campaign_id, feerate_sat_vb)

    def _advance(self, job: Job, status: NodeStatus) -> WorldError | None:
        """Sign and send one attempt. Its trouble is returned, so that it keeps nobody else from being paid."""
        try:
            raw = job.raw or self._have_signed(job)
            refusal = job.refusal
            if self._sent_at.get(job.txid) != status.tip_hash:
                refusal = self._send(job, raw)
                self._sent_at[job.txid] = status.tip_hash
        except WorldError as error:
            return error
        return (
            WorldError(f"The node refuses {job.txid}: {refusal}. It is sent again at each block.") if refusal else None
        )

    def _have_signed(self, job: Job) -> bytes:
        """Ask for the signature, check every byte of it, store it."""
        if job.tx.txid != job.txid:
            raise WorldError(f"The stored plan of {job.txid} was changed. Settlement is halted.", retryable=False)
        raw = self.signer.sign(job.terms, job.account_index, job.kind, job.tx)
        verify_signed(raw, job.tx, job.descriptor)
        with self.database.transaction() as session:
            settling.store_signed(session, job.txid, raw)
        log.info("%s %s is signed and stored", job.kind, job.txid)
        return raw

    def _send(self, job: Job, raw: bytes) -> str | None:
        """Sent at every new block until it is in one. First the note, then the bytes; returns the node's refusal."""
        if not job.sent:
            with self.database.transaction() as session:
                settling.mark_sent(session, job.txid, datetime.now(UTC))
        result = self.backend.broadcast(raw)
        with self.database.transaction() as session:
            refusal = settling.note_result(session, job.txid, result)
        log.info("%s %s was sent: %s %s", job.kind, job.txid, result.sent, result.reason)
        return refusal

    def _refuse_wrong_chain(self, status: NodeStatus) -> None:
        network = NETWORKS[self.network]
        if status.genesis_hash != network.genesis:
            raise WorldError(
                f"The node is not on {network.title}: its first block is another. Nothing is read from it."
            )


def run(worker: Worker, stop: threading.Event) -> None:
    """Rounds until `stop` is set. Waits longer and longer while a round fails, up to 15 seconds."""
    wait_s = POLL_S
    while not stop.is_set():
        wait_s = _one_round(worker, wait_s)
        stop.wait(wait_s)


def _one_round(worker: Worker, waited_s: float) -> float:
    """How long to wait after this round. The only place that catches everything: one fault must not end watching."""
    try:
        return 0 if worker.round() else POLL_S
    except WorldError as error:
        log.warning("%s", error.sentence)
        note = worker.note_unreachable
    except Exception:
        log.exception("A round of the worker failed; the next one starts from what is stored.")
        note = worker.note_fault
    with suppress(SQLAlchemyError):
        note()
    return min(MAX_WAIT_S, max(waited_s, POLL_S) * 2)


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold a lock file; the kernel lets go of it when the process dies. Raises WorldError if another holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise WorldError(
            f"Another process holds {path}: one such process runs here already.", retryable=False
        ) from error
    finally:
        os.close(descriptor)
