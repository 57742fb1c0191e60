"""What has happened, derived from stored facts: asked again it finds nothing new, so nothing is lost or told twice.

Reads only; `outbox.note` writes. A fact that was not noted yet is one whose key no row of `happenings` has. Keys hold
ids of campaigns, coins and incidents, never a pledge's, which is secret.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, and_, cast, func, literal, select
from sqlalchemy.orm import Session

from crowdfund.campaigns import incidents, queries
from crowdfund.campaigns.ledger import Bucket
from crowdfund.campaigns.ledger_models import Balance, Halt
from crowdfund.campaigns.lifecycle import CampaignState, depth
from crowdfund.campaigns.lifecycle import Kind as Settlement
from crowdfund.campaigns.models import (
    Attempt,
    BatchInput,
    BatchRow,
    Block,
    Campaign,
    Coin,
    DecisionRow,
    Incident,
    IncidentCoin,
    Pledge,
)
from crowdfund.campaigns.queries import Snapshot
from crowdfund.campaigns.refund_models import ChangeState, RefundChangeRow
from crowdfund.campaigns.talk_models import UpdateVersion
from crowdfund.campaigns.terms import MIN_COIN_SATS, CampaignTerms
from crowdfund.campaigns.tip import chain_tip
from crowdfund.notices.kinds import QUARTERS, WHOLE, Kind, milestone
from crowdfund.notices.models import Happening, Subscription, Webhook

AT_ONCE = 500
# What went wrong longer ago than this is no news for the operator, as after an upgrade or a restore.
STALE = timedelta(days=3)
ENDED = (CampaignState.RELEASED, CampaignState.REFUNDED)


@dataclass(frozen=True)
class News:
    """Something not noted yet. `target_id`: the one subscription or webhook concerned, where the kind has one."""

    key: str
    kind: Kind
    at: datetime
    campaign_id: str | None = None
    pledge_id: str | None = None
    target_id: int | None = None
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def detail_json(self) -> str:
        """`detail` as it is stored."""
        return json.dumps(self.detail, sort_keys=True, ensure_ascii=False)


def news(session: Session, now: datetime) -> list[News]:
    """What is to be noted, the causes before their effects; at most some hundred of each kind."""
    steps = (
        _asked, _registered, _published, _updates, _decided, _milestones, _settled, _incidents, _halts, _confirmed,
        _readdressed,
    )  # fmt: skip
    found = [one for step in steps for one in step(session, now)]
    return [*found, *_unconfirmed(session, now), *_refunds_sent(session, now), *_refunds_final(session, now)]


def _asked(session: Session, now: datetime) -> Iterator[News]:
    """Addresses that wait for the question whether they are right."""
    wanted = select(Subscription).where(Subscription.confirmed_at.is_(None))
    for row in session.scalars(_unnoted(wanted, _key("confirm", Subscription.id)).limit(AT_ONCE)):
        yield News(f"confirm:{row.id}", Kind.CONFIRM_ADDRESS, row.asked_at, target_id=row.id)


def _registered(session: Session, now: datetime) -> Iterator[News]:
    """The first thing that a webhook is told: that it is one."""
    for row in session.scalars(_unnoted(select(Webhook), _key("webhook", Webhook.id)).limit(AT_ONCE)):
        yield News(f"webhook:{row.id}", Kind.WEBHOOK_REGISTERED, row.created_at, target_id=row.id)


def _published(session: Session, now: datetime) -> Iterator[News]:
    wanted = select(Campaign).where(Campaign.terms.is_not(None)).order_by(Campaign.published_at)
    for row in session.scalars(_unnoted(wanted, _key("published", Campaign.id)).limit(AT_ONCE)):
        yield News(f"published:{row.id}", Kind.PUBLISHED, row.published_at or now, row.id)


def _updates(session: Session, now: datetime) -> Iterator[News]:
    """Each once, as it was first written: an edit is no news."""
    wanted = select(UpdateVersion).where(UpdateVersion.version == 1).order_by(UpdateVersion.id)
    key = _key("update", UpdateVersion.campaign_id, UpdateVersion.number)
    for row in session.scalars(_unnoted(wanted, key).limit(AT_ONCE)):
        detail = {"update_id": str(row.number), "title": row.title}
        name = f"update:{row.campaign_id}:{row.number}"
        yield News(name, Kind.UPDATE, row.created_at, row.campaign_id, detail=detail)


def _decided(session: Session, now: datetime) -> Iterator[News]:
    wanted = select(DecisionRow, Block.time).join(Block, Block.height == DecisionRow.decided_height, isouter=True)
    for row, block_time in session.execute(_unnoted(wanted, _key("decided", DecisionRow.campaign_id)).limit(AT_ONCE)):
        detail = {
            "outcome": row.outcome, "counted_sats": row.counted_sats, "closing_height": row.closing_height,
        }  # fmt: skip
        if row.cancellation_id is not None:
            detail["cancelled"] = True
        yield News(f"decided:{row.campaign_id}", Kind.DECIDED, _moment(block_time, now), row.campaign_id, detail=detail)


def _milestones(session: Session, now: datetime) -> Iterator[News]:
    """The highest that a campaign has passed since it was last looked at; those below it are no news any more."""
    counted = func.coalesce(DecisionRow.counted_sats, Balance.sats)
    rows = session.execute(
        select(Campaign.id, Campaign.goal_sats, counted)
        .join(Balance, and_(Balance.campaign_id == Campaign.id, Balance.account == Bucket.COUNTED.value))
        .join(DecisionRow, DecisionRow.campaign_id == Campaign.id, isouter=True)
        .where(Campaign.terms.is_not(None), counted * 4 >= Campaign.goal_sats)
    ).all()
    for campaign_id, goal_sats, counted_sats in rows:
        step = milestone(counted_sats, goal_sats)
        keys = [_milestone_key(campaign_id, other) for other in (*QUARTERS, WHOLE) if other >= step]
        if session.scalar(select(Happening.id).where(Happening.key.in_(keys)).limit(1)) is None:
            kind = Kind.GOAL if step == WHOLE else Kind.MILESTONE
            detail = {"percent": step, "counted_sats": counted_sats, "goal_sats": goal_sats}
            yield News(_milestone_key(campaign_id, step), kind, now, campaign_id, detail=detail)


def _settled(session: Session, now: datetime) -> Iterator[News]:
    """Asked of the snapshot, which alone knows: only for campaigns whose settlement is going on."""
    wanted = select(DecisionRow.campaign_id).order_by(DecisionRow.campaign_id)
    for campaign_id in session.scalars(_unnoted(wanted, _key("settled", DecisionRow.campaign_id))).all():
        snapshot = queries.load(session, campaign_id)
        if queries.summarise(snapshot).state in ENDED:
            yield News(f"settled:{campaign_id}", Kind.SETTLED, now, campaign_id, detail=_settlement(snapshot))


def _settlement(snapshot: Snapshot) -> dict[str, Any]:
    mined = [snapshot.mined(batch) for batch in snapshot.standing_batches]
    txids = sorted(found[0].txid for found in mined if found is not None)
    return {"outcome": snapshot.outcome, "txids": txids[:20], "transactions": len(txids)}


def _incidents(session: Session, now: datetime) -> Iterator[News]:
    """Each is told to the operator, and to each campaign that it concerns."""
    rows = session.scalars(_unnoted(select(Incident), _key("incident", Incident.id)).limit(AT_ONCE)).all()
    for row in rows:
        depths = {"kind": row.kind, "height": row.height, "depth": row.depth}
        yield News(f"incident:{row.id}", Kind.SITE_INCIDENT, row.began_at, row.campaign_id, detail=depths)
        for campaign_id in _concerned(session, row):
            detail = {**depths, "sentence": incidents.reorganisation_sentence(row.height, row.depth, ())}
            if row.kind == "disagreement":
                detail["sentence"] = f"Two servers gave different blocks at height {row.height:,}."
            else:
                detail["sentence"] = _lost_sentence(session, row, campaign_id)
            yield News(f"incident:{row.id}:{campaign_id}", Kind.INCIDENT, row.began_at, campaign_id, detail=detail)


def _concerned(session: Session, incident: Incident) -> list[str]:
    if incident.campaign_id is not None:
        return [incident.campaign_id]
    touched = select(Pledge.campaign_id).join(Coin).join(IncidentCoin).where(IncidentCoin.incident_id == incident.id)
    return sorted(session.scalars(touched.distinct()))


def _lost_sentence(session: Session, incident: Incident, campaign_id: str) -> str:
    """What is true for ever: how many payments lost their block. What became of them, the campaign's page says."""
    touched = select(func.count(Coin.pledge_id.distinct())).join(IncidentCoin).join(Pledge, Pledge.id == Coin.pledge_id)
    number = session.scalar(touched.where(IncidentCoin.incident_id == incident.id, Pledge.campaign_id == campaign_id))
    pledges = "1 pledge" if number == 1 else f"{number:,} pledges"
    blocks = "1 block" if incident.depth == 1 else f"{incident.depth:,} blocks"
    return f"A reorganisation of {blocks} at height {incident.height:,} has un-confirmed {pledges}."


def _halts(session: Session, now: datetime) -> Iterator[News]:
    for row in session.scalars(_unnoted(select(Halt), _key("halt", Halt.id)).limit(AT_ONCE)):
        yield News(f"halt:{row.id}", Kind.HALT, row.began_at, row.campaign_id, detail={"reason": row.reason})
    ended = select(Halt).where(Halt.ended_at.is_not(None))
    for row in session.scalars(_unnoted(ended, _key("halt_ended", Halt.id)).limit(AT_ONCE)):
        detail = {"reason": row.ended_reason}
        yield News(f"halt_ended:{row.id}", Kind.HALT_ENDED, row.ended_at or now, row.campaign_id, detail=detail)


def _confirmed(session: Session, now: datetime) -> Iterator[News]:
    wanted = _coins().where(Coin.height.is_not(None), Coin.value_sats >= MIN_COIN_SATS)
    for coin, campaign_id, block_time in session.execute(_unnoted(wanted, _key("confirmed", Coin.id)).limit(AT_ONCE)):
        yield _of_coin(f"confirmed:{coin.id}", Kind.CONFIRMED, _moment(block_time, now), coin, campaign_id)


def _readdressed(session: Session, now: datetime) -> Iterator[News]:
    """Told to the backer alone."""
    wanted = (
        select(RefundChangeRow, Pledge.campaign_id)
        .join(Pledge, Pledge.id == RefundChangeRow.pledge_id)
        .where(RefundChangeRow.state == ChangeState.TAKEN)
        .order_by(RefundChangeRow.id)
    )
    for row, campaign_id in session.execute(_unnoted(wanted, _key("readdressed", RefundChangeRow.id)).limit(AT_ONCE)):
        detail = {"old_address": row.old_address, "new_address": row.new_address}
        at = row.answered_at or now
        yield News(f"readdressed:{row.id}", Kind.READDRESSED, at, campaign_id, row.pledge_id, detail=detail)


def _unconfirmed(session: Session, now: datetime) -> Iterator[News]:
    """Payments that a reorganisation took out of their block and that are in none, and those that came back."""
    key = _key("unconfirmed", IncidentCoin.incident_id, Coin.id)
    lost = _coins().add_columns(IncidentCoin.incident_id).join(IncidentCoin, IncidentCoin.coin_id == Coin.id)
    told = exists_key(_key("confirmed", Coin.id))
    for coin, campaign_id, _, incident_id in session.execute(
        _unnoted(lost.where(Coin.height.is_(None), told), key).limit(AT_ONCE)
    ):
        yield _of_coin(f"unconfirmed:{incident_id}:{coin.id}", Kind.UNCONFIRMED, now, coin, campaign_id)
    again = _key("again", IncidentCoin.incident_id, Coin.id)
    back = lost.where(Coin.height.is_not(None), exists_key(key))
    for coin, campaign_id, block_time, incident_id in session.execute(_unnoted(back, again).limit(AT_ONCE)):
        at = _moment(block_time, now)
        yield _of_coin(f"again:{incident_id}:{coin.id}", Kind.CONFIRMED_AGAIN, at, coin, campaign_id)


def _refunds_sent(session: Session, now: datetime) -> Iterator[News]:
    """One for each pledge in a batch: the batch's first coin of that pledge names it, also after a split."""
    sent = select(Attempt.txid).where(Attempt.batch_id == BatchRow.id, Attempt.sent_at.is_not(None)).exists()
    for coin, campaign_id, _ in _unnoted_refunds(session, "refund_sent", sent):
        yield _of_coin(f"refund_sent:{coin.id}", Kind.REFUND_SENT, now, coin, campaign_id)


def _refunds_final(session: Session, now: datetime) -> Iterator[News]:
    tip = chain_tip(session)
    ours = select(Attempt.txid).where(Attempt.batch_id == BatchRow.id, Attempt.txid == Coin.spent_by).exists()
    for coin, campaign_id, terms in _unnoted_refunds(session, "refund_final", ours):
        needed = CampaignTerms.parse(terms).confirmations
        if tip is not None and coin.spent_height is not None and depth(coin.spent_height, tip.height) >= needed:
            news = _of_coin(f"refund_final:{coin.id}", Kind.REFUND_FINAL, now, coin, campaign_id)
            news.detail["txid"] = coin.spent_by
            yield news


def _unnoted_refunds(session: Session, name: str, which: ColumnElement[bool]) -> Iterable[tuple[Coin, str, str]]:
    first = (
        select(func.min(Coin.id).label("coin_id"))
        .select_from(BatchRow)
        .join(BatchInput, BatchInput.batch_id == BatchRow.id)
        .join(Coin, Coin.id == BatchInput.coin_id)
        .where(BatchRow.kind == Settlement.REFUND.value, which)
        .group_by(BatchRow.id, Coin.pledge_id)
        .subquery()
    )
    wanted = (
        select(Coin, Pledge.campaign_id, Campaign.terms)
        .join(Pledge, Pledge.id == Coin.pledge_id)
        .join(Campaign, Campaign.id == Pledge.campaign_id)
        .where(Coin.id.in_(select(first.c.coin_id)))
    )
    rows = session.execute(_unnoted(wanted, _key(name, Coin.id)).limit(AT_ONCE)).all()
    return [(coin, campaign_id, terms or "") for coin, campaign_id, terms in rows]


def _coins() -> Select[Coin, str, int | None]:
    return (
        select(Coin, Pledge.campaign_id, Block.time)
        .join(Pledge, Pledge.id == Coin.pledge_id)
        .join(Block, Block.height == Coin.height, isouter=True)
        .order_by(Coin.id)
    )


def _of_coin(key: str, kind: Kind, at: datetime, coin: Coin, campaign_id: str) -> News:
    detail = {"outpoint": f"{coin.txid}:{coin.vout}", "value_sats": coin.value_sats, "height": coin.height}
    return News(key, kind, at, campaign_id, coin.pledge_id, detail=detail)


def _milestone_key(campaign_id: str, step: int) -> str:
    return f"milestone:{campaign_id}:{step}"


def _moment(block_time: int | None, now: datetime) -> datetime:
    return now if block_time is None else datetime.fromtimestamp(block_time, UTC)


def _key(name: str, *columns: Any) -> ColumnElement[str]:
    """The key as the database writes it."""
    key: ColumnElement[str] = literal(name)
    for column in columns:
        key = key + literal(":") + cast(column, Text)
    return key


def exists_key(key: ColumnElement[str]) -> ColumnElement[bool]:
    """Was it noted?"""
    return select(Happening.id).where(Happening.key == key).exists()


def _unnoted(wanted: Any, key: ColumnElement[str]) -> Any:
    return wanted.where(~exists_key(key))
