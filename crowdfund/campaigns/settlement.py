"""Settlement plans: values that say which outpoint pays what to whom, at which fee. Pure.

Every output is funded by the outpoints in its own transaction and by nothing else. A release pays the payout
script, less the fee; a refund pays each pledge back what it paid less its own share of the fee, exactly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from crowdfund.campaigns.lifecycle import Kind
from crowdfund.wallet.fees import (
    P2WPKH_INPUT_WEIGHT,
    dust_limit_sats,
    largest_remainder,
    output_weight,
    transaction_vsize,
)

MAX_BATCH_INPUTS = 350


@dataclass(frozen=True, order=True)
class SpendableCoin:
    """A confirmed coin of ours. Ordered by outpoint, so that a plan has one order only."""

    txid: str
    vout: int
    value_sats: int
    index: int
    refund_script: bytes


@dataclass(frozen=True)
class PlannedOutput:
    """What a batch pays: `index` names the pledge refunded, None for the payout."""

    script: bytes
    value_sats: int
    index: int | None


@dataclass(frozen=True)
class Batch:
    """One transaction to be: inputs = outputs + fee."""

    kind: Kind
    inputs: tuple[SpendableCoin, ...]
    outputs: tuple[PlannedOutput, ...]
    fee_sats: int
    feerate_sat_vb: int


def plan_release(
    coins: Sequence[SpendableCoin], payout_script: bytes, feerate_sat_vb: int, size: int = MAX_BATCH_INPUTS
) -> list[Batch]:
    """Batches that pay all counted coins to the payout script, the fee taken from the payout.

    Coins that cost more to spend than they hold are left out; they stay on the books as unclaimed.
    """
    worth = _worth_spending(coins, feerate_sat_vb)
    batches = [_release_batch(part, payout_script, feerate_sat_vb) for part in _chunks(worth, size)]
    return [b for b in batches if b.outputs[0].value_sats >= dust_limit_sats(payout_script)]


def plan_refunds(coins: Sequence[SpendableCoin], feerate_sat_vb: int, size: int = MAX_BATCH_INPUTS) -> list[Batch]:
    """Batches that pay every pledge back; what is not worth its fee is left out and stays unclaimed.

    The coins of one pledge stay together and give one output. Those that cost more to spend than they hold stay
    behind: whoever sends a backer many small coins must not eat up the refund.
    """
    by_pledge: dict[int, list[SpendableCoin]] = defaultdict(list)
    for coin in _worth_spending(coins, feerate_sat_vb):
        by_pledge[coin.index].append(coin)
    batches = []
    for group in _pack(list(by_pledge.values()), size):
        batch = _refund_batch(group, feerate_sat_vb)
        if batch is not None:
            batches.append(batch)
    return batches


def refund_estimate_sats(value_sats: int, refund_script: bytes, feerate_sat_vb: int) -> int:
    """What a lone pledge of `value_sats` would get back at this feerate; 0 if that is not worth sending."""
    back_sats = value_sats - transaction_vsize(1, [refund_script]) * feerate_sat_vb
    return back_sats if back_sats >= dust_limit_sats(refund_script) else 0


def _worth_spending(coins: Sequence[SpendableCoin], feerate_sat_vb: int) -> list[SpendableCoin]:
    """In order of outpoint, those that hold more than their input costs."""
    cost_sats = -(-P2WPKH_INPUT_WEIGHT * feerate_sat_vb // 4)
    return sorted(c for c in coins if c.value_sats > cost_sats)


def _release_batch(coins: Sequence[SpendableCoin], payout_script: bytes, feerate_sat_vb: int) -> Batch:
    fee_sats = transaction_vsize(len(coins), [payout_script]) * feerate_sat_vb
    value_sats = sum(c.value_sats for c in coins) - fee_sats
    return Batch(
        Kind.RELEASE,
        tuple(coins),
        (PlannedOutput(payout_script, value_sats, None),),
        fee_sats,
        feerate_sat_vb,
    )


def _refund_batch(groups: list[list[SpendableCoin]], feerate_sat_vb: int) -> Batch | None:
    """One transaction for these pledges. A pledge that is not worth its share leaves, and the rest is reckoned anew."""
    while groups:
        scripts = [g[0].refund_script for g in groups]
        fee_sats = transaction_vsize(sum(map(len, groups)), scripts) * feerate_sat_vb
        weights = [len(g) * P2WPKH_INPUT_WEIGHT + output_weight(s) for g, s in zip(groups, scripts, strict=True)]
        shares = largest_remainder(fee_sats, weights)
        back = [sum(c.value_sats for c in g) - share for g, share in zip(groups, shares, strict=True)]
        worth = [v >= dust_limit_sats(s) for v, s in zip(back, scripts, strict=True)]
        if all(worth):
            outputs = tuple(PlannedOutput(s, v, g[0].index) for s, v, g in zip(scripts, back, groups, strict=True))
            return Batch(Kind.REFUND, tuple(c for g in groups for c in g), outputs, fee_sats, feerate_sat_vb)
        groups = [g for g, keep in zip(groups, worth, strict=True) if keep]
    return None


def _pack(groups: list[list[SpendableCoin]], size: int) -> list[list[list[SpendableCoin]]]:
    """Fill transactions with whole pledges up to `size` inputs; a pledge of more coins than that is cut."""
    packed: list[list[list[SpendableCoin]]] = []
    room = 0
    for group in (part for g in groups for part in _chunks(g, size)):
        if len(group) > room:
            packed.append([])
            room = size
        packed[-1].append(group)
        room -= len(group)
    return packed


def _chunks(coins: Sequence[SpendableCoin], size: int) -> list[list[SpendableCoin]]:
    return [list(coins[i : i + size]) for i in range(0, len(coins), size)]
