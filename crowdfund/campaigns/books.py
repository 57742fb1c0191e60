"""Keeping the ledger: whoever changes facts has the coins concerned posted, in the same transaction.

Nobody says what moved. The place of each coin that was touched is worked out from the facts by the pure rules, and
compared with where its transfers have put it; the difference is posted. So a second call posts nothing, and no
movement can be forgotten in one of many places. May not: decide anything, or change a fact.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy import ColumnElement, exists, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from crowdfund.campaigns import ledger, touching
from crowdfund.campaigns.endings import ending_block, maybe_cancelled
from crowdfund.campaigns.ledger import Bucket, Movement, Posted, Settled
from crowdfund.campaigns.ledger_models import Balance, Halt, Transfer
from crowdfund.campaigns.lifecycle import COINBASE_MATURITY, CoinFacts, Kind, Outcome, Standing, over_cap, standing
from crowdfund.campaigns.models import (
    Attempt,
    AttemptOutput,
    BatchInput,
    BatchRow,
    Block,
    Campaign,
    ChainView,
    Coin,
    DecisionRow,
    Pledge,
    TimelockedRefund,
)
from crowdfund.campaigns.terms import MIN_COIN_SATS, CampaignTerms
from crowdfund.campaigns.tip import chain_tip
from crowdfund.chain.port import Outpoint
from crowdfund.db import Database

log = logging.getLogger("crowdfund.books")

AT_ONCE = 5_000
REFUSED = "The ledger refuses to move what the chain has moved: it was changed by hand."
SEALED = (
    "id", "campaign_id", "coin_id", "key", "from_account", "to_account", "amount_sats", "what", "height", "block_hash",
    "at", "reverses", "prev_hash",
)  # fmt: skip

_T = TypeVar("_T")


@dataclass(frozen=True)
class Mark:
    """A moment of the chain: all that the standing of a coin can depend on, beyond the coin itself."""

    height: int
    median_time_past: int


@dataclass(frozen=True, slots=True)
class CoinRow:
    """What the ledger must know of a coin. `planned`: a batch spends it."""

    id: int
    campaign_id: str
    txid: str
    vout: int
    value_sats: int
    coinbase: bool
    height: int | None
    block_hash: str | None
    spent_by: str | None
    spent_height: int | None
    planned: bool


@dataclass(frozen=True)
class Rules:
    """What the terms, the decision and the chain say to every coin of a campaign. `over`: the outpoints of the coins
    that came after the cap was reached."""

    min_coin_sats: int
    closing_height: int | None
    outcome: Outcome | None
    tip_height: int
    over: frozenset[Outpoint] = frozenset()


@dataclass(frozen=True, slots=True)
class Place:
    """Where the rules put a coin: account -> satoshi."""

    coin: CoinRow
    accounts: Mapping[str, int]


def mark_of(block: Block | None, height: int = 0) -> Mark:
    """The moment at which this block is the tip; `height` where there is none."""
    return Mark(height, 0) if block is None else Mark(block.height, block.median_time_past)


def post_moved(session: Session, coin_ids: Collection[int], before: Mark, after: Mark) -> int:
    """Post these coins, and all whose place can differ because the chain's end has moved. Returns the transfers."""
    session.flush()
    ids = {*coin_ids, *_ripened(session, before, after)}
    campaigns = _opened_or_closed(session, before, after)
    touching.touch_moved(session, before.height, after.height, campaigns)
    return post(session, ids, campaigns)


def coins_at(session: Session, outpoints: Collection[Outpoint]) -> list[int]:
    """The ids of the coins at these outpoints; not every outpoint is one of ours."""
    found: list[int] = []
    for part in _parts({txid for txid, _ in outpoints}):
        rows = session.execute(select(Coin.id, Coin.txid, Coin.vout).where(Coin.txid.in_(part)))
        found += [row.id for row in rows if (row.txid, row.vout) in outpoints]
    return found


def post(session: Session, coin_ids: Collection[int], campaign_ids: Collection[str] = ()) -> int:
    """Post these coins and every coin of these campaigns; returns the number of transfers.

    Where there is a cap, one coin more or less can move any other: such a campaign is posted as a whole.
    """
    session.flush()
    whole = post_whole(session, sorted({*campaign_ids, *_capped(session, coin_ids)}))
    return whole + sum(_post(session, _rows(session, Coin.id.in_(part))) for part in _parts(sorted(coin_ids)))


def post_whole(session: Session, campaign_ids: Collection[str]) -> int:
    """Post every coin of these campaigns; returns the number of transfers."""
    session.flush()
    return sum(_post(session, _rows(session, Pledge.campaign_id == each)) for each in campaign_ids)


def open_ledger(database: Database) -> int:
    """The opening of a ledger in a database that was used without one: every coin where it is. Once, and never again.

    Whoever comes second waits for the row of the view, and finds the ledger open.
    """
    with database.transaction() as session:
        session.execute(select(ChainView.id).with_for_update())
        if session.scalar(select(Balance.account).limit(1)) or session.scalar(select(Transfer.id).limit(1)):
            return 0
        return post_whole(session, session.scalars(select(Campaign.id).order_by(Campaign.created_at)).all())


def balances(session: Session, campaign_id: str) -> dict[str, int]:
    """Account -> satoshi of a campaign."""
    rows = session.execute(select(Balance.account, Balance.sats).where(Balance.campaign_id == campaign_id))
    return {row.account: row.sats for row in rows}


def places(session: Session, coins: Sequence[CoinRow]) -> list[Place]:
    """Where the rules put each coin, from facts alone."""
    rules = {each: _rules(session, each) for each in {coin.campaign_id for coin in coins}}
    settled = settlements_in_blocks(session, {coin.spent_by for coin in coins if coin.spent_by})
    return [_place(coin, rules[coin.campaign_id], settled.get(coin.spent_by or "")) for coin in coins]


def coins_of_campaign(session: Session, campaign_id: str) -> list[CoinRow]:
    """Every coin of the campaign that was ever seen."""
    return _rows(session, Pledge.campaign_id == campaign_id)


def transfers_of(session: Session, coin_ids: Collection[int]) -> dict[int, list[Posted]]:
    """The transfers of each coin, in their order."""
    found: dict[int, list[Posted]] = defaultdict(list)
    for part in _parts(coin_ids):
        columns = (Transfer.id, Transfer.from_account, Transfer.to_account, Transfer.amount_sats, Transfer.height)
        rows = session.execute(
            select(*columns, Transfer.block_hash, Transfer.reverses, Transfer.coin_id)
            .where(Transfer.coin_id.in_(part))
            .order_by(Transfer.id)
        )
        for row in rows:
            found[row.coin_id].append(Posted(*row[:-1]))
    return found


def settlements_in_blocks(session: Session, txids: Collection[str]) -> dict[str, dict[int, Settled]]:
    """txid -> coin -> where it went, for those of `txids` that we have signed; each is in a block.

    A coin's share of the fee is that of the output which it pays for: of a payout in proportion to its value, of a
    refund what its pledge's coins in the batch hold more than the pledge gets back.
    """
    found: dict[str, dict[int, Settled]] = {}
    for part in _parts(txids):
        attempts = session.execute(
            select(Attempt.txid, BatchRow.id, BatchRow.kind).join(BatchRow).where(Attempt.txid.in_(part))
        ).all()
        for txid, batch_id, kind in attempts:
            found[txid] = _shares(Kind(kind), _inputs(session, batch_id), _outputs(session, txid))
        taken_back = select(TimelockedRefund.txid, TimelockedRefund.coin_id, TimelockedRefund.fee_sats)
        for txid, coin_id, fee_sats in session.execute(taken_back.where(TimelockedRefund.txid.in_(part))):
            found[txid] = {coin_id: Settled(Kind.REFUND, fee_sats)}
    return found


def _outputs(session: Session, txid: str) -> dict[int | None, int]:
    """Index of the pledge (None: the payout) -> satoshi, of the outputs of the transaction that a block holds."""
    rows = session.execute(select(AttemptOutput.index, AttemptOutput.value_sats).where(AttemptOutput.txid == txid))
    paid: dict[int | None, int] = defaultdict(int)
    for pledge_index, value_sats in rows.all():
        paid[pledge_index] += value_sats
    return paid


def _inputs(session: Session, batch_id: int) -> list[tuple[int, int, int]]:
    """(coin, satoshi, index of its pledge) in the order of the inputs."""
    rows = session.execute(
        select(Coin.id, Coin.value_sats, Pledge.index)
        .join(BatchInput, BatchInput.coin_id == Coin.id)
        .join(Pledge, Pledge.id == Coin.pledge_id)
        .where(BatchInput.batch_id == batch_id)
        .order_by(BatchInput.position)
    )
    return [(coin_id, value_sats, index) for coin_id, value_sats, index in rows]


def _shares(
    kind: Kind, inputs: Iterable[tuple[int, int, int]], outputs: Mapping[int | None, int]
) -> dict[int, Settled]:
    groups: dict[int | None, list[tuple[int, int]]] = defaultdict(list)
    for coin_id, value_sats, index in inputs:
        groups[None if kind is Kind.RELEASE else index].append((coin_id, value_sats))
    found = {}
    for output, coins in groups.items():
        fees = ledger.fee_shares([value_sats for _, value_sats in coins], outputs[output])
        found.update({coin_id: Settled(kind, fee) for (coin_id, _), fee in zip(coins, fees, strict=True)})
    return found


def _place(coin: CoinRow, rules: Rules, settled: Mapping[int, Settled] | None) -> Place:
    if coin.height is None:
        return Place(coin, {})
    if settled is not None:
        return Place(coin, ledger.coin_place(coin.value_sats, None, settled[coin.id]))
    bucket = Bucket.FOREIGN_SPEND if coin.spent_by else _bucket(coin, rules)
    return Place(coin, ledger.coin_place(coin.value_sats, bucket, None))


def _bucket(coin: CoinRow, rules: Rules) -> Bucket | None:
    return ledger.coin_bucket(_standing(coin, rules), rules.outcome, coin.planned)


def _standing(coin: CoinRow, rules: Rules) -> Standing:
    if (coin.txid, coin.vout) in rules.over:
        return Standing.OVER_CAP
    return standing(_facts(coin), rules.closing_height, rules.min_coin_sats, rules.tip_height)


def _facts(coin: CoinRow) -> CoinFacts:
    return CoinFacts(coin.value_sats, coin.height, coin.coinbase, outpoint=(coin.txid, coin.vout))


def _rules(session: Session, campaign_id: str) -> Rules:
    tip, decision = chain_tip(session), session.get(DecisionRow, campaign_id)
    text = session.scalar(select(Campaign.terms).where(Campaign.id == campaign_id))
    terms = None if text is None else CampaignTerms.parse(text)
    end = None if terms is None else ending_block(session, campaign_id, terms)
    closing_height = None if end is None else end.height
    rules = Rules(
        MIN_COIN_SATS if terms is None else terms.min_coin_sats,
        closing_height if decision is None else decision.closing_height,
        None if decision is None else Outcome(decision.outcome),
        0 if tip is None else tip.height,
    )
    cap_sats = 0 if terms is None else terms.cap_sats
    return replace(rules, over=_over_cap(session, campaign_id, rules, cap_sats)) if cap_sats else rules


def _over_cap(session: Session, campaign_id: str, rules: Rules, cap_sats: int) -> frozenset[Outpoint]:
    coins = [_facts(coin) for coin in coins_of_campaign(session, campaign_id)]
    return over_cap(coins, rules.closing_height, rules.min_coin_sats, rules.tip_height, cap_sats)


def _capped(session: Session, coin_ids: Collection[int]) -> set[str]:
    """The campaigns of these coins that have a cap."""
    found: set[str] = set()
    for part in _parts(coin_ids):
        rows = session.scalars(
            select(Campaign.id)
            .join(Pledge, Pledge.campaign_id == Campaign.id)
            .join(Coin, Coin.pledge_id == Pledge.id)
            .where(Campaign.cap_sats > 0, Coin.id.in_(part))
        )
        found.update(rows)
    return found


def _post(session: Session, coins: Sequence[CoinRow]) -> int:
    """Compare and write, each campaign for itself."""
    held = transfers_of(session, [coin.id for coin in coins])
    moved: dict[str, list[tuple[CoinRow, int, Movement]]] = defaultdict(list)
    for place in places(session, coins):
        coin, so_far = place.coin, held.get(place.coin.id, [])
        steps = ledger.movements(so_far, place.accounts, coin.block_hash)
        moved[coin.campaign_id] += [(coin, len(so_far) + number, step) for number, step in enumerate(steps, 1)]
    return sum(_try_write(session, campaign_id, steps) for campaign_id, steps in moved.items() if steps)


def _try_write(session: Session, campaign_id: str, moved: Sequence[tuple[CoinRow, int, Movement]]) -> int:
    """Watching goes on, whatever somebody did to the ledger: where it refuses a transfer, its campaign is halted."""
    try:
        with session.begin_nested():
            _write(session, moved)
    except IntegrityError as error:
        log.error("The ledger refuses to move what the chain has moved: %s", error.orig)
        lasting = select(Halt.id).where(Halt.campaign_id == campaign_id, Halt.ended_at.is_(None))
        if session.scalar(lasting) is None:
            session.add(Halt(campaign_id=campaign_id, reason=REFUSED, began_at=datetime.now(UTC)))
        return 0
    return len(moved)


def _write(session: Session, moved: Sequence[tuple[CoinRow, int, Movement]]) -> None:
    now, blocks = datetime.now(UTC), _Blocks(session, [coin for coin, _, _ in moved])
    last = session.execute(select(Transfer.id, Transfer.hash).order_by(Transfer.id.desc()).limit(1)).one_or_none()
    number, prev_hash = (0, ledger.FIRST_PREV_HASH) if last is None else last
    for part in _parts(moved):  # a hundred thousand rows at once would take as many times the memory
        rows: list[dict[str, object]] = []
        for coin, ordinal, step in part:
            number += 1
            row = {**_content(coin, ordinal, step, blocks), "id": number, "at": now, "prev_hash": prev_hash}
            prev_hash = ledger.seal(row)
            rows.append({**row, "hash": prev_hash})
        session.connection().execute(insert(Transfer), rows)


def _content(coin: CoinRow, ordinal: int, step: Movement, blocks: _Blocks) -> dict[str, object]:
    """A transfer's columns, but for what its place in the ledger says."""
    height, block_hash = blocks.of(coin, step)
    return {
        "campaign_id": coin.campaign_id,
        "coin_id": coin.id,
        "key": f"{coin.txid}:{coin.vout}#{ordinal}",
        "from_account": step.from_account,
        "to_account": step.to_account,
        "amount_sats": step.amount_sats,
        "what": step.what,
        "height": height,
        "block_hash": block_hash,
        "reverses": None if step.undoes is None else step.undoes.id,
    }


class _Blocks:
    """Which block has moved a coin."""

    def __init__(self, session: Session, coins: Sequence[CoinRow]) -> None:
        tip = chain_tip(session)
        self._tip = (0, "") if tip is None else (tip.height, tip.hash)
        self._hashes: dict[int, str] = {}
        for part in _parts({coin.spent_height for coin in coins if coin.spent_height is not None}):
            rows = session.execute(select(Block.height, Block.hash).where(Block.height.in_(part)))
            self._hashes.update({row.height: row.hash for row in rows})

    def of(self, coin: CoinRow, step: Movement) -> tuple[int, str]:
        """For what comes in its own block, for what is undone the lost one, for what is spent the spender's, else the
        tip."""
        if step.undoes is not None:
            return step.undoes.height, step.undoes.block_hash
        if step.from_account == ledger.OUTSIDE:
            return coin.height or 0, coin.block_hash or ""
        if coin.spent_height is not None:
            return coin.spent_height, self._hashes.get(coin.spent_height, "")
        return self._tip


def _ripened(session: Session, before: Mark, after: Mark) -> Sequence[int]:
    """Freshly mined coins that come of age between the two moments, whichever is earlier."""
    low, high = sorted(mark.height - COINBASE_MATURITY for mark in (before, after))
    return session.scalars(select(Coin.id).where(Coin.coinbase, Coin.height > low, Coin.height <= high)).all()


def _opened_or_closed(session: Session, before: Mark, after: Mark) -> Sequence[str]:
    """Published campaigns whose closing block, or cancellation, may exist at one of the two moments only."""
    low, high = sorted(mark.median_time_past for mark in (before, after))
    closing = session.scalars(
        select(Campaign.id)
        .where(Campaign.terms.is_not(None))
        .where(Campaign.deadline_at >= _time(low), Campaign.deadline_at < _time(high + 1))
        .order_by(Campaign.id)
    )
    return [*closing, *maybe_cancelled(session)]


def _time(unix_s: int) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)


def _rows(session: Session, wanted: ColumnElement[bool]) -> list[CoinRow]:
    planned = exists().where(BatchInput.coin_id == Coin.id)
    columns = (
        Coin.id, Pledge.campaign_id, Coin.txid, Coin.vout, Coin.value_sats, Coin.coinbase, Coin.height,
        Coin.block_hash, Coin.spent_by, Coin.spent_height, planned,
    )  # fmt: skip
    rows = session.execute(select(*columns).join(Pledge, Pledge.id == Coin.pledge_id).where(wanted).order_by(Coin.id))
    return [CoinRow(*row) for row in rows]


def _parts(items: Collection[_T]) -> Iterable[list[_T]]:
    listed = list(items)
    return (listed[i : i + AT_ONCE] for i in range(0, len(listed), AT_ONCE))
