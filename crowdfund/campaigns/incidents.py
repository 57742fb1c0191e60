"""The public log of what went out of the ordinary: blocks that were lost, servers that contradict each other, coins
that somebody else has spent.

Rows are facts; what became of the coins since is read from the coins, so that a line is always true today.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, or_, select
from sqlalchemy.orm import Session, selectinload

from crowdfund.campaigns.ledger_models import AcknowledgedSpend
from crowdfund.campaigns.models import Coin, Incident, IncidentCoin, Pledge
from crowdfund.campaigns.recording import tell_pages
from crowdfund.sentences import N_, Sentence, counted

SHOWN = 100
FOREIGN_SPEND = "foreign_spend"


@dataclass(frozen=True)
class IncidentView:
    """One line of the log."""

    began_at: datetime
    ended_at: datetime | None
    kind: str
    height: int
    depth: int
    sentence: str


def of_campaign(session: Session, campaign_id: str) -> list[IncidentView]:
    """What concerned this campaign, newest first."""
    touched = (
        select(IncidentCoin.incident_id)
        .join(Coin, Coin.id == IncidentCoin.coin_id)
        .join(Pledge, Pledge.id == Coin.pledge_id)
        .where(Pledge.campaign_id == campaign_id)
    )
    return _views(session, or_(Incident.campaign_id == campaign_id, Incident.id.in_(touched)), campaign_id)


def of_site(session: Session) -> list[IncidentView]:
    """All of them, newest first."""
    return _views(session, Incident.id.is_not(None), None)


def in_dispute(session: Session, campaign_id: str) -> bool:
    """Is a dispute on record that has not ended?"""
    return session.scalar(_open_dispute(campaign_id)) is not None


def begin_dispute(session: Session, campaign_id: str, height: int, now: datetime) -> None:
    """Two servers have another block each at `height`, and a decision hangs on it."""
    session.add(Incident(kind="disagreement", height=height, depth=1, began_at=now, campaign_id=campaign_id))
    tell_pages(session)


def end_dispute(session: Session, campaign_id: str, now: datetime) -> None:
    """They agree again; nothing happens where they always did."""
    incident = session.scalar(_open_dispute(campaign_id))
    if incident is not None:
        incident.ended_at = now


def reorganisation_sentence(height: int, depth: int, heights: Sequence[tuple[str, int | None]]) -> str:
    """A line for people: `heights` are the coins concerned, as (pledge, height of the block that holds it now)."""
    blocks = _blocks(depth)
    if not heights:
        return Sentence(
            "A reorganisation of {blocks} at height {height:,}; no pledge was concerned.", blocks=blocks, height=height
        )
    unsettled = {pledge for pledge, at in heights if at is None}
    again = sorted({at for pledge, at in heights if at is not None and pledge not in unsettled})
    if not unsettled:
        text = N_(
            "{pledges} un-confirmed by a reorganisation of {blocks} at height {height:,}, confirmed again at {heights}."
        )
    elif again:
        text = N_(
            "{pledges} un-confirmed by a reorganisation of {blocks} at height {height:,}, confirmed again at "
            "{heights}, {those} not confirmed again yet."
        )
    else:
        text = N_(
            "{pledges} un-confirmed by a reorganisation of {blocks} at height {height:,}, not confirmed again yet."
        )
    pledges = _pledges(len({pledge for pledge, _ in heights}))
    values = {"heights": _listed(again) if again else "", "those": _pledges(len(unsettled))}
    return Sentence(text, pledges=pledges, blocks=blocks, height=height, **values)


def _views(session: Session, wanted: ColumnElement[bool], campaign_id: str | None) -> list[IncidentView]:
    rows = session.scalars(
        select(Incident)
        .where(wanted)
        .order_by(Incident.id.desc())
        .limit(SHOWN)
        .options(selectinload(Incident.coins).joinedload(IncidentCoin.coin).joinedload(Coin.pledge))
    ).all()
    told = [_view(row, campaign_id) for row in rows] + _thefts(session, campaign_id)
    return sorted(told, key=lambda view: view.began_at, reverse=True)[:SHOWN]


def _thefts(session: Session, campaign_id: str | None) -> list[IncidentView]:
    """What a person has acknowledged, newest first. `depth` is one block: the one that holds the spend."""
    wanted = select(AcknowledgedSpend, Coin).join(Coin, Coin.id == AcknowledgedSpend.coin_id)
    if campaign_id is not None:
        wanted = wanted.join(Pledge, Pledge.id == Coin.pledge_id).where(Pledge.campaign_id == campaign_id)
    rows = session.execute(wanted.order_by(AcknowledgedSpend.id.desc()).limit(SHOWN))
    return [
        IncidentView(row.at, row.at, FOREIGN_SPEND, row.spent_height, 1, theft_sentence(row, coin))
        for row, coin in rows
    ]


def theft_sentence(spend: AcknowledgedSpend, coin: Coin) -> str:
    """A line for people, true of the chain as it is today."""
    coin_ = f"{coin.txid}:{coin.vout}"
    if coin.spent_by == spend.spent_by:
        text = N_(
            "The coin {coin} of {value:,} sat was spent by {spender}, which is not a payment of ours. Everything else "
            "is settled without it."
        )
    else:
        text = N_(
            "The coin {coin} of {value:,} sat was spent by {spender}, which is not a payment of ours; that transaction "
            "is in no block any more."
        )
    return Sentence(text, coin=coin_, value=coin.value_sats, spender=spend.spent_by)


def _view(row: Incident, campaign_id: str | None) -> IncidentView:
    if row.kind == "disagreement":
        text = N_("Two servers gave different blocks at height {height:,}. The decision waits until they agree.")
        if row.ended_at:
            text = N_("Two servers gave different blocks at height {height:,}. They agree again.")
        sentence: str = Sentence(text, height=row.height)
    else:
        coins = [link.coin for link in row.coins if campaign_id in (None, link.coin.pledge.campaign_id)]
        sentence = reorganisation_sentence(row.height, row.depth, [(coin.pledge_id, coin.height) for coin in coins])
    return IncidentView(row.began_at, row.ended_at, row.kind, row.height, row.depth, sentence)


def _open_dispute(campaign_id: str) -> Select[Incident]:
    return select(Incident).where(
        Incident.kind == "disagreement", Incident.campaign_id == campaign_id, Incident.ended_at.is_(None)
    )


def _blocks(number: int) -> Sentence:
    return counted("{count:,} block", "{count:,} blocks", number)


def _pledges(number: int) -> Sentence:
    return counted("{count:,} pledge", "{count:,} pledges", number)


def _listed(heights: Iterable[int]) -> Sentence:
    *most, last = [f"{height:,}" for height in heights]
    return Sentence("{most} and {last}", most=", ".join(most), last=last) if most else Sentence("{last}", last=last)
