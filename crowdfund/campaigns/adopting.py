"""Settlements made after the backup are recognised on the chain and taken into the books: nothing is paid twice.

A transaction that spends our coins and is in no plan is either one of those or a theft. It is taken for ours only if
it is what the terms, the decision (reckoned from the chain by the same pure function) and the registered refund
scripts ask for, byte for byte as this program makes transactions: within the caps, at a whole feerate, every share of
the fee to the satoshi. Everything else stays a foreign spend, which halts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from crowdfund.campaigns import attempts, books, halts, ladder, readdressing, settling, thefts
from crowdfund.campaigns.lifecycle import Kind, owed_kind
from crowdfund.campaigns.models import Attempt, BatchInput, BatchRow, Coin, Pledge, Restore, TimelockedRefund
from crowdfund.campaigns.promises import timelocked_tx
from crowdfund.campaigns.queries import Snapshot, load
from crowdfund.campaigns.settlement import CAPS, Batch, Recipient, SpendableCoin, priced
from crowdfund.campaigns.tip import chain_tip
from crowdfund.chain.backends import AnyBackend
from crowdfund.chain.port import BlockBackend, NodeStatus, Outpoint, Spender, WrongAnswer
from crowdfund.db import Database
from crowdfund.errors import WorldError
from crowdfund.wallet.blocks import ParsedTx, parse_tx, raw_transactions
from crowdfund.wallet.fees import clamp_feerate, transaction_vsize

FEE_TARGET_BLOCKS = 6


@dataclass(frozen=True)
class Foreign:
    """A transaction in a block that spends coins of a campaign and that no attempt knows."""

    txid: str
    height: int
    campaign_id: str


@dataclass(frozen=True)
class Found:
    """A settlement as a plan would have made it, and the lock time that it has."""

    plan: Batch
    locktime: int
    coin_ids: dict[Outpoint, int]


def adopt_settlements(database: Database, backend: AnyBackend, status: NodeStatus) -> None:
    """Decide campaigns whose coins the chain shows as settled, then take in every settlement that follows from it.

    Raises WorldError while one of them is on its way: what it spends must not be planned again.
    """
    with database.transaction() as session:
        touched = {one.campaign_id for one in foreign_settlements(session)}
        for due in settling.campaigns_due(session, status.height):
            if due.id in touched and settling.store_decision(session, due.id):
                books.post_whole(session, [due.id])
    _take_in(database, backend)
    _refuse_unconfirmed(database, backend)


def adopt_spends(database: Database, backend: AnyBackend) -> None:
    """Take in what spends coins of ours, is in no plan, and follows from the terms. Does nothing unless the database
    was restored once: only then can there be a settlement that it does not know."""
    with database.reading() as session:
        restored = session.scalar(select(Restore.id).limit(1)) is not None
    if restored:
        _take_in(database, backend)
        _plan_the_rest(database, backend)


def _take_in(database: Database, backend: AnyBackend) -> None:
    with database.reading() as session:
        foreign = foreign_settlements(session)
    for one in foreign:
        raw = _fetch(backend, one)
        with database.transaction() as session:
            adopt(session, one, raw, datetime.now(UTC))


def foreign_settlements(session: Session) -> list[Foreign]:
    """Every transaction that spends coins of ours and that we do not know, in the order of the chain."""
    rows = session.execute(
        select(Coin.spent_by, Coin.spent_height, Pledge.campaign_id)
        .join(Pledge, Pledge.id == Coin.pledge_id)
        .where(Coin.spent_by.is_not(None), Coin.spent_by.not_in(select(Attempt.txid)))
        .where(Coin.spent_by.not_in(select(TimelockedRefund.txid)), ~thefts.acknowledged())
        .distinct()
        .order_by(Coin.spent_height, Coin.spent_by)
    )
    return [Foreign(txid, height, campaign) for txid, height, campaign in rows if txid is not None and height]


def adopt(session: Session, foreign: Foreign, raw: bytes, now: datetime) -> bool:
    """Store a transaction as if we had planned it, if it is a settlement or a time-locked refund of ours, and post its
    coins; False if it is neither, or if what is planned leaves no place for it."""
    snapshot, made = load(session, foreign.campaign_id), parse_tx(raw)
    refund, found = _as_timelocked(snapshot, made), _as_settlement(snapshot, made)
    if refund is not None:
        refund.raw, refund.created_at = raw, now
        session.add(refund)
        coin_ids = {refund.coin_id}
    elif found is not None and _store(session, foreign.campaign_id, found):
        coin_ids = set(found.coin_ids.values())
    else:
        return False
    session.flush()
    books.post(session, coin_ids)
    return True


def _store(session: Session, campaign_id: str, found: Found) -> bool:
    """As a batch of its own, as a part of one that was split since, or as a dearer attempt of one."""
    wanted = set(found.coin_ids.values())
    held = _batches_of(session, wanted)
    if not held:
        _store_first(session, campaign_id, None, found)
        return True
    whole, coins = max(held.items())
    if not wanted <= coins:
        return False  # planned otherwise meanwhile
    if wanted < coins:
        _store_first(session, campaign_id, whole, found)
        return True
    newest = attempts.job(session, whole)
    same = newest.plan.inputs == found.plan.inputs and newest.plan.recipients == found.plan.recipients
    if not same or newest.plan.fee_sats >= found.plan.fee_sats:
        return False
    attempts.store_rung(session, whole, newest.number + 1, found.plan, found.locktime)
    return True


def _store_first(session: Session, campaign_id: str, parent_id: int | None, found: Found) -> None:
    batch_id = attempts.store_coins(session, campaign_id, parent_id, found.plan, found.coin_ids)
    attempts.store_rung(session, batch_id, 1, found.plan, found.locktime)


def _batches_of(session: Session, coin_ids: set[int]) -> dict[int, set[int]]:
    """Batch -> all its coins, of every batch that spends one of these. A part comes after what it is a part of."""
    own = select(BatchInput.batch_id).where(BatchInput.coin_id.in_(coin_ids))
    rows = session.execute(select(BatchInput.batch_id, BatchInput.coin_id).where(BatchInput.batch_id.in_(own)))
    found: dict[int, set[int]] = {}
    for batch_id, coin_id in rows:
        found.setdefault(batch_id, set()).add(coin_id)
    return found


def _as_settlement(snapshot: Snapshot, made: ParsedTx) -> Found | None:
    """`made` as a plan, if it is what we would have made: put together from our own scripts, it has the same txid."""
    own = {(c.txid, c.vout): (p, c) for p in snapshot.pledges for c in p.coins}
    if snapshot.terms is None or snapshot.outcome is None or any(spent not in own for spent in made.spends):
        return None
    pairs = [own[spent] for spent in made.spends]
    kinds = {owed_kind(snapshot.standing(coin), snapshot.outcome) for _, coin in pairs}
    if len(kinds) != 1 or (kind := kinds.pop()) is None:
        return None
    inputs = [SpendableCoin(c.txid, c.vout, c.value_sats, p.index, p.refund_script) for p, c in pairs]
    payout_script = bytes.fromhex(snapshot.terms.payout_script)
    plan = _as_plan(kind, inputs, payout_script, sum(value_sats for value_sats, _ in made.outputs))
    if plan is None or attempts.unsigned(plan, made.locktime).txid != made.txid:
        return None
    return Found(plan, made.locktime, {(coin.txid, coin.vout): coin.id for _, coin in pairs})


def _as_plan(kind: Kind, inputs: list[SpendableCoin], payout_script: bytes, paid_sats: int) -> Batch | None:
    """What we would make of these coins at the feerate that leaves `paid_sats`, in the order of the inputs."""
    if kind is Kind.RELEASE:
        recipients = [Recipient(payout_script, None)]
    else:
        recipients = list(dict.fromkeys(Recipient(c.refund_script, c.index) for c in inputs))
    fee_sats = sum(c.value_sats for c in inputs) - paid_sats
    vsize = transaction_vsize(len(inputs), [r.script for r in recipients])
    return priced(kind, inputs, recipients, fee_sats // vsize, CAPS)


def _as_timelocked(snapshot: Snapshot, made: ParsedTx) -> TimelockedRefund | None:
    """`made` as a refund of one coin that was signed ahead of time, if it is one; without its bytes."""
    own = {(c.txid, c.vout): (p, c) for p in snapshot.pledges for c in p.coins}
    if snapshot.terms is None or not snapshot.terms.timelock_height or len(made.spends) != 1:
        return None
    pledge, coin = own[made.spends[0]]
    held = readdressing.scripts_of(pledge, snapshot.refund_changes.get(pledge.index, ()))
    for number, script in held if pledge.refund_script else ():
        tx = timelocked_tx(snapshot.terms, coin.txid, coin.vout, coin.value_sats, pledge.index, script)
        if tx is not None and tx.txid == made.txid:
            return TimelockedRefund(
                txid=tx.txid, coin_id=coin.id, value_sats=tx.outputs[0].value_sats, fee_sats=tx.fee_sats,
                change_number=number,
            )  # fmt: skip
    return None


def _plan_the_rest(database: Database, backend: AnyBackend) -> None:
    """Where one part of a batch was found and the others were not, their coins are still owed: they are a part now."""
    with database.reading() as session:
        torn = _torn_batches(session)
    for batch_id in torn:
        feerate_sat_vb = clamp_feerate(backend.feerate_sat_vb(FEE_TARGET_BLOCKS))
        with database.transaction() as session:
            tip, batch = chain_tip(session), session.get_one(BatchRow, batch_id)
            if halts.stopping(session, batch.campaign_id) is not None:
                continue
            plan, gone = attempts.job(session, batch_id).plan, _settled_by_parts(session, batch_id)
            rest = ladder.without(plan, gone, feerate_sat_vb)
            attempts.store_parts(session, batch_id, rest, 0 if tip is None else tip.height)


def _torn_batches(session: Session) -> list[int]:
    """Batches that were split, with a coin that is neither spent nor in any part."""
    split = set(session.scalars(select(BatchRow.parent_id).where(BatchRow.parent_id.is_not(None)).distinct()))
    return sorted(each for each in split if each is not None and _left_behind(session, each))


def _left_behind(session: Session, batch_id: int) -> bool:
    gone = _settled_by_parts(session, batch_id)
    return any((c.txid, c.vout) not in gone for c in attempts.job(session, batch_id).plan.inputs)


def _settled_by_parts(session: Session, batch_id: int) -> set[Outpoint]:
    """The coins of a batch that are spent, or that one of its parts spends."""
    rows = session.execute(
        select(Coin.txid, Coin.vout)
        .join(BatchInput, BatchInput.coin_id == Coin.id)
        .join(BatchRow, BatchRow.id == BatchInput.batch_id)
        .where(BatchRow.parent_id == batch_id)
    )
    return {(txid, vout) for txid, vout in rows} | attempts.gone_coins(session, batch_id)


def _fetch(backend: AnyBackend, foreign: Foreign) -> bytes:
    """The transaction itself, from its block or by its name."""
    if isinstance(backend, BlockBackend):
        block_hash = backend.block_hash(foreign.height)
        found = dict(raw_transactions(backend.block(block_hash))) if block_hash else {}
    else:
        found = dict(backend.transactions([foreign.txid]))
    if foreign.txid not in found:
        raise WrongAnswer(f"The {backend.name} does not have {foreign.txid} where it was a moment ago.")
    return found[foreign.txid]


def _refuse_unconfirmed(database: Database, backend: AnyBackend) -> None:
    """A settlement on its way must be in a block before anything is planned or sent for the coins that it spends."""
    with database.reading() as session:
        rows = session.execute(select(Coin.txid, Coin.vout).where(Coin.height.is_not(None), Coin.spent_by.is_(None)))
        outpoints = [(txid, vout) for txid, vout in rows]
        ours = set(session.scalars(select(Attempt.txid))) | set(session.scalars(select(TimelockedRefund.txid)))
    spenders: dict[tuple[str, int], Spender] = dict(backend.spenders(outpoints)) if outpoints else {}
    for spender in spenders.values():
        if spender.txid not in ours:
            raise WorldError(
                f"{spender.txid} spends coins of ours, is not in a block yet, and was made after the backup: addresses "
                "and settlements wait until it is in one."
            )
