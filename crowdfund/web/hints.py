"""What a backer should know before it costs them money, and where exactly their money is. Text and selection only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from flask_babel import gettext as _
from markupsafe import Markup
from sqlalchemy import select
from sqlalchemy.orm import Session

from crowdfund.campaigns import queries
from crowdfund.campaigns.lifecycle import REPLACED_BATCH, BatchState, Kind
from crowdfund.campaigns.models import BatchRow, Coin, Incident, IncidentCoin, Pledge
from crowdfund.campaigns.queries import Snapshot
from crowdfund.campaigns.terms import BLOCK_SPACING
from crowdfund.web.filters import number, when
from crowdfund.web.site import AsOf

LAST_DAY, LAST_HOURS = timedelta(days=1), timedelta(hours=3)


@dataclass(frozen=True)
class TimeHint:
    """How much time there is to pay. `urgency`: 0 for days, 1 in the last day, 2 in the last hours."""

    urgency: int
    text: Markup


@dataclass(frozen=True)
class BatchPlace:
    """The transaction of a settlement that a pledge's money is in. `txid` is empty before it is signed."""

    text: str
    state: str
    txid: str


def time_hint(deadline: datetime, as_of: AsOf | None) -> TimeHint | None:
    """By which block a payment must be there, with the fee that the node expects; None before the first block."""
    if as_of is None:
        return None
    left = deadline - as_of.median_time_past
    urgency = 2 if left <= LAST_HOURS else 1 if left <= LAST_DAY else 0
    block = as_of.height + max(1, int(left / BLOCK_SPACING))
    texts = (
        _("Use a fee that gets you into a block before block %(block)s, expected about %(when)s. "
          "Today the node expects %(rate)s sat/vB to be enough for a quick block."),
        _("Less than a day is left. Use a fee that gets you into one of the next blocks, before block %(block)s "
          "(about %(when)s): the node expects %(rate)s sat/vB, and more is safer."),
        _("Only hours are left, and blocks come when they come. A payment that is not in a block before about block "
          "%(block)s (%(when)s) does not count: it is sent back to your refund address, less the miner fee. "
          "If you pay now, pay a high fee: the node expects more than %(rate)s sat/vB."),
    )  # fmt: skip
    values = {"block": number(block), "when": when(deadline), "rate": number(as_of.feerate_sat_vb)}
    return TimeHint(urgency, Markup(texts[urgency]) % values)


def reorganised(db: Session, pledge: Pledge) -> list[Markup]:
    """A sentence for each coin of the pledge that lost its block, and is in none yet."""
    waiting = [coin for coin in pledge.coins if coin.height is None and coin.in_mempool]
    return [_lost_block(coin, height) for coin in waiting if (height := _lost_at(db, coin)) is not None]


def _lost_at(db: Session, coin: Coin) -> int | None:
    """The first block of the last reorganisation that took the coin's block away."""
    own = select(Incident.height).join(IncidentCoin, IncidentCoin.incident_id == Incident.id)
    return db.scalar(own.where(IncidentCoin.coin_id == coin.id).order_by(Incident.id.desc()).limit(1))


def _lost_block(coin: Coin, height: int) -> Markup:
    text = _(
        "Your payment was confirmed already; then the network replaced its blocks from %(block)s on, and yours with "
        "them. Nothing is lost: the payment waits for another block, and counts again once it is in one."
    )
    return Markup(text) % {"block": number(height)}


def batch_place(db: Session, snapshot: Snapshot, pledge: Pledge) -> BatchPlace | None:
    """The first transaction that the pledge's money is in and that is not final, else the last; None before any.
    `snapshot` is the pledge's own."""
    found = [(batch, coins) for batch in snapshot.batches if (coins := _held(batch, pledge))]
    standing = [(b, coins) for b, coins in found if snapshot.batch_state(b, coins) not in REPLACED_BATCH]
    if not standing:
        return None
    batch, coins = next(
        (each for each in standing if snapshot.batch_state(*each) is not BatchState.FINAL), standing[-1]
    )
    alike = queries.unsplit_batches(db, pledge.campaign_id, batch.kind)
    if batch.id not in alike:  # smaller ones took its place, without this coin, which has come back since
        return None
    number_, total = alike.index(batch.id) + 1, len(alike)
    text = (
        _("Transaction %(number)s of %(total)s of the payout.", number=number_, total=total)
        if batch.kind == Kind.RELEASE
        else _("Transaction %(number)s of %(total)s of the refunds.", number=number_, total=total)
    )
    state, shown = snapshot.batch_state(batch, coins), snapshot.shown_attempt(batch, coins)
    return BatchPlace(text, _state_words(state, snapshot.confirmations), shown.txid if shown.raw else "")


def _held(batch: BatchRow, pledge: Pledge) -> list[Coin]:
    return [coin for coin in pledge.coins if any(i.batch_id == batch.id for i in coin.batch_inputs)]


def _state_words(state: BatchState, confirmations: int) -> str:
    match state:
        case BatchState.PLANNED:
            return _("It is made up and waits for its signature. That needs nobody's help.")
        case BatchState.SIGNED:
            return _("It is signed, and is handed to the network next.")
        case BatchState.SENT:
            return _("It is with the network and waits for a block. It is sent again at each one.")
        case BatchState.CONFIRMED:
            return _("It is in a block, and final once %(count)s blocks hold it fast.", count=confirmations)
        case BatchState.FINAL:
            return _("It is in the chain for good.")
        case BatchState.INPUT_LOST:
            return _("A reorganisation took away a payment that it spends. It goes on when that is back in a block.")
        case _:
            return _("The network refuses it as it is. The operator has been told, and your money stays where it was.")
