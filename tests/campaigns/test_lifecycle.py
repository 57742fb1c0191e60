"""The outcome as a pure function of the chain: every boundary, to the block and to the satoshi."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdfund.campaigns.lifecycle import (
    BatchState,
    CampaignState,
    CoinFacts,
    Decision,
    Ending,
    Kind,
    Outcome,
    RivalFate,
    Standing,
    batch_state,
    campaign_state,
    counted_sats,
    decide,
    depth,
    ending,
    over_cap,
    owed_kind,
    standing,
)

CLOSING = 200
DUST = 1_000
NO_CAP = 0
NEVER_MOVES = set(Standing) - {Standing.LATE, Standing.OVER_CAP, Standing.COUNTED}


@pytest.mark.parametrize(
    ("coin", "closing", "expected"),
    [
        (CoinFacts(DUST, 150), None, Standing.COUNTED),
        (CoinFacts(DUST, CLOSING - 1), CLOSING, Standing.COUNTED),
        (CoinFacts(DUST, CLOSING), CLOSING, Standing.LATE),
        (CoinFacts(DUST, CLOSING + 1), CLOSING, Standing.LATE),
        (CoinFacts(DUST - 1, 150), None, Standing.DUST),
        (CoinFacts(DUST - 1, CLOSING + 5), CLOSING, Standing.DUST),
        (CoinFacts(0, 150), None, Standing.DUST),
        (CoinFacts(DUST, None, in_mempool=True), None, Standing.SEEN),
        (CoinFacts(1, None, in_mempool=True), CLOSING, Standing.SEEN),
        (CoinFacts(DUST, None), None, Standing.EVICTED),
        (CoinFacts(DUST, None), CLOSING, Standing.EVICTED),
        (CoinFacts(DUST, None, rival=RivalFate.SEEN), None, Standing.REPLACED),
        (CoinFacts(DUST, None, rival=RivalFate.SEEN), CLOSING, Standing.REPLACED),
        (CoinFacts(DUST, None, rival=RivalFate.CONFIRMED), None, Standing.DOUBLE_SPENT),
        (CoinFacts(DUST, None, rival=RivalFate.CONFIRMED), CLOSING, Standing.DOUBLE_SPENT),
        (CoinFacts(DUST, None, in_mempool=True, rival=RivalFate.SEEN), None, Standing.SEEN),
        (CoinFacts(DUST, 150, rival=RivalFate.CONFIRMED), None, Standing.COUNTED),
        (CoinFacts(DUST, CLOSING - 101, coinbase=True), CLOSING, Standing.COUNTED),
        (CoinFacts(DUST, CLOSING - 100, coinbase=True), CLOSING, Standing.LATE),
        (CoinFacts(DUST, CLOSING - 1, coinbase=True), CLOSING, Standing.LATE),
    ],
)
def test_what_a_coin_is_worth(coin: CoinFacts, closing: int | None, expected: Standing) -> None:
    for tip in (CLOSING, CLOSING + 300):
        assert standing(coin, closing, DUST, tip) is expected


@pytest.mark.parametrize(
    ("tip", "expected"),
    [(150, Standing.MATURING), (249, Standing.MATURING), (250, Standing.COUNTED), (251, Standing.COUNTED)],
)
def test_a_freshly_mined_coin_counts_a_hundred_blocks_later(tip: int, expected: Standing) -> None:
    mined = CoinFacts(DUST, 150, coinbase=True)
    assert standing(mined, None, DUST, tip) is expected
    assert counted_sats([mined], None, DUST, tip, NO_CAP) == (DUST if expected is Standing.COUNTED else 0)
    assert standing(replace(mined, coinbase=False), None, DUST, tip) is Standing.COUNTED
    assert standing(replace(mined, value_sats=DUST - 1), None, DUST, tip) is Standing.DUST
    assert standing(mined, 251, DUST, tip) is Standing.COUNTED, "with a closing block the tip says no more"
    assert standing(mined, 250, DUST, tip) is Standing.LATE


@given(st.integers(101, 400), st.integers(0, 400), st.integers(101, 400))
def test_what_is_maturing_at_the_closing_block_is_late_and_what_counted_counts(
    closing: int, height: int, later: int
) -> None:
    """The block before the closing block is the last whose figures can move the outcome."""
    mined = CoinFacts(DUST, min(height, closing - 1), coinbase=True)
    before = standing(mined, None, DUST, closing - 1)
    after = standing(mined, closing, DUST, closing + later)
    assert (before, after) in {(Standing.COUNTED, Standing.COUNTED), (Standing.MATURING, Standing.LATE)}


@pytest.mark.parametrize("confirmations", [1, 6, 100])
def test_the_decision_waits_for_its_depth(confirmations: int) -> None:
    coins = [CoinFacts(5_000, 150)]

    def at(tip: int) -> Decision | None:
        return decide(5_000, DUST, coins, CLOSING, tip, confirmations, NO_CAP)

    assert at(CLOSING + confirmations - 2) is None
    assert at(CLOSING + confirmations - 1) == Decision(Outcome.FUNDED, 5_000, CLOSING)
    assert at(CLOSING + confirmations + 50) == at(CLOSING + confirmations - 1)
    assert decide(5_000, DUST, coins, None, 10_000, confirmations, NO_CAP) is None


@pytest.mark.parametrize(
    ("paid", "outcome"), [(999_999, Outcome.FAILED), (1_000_000, Outcome.FUNDED), (1_000_001, Outcome.FUNDED)]
)
def test_the_goal_is_met_to_the_satoshi(paid: int, outcome: Outcome) -> None:
    coins = [CoinFacts(paid - 400_000, 150), CoinFacts(400_000, CLOSING - 1)]
    decision = decide(1_000_000, DUST, coins, CLOSING, CLOSING, 1, NO_CAP)
    assert decision == Decision(outcome, paid, CLOSING)


def test_what_does_not_count_does_not_fund() -> None:
    idle = [
        CoinFacts(10**9, CLOSING),
        CoinFacts(10**9, None, in_mempool=True),
        CoinFacts(10**9, None),
        CoinFacts(10**9, CLOSING - 100, coinbase=True),
        *[CoinFacts(DUST - 1, 150)] * 5_000,
    ]
    assert decide(1, DUST, idle, CLOSING, CLOSING, 1, NO_CAP) == Decision(Outcome.FAILED, 0, CLOSING)
    assert counted_sats([*idle, CoinFacts(DUST, 150)], CLOSING, DUST, CLOSING, NO_CAP) == DUST


coins = st.builds(
    CoinFacts,
    st.integers(0, 3_000),
    st.none() | st.integers(50, 250),
    st.booleans(),
    st.booleans(),
)


@given(st.lists(coins, max_size=20), st.integers(1, 20_000), st.integers(100, 220), st.randoms())
def test_the_order_of_coins_does_not_matter_and_later_blocks_change_nothing(
    facts: list[CoinFacts], goal_sats: int, closing: int, draw: object
) -> None:
    decision = decide(goal_sats, DUST, facts, closing, closing, 1, NO_CAP)
    assert decision is not None
    assert decision == decide(goal_sats, DUST, facts[::-1], closing, closing + 99, 1, NO_CAP)
    expected = sum(
        c.value_sats
        for c in facts
        if c.height is not None and c.value_sats >= DUST and c.height + 100 * c.coinbase < closing
    )
    assert decision.counted_sats == expected
    assert (decision.outcome is Outcome.FUNDED) == (expected >= goal_sats)


def at(height: int, value_sats: int, txid: str = "a", vout: int = 0, coinbase: bool = False) -> CoinFacts:
    return CoinFacts(value_sats, height, coinbase, outpoint=(txid, vout))


def names(coins: list[CoinFacts], closing: int | None, tip: int, cap_sats: int) -> list[tuple[str, int]]:
    return sorted(over_cap(coins, closing, DUST, tip, cap_sats))


def test_coins_count_in_chain_order_until_the_cap_is_reached() -> None:
    coins = [
        at(150, 5_000, "b", 1),
        at(150, 5_000, "b", 0),
        at(150, 5_000, "c"),
        at(151, 5_000, "a"),
        at(149, 5_000, "z"),
    ]
    for cap_sats, over in (
        (25_000, []),
        (20_001, []),
        (20_000, ["a0"]),
        (15_001, ["a0"]),
        (15_000, ["a0", "c0"]),
        (10_000, ["a0", "b1", "c0"]),
        (1, ["a0", "b0", "b1", "c0"]),
        (0, []),
    ):
        assert ["".join(map(str, name)) for name in names(coins, None, 160, cap_sats)] == over


def test_what_does_not_count_uses_nothing_of_the_cap() -> None:
    idle = [
        at(150, DUST - 1, "dust"),
        at(CLOSING, 9_000, "late"),
        CoinFacts(9_000, None, in_mempool=True, outpoint=("seen", 0)),
        at(CLOSING - 100, 9_000, "unripe", coinbase=True),
    ]
    coins = [*idle, at(160, 9_000, "first"), at(161, 9_000, "second"), at(162, 9_000, "third")]
    assert names(coins, CLOSING, CLOSING, 10_000) == [("third", 0)]
    assert counted_sats(coins, CLOSING, DUST, CLOSING, 10_000) == 18_000


def test_a_miners_coin_takes_the_place_of_its_own_block_once_it_is_ripe() -> None:
    coins = [at(100, 9_000, "mined", coinbase=True), at(150, 9_000, "paid")]
    assert names(coins, None, 199, 9_000) == [], "it is not ripe and takes nobody's place"
    assert names(coins, None, 200, 9_000) == [("paid", 0)]
    assert names(coins, 201, 300, 9_000) == [("paid", 0)]
    assert names(coins, 200, 300, 9_000) == [], "and at the closing block it is late for good"


def test_the_outcome_is_that_of_the_coins_that_count() -> None:
    coins = [at(150, 900_000, "a"), at(151, 300_000, "b"), at(152, 5_000_000, "c")]
    assert decide(1_000_000, DUST, coins, CLOSING, CLOSING, 1, 1_200_000) == Decision(
        Outcome.FUNDED, 1_200_000, CLOSING
    )
    assert decide(1_000_000, DUST, coins, CLOSING, CLOSING, 1, 1_000_000) == Decision(
        Outcome.FUNDED, 1_200_000, CLOSING
    )
    assert decide(1_000_000, DUST, coins[:1], CLOSING, CLOSING, 1, 1_000_000) == Decision(
        Outcome.FAILED, 900_000, CLOSING
    )


@given(st.lists(coins, max_size=20), st.integers(1, 20_000), st.integers(0, 9_000), st.randoms(), st.booleans())
def test_a_cap_never_moves_the_outcome_and_lets_one_coin_cross(
    facts: list[CoinFacts], goal_sats: int, above_sats: int, draw: Random, closed: bool
) -> None:
    facts = [replace(c, outpoint=(f"{n * 7 % 5}", n)) for n, c in enumerate(facts)]
    closing, cap_sats = (200 if closed else None), goal_sats + above_sats
    mixed = draw.sample(facts, len(facts))
    over = over_cap(facts, closing, DUST, 240, cap_sats)
    assert over == over_cap(mixed, closing, DUST, 240, cap_sats)
    worth = {c.outpoint: standing(c, closing, DUST, 240) for c in facts}
    assert all(worth[outpoint] is Standing.COUNTED for outpoint in over)
    total_sats, all_sats = (counted_sats(facts, closing, DUST, 240, cap) for cap in (cap_sats, NO_CAP))
    assert (total_sats >= goal_sats) == (all_sats >= goal_sats)
    assert total_sats == all_sats or total_sats >= cap_sats
    kept = [c for c in facts if worth[c.outpoint] is Standing.COUNTED and c.outpoint not in over]
    last = max(kept, key=lambda c: (c.height or 0, c.outpoint), default=None)
    assert last is None or total_sats < cap_sats + last.value_sats
    assert all(
        (c.height or 0, c.outpoint) > (last.height or 0, last.outpoint) for c in facts if last and c.outpoint in over
    )


def test_depth_counts_the_block_itself() -> None:
    assert [depth(10, tip) for tip in (8, 9, 10, 11)] == [0, 0, 1, 2]


@pytest.mark.parametrize(
    ("published", "closing", "outcome", "settled", "expected"),
    [
        (False, None, None, True, CampaignState.DRAFT),
        (True, None, None, True, CampaignState.OPEN),
        (True, 9, None, True, CampaignState.CLOSING),
        (True, 9, Outcome.FUNDED, False, CampaignState.RELEASING),
        (True, 9, Outcome.FUNDED, True, CampaignState.RELEASED),
        (True, 9, Outcome.FAILED, False, CampaignState.REFUNDING),
        (True, 9, Outcome.FAILED, True, CampaignState.REFUNDED),
    ],
)
def test_the_state_people_see(
    published: bool, closing: int | None, outcome: Outcome | None, settled: bool, expected: CampaignState
) -> None:
    assert campaign_state(published, closing, outcome, settled) is expected


@pytest.mark.parametrize(
    ("signed", "sent", "inputs", "spent", "expected"),
    [
        (False, False, True, None, BatchState.PLANNED),
        (True, False, True, None, BatchState.SIGNED),
        (True, True, True, None, BatchState.SENT),
        (True, True, False, None, BatchState.INPUT_LOST),
        (False, False, False, None, BatchState.INPUT_LOST),
        (True, True, True, 100, BatchState.CONFIRMED),
        (True, True, True, 95, BatchState.FINAL),
        (True, True, True, 96, BatchState.CONFIRMED),
    ],
)
def test_how_far_a_batch_has_come(
    signed: bool, sent: bool, inputs: bool, spent: int | None, expected: BatchState
) -> None:
    state = batch_state(
        signed=signed, sent=sent, inputs_confirmed=inputs, spent_height=spent, tip_height=100, confirmations=6
    )
    assert state is expected


def test_what_is_owed_to_whom() -> None:
    for outcome in Outcome:
        for back in (Standing.LATE, Standing.OVER_CAP):
            assert owed_kind(back, outcome) is Kind.REFUND
        assert [owed_kind(s, outcome) for s in NEVER_MOVES] == [None] * len(NEVER_MOVES)
    assert owed_kind(Standing.COUNTED, Outcome.FUNDED) is Kind.RELEASE
    assert owed_kind(Standing.COUNTED, Outcome.FAILED) is Kind.REFUND


def test_what_has_nothing_left_to_do_and_what_a_node_refuses() -> None:
    def state(sent: bool = True, inputs: bool = True, spent: int | None = None, **marks: bool) -> BatchState:
        return batch_state(
            signed=True,
            sent=sent,
            inputs_confirmed=inputs,
            spent_height=spent,
            tip_height=100,
            confirmations=6,
            **marks,
        )

    assert state(unwanted=True) is BatchState.NEEDS_HUMAN
    assert state(unwanted=True, inputs=False) is BatchState.INPUT_LOST
    for inputs in (True, False):
        assert state(inputs=inputs, superseded=True, unwanted=True) is BatchState.SUPERSEDED
        assert state(inputs=inputs, partitioned=True, unwanted=True) is BatchState.PARTITIONED
        assert state(inputs=inputs, superseded=True, partitioned=True) is BatchState.SUPERSEDED
        assert state(inputs=inputs, spent=95, superseded=True, partitioned=True) is BatchState.FINAL


def test_what_is_not_said_of_a_coin_is_that_it_is_nothing_special() -> None:
    coin = CoinFacts(DUST, None)
    assert (coin.coinbase, coin.in_mempool, coin.rival, coin.outpoint) == (False, False, None, ("", 0))


OPENED = 100


@pytest.mark.parametrize(
    ("closing", "cancelled_at", "expected"),
    [
        (None, [], None),
        (CLOSING, [], Ending(CLOSING)),
        (None, [OPENED + 1], Ending(OPENED + 1, cancelled=True)),
        (None, [OPENED], None),
        (None, [OPENED - 1], None),
        (CLOSING, [OPENED], Ending(CLOSING)),
        (CLOSING, [CLOSING - 1], Ending(CLOSING - 1, cancelled=True)),
        (CLOSING, [CLOSING], Ending(CLOSING)),
        (CLOSING, [CLOSING + 1], Ending(CLOSING)),
        (CLOSING, [CLOSING, 180, 150, OPENED], Ending(150, cancelled=True)),
    ],
)
def test_the_first_cancellation_between_opening_and_closing_block_is_the_end(
    closing: int | None, cancelled_at: list[int], expected: Ending | None
) -> None:
    assert ending(OPENED, closing, cancelled_at) == expected


@given(st.integers(0, 30), st.none() | st.integers(0, 30), st.lists(st.integers(0, 30), max_size=6), st.integers(0, 30))
def test_later_cancellations_change_nothing_and_no_cancellation_makes_the_end_later(
    opened: int, closing: int | None, cancelled_at: list[int], another: int
) -> None:
    end, without = ending(opened, closing, cancelled_at), ending(opened, closing, [])
    assert end == ending(opened, closing, cancelled_at[::-1])
    if end is not None and without is not None:
        assert end.height <= without.height and end.cancelled == (end != without)
    if end is not None and another >= end.height:
        assert ending(opened, closing, [*cancelled_at, another]) == end
    assert without is None or not without.cancelled


@given(st.lists(coins, max_size=20), st.integers(1, 20_000), st.integers(100, 220), st.integers(0, 9_000))
def test_a_cancelled_campaign_fails_whatever_was_paid_and_everything_in_it_goes_back(
    facts: list[CoinFacts], goal_sats: int, closing: int, above_sats: int
) -> None:
    facts = [replace(c, outpoint=("a", n)) for n, c in enumerate(facts)]
    args = (facts, closing, closing, 1, goal_sats + above_sats)
    plain, cancelled = decide(goal_sats, DUST, *args), decide(goal_sats, DUST, *args, cancelled=True)
    assert plain is not None and cancelled == replace(plain, outcome=Outcome.FAILED)
    kinds = {owed_kind(standing(c, closing, DUST, closing), cancelled.outcome) for c in facts}
    assert kinds <= {None, Kind.REFUND}
    assert decide(goal_sats, DUST, facts, closing, closing, 2, NO_CAP, cancelled=True) is None, "not deep enough"
