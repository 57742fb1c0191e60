"""Sizes and fees: sums are exact, and a real signed transaction is never larger than was reckoned."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdfund.chain.regtest import RegtestNode
from crowdfund.wallet import fees
from crowdfund.wallet.fees import (
    MAX_FEERATE_SAT_VB,
    clamp_feerate,
    dust_limit_sats,
    largest_remainder,
    output_weight,
    transaction_vsize,
    transaction_weight,
)
from crowdfund.wallet.keystore import Keystore
from crowdfund.wallet.signing import sign
from crowdfund.wallet.transactions import TxInput, TxOutput, UnsignedTx

P2WPKH = b"\x00\x14" + b"a" * 20
SCRIPTS = {
    "p2pkh": b"\x76\xa9\x14" + b"a" * 20 + b"\x88\xac",
    "p2sh": b"\xa9\x14" + b"a" * 20 + b"\x87",
    "p2wpkh": P2WPKH,
    "p2wsh": b"\x00\x20" + b"a" * 32,
    "p2tr": b"\x51\x20" + b"a" * 32,
}
WORDS = "abandon " * 11 + "about"


@given(st.integers(0, 10**15), st.lists(st.integers(0, 10**12), min_size=1, max_size=40).filter(any))
def test_shares_sum_exactly_and_stay_within_one_of_their_due(total: int, weights: list[int]) -> None:
    parts = largest_remainder(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        exact, rest = divmod(total * weight, sum(weights))
        assert part in (exact, exact + (1 if rest else 0))


def test_shares_follow_the_largest_remainder_and_ties_the_order() -> None:
    assert largest_remainder(10, [1, 1, 1]) == [4, 3, 3]
    assert largest_remainder(100, [1, 2, 3]) == [17, 33, 50]
    assert largest_remainder(1, [1, 3, 2]) == [0, 1, 0]
    assert largest_remainder(5, [1]) == [5] and largest_remainder(5, [0, 1]) == [0, 5]
    with pytest.raises(ValueError, match="share"):
        largest_remainder(1, [0, 0])


def test_feerates_are_held_between_one_and_the_cap() -> None:
    assert [clamp_feerate(rate) for rate in (None, -5, 0, 1, 7, 500, 501, 10**9)] == [2, 1, 1, 1, 7, 500, 500, 500]


def test_the_caps_are_what_was_promised() -> None:
    assert (fees.MIN_FEERATE_SAT_VB, fees.MAX_FEERATE_SAT_VB, fees.MAX_FEE_SATS) == (1, 500, 5_000_000)
    assert (fees.MAX_RELEASE_FEE_PERCENT, fees.MAX_REFUND_FEE_PERCENT, fees.MAX_WEIGHT) == (10, 50, 400_000)


def test_weights_are_those_of_bip_141() -> None:
    assert [output_weight(script) for script in SCRIPTS.values()] == [136, 128, 124, 172, 172]
    assert transaction_weight(1, [P2WPKH]) == 34 + 272 + 8 + 124 and transaction_vsize(1, [P2WPKH]) == 110
    assert transaction_weight(2, [P2WPKH, P2WPKH]) - transaction_weight(1, [P2WPKH]) == 272 + 124
    for many in (252, 253, 65_535, 65_536):
        length = {252: 1, 253: 3, 65_535: 3, 65_536: 5}[many]
        assert transaction_weight(many, []) == 34 + many * 272 + (length + 1) * 4
        assert transaction_weight(0, [b""] * many) == 34 + many * 36 + (length + 1) * 4
        assert output_weight(bytes(many)) == (8 + length + many) * 4


def test_what_is_a_witness_program_decides_the_dust_limit() -> None:
    for witness in (b"\x00\x02ab", b"\x51\x02ab", b"\x60\x02ab", b"\x51\x03abc"):
        assert dust_limit_sats(witness) == (8 + 1 + len(witness) + 67) * 3
    for other in (b"", b"\x51\x01a", b"\x01\x02ab", b"\x50\x02ab", b"\x61\x02ab", b"\x51\x03ab", b"\x51\x01ab"):
        assert dust_limit_sats(other) == (8 + 1 + len(other) + 148) * 3
    assert dust_limit_sats(bytes(10_000)) == (8 + 3 + 10_000 + 148) * 3


@pytest.mark.parametrize(
    ("kind", "limit"), [("p2pkh", 546), ("p2sh", 540), ("p2wpkh", 294), ("p2wsh", 330), ("p2tr", 330)]
)
def test_dust_limits_are_the_nodes(kind: str, limit: int, node: RegtestNode) -> None:
    assert dust_limit_sats(SCRIPTS[kind]) == limit
    unspent = next(c for c in node.bank("listunspent") if c["amount"] > 1)
    for sats, allowed in ((limit, True), (limit - 1, False)):
        change = int(unspent["amount"] * 10**8) - sats - 10_000
        tx = UnsignedTx(
            (TxInput(unspent["txid"], unspent["vout"], 0, 0),),
            (TxOutput(SCRIPTS[kind], sats), TxOutput(P2WPKH, change)),
            0,
        )
        signed = node.bank("signrawtransactionwithwallet", tx.serialize().hex())["hex"]
        assert node.rpc("testmempoolaccept", [signed])[0]["allowed"] is allowed


@pytest.mark.parametrize(
    ("inputs", "kinds"),
    [
        (1, ["p2wpkh"]),
        (1, ["p2tr"]),
        (2, ["p2pkh", "p2sh"]),
        (20, list(SCRIPTS)),
        (120, ["p2wsh"]),
        (60, ["p2wpkh"] * 60),
        (8, ["p2wpkh"] * 260),
    ],
)
def test_the_real_size_is_never_above_the_estimate_and_close_to_it(
    inputs: int, kinds: list[str], node: RegtestNode
) -> None:
    scripts = [SCRIPTS[kind] for kind in kinds]
    spent = tuple(TxInput(f"{n + 1:064x}", n, 100_000, n) for n in range(inputs))
    estimate = transaction_vsize(inputs, scripts)
    each = (inputs * 100_000 - estimate * 3) // len(scripts)
    tx = UnsignedTx(spent, tuple(TxOutput(s, each) for s in scripts), 144)
    assert tx.fee_sats <= estimate * MAX_FEERATE_SAT_VB
    raw = sign(tx, Keystore(WORDS, "regtest").branch(0, bytes(32)))
    told = node.rpc("decoderawtransaction", raw.hex())
    assert told["txid"] == tx.txid
    assert 0.98 * estimate <= told["vsize"] <= estimate
