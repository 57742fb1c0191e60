"""Who gets a reward of which there are only so many. Pure: from claims, stock and the chain's time.

A pledge that asks for a reward reserves one for 48 hours of chain time. Paid means that coins which count reach the
reward's minimum, in blocks. An unpaid reservation that has run out is free for others; who pays after that gets the
reward only if one is left, in the order in which the blocks have the payments. A reservation that nobody else has
needed meanwhile is as good as one in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from crowdfund.campaigns.lifecycle import CoinFacts, Standing, standing

RESERVED_FOR = timedelta(hours=48)

Place = tuple[int, str, int]
"""Height, txid and output number: the order in which everybody can see coins arrive."""


class ClaimState(StrEnum):
    """Where a claim stands."""

    RESERVED = "reserved"
    HELD = "held"
    FREED = "freed"
    MISSED = "missed"


HOLDING = (ClaimState.RESERVED, ClaimState.HELD)


@dataclass(frozen=True)
class Claim:
    """A pledge's wish for a reward. `paid_at` is the place of the coin that reached the minimum, None before; `freed`
    says that it was given up for others."""

    key: str
    reserved_at: datetime
    freed: bool
    paid_at: Place | None = None


def settle_claims(claims: Sequence[Claim], stock: int, now: datetime) -> dict[str, ClaimState]:
    """The state of every claim to one reward, by key. `stock` of 0 has no end; `now` is the chain's time.

    If those not freed are at most `stock`, those that hold one in the end are, too.
    """
    states = {claim.key: _state(claim, now, endless=not stock) for claim in claims}
    room = stock - sum(state in HOLDING for state in states.values())
    late = sorted((c for c in claims if states[c.key] is ClaimState.MISSED), key=_place)
    for claim in late[: max(0, room)]:
        states[claim.key] = ClaimState.HELD
    return states


def left_of(states: dict[str, ClaimState], stock: int) -> int | None:
    """How many are left for a new pledge; None where there is no end of them."""
    return max(0, stock - sum(state in HOLDING for state in states.values())) if stock else None


def paid_place(
    coins: Sequence[CoinFacts], minimum_sats: int, closing_height: int | None, min_coin_sats: int, tip_height: int
) -> Place | None:
    """The place of the coin with which those that count reach the minimum; None while they do not."""
    counted = [
        (coin.height, *coin.outpoint, coin.value_sats)
        for coin in coins
        if coin.height is not None and standing(coin, closing_height, min_coin_sats, tip_height) is Standing.COUNTED
    ]
    total_sats = 0
    for height, txid, vout, value_sats in sorted(counted):
        total_sats += value_sats
        if total_sats >= minimum_sats:
            return height, txid, vout
    return None


def _state(claim: Claim, now: datetime, endless: bool) -> ClaimState:
    if claim.paid_at is not None:
        return ClaimState.MISSED if claim.freed and not endless else ClaimState.HELD
    if endless:
        return ClaimState.RESERVED
    return ClaimState.FREED if claim.freed or now >= claim.reserved_at + RESERVED_FOR else ClaimState.RESERVED


def _place(claim: Claim) -> tuple[Place, str]:
    return claim.paid_at or (0, "", 0), claim.key
