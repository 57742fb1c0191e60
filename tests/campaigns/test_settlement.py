"""Settlement plans: exact sums, nobody pays for another, nothing is spent twice and nothing is lost."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdfund.campaigns.lifecycle import Kind
from crowdfund.campaigns.settlement import (
    CAPS,
    MAX_BATCH_INPUTS,
    Batch,
    FeeCaps,
    Recipient,
    SpendableCoin,
    highest,
    plan_refunds,
    plan_release,
    preview,
    priced,
    priced_up_to,
    refund_estimate_sats,
)
from crowdfund.wallet.fees import dust_limit_sats, transaction_vsize

KINDS = [
    b"\x76\xa9\x14" + bytes(20) + b"\x88\xac",
    b"\xa9\x14" + bytes(20) + b"\x87",
    b"\x00\x14" + bytes(20),
    b"\x00\x20" + bytes(32),
    b"\x51\x20" + bytes(32),
]
PAYOUT = KINDS[4]


def script_of(index: int) -> bytes:
    """The refund script of a pledge, the same for all its coins."""
    return KINDS[index % 5]


def coin(number: int, value_sats: int, index: int) -> SpendableCoin:
    return SpendableCoin(random.Random(number).randbytes(32).hex(), number, value_sats, index, script_of(index))


@st.composite
def drawn_coins(draw: st.DrawFn) -> list[SpendableCoin]:
    values = st.integers(1_000, 40_000) | st.integers(1_000, 10**10)
    shapes = draw(st.lists(st.tuples(values, st.integers(0, 12)), max_size=30))
    return [coin(number, value, index) for number, (value, index) in enumerate(shapes)]


feerates = st.sampled_from([1, 2, 7, 40, 200, 500])


def check(batches: list[Batch], coins: list[SpendableCoin], feerate: int, size: int) -> list[SpendableCoin]:
    """What every plan must fulfil; returns the coins that it leaves out."""
    spent = [c for b in batches for c in b.inputs]
    assert max(Counter(spent).values(), default=1) == 1 and set(spent) <= set(coins)
    for batch in batches:
        assert 0 < len(batch.inputs) <= size
        assert sum(c.value_sats for c in batch.inputs) == sum(o.value_sats for o in batch.outputs) + batch.fee_sats
        vsize = transaction_vsize(len(batch.inputs), [o.script for o in batch.outputs])
        assert batch.fee_sats == batch.feerate_sat_vb * vsize <= 5_000_000
        assert 1 <= batch.feerate_sat_vb <= feerate
        assert all(o.value_sats >= dust_limit_sats(o.script) for o in batch.outputs)
        assert all(c.value_sats > 68 * feerate for c in batch.inputs), "no coin costs more than it brings"
    return [c for c in coins if c not in set(spent)]


@settings(max_examples=200, deadline=None)
@given(drawn_coins(), feerates, st.integers(1, 6), st.randoms())
def test_refunds(coins: list[SpendableCoin], feerate: int, size: int, draw: random.Random) -> None:
    batches = plan_refunds(coins, feerate, size)
    left = check(batches, coins, feerate, size)
    for batch in batches:
        assert batch.kind is Kind.REFUND
        paid: Counter[int] = Counter()
        for c in batch.inputs:
            paid[c.index] += c.value_sats
        assert sorted(paid) == sorted(o.index for o in batch.outputs if o.index is not None)
        for output in batch.outputs:
            assert output.index is not None and output.script == script_of(output.index)
            own = [c for c in batch.inputs if c.index == output.index]
            share = paid[output.index] - output.value_sats
            alone = transaction_vsize(len(own), [output.script]) * feerate
            assert 0 < share <= alone, "together is never dearer than alone"
            least = (len(own) * 68 + 8 + 1 + len(output.script)) * feerate
            assert share >= least - 1, "nobody rides on another's fee"
            assert share * 2 <= paid[output.index], "nobody pays more than half"
    for c in left:
        own = [o for o in left if o.index == c.index and o.value_sats > 68 * feerate]
        held_sats, fee_sats = sum(o.value_sats for o in own), transaction_vsize(len(own), [c.refund_script]) * feerate
        worth = held_sats - fee_sats >= dust_limit_sats(c.refund_script) + 12 * feerate and fee_sats * 2 <= held_sats
        assert not worth or len(own) > size or not own
    shuffled = coins[:]
    draw.shuffle(shuffled)
    assert plan_refunds(shuffled, feerate, size) == batches


@settings(max_examples=200, deadline=None)
@given(drawn_coins(), feerates, st.integers(1, 6), st.randoms(), st.sampled_from(KINDS))
def test_releases(coins: list[SpendableCoin], feerate: int, size: int, draw: random.Random, payout: bytes) -> None:
    batches = plan_release(coins, payout, feerate, size)
    check(batches, coins, feerate, size)
    for batch in batches:
        assert batch.kind is Kind.RELEASE
        assert [(o.script, o.index) for o in batch.outputs] == [(payout, None)]
        held_sats = sum(c.value_sats for c in batch.inputs)
        assert batch.fee_sats * 10 <= held_sats, "never more than a tenth"
        dearer = batch.fee_sats // batch.feerate_sat_vb * (batch.feerate_sat_vb + 1)
        assert batch.feerate_sat_vb == feerate or dearer * 10 > held_sats, "and no less than is asked for without need"
    shuffled = coins[:]
    draw.shuffle(shuffled)
    assert plan_release(shuffled, payout, feerate, size) == batches


def test_nothing_to_settle_is_no_batch() -> None:
    assert plan_refunds([], 2) == [] == plan_release([], PAYOUT, 2)


def test_equal_pledges_pay_equal_shares_to_the_satoshi() -> None:
    coins = [coin(n, 100_000, n * 5 + 2) for n in range(101)]
    (batch,) = plan_refunds(coins, 7)
    shares = {100_000 - o.value_sats for o in batch.outputs}
    assert max(shares) - min(shares) <= 1


def test_big_campaigns_are_cut_into_batches_of_350() -> None:
    coins = [coin(n, 50_000, n) for n in range(1_000)]
    assert [len(b.inputs) for b in plan_refunds(coins, 3)] == [350, 350, 300]
    assert [len(b.inputs) for b in plan_release(coins, PAYOUT, 3)] == [350, 350, 300]
    assert MAX_BATCH_INPUTS == 350


def test_the_coins_of_a_pledge_stay_together_up_to_a_whole_batch() -> None:
    coins = [coin(n, 50_000, 0 if n < 2 else 1) for n in range(9)]
    batches = plan_refunds(coins, 1, size=5)
    held = [Counter(c.index for c in b.inputs) for b in batches]
    assert sorted(c[0] for c in held if c[0]) == [2]
    assert sorted(c[1] for c in held if c[1]) == [2, 5]
    for batch in batches:
        indices = [o.index for o in batch.outputs]
        assert len(indices) == len(set(indices))


def test_many_small_coins_from_a_stranger_do_not_eat_up_a_refund() -> None:
    own, feerate = coin(0, 100_000, 2), 20
    (alone,) = plan_refunds([own], feerate)
    (griefed,) = plan_refunds([own, *(coin(n, 1_000, 2) for n in range(1, 101))], feerate)
    assert griefed == alone


def test_a_pledge_that_is_not_worth_its_fee_costs_the_others_nothing() -> None:
    others = [coin(n, 100_000, n) for n in range(3)]
    assert plan_refunds([*others, coin(9, 7_000, 9)], 100) == plan_refunds(others, 100)
    assert plan_refunds([coin(9, 7_000, 9)], 100) == []
    assert plan_release([coin(9, 6_800, 9)], PAYOUT, 100) == [], "its input alone costs as much"


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize("feerate", [1, 13, 500])
def test_what_is_worth_a_refund_is_decided_to_the_satoshi_and_the_estimate_says_the_same(
    kind: int, feerate: int
) -> None:
    fee_sats = transaction_vsize(1, [KINDS[kind]]) * feerate
    least = fee_sats + max(dust_limit_sats(KINDS[kind]), fee_sats)
    (batch,) = plan_refunds([coin(0, least, kind)], feerate)
    assert (batch.fee_sats, batch.outputs[0].value_sats) == (fee_sats, least - fee_sats)
    assert refund_estimate_sats(least, KINDS[kind], feerate) == batch.outputs[0].value_sats
    assert plan_refunds([coin(0, least - 1, kind)], feerate) == []
    assert refund_estimate_sats(least - 1, KINDS[kind], feerate) == 0


@pytest.mark.parametrize("kind", range(5))
def test_a_release_pays_the_feerate_that_a_tenth_allows(kind: int) -> None:
    vsize = transaction_vsize(1, [KINDS[kind]])
    for sats, rate in ((vsize * 70, 7), (vsize * 70 - 1, 6), (vsize * 10, 1), (vsize * 10 - 1, None)):
        planned = plan_release([coin(0, sats, 0)], KINDS[kind], 7)
        assert [b.feerate_sat_vb for b in planned] == ([] if rate is None else [rate])


def test_no_transaction_pays_more_than_five_million_satoshi() -> None:
    coins = [coin(n, 10**9, n) for n in range(350)]
    for (batch,) in (plan_refunds(coins, 500), plan_release(coins, PAYOUT, 500)):
        vsize = batch.fee_sats // batch.feerate_sat_vb
        assert batch.fee_sats <= 5_000_000 < vsize * (batch.feerate_sat_vb + 1)


def test_a_pledge_that_must_wait_is_paid_when_fees_fall() -> None:
    coins = [coin(n, 10_000 if n % 2 else 100_000, n) for n in range(10)]
    dear = plan_refunds(coins, 60)
    assert sorted(c.value_sats for b in dear for c in b.inputs) == [100_000] * 5
    left = [c for c in coins if c not in {i for b in dear for i in b.inputs}]
    assert plan_refunds(left, 60) == []
    (cheap,) = plan_refunds(left, 20)
    assert len(cheap.outputs) == 5


def test_a_preview_sums_up_the_plan() -> None:
    coins = [coin(n, 50_000, n) for n in range(MAX_BATCH_INPUTS + 1)]
    for kind, plan in ((Kind.RELEASE, plan_release(coins, PAYOUT, 3)), (Kind.REFUND, plan_refunds(coins, 3))):
        shown = preview(kind, coins, PAYOUT, 3)
        assert (shown.kind, shown.batches) == (kind, 2) and len(plan) == 2
        assert shown.fee_sats == sum(batch.fee_sats for batch in plan)
        assert shown.net_sats == 50_000 * len(coins) - shown.fee_sats
    assert preview(Kind.REFUND, [], PAYOUT, 3).net_sats == 0


def test_the_highest_that_fits_is_found_to_the_last_one() -> None:
    for low in range(4):
        for high in range(low - 1, 12):
            for most in range(low - 2, 14):
                asked: list[int] = []

                def fits(number: int, most: int = most, asked: list[int] = asked) -> bool:
                    asked.append(number)
                    return number <= most

                assert highest(fits, low, high) == (min(most, high) if most >= low <= high else None)
                assert all(low <= number <= high for number in asked)


def test_the_caps_are_kept_to_the_satoshi() -> None:
    assert (CAPS.feerate_sat_vb, CAPS.fee_sats, CAPS.release_percent, CAPS.refund_percent) == (500, 5_000_000, 10, 50)
    assert CAPS.allow(Kind.RELEASE, 1_000, 100) and not CAPS.allow(Kind.RELEASE, 999, 100)
    assert CAPS.allow(Kind.REFUND, 200, 100) and not CAPS.allow(Kind.REFUND, 199, 100)
    own, payout = [coin(0, 10**7, 0)], [Recipient(PAYOUT, None)]
    vsize = transaction_vsize(1, [PAYOUT])
    for rate, caps, allowed in (
        (0, CAPS, False),
        (1, CAPS, True),
        (500, CAPS, True),
        (501, CAPS, False),
        (7, FeeCaps(fee_sats=7 * vsize), True),
        (7, FeeCaps(fee_sats=7 * vsize - 1), False),
    ):
        batch = priced(Kind.RELEASE, own, payout, rate, caps)
        assert (batch is not None) is allowed
        assert batch is None or (batch.fee_sats, batch.feerate_sat_vb) == (rate * vsize, rate)
    assert priced_up_to(Kind.RELEASE, own, payout, 3, CAPS, 4) is None
    assert [b.feerate_sat_vb for b in plan_refunds([coin(0, 10**6, 0)], 900)] == [500]
    low = FeeCaps(fee_sats=2 * transaction_vsize(1, [script_of(0)]) + 1)
    assert [b.feerate_sat_vb for b in plan_refunds([coin(0, 10**6, 0)], 900, caps=low)] == [2]


def test_a_coin_that_only_pays_its_input_stays_behind() -> None:
    worth, not_worth = coin(0, 68 * 7 + 1, 2), coin(1, 68 * 7, 2)
    big = coin(2, 10**6, 2)
    (batch,) = plan_refunds([worth, not_worth, big], 7)
    assert set(batch.inputs) == {worth, big}


def test_pledges_fill_a_transaction_to_its_size_and_no_further() -> None:
    shapes = [2, 2, 1, 3, 7]
    coins = [coin(100 * index + n, 10**6, index) for index, many in enumerate(shapes) for n in range(many)]
    batches = plan_refunds(coins, 1, 5)
    assert all(len(batch.inputs) <= 5 for batch in batches)
    assert sum(len(batch.inputs) for batch in batches) == sum(shapes)
    for index, many in enumerate(shapes[:4]):
        assert sorted(n for b in batches if (n := sum(c.index == index for c in b.inputs))) == [many]
    full = plan_refunds([coin(n, 10**6, n) for n in range(10)], 1, 5)
    assert [len(batch.inputs) for batch in full] == [5, 5]
    most = MAX_BATCH_INPUTS
    assert [len(b.inputs) for b in plan_refunds([coin(n, 10**6, n) for n in range(most + 1)], 1)] == [most, 1]


def test_two_pledges_share_the_fee_by_their_weight() -> None:
    coins = [coin(0, 10**6, 0), coin(1, 10**6, 0), coin(2, 10**6, 4)]
    (batch,) = plan_refunds(coins, 10)
    shares = {o.index: sum(c.value_sats for c in coins if c.index == o.index) - o.value_sats for o in batch.outputs}
    vsize = transaction_vsize(3, [KINDS[0], KINDS[4]])
    assert vsize == 292 and shares == {0: 1_767, 4: 1_153}, "2,920 sat by weights of 680 and 444"


def test_one_output_below_dust_forbids_the_whole_batch() -> None:
    rich, poor = coin(0, 10**6, 0), coin(1, 540 + 105 - 1, 1)
    recipients = [Recipient(script_of(0), 0), Recipient(script_of(1), 1)]
    assert priced(Kind.REFUND, [rich, poor], recipients, 1, CAPS) is None, "one satoshi less than nodes relay"
    batch = priced(Kind.REFUND, [rich, replace(poor, value_sats=540 + 105)], recipients, 1, CAPS)
    assert batch is not None and [o.value_sats for o in batch.outputs] == [10**6 - 108, 540]


def test_who_is_just_above_dust_stays_when_another_leaves() -> None:
    others = sorted(coin(n, 10**6, 5 * n + 2) for n in range(202))
    *rich, poor, just = others
    rich_and_just = [*rich, replace(just, value_sats=294 + 99)]
    (batch,) = plan_refunds([*rich_and_just, replace(poor, value_sats=300)], 1)
    assert list(batch.inputs) == rich_and_just and batch.outputs[-1].value_sats == 294
