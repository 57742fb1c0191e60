"""The ladder of fees and the halving of batches: sums, caps, and nobody who pays for somebody else."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdfund.campaigns.ladder import Refusal, is_bump_due, next_attempt, refusal_kind, split, without
from crowdfund.campaigns.lifecycle import Kind
from crowdfund.campaigns.settlement import CAPS, Batch, FeeCaps, SpendableCoin, plan_refunds, plan_release
from crowdfund.wallet.fees import (
    P2WPKH_INPUT_WEIGHT,
    dust_limit_sats,
    largest_remainder,
    output_weight,
    transaction_vsize,
)

SCRIPTS = [
    b"\x76\xa9\x14" + bytes(20) + b"\x88\xac",
    b"\xa9\x14" + bytes(20) + b"\x87",
    b"\x00\x14" + bytes(20),
    b"\x00\x20" + bytes(32),
    b"\x51\x20" + bytes(32),
]
PAYOUT = SCRIPTS[4]


def coin(number: int, value_sats: int, index: int) -> SpendableCoin:
    return SpendableCoin(random.Random(number).randbytes(32).hex(), number, value_sats, index, SCRIPTS[index % 5])


@st.composite
def planned(draw: st.DrawFn) -> Batch:
    """A batch of either kind at its first feerate."""
    values = st.integers(5_000, 200_000) | st.integers(5_000, 10**9)
    shapes = draw(st.lists(st.tuples(values, st.integers(0, 9)), min_size=1, max_size=40))
    coins = [coin(number, value, index) for number, (value, index) in enumerate(shapes)]
    coins.append(coin(99, 10**7, 3))
    rate = draw(st.sampled_from([1, 2, 5, 17]))
    plans = plan_release(coins, PAYOUT, rate) if draw(st.booleans()) else plan_refunds(coins, rate)
    return plans[0]


def paid_in(batch: Batch) -> Counter[int | None]:
    """What the batch spends, by recipient."""
    paid: Counter[int | None] = Counter()
    for c in batch.inputs:
        paid[c.index if batch.kind is Kind.REFUND else None] += c.value_sats
    return paid


def check(batch: Batch, caps: FeeCaps = CAPS) -> None:
    """Every transaction balances, keeps to the caps, and shares its fee by weight to the satoshi."""
    assert sum(c.value_sats for c in batch.inputs) == sum(o.value_sats for o in batch.outputs) + batch.fee_sats
    vsize = transaction_vsize(len(batch.inputs), [o.script for o in batch.outputs])
    assert batch.fee_sats == vsize * batch.feerate_sat_vb <= caps.fee_sats
    assert 1 <= batch.feerate_sat_vb <= caps.feerate_sat_vb
    paid, count = paid_in(batch), Counter(c.index for c in batch.inputs)
    assert set(paid) == {o.index for o in batch.outputs}
    weights = [count[o.index or 0] * P2WPKH_INPUT_WEIGHT + output_weight(o.script) for o in batch.outputs]
    shares = largest_remainder(batch.fee_sats, weights if batch.kind is Kind.REFUND else [1])
    percent = caps.refund_percent if batch.kind is Kind.REFUND else caps.release_percent
    for output, share in zip(batch.outputs, shares, strict=True):
        assert output.value_sats == paid[output.index] - share >= dust_limit_sats(output.script)
        assert share * 100 <= paid[output.index] * percent


@settings(max_examples=150, deadline=None)
@given(planned(), st.lists(st.integers(1, 700), max_size=40))
def test_a_ladder_climbs_to_the_cap_and_never_down(batch: Batch, estimates: list[int]) -> None:
    check(batch)
    for estimate in [*estimates, *[1] * 60]:
        higher = next_attempt(batch, estimate)
        if higher is None:
            break
        check(higher)
        assert (higher.kind, higher.inputs, higher.recipients) == (batch.kind, batch.inputs, batch.recipients)
        assert higher.feerate_sat_vb > batch.feerate_sat_vb and higher.fee_sats > batch.fee_sats
        asked = max(-(-batch.feerate_sat_vb * 5 // 4), batch.feerate_sat_vb + 1, estimate)
        assert higher.feerate_sat_vb <= asked
        if higher.feerate_sat_vb < min(asked, CAPS.feerate_sat_vb):
            assert next_attempt(higher, 500) is None, "less than was asked for only at the top"
        for before, after in zip(batch.outputs, higher.outputs, strict=True):
            assert after.value_sats < before.value_sats, "everybody pays a part of what is more"
        batch = higher
    assert next_attempt(batch, 500) is None


@settings(max_examples=150, deadline=None)
@given(planned(), st.integers(1, 700))
def test_parts_share_the_coins_of_the_whole_among_them(batch: Batch, estimate: int) -> None:
    whole, alone, left = batch, [], [batch]
    while left:
        one = left.pop()
        parts = split(one, estimate)
        if not parts:
            alone.append(one)
            continue
        for part in parts:
            check(part)
            assert set(part.recipients) <= set(one.recipients) and set(part.inputs) < set(one.inputs)
        assert sorted(c for part in parts for c in part.inputs) == sorted(one.inputs)
        left += parts
    assert sorted(c for one in alone for c in one.inputs) == sorted(whole.inputs)
    assert all(len(one.inputs if one.kind is Kind.RELEASE else one.recipients) == 1 for one in alone)


def test_who_would_fall_below_half_or_below_dust_stops_the_ladder_and_is_not_dropped() -> None:
    (batch,) = plan_refunds([coin(0, 6_000, 2), coin(1, 10**8, 7)], 20)
    top = batch
    while (higher := next_attempt(top, 1)) is not None:
        top = higher
    assert top.recipients == batch.recipients and top.feerate_sat_vb < 40
    small = next(o for o in top.outputs if o.value_sats < 6_000)
    assert 3_000 <= small.value_sats < 3_000 + 110


def test_the_rungs_are_a_quarter_apart_or_one_or_what_the_node_says() -> None:
    (first,) = plan_release([coin(0, 10**8, 2)], PAYOUT, 1)
    rates = [first.feerate_sat_vb]
    batch: Batch | None = first
    while batch is not None and (batch := next_attempt(batch, 1)) is not None:
        rates.append(batch.feerate_sat_vb)
    assert rates[:9] == [1, 2, 3, 4, 5, 7, 9, 12, 15] and rates[-1] == 500
    jump = next_attempt(first, 77)
    assert jump is not None and jump.feerate_sat_vb == 77
    low = FeeCaps(feerate_sat_vb=3)
    third = next_attempt(replace(first, feerate_sat_vb=2), 500, low)
    assert third is not None and third.feerate_sat_vb == 3 and next_attempt(third, 500, low) is None


def test_nine_thousand_nine_hundred_and_ninety_nine_shares_are_exact() -> None:
    draw = random.Random(7)
    weights = [draw.randint(1, 10**6) for _ in range(9_999)]
    total = draw.randint(1, 10**9)
    shares = largest_remainder(total, weights)
    whole = sum(weights)
    assert sum(shares) == total
    assert all(abs(share * whole - total * weight) < whole for share, weight in zip(shares, weights, strict=True))


def test_a_thousand_pledges_are_halved_to_the_one_that_is_refused() -> None:
    batch = plan_refunds([coin(n, 50_000, n) for n in range(350)], 3)[0]
    parts, steps = [batch], 0
    while len(parts[0].recipients) > 1:
        refused = next(p for p in parts if any(r.index == 77 for r in p.recipients))
        parts = sorted(split(refused, 3), key=lambda p: all(r.index != 77 for r in p.recipients))
        steps += 1
    assert steps <= 9 and parts[0].recipients[0].index == 77


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("min relay fee not met, 110 < 1100", Refusal.FEE),
        ("mempool min fee not met, 110 < 1100", Refusal.FEE),
        ("insufficient fee, rejecting replacement ab; new feerate 0.00001 <= old feerate 0.00002", Refusal.FEE),
        ("the transaction was rejected by network rules.\n\nmin relay fee not met", Refusal.FEE),
        ('sendrawtransaction RPC error: {"code":-26,"message":"mempool full"}', Refusal.FEE),
        ("bad-txns-inputs-missingorspent", Refusal.WAIT),
        ("txn-mempool-conflict", Refusal.WAIT),
        ("max fee not met", Refusal.FEE),
        ("fee-not-met", Refusal.FEE),
        ("insufficient-fee", Refusal.FEE),
        ("replacement-failed", Refusal.FEE),
        ("Mempool Full", Refusal.FEE),
        ("Transaction already in block chain", Refusal.WAIT),
        ("too-many-replacements", Refusal.WAIT),
        ("too-long-mempool-chain", Refusal.WAIT),
        ("too-large-cluster", Refusal.WAIT),
        ("replacement-adds-unconfirmed", Refusal.WAIT),
        ("maxfeerate", Refusal.WAIT),
        ("max-fee-exceeded", Refusal.WAIT),
        ("too many potential replacements, rejecting replacement", Refusal.WAIT),
        ("non-final", Refusal.WAIT),
        ("scriptpubkey", Refusal.CONTENT),
        ("dust", Refusal.CONTENT),
        ("tx-size", Refusal.CONTENT),
        ("a rule unknown today", Refusal.CONTENT),
    ],
)
def test_what_a_node_says_is_understood(reason: str, kind: Refusal) -> None:
    assert refusal_kind(reason) is kind


def test_a_bump_is_due_after_six_blocks_or_at_once_when_the_fee_is_too_low() -> None:
    low = "min relay fee not met, 1 < 2"
    assert not is_bump_due(1, None, None, 200), "what was never sent has not waited"
    assert [is_bump_due(1, 102, None, tip) for tip in (107, 108)] == [False, True]
    assert is_bump_due(1, 100, low, 100), "the first rung is left at once"
    assert [is_bump_due(2, 100, low, tip) for tip in (99, 100, 101)] == [False, False, True], "one a block"
    assert not is_bump_due(2, 100, "scriptpubkey", 101)
    assert not is_bump_due(2, 100, "scriptpubkey", 106), "no fee would help"


@pytest.mark.parametrize("refusal", ["bad-txns-inputs-missingorspent", "txn-mempool-conflict", "non-final"])
def test_what_waits_for_something_else_than_a_higher_fee_is_never_bumped(refusal: str) -> None:
    assert not any(is_bump_due(number, 100, refusal, tip) for number in (1, 2) for tip in range(100, 200))
    assert is_bump_due(1, 100, None, 120), "what the node takes goes on"


def test_what_is_left_when_others_took_a_coin() -> None:
    refund, release = plan_refunds(COINS, 10)[0], plan_release(COINS, PAYOUT, 10)[0]
    first, *_ = refund.inputs
    gone = {(first.txid, first.vout)}
    for whole in (refund, release):
        (rest,) = without(whole, gone, 7)
        check(rest)
        assert set(rest.inputs) == set(whole.inputs) - {first} and rest.feerate_sat_vb == 7
        assert without(whole, {(c.txid, c.vout) for c in whole.inputs}, 7) == ()
        assert without(whole, {(first.txid, first.vout + 1)}, 7)[0].inputs == whole.inputs
        assert without(whole, gone, 9, FeeCaps(feerate_sat_vb=8))[0].feerate_sat_vb == 8
    assert {o.index for o in without(refund, gone, 7)[0].outputs} == {c.index for c in COINS} - {first.index}
    assert without(plan_refunds(COINS[:2], 1)[0], gone, 7, FeeCaps(refund_percent=0)) == (), "no cap is left for a fee"


def test_the_parts_pay_at_least_what_the_whole_did_and_at_most_the_cap() -> None:
    whole = plan_refunds(COINS, 10)[0]
    for estimate, rate in ((1, 10), (10, 10), (40, 40), (600, 500)):
        assert {part.feerate_sat_vb for part in split(whole, estimate)} == {rate}
    assert [len(part.recipients) for part in split(whole, 1)] == [2, 3]
    assert [len(part.inputs) for part in split(plan_release(COINS, PAYOUT, 10)[0], 1)] == [2, 3]
    poor = replace(whole, inputs=(replace(whole.inputs[0], value_sats=1), *whole.inputs[1:]))
    assert split(poor, 1) == (), "all of it or nothing"


COINS = [coin(number, 10**6, number) for number in range(5)]
