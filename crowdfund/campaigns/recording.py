"""Writing down what the chain did: one transaction for each gathering, the tip last.

Also the two questions that following asks of the records: which blocks are known, and which scripts and coins
are ours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Select, bindparam, delete, func, select, tuple_, update
from sqlalchemy.orm import Session

from crowdfund.campaigns import books
from crowdfund.campaigns.books import Mark
from crowdfund.campaigns.models import (
    Block,
    Campaign,
    Cancellation,
    ChainView,
    Coin,
    DecisionRow,
    Incident,
    IncidentCoin,
    PaymentInput,
    Pledge,
    RivalRow,
    WatchedScript,
)
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.campaigns.tip import chain_tip
from crowdfund.chain.cancelling import Cancellable, FoundCancellation
from crowdfund.chain.follow import BlockFacts, Changes, FoundCoin, Rival
from crowdfund.chain.port import BlockRef, Outpoint
from crowdfund.chain.scan import outpoint_key
from crowdfund.db import Database
from crowdfund.wallet.fees import MIN_FEERATE_SAT_VB

AT_ONCE = 5_000
# A payment this deep needs no watch on what it spends, and one gone for long is not asked after again and again.
BURIED = 100
UNSETTLED = 100

_T = TypeVar("_T")


class RecordedChain:
    """The blocks in the database, as `follow.KnownChain`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def tip(self) -> BlockRef | None:
        """See the port."""
        block = self._session.scalar(select(Block).order_by(Block.height.desc()).limit(1))
        if block is None:
            return None
        return BlockRef(block.height, block.hash, block.prev_hash, block.time, block.median_time_past)

    def hash_at(self, height: int) -> str | None:
        """See the port."""
        return self._session.scalar(select(Block.hash).where(Block.height == height))

    def opened(self) -> int | None:
        """See the port."""
        published = self._session.scalars(select(Campaign.terms).where(Campaign.terms.is_not(None)))
        return min((CampaignTerms.parse(terms or "").opened_height for terms in published), default=None)


class RecordedWatch:
    """Our scripts and coins, as `follow.Watch`: kept in memory, brought up to date with what was stored since.

    Rows are only ever added, and in the order of their ids (one writer at a time), so that nothing is read twice.
    A payment's inputs are watched until it is buried so deep that no reorganisation is thought to undo it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.scripts: set[bytes] = set()
        self.outpoints: set[bytes] = set()
        self._last_script = self._last_coin = self._last_input = 0
        self.cancellable: dict[bytes, Cancellable] = {}
        self._campaigns: dict[str, tuple[bytes, Cancellable] | None] = {}

    def refresh(self) -> None:
        """See the port."""
        with self._database.reading() as session:
            scripts = select(WatchedScript.id, WatchedScript.script).where(WatchedScript.id > self._last_script)
            for number, script in session.execute(scripts.order_by(WatchedScript.id)):
                self.scripts.add(script)
                self._last_script = number
            coins = select(Coin.id, Coin.txid, Coin.vout).where(Coin.id > self._last_coin)
            for number, txid, vout in session.execute(coins.order_by(Coin.id)):
                self.outpoints.add(outpoint_key(txid, vout))
                self._last_coin = number
            for number, txid, vout in session.execute(self._new_inputs(session)):
                self.outpoints.add(outpoint_key(txid, vout))
                self._last_input = number
            self._refresh_cancellable(session)

    def _refresh_cancellable(self, session: Session) -> None:
        """Terms never change, so each campaign's are read once. One that was cancelled is still looked for: a
        reorganisation may put its cancellation in another block, which the signer then has to be shown."""
        ended = select(DecisionRow.campaign_id).where(DecisionRow.cancellation_id.is_(None))
        ids = session.scalars(select(Campaign.id).where(Campaign.terms.is_not(None), Campaign.id.not_in(ended))).all()
        for campaign_id in ids:
            if campaign_id not in self._campaigns:
                self._campaigns[campaign_id] = _cancellable(session.get_one(Campaign, campaign_id).terms or "")
        found = (self._campaigns[campaign_id] for campaign_id in ids)
        self.cancellable = dict(pair for pair in found if pair is not None)

    def coins_among(self, outpoints: Collection[Outpoint]) -> set[Outpoint]:
        """See the port."""
        found: set[Outpoint] = set()
        with self._database.reading() as session:
            for part in _parts({txid for txid, _ in outpoints}):
                rows = session.execute(select(Coin.txid, Coin.vout).where(Coin.txid.in_(part)))
                found.update((txid, vout) for txid, vout in rows)
        return found & set(outpoints)

    def payments_spending(self, outpoints: Collection[Outpoint]) -> dict[Outpoint, set[str]]:
        """See the port."""
        found: dict[Outpoint, set[str]] = {}
        wanted = set(outpoints)
        with self._database.reading() as session:
            for part in _parts({txid for txid, _ in outpoints}):
                for row in session.scalars(select(PaymentInput).where(PaymentInput.prev_txid.in_(part))):
                    if (spent := (row.prev_txid, row.prev_vout)) in wanted:
                        found.setdefault(spent, set()).add(row.txid)
        return found

    def unconfirmed(self) -> set[str]:
        """See the port."""
        with self._database.reading() as session:
            return set(session.scalars(select(Coin.txid).where(Coin.in_mempool)))

    def unsettled(self) -> set[str]:
        """See the port."""
        with self._database.reading() as session:
            gone = select(Coin.txid).where(Coin.height.is_(None), Coin.in_mempool.is_(False))
            lost_for_good = select(RivalRow.txid).where(RivalRow.height.is_not(None))
            newest = gone.where(Coin.txid.not_in(lost_for_good)).order_by(Coin.id.desc()).limit(UNSETTLED)
            return set(session.scalars(newest))

    def recorded(self, items: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
        """See the port."""
        wanted, found = set(items), set[tuple[str, int]]()
        with self._database.reading() as session:
            for part in _parts({txid for txid, _ in wanted}):
                paid = select(Coin.txid, Coin.height).where(Coin.txid.in_(part), Coin.height.is_not(None))
                spent = select(Coin.spent_by, Coin.spent_height).where(Coin.spent_by.in_(part))
                for rows in (session.execute(paid), session.execute(spent)):
                    found.update((txid, height) for txid, height in rows if txid is not None and height is not None)
        return found & wanted

    def inputs_of(self, txids: Collection[str]) -> dict[str, list[Outpoint]]:
        """See the port."""
        found: dict[str, list[Outpoint]] = {txid: [] for txid in txids}
        with self._database.reading() as session:
            for part in _parts(txids):
                for row in session.scalars(select(PaymentInput).where(PaymentInput.txid.in_(part))):
                    found[row.txid].append((row.prev_txid, row.prev_vout))
        return found

    def _new_inputs(self, session: Session) -> Select[int, str, int]:
        tip_height = session.scalar(select(func.max(Block.height))) or 0
        buried = select(Coin.txid).where(Coin.height <= tip_height - BURIED)
        return (
            select(PaymentInput.id, PaymentInput.prev_txid, PaymentInput.prev_vout)
            .where(PaymentInput.id > self._last_input, PaymentInput.txid.not_in(buried))
            .order_by(PaymentInput.id)
        )


def record(session: Session, changes: Changes, now: datetime) -> None:
    """Write `changes`, the tip last: it says that everything up to it is known. The ledger follows."""
    if changes.fork_height is not None:
        _roll_back(session, changes.fork_height, now)
    before = books.mark_of(chain_tip(session))
    for facts in (*changes.late, *changes.blocks):
        _record_block(session, facts, now)
    for found in changes.mempool_coins:
        _record_unconfirmed(session, found, now)
    session.flush()
    for part in _parts(changes.left):
        session.execute(update(Coin).where(Coin.in_mempool, Coin.txid.in_(part)).values(in_mempool=False))
    for rival in changes.rivals:
        _record_rival(session, rival)
    for ref in (facts.block for facts in changes.blocks):
        session.add(
            Block(
                height=ref.height,
                hash=ref.hash,
                prev_hash=ref.prev_hash,
                time=ref.time,
                median_time_past=ref.median_time_past,
            )
        )
    _post(session, (*changes.late, *changes.blocks), before)
    tell_pages(session)


def record_late(session: Session, facts: Iterable[BlockFacts], now: datetime) -> None:
    """Write down what blocks hold that were recorded, or passed, before."""
    told = list(facts)
    for each in told:
        _record_block(session, each, now)
    _post(session, told, books.mark_of(chain_tip(session)))
    tell_pages(session)


def tell_pages(session: Session) -> None:
    """Move the counter that open pages wait for: something that they show is about to change."""
    session.execute(update(ChainView).values(changes=ChainView.changes + 1))


def set_view(
    session: Session, state: str, trouble: str, feerate_sat_vb: int | None, now: datetime, pause: str = ""
) -> None:
    """How the worker sees the chain (`state`), what keeps it from settling (`trouble`) and why decisions wait
    (`pause`); the last two are empty if nothing does."""
    view = session.get(ChainView, 1)
    if view is None:
        view = ChainView(id=1, changes=0)
        session.add(view)
    if (view.state, view.trouble, view.pause) != (state, trouble, pause):
        view.changes += 1
    view.state, view.trouble, view.pause, view.seen_at = state, trouble, pause, now
    view.feerate_sat_vb = feerate_sat_vb or view.feerate_sat_vb or MIN_FEERATE_SAT_VB


def _roll_back(session: Session, fork_height: int, now: datetime) -> None:
    """Undo the blocks above the fork: their coins are unconfirmed again, their spends undone, and the public is
    told."""
    tip = chain_tip(session)
    lost = forget_blocks(session, fork_height)
    incident = Incident(
        kind="reorganisation",
        height=fork_height + 1,
        depth=tip.height - fork_height if tip else 1,
        began_at=now,
        ended_at=now,
    )
    session.add(incident)
    session.flush()
    session.add_all(IncidentCoin(incident_id=incident.id, coin_id=coin_id) for coin_id in lost)


def forget_blocks(session: Session, above: int) -> Sequence[int]:
    """As if no block higher than `above` had been read: what they held is still known, as unconfirmed, and contra
    transfers are posted. Returns the ids of the coins that were in them."""
    before = books.mark_of(chain_tip(session), above)
    unspent = session.scalars(select(Coin.id).where(Coin.spent_height > above)).all()
    lost = session.scalars(select(Coin.id).where(Coin.height > above).order_by(Coin.id)).all()
    session.execute(delete(Block).where(Block.height > above))
    session.execute(update(Coin).where(Coin.height > above).values(height=None, block_hash=None, in_mempool=False))
    session.execute(update(Coin).where(Coin.spent_height > above).values(spent_by=None, spent_height=None))
    session.execute(update(RivalRow).where(RivalRow.height > above).values(height=None))
    books.post_moved(session, {*lost, *unspent}, before, books.mark_of(chain_tip(session), above))
    return lost


def _post(session: Session, told: Sequence[BlockFacts], before: Mark) -> None:
    """Post what these blocks pay and spend, and what has come of age or come to its end with them."""
    session.flush()
    paid = {(found.txid, found.vout) for facts in told for found in facts.coins}
    spent = {(spend.txid, spend.vout) for facts in told for spend in facts.spends}
    books.post_moved(session, books.coins_at(session, paid | spent), before, books.mark_of(chain_tip(session)))


def _record_block(session: Session, facts: BlockFacts, now: datetime) -> None:
    for found in facts.coins:
        coin = _coin(session, found, now)
        coin.height, coin.block_hash, coin.in_mempool = facts.block.height, facts.block.hash, False
    session.flush()
    _record_spends(session, facts)
    for cancelled in facts.cancellations:
        _record_cancellation(session, facts, cancelled, now)
    for rival in facts.rivals:
        _record_rival(session, rival)


def _record_cancellation(session: Session, facts: BlockFacts, found: FoundCancellation, now: datetime) -> None:
    """Once for each block that holds it. Rows are never taken back: one counts while its block is recorded."""
    campaign_id = session.scalar(select(Campaign.id).where(Campaign.terms_hash == found.terms_hash.hex()))
    known = select(Cancellation.id).where(
        Cancellation.campaign_id == campaign_id,
        Cancellation.txid == found.txid,
        Cancellation.block_hash == facts.block.hash,
    )
    if campaign_id is None or session.scalar(known) is not None:
        return
    session.add(
        Cancellation(
            campaign_id=campaign_id,
            txid=found.txid,
            height=facts.block.height,
            block_hash=facts.block.hash,
            position=found.placed.position,
            branch=b"".join(bytes.fromhex(step) for step in found.placed.branch),
            raw=found.placed.raw,
            spent=found.spent,
            reason_sha256=found.reason_sha256.hex(),
            found_at=now,
        )
    )


def _cancellable(text: str) -> tuple[bytes, Cancellable] | None:
    terms = CampaignTerms.parse(text)
    if not terms.cancellable:
        return None
    return terms.hash, Cancellable(bytes.fromhex(terms.payout_script), terms.opened_height)


def _record_spends(session: Session, facts: BlockFacts) -> None:
    """All in one statement: a block may hold thousands of our own payments."""
    spent = [{"of": s.txid, "number": s.vout, "spent_by": s.spent_by} for s in facts.spends]
    if spent:
        statement = update(Coin).where(Coin.txid == bindparam("of"), Coin.vout == bindparam("number"))
        session.connection().execute(statement.values(spent_height=facts.block.height), spent)


def _record_unconfirmed(session: Session, found: FoundCoin, now: datetime) -> None:
    coin = _coin(session, found, now)
    coin.in_mempool = coin.height is None


def _record_rival(session: Session, rival: Rival) -> None:
    """A payment that a block holds has no rival; and a rival in a block is not forgotten for one in the mempool."""
    if session.scalar(select(Coin.id).where(Coin.txid == rival.txid, Coin.height.is_not(None)).limit(1)) is not None:
        return
    row = session.get(RivalRow, rival.txid)
    if row is None:
        session.add(RivalRow(txid=rival.txid, by=rival.by, height=rival.height))
    elif rival.height is not None or row.height is None:
        row.by, row.height = rival.by, rival.height
    session.execute(update(Coin).where(Coin.in_mempool, Coin.txid == rival.txid).values(in_mempool=False))


def _coin(session: Session, found: FoundCoin, now: datetime) -> Coin:
    """The row of an output, made at first sight. Seeing it again ends what a rival meant for it."""
    session.execute(delete(RivalRow).where(RivalRow.txid == found.txid))
    coin = session.scalar(select(Coin).where(tuple_(Coin.txid, Coin.vout) == (found.txid, found.vout)))
    if coin is None:
        _remember_inputs(session, found)
        coin = Coin(
            pledge_id=session.scalar(select(Pledge.id).where(Pledge.script == found.script)),
            txid=found.txid,
            vout=found.vout,
            value_sats=found.value_sats,
            coinbase=found.coinbase,
            first_seen_at=now,
            in_mempool=False,
        )
        session.add(coin)
        session.flush()
    return coin


def _remember_inputs(session: Session, found: FoundCoin) -> None:
    if session.scalar(select(PaymentInput.id).where(PaymentInput.txid == found.txid).limit(1)) is None:
        session.add_all(PaymentInput(txid=found.txid, prev_txid=txid, prev_vout=vout) for txid, vout in found.inputs)


def _parts(items: Iterable[_T]) -> Iterable[list[_T]]:
    listed = list(items)
    return (listed[i : i + AT_ONCE] for i in range(0, len(listed), AT_ONCE))
