"""What may be signed, rule by rule, without a key: each rule just kept and just broken."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdfund.errors import UserError
from crowdfund.wallet import policy
from crowdfund.wallet.addresses import address_of
from crowdfund.wallet.fees import transaction_vsize
from crowdfund.wallet.outcome_proof import CoinProof, Opening, Proven, ProvenCoin, ShownCoin
from crowdfund.wallet.policy import (
    EndingFacts,
    TermsFacts,
    check_account,
    check_cancellable,
    check_outcome,
    check_settlement,
    check_timelocked,
    opening_of,
    read_coin_proof,
    read_shown_coin,
    read_terms,
)
from crowdfund.wallet.transactions import TxInput, TxOutput, UnsignedTx
from support.signing import (
    ACCOUNT,
    OPENED,
    PAYOUT,
    TIMELOCK,
    TIMELOCK_FEERATE,
    canonical,
    receipt_key,
    terms,
    terms_2,
    terms_3,
)

BOB = b"\x00\x14" + b"b" * 20
OLD, NEW = read_terms(terms(), "regtest"), read_terms(terms_2(), "regtest")
COIN = TxInput("a1" * 32, 0, 100_000, 7)
RELEASE = UnsignedTx((COIN,), (TxOutput(PAYOUT, 99_000),), 150)
REFUND = UnsignedTx((COIN,), (TxOutput(BOB, 99_000, 7),), 150)
TIMELOCK_FEE = transaction_vsize(1, [BOB]) * TIMELOCK_FEERATE
LOCKED = UnsignedTx((COIN,), (TxOutput(BOB, 100_000 - TIMELOCK_FEE, 7),), TIMELOCK)


@dataclass
class Memory:
    """What was promised, as a test says."""

    serves: dict[int, bytes] = field(default_factory=dict)
    refunds: dict[tuple[int, int], bytes] = field(default_factory=lambda: {(ACCOUNT, 7): BOB})
    kinds: dict[str, str] = field(default_factory=dict)
    coins: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    believes: UnsignedTx | None = None  # whatever it says of its inputs

    def terms_hash(self, account: int) -> bytes | None:
        return self.serves.get(account)

    def refund_script(self, account: int, index: int) -> bytes | None:
        return self.refunds.get((account, index))

    def kind(self, outpoint: str) -> str | None:
        return self.kinds.get(outpoint)

    def shown(self, outpoint: str) -> tuple[int, int, int] | None:
        told = self.believes.inputs if self.believes else ()
        believed = {policy.outpoint(i): (ACCOUNT, i.index, i.value_sats) for i in told}
        return {**believed, **self.coins}.get(outpoint)

    def released(self, account: int) -> bool:
        return "release" in self.kinds.values()


def settle(kind: str, tx: UnsignedTx, facts: TermsFacts = NEW, held: Memory | None = None) -> None:
    check_settlement(kind, tx, facts, ACCOUNT, replace(held or Memory(), believes=tx))


def lock(tx: UnsignedTx, facts: TermsFacts = NEW, held: Memory | None = None) -> None:
    check_timelocked(tx, facts, ACCOUNT, replace(held or Memory(), believes=tx))


def refused(word: str, kind: str, tx: UnsignedTx, facts: TermsFacts = NEW, held: Memory | None = None) -> None:
    with pytest.raises(UserError, match=word):
        settle(kind, tx, facts, held)


def unreadable(text: object, word: str) -> None:
    with pytest.raises((UserError, ValueError), match=word):
        read_terms(text, "regtest")


# -- terms -----------------------------------------------------------------------------------------------------


def test_the_facts_of_both_versions_are_read() -> None:
    assert (OLD.version, OLD.opened_height, OLD.payout_script, OLD.timelock_height) == (1, OPENED, PAYOUT, 0)
    assert (NEW.version, NEW.timelock_height, NEW.timelock_feerate_sat_vb) == (2, TIMELOCK, TIMELOCK_FEERATE)
    assert NEW.receipt_key == receipt_key() and OLD.receipt_key == "" and OLD.hash != NEW.hash
    ending = EndingFacts("0f" * 32, 1_796_148_000, 1, 50_000, 1_000, 0)
    read = TermsFacts(1, OLD.hash, "regtest", PAYOUT, OPENED, ending, "", 0, 0)
    assert read_terms(terms(), "regtest") == read
    assert EndingFacts("0f" * 32, 1_796_148_000, 1, 50_000, 1_000) == ending, "no cap is said by saying nothing"
    capped = read_terms(terms_2(cap_sats=60_000), "regtest")
    ending, locks = replace(ending, cap_sats=60_000), (receipt_key(), TIMELOCK, TIMELOCK_FEERATE)
    assert capped == TermsFacts(2, capped.hash, "regtest", PAYOUT, OPENED, ending, *locks)
    none = read_terms(terms_2(timelock_height=0, timelock_feerate_sat_vb=0), "regtest")
    assert none.timelock_height == 0


@pytest.mark.parametrize(
    "text",
    [
        terms() + " ",
        terms().replace(":", ": ", 1),
        json.dumps(json.loads(terms())),
        json.dumps(dict(reversed(json.loads(terms()).items())), separators=(",", ":")),
        json.dumps(json.loads(terms(title="Ä")), sort_keys=True, separators=(",", ":")),
        "{" + '"version":1,' + terms()[1:],
        "[]",
        "5",
        "null",
    ],
)
def test_terms_in_another_spelling_are_refused(text: str) -> None:
    unreadable(text, "canonical")


@pytest.mark.parametrize("version", [0, 4, "1", None, True, [], {}])
def test_only_versions_1_to_3_are_known(version: object) -> None:
    unreadable(terms(version=version), r"another version|another type")


@pytest.mark.parametrize("name", ["receipt_key", "timelock_height", "timelock_feerate_sat_vb"])
def test_each_version_has_its_own_fields(name: str) -> None:
    unreadable(terms(**{name: 0}), "another version")
    lacking = json.loads(terms_2())
    del lacking[name]
    unreadable(canonical(lacking), "lack")


def test_the_third_version_names_its_details() -> None:
    third = read_terms(terms_3(), "regtest")
    assert (third.version, third.receipt_key, third.timelock_height) == (3, receipt_key(), TIMELOCK)
    unreadable(terms_2(version=3), "lack")
    unreadable(terms_3(details_sha256=5), "another type")
    for wrong in ("", "AB" * 32, "ab" * 31, "zz" * 32):
        unreadable(terms_3(details_sha256=wrong), "name the details")
    unreadable(terms_2(details_sha256="ab" * 32), "another version")
    unreadable(terms(details_sha256="ab" * 32), "another version")
    check_account(third, receipt_key(), ACCOUNT, Memory())
    with pytest.raises(UserError, match="receipt key"):
        check_account(third, receipt_key(ACCOUNT + 1), ACCOUNT, Memory())


def test_the_third_version_says_whether_it_can_be_cancelled() -> None:
    third, never = read_terms(terms_3(), "regtest"), read_terms(terms_3(cancellable=""), "regtest")
    assert third.cancellable and not never.cancellable and not NEW.cancellable
    for wrong in ("cxl2", "CXL1", " cxl1"):
        unreadable(terms_3(cancellable=wrong), "nobody knows")
    unreadable(terms_3(cancellable=True), "another type")
    unreadable(terms_2(version=3, details_sha256="ab" * 32), "lack")
    unreadable(terms_2(cancellable="cxl1"), "another version")
    unreadable(terms(cancellable="cxl1"), "another version")
    check_cancellable(third, ACCOUNT, Memory(kinds={"x": "refund"}))
    for facts in (never, NEW):
        with pytest.raises(UserError, match="cannot be cancelled"):
            check_cancellable(facts, ACCOUNT, Memory())
    with pytest.raises(UserError, match="release of this campaign was signed"):
        check_cancellable(third, ACCOUNT, Memory(kinds={"x": "release"}))


@pytest.mark.parametrize("name", ["network", "payout_address", "payout_script", "opened_height"])
@pytest.mark.parametrize("value", [None, True, [], {}, -1])
def test_wrong_types_in_terms_are_refused(name: str, value: object) -> None:
    unreadable(terms(**{name: value}), "lack|out of its range")


@pytest.mark.parametrize("text", [None, 5, b"{}", [], "x" * (policy.MAX_TERMS_BYTES + 1)])
def test_terms_are_text_of_some_length(text: object) -> None:
    unreadable(text, "no text, or too long")


def test_terms_may_be_64_kib_long() -> None:
    longest = terms(title="x" * (65_536 - len(terms(title=""))))
    assert read_terms(longest, "regtest").version == 1 and len(longest) == 65_536
    unreadable(terms(title="x" * (65_537 - len(terms(title="")))), "too long")


@pytest.mark.parametrize("number", ["1.0", "1e3", "NaN", "Infinity", "-Infinity"])
def test_no_fraction_stands_anywhere_in_terms(number: str) -> None:
    unreadable(terms()[:-1] + f',"x":{{"y":[{number}]}}}}', "not whole")


def test_payout_address_and_script_agree() -> None:
    unreadable(terms(payout_script=BOB.hex()), "differ")
    unreadable(terms(payout_address=address_of(BOB, "regtest")), "differ")
    unreadable(terms(payout_address="nonsense"), "address")


def test_terms_of_another_network_are_refused() -> None:
    unreadable(terms(network="mainnet"), "this signer serves regtest")


@pytest.mark.parametrize(
    "changes",
    [
        {"timelock_height": OPENED},
        {"timelock_height": 1},
        {"timelock_feerate_sat_vb": 0},
        {"timelock_feerate_sat_vb": 501},
        {"timelock_height": 500_000_000},
        {"timelock_height": -1},
    ],
)
def test_a_time_lock_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    unreadable(terms_2(ACCOUNT, **changes), "makes no sense|out of its range")


def test_an_account_serves_one_set_of_terms_with_its_own_receipt_key() -> None:
    own = receipt_key()
    check_account(NEW, own, ACCOUNT, Memory())
    check_account(NEW, own, ACCOUNT, Memory(serves={ACCOUNT: NEW.hash, 5: OLD.hash}))
    for nobodys in ("", own):  # version 1 names none
        check_account(OLD, nobodys, ACCOUNT, Memory())
    with pytest.raises(UserError, match="other terms"):
        check_account(NEW, own, ACCOUNT, Memory(serves={ACCOUNT: OLD.hash}))
    for other in (receipt_key(5), own.upper(), ""):
        with pytest.raises(UserError, match="receipt key"):
            check_account(NEW, other, ACCOUNT, Memory())


# -- refund addresses ------------------------------------------------------------------------------------------


def test_refund_addresses_are_read() -> None:
    assert policy.read_refunds({"0": BOB.hex(), "2147483647": PAYOUT.hex()}, "regtest") == {0: BOB, 2**31 - 1: PAYOUT}
    assert policy.read_refunds({}, "regtest") == {}
    assert len(policy.read_refunds({str(n): BOB.hex() for n in range(1_000)}, "regtest")) == 1_000


@pytest.mark.parametrize("index", ["", "-1", "+1", "01", " 1", "1 ", "1_0", "٣", "2147483648", "9" * 30, "x"])
def test_an_index_has_one_spelling(index: str) -> None:
    with pytest.raises(UserError):
        policy.read_refunds({index: BOB.hex()}, "regtest")


@pytest.mark.parametrize(
    "script", ["", "0", "zz", None, 5, "0014" + "AB" * 20, " " + BOB.hex(), "6a", "0014" + "00" * 19]
)
def test_a_refund_script_is_one_that_can_be_paid(script: object) -> None:
    with pytest.raises((UserError, ValueError)):
        policy.read_refunds({"0": script}, "regtest")


@pytest.mark.parametrize("pairs", [None, [], 5, "x", {str(n): BOB.hex() for n in range(policy.MAX_REGISTRATIONS + 1)}])
def test_registrations_are_a_bounded_mapping(pairs: object) -> None:
    with pytest.raises(UserError, match="at most 1000"):
        policy.read_refunds(pairs, "regtest")


def test_the_first_refund_address_counts_and_one_contradiction_refuses_all() -> None:
    held = Memory()
    assert policy.new_refunds({7: BOB, 8: PAYOUT}, ACCOUNT, held) == {8: PAYOUT}
    assert policy.new_refunds({7: PAYOUT}, ACCOUNT + 1, held) == {7: PAYOUT}
    with pytest.raises(UserError, match="first one counts"):
        policy.new_refunds({8: PAYOUT, 7: PAYOUT}, ACCOUNT, held)


# -- settlements -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("facts", [OLD, NEW])
def test_a_right_settlement_passes(facts: TermsFacts) -> None:
    settle("release", RELEASE, facts)
    settle("refund", REFUND, facts)
    name = policy.outpoint(COIN)
    settle("release", RELEASE, facts, Memory(kinds={name: "release"}))


@pytest.mark.parametrize("kind", ["payout", "", None, 5, [], {}, "Release"])
def test_there_are_two_kinds(kind: object) -> None:
    with pytest.raises(UserError, match="a release or a refund"):
        check_settlement(kind, RELEASE, NEW, ACCOUNT, Memory())


def test_one_kind_and_one_value_for_ever() -> None:
    name = policy.outpoint(COIN)
    refused("signed for a refund", "release", RELEASE, held=Memory(kinds={name: "refund"}))
    refused("signed for a release", "refund", REFUND, held=Memory(kinds={name: "release"}))
    for other in ((ACCOUNT, 7, 100_001), (ACCOUNT, 8, 100_000), (ACCOUNT + 1, 7, 100_000)):
        refused("not shown", "release", RELEASE, held=Memory(coins={name: other}))
    with pytest.raises(UserError, match="not shown"):
        check_settlement("release", RELEASE, NEW, ACCOUNT, Memory())


def test_the_form_of_a_transaction() -> None:
    refused("inputs and outputs", "release", replace(RELEASE, inputs=()))
    refused("inputs and outputs", "release", replace(RELEASE, outputs=()))
    refused("twice", "release", replace(RELEASE, inputs=(COIN, COIN)))
    other = TxInput("b2" * 32, 0, 100_000, 8)
    held = Memory(refunds={(ACCOUNT, 7): BOB, (ACCOUNT, 8): BOB})
    one_small = UnsignedTx((COIN, other), (TxOutput(BOB, 99_000, 7), TxOutput(BOB, 293, 8)), 150)
    refused("too small", "refund", one_small, held=held)
    small = UnsignedTx((replace(COIN, value_sats=310),), (TxOutput(PAYOUT, 293),), 150)
    refused("too small", "release", small)
    settle("release", replace(small, outputs=(TxOutput(PAYOUT, 294),)))
    many = tuple(TxInput(f"{n + 1:064x}", 0, 100_000, 7) for n in range(1_471))
    refused("weighs", "release", UnsignedTx(many, (TxOutput(PAYOUT, 147_000_000),), 150))
    settle("release", UnsignedTx(many[:1_400], (TxOutput(PAYOUT, 139_900_000),), 150))


@pytest.mark.parametrize("fee_sats", [-1, 0, 110 * 500 + 1])
def test_the_feerate_is_capped(fee_sats: int) -> None:
    coin = replace(COIN, value_sats=10_000_000)
    refused("a fee of", "release", UnsignedTx((coin,), (TxOutput(PAYOUT, 10_000_000 - fee_sats),), 150))
    for allowed in (1, 110 * 500):
        settle("release", UnsignedTx((coin,), (TxOutput(PAYOUT, 10_000_000 - allowed),), 150))


def test_the_whole_fee_is_capped() -> None:
    many = tuple(TxInput(f"{n + 1:064x}", 0, 1_000_000, 7) for n in range(200))
    refused("between 1 and 5000000", "release", UnsignedTx(many, (TxOutput(PAYOUT, 194_999_999),), 150))
    settle("release", UnsignedTx(many, (TxOutput(PAYOUT, 195_000_000),), 150))


def test_the_share_of_the_fee_is_capped() -> None:
    refused("10 %", "release", replace(RELEASE, outputs=(TxOutput(PAYOUT, 89_999),)))
    settle("release", replace(RELEASE, outputs=(TxOutput(PAYOUT, 90_000),)))
    refused("50 %", "refund", replace(REFUND, outputs=(TxOutput(BOB, 49_999, 7),)))
    settle("refund", replace(REFUND, outputs=(TxOutput(BOB, 50_000, 7),)))


@pytest.mark.parametrize(("facts", "end"), [(NEW, TIMELOCK), (OLD, OPENED + policy.MAX_LOCK_BLOCKS)])
def test_the_lock_time_is_a_height_within_the_terms(facts: TermsFacts, end: int) -> None:
    for locktime in (0, OPENED - 1, end, policy.MAX_HEIGHT):
        refused("lock time", "release", replace(RELEASE, locktime=locktime), facts)
    for locktime in (OPENED, end - 1):
        settle("release", replace(RELEASE, locktime=locktime), facts)


def test_a_release_pays_the_creator_alone() -> None:
    refused("payout address", "release", replace(RELEASE, outputs=(TxOutput(BOB, 99_000),)))
    two = (TxOutput(PAYOUT, 50_000), TxOutput(PAYOUT, 49_000))
    refused("payout address", "release", replace(RELEASE, outputs=two))


@pytest.mark.parametrize(
    "outputs",
    [
        (TxOutput(PAYOUT, 99_000, 7),),
        (TxOutput(BOB, 99_000),),
        (TxOutput(BOB, 99_000, 8),),
        (TxOutput(BOB, 50_000, 7), TxOutput(BOB, 49_000, 7)),
        (TxOutput(BOB, 50_000, 7), TxOutput(BOB, 49_000)),
    ],
)
def test_a_refund_pays_each_pledge_where_it_was_registered(outputs: tuple[TxOutput, ...]) -> None:
    refused("a refund", "refund", replace(REFUND, outputs=outputs))
    refused("registered", "refund", REFUND, held=Memory(refunds={}))


def test_no_pledge_is_paid_from_another_ones_coin() -> None:
    other = TxInput("b2" * 32, 1, 50_000, 8)
    held = Memory(refunds={(ACCOUNT, 7): BOB, (ACCOUNT, 8): PAYOUT})
    both = UnsignedTx((COIN, other), (TxOutput(BOB, 100_001, 7), TxOutput(PAYOUT, 49_000, 8)), 150)
    refused("never more", "refund", both, held=held)
    settle("refund", replace(both, outputs=(TxOutput(PAYOUT, 49_500, 8), TxOutput(BOB, 99_500, 7))), held=held)
    settle("refund", replace(both, outputs=(TxOutput(BOB, 100_000, 7), TxOutput(PAYOUT, 49_000, 8))), held=held)


# -- time-locked refunds ---------------------------------------------------------------------------------------


def test_a_time_locked_refund_passes_beside_any_kind() -> None:
    name = policy.outpoint(COIN)
    for kind in ("release", "refund"):
        lock(LOCKED, held=Memory(kinds={name: kind}))


def locked(**changes: Any) -> UnsignedTx:
    """LOCKED with another output."""
    return replace(LOCKED, outputs=(replace(LOCKED.outputs[0], **changes),))


BACK_SATS = LOCKED.outputs[0].value_sats


@pytest.mark.parametrize(
    ("tx", "word"),
    [
        (replace(LOCKED, locktime=TIMELOCK - 1), "valid from block"),
        (replace(LOCKED, locktime=TIMELOCK + 1), "valid from block"),
        (replace(LOCKED, locktime=0), "valid from block"),
        (replace(LOCKED, inputs=(COIN, replace(COIN, vout=1))), "one coin and one output"),
        (replace(LOCKED, outputs=(*LOCKED.outputs, TxOutput(BOB, 1_000, 7))), "one coin and one output"),
        (locked(index=None), "one coin and one output"),
        (locked(index=8), "one coin and one output"),
        (locked(script=PAYOUT), "registered"),
        (locked(value_sats=BACK_SATS - 1), "the fee"),
        (locked(value_sats=BACK_SATS + 1), "the fee"),
        (replace(locked(value_sats=200), inputs=(replace(COIN, value_sats=TIMELOCK_FEE + 200),)), "small"),
        (replace(LOCKED, inputs=()), "inputs and outputs"),
    ],
)
def test_a_time_locked_refund_is_exactly_one_transaction(tx: UnsignedTx, word: str) -> None:
    with pytest.raises(UserError, match=word):
        lock(tx)


def test_what_a_time_locked_refund_rests_on() -> None:
    with pytest.raises(UserError, match="promise no time-locked"):
        lock(LOCKED, OLD)
    with pytest.raises(UserError, match="registered"):
        lock(LOCKED, held=Memory(refunds={}))
    with pytest.raises(UserError, match="not shown"):
        lock(LOCKED, held=Memory(coins={policy.outpoint(COIN): (ACCOUNT, 7, 99_999)}))


# -- reading ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, True, False, -1, 11, 1.0, "1", [], {}, 2**80])
def test_a_whole_number_is_nothing_else(value: object) -> None:
    with pytest.raises(UserError, match="number"):
        policy.whole(value, 10)


@given(st.integers(0, 10))
def test_a_whole_number_in_its_range_is_itself(value: int) -> None:
    assert policy.whole(value, 10) == value


def test_a_transaction_is_read_as_it_was_sent() -> None:
    sent = {
        "locktime": 150,
        "inputs": [[COIN.txid, COIN.vout, COIN.value_sats, COIN.index]],
        "outputs": [[BOB.hex(), 99_000, 7], [PAYOUT.hex(), 5, None]],
    }
    assert policy.read_tx(sent) == replace(REFUND, outputs=(TxOutput(BOB, 99_000, 7), TxOutput(PAYOUT, 5)))
    for txid in (5, None, "a1" * 31, "A1" * 32, "00" * 32, "a1" * 32 + "\n"):
        with pytest.raises(UserError, match="txid"):
            policy.read_tx({**sent, "inputs": [[txid, 0, 1, 1]]})
    for wrong in ([COIN.txid, -1, 1, 1], [COIN.txid, 2**32, 1, 1], [COIN.txid, 0, -1, 1], [COIN.txid, 0, 1, 2**31]):
        with pytest.raises(UserError, match="number"):
            policy.read_tx({**sent, "inputs": [wrong]})
    for script in ("", None, "0", "AA"):
        with pytest.raises(UserError, match="hex"):
            policy.read_tx({**sent, "outputs": [[script, 5, None]]})


def test_the_largest_numbers_of_a_transaction_are_read() -> None:
    coin = [COIN.txid, 4_294_967_295, 2_100_000_000_000_000, 2_147_483_647]
    sent = {"locktime": 499_999_999, "inputs": [coin], "outputs": [[BOB.hex(), 0, 0]]}
    tx = policy.read_tx(sent)
    assert (tx.locktime, tx.inputs[0].vout, tx.inputs[0].value_sats) == (499_999_999, coin[1], coin[2])
    for wrong in ({"locktime": 500_000_000}, {"inputs": [[COIN.txid, 4_294_967_296, 1, 1]]}):
        with pytest.raises(UserError, match="number"):
            policy.read_tx({**sent, **wrong})


def test_an_outpoint_has_one_name() -> None:
    assert policy.outpoint(replace(COIN, vout=12)) == "a1" * 32 + ":12"


# -- the outcome -------------------------------------------------------------------------------------------------


def proven(*coins: tuple[TxInput, int]) -> Proven:
    """A closed campaign with these coins proven, each with its height."""
    found = Proven(500, "cc" * 32)
    for spent, height in coins:
        found.add(ProvenCoin(height, spent.txid, spent.vout, spent.value_sats))
    return found


SECOND = TxInput("b2" * 32, 1, 30_000, 8)


@pytest.mark.parametrize(("kind", "tx"), [("release", RELEASE), ("refund", REFUND)])
def test_nothing_is_settled_before_the_end_is_proven(kind: str, tx: UnsignedTx) -> None:
    with pytest.raises(UserError, match="come to its end"):
        check_outcome(kind, tx, NEW, None)


def test_a_release_needs_its_own_coins_and_the_goal() -> None:
    check_outcome("release", RELEASE, NEW, proven((COIN, 200)))
    with pytest.raises(UserError, match="not proven to count"):
        check_outcome("release", RELEASE, NEW, proven((SECOND, 200)))
    with pytest.raises(UserError, match="with this value"):
        check_outcome("release", RELEASE, NEW, proven((replace(COIN, value_sats=99_999), 200)))
    just, missed = (replace(NEW, ending=replace(NEW.ending, goal_sats=goal)) for goal in (100_000, 100_001))
    check_outcome("release", RELEASE, just, proven((COIN, 200)))
    with pytest.raises(UserError, match="reach the goal"):
        check_outcome("release", RELEASE, missed, proven((COIN, 200)))


def test_what_counts_is_given_back_only_when_the_goal_was_missed() -> None:
    check_outcome("refund", REFUND, NEW, proven())
    check_outcome("refund", REFUND, NEW, proven((SECOND, 200)))
    with pytest.raises(UserError, match="not given back"):
        check_outcome("refund", REFUND, NEW, proven((COIN, 200)))
    late = UnsignedTx((SECOND,), (TxOutput(BOB, 29_000, 8),), 150)
    check_outcome("refund", late, NEW, proven((COIN, 200)))
    missed = replace(NEW, ending=replace(NEW.ending, goal_sats=100_001))
    check_outcome("refund", REFUND, missed, proven((COIN, 200)))


def test_more_coins_than_the_cap_lets_count_are_not_released() -> None:
    capped = replace(NEW, ending=replace(NEW.ending, cap_sats=100_000))
    check_outcome("release", RELEASE, capped, proven((SECOND, 199), (COIN, 200)))
    too_many = proven((COIN, 199), (SECOND, 200))
    with pytest.raises(UserError, match="under the cap"):
        check_outcome("release", RELEASE, capped, too_many)
    late = UnsignedTx((replace(SECOND, vout=9),), (TxOutput(BOB, 29_000, 8),), 150)
    check_outcome("refund", late, capped, too_many)  # a prover that errs keeps no late money back


@pytest.mark.parametrize(
    "change",
    [{"goal_sats": 0}, {"confirmations": 0}, {"deadline_at": "2026-12-01T18:00:00"}, {"deadline_at": "soon"}],
)
def test_an_ending_that_would_be_easy_to_prove_is_refused(change: dict[str, Any]) -> None:
    unreadable(terms(**change), r"make no sense|Invalid isoformat")


def test_the_opening_is_that_of_the_terms() -> None:
    assert opening_of(NEW) == Opening("regtest", OPENED, "0f" * 32, 1_796_148_000, 1)


@pytest.mark.parametrize(
    "fields",
    [None, [], ["AA==", 0, 0, 0, []], ["AA==", 0, 0, 0, [], 0, 0], ["A", 0, 0, 0, [], 0], [5, 0, 0, 0, [], 0],
     ["AA==", -1, 0, 0, [], 0], ["AA==", 0, 2**31, 0, [], 0], ["AA==", 0, 0, True, [], 0], ["AA==", 0, 0, 0, 5, 0],
     ["AA==", 0, 0, 0, [], 2**32]],
)  # fmt: skip
def test_a_proof_that_cannot_be_read(fields: object) -> None:
    with pytest.raises((UserError, ValueError, TypeError)):
        read_coin_proof(fields)


def test_the_parts_of_what_is_shown_are_counted_and_in_strict_base64() -> None:
    whole = ["AAE=", 1, 2, 3, ["ab"], 4]
    for fields in (None, "abcdef", dict.fromkeys("abcdef"), whole[:5], [*whole, 5]):
        with pytest.raises(ValueError, match="six parts"):
            read_coin_proof(fields)
    for fields in (None, "abc", dict.fromkeys("abc"), whole[:2], whole[:4]):
        with pytest.raises(ValueError, match="three parts"):
            read_shown_coin(fields)
    for raw in ("AA E=", "AAE=\n", "A*AE=", "-_E="):
        with pytest.raises(ValueError, match=r"base64|padding"):
            read_coin_proof([raw, *whole[1:]])
        with pytest.raises(ValueError, match=r"base64|padding"):
            read_shown_coin([raw, 1, 2])


def test_a_proof_is_read() -> None:
    assert read_coin_proof(["AAE=", 1, 2, 3, ["ab"], 4]) == CoinProof(b"\0\1", 1, 2, 3, ("ab",), 4)


@pytest.mark.parametrize(
    "fields", [None, [], ["AA==", 0], ["AA==", 0, 0, 0], ["A", 0, 0], ["AA==", -1, 0], ["AA==", 0, 2**31]]
)
def test_a_shown_coin_that_cannot_be_read(fields: object) -> None:
    with pytest.raises((UserError, ValueError, TypeError)):
        read_shown_coin(fields)


def test_a_shown_coin_is_read() -> None:
    assert read_shown_coin(["AAE=", 1, 2]) == ShownCoin(b"\0\1", 1, 2)


def test_of_a_cancelled_campaign_everything_goes_back_and_nothing_is_released() -> None:
    cancelled = Proven(300, "cc" * 32, "dd" * 32)
    cancelled.add(ProvenCoin(200, COIN.txid, COIN.vout, COIN.value_sats))
    check_outcome("refund", REFUND, NEW, cancelled)
    with pytest.raises(UserError, match="was cancelled"):
        check_outcome("release", RELEASE, NEW, cancelled)
