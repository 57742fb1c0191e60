"""What a creator sees of a campaign, from a snapshot: how it fills, its pledges, what failing would come to; and how
much of it is declared to be the creator's own money. Reads only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crowdfund.campaigns.lifecycle import Standing
from crowdfund.campaigns.models import Block, Coin, Pledge
from crowdfund.campaigns.pledges import PledgeState
from crowdfund.campaigns.progress import Arrival
from crowdfund.campaigns.queries import Snapshot, pledge_summary
from crowdfund.campaigns.settlement import SpendableCoin, plan_refunds

SENT_BACK = (Standing.COUNTED, Standing.LATE, Standing.OVER_CAP)


@dataclass(frozen=True)
class PledgeRow:
    """A paid pledge as its campaign's creator sees it: `number` is the place of its address, not its secret link.
    `hidden`: its name and message are not shown in public. Amounts in satoshi."""

    number: int
    name: str
    message: str
    amount_sats: int
    received_sats: int
    seen_sats: int
    counted_sats: int
    state: PledgeState
    own_money: bool
    hidden: bool


@dataclass(frozen=True)
class Rehearsal:
    """What would happen if the campaign failed now, at one feerate. Amounts in satoshi; `left` pledges hold too little
    to be worth their fee, and wait for lower ones."""

    feerate_sat_vb: int
    transactions: int
    refunded: int
    back_sats: int
    fee_sats: int
    left: int
    left_sats: int


@dataclass(frozen=True)
class OwnShare:
    """What the creator has declared of confirmed money: `numbers` are the places of the addresses that hold their own;
    what of it counts, and what counts without it, in satoshi."""

    numbers: tuple[int, ...]
    own_sats: int
    without_sats: int


def arrivals(session: Session, snapshot: Snapshot) -> list[Arrival]:
    """Every coin that counts, with the chain time of its block."""
    rows = session.execute(
        select(Coin.id, Block.median_time_past)
        .join(Pledge, Pledge.id == Coin.pledge_id)
        .join(Block, Block.height == Coin.height)
        .where(Pledge.campaign_id == snapshot.campaign.id)
    )
    times = {coin_id: datetime.fromtimestamp(seconds, UTC) for coin_id, seconds in rows}
    return [
        Arrival(times[coin.id], coin.height, pledge.index, coin.value_sats)
        for pledge in snapshot.pledges
        for coin in pledge.coins
        if coin.height is not None and coin.id in times and snapshot.standing(coin) is Standing.COUNTED
    ]


def opened_at(session: Session, snapshot: Snapshot) -> datetime | None:
    """The chain's time at the block that the terms name; None for a draft, and where that block is not recorded."""
    block = None if snapshot.terms is None else session.get(Block, snapshot.terms.opened_height)
    return None if block is None else datetime.fromtimestamp(block.median_time_past, UTC)


def pledge_rows(snapshot: Snapshot) -> list[PledgeRow]:
    """Every pledge that was ever paid, in the order of their addresses."""
    return [_row(snapshot, pledge) for pledge in snapshot.pledges]


def unpaid_count(session: Session, campaign_id: str) -> int:
    """How many pledges got an address and never a payment."""
    wanted = (Pledge.campaign_id == campaign_id, Pledge.address.is_not(None), ~Pledge.coins.any())
    return session.scalar(select(func.count()).select_from(Pledge).where(*wanted)) or 0


def rehearse(snapshot: Snapshot, feerate_sat_vb: int) -> Rehearsal | None:
    """Refunds for all that a failure would send back, planned as they would be. None for a draft, and once decided."""
    if snapshot.terms is None or snapshot.outcome is not None:
        return None
    coins = [
        SpendableCoin(coin.txid, coin.vout, coin.value_sats, pledge.index, pledge.refund_script)
        for pledge in snapshot.pledges
        for coin in pledge.coins
        if coin.spent_by is None and snapshot.standing(coin) in SENT_BACK
    ]
    batches = plan_refunds(coins, feerate_sat_vb)
    outputs = [output for batch in batches for output in batch.outputs]
    spent_sats = sum(output.value_sats for output in outputs) + sum(batch.fee_sats for batch in batches)
    return Rehearsal(
        feerate_sat_vb=feerate_sat_vb,
        transactions=len(batches),
        refunded=len(outputs),
        back_sats=sum(output.value_sats for output in outputs),
        fee_sats=sum(batch.fee_sats for batch in batches),
        left=len({coin.index for coin in coins}) - len(outputs),
        left_sats=sum(coin.value_sats for coin in coins) - spent_sats,
    )


def own_share(snapshot: Snapshot) -> OwnShare:
    """What is declared to be own money, of what counts."""
    confirmed = {coin.pledge_id for coin in snapshot.coins if coin.height is not None}
    own = [pledge for pledge in snapshot.pledges if pledge.id in snapshot.own_pledges & confirmed]
    counts = [c for c in snapshot.coins if snapshot.standing(c) is Standing.COUNTED]
    own_sats = sum(coin.value_sats for coin in counts if coin.pledge_id in snapshot.own_pledges)
    return OwnShare(tuple(p.index for p in own), own_sats, sum(coin.value_sats for coin in counts) - own_sats)


def _row(snapshot: Snapshot, pledge: Pledge) -> PledgeRow:
    facts = pledge_summary(snapshot, pledge)
    return PledgeRow(
        number=pledge.index,
        name=pledge.name,
        message=pledge.message,
        amount_sats=pledge.amount_sats,
        received_sats=facts.received_sats,
        seen_sats=facts.seen_sats,
        counted_sats=facts.counted_sats,
        state=facts.state,
        own_money=pledge.id in snapshot.own_pledges,
        hidden=pledge.id in snapshot.hidden_pledges,
    )
