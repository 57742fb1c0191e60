"""Coins of ours that somebody else's transaction has spent, and what a person has said of them for good.

Such a spend halts everything. Once a person has looked and names the very outpoint, it is on record as acknowledged,
with the time and the reason: it halts nothing any more, the coins beside it are settled, and the public is told.
Another spend, be it of the same coin by another transaction, halts again.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from crowdfund.campaigns.ledger_models import AcknowledgedSpend
from crowdfund.campaigns.models import Attempt, Coin, Pledge, TimelockedRefund
from crowdfund.campaigns.recording import tell_pages
from crowdfund.errors import UserError


def acknowledged() -> ColumnElement[bool]:
    """Has a person acknowledged that this coin is spent by what spends it now? For queries of `Coin`."""
    said = and_(AcknowledgedSpend.coin_id == Coin.id, AcknowledgedSpend.spent_by == Coin.spent_by)
    return select(AcknowledgedSpend.id).where(said).exists()


def foreign_spends(session: Session) -> list[str]:
    """Outpoints of ours spent by a transaction that we never signed, and that nobody has acknowledged: somebody else
    has the keys."""
    return [f"{coin.txid}:{coin.vout}" for coin in _foreign(session)]


def acknowledge(session: Session, outpoints: Collection[str], why: str, now: datetime) -> None:
    """Put on record that a person has looked at these foreign spends. Raises UserError, and writes nothing, unless each
    is one that nobody has acknowledged yet."""
    foreign = {f"{coin.txid}:{coin.vout}": coin for coin in _foreign(session)}
    unknown = [name for name in outpoints if name not in foreign]
    if unknown:
        raise UserError(
            f"{unknown[0]} is no coin of ours that a strange transaction has spent, or it was acknowledged before: "
            "nothing is acknowledged."
        )
    for name in dict.fromkeys(outpoints):
        coin = foreign[name]
        spent = {"coin_id": coin.id, "spent_by": coin.spent_by, "spent_height": coin.spent_height}
        session.add(AcknowledgedSpend(**spent, why=why, at=now))
    session.flush()
    tell_pages(session)


def acknowledged_sats(session: Session, campaign_id: str) -> int:
    """What the acknowledged spends hold that the chain has today."""
    found = session.scalar(
        select(func.sum(Coin.value_sats))
        .join(Pledge, Pledge.id == Coin.pledge_id)
        .where(Pledge.campaign_id == campaign_id, Coin.height.is_not(None), acknowledged())
    )
    return int(found or 0)


def acknowledged_coins(session: Session, campaign_id: str) -> frozenset[int]:
    """Ids of the campaign's coins that are gone by acknowledged spends."""
    still = and_(Coin.id == AcknowledgedSpend.coin_id, Coin.spent_by == AcknowledgedSpend.spent_by)
    gone = select(Coin.id, Pledge.campaign_id).select_from(AcknowledgedSpend).join(Coin, still).join(Pledge)
    # Of all campaigns: there are hardly any, and each campaign has many coins.
    return frozenset(coin_id for coin_id, owner in session.execute(gone) if owner == campaign_id)


def _foreign(session: Session) -> list[Coin]:
    rows = session.scalars(
        select(Coin)
        .where(Coin.spent_by.is_not(None), Coin.spent_by.not_in(select(Attempt.txid)))
        .where(Coin.spent_by.not_in(select(TimelockedRefund.txid)), ~acknowledged())
        .order_by(Coin.id)
    )
    return list(rows)
