"""Attempts in the database: what is to be signed and sent, and every step of it stored before the next is taken.

Nothing here signs or sends, and nothing is ever taken back: a batch that gets a dearer attempt, or is split, keeps the
attempts that it had.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, insert, or_, select, update
from sqlalchemy.orm import Session, aliased

from crowdfund.campaigns import thefts
from crowdfund.campaigns.lifecycle import Kind, depth
from crowdfund.campaigns.models import (
    Attempt,
    AttemptOutput,
    BatchInput,
    BatchRow,
    Campaign,
    Coin,
    Pledge,
    RivalRow,
    TimelockedRefund,
)
from crowdfund.campaigns.recording import tell_pages
from crowdfund.campaigns.settlement import Batch, PlannedOutput, SpendableCoin
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.campaigns.tip import chain_tip
from crowdfund.chain.port import Outpoint, SendResult, Sent
from crowdfund.wallet.transactions import TxInput, TxOutput, UnsignedTx


@dataclass(frozen=True)
class Job:
    """The newest attempt of a batch, with all that is needed to have it signed, sent, bumped or split.

    `earlier` is the dearest signed transaction below it; `lost`: a reorganisation took away one of its coins.
    """

    txid: str
    campaign_id: str
    batch_id: int
    number: int
    terms: str
    account_index: int
    descriptor: str
    plan: Batch
    locktime: int
    raw: bytes | None
    sent_height: int | None
    refusal: str | None
    earlier: bytes | None = None
    lost: bool = False

    @property
    def kind(self) -> str:
        """Release or refund."""
        return self.plan.kind.value

    @property
    def tx(self) -> UnsignedTx:
        """The transaction to sign."""
        return unsigned(self.plan, self.locktime)

    @property
    def sent(self) -> bool:
        """Was it ever handed to a node?"""
        return self.sent_height is not None


def unsigned(plan: Batch, locktime: int) -> UnsignedTx:
    """The transaction that a plan stands for."""
    return UnsignedTx(
        tuple(TxInput(c.txid, c.vout, c.value_sats, c.index) for c in plan.inputs),
        tuple(TxOutput(o.script, o.value_sats, o.index) for o in plan.outputs),
        locktime,
    )


def open_batches(session: Session) -> list[int]:
    """Ids of the batches that are to be sent, in the order of planning: not split, and with every coin still there."""
    part = aliased(BatchRow)
    spent = (
        select(BatchInput.batch_id)
        .join(Coin, Coin.id == BatchInput.coin_id)
        .where(BatchInput.batch_id == BatchRow.id, Coin.spent_by.is_not(None))
    )
    rows = session.scalars(
        select(BatchRow.id)
        .where(~select(part.id).where(part.parent_id == BatchRow.id).exists(), ~spent.exists())
        .where(select(Attempt.txid).where(Attempt.batch_id == BatchRow.id, Attempt.sealed).exists())
        .order_by(BatchRow.id)
    )
    return list(rows)


def job(session: Session, batch_id: int) -> Job:
    """The newest attempt of a batch."""
    newest, *before = session.scalars(
        select(Attempt).where(Attempt.batch_id == batch_id, Attempt.sealed).order_by(Attempt.number.desc())
    ).all()
    batch = session.get_one(BatchRow, batch_id)
    campaign = session.get_one(Campaign, batch.campaign_id)
    return Job(
        txid=newest.txid,
        campaign_id=campaign.id,
        batch_id=batch_id,
        number=newest.number,
        terms=campaign.terms or "",
        account_index=account_of(campaign),
        descriptor=campaign.descriptor or "",
        plan=Batch(
            Kind(batch.kind),
            _inputs(session, batch_id),
            _outputs(session, newest),
            newest.fee_sats,
            newest.feerate_sat_vb,
        ),
        locktime=newest.locktime,
        raw=newest.raw,
        sent_height=newest.sent_height,
        refusal=newest.refusal,
        earlier=next((a.raw for a in before if a.raw is not None), None),
        lost=_has_lost_input(session, batch_id),
    )


def _has_lost_input(session: Session, batch_id: int) -> bool:
    lost = select(BatchInput).join(Coin).where(BatchInput.batch_id == batch_id, Coin.height.is_(None))
    return session.scalar(select(lost.exists())) is True


def account_of(campaign: Campaign) -> int:
    """The account of a published campaign."""
    if campaign.account_index is None:
        raise ValueError(f"campaign {campaign.id} has no account")
    return campaign.account_index


def store_batch(
    session: Session, campaign_id: str, plan: Batch, coin_ids: Mapping[Outpoint, int], tip_height: int
) -> int:
    """A batch as planned, with its first attempt; returns its id."""
    return _store_batch(session, campaign_id, None, plan, coin_ids, tip_height)


def store_parts(session: Session, batch_id: int, parts: tuple[Batch, ...], tip_height: int) -> list[int]:
    """The parts that a batch is split into, each with its first attempt; returns their ids."""
    tell_pages(session)
    campaign_id = session.get_one(BatchRow, batch_id).campaign_id
    rows = session.execute(
        select(Coin.txid, Coin.vout, Coin.id).join(BatchInput).where(BatchInput.batch_id == batch_id)
    )
    coin_ids = {(txid, vout): coin_id for txid, vout, coin_id in rows}
    return [_store_batch(session, campaign_id, batch_id, part, coin_ids, tip_height) for part in parts]


def store_attempt(session: Session, batch_id: int, number: int, plan: Batch, tip_height: int) -> str:
    """The next attempt of a batch. Returns its txid."""
    return store_rung(session, batch_id, number, plan, _locktime(session, batch_id, tip_height))


def store_rung(session: Session, batch_id: int, number: int, plan: Batch, locktime: int) -> str:
    """The attempt with a lock time that is known, its outputs, and last its seal, when a trigger checks that all
    balances. Returns its txid."""
    tell_pages(session)
    txid = unsigned(plan, locktime).txid
    row = Attempt(
        txid=txid,
        batch_id=batch_id,
        number=number,
        fee_sats=plan.fee_sats,
        feerate_sat_vb=plan.feerate_sat_vb,
        locktime=locktime,
    )
    session.add(row)
    session.flush()
    outputs = [
        {"txid": txid, "position": n, "script": o.script, "value_sats": o.value_sats, "index": o.index}
        for n, o in enumerate(plan.outputs)
    ]
    session.connection().execute(insert(AttemptOutput), outputs)
    row.sealed = True
    session.flush()
    return txid


def store_coins(
    session: Session, campaign_id: str, parent_id: int | None, plan: Batch, coin_ids: Mapping[Outpoint, int]
) -> int:
    """A batch with the coins that it spends, and no attempt yet; returns its id."""
    row = BatchRow(campaign_id=campaign_id, kind=plan.kind, parent_id=parent_id)
    session.add(row)
    session.flush()
    inputs = [
        {"batch_id": row.id, "position": n, "coin_id": coin_ids[(c.txid, c.vout)]} for n, c in enumerate(plan.inputs)
    ]
    session.connection().execute(insert(BatchInput), inputs)
    return row.id


def store_signed(session: Session, txid: str, raw: bytes) -> None:
    """Keep signed bytes; they never change afterwards (a trigger sees to it)."""
    tell_pages(session)
    session.execute(update(Attempt).where(Attempt.txid == txid, Attempt.raw.is_(None)).values(raw=raw))


def mark_sent(session: Session, txid: str, now: datetime, tip_height: int) -> None:
    """Written before the bytes go out: from here on the transaction may be anywhere.

    A worker that stood still for a while knows an old tip: counted from there, the patience with the transaction would
    be over before it began. So the recorded tip counts where that is higher.
    """
    tell_pages(session)
    tip = chain_tip(session)
    height = tip_height if tip is None else max(tip_height, tip.height)
    session.execute(
        update(Attempt).where(Attempt.txid == txid, Attempt.sent_at.is_(None)).values(sent_at=now, sent_height=height)
    )


def note_result(session: Session, txid: str, result: SendResult) -> str | None:
    """Keep the node's refusal for people to read, and return it. The attempt is sent again all the same."""
    refusal = result.reason if result.sent in (Sent.REFUSED, Sent.INPUTS_GONE) else None
    session.execute(update(Attempt).where(Attempt.txid == txid).values(refusal=refusal))
    return refusal


def note_refused(session: Session, txid: str, why: str) -> None:
    """Keep the signer's refusal of this attempt for people to read. It is asked again all the same."""
    tell_pages(session)
    session.execute(update(Attempt).where(Attempt.txid == txid, Attempt.raw.is_(None)).values(refusal=why))


def bereft_batches(session: Session) -> list[int]:
    """Ids of batches, not split, some of whose coins are gone, to a backer's time-locked refund, to a double spend or
    by an acknowledged theft: the others are still owed."""
    part = aliased(BatchRow)
    lost = _lost_for_good(session)
    taken = (
        select(BatchInput.batch_id)
        .join(Coin, Coin.id == BatchInput.coin_id)
        .outerjoin(TimelockedRefund, and_(TimelockedRefund.coin_id == Coin.id, TimelockedRefund.txid == Coin.spent_by))
        .where(or_(TimelockedRefund.txid.is_not(None), Coin.id.in_(lost), thefts.acknowledged()))
    )
    left = (
        select(BatchInput.batch_id)
        .join(Coin, Coin.id == BatchInput.coin_id)
        .where(Coin.spent_by.is_(None), Coin.id.not_in(lost))
    )
    rows = session.scalars(
        select(BatchRow.id)
        .where(BatchRow.id.in_(taken), BatchRow.id.in_(left))
        .where(~select(part.id).where(part.parent_id == BatchRow.id).exists())
        .order_by(BatchRow.id)
    )
    return list(rows)


def gone_coins(session: Session, batch_id: int) -> set[Outpoint]:
    """The outpoints of the batch that a block shows as spent, or that were double spent before they ever came back."""
    rows = session.execute(
        select(Coin.txid, Coin.vout)
        .join(BatchInput, BatchInput.coin_id == Coin.id)
        .where(BatchInput.batch_id == batch_id)
        .where(or_(Coin.spent_by.is_not(None), Coin.id.in_(_lost_for_good(session))))
    )
    return {(txid, vout) for txid, vout in rows}


def stray_coins(session: Session) -> dict[int, set[Outpoint]]:
    """Coins that were taken for gone and came back, by batch: of a split batch, in none of its parts, and unspent in a
    block."""
    part, held = aliased(BatchRow), aliased(BatchInput)
    rows = session.execute(
        select(BatchInput.batch_id, Coin.txid, Coin.vout)
        .join(Coin, Coin.id == BatchInput.coin_id)
        .where(Coin.height.is_not(None), Coin.spent_by.is_(None))
        .where(select(part.id).where(part.parent_id == BatchInput.batch_id).exists())
        .where(
            ~select(part.id)
            .join(held, held.batch_id == part.id)
            .where(part.parent_id == BatchInput.batch_id, held.coin_id == Coin.id)
            .exists()
        )
        .order_by(BatchInput.batch_id)
    )
    found: dict[int, set[Outpoint]] = {}
    for batch_id, txid, vout in rows:
        found.setdefault(batch_id, set()).add((txid, vout))
    return found


def _lost_for_good(session: Session) -> set[int]:
    """Ids of planned coins whose payment is in no block, while what double spends it is as deep as the terms ask."""
    tip = chain_tip(session)
    rows = session.execute(
        select(Coin.id, RivalRow.height, Campaign.terms)
        .join(RivalRow, RivalRow.txid == Coin.txid)
        .join(Pledge, Pledge.id == Coin.pledge_id)
        .join(Campaign, Campaign.id == Pledge.campaign_id)
        .where(Coin.height.is_(None), Coin.batch_inputs.any(), RivalRow.height.is_not(None))
    )
    return {
        coin_id
        for coin_id, height, terms in rows
        if tip is not None
        and height is not None
        and depth(height, tip.height) >= CampaignTerms.parse(terms or "").confirmations
    }


def lost_inputs(session: Session) -> list[tuple[str, str]]:
    """(outpoint, txid of the attempt that would spend it) of planned coins whose block a reorganisation took away."""
    later = aliased(Attempt)
    part = aliased(BatchRow)
    rows = session.execute(
        select(Coin.txid, Coin.vout, Attempt.txid)
        .join(BatchInput, BatchInput.coin_id == Coin.id)
        .join(Attempt, Attempt.batch_id == BatchInput.batch_id)
        .where(Coin.height.is_(None))
        .where(~select(later.txid).where(later.batch_id == Attempt.batch_id, later.number > Attempt.number).exists())
        .where(~select(part.id).where(part.parent_id == BatchInput.batch_id).exists())
        .order_by(Coin.id)
    )
    return [(f"{txid}:{vout}", attempt) for txid, vout, attempt in rows]


def _store_batch(
    session: Session,
    campaign_id: str,
    parent_id: int | None,
    plan: Batch,
    coin_ids: Mapping[Outpoint, int],
    tip_height: int,
) -> int:
    batch_id = store_coins(session, campaign_id, parent_id, plan, coin_ids)
    store_attempt(session, batch_id, 1, plan, tip_height)
    return batch_id


def _locktime(session: Session, batch_id: int, tip_height: int) -> int:
    """The tip, as there is then no gain in rewriting older blocks (anti fee sniping); but below the height of
    time-locked refunds, from which on the signer signs nothing else."""
    campaign = session.get_one(Campaign, session.get_one(BatchRow, batch_id).campaign_id)
    first = CampaignTerms.parse(campaign.terms or "").timelock_height
    return min(tip_height, first - 1) if first else tip_height


def _inputs(session: Session, batch_id: int) -> tuple[SpendableCoin, ...]:
    rows = session.execute(
        select(Coin.txid, Coin.vout, Coin.value_sats, Pledge.index, Pledge.refund_script)
        .join(BatchInput, BatchInput.coin_id == Coin.id)
        .join(Pledge, Pledge.id == Coin.pledge_id)
        .where(BatchInput.batch_id == batch_id)
        .order_by(BatchInput.position)
    )
    return tuple(SpendableCoin(*row) for row in rows)


def _outputs(session: Session, attempt: Attempt) -> tuple[PlannedOutput, ...]:
    rows = session.execute(
        select(AttemptOutput.script, AttemptOutput.value_sats, AttemptOutput.index)
        .where(AttemptOutput.txid == attempt.txid)
        .order_by(AttemptOutput.position)
    )
    return tuple(PlannedOutput(*row) for row in rows)
