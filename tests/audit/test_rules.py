"""The rules of settlement, one broken at a time: transactions that a thief with the keys could really have sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from crowdfund.audit.claims import AsOf, Claims, Coin, Output, Settlement
from crowdfund.audit.rules import settlement_problems
from crowdfund.campaigns.settlement import Batch, SpendableCoin, plan_refunds, plan_release
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.wallet.transactions import TxInput, TxOutput, UnsignedTx

PAYOUT, BOB, CAROL, MALLORY = (b"\x00\x14" + bytes([n]) * 20 for n in range(4))
TERMS = CampaignTerms(
    network="regtest", creator="alice", title="", summary="", story_sha256="", project_url="", license="",
    goal_sats=300_000, deadline_at="2030-01-01T00:00:00Z", payout_address="", payout_script=PAYOUT.hex(),
    min_pledge_sats=10_000, min_coin_sats=1_000, confirmations=3, opened_height=100, opened_hash="",
)  # fmt: skip
CLOSING, LOCKTIME, TIP = 200, 203, 210
COINS = {
    "bob": Coin(0, "11" * 32, 0, 200_000, 150, "", False, None, None),
    "carol": Coin(1, "22" * 32, 1, 100_000, 151, "", False, None, None),
    "late": Coin(1, "33" * 32, 0, 50_000, 200, "", False, None, None),
    "dust": Coin(1, "44" * 32, 0, 999, 150, "", False, None, None),
}
SCRIPTS = {0: BOB, 1: CAROL}


def _spendable(*names: str) -> list[SpendableCoin]:
    coins = [COINS[name] for name in names]
    return [SpendableCoin(c.txid, c.vout, c.value_sats, c.index, SCRIPTS[c.index]) for c in coins]


def _settlement(batch: Batch, height: int | None = LOCKTIME + 1, locktime: int = LOCKTIME) -> Settlement:
    outputs = tuple(Output(o.script, o.value_sats, o.index) for o in batch.outputs)
    inputs = tuple((c.txid, c.vout) for c in batch.inputs)
    return _named(Settlement(batch.kind, "", locktime, height, batch.fee_sats, inputs, outputs))


def _named(s: Settlement) -> Settlement:
    """With the txid that it would have."""
    inputs = tuple(TxInput(txid, vout, 0, 0) for txid, vout in s.inputs)
    outputs = tuple(TxOutput(o.script, o.value_sats) for o in s.outputs)
    return replace(s, txid=UnsignedTx(inputs, outputs, s.locktime).txid)


def _problems(goal_sats: int, *settlements: Settlement, closing: int | None = CLOSING, cap_sats: int = 0) -> list[str]:
    spenders = {outpoint: s for s in settlements if s.height is not None for outpoint in s.inputs}
    coins = [
        replace(c, spent_by=s.txid, spent_height=s.height) if (s := spenders.get(c.outpoint)) else c
        for c in COINS.values()
    ]
    as_of = AsOf(TIP, "", 0)
    ends = None if closing is None else (closing, "")
    claims = Claims("regtest", "", "", "", 2, as_of, tuple(coins), {}, ends, None, 0, {}, settlements)
    return list(settlement_problems(claims, replace(TERMS, goal_sats=goal_sats, cap_sats=cap_sats)))


def _moved(settlement: Settlement, *changes_sats: int) -> Settlement:
    changed = [
        replace(o, value_sats=o.value_sats + more) for o, more in zip(settlement.outputs, changes_sats, strict=True)
    ]
    return _named(replace(settlement, outputs=tuple(changed), fee_sats=settlement.fee_sats - sum(changes_sats)))


(RELEASE,) = map(_settlement, plan_release(_spendable("bob", "carol"), PAYOUT, 5))
(REFUND,) = map(_settlement, plan_refunds(_spendable("bob", "carol"), 5))
(LATE_REFUND,) = map(_settlement, plan_refunds(_spendable("late"), 5))


def test_what_the_site_plans_breaks_no_rule() -> None:
    assert _problems(300_000, RELEASE, LATE_REFUND) == []
    assert _problems(300_001, REFUND, LATE_REFUND) == []
    (together,) = plan_refunds(_spendable("bob", "carol", "late"), 7)
    assert _problems(300_001, _settlement(together)) == []
    assert _problems(300_000, replace(RELEASE, height=None)) == []
    assert _problems(300_000) == []


FUNDED, FAILED = 300_000, 300_001
BROKEN: Sequence[tuple[str, int, Sequence[Settlement], str]] = [
    ("a failed campaign is released", FAILED, [RELEASE], "of a failed campaign, which is due for a refund"),
    ("a funded campaign is refunded", FUNDED, [REFUND], "of a funded campaign, which is due for a release"),
    ("a late coin is released", FUNDED, [_settlement(plan_release(_spendable("late"), PAYOUT, 5)[0])], "a late coin"),
    ("dust is swept", FUNDED, [_settlement(plan_release(_spendable("bob", "dust"), PAYOUT, 1)[0])], "left where it is"),
    ("the payout goes elsewhere", FUNDED, [_settlement(plan_release(_spendable("bob", "carol"), MALLORY, 5)[0])],
     "is not the payout script"),
    ("a satoshi moves from bob to carol", FAILED, [_moved(REFUND, -1, 1)], "sat are due"),
    ("a satoshi more goes to the miners", FAILED, [_moved(REFUND, -1, 0)], "sat are due"),
    ("the miners get it all", FUNDED, [_moved(RELEASE, -250_000)], "is not between 1 and"),
    ("a pledge is left out", FAILED, [_named(replace(REFUND, outputs=REFUND.outputs[:1], fee_sats=101_000))],
     "exactly one output for each pledge"),
    ("a pledge is named twice", FAILED,
     [_named(replace(REFUND, outputs=(REFUND.outputs[0], replace(REFUND.outputs[1], index=0))))],
     "exactly one output for each pledge"),
    ("a refund has an output for nobody", FAILED,
     [_named(replace(REFUND, outputs=(REFUND.outputs[0], replace(REFUND.outputs[1], index=None))))],
     "exactly one output for each pledge"),
    ("it is not the transaction named", FUNDED, [replace(RELEASE, locktime=LOCKTIME - 1)], "another transaction"),
    ("the fee is misstated", FUNDED, [replace(RELEASE, fee_sats=RELEASE.fee_sats + 1)], "the fee is given as"),
    ("it was sent too early", FUNDED, [replace(RELEASE, height=CLOSING + 2)], "before the outcome could be decided"),
    ("a stranger's coin is spent", FUNDED, [_named(replace(RELEASE, inputs=(*RELEASE.inputs, ("99" * 32, 0))))],
     "is not a confirmed coin of this campaign"),
    ("a coin is in two settlements", FUNDED, [RELEASE, replace(REFUND, height=None)], "is in 2 settlements"),
]  # fmt: skip


@pytest.mark.parametrize(("goal_sats", "settlements", "sentence"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
def test_a_broken_rule_is_named(goal_sats: int, settlements: Sequence[Settlement], sentence: str) -> None:
    problems = _problems(goal_sats, *settlements)
    assert any(sentence in problem for problem in problems), problems


def test_what_is_over_the_cap_is_refunded_and_not_released() -> None:
    """Bob's coin reaches the cap and counts in whole; carol's comes after it."""
    (release,) = map(_settlement, plan_release(_spendable("bob"), PAYOUT, 5))
    (back,) = map(_settlement, plan_refunds(_spendable("carol", "late"), 5))
    assert _problems(150_000, release, back, cap_sats=150_000) == []
    problems = _problems(150_000, release, back, cap_sats=200_001)
    assert any("a counted coin of a funded campaign, which is due for a release" in p for p in problems)
    assert any(
        "an over-cap coin of a funded campaign, which is due for a refund" in p
        for p in _problems(150_000, RELEASE, cap_sats=200_000)
    )


def test_nothing_is_settled_before_it_is_decided() -> None:
    for closing in (None, TIP - 1):
        assert "although nothing is decided yet" in _problems(FUNDED, RELEASE, closing=closing)[0]


def test_coins_and_settlements_must_agree_on_what_is_spent() -> None:
    coins = tuple(replace(c, spent_by="77" * 32, spent_height=TIP) for c in COINS.values())
    claims = Claims("regtest", "", "", "", 2, AsOf(TIP, "", 0), coins, {}, (CLOSING, ""), None, 0, {}, (RELEASE,))
    problems = list(settlement_problems(claims, TERMS))
    assert sum("which is no settlement of this campaign" in p for p in problems) == len(COINS)
    assert sum("disagree on whether it was spent" in p for p in problems) == 2
