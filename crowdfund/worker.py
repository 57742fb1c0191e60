"""The worker: watch, decide, settle, broadcast. Holds no key.

One loop, one process (a lock sees to it). Each step reads, asks, and writes in one transaction of its own, so that
being killed between any two of them loses nothing: the next round finds the stored step and goes on from there.
A plan is never made twice, and "I do not see my transaction" never means "I did not pay".
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from crowdfund.campaigns import (
    adopting,
    attempts,
    checking,
    cold,
    figures,
    halts,
    incidents,
    readdressing,
    recording,
    service,
    settling,
)
from crowdfund.campaigns.settling import DueCampaign
from crowdfund.cancelling import CancellationSender
from crowdfund.chain.agreement import Doubt, refuse_wrong_chain, second_opinion
from crowdfund.chain.backends import AnyBackend, follower_of
from crowdfund.chain.doorbell import Doorbell
from crowdfund.chain.follow import BlockFacts, Follower
from crowdfund.chain.port import ChainBackend, NodeStatus, Unreachable
from crowdfund.changing import Changer
from crowdfund.db import Database
from crowdfund.errors import UserError, WorldError
from crowdfund.paying import FEE_TARGET_BLOCKS, Payer
from crowdfund.promising import Promises
from crowdfund.proving import Prover, ending_of
from crowdfund.registering import Registrar
from crowdfund.rescan import Rescan
from crowdfund.wallet.fees import clamp_feerate
from crowdfund.wallet.signer_client import SignerClient

log = logging.getLogger("crowdfund.worker")

SPARE_ACCOUNTS = 20
POLL_S = 0.4
LIVE = "live"
MAX_WAIT_S = 15
HEARTBEAT = timedelta(seconds=10)


@dataclass(frozen=True)
class View:
    """How things stand: for everyone, for the operator, and why decisions wait."""

    state: str
    trouble: str
    pause: str

    @property
    def in_the_way(self) -> str:
        """What keeps the worker from settling, in a sentence; empty if nothing does."""
        return self.trouble or self.pause or ("" if self.state in ("", LIVE) else f"Nothing is settled: {self.state}.")


@dataclass
class Worker:
    """What a round needs. What it keeps between rounds are hints only: a restart changes nothing."""

    database: Database
    backend: AnyBackend
    signer: SignerClient | None  # None: signatures come by hand (campaigns/cold.py)
    network: str
    second: ChainBackend | None = None
    second_every_s: float = 5.0
    _follower: Follower = field(init=False)
    _watched: recording.RecordedWatch = field(init=False)
    _prover: Prover = field(init=False)
    _canceller: CancellationSender = field(init=False)
    _promises: Promises = field(init=False)
    _registrar: Registrar = field(init=False)
    _changer: Changer = field(init=False)
    _feerate_sat_vb: int | None = None
    _settled_at: str = ""
    _looked_at: str = ""
    _seed_known: bool = False
    _behind_from: int | None = None
    _doubts: dict[str, tuple[float, Doubt | None]] = field(default_factory=dict)
    _view: View = field(default_factory=lambda: View("", "", ""))
    _view_at: datetime | None = None
    _checker: checking.Checker = field(init=False)
    _payer: Payer = field(init=False)
    _figures: figures.Keeper = field(default_factory=figures.Keeper)
    _rescan: Rescan | None = None

    def __post_init__(self) -> None:
        self._follower = follower_of(self.backend, self.network)
        self._watched = recording.RecordedWatch(self.database)
        self._prover = Prover(self.database, self.backend)
        self._canceller = CancellationSender(self.database, self.backend)
        self._checker = checking.Checker(self.database)
        self._promises = Promises(self.database, self.signer, self._prover, self._checker)
        self._registrar = Registrar(self.database, self.signer)
        self._changer = Changer(self.database, self.signer)
        self._payer = Payer(self.database, self.backend, self.signer, self._checker, self._prover)

    def round(self, heard: Collection[str] = ()) -> bool:
        """One round; True if another one should follow at once. `heard` are txids that a wake-up spoke of.

        Raises WorldError where the backend is away or is the wrong one: then nothing is decided.
        """
        status = self.backend.status()
        refuse_wrong_chain(self.backend, status, self.network)
        if self._rescan is None:
            self._rescan = Rescan(self.database, self.network, self._watched)
        outcome = self.watch(status, heard)
        if outcome is None:
            return True
        if self._rescan.active:
            return self._catch_up(self._rescan, status)
        more, trouble, pause = self._settle_safely(status) if status.synced else (False, "", "")
        state = LIVE if status.synced else f"node catching up {status.height} of {status.headers} blocks"
        self.show(View(state, trouble, pause))
        self.keep_figures()  # last: whatever is wrong with a list, the chain is on record and everybody was paid
        return outcome or more

    def watch(self, status: NodeStatus, heard: Collection[str] = ()) -> bool | None:
        """Gather and write down; True if anything changed, None while the chain moves or more blocks wait."""
        written = False
        try:
            outcome = self._watch(status, heard)
            written = True
            return outcome
        finally:
            if not written:
                self._follower.forget()  # what was looked at may not have been written down

    def _watch(self, status: NodeStatus, heard: Collection[str]) -> bool | None:
        with self.database.reading() as session:
            changes = self._follower.gather(status, recording.RecordedChain(session), self._watched, heard)
        if changes is None:
            self._follower.forget()
            return None
        if changes.blocks or self._feerate_sat_vb is None:
            self._feerate_sat_vb = clamp_feerate(self.backend.feerate_sat_vb(FEE_TARGET_BLOCKS))
        if not changes.is_news:
            return False
        with self.database.transaction() as session:
            if self._rescan is not None:
                self._rescan.take_in(session, changes)
            recording.record(session, changes, datetime.now(UTC))
        if not changes.complete:
            self._show_catching_up(changes.blocks, status)
            return None
        self._behind_from = None
        return True

    def _catch_up(self, rescan: Rescan, status: NodeStatus) -> bool:
        """After a restore: True if another walk should follow at once."""
        trouble, again = "", status.synced
        try:
            if status.synced and not rescan.advance(self.backend, self._follower, status):
                self._follower.forget()
                self._follower = follower_of(self.backend, self.network)  # what it has looked at says nothing now
        except WorldError as error:
            trouble, again = error.sentence, False
        self.show(View("restored from a backup, looking through the chain", trouble, self._view.pause))
        return again

    def settle(self, status: NodeStatus) -> Doubt | None:
        """Decide and plan what is due, then take every open attempt one step further.

        Returns why a decision waits, None if none does. Raises WorldError. Without a new block there is nothing to do
        once all was done: what moves is in blocks.
        """
        mark = self._mark(status)
        if self._settled_at == mark and not self._checker.lasting():
            return None
        adopting.adopt_spends(self.database, self.backend)
        unchecked = self._checker.look(self.backend, status)
        doubt, undecided = self._decide_and_plan(status)
        with self.database.reading() as session:
            lost = attempts.lost_inputs(session)
        troubles = [WorldError(halts.sentence(halt)) for halt in self._checker.lasting()[:1]]
        troubles += [_lost_input(*one) for one in lost[:1]]
        troubles += self._payer.pay(status, clamp_feerate(self._feerate_sat_vb))
        troubles += undecided + unchecked
        if troubles:
            raise troubles[0]
        if doubt is None:
            self._settled_at = mark
        return doubt

    def _mark(self, status: NodeStatus) -> str:
        """Becomes another one when there may be something to do: a new tip, or a signature that somebody brought."""
        if self.signer is not None:
            return status.tip_hash
        with self.database.reading() as session:
            return f"{status.tip_hash} {cold.signed_count(session)}"

    def keep_accounts(self) -> None:
        """Ask the signer for accounts ahead of time, so that publishing works while it is away.

        The first time, the first account is asked for again: a signer with another seed is found out at once. Accounts
        from before there were receipt keys are asked for once more.
        """
        if self.signer is None:
            with self.database.reading() as session:
                cold.refuse_no_accounts(session)
            return
        if not self._seed_known:
            offered = self.signer.accounts(0, 1)
            with self.database.reading() as session:
                service.refuse_other_seed(session, offered)
            self._seed_known = True
        with self.database.reading() as session:
            first, spare = service.account_stock(session)
            keyless = service.first_without_receipt_key(session)
        if keyless is not None or spare < SPARE_ACCOUNTS // 2:
            first = first if keyless is None else keyless
            offered = self.signer.accounts(first, SPARE_ACCOUNTS)
            with self.database.transaction() as session:
                service.store_accounts(session, offered)

    def keep_figures(self) -> None:
        """Derive the figures of lists anew where something has touched them, a large campaign's only now and then."""
        with self.database.reading() as session:
            due = self._figures.due(session)
        if due:
            with self.database.transaction() as session:
                if self._figures.keep(session):
                    recording.tell_pages(session)

    def keep_promises(self, status: NodeStatus) -> bool:
        """Receipts and time-locked refunds; True if there may be more yet. Whatever must hold is looked at before, as
        nothing is signed for what has just been halted."""
        if self._looked_at != status.tip_hash:
            adopting.adopt_spends(self.database, self.backend)
            self._checker.look(self.backend, status)
            self._looked_at = status.tip_hash
        return self._promises.keep(status.tip_hash)

    @property
    def view(self) -> View:
        """How things stood after the last round."""
        return self._view

    def show(self, view: View) -> None:
        """Write how things stand, when that changes and every ten seconds."""
        now = datetime.now(UTC)
        if self._view != view or self._view_at is None or now - self._view_at >= HEARTBEAT:
            with self.database.transaction() as session:
                recording.set_view(session, view.state, view.trouble, self._feerate_sat_vb, now, view.pause)
            self._view, self._view_at = view, now

    def note_trouble(self, error: WorldError) -> None:
        """Write since when the chain is not watched, and why."""
        state = "node unreachable since" if isinstance(error, Unreachable) else "watching stopped since"
        if not self._view.state.startswith(state):
            state = f"{state} {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        else:
            state = self._view.state
        self.show(View(state, error.sentence, self._view.pause))

    def note_fault(self) -> None:
        """Write that something unforeseen stands in the way."""
        self.show(replace(self._view, trouble="The worker met a fault; its log says more."))

    def _show_catching_up(self, blocks: Sequence[BlockFacts], status: NodeStatus) -> None:
        if self._behind_from is None:
            self._behind_from = blocks[0].block.height - 1
        done, all_of_them = blocks[-1].block.height - self._behind_from, status.height - self._behind_from
        self.show(View(f"catching up {done} of {all_of_them} blocks", "", self._view.pause))

    def _settle_safely(self, status: NodeStatus) -> tuple[bool, str, str]:
        """All that needs the signer; what stands in the way is a sentence for the operator, and the rest goes on.
        Returns whether there may be more to do yet, that sentence, and why decisions wait."""
        more, troubles, failed, pause = False, [], [], self._view.pause
        self._prover.keep(status.tip_hash)
        steps: tuple[Callable[[], bool | None], ...] = (
            self.keep_accounts,
            lambda: self._registrar.keep(status.tip_hash),
            self._changer.keep,  # before receipts and refunds, which name the address of now
            lambda: self.keep_promises(status),
            lambda: self._canceller.keep(status.tip_hash),
        )
        for step in steps:
            try:
                more = bool(step()) or more
            except (WorldError, UserError) as error:
                troubles.append(error.sentence)
        try:
            doubt = self.settle(status)
            pause = doubt.sentence if doubt else ""
            troubles += [doubt.detail] if doubt else []
        except (WorldError, UserError) as error:
            failed = [error.sentence]
        waiting = cold.waiting(self._payer.unsigned) if self.signer is None else []
        troubles = failed + waiting + troubles  # what is wrong with the money comes before who is away
        if troubles and troubles[0] != self._view.trouble:
            log.warning("%s", troubles[0])
        return more, (troubles[0] if troubles else ""), pause

    def _agree_on_coins(self, campaign_id: str, status: NodeStatus) -> None:
        """Before an outcome is decided, the books must hold what the backend's own set of unspent outputs holds.

        Only we can spend these coins, so that set has them all: also those paid before their address was given out,
        and those that a server told of late. What the books lack is taken in; what only the books have stops us.
        """
        with self.database.reading() as session:
            scripts = settling.issued_scripts(session, campaign_id)
            ours = settling.unspent_coins(session, campaign_id)
        if not scripts:
            return
        tip_hash, unspent = self.backend.unspent(scripts)
        missing = [coin for coin in unspent if (coin.txid, coin.vout, coin.height) not in ours]
        facts = self._follower.early(missing) if missing else ()
        if tip_hash != status.tip_hash or self.backend.block_hash(status.height) != tip_hash:
            raise WorldError("The chain has moved while its coins were counted; they are counted again.")
        only_ours = ours - {(coin.txid, coin.vout, coin.height) for coin in unspent}
        if only_ours:
            txid, vout, _ = min(only_ours)
            raise WorldError(f"{txid}:{vout} is in the books and not among the unspent outputs: nothing is decided.")
        if facts:
            with self.database.transaction() as session:
                recording.record_late(session, facts, datetime.now(UTC))
            log.info("campaign %s: %s coins are recorded late", campaign_id, len(missing))

    def _decide_and_plan(self, status: NodeStatus) -> tuple[Doubt | None, list[WorldError]]:
        """Plan what is owed, decide what can be decided; returns why a decision waits, None if none does, and what
        stands in the way of some campaigns, which is not the others' trouble."""
        with self.database.reading() as session:
            due = settling.campaigns_due(session, status.height)
            loose = settling.decided_with_loose_coins(session)
        feerate_sat_vb = clamp_feerate(self._feerate_sat_vb)
        for campaign_id in loose:
            with self.database.transaction() as session:
                if halts.stopping(session, campaign_id) is None:
                    settling.plan_campaign(session, campaign_id, feerate_sat_vb)
        first: Doubt | None = None
        troubles = []
        for campaign in due:
            doubt = self._doubt(campaign)
            if doubt is not None:
                first = first or doubt
                self._note_dispute(campaign.id, doubt)
                continue
            try:
                self._decide(campaign, status, feerate_sat_vb)
            except WorldError as error:
                troubles.append(error)
        return first, troubles

    def _decide(self, campaign: DueCampaign, status: NodeStatus, feerate_sat_vb: int) -> None:
        campaign_id = campaign.id
        self._checker.before_deciding(campaign_id)
        self._checker.refuse_halted(campaign_id)  # a forged address must bring no coins into the books
        self._agree_on_coins(campaign_id, status)
        self._checker.before_deciding(campaign_id)
        ending = ending_of(self.database, self.backend, campaign)
        with self.database.transaction() as session:
            readdressing.refuse_unanswered(session, campaign_id)
            if halts.stopping(session, campaign_id) is None and settling.decide_campaign(
                session, campaign_id, feerate_sat_vb, ending
            ):
                incidents.end_dispute(session, campaign_id, datetime.now(UTC))
                log.info("campaign %s is decided", campaign_id)

    def _doubt(self, campaign: DueCampaign) -> Doubt | None:
        """What the second backend has against deciding now. It is not asked over and over."""
        if self.second is None:
            return None
        asked_at, held = self._doubts.get(campaign.id, (0.0, None))
        if held is None or time.monotonic() - asked_at >= self.second_every_s:
            held = second_opinion(self.second, self.network, campaign.proof)
            self._doubts[campaign.id] = (time.monotonic(), held)
        return held

    def _note_dispute(self, campaign_id: str, doubt: Doubt) -> None:
        """Tell the public of two servers that contradict each other; one that is merely away is not worth a line."""
        with self.database.reading() as session:
            known = doubt.height is None or incidents.in_dispute(session, campaign_id)
        if not known:
            with self.database.transaction() as session:
                incidents.begin_dispute(session, campaign_id, doubt.height or 0, datetime.now(UTC))


def _lost_input(outpoint: str, txid: str) -> WorldError:
    """An alarm: what was decided stays decided, and nothing is planned in place of it."""
    return WorldError(
        f"A reorganisation has taken {outpoint} away, on which a decision rests. {txid} spends it and waits until the "
        "payment is in a block again; nothing else is paid in its place. If that payment was spent elsewhere, it will "
        "wait for ever: tell the people concerned."
    )


def run(worker: Worker, stop: threading.Event, bell: Doorbell | None = None) -> None:
    """Rounds until `stop` is set, sooner when the bell rings. Waits longer and longer while rounds fail."""
    bell = bell or Doorbell()
    wait_s, heard = POLL_S, frozenset[str]()
    while not stop.is_set():
        wait_s = _one_round(worker, wait_s, heard)
        if wait_s > POLL_S:
            stop.wait(wait_s)  # a bell must not hasten what fails
        heard = bell.wait(min(wait_s, POLL_S))


def run_once(worker: Worker, stop: threading.Event) -> None:
    """Rounds until one finds nothing more to do and the chain has not moved since, or until `stop` is set. Raises
    WorldError if something stands in the way then."""
    again = True
    while again and not stop.is_set():
        try:
            tip_hash = worker.backend.status().tip_hash
            again = worker.round() or worker.backend.status().tip_hash != tip_hash
        except WorldError as error:
            worker.note_trouble(error)
            raise
    if worker.view.in_the_way:
        raise WorldError(worker.view.in_the_way)


def _one_round(worker: Worker, waited_s: float, heard: Collection[str]) -> float:
    """How long to wait after this round. The only place that catches everything: one fault must not end watching."""
    try:
        return 0 if worker.round(heard) else POLL_S
    except WorldError as error:
        log.warning("%s", error.sentence)
        with suppress(SQLAlchemyError):
            worker.note_trouble(error)
    except Exception:
        log.exception("A round of the worker failed; the next one starts from what is stored.")
        with suppress(SQLAlchemyError):
            worker.note_fault()
    # Some chance in it: many workers that lost one server must not come back all at once.
    return min(MAX_WAIT_S, max(waited_s, POLL_S) * random.uniform(1.5, 2.5))
