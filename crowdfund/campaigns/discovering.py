"""Finding campaigns: search, filters, orders, pages. Reads the stored figures, no pledge and no coin.

A page costs the same three queries whatever it shows. Where a page goes on is said by a cursor, which stays good while
campaigns come and go.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, literal, select, tuple_
from sqlalchemy.orm import Session

from crowdfund.campaigns.figure_models import CampaignFigures as F
from crowdfund.campaigns.figures import plain
from crowdfund.campaigns.lifecycle import CampaignState
from crowdfund.campaigns.models import Campaign
from crowdfund.db import UtcDateTime
from crowdfund.errors import UserError

NEARLY_PERCENT = 75
SOON = timedelta(days=7)
MOST_WORDS, MOST_LETTERS = 8, 200
OF = F.__table__.c


class Stage(StrEnum):
    """Where a campaign stands, as one looks for it."""

    OPEN = "open"
    NEARLY = "nearly"
    SOON = "soon"
    FINISHED = "finished"
    FUNDED = "funded"


class Order(StrEnum):
    """What comes first."""

    NEWEST = "newest"
    ENDING = "ending"
    FUNDED = "funded"
    CLOSEST = "closest"
    ENDED = "ended"


@dataclass(frozen=True)
class Filters:
    """What is looked for; empty is anything. `words` must all be in title, summary, creator or project. `state` is one
    of the states as they are. Campaigns that want help: `hands`."""

    words: str = ""
    stage: Stage | None = None
    license: str = ""
    kind: str = ""
    hands: bool = False
    state: CampaignState | None = None

    @property
    def is_empty(self) -> bool:
        """Is nothing asked for in particular?"""
        return self == Filters()


@dataclass(frozen=True)
class FoundCampaign:
    """A campaign as lists show it. Amounts in satoshi; `cursor` stands for "after this one"."""

    id: str
    title: str
    summary: str
    project_url: str
    license: str
    kind: str
    creator_name: str
    terms_hash: str
    state: CampaignState
    cancelled: bool
    full: bool
    goal_sats: int
    counted_sats: int
    seen_sats: int
    maturing_sats: int
    pledge_count: int
    percent: int
    ends_at: datetime
    published_at: datetime
    wants_help: bool
    height: int
    cursor: str


def discover(
    session: Session,
    filters: Filters,
    order: Order = Order.NEWEST,
    after: str = "",
    limit: int = 24,
    *,
    now: datetime | None = None,
    skip: int = 0,
) -> list[FoundCampaign]:
    """At most `limit` campaigns after the one that the cursor `after` names, and after `skip` more.

    `now` is the chain's time, for what ends soon. Raises UserError for a cursor that is none of this order's.
    """
    keys, rising = _keys(order)
    columns = [key.asc() if rising else key.desc() for key in keys]
    wanted = (
        select(F, Campaign.title, Campaign.summary, Campaign.project_url, Campaign.terms_hash, *keys)
        .join(Campaign, Campaign.id == F.campaign_id)
        .order_by(*columns)
        .limit(limit)
        .offset(skip)
    )
    wanted = _filtered(wanted, filters, now)
    if after:
        here, there = tuple_(*keys), tuple_(*_read_cursor(after, order, keys))
        wanted = wanted.where(here > there if rising else here < there)
    return [_found(row, order) for row in session.execute(wanted)]


def count(session: Session, filters: Filters, now: datetime | None = None) -> int:
    """How many campaigns there are of that kind."""
    return session.scalar(_filtered(select(func.count()).select_from(F), filters, now)) or 0


def licenses(session: Session) -> list[tuple[str, int]]:
    """The licences of published campaigns and how many have each, the most frequent first."""
    rows = session.execute(select(F.license, func.count()).group_by(F.license).order_by(func.count().desc(), F.license))
    return [(name, number) for name, number in rows]


def _filtered(wanted: Select[Any], filters: Filters, now: datetime | None) -> Select[Any]:
    for condition in (*_in_stage(filters.stage, now or datetime.now(UTC)), *_with_words(filters.words)):
        wanted = wanted.where(condition)
    if filters.state is not None:
        wanted = wanted.where(F.state == filters.state.value)
    if filters.license:
        wanted = wanted.where(F.license == filters.license)
    if filters.kind:
        wanted = wanted.where(F.kind == filters.kind)
    return wanted.where(F.wants_help) if filters.hands else wanted


def _in_stage(stage: Stage | None, now: datetime) -> Sequence[ColumnElement[bool]]:
    is_open = F.state == CampaignState.OPEN.value
    if stage is None:
        return ()
    if stage is Stage.FINISHED:
        return (~is_open,)
    if stage is Stage.FUNDED:
        return (F.state.in_((CampaignState.RELEASING.value, CampaignState.RELEASED.value)),)
    if stage is Stage.NEARLY:
        return is_open, F.percent >= NEARLY_PERCENT
    if stage is Stage.SOON:
        return is_open, F.ends_at > now, F.ends_at <= now + SOON
    return (is_open,)


def _with_words(words: str) -> Sequence[ColumnElement[bool]]:
    """Each must be there, in whatever order; more than a sentence of them is not read."""
    return [F.search.contains(word, autoescape=True) for word in plain(words[:MOST_LETTERS]).split()[:MOST_WORDS]]


def _keys(order: Order) -> tuple[list[ColumnElement[Any]], bool]:
    """What is compared, the id last, so that no two are alike; and whether the least comes first."""
    ident = OF.campaign_id
    if order is Order.ENDING:  # what has ended comes after all that is open
        return [case((F.state == CampaignState.OPEN.value, literal(0)), else_=literal(1)), OF.ends_at, ident], True
    if order is Order.ENDED:
        return [case((OF.state == CampaignState.OPEN.value, literal(0)), else_=literal(1)), OF.ends_at, ident], False
    if order is Order.FUNDED:
        return [OF.counted_sats, ident], False
    if order is Order.CLOSEST:  # what has reached its goal needs nobody as much as what is just below
        return [case((F.percent < 100, F.percent), else_=literal(-1)), OF.published_at, ident], False
    return [OF.published_at, ident], False


def _found(row: Any, order: Order) -> FoundCampaign:
    figures, title, summary, project_url, terms_hash, *keys = row
    return FoundCampaign(
        id=figures.campaign_id,
        title=title,
        summary=summary,
        project_url=project_url,
        license=figures.license,
        kind=figures.kind,
        creator_name=figures.creator_name,
        terms_hash=terms_hash or "",
        state=CampaignState(figures.state),
        cancelled=figures.cancelled,
        full=figures.is_full,
        goal_sats=figures.goal_sats,
        counted_sats=figures.counted_sats,
        seen_sats=figures.seen_sats,
        maturing_sats=figures.maturing_sats,
        pledge_count=figures.pledge_count,
        percent=figures.percent,
        ends_at=figures.ends_at,
        published_at=figures.published_at,
        wants_help=figures.wants_help,
        height=figures.height,
        cursor=_cursor(order, keys),
    )


def _cursor(order: Order, keys: Sequence[object]) -> str:
    values = [key.isoformat() if isinstance(key, datetime) else key for key in keys]
    return base64.urlsafe_b64encode(json.dumps([order.value, *values]).encode()).decode().rstrip("=")


def _read_cursor(text: str, order: Order, keys: Sequence[ColumnElement[Any]]) -> list[ColumnElement[Any]]:
    """The values to go on after. Raises UserError."""
    try:
        name, *values = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        if name != order.value or len(values) != len(keys):
            raise ValueError("of another order")
        return [_key_value(value, key) for value, key in zip(values, keys, strict=True)]
    except (ValueError, TypeError, UnicodeDecodeError, RecursionError, binascii.Error) as error:
        raise UserError("This is no place in this list; begin at its first page.", "after") from error


def _key_value(value: object, key: ColumnElement[Any]) -> ColumnElement[Any]:
    if isinstance(key.type, UtcDateTime):
        if not isinstance(value, str):
            raise ValueError("no time")
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("a time without its zone")
        return literal(moment, key.type)
    if type(value) is not key.type.python_type or (isinstance(value, int) and abs(value) >= 2**63):
        raise ValueError("of another kind")
    return literal(value, key.type)
