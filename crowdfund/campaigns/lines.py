"""A campaign's snapshot for pages and figures: the same facts as `queries.load`, read as plain lines.

Ten thousand pledges are ten thousand small values here instead of rows that a session watches, and the number of
queries is the same for any campaign. Everything that derives is `queries`' own; the lines have the columns that it asks
for, and no others. May not: write, or hand a line to what writes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from crowdfund.campaigns import queries
from crowdfund.campaigns.models import Attempt, BatchInput, BatchRow, Coin, Pledge, RivalRow
from crowdfund.campaigns.queries import Snapshot

# As many rivals are asked for by name; above that, by their campaign.
NAMED = 500


@dataclass(slots=True)
class CoinLine:
    """A coin; see `models.Coin`. `batch_inputs` are the batches that spend it, by their ids."""

    pledge_id: str
    id: int
    txid: str
    vout: int
    value_sats: int
    coinbase: bool
    in_mempool: bool
    height: int | None
    spent_by: str | None
    spent_height: int | None
    batch_inputs: Sequence[int] = ()
    rival: RivalLine | None = None


@dataclass(frozen=True, slots=True)
class RivalLine:
    """What took the place of a payment; see `models.RivalRow`."""

    height: int | None


@dataclass(slots=True)
class PledgeLine:
    """A pledge that was ever paid; see `models.Pledge`."""

    id: str
    index: int
    amount_sats: int
    name: str
    message: str
    refund_script: bytes
    coins: list[CoinLine] = field(default_factory=list)


@dataclass(slots=True)
class InputLine:
    """A coin that a batch spends."""

    coin_id: int
    coin: CoinLine


@dataclass(slots=True)
class AttemptLine:
    """A rung of a batch's ladder; `raw` is not read, only whether it is there."""

    batch_id: int
    txid: str
    fee_sats: int
    raw: bool | None
    sent_at: datetime | None
    refusal: str | None


@dataclass(slots=True)
class BatchLine:
    """A batch; see `models.BatchRow`."""

    id: int
    kind: str
    parent_id: int | None
    inputs: list[InputLine] = field(default_factory=list)
    attempts: list[AttemptLine] = field(default_factory=list)


def load(session: Session, campaign_id: str) -> Snapshot:
    """The campaign's snapshot, to be read only. Raises NotFound."""
    pledges = _pledges(session, campaign_id)
    coins = _coins(session, campaign_id, pledges)
    batches = _batches(session, campaign_id, coins)
    _add_rivals(session, campaign_id, coins.values())
    ours = {attempt.txid for batch in batches for attempt in batch.attempts}
    strange = any(coin.spent_by is not None and coin.spent_by not in ours for coin in coins.values())
    return queries.snapshot_of(
        session,
        campaign_id,
        cast(Sequence[Pledge], [pledge for pledge in pledges.values() if pledge.coins]),
        cast(Sequence[BatchRow], batches),
        queries.taken_back(session, campaign_id) if strange else {},
    )


def _pledges(session: Session, campaign_id: str) -> dict[str, PledgeLine]:
    columns = (Pledge.id, Pledge.index, Pledge.amount_sats, Pledge.name, Pledge.message, Pledge.refund_script)
    paid = select(*columns).where(Pledge.campaign_id == campaign_id, Pledge.address.is_not(None), Pledge.coins.any())
    rows = session.connection().execute(paid.order_by(Pledge.index)).all()  # past the session: nothing to watch
    return {row[0]: PledgeLine(*row) for row in rows}


def _coins(session: Session, campaign_id: str, pledges: Mapping[str, PledgeLine]) -> dict[int, CoinLine]:
    """In the order of first sight, each of them with its pledge."""
    columns = (
        Coin.pledge_id, Coin.id, Coin.txid, Coin.vout, Coin.value_sats, Coin.coinbase, Coin.in_mempool, Coin.height,
        Coin.spent_by, Coin.spent_height,
    )  # fmt: skip
    own = select(*columns).join(Pledge, Pledge.id == Coin.pledge_id).where(Pledge.campaign_id == campaign_id)
    found = {row[1]: CoinLine(*row) for row in session.connection().execute(own).all() if row[0] in pledges}
    for coin_id in sorted(found):
        pledges[found[coin_id].pledge_id].coins.append(found[coin_id])
    return found


def _batches(session: Session, campaign_id: str, coins: Mapping[int, CoinLine]) -> list[BatchLine]:
    """In the order of planning, with their inputs and attempts in order."""
    own = BatchRow.campaign_id == campaign_id
    rows = session.execute(select(BatchRow.id, BatchRow.kind, BatchRow.parent_id).where(own).order_by(BatchRow.id))
    found = {row[0]: BatchLine(*row) for row in rows}
    if not found:
        return []
    inputs = select(BatchInput.batch_id, BatchInput.coin_id).join(BatchRow, BatchRow.id == BatchInput.batch_id)
    for batch_id, coin_id in session.execute(inputs.where(own).order_by(BatchInput.batch_id, BatchInput.position)):
        coin = coins[coin_id]
        found[batch_id].inputs.append(InputLine(coin_id, coin))
        coin.batch_inputs = (*coin.batch_inputs, batch_id)
    columns = (Attempt.batch_id, Attempt.txid, Attempt.fee_sats, Attempt.raw.is_not(None), Attempt.sent_at)
    attempts = select(*columns, Attempt.refusal).join(BatchRow, BatchRow.id == Attempt.batch_id).where(own)
    for batch_id, txid, fee_sats, signed, sent_at, refusal in session.execute(attempts.order_by(Attempt.number)):
        line = AttemptLine(batch_id, txid, fee_sats, True if signed else None, sent_at, refusal)
        found[batch_id].attempts.append(line)
    return list(found.values())


def _add_rivals(session: Session, campaign_id: str, coins: Collection[CoinLine]) -> None:
    """Only what is in no block and not seen may have one."""
    lost = [coin for coin in coins if coin.height is None]
    if lost:
        known = select(RivalRow.txid, RivalRow.height)
        if len(lost) <= NAMED:
            known = known.where(RivalRow.txid.in_([coin.txid for coin in lost]))
        else:
            known = known.join(Coin, Coin.txid == RivalRow.txid).join(Pledge, Pledge.id == Coin.pledge_id)
            known = known.where(Pledge.campaign_id == campaign_id, Coin.height.is_(None))
        rows = session.execute(known)
        rivals = {txid: RivalLine(height) for txid, height in rows}
        for coin in lost:
            coin.rival = rivals.get(coin.txid)
