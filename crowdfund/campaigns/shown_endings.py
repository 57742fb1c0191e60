"""What shows how a campaign ended, kept with its decision for good: headers, and the coins that counted.

The signer may be away when a campaign is decided. Should a reorganisation come that is deeper than the terms foresee,
before it is back, the chain would show it another ending than the one that was decided and planned, and it would sign
nothing. What is kept here shows the one that was there. Campaigns decided by older versions, or taken in after a
restore, have none; theirs is shown from the chain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from crowdfund.campaigns.evidence import steps
from crowdfund.campaigns.models import Coin, CountedCoinRow, EndingRow, Pledge
from crowdfund.chain.inclusion import Inclusion
from crowdfund.chain.port import Outpoint
from crowdfund.wallet.outcome_proof import CoinProof, OutcomeProof


@dataclass(frozen=True)
class ShownEnding:
    """Headers of 80 bytes each that lead through the closing block, its hash, and every coin that counts in its block;
    no coins where the goal was missed."""

    headers: bytes
    closing_hash: str
    coins: Mapping[Outpoint, Inclusion]


def keep(session: Session, campaign_id: str, ending: ShownEnding, coin_ids: Mapping[Outpoint, int]) -> None:
    """Keep the ending of a campaign that has just been decided."""
    session.add(EndingRow(campaign_id=campaign_id, headers=ending.headers))
    session.flush()
    rows = [
        {
            "coin_id": coin_ids[outpoint],
            "campaign_id": campaign_id,
            "height": one.height,
            "raw": one.raw,
            "branch": b"".join(bytes.fromhex(step) for step in one.branch),
            "position": one.position,
        }
        for outpoint, one in ending.coins.items()
    ]
    if rows:
        session.connection().execute(insert(CountedCoinRow), rows)


def counted(session: Session, campaign_id: str) -> frozenset[int] | None:
    """Ids of the coins that counted when the campaign was decided, None where that was not kept."""
    if session.scalar(select(EndingRow.campaign_id).where(EndingRow.campaign_id == campaign_id)) is None:
        return None
    return frozenset(session.scalars(select(CountedCoinRow.coin_id).where(CountedCoinRow.campaign_id == campaign_id)))


def proof(session: Session, campaign_id: str, *, with_coins: bool) -> OutcomeProof | None:
    """The proof of a campaign's end, in the order of the chain then; None where it was not kept."""
    headers = session.scalar(select(EndingRow.headers).where(EndingRow.campaign_id == campaign_id))
    if headers is None:
        return None
    return OutcomeProof(headers, _coins(session, campaign_id) if with_coins else ())


def _coins(session: Session, campaign_id: str) -> tuple[CoinProof, ...]:
    own = CountedCoinRow
    rows = session.execute(
        select(own.raw, Coin.vout, Pledge.index, own.height, own.branch, own.position)
        .join(Coin, Coin.id == own.coin_id)
        .join(Pledge, Pledge.id == Coin.pledge_id)
        .where(own.campaign_id == campaign_id)
        .order_by(own.height, Coin.txid, Coin.vout)
    )
    return tuple(
        CoinProof(raw, vout, index, h, steps(branch), position) for raw, vout, index, h, branch, position in rows
    )
