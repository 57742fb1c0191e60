"""Settlement in the database: decide once, plan once, store every step before the next one is taken.

One function for each step, each in the transaction of its caller. Nothing here signs or sends; nothing here ever
makes a second plan for a coin (a coin is in one batch, by the table's key).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, selectinload

from crowdfund.campaigns.lifecycle import COINBASE_MATURITY, Kind, decide, depth, owed_kind
from crowdfund.campaigns.models import (
    Attempt,
    BatchInput,
    BatchOutput,
    BatchRow,
    Block,
    Campaign,
    Coin,
    DecisionRow,
    Pledge,
)
from crowdfund.campaigns.queries import Snapshot, facts_of, load
from crowdfund.campaigns.recording import closing_block, tell_pages
from crowdfund.campaigns.settlement import Batch, SpendableCoin, plan_refunds, plan_release
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.chain.port import SendResult, Sent
from crowdfund.wallet.transactions import TxInput, TxOutput, UnsignedTx


@dataclass(frozen=True)
class Job:
    """An attempt with all that is needed to have it signed or sent."""

    txid: str
    terms: str
    account_index: int
    descriptor: str
    kind: str
    tx: UnsignedTx
    raw: bytes | None
    sent: bool
    refusal: str | None


@dataclass(frozen=True)
class Registration:
    """Refund scripts (by address index) of one campaign that the signer has not been told yet."""

    terms: str
    account_index: int
    refunds: dict[int, bytes]
    pledge_ids: tuple[str, ...]


@dataclass(frozen=True)
class DueCampaign:
    """An undecided campaign, and the blocks that its outcome rests on: height -> hash of the closing block and of the
    one that makes it deep enough."""

    id: str
    proof: dict[int, str]


def campaigns_due(session: Session, tip_height: int) -> list[DueCampaign]:
    """Undecided campaigns whose closing block is as deep as their terms ask for."""
    due = []
    for campaign_id, terms in _undecided(session):
        closing = closing_block(session, terms.deadline)
        if closing is not None and depth(closing.height, tip_height) >= terms.confirmations:
            deep = session.get_one(Block, closing.height + terms.confirmations - 1)
            due.append(DueCampaign(campaign_id, {closing.height: closing.hash, deep.height: deep.hash}))
    return due


def issued_scripts(session: Session, campaign_id: str) -> list[bytes]:
    """The locking scripts of every address that the campaign has given out."""
    rows = session.scalars(select(Pledge.script).where(Pledge.campaign_id == campaign_id, Pledge.script.is_not(None)))
    return [script for script in rows if script is not None]


def unspent_coins(session: Session, campaign_id: str) -> set[tuple[str, int, int]]:
    """(txid, vout, height) of the campaign's coins that the books have in a block and not spent."""
    rows = session.execute(
        select(Coin.txid, Coin.vout, Coin.height)
        .join(Pledge, Pledge.id == Coin.pledge_id)
        .where(Pledge.campaign_id == campaign_id, Coin.height.is_not(None), Coin.spent_by.is_(None))
    )
    return {(txid, vout, height) for txid, vout, height in rows if height is not None}


def decided_with_loose_coins(session: Session) -> list[str]:
    """Decided campaigns that hold a confirmed, unspent coin which no batch spends."""
    rows = session.scalars(
        select(Pledge.campaign_id)
        .join(Coin, Coin.pledge_id == Pledge.id)
        .join(DecisionRow, DecisionRow.campaign_id == Pledge.campaign_id)
        .outerjoin(BatchInput, BatchInput.coin_id == Coin.id)
        .where(Coin.height.is_not(None), Coin.spent_by.is_(None), BatchInput.coin_id.is_(None))
        .distinct()
    )
    return list(rows)


def decide_campaign(session: Session, campaign_id: str, feerate_sat_vb: int) -> bool:
    """Store the decision and the plan that follows from it, in one transaction. False if it is too early."""
    if not store_decision(session, campaign_id):
        return False
    plan_campaign(session, campaign_id, feerate_sat_vb)
    return True


def store_decision(session: Session, campaign_id: str) -> bool:
    """Store the decision alone. False if it is too early."""
    snapshot = load(session, campaign_id)
    if snapshot.terms is None or snapshot.decision is not None or snapshot.closing is None:
        return False
    decision = decide(
        snapshot.terms.goal_sats,
        snapshot.terms.min_coin_sats,
        map(facts_of, snapshot.coins),
        snapshot.closing.height,
        snapshot.tip_height,
        snapshot.terms.confirmations,
    )
    if decision is None:
        return False
    session.add(
        DecisionRow(
            campaign_id=campaign_id,
            outcome=decision.outcome,
            counted_sats=decision.counted_sats,
            closing_height=snapshot.closing.height,
            closing_hash=snapshot.closing.hash,
            decided_height=snapshot.tip_height,
        )
    )
    session.flush()
    tell_pages(session)
    return True


def plan_campaign(session: Session, campaign_id: str, feerate_sat_vb: int) -> int:
    """Plan what is owed and not planned yet; returns the number of new batches."""
    snapshot = load(session, campaign_id)
    if snapshot.terms is None or snapshot.outcome is None:
        return 0
    owed: dict[Kind, list[SpendableCoin]] = {Kind.RELEASE: [], Kind.REFUND: []}
    rows: dict[tuple[str, int], Coin] = {}
    for pledge in snapshot.pledges:
        for coin in pledge.coins:
            kind = owed_kind(snapshot.standing(coin), snapshot.outcome)
            if kind is Kind.REFUND and not pledge.refund_script:
                continue  # found after a restore: an operator must say where to
            if kind is not None and _is_spendable(snapshot, coin):
                owed[kind].append(
                    SpendableCoin(coin.txid, coin.vout, coin.value_sats, pledge.index, pledge.refund_script)
                )
                rows[(coin.txid, coin.vout)] = coin
    payout_script = bytes.fromhex(snapshot.terms.payout_script)
    batches = plan_release(owed[Kind.RELEASE], payout_script, feerate_sat_vb)
    batches += plan_refunds(owed[Kind.REFUND], feerate_sat_vb)
    if batches:
        tell_pages(session)
    for batch in batches:
        _store_batch(session, campaign_id, batch, rows, snapshot.tip_height)
    return len(batches)


def unregistered(session: Session) -> list[Registration]:
    """Refund addresses that the signer must hear of, by campaign."""
    known = func.length(Pledge.refund_script) > 0
    waiting = select(Pledge).where(Pledge.registered.is_(False), Pledge.address.is_not(None), known)
    pledges = session.scalars(waiting).all()
    found = []
    for campaign_id in sorted({p.campaign_id for p in pledges}):
        own = [p for p in pledges if p.campaign_id == campaign_id]
        campaign = session.get_one(Campaign, campaign_id)
        found.append(
            Registration(
                terms=campaign.terms or "",
                account_index=_account(campaign),
                refunds={p.index: p.refund_script for p in own},
                pledge_ids=tuple(p.id for p in own),
            )
        )
    return found


def mark_registered(session: Session, pledge_ids: tuple[str, ...]) -> None:
    """The signer knows these refund addresses."""
    session.execute(update(Pledge).where(Pledge.id.in_(pledge_ids)).values(registered=True))


def open_jobs(session: Session) -> list[Job]:
    """Every attempt whose transaction is not in a block, in the order of planning."""
    settled = select(BatchInput.batch_id).join(Coin, Coin.id == BatchInput.coin_id).where(Coin.spent_by.is_not(None))
    attempts = session.scalars(
        select(Attempt)
        .where(Attempt.batch_id.not_in(settled))
        .order_by(Attempt.batch_id, Attempt.number)
        .options(
            selectinload(Attempt.batch).options(
                selectinload(BatchRow.inputs).joinedload(BatchInput.coin).joinedload(Coin.pledge),
                selectinload(BatchRow.outputs),
            )
        )
    )
    return [_job(session, attempt) for attempt in attempts.all()]


def store_signed(session: Session, txid: str, raw: bytes) -> None:
    """Keep signed bytes; they never change afterwards (a trigger sees to it)."""
    tell_pages(session)
    session.execute(update(Attempt).where(Attempt.txid == txid, Attempt.raw.is_(None)).values(raw=raw))


def mark_sent(session: Session, txid: str, now: datetime) -> None:
    """Written before the bytes go out: from here on the transaction may be anywhere."""
    tell_pages(session)
    session.execute(update(Attempt).where(Attempt.txid == txid, Attempt.sent_at.is_(None)).values(sent_at=now))


def note_result(session: Session, txid: str, result: SendResult) -> str | None:
    """Keep the node's refusal for people to read, and return it. The attempt is sent again all the same."""
    refusal = result.reason if result.sent in (Sent.REFUSED, Sent.INPUTS_GONE) else None
    session.execute(update(Attempt).where(Attempt.txid == txid).values(refusal=refusal))
    return refusal


def foreign_spends(session: Session) -> list[str]:
    """Outpoints of ours spent by a transaction that is not ours: somebody else has the keys."""
    coins = session.scalars(select(Coin).where(Coin.spent_by.is_not(None), Coin.spent_by.not_in(select(Attempt.txid))))
    return [f"{coin.txid}:{coin.vout}" for coin in coins]


def lost_inputs(session: Session) -> list[tuple[str, str]]:
    """(outpoint, txid of the attempt that would spend it) of planned coins whose block a reorganisation took away."""
    rows = session.execute(
        select(Coin.txid, Coin.vout, Attempt.txid)
        .join(BatchInput, BatchInput.coin_id == Coin.id)
        .join(Attempt, Attempt.batch_id == BatchInput.batch_id)
        .where(Coin.height.is_(None))
        .order_by(Coin.id)
    )
    return [(f"{txid}:{vout}", attempt) for txid, vout, attempt in rows]


def _undecided(session: Session) -> list[tuple[str, CampaignTerms]]:
    """(id, terms) of every published campaign without a decision."""
    rows = session.execute(
        select(Campaign.id, Campaign.terms).where(
            Campaign.terms.is_not(None), Campaign.id.not_in(select(DecisionRow.campaign_id))
        )
    )
    return [(campaign_id, CampaignTerms.parse(terms or "")) for campaign_id, terms in rows]


def _is_spendable(snapshot: Snapshot, coin: Coin) -> bool:
    """Confirmed deeply enough, mature, and not yet spent or planned."""
    if coin.height is None or coin.spent_by is not None or coin.batch_input is not None:
        return False
    needed = COINBASE_MATURITY if coin.coinbase else snapshot.confirmations
    return depth(coin.height, snapshot.tip_height) >= needed


def _store_batch(
    session: Session, campaign_id: str, batch: Batch, rows: dict[tuple[str, int], Coin], tip_height: int
) -> None:
    """The whole batch: row, inputs, outputs, and last its first attempt, when a trigger checks that all balances."""
    tx = UnsignedTx(
        tuple(TxInput(c.txid, c.vout, c.value_sats, c.index) for c in batch.inputs),
        tuple(TxOutput(o.script, o.value_sats, o.index) for o in batch.outputs),
        locktime=tip_height,  # not valid in an older block: no gain in rewriting one (anti fee sniping)
    )
    row = BatchRow(
        campaign_id=campaign_id,
        kind=batch.kind,
        fee_sats=batch.fee_sats,
        feerate_sat_vb=batch.feerate_sat_vb,
        locktime=tx.locktime,
    )
    session.add(row)
    session.flush()
    for position, coin in enumerate(batch.inputs):
        session.add(BatchInput(coin_id=rows[(coin.txid, coin.vout)].id, batch_id=row.id, position=position))
    for position, output in enumerate(batch.outputs):
        session.add(
            BatchOutput(
                batch_id=row.id,
                position=position,
                script=output.script,
                value_sats=output.value_sats,
                index=output.index,
            )
        )
    session.flush()
    session.add(Attempt(txid=tx.txid, batch_id=row.id, number=1))
    session.flush()


def _job(session: Session, attempt: Attempt) -> Job:
    batch = attempt.batch
    campaign = session.get_one(Campaign, batch.campaign_id)
    tx = UnsignedTx(
        tuple(TxInput(i.coin.txid, i.coin.vout, i.coin.value_sats, i.coin.pledge.index) for i in batch.inputs),
        tuple(TxOutput(o.script, o.value_sats, o.index) for o in batch.outputs),
        batch.locktime,
    )
    return Job(
        txid=attempt.txid,
        terms=campaign.terms or "",
        account_index=_account(campaign),
        descriptor=campaign.descriptor or "",
        kind=batch.kind,
        tx=tx,
        raw=attempt.raw,
        sent=attempt.sent_at is not None,
        refusal=attempt.refusal,
    )


def _account(campaign: Campaign) -> int:
    if campaign.account_index is None:
        raise ValueError(f"campaign {campaign.id} has no account")
    return campaign.account_index
