"""Recomputing a campaign's outcome and buckets from coins and settlements. Pure, and of its own making.

Written anew, on the closing rule alone and not on the site's ledger, so that a mistake there is seen here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from crowdfund.audit.claims import Coin, Outpoint
from crowdfund.campaigns.ledger import Bucket
from crowdfund.campaigns.lifecycle import CoinFacts, Kind, Outcome, Standing, decide, standing
from crowdfund.campaigns.terms import CampaignTerms

_NO_CAP = 0
_WHEN_LYING = {
    Standing.DUST: Bucket.DUST,
    Standing.LATE: Bucket.LATE,
    Standing.MATURING: Bucket.MATURING,
    Standing.OVER_CAP: Bucket.OVER_CAP,
}


@dataclass(frozen=True)
class Spending:
    """A settlement as far as sums need it. `output_sats` is all that it pays."""

    kind: Kind
    inputs: Collection[Outpoint]
    output_sats: int


@dataclass(frozen=True)
class Reckoning:
    """What follows: amounts in satoshi, and the bucket of each coin."""

    outcome: Outcome | None
    counted_sats: int
    buckets: Mapping[str, int]
    labels: Mapping[Outpoint, str]


def coin_standings(
    coins: Sequence[Coin], closing_height: int | None, terms: CampaignTerms, as_of_height: int
) -> dict[Outpoint, Standing]:
    """What each of the campaign's confirmed coins is worth to the goal at block `as_of_height`."""
    stands, held_sats = {}, 0
    for coin in sorted(coins, key=lambda c: (c.height, c.txid, c.vout)):
        worth = standing(_facts(coin), closing_height, terms.min_coin_sats, as_of_height)
        if worth is Standing.COUNTED:
            if terms.cap_sats and held_sats >= terms.cap_sats:
                worth = Standing.OVER_CAP
            else:
                held_sats += coin.value_sats
        stands[coin.outpoint] = worth
    return stands


def reckon(
    terms: CampaignTerms,
    closing_height: int | None,
    as_of_height: int,
    coins: Sequence[Coin],
    settlements: Mapping[str, Spending],
    cancelled: bool = False,
) -> Reckoning:
    """Outcome, counted sum, buckets and each coin's bucket at block `as_of_height`; `settlements` by txid. Where the
    campaign was `cancelled`, `closing_height` is that of the cancellation, and it has failed, whatever was paid."""
    stands = coin_standings(coins, closing_height, terms, as_of_height)
    counted = [coin for coin in coins if stands[coin.outpoint] is Standing.COUNTED]
    decision = decide(
        terms.goal_sats,
        terms.min_coin_sats,
        map(_facts, counted),
        closing_height,
        as_of_height,
        terms.confirmations,
        _NO_CAP,
    )
    outcome = None if decision is None else Outcome.FAILED if cancelled else decision.outcome
    spent = {coin.spent_by for coin in coins}
    planned = {outpoint for txid, s in settlements.items() if txid not in spent for outpoint in s.inputs}
    labels = {coin.outpoint: _label(coin, stands[coin.outpoint], outcome, settlements, planned) for coin in coins}
    return Reckoning(
        outcome=outcome,
        counted_sats=sum(coin.value_sats for coin in counted),
        buckets=_sum_up(coins, labels, settlements),
        labels=labels,
    )


def _label(
    coin: Coin,
    coin_stands: Standing,
    outcome: Outcome | None,
    settlements: Mapping[str, Spending],
    planned: Collection[Outpoint],
) -> str:
    if coin.spent_by is not None:
        settlement = settlements.get(coin.spent_by)
        if settlement is None:
            return Bucket.FOREIGN_SPEND
        return Bucket.PAID_OUT if settlement.kind is Kind.RELEASE else Bucket.REFUNDED
    if coin.outpoint in planned:
        return Bucket.IN_SETTLEMENT
    return _WHEN_LYING.get(coin_stands) or (Bucket.COUNTED if outcome is None else Bucket.UNCLAIMED)


def _sum_up(
    coins: Sequence[Coin], labels: Mapping[Outpoint, str], settlements: Mapping[str, Spending]
) -> dict[str, int]:
    """A settled coin's value goes where its label says, less what its transaction left to the miners."""
    sums = {bucket.value: 0 for bucket in Bucket}
    for coin in coins:
        sums[labels[coin.outpoint]] += coin.value_sats
    for txid, own_sats in _spent_sats(coins).items():
        settlement = settlements.get(txid)
        if settlement is not None:
            fee_sats = own_sats - settlement.output_sats
            sums[Bucket.PAID_OUT if settlement.kind is Kind.RELEASE else Bucket.REFUNDED] -= fee_sats
            sums[Bucket.MINER_FEE] += fee_sats
    return sums


def _spent_sats(coins: Sequence[Coin]) -> dict[str, int]:
    """What each spending transaction took from the campaign, by txid."""
    taken: dict[str, int] = {}
    for coin in coins:
        if coin.spent_by is not None:
            taken[coin.spent_by] = taken.get(coin.spent_by, 0) + coin.value_sats
    return taken


def _facts(coin: Coin) -> CoinFacts:
    return CoinFacts(coin.value_sats, coin.height, coin.coinbase)
