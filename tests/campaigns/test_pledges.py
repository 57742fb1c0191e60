"""The state of a pledge: what its owner reads follows from its coins alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdfund.campaigns.lifecycle import CoinFacts, RivalFate
from crowdfund.campaigns.pledges import PledgeCoin, PledgeState, pledge_facts

CLOSING = 200
SEEN = CoinFacts(50_000, None, in_mempool=True)
EVICTED = CoinFacts(50_000, None)
REPLACED = CoinFacts(50_000, None, rival=RivalFate.SEEN)
DOUBLE_SPENT = CoinFacts(50_000, None, rival=RivalFate.CONFIRMED)
FRESH = CoinFacts(50_000, 101, coinbase=True)
RIPE = CoinFacts(50_000, 100, coinbase=True)
TIP = 200
IN_TIME = CoinFacts(50_000, CLOSING - 1)
LATE = CoinFacts(50_000, CLOSING)
DUST = CoinFacts(999, 150)


@pytest.mark.parametrize(
    ("coins", "closing", "decided", "state"),
    [
        ([], None, False, "awaiting"),
        ([(SEEN, None)], None, False, "seen"),
        ([(EVICTED, None)], None, False, "evicted"),
        ([(REPLACED, None)], None, False, "replaced"),
        ([(DOUBLE_SPENT, None)], None, False, "double_spent"),
        ([(EVICTED, None), (DOUBLE_SPENT, None)], None, False, "double_spent"),
        ([(DOUBLE_SPENT, None), (EVICTED, None)], None, False, "evicted"),
        ([(EVICTED, None), (SEEN, None)], None, False, "seen"),
        ([(SEEN, None), (DOUBLE_SPENT, None)], None, False, "seen"),
        ([(FRESH, None)], None, False, "maturing"),
        ([(FRESH, None), (SEEN, None)], None, False, "maturing"),
        ([(FRESH, None), (IN_TIME, None)], None, False, "confirmed"),
        ([(FRESH, None), (REPLACED, None)], None, False, "maturing"),
        ([(RIPE, None)], None, False, "confirmed"),
        ([(FRESH, None)], CLOSING, False, "late"),
        ([(IN_TIME, None)], None, False, "confirmed"),
        ([(IN_TIME, None), (SEEN, None)], None, False, "confirmed"),
        ([(CoinFacts(49_999, 150), None)], None, False, "short"),
        ([(CoinFacts(50_001, 150), None)], None, False, "over"),
        ([(IN_TIME, None), (DUST, None)], None, False, "confirmed"),
        ([(CoinFacts(25_000, 150), None)] * 2, None, False, "confirmed"),
        ([(DUST, None)], None, False, "short"),
        ([(DUST, None), (SEEN, None)], None, False, "seen"),
        ([(LATE, None)], CLOSING, False, "late"),
        ([(IN_TIME, None), (LATE, None)], CLOSING, False, "confirmed"),
        ([(SEEN, None)], CLOSING, False, "seen"),
        ([(IN_TIME, "planned")], CLOSING, True, "in_settlement"),
        ([(IN_TIME, "release")], CLOSING, True, "paid_out"),
        ([(IN_TIME, "refund")], CLOSING, True, "refunded"),
        ([(IN_TIME, "release"), (LATE, "planned")], CLOSING, True, "in_settlement"),
        ([(IN_TIME, "release"), (LATE, "refund")], CLOSING, True, "paid_out"),
        ([(IN_TIME, None)], CLOSING, True, "unclaimed"),
        ([(IN_TIME, "foreign")], None, False, "foreign"),
        ([(IN_TIME, "planned"), (IN_TIME, "foreign")], CLOSING, True, "foreign"),
        ([(IN_TIME, "taken")], None, False, "taken"),
        ([(IN_TIME, "refund"), (IN_TIME, "taken")], CLOSING, True, "taken"),
        ([(IN_TIME, "planned"), (IN_TIME, "taken")], CLOSING, True, "in_settlement"),
        ([(LATE, None)], CLOSING, True, "late"),
        ([(DUST, None)], CLOSING, True, "short"),
        ([], CLOSING, True, "awaiting"),
        ([(EVICTED, None)], CLOSING, True, "evicted"),
        ([(REPLACED, None)], CLOSING, True, "replaced"),
        ([(DOUBLE_SPENT, None)], CLOSING, True, "double_spent"),
    ],
)
def test_what_its_owner_reads(
    coins: list[tuple[CoinFacts, str | None]], closing: int | None, decided: bool, state: str
) -> None:
    facts = pledge_facts(50_000, [PledgeCoin(*c) for c in coins], closing, decided, 1_000, TIP)
    assert facts.state == PledgeState(state)


@pytest.mark.parametrize(
    ("coins", "decided", "state"),
    [
        ([(IN_TIME, None, True)], False, "over_cap"),
        ([(IN_TIME, None, True), (SEEN, None, False)], False, "over_cap"),
        ([(IN_TIME, None, True), (LATE, None, False)], True, "over_cap"),
        ([(IN_TIME, None, True), (FRESH, None, False)], False, "maturing"),
        ([(IN_TIME, None, True), (DUST, None, False)], False, "over_cap"),
        ([(IN_TIME, None, False), (RIPE, None, True)], False, "confirmed"),
        ([(CoinFacts(49_999, 150), None, False), (RIPE, None, True)], False, "short"),
        ([(IN_TIME, None, True)], True, "over_cap"),
        ([(IN_TIME, "planned", True)], True, "in_settlement"),
        ([(IN_TIME, "refund", True)], True, "refunded"),
        ([(IN_TIME, "release", False), (RIPE, "refund", True)], True, "paid_out"),
    ],
)
def test_what_its_owner_reads_once_the_cap_is_reached(
    coins: list[tuple[CoinFacts, str | None, bool]], decided: bool, state: str
) -> None:
    facts = pledge_facts(50_000, [PledgeCoin(*c) for c in coins], CLOSING if decided else None, decided, 1_000, TIP)
    assert facts.state == PledgeState(state)
    assert facts.over_cap_sats == sum(c.value_sats for c, _, over in coins if over)


drawn = st.builds(
    CoinFacts,
    st.integers(0, 10**6),
    st.none() | st.integers(100, 300),
    st.booleans(),
    st.booleans(),
    st.none() | st.sampled_from(RivalFate),
)
fates = st.sampled_from([None, "planned", "release", "refund"])


@given(st.lists(st.builds(PledgeCoin, drawn, fates)), st.none() | st.just(CLOSING), st.booleans())
def test_the_sums_are_the_coins(coins: list[PledgeCoin], closing: int | None, decided: bool) -> None:
    facts = pledge_facts(50_000, coins, closing, decided, 1_000, 300)
    assert facts.received_sats == sum(c.facts.value_sats for c in coins if c.facts.height is not None)
    assert facts.received_sats == facts.counted_sats + facts.maturing_sats + facts.late_sats + facts.dust_sats
    assert facts.seen_sats == sum(c.facts.value_sats for c in coins if c.facts.height is None and c.facts.in_mempool)
    assert (facts.state is PledgeState.AWAITING) == (not coins)
