"""The state of one pledge, derived from its coins and the campaign's end. Pure; stored nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from crowdfund.campaigns.lifecycle import CoinFacts, Standing, standing


class PledgeState(StrEnum):
    """What its owner sees."""

    AWAITING = "awaiting"
    SEEN = "seen"
    CONFIRMED = "confirmed"
    SHORT = "short"
    OVER = "over"
    LATE = "late"
    REPLACED = "replaced"
    IN_SETTLEMENT = "in_settlement"
    PAID_OUT = "paid_out"
    REFUNDED = "refunded"
    UNCLAIMED = "unclaimed"


@dataclass(frozen=True)
class PledgeFacts:
    """Sums in satoshi: confirmed (`received`), unconfirmed (`seen`), counting, late and dust."""

    state: PledgeState
    received_sats: int
    seen_sats: int
    counted_sats: int
    late_sats: int
    dust_sats: int


@dataclass(frozen=True)
class PledgeCoin:
    """A coin of the pledge, and what became of it: None, "planned", "release" or "refund" (confirmed)."""

    facts: CoinFacts
    fate: str | None = None


def pledge_facts(
    amount_sats: int,
    coins: Sequence[PledgeCoin],
    closing_height: int | None,
    decided: bool,
    min_coin_sats: int,
) -> PledgeFacts:
    """State and sums of a pledge of `amount_sats`."""
    sums = dict.fromkeys(Standing, 0)
    for coin in coins:
        sums[standing(coin.facts, closing_height, min_coin_sats)] += coin.facts.value_sats
    received_sats = sums[Standing.COUNTED] + sums[Standing.LATE] + sums[Standing.DUST]
    state = _settlement_state(coins, decided, closing_height, min_coin_sats) or _payment_state(
        amount_sats, sums, bool(coins)
    )
    return PledgeFacts(
        state,
        received_sats,
        sums[Standing.SEEN],
        sums[Standing.COUNTED],
        sums[Standing.LATE],
        sums[Standing.DUST],
    )


def _settlement_state(
    coins: Sequence[PledgeCoin], decided: bool, closing_height: int | None, min_coin_sats: int
) -> PledgeState | None:
    """The furthest that its money has come on the way out; None while none of it is on that way."""
    fates = {coin.fate for coin in coins}
    if "planned" in fates:
        return PledgeState.IN_SETTLEMENT
    if "release" in fates:
        return PledgeState.PAID_OUT
    if "refund" in fates:
        return PledgeState.REFUNDED
    standings = {standing(c.facts, closing_height, min_coin_sats) for c in coins}
    return PledgeState.UNCLAIMED if decided and Standing.COUNTED in standings else None


def _payment_state(amount_sats: int, sums: dict[Standing, int], any_coin: bool) -> PledgeState:
    counted_sats = sums[Standing.COUNTED]
    if counted_sats:
        if counted_sats == amount_sats:
            return PledgeState.CONFIRMED
        return PledgeState.OVER if counted_sats > amount_sats else PledgeState.SHORT
    if sums[Standing.LATE]:
        return PledgeState.LATE
    if sums[Standing.SEEN]:
        return PledgeState.SEEN
    if sums[Standing.DUST]:
        return PledgeState.SHORT
    return PledgeState.REPLACED if any_coin else PledgeState.AWAITING
