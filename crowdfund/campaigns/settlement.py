"""Settlement plans: values that say which outpoint pays what to whom, at which fee. Pure.

Every output is funded by the outpoints in its own transaction and by nothing else. A release pays the payout
script, less the fee; a refund pays each pledge back what it paid less its own share of the fee, exactly. What a fee
may be at most stands in `FeeCaps`; what cannot be paid within that today is left out and tried again later.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from crowdfund.campaigns.lifecycle import Kind
from crowdfund.wallet.fees import (
    MAX_FEE_SATS,
    MAX_FEERATE_SAT_VB,
    MAX_REFUND_FEE_PERCENT,
    MAX_RELEASE_FEE_PERCENT,
    MIN_FEERATE_SAT_VB,
    P2WPKH_INPUT_WEIGHT,
    dust_limit_sats,
    largest_remainder,
    output_weight,
    transaction_vsize,
)

MAX_BATCH_INPUTS = 350


@dataclass(frozen=True)
class FeeCaps:
    """The most that a transaction may pay to the miners: its feerate, its fee, and the part of what a release spends
    or of what a refund holds for each pledge, in percent."""

    feerate_sat_vb: int = MAX_FEERATE_SAT_VB
    fee_sats: int = MAX_FEE_SATS
    release_percent: int = MAX_RELEASE_FEE_PERCENT
    refund_percent: int = MAX_REFUND_FEE_PERCENT

    def allow(self, kind: Kind, paid_sats: int, share_sats: int) -> bool:
        """May `share_sats` of a fee be taken from `paid_sats`?"""
        percent = self.release_percent if kind is Kind.RELEASE else self.refund_percent
        return share_sats * 100 <= paid_sats * percent


CAPS = FeeCaps()


@dataclass(frozen=True, order=True)
class SpendableCoin:
    """A confirmed coin of ours. Ordered by outpoint, so that a plan has one order only."""

    txid: str
    vout: int
    value_sats: int
    index: int
    refund_script: bytes


@dataclass(frozen=True)
class Recipient:
    """Whom a batch pays: `index` names the pledge refunded, None for the payout."""

    script: bytes
    index: int | None


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

    @property
    def recipients(self) -> tuple[Recipient, ...]:
        """Whom it pays, in order: the same on every rung of its ladder."""
        return tuple(Recipient(o.script, o.index) for o in self.outputs)


def plan_release(
    coins: Sequence[SpendableCoin],
    payout_script: bytes,
    feerate_sat_vb: int,
    size: int = MAX_BATCH_INPUTS,
    caps: FeeCaps = CAPS,
) -> list[Batch]:
    """Batches that pay all counted coins to the payout script, the fee taken from the payout.

    Coins that cost more to spend than they hold are left out; they stay on the books as unclaimed. Where the fee would
    be more than the caps allow, a batch pays the feerate that they allow.
    """
    payout = (Recipient(payout_script, None),)
    parts = _chunks(_worth_spending(coins, feerate_sat_vb), size)
    planned = (priced_up_to(Kind.RELEASE, part, payout, feerate_sat_vb, caps) for part in parts)
    return [batch for batch in planned if batch is not None]


def plan_refunds(
    coins: Sequence[SpendableCoin], feerate_sat_vb: int, size: int = MAX_BATCH_INPUTS, caps: FeeCaps = CAPS
) -> list[Batch]:
    """Batches that pay every pledge back; what is not worth its fee is left out and stays unclaimed.

    The coins of one pledge stay together and give one output. Those that cost more to spend than they hold stay
    behind: whoever sends a backer many small coins must not eat up the refund.
    """
    by_pledge: dict[int, list[SpendableCoin]] = defaultdict(list)
    for coin in _worth_spending(coins, feerate_sat_vb):
        by_pledge[coin.index].append(coin)
    batches = []
    for group in _pack(list(by_pledge.values()), size):
        batch = _refund_batch(group, feerate_sat_vb, caps)
        if batch is not None:
            batches.append(batch)
    return batches


def priced(
    kind: Kind, inputs: Sequence[SpendableCoin], recipients: Sequence[Recipient], feerate_sat_vb: int, caps: FeeCaps
) -> Batch | None:
    """These inputs and recipients at this feerate; None if a cap or somebody's dust limit forbids it."""
    scripts = [r.script for r in recipients]
    fee_sats = transaction_vsize(len(inputs), scripts) * feerate_sat_vb
    if not (MIN_FEERATE_SAT_VB <= feerate_sat_vb <= caps.feerate_sat_vb and fee_sats <= caps.fee_sats):
        return None
    paid, shares = _shares(inputs, recipients, fee_sats)
    back = [own - share for own, share in zip(paid, shares, strict=True)]
    fair = all(caps.allow(kind, own, share) for own, share in zip(paid, shares, strict=True))
    if not fair or any(sats < dust_limit_sats(script) for sats, script in zip(back, scripts, strict=True)):
        return None
    outputs = tuple(PlannedOutput(r.script, sats, r.index) for r, sats in zip(recipients, back, strict=True))
    return Batch(kind, tuple(inputs), outputs, fee_sats, feerate_sat_vb)


def priced_up_to(
    kind: Kind,
    inputs: Sequence[SpendableCoin],
    recipients: Sequence[Recipient],
    feerate_sat_vb: int,
    caps: FeeCaps,
    least_sat_vb: int = MIN_FEERATE_SAT_VB,
) -> Batch | None:
    """At the highest feerate from `least_sat_vb` to `feerate_sat_vb` that the caps allow; None if none is."""
    found = highest(lambda rate: priced(kind, inputs, recipients, rate, caps) is not None, least_sat_vb, feerate_sat_vb)
    return None if found is None else priced(kind, inputs, recipients, found, caps)


def highest(fits: Callable[[int], bool], low: int, high: int) -> int | None:
    """The highest number from `low` to `high` that fits, None if none does. What fits must fit all the way down."""
    if high < low or not fits(low):
        return None
    if fits(high):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def refund_estimate_sats(value_sats: int, refund_script: bytes, feerate_sat_vb: int) -> int:
    """What a lone pledge of `value_sats` would get back at this feerate; 0 if that is not worth sending."""
    coin = SpendableCoin("", 0, value_sats, 0, refund_script)
    alone = priced(Kind.REFUND, [coin], [Recipient(refund_script, 0)], feerate_sat_vb, CAPS)
    return 0 if alone is None else alone.outputs[0].value_sats


@dataclass(frozen=True)
class SettlementPreview:
    """What a settlement would come to at today's feerate, in satoshi."""

    kind: Kind
    batches: int
    fee_sats: int
    net_sats: int


def preview(kind: Kind, coins: Sequence[SpendableCoin], payout_script: bytes, feerate_sat_vb: int) -> SettlementPreview:
    """What would come of these coins if the campaign ended with them, as a release or as refunds."""
    if kind is Kind.RELEASE:
        batches = plan_release(coins, payout_script, feerate_sat_vb)
    else:
        batches = plan_refunds(coins, feerate_sat_vb)
    net_sats = sum(o.value_sats for b in batches for o in b.outputs)
    return SettlementPreview(kind, len(batches), sum(b.fee_sats for b in batches), net_sats)


def _shares(
    inputs: Sequence[SpendableCoin], recipients: Sequence[Recipient], fee_sats: int
) -> tuple[list[int], list[int]]:
    """(what each recipient's coins hold, its share of the fee by weight). A payout has all of both."""
    if recipients[0].index is None:
        return [sum(c.value_sats for c in inputs)], [fee_sats]
    held, count = Counter[int | None](), Counter[int | None]()
    for coin in inputs:
        held[coin.index] += coin.value_sats
        count[coin.index] += 1
    weights = [count[r.index] * P2WPKH_INPUT_WEIGHT + output_weight(r.script) for r in recipients]
    return [held[r.index] for r in recipients], largest_remainder(fee_sats, weights)


def _worth_spending(coins: Sequence[SpendableCoin], feerate_sat_vb: int) -> list[SpendableCoin]:
    """In order of outpoint, those that hold more than their input costs."""
    cost_sats = -(-P2WPKH_INPUT_WEIGHT * feerate_sat_vb // 4)
    return sorted((c for c in coins if c.value_sats > cost_sats), key=attrgetter("txid", "vout"))


def _refund_batch(groups: list[list[SpendableCoin]], feerate_sat_vb: int, caps: FeeCaps) -> Batch | None:
    """One transaction for these pledges. A pledge that is not worth its share leaves, and the rest is reckoned anew."""
    while groups:
        inputs = [coin for group in groups for coin in group]
        recipients = [Recipient(g[0].refund_script, g[0].index) for g in groups]
        vsize = transaction_vsize(len(inputs), [r.script for r in recipients])
        rate = min(feerate_sat_vb, caps.feerate_sat_vb, caps.fee_sats // vsize)
        batch = priced(Kind.REFUND, inputs, recipients, rate, caps)
        if batch is not None:
            return batch
        paid, shares = _shares(inputs, recipients, vsize * rate)
        groups = [
            group
            for group, own, share in zip(groups, paid, shares, strict=True)
            if caps.allow(Kind.REFUND, own, share) and own - share >= dust_limit_sats(group[0].refund_script)
        ]
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
