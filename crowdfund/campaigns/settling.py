"""Settlement in the database: decide once, plan once. What becomes of a plan stands in `attempts`.

One function for each step, each in the transaction of its caller. Nothing here ever makes a second plan for a coin (a
coin is in one batch, and in the parts of that one; a trigger sees to it). Reads columns and not objects: a campaign may
have a hundred thousand pledges.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby

from sqlalchemy import and_, func, or_, select, type_coerce, update
from sqlalchemy.orm import Session

from crowdfund.campaigns import books, readdressing, shown_endings
from crowdfund.campaigns.attempts import account_of, store_batch
from crowdfund.campaigns.endings import EndingBlock, ending_block
from crowdfund.campaigns.lifecycle import (
    COINBASE_MATURITY,
    CoinFacts,
    Decision,
    Kind,
    Outcome,
    Standing,
    decide,
    depth,
    over_cap,
    owed_kind,
    standing,
)
from crowdfund.campaigns.models import BatchInput, Block, Campaign, Coin, DecisionRow, Pledge
from crowdfund.campaigns.recording import tell_pages
from crowdfund.campaigns.settlement import SpendableCoin, plan_refunds, plan_release
from crowdfund.campaigns.shown_endings import ShownEnding
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.campaigns.tip import chain_tip, closing_block
from crowdfund.chain.port import Outpoint

REGISTERED_AT_ONCE = 1_000


@dataclass(frozen=True)
class Registration:
    """Refund scripts (by address index) of one campaign that the signer has not been told yet, with the ids of their
    pledges, both in the order of the indices."""

    campaign_id: str
    terms: str
    account_index: int
    refunds: dict[int, bytes]
    pledge_ids: tuple[str, ...]

    def only(self, wanted: Collection[str]) -> Registration:
        """Of these pledges alone."""
        pairs = zip(self.pledge_ids, self.refunds.items(), strict=True)
        kept = {pledge_id: refund for pledge_id, refund in pairs if pledge_id in wanted}
        return replace(self, refunds=dict(kept.values()), pledge_ids=tuple(kept))


@dataclass(frozen=True)
class DueCampaign:
    """An undecided campaign, and the blocks that its outcome rests on: height -> hash of the closing block and of the
    one that makes it deep enough."""

    id: str
    proof: dict[int, str]


@dataclass(frozen=True, slots=True)
class ConfirmedCoin:
    """What plans need of a coin. `free`: neither spent nor planned."""

    id: int
    txid: str
    vout: int
    value_sats: int
    height: int
    coinbase: bool
    index: int
    refund_script: bytes
    free: bool


@dataclass(frozen=True, slots=True)
class CountedCoin:
    """A coin that counts for the goal, and the block that holds it."""

    txid: str
    vout: int
    height: int
    index: int


def ending(session: Session, campaign_id: str) -> tuple[CampaignTerms, int]:
    """Terms of a decided campaign, and the height of the block that ends it as the chain has it now. No cancellation
    ends a campaign that was decided without one."""
    terms, decided = _own_terms(session, campaign_id), session.get_one(DecisionRow, campaign_id)
    now: EndingBlock | Block | None = closing_block(session, terms.deadline)
    if decided.cancellation_id is not None:
        now = ending_block(session, campaign_id, terms)
    return terms, decided.closing_height if now is None else now.height


def counted_coins(session: Session, campaign_id: str) -> list[CountedCoin]:
    """Every coin that counts in a decided campaign, in the order of the chain."""
    terms, closing_height = _own_terms(session, campaign_id), session.get_one(DecisionRow, campaign_id).closing_height
    counted = _counted(list(_confirmed_coins(session, campaign_id)), terms, closing_height)
    return [CountedCoin(c.txid, c.vout, c.height, c.index) for c in counted]


def outlook(session: Session, due: DueCampaign) -> tuple[CampaignTerms, list[CountedCoin]]:
    """Terms of a campaign that can be decided, and the coins on which a release would rest: none if the goal is
    missed."""
    terms = _own_terms(session, due.id)
    coins, end = list(_confirmed_coins(session, due.id)), ending_block(session, due.id, terms)
    decision = None if end is None else _decision(coins, terms, end, _tip_height(session))
    if decision is None or decision.outcome is Outcome.FAILED:
        return terms, []
    counted = _counted(coins, terms, decision.closing_height)
    return terms, [CountedCoin(c.txid, c.vout, c.height, c.index) for c in counted]


def campaigns_due(session: Session, tip_height: int) -> list[DueCampaign]:
    """Undecided campaigns whose closing block, or cancellation, is as deep as their terms ask for."""
    due = []
    for campaign_id, terms in _undecided(session):
        end = ending_block(session, campaign_id, terms)
        if end is not None and depth(end.height, tip_height) >= terms.confirmations:
            deep = session.get_one(Block, end.height + terms.confirmations - 1)
            due.append(DueCampaign(campaign_id, {end.height: end.block.hash, deep.height: deep.hash}))
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
        .where(Coin.height.is_not(None), Coin.spent_by.is_(None))
        .where(~select(BatchInput.coin_id).where(BatchInput.coin_id == Coin.id).exists())
        .distinct()
    )
    return list(rows)


def decide_campaign(session: Session, campaign_id: str, feerate_sat_vb: int, ending: ShownEnding | None = None) -> bool:
    """Store the decision, what shows it, and the plan that follows from it, in one transaction. False if it is too
    early, or if the recorded chain is not the one that `ending` shows."""
    if not store_decision(session, campaign_id, ending):
        return False
    _plan(session, campaign_id, list(_confirmed_coins(session, campaign_id)), feerate_sat_vb)
    books.post_whole(session, [campaign_id])  # now every coin of it is planned to be spent, or left behind
    return True


def store_decision(session: Session, campaign_id: str, ending: ShownEnding | None = None) -> bool:
    """Store the decision and what shows it; the caller has the campaign posted. False as above."""
    terms, tip_height = _terms(session, campaign_id), _tip_height(session)
    end = None if terms is None else ending_block(session, campaign_id, terms)
    if terms is None or end is None or session.get(DecisionRow, campaign_id) is not None:
        return False
    coins = list(_confirmed_coins(session, campaign_id))
    decision = _decision(coins, terms, end, tip_height)
    if decision is None:
        return False
    funded = decision.outcome is Outcome.FUNDED
    counted = {(c.txid, c.vout): c for c in _counted(coins, terms, end.height)} if funded else {}
    if ending is not None and not _shows(ending, end.block, counted):
        return False
    readdressing.close_waiting(session, campaign_id, datetime.now(UTC))
    session.add(
        DecisionRow(
            campaign_id=campaign_id,
            outcome=decision.outcome,
            counted_sats=decision.counted_sats,
            closing_height=end.height,
            closing_hash=end.block.hash,
            decided_height=tip_height,
            cancellation_id=None if end.cancellation is None else end.cancellation.id,
        )
    )
    session.flush()
    if ending is not None:
        shown_endings.keep(session, campaign_id, ending, {outpoint: coin.id for outpoint, coin in counted.items()})
    tell_pages(session)
    return True


def plan_campaign(session: Session, campaign_id: str, feerate_sat_vb: int) -> int:
    """Plan what is owed and not planned yet, and post it; returns the number of new batches."""
    planned = _plan(session, campaign_id, list(_confirmed_coins(session, campaign_id)), feerate_sat_vb)
    if planned:
        books.post_whole(session, [campaign_id])
    return planned


def _plan(session: Session, campaign_id: str, coins: Sequence[ConfirmedCoin], feerate_sat_vb: int) -> int:
    terms, decision, tip_height = (
        _terms(session, campaign_id),
        session.get(DecisionRow, campaign_id),
        _tip_height(session),
    )
    if terms is None or decision is None:
        return 0
    owed: dict[Kind, list[SpendableCoin]] = {Kind.RELEASE: [], Kind.REFUND: []}
    coin_ids, decided_on = {}, shown_endings.counted(session, campaign_id)
    for row, stands in _standings(coins, terms, decision.closing_height, tip_height):
        kind = owed_kind(stands, Outcome(decision.outcome))
        if kind is not None and decided_on is not None:
            kind = Kind.RELEASE if row.id in decided_on else Kind.REFUND  # whatever a reorganisation has moved since
        if kind is Kind.REFUND and not row.refund_script:
            continue  # found after a restore: an operator must say where to
        if kind is not None and _is_spendable(row, terms.confirmations, tip_height):
            owed[kind].append(SpendableCoin(row.txid, row.vout, row.value_sats, row.index, row.refund_script))
            coin_ids[(row.txid, row.vout)] = row.id
    batches = plan_release(owed[Kind.RELEASE], bytes.fromhex(terms.payout_script), feerate_sat_vb)
    batches += plan_refunds(owed[Kind.REFUND], feerate_sat_vb)
    for batch in batches:
        store_batch(session, campaign_id, batch, coin_ids, tip_height)
    return len(batches)


def unregistered(session: Session, after: tuple[str, int] = ("", -1)) -> list[Registration]:
    """Refund addresses that the signer must hear of, by campaign: the first thousand beyond this (campaign, index)."""
    campaign_id, index = after
    beyond = or_(Pledge.campaign_id > campaign_id, and_(Pledge.campaign_id == campaign_id, Pledge.index > index))
    waiting = (
        select(Pledge)
        .where(Pledge.registered.is_(False), Pledge.address.is_not(None), func.length(Pledge.refund_script) > 0)
        .where(beyond)
        .order_by(Pledge.campaign_id, Pledge.index)
    )
    pledges = session.scalars(waiting.limit(REGISTERED_AT_ONCE)).all()
    found = []
    for one, group in groupby(pledges, key=lambda pledge: pledge.campaign_id):
        own, campaign = list(group), session.get_one(Campaign, one)
        found.append(
            Registration(
                campaign_id=one,
                terms=campaign.terms or "",
                account_index=account_of(campaign),
                refunds={p.index: p.refund_script for p in own},
                pledge_ids=tuple(p.id for p in own),
            )
        )
    return found


def mark_registered(session: Session, pledge_ids: tuple[str, ...]) -> None:
    """The signer knows these refund addresses."""
    session.execute(update(Pledge).where(Pledge.id.in_(pledge_ids)).values(registered=True))


def _undecided(session: Session) -> list[tuple[str, CampaignTerms]]:
    """(id, terms) of every published campaign without a decision."""
    rows = session.execute(
        select(Campaign.id, Campaign.terms).where(
            Campaign.terms.is_not(None), Campaign.id.not_in(select(DecisionRow.campaign_id))
        )
    )
    return [(campaign_id, CampaignTerms.parse(terms or "")) for campaign_id, terms in rows]


def _own_terms(session: Session, campaign_id: str) -> CampaignTerms:
    terms = _terms(session, campaign_id)
    if terms is None:
        raise ValueError(f"campaign {campaign_id} has no terms")
    return terms


def _terms(session: Session, campaign_id: str) -> CampaignTerms | None:
    text = session.scalar(select(Campaign.terms).where(Campaign.id == campaign_id))
    return None if text is None else CampaignTerms.parse(text)


def _tip_height(session: Session) -> int:
    tip = chain_tip(session)
    return 0 if tip is None else tip.height


def _decision(
    coins: Sequence[ConfirmedCoin], terms: CampaignTerms, end: EndingBlock, tip_height: int
) -> Decision | None:
    facts, heights, cancelled = map(_facts, coins), (end.height, tip_height), end.cancellation is not None
    return decide(terms.goal_sats, terms.min_coin_sats, facts, *heights, terms.confirmations, terms.cap_sats, cancelled)


def _standings(
    coins: Sequence[ConfirmedCoin], terms: CampaignTerms, closing_height: int, tip_height: int
) -> Iterator[tuple[ConfirmedCoin, Standing]]:
    """Every confirmed coin and what it is worth to the goal."""
    rules = (closing_height, terms.min_coin_sats, tip_height)
    over = over_cap(map(_facts, coins), *rules, terms.cap_sats)
    for coin in coins:
        facts = _facts(coin)
        yield coin, Standing.OVER_CAP if facts.outpoint in over else standing(facts, *rules)


def _counted(coins: Sequence[ConfirmedCoin], terms: CampaignTerms, closing_height: int) -> list[ConfirmedCoin]:
    """Those that count, once there is a closing block, in the order of the chain."""
    stands = _standings(coins, terms, closing_height, closing_height)
    counted = [coin for coin, each in stands if each is Standing.COUNTED]
    return sorted(counted, key=lambda coin: (coin.height, coin.txid, coin.vout))


def _shows(ending: ShownEnding, closing: Block, counted: Mapping[Outpoint, ConfirmedCoin]) -> bool:
    """Is it the ending of the recorded chain, or has that moved since it was put together?"""
    heights = {outpoint: one.height for outpoint, one in ending.coins.items()}
    return ending.closing_hash == closing.hash and heights == {o: coin.height for o, coin in counted.items()}


def _facts(coin: ConfirmedCoin) -> CoinFacts:
    return CoinFacts(coin.value_sats, coin.height, coin.coinbase, outpoint=(coin.txid, coin.vout))


def _is_spendable(coin: ConfirmedCoin, confirmations: int, tip_height: int) -> bool:
    """Confirmed deeply enough, mature, and not yet spent or planned."""
    needed = COINBASE_MATURITY if coin.coinbase else confirmations
    return coin.free and depth(coin.height, tip_height) >= needed


def _confirmed_coins(session: Session, campaign_id: str) -> Iterator[ConfirmedCoin]:
    """Every coin that a block holds, in the order of first sight. What is unconfirmed decides nothing."""
    planned = select(BatchInput.coin_id).where(BatchInput.coin_id == Coin.id).exists()
    rows = session.execute(
        select(
            Coin.id,
            Coin.txid,
            Coin.vout,
            Coin.value_sats,
            type_coerce(Coin.height, Coin.id.type),
            Coin.coinbase,
            Pledge.index,
            Pledge.refund_script,
            and_(Coin.spent_by.is_(None), ~planned),
        )
        .join(Pledge, Pledge.id == Coin.pledge_id)
        .where(Pledge.campaign_id == campaign_id, Coin.height.is_not(None))
        .order_by(Coin.id)
    )
    return (ConfirmedCoin(*tuple(row)) for row in rows)
