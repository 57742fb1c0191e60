"""The state of one pledge, derived from its coins and the campaign's end. Pure; stored nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from crowdfund.campaigns.lifecycle import UNCONFIRMED, CoinFacts, Standing, standing


class PledgeState(StrEnum):
    """What its owner sees."""

    AWAITING = "awaiting"
    SEEN = "seen"
    CONFIRMED = "confirmed"
    SHORT = "short"
    OVER = "over"
    LATE = "late"
    OVER_CAP = "over_cap"
    MATURING = "maturing"
    REPLACED = "replaced"
    DOUBLE_SPENT = "double_spent"
    EVICTED = "evicted"
    IN_SETTLEMENT = "in_settlement"
    PAID_OUT = "paid_out"
    REFUNDED = "refunded"
    UNCLAIMED = "unclaimed"
    FOREIGN = "foreign"
    TAKEN = "taken"


@dataclass(frozen=True)
class PledgeFacts:
    """Sums in satoshi: confirmed (`received`), unconfirmed (`seen`), counting, late, dust, maturing, over the cap."""

    state: PledgeState
    received_sats: int
    seen_sats: int
    counted_sats: int
    late_sats: int
    dust_sats: int
    maturing_sats: int = 0
    over_cap_sats: int = 0


@dataclass(frozen=True)
class PledgeCoin:
    """A coin of the pledge, and what became of it: None, "planned", "release" or "refund" (confirmed), "foreign", by
    somebody else's transaction, or "taken", once a person has acknowledged that. `over_cap`: the campaign's coins
    before it had reached the cap."""

    facts: CoinFacts
    fate: str | None = None
    over_cap: bool = False


def pledge_facts(
    amount_sats: int,
    coins: Sequence[PledgeCoin],
    closing_height: int | None,
    decided: bool,
    min_coin_sats: int,
    tip_height: int,
) -> PledgeFacts:
    """State and sums of a pledge of `amount_sats`; `coins` in the order of first sight."""
    standings = [
        Standing.OVER_CAP if coin.over_cap else standing(coin.facts, closing_height, min_coin_sats, tip_height)
        for coin in coins
    ]
    sums = dict.fromkeys(Standing, 0)
    for coin, each in zip(coins, standings, strict=True):
        sums[each] += coin.facts.value_sats
    received_sats = sum(sums[each] for each in Standing if each not in UNCONFIRMED)
    state = _settlement_state(coins, decided, standings) or _payment_state(amount_sats, sums, standings)
    return PledgeFacts(
        state,
        received_sats,
        sums[Standing.SEEN],
        sums[Standing.COUNTED],
        sums[Standing.LATE],
        sums[Standing.DUST],
        sums[Standing.MATURING],
        sums[Standing.OVER_CAP],
    )


def _settlement_state(coins: Sequence[PledgeCoin], decided: bool, standings: Sequence[Standing]) -> PledgeState | None:
    """The furthest that its money has come on the way out; None while none of it is on that way."""
    fates = {coin.fate for coin in coins}
    if "foreign" in fates:  # it halts all that is under way
        return PledgeState.FOREIGN
    if "planned" in fates:
        return PledgeState.IN_SETTLEMENT
    if "taken" in fates:
        return PledgeState.TAKEN
    if "release" in fates:
        return PledgeState.PAID_OUT
    if "refund" in fates:
        return PledgeState.REFUNDED
    return PledgeState.UNCLAIMED if decided and Standing.COUNTED in standings else None


def _payment_state(amount_sats: int, sums: dict[Standing, int], standings: Sequence[Standing]) -> PledgeState:
    """What counts comes first, then what may still count, then what went wrong last."""
    counted_sats = sums[Standing.COUNTED]
    if counted_sats:
        if counted_sats == amount_sats:
            return PledgeState.CONFIRMED
        return PledgeState.OVER if counted_sats > amount_sats else PledgeState.SHORT
    for each, state in (
        (Standing.MATURING, PledgeState.MATURING),
        (Standing.OVER_CAP, PledgeState.OVER_CAP),
        (Standing.LATE, PledgeState.LATE),
        (Standing.SEEN, PledgeState.SEEN),
        (Standing.DUST, PledgeState.SHORT),
    ):
        if each in standings:  # a coin of no satoshi at all is one, too
            return state
    return PledgeState(standings[-1]) if standings else PledgeState.AWAITING
