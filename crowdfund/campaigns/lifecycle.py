"""The life of a campaign, as a pure function of the terms and the chain.

The closing block is the first whose median time past (BIP 113) is later than the deadline. Coins confirmed in
blocks before it count; the outcome is decided when it has the required confirmations, and only then. No clock of
ours has a say. Where the terms allow it, a cancellation in an earlier block takes the place of the closing block.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

COINBASE_MATURITY = 100


class Outcome(StrEnum):
    """How a campaign ended."""

    FUNDED = "funded"
    FAILED = "failed"


class Kind(StrEnum):
    """The two kinds of settlement."""

    RELEASE = "release"
    REFUND = "refund"


class CampaignState(StrEnum):
    """The states that people see; derived, never stored."""

    DRAFT = "draft"
    OPEN = "open"
    CLOSING = "closing"
    RELEASING = "releasing"
    RELEASED = "released"
    REFUNDING = "refunding"
    REFUNDED = "refunded"


class BatchState(StrEnum):
    """How far a batch has come, the least first; derived from its attempts and from the chain.

    The last two have nothing left to do: the batch's parts do the work, or a transaction of its parts or of what it was
    split from has done it.
    """

    PLANNED = "planned"
    SIGNED = "signed"
    SENT = "sent"
    INPUT_LOST = "input lost"
    NEEDS_HUMAN = "needs human"
    CONFIRMED = "confirmed"
    FINAL = "final"
    PARTITIONED = "partitioned"
    SUPERSEDED = "superseded"


REPLACED_BATCH = (BatchState.PARTITIONED, BatchState.SUPERSEDED)


class Standing(StrEnum):
    """What a coin is worth to the goal."""

    SEEN = "seen"
    REPLACED = "replaced"
    DOUBLE_SPENT = "double_spent"
    EVICTED = "evicted"
    MATURING = "maturing"
    DUST = "dust"
    LATE = "late"
    OVER_CAP = "over_cap"
    COUNTED = "counted"


UNCONFIRMED = (Standing.SEEN, Standing.REPLACED, Standing.DOUBLE_SPENT, Standing.EVICTED)


class RivalFate(StrEnum):
    """How far the transaction has come that spends what an unconfirmed coin's transaction would spend."""

    SEEN = "seen"
    CONFIRMED = "confirmed"


@dataclass(frozen=True, slots=True)
class CoinFacts:
    """What the chain says of a coin. `height` is None while unconfirmed; `in_mempool` is whether it is seen then, and
    `rival` what took its place, if it is not and something did. `outpoint` is its txid and output number."""

    value_sats: int
    height: int | None
    coinbase: bool = False
    in_mempool: bool = False
    rival: RivalFate | None = None
    outpoint: tuple[str, int] = ("", 0)


@dataclass(frozen=True)
class Decision:
    """The outcome and the sum that it rests on."""

    outcome: Outcome
    counted_sats: int
    closing_height: int


@dataclass(frozen=True)
class Ending:
    """Where a campaign ends: at its closing block, or, `cancelled`, at the block that takes its place."""

    height: int
    cancelled: bool = False


def ending(opened_height: int, closing_height: int | None, cancelled_at: Iterable[int]) -> Ending | None:
    """The end, None while there is none. `cancelled_at`: heights of blocks that hold a cancellation; the first after
    the opening block and before the closing block counts, and all others change nothing."""
    in_time = (
        height
        for height in cancelled_at
        if height > opened_height and (closing_height is None or height < closing_height)
    )
    first = min(in_time, default=None)
    if first is not None:
        return Ending(first, cancelled=True)
    return None if closing_height is None else Ending(closing_height)


def standing(coin: CoinFacts, closing_height: int | None, min_coin_sats: int, tip_height: int) -> Standing:
    """What a coin is worth, given the heights of the closing block (None while there is none) and of the tip.

    Without a look at the other coins: of what counts here, `over_cap` tells what comes after the cap was reached.
    """
    if coin.height is None:
        return _unconfirmed_standing(coin)
    if coin.value_sats < min_coin_sats:
        return Standing.DUST
    counts_from = coin.height + (COINBASE_MATURITY if coin.coinbase else 0)
    if closing_height is not None:
        return Standing.LATE if counts_from >= closing_height else Standing.COUNTED
    return Standing.COUNTED if tip_height >= counts_from else Standing.MATURING


def _unconfirmed_standing(coin: CoinFacts) -> Standing:
    if coin.in_mempool:
        return Standing.SEEN
    if coin.rival is None:
        return Standing.EVICTED
    return Standing.DOUBLE_SPENT if coin.rival is RivalFate.CONFIRMED else Standing.REPLACED


def over_cap(
    coins: Iterable[CoinFacts], closing_height: int | None, min_coin_sats: int, tip_height: int, cap_sats: int
) -> frozenset[tuple[str, int]]:
    """The outpoints of the coins that would count, had not those before them reached the cap. A cap of 0 is none.

    `coins` are all of the campaign's, in any order; what goes before what is for the chain to say: the height, then the
    txid, then the output number. The coin that crosses the cap still counts in whole. What is late, dust or not yet
    ripe uses nothing up; a miner's coin takes the place of its own block, but not before it counts.
    """
    if cap_sats == 0:
        return frozenset()
    counting = [c for c in coins if standing(c, closing_height, min_coin_sats, tip_height) is Standing.COUNTED]
    counting.sort(key=lambda c: (c.height or 0, c.outpoint))
    before_sats = accumulate((c.value_sats for c in counting), initial=0)
    return frozenset(c.outpoint for c, sats in zip(counting, before_sats, strict=False) if sats >= cap_sats)


def counted_sats(
    coins: Iterable[CoinFacts], closing_height: int | None, min_coin_sats: int, tip_height: int, cap_sats: int
) -> int:
    """Sum of the coins that count, in satoshi."""
    coins = tuple(coins)
    over = over_cap(coins, closing_height, min_coin_sats, tip_height, cap_sats)
    counted = (c for c in coins if standing(c, closing_height, min_coin_sats, tip_height) is Standing.COUNTED)
    return sum(c.value_sats for c in counted if c.outpoint not in over)


def decide(
    goal_sats: int,
    min_coin_sats: int,
    coins: Iterable[CoinFacts],
    closing_height: int | None,
    tip_height: int,
    confirmations: int,
    cap_sats: int,
    cancelled: bool = False,
) -> Decision | None:
    """The decision, or None while the closing block is missing or not deep enough. Where a cancellation is in its place
    (`cancelled`), the campaign has failed, whatever was paid."""
    if closing_height is None or depth(closing_height, tip_height) < confirmations:
        return None
    total_sats = counted_sats(coins, closing_height, min_coin_sats, tip_height, cap_sats)
    reached = total_sats >= goal_sats and not cancelled
    return Decision(Outcome.FUNDED if reached else Outcome.FAILED, total_sats, closing_height)


def depth(height: int, tip_height: int) -> int:
    """Confirmations of a block: 1 for the tip."""
    return max(0, tip_height - height + 1)


def campaign_state(
    published: bool, closing_height: int | None, outcome: Outcome | None, settled: bool
) -> CampaignState:
    """The state that people see. `settled`: every batch planned by the decision is final."""
    if not published:
        return CampaignState.DRAFT
    if outcome is None:
        return CampaignState.OPEN if closing_height is None else CampaignState.CLOSING
    if outcome is Outcome.FUNDED:
        return CampaignState.RELEASED if settled else CampaignState.RELEASING
    return CampaignState.REFUNDED if settled else CampaignState.REFUNDING


def batch_state(
    *,
    signed: bool,
    sent: bool,
    inputs_confirmed: bool,
    spent_height: int | None,
    tip_height: int,
    confirmations: int,
    superseded: bool = False,
    partitioned: bool = False,
    unwanted: bool = False,
) -> BatchState:
    """`spent_height`: the block that holds one of the batch's transactions; `superseded`: one of its coins was spent by
    a batch that it was split from, or by one of its parts; `unwanted`: the node refuses it for what it holds. An input
    whose coin a reorganisation took away is waited for; its batch is never planned anew."""
    if spent_height is not None:
        return BatchState.FINAL if depth(spent_height, tip_height) >= confirmations else BatchState.CONFIRMED
    if superseded or partitioned:
        return BatchState.SUPERSEDED if superseded else BatchState.PARTITIONED
    if not inputs_confirmed:
        return BatchState.INPUT_LOST
    if unwanted:
        return BatchState.NEEDS_HUMAN
    if sent:
        return BatchState.SENT
    return BatchState.SIGNED if signed else BatchState.PLANNED


def owed_kind(coin_standing: Standing, outcome: Outcome) -> Kind | None:
    """Which settlement a confirmed coin belongs to once the outcome is known; None for what never moves."""
    if coin_standing in (Standing.LATE, Standing.OVER_CAP):
        return Kind.REFUND
    if coin_standing is Standing.COUNTED:
        return Kind.RELEASE if outcome is Outcome.FUNDED else Kind.REFUND
    return None
