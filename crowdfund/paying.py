"""The worker's hand for what is planned: has every attempt signed, checks it, stores it, sends it, and goes on to a
dearer or a smaller one where that is due. Holds no key, and decides nothing about who is paid what.

What it keeps between rounds are hints only: after a restart it goes on from what is stored.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from crowdfund.campaigns import attempts, halts, ladder
from crowdfund.campaigns.attempts import Job
from crowdfund.campaigns.checking import Checker
from crowdfund.campaigns.lifecycle import Kind
from crowdfund.chain.backends import AnyBackend
from crowdfund.chain.port import NodeStatus
from crowdfund.db import Database
from crowdfund.errors import WorldError
from crowdfund.proving import Prover
from crowdfund.wallet.fees import clamp_feerate
from crowdfund.wallet.signer_client import PartRefused, SignerClient
from crowdfund.wallet.transactions import verify_signed

log = logging.getLogger("crowdfund.worker")

FEE_TARGET_BLOCKS = 6


@dataclass
class Payer:
    """`signer` is None where signatures come by hand; `unsigned` says how many batches wait for one."""

    database: Database
    backend: AnyBackend
    signer: SignerClient | None
    checker: Checker
    prover: Prover
    unsigned: int = 0
    _sent_at: dict[str, str] = field(default_factory=dict)
    _handled: dict[int, tuple[str, WorldError | None]] = field(default_factory=dict)

    def pay(self, status: NodeStatus, feerate_sat_vb: int) -> list[WorldError]:
        """Take every open batch as far as it goes at this tip, one after the other; returns what stands in the way."""
        self.unsigned = 0
        self._go_on_without_what_is_gone(status, feerate_sat_vb)
        self._go_on_with_what_came_back(status, feerate_sat_vb)
        with self.database.reading() as session:
            waiting = deque(attempts.open_batches(session))
        troubles = []
        while waiting:
            batch_id = waiting.popleft()
            tip_hash, trouble = self._handled.get(batch_id, ("", None))
            if tip_hash != status.tip_hash:
                trouble, opened = self._advance(batch_id, status)
                waiting.extend(opened)
            if trouble is not None:
                troubles.append(trouble)
        return troubles

    def _go_on_without_what_is_gone(self, status: NodeStatus, feerate_sat_vb: int) -> None:
        """A coin that its backer took back, or whose payment was double spent, makes a whole batch impossible: the
        others' coins go on in a smaller one."""
        with self.database.reading() as session:
            bereft = attempts.bereft_batches(session)
        for batch_id in bereft:
            with self.database.transaction() as session:
                job, gone = attempts.job(session, batch_id), attempts.gone_coins(session, batch_id)
                if halts.stopping(session, job.campaign_id) is not None:
                    continue
                rest = ladder.without(job.plan, gone, feerate_sat_vb)
                attempts.store_parts(session, batch_id, rest, status.height)

    def _go_on_with_what_came_back(self, status: NodeStatus, feerate_sat_vb: int) -> None:
        """A coin that was gone when its batch went on without it is there again, after a reorganisation: it is owed, in
        a part of its own."""
        with self.database.reading() as session:
            strays = attempts.stray_coins(session)
        for batch_id, coins in strays.items():
            with self.database.transaction() as session:
                job = attempts.job(session, batch_id)
                if halts.stopping(session, job.campaign_id) is not None:
                    continue
                plan = job.plan
                others = {(c.txid, c.vout) for c in plan.inputs} - coins
                rest = ladder.without(plan, others, feerate_sat_vb)
                attempts.store_parts(session, batch_id, rest, status.height)

    def _advance(self, batch_id: int, status: NodeStatus) -> tuple[WorldError | None, list[int]]:
        """Sign and send the newest attempt of a batch. Its trouble is returned, so that it keeps nobody else from being
        paid; so are the batches to go on with: this one after a bump, its parts after a split."""
        with self.database.reading() as session:
            job = attempts.job(session, batch_id)
        try:
            refusal = self._send_newest(job, status)
            opened = self._after_refusal(job, refusal, status)
        except PartRefused as error:
            return self._go_on_without_the_refused(job, error, status)
        except WorldError as error:
            return error, []
        trouble = None
        if not opened:
            trouble = _standing_trouble(job, refusal, status.height)
            if self.signer is not None:  # else a signature may be brought before the next tip
                self._handled[batch_id] = (status.tip_hash, trouble)
        return trouble, opened

    def _go_on_without_the_refused(
        self, job: Job, why: PartRefused, status: NodeStatus
    ) -> tuple[WorldError | None, list[int]]:
        """Two halves of a refund that the signer refuses for the sake of a part, until that part is alone and waits for
        a person. A payout is never split for that, nor what was signed and sent once at a lower fee."""
        if job.plan.kind is not Kind.REFUND or job.earlier is not None:
            return why, []
        try:
            opened = self._split(job, status, "signer")
        except WorldError as error:
            return error, []
        if opened:
            return None, opened
        with self.database.transaction() as session:
            attempts.note_refused(session, job.txid, why.sentence)
        trouble = _refused_trouble(job, why)
        self._handled[job.batch_id] = (status.tip_hash, trouble)
        return trouble, []

    def _send_newest(self, job: Job, status: NodeStatus) -> str | None:
        """Sign and send once at each tip; returns the node's refusal. While the newest transaction is not signed, the
        one before it is sent instead."""
        if self._sent_at.get(job.txid) == status.tip_hash:
            return job.refusal
        self.checker.refuse_halted(job.campaign_id)
        try:
            raw = job.raw or self._have_signed(job)
        except WorldError:
            self._send_earlier(job, status)
            raise
        if raw is None:
            self.unsigned += 1
            self._send_earlier(job, status)
            return None
        self.checker.refuse_halted(job.campaign_id)
        refusal = self._send(job, raw, status)
        self._sent_at[job.txid] = status.tip_hash
        return refusal

    def _send_earlier(self, job: Job, status: NodeStatus) -> None:
        if job.earlier is not None and self._sent_at.get(f"below {job.txid}") != status.tip_hash:
            self.backend.broadcast(job.earlier)
            self._sent_at[f"below {job.txid}"] = status.tip_hash

    def _after_refusal(self, job: Job, refusal: str | None, status: NodeStatus) -> list[int]:
        """Two halves where the node does not like what is in it (no fee would help), a dearer attempt where one is due:
        the batches to go on with, none where there is nothing to do but wait."""
        if refusal is not None and ladder.refusal_kind(refusal) is ladder.Refusal.CONTENT:
            return self._split(job, status, "node")
        sent_height = status.height if job.sent_height is None else job.sent_height
        if not job.lost and ladder.is_bump_due(job.number, sent_height, refusal, status.height):
            return self._bump(job, status)
        return []

    def _bump(self, job: Job, status: NodeStatus) -> list[int]:
        dearer = ladder.next_attempt(job.plan, self._estimate())
        if dearer is None:
            return []
        with self.database.transaction() as session:
            _refuse_halted(session, job)
            txid = attempts.store_attempt(session, job.batch_id, job.number + 1, dearer, status.height)
        log.info("%s %s follows %s at %s sat/vB", job.kind, txid, job.txid, dearer.feerate_sat_vb)
        return [job.batch_id]

    def _split(self, job: Job, status: NodeStatus, refused_by: str) -> list[int]:
        parts = ladder.split(job.plan, self._estimate())
        if not parts:
            return []
        with self.database.transaction() as session:
            _refuse_halted(session, job)
            opened = attempts.store_parts(session, job.batch_id, parts, status.height)
        log.warning("%s %s is split: the %s refuses it", job.kind, job.txid, refused_by)
        return opened

    def _estimate(self) -> int:
        """Asked anew: what is due for a bump may be so because fees have risen since the last block."""
        return clamp_feerate(self.backend.feerate_sat_vb(FEE_TARGET_BLOCKS))

    def _have_signed(self, job: Job) -> bytes | None:
        """Ask for the signature, check every byte of it, store it. None where nobody can be asked."""
        if job.tx.txid != job.txid:
            raise WorldError(f"The stored plan of {job.txid} was changed. Settlement is halted.", retryable=False)
        if self.signer is None:
            return None
        raw = self._signature(self.signer, job)
        verify_signed(raw, job.tx, job.descriptor)
        with self.database.transaction() as session:
            attempts.store_signed(session, job.txid, raw)
        log.info("%s %s is signed and stored", job.kind, job.txid)
        return raw

    def _signature(self, signer: SignerClient, job: Job) -> bytes:
        """A refusal of a part is believed the second time: before that the signer is shown everything once more."""
        try:
            return self._ask(signer, job)
        except PartRefused:
            self.checker.refuse_halted(job.campaign_id)
            return self._ask(signer, job)

    def _ask(self, signer: SignerClient, job: Job) -> bytes:
        try:
            self.prover.show(signer, job)
            return signer.sign(job.terms, job.account_index, job.kind, job.tx)
        except WorldError as error:
            if not error.retryable:
                self.prover.forget(job.account_index)
            raise

    def _send(self, job: Job, raw: bytes, status: NodeStatus) -> str | None:
        """Sent at every new block until it is in one. First the note, then the bytes; returns the node's refusal."""
        if not job.sent:
            with self.database.transaction() as session:
                attempts.mark_sent(session, job.txid, datetime.now(UTC), status.height)
        result = self.backend.broadcast(raw)
        with self.database.transaction() as session:
            refusal = attempts.note_result(session, job.txid, result)
        log.info("%s %s was sent: %s %s", job.kind, job.txid, result.sent, result.reason)
        return refusal


def _refuse_halted(session: Session, job: Job) -> None:
    """Raises WorldError where a halt has begun since the job was taken up: its plans stay as they are."""
    halt = halts.stopping(session, job.campaign_id)
    if halt is not None:
        raise WorldError(halts.sentence(halt))


def _refused_trouble(job: Job, why: PartRefused) -> WorldError:
    pledges = ", ".join(str(index) for index in sorted({coin.index for coin in job.plan.inputs}))
    return WorldError(
        f"The {job.kind} {job.txid} of pledge {pledges} of campaign {job.campaign_id} needs a person. {why.sentence} "
        "Everybody else is paid without it. The signer is asked again at each block.",
        retryable=False,
    )


def _standing_trouble(job: Job, refusal: str | None, tip_height: int) -> WorldError | None:
    """What the operator must know of a batch that was sent and for which nothing more can be done at this tip."""
    if refusal is not None and ladder.refusal_kind(refusal) is ladder.Refusal.CONTENT:
        return WorldError(
            f"The {job.kind} {job.txid} needs a person: the node refuses it by itself ({refusal}). Everybody else is "
            "paid without it. It is sent again at each block; another node may take it."
        )
    if not job.lost and ladder.is_bump_due(job.number, job.sent_height, refusal, tip_height):
        return WorldError(
            f"The {job.kind} {job.txid} pays {job.plan.feerate_sat_vb} sat/vB, the most that its caps allow, and is in "
            "no block yet. It is sent again at each block."
        )
    return WorldError(f"The node refuses {job.txid}: {refusal}. It is sent again at each block.") if refusal else None
