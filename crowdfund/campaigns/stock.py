"""Rewards in the database: laid out at publication, reserved with a pledge, given up and regained.

Whatever is decided here, a trigger counts: no more claims hold a reward than there is stock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, selectinload

from crowdfund.campaigns import queries
from crowdfund.campaigns.detail_models import RewardClaim, RewardRow
from crowdfund.campaigns.details import Details, Reward
from crowdfund.campaigns.endings import ending_block
from crowdfund.campaigns.models import Campaign, Coin, Pledge
from crowdfund.campaigns.rewards import HOLDING, Claim, ClaimState, left_of, paid_place, settle_claims
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.campaigns.tip import chain_tip
from crowdfund.errors import Problems
from crowdfund.sentences import N_, Sentence


@dataclass(frozen=True)
class Shelf:
    """A reward, its number, and how many are `left`: None where there is no end of them. `taken` are paid for."""

    number: int
    reward: Reward
    left: int | None
    taken: int


def lay_out(session: Session, campaign_id: str, details: Details) -> None:
    """Write down the rewards of a campaign whose terms were just frozen."""
    for number, reward in enumerate(details.rewards):
        session.add(
            RewardRow(campaign_id=campaign_id, number=number, minimum_sats=reward.minimum_sats, stock=reward.stock)
        )
    session.flush()


def reserve(session: Session, pledge: Pledge, number: int | None) -> bool:
    """Reserve a reward for a new pledge; says whether it is one of so many, which others cannot have meanwhile.

    Raises Problems where there is none left, or the pledge is too small.
    """
    if number is None:
        return False
    row = session.get(RewardRow, (pledge.campaign_id, number))
    if row is None:
        raise Problems({"reward": N_("There is no such reward; choose one of those on the page, or none.")})
    if pledge.amount_sats < row.minimum_sats:
        raise Problems(
            {"amount": Sentence("This reward is for a pledge of at least {least} sat.", least=row.minimum_sats)}
        )
    now = _chain_time(session)
    if row.stock and left_of(_swept(session, pledge.campaign, row, now), row.stock) == 0:
        raise Problems({"reward": N_("The last one has just been taken; choose another reward, or none.")})
    claim = RewardClaim(
        pledge_id=pledge.id, campaign_id=pledge.campaign_id, number=number, reserved_at=now, freed_at=None
    )
    session.add(claim)
    session.flush()
    return row.stock > 0


def give_up(session: Session, pledge_id: str) -> None:
    """Free what a pledge has reserved that never got an address."""
    claim = session.get(RewardClaim, pledge_id)
    if claim is not None:
        claim.freed_at = _chain_time(session)


def shelves(session: Session, campaign: Campaign) -> list[Shelf]:
    """The rewards of a published campaign, as they stand."""
    found = []
    now = _chain_time(session)
    for number, reward in enumerate(Details.parse(campaign.details).rewards):
        row = session.get(RewardRow, (campaign.id, number))
        if row is not None:
            states = settle_claims(_claims(session, campaign, row), row.stock, now)
            taken = sum(state is ClaimState.HELD for state in states.values())
            found.append(Shelf(number, reward, left_of(states, row.stock), taken))
    return found


def of_pledge(session: Session, pledge: Pledge) -> tuple[Reward, ClaimState, datetime] | None:
    """The reward that a pledge asked for, how that stands, and when it was reserved; None if it asked for none."""
    own = session.get(RewardClaim, pledge.id)
    if own is None:
        return None
    campaign = pledge.campaign
    claims = _claims(session, campaign, own.reward, pledge.id)
    states = settle_claims(claims, own.reward.stock, _chain_time(session))
    return Details.parse(campaign.details).rewards[own.number], states[pledge.id], own.reserved_at


def _swept(session: Session, campaign: Campaign, row: RewardRow, now: datetime) -> dict[str, ClaimState]:
    """The state of every claim, which is written down: what has run out is freed, what was paid late is regained."""
    rows = {claim.pledge_id: claim for claim in _rows(session, row)}
    states = settle_claims(_claims(session, campaign, row), row.stock, now)
    for key, claim in rows.items():
        if states[key] not in HOLDING and claim.freed_at is None:
            claim.freed_at = now
    session.flush()  # first room is made, then it is taken
    for key, claim in rows.items():
        if states[key] in HOLDING and claim.freed_at is not None:
            claim.freed_at = None
    session.flush()
    return states


def _claims(session: Session, campaign: Campaign, row: RewardRow, with_pledge: str = "") -> list[Claim]:
    rows = _rows(session, row, with_pledge)
    terms = CampaignTerms.parse(campaign.terms or "")
    closing, tip = ending_block(session, campaign.id, terms), chain_tip(session)
    over = queries.load(session, campaign.id).over_cap if terms.cap_sats and rows else frozenset()
    found = []
    for each in rows:
        coins = [queries.facts_of(c) for c in each.pledge.coins if (c.txid, c.vout) not in over]
        paid_at = paid_place(
            coins,
            row.minimum_sats,
            None if closing is None else closing.height,
            terms.min_coin_sats,
            0 if tip is None else tip.height,
        )
        found.append(Claim(each.pledge_id, each.reserved_at, each.freed_at is not None, paid_at))
    return found


def _rows(session: Session, row: RewardRow, with_pledge: str = "") -> Sequence[RewardClaim]:
    """The claims that matter: paid, or holding one of a limited number; and that of `with_pledge` in any case. Unpaid
    pledges cost nothing to make, so their number must cost no page anything."""
    matters = [Pledge.coins.any(), RewardClaim.pledge_id == with_pledge]
    if row.stock:
        matters.append(RewardClaim.freed_at.is_(None))
    return session.scalars(
        select(RewardClaim)
        .join(Pledge, Pledge.id == RewardClaim.pledge_id)
        .where(RewardClaim.campaign_id == row.campaign_id, RewardClaim.number == row.number, or_(*matters))
        .order_by(RewardClaim.reserved_at, RewardClaim.pledge_id)
        .options(selectinload(RewardClaim.pledge).selectinload(Pledge.coins).selectinload(Coin.rival))
    ).all()


def _chain_time(session: Session) -> datetime:
    """The median time past of the last block: the one clock that everybody reads the same."""
    tip = chain_tip(session)
    return datetime.now(UTC) if tip is None else datetime.fromtimestamp(tip.median_time_past, UTC)
