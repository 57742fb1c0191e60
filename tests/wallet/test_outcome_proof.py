"""Proofs of an outcome: what a chain shows is taken, what is only claimed is not."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdfund.chain.inclusion import headers_from, inclusions
from crowdfund.wallet import outcome_proof
from crowdfund.wallet.headers import check_retargets, compact, next_bits, read_header, target
from crowdfund.wallet.outcome_proof import (
    Closing,
    CoinProof,
    Opening,
    Proven,
    ProvenCoin,
    first_height,
    prove_closing,
    prove_coin,
    within_cap,
)
from support.simchain import SimChain, double

OURS, THEIRS = b"\x00\x14" + b"o" * 20, b"\x00\x14" + b"t" * 20
OPENED, CONFIRMATIONS = 12, 3


class Told:
    """A chain on which 5,000 and 3,000 sat were paid in time, 7,000 late, and a mined coin too young."""

    def __init__(self) -> None:
        self.chain = SimChain(OPENED + 1)
        self.deadline = self.chain.tip.time + 10_000
        fresh = self.chain.fresh_coin
        self.first = self.chain.tx([fresh()], [(9, THEIRS), (5_000, OURS)])
        self.second = self.chain.tx([fresh()], [(3_000, OURS), (999, OURS)])
        others = [self.chain.tx([fresh()], [(n, THEIRS)]) for n in range(4)]
        self.chain.mine([*others[:3], self.first], 600)
        self.mined = self.chain.mine([self.second], 600, (50_000, OURS)).txs[0]
        while self.closing_height is None:
            self.chain.mine([], 1_200)
        self.late = self.chain.tx([fresh()], [(7_000, OURS)])
        self.chain.mine([self.late], 600)
        for _ in range(CONFIRMATIONS):
            self.chain.mine([], 600)

    @property
    def closing_height(self) -> int | None:
        times = [self.chain.known[h].time for h in self.chain.best]
        medians = [
            sorted(times[max(0, n - 10) : n + 1])[len(times[max(0, n - 10) : n + 1]) // 2] for n in range(len(times))
        ]
        return next((n for n, median in enumerate(medians) if median > self.deadline), None)

    @property
    def opening(self) -> Opening:
        return Opening("regtest", OPENED, self.chain.best[OPENED], self.deadline, CONFIRMATIONS)

    def headers(self, last: int | None = None) -> bytes:
        return headers_from(self.chain, 0, self.chain.tip.height if last is None else last)

    def closing(self) -> Closing:
        return prove_closing(self.headers(), self.opening)

    def proof(self, txid: str, height: int, vout: int) -> CoinProof:
        (found,) = inclusions(self.chain, [(txid, height)])
        return CoinProof(found.raw, vout, 0, height, found.branch, found.position)


@pytest.fixture(scope="module")
def told() -> Told:
    return Told()


def test_the_closing_block_is_proven_by_headers(told: Told) -> None:
    closing = told.closing()
    assert (closing.height, closing.hash) == (told.closing_height, told.chain.best[told.closing_height or 0])
    assert sorted(closing.roots) == list(range(OPENED, closing.height))


def test_the_headers_must_reach_the_depth_of_the_terms(told: Told) -> None:
    deep = told.closing().height + CONFIRMATIONS - 1
    assert prove_closing(told.headers(deep), told.opening).height == told.closing_height
    for last in (deep - 1, told.closing().height - 1, OPENED):
        with pytest.raises(ValueError, match="confirmations"):
            prove_closing(told.headers(last), told.opening)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"opened_hash": "00" * 32}, "frozen"),
        ({"opened_height": OPENED + 1}, "frozen"),
        ({"opened_height": 500}, "frozen"),
        ({"deadline": 4_000_000_000}, "confirmations"),
        ({"network": "mainnet"}, "work"),
    ],
)
def test_other_terms_are_not_proven(told: Told, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        prove_closing(told.headers(), replace(told.opening, **change))


def test_headers_that_do_not_hang_together(told: Told) -> None:
    raw = told.headers()
    for bad, reason in (
        (raw[:-1], "80 bytes"),
        (raw[: 80 * 15] + raw[80 * 16 :], "follow"),
        (raw[: 80 * 15 + 70] + b"\1" + raw[80 * 15 + 71 :], "follow"),
        (raw[80:], "frozen"),
        (b"", "frozen"),
    ):
        with pytest.raises(ValueError, match=reason):
            prove_closing(bad, told.opening)


def test_a_proof_has_a_longest_size(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome_proof, "LONGEST", 5)
    with pytest.raises(ValueError, match="list of headers"):
        prove_closing(told.headers(), told.opening)


def test_coins_in_time_are_proven(told: Told) -> None:
    closing = told.closing()
    first = prove_coin(told.proof(told.first.txid, OPENED + 1, 1), closing, OURS, 1_000)
    second = prove_coin(told.proof(told.second.txid, OPENED + 2, 0), closing, OURS, 1_000)
    assert (first.value_sats, second.value_sats) == (5_000, 3_000)
    assert first < second
    proven = Proven(closing.height, closing.hash)
    for coin in (first, second, first):
        proven.add(coin)
    assert (proven.total_sats, set(proven.coins)) == (8_000, {f"{told.first.txid}:1", f"{told.second.txid}:0"})


def test_what_is_no_coin_that_counts(told: Told) -> None:
    closing, good = told.closing(), told.proof(told.first.txid, OPENED + 1, 1)
    late = next(
        h for h in range(closing.height, told.chain.tip.height) if told.late in told.chain.known[told.chain.best[h]].txs
    )
    for proof, reason in (
        (told.proof(told.late.txid, late, 0), "from the opening"),
        (told.proof(told.second.txid, OPENED + 2, 1), "dust"),
        (told.proof(told.mined.txid, OPENED + 2, 0), "freshly mined"),
        (replace(good, vout=0), "another address"),
        (replace(good, vout=2), "another address"),
        (replace(good, vout=-1), "another address"),
        (replace(good, height=OPENED), "another block"),
        (replace(good, height=OPENED - 1), "from the opening"),
        (replace(good, position=good.position ^ 4), "another block"),
        (replace(good, branch=good.branch[:-1], position=good.position & 1), "another block"),
        (replace(good, raw=good.raw + b"\0"), "left over"),
        (replace(good, raw=b""), "early"),
    ):
        with pytest.raises(ValueError, match=reason):
            prove_coin(proof, closing, OURS, 1_000)


def test_a_mined_coin_counts_from_its_hundredth_block_on(told: Told) -> None:
    proof = told.proof(told.mined.txid, OPENED + 2, 0)
    roots = told.closing().roots
    ripe = OPENED + 2 + outcome_proof.COINBASE_MATURITY
    assert prove_coin(proof, Closing(ripe + 1, "", roots), OURS, 1_000).value_sats == 50_000
    with pytest.raises(ValueError, match="freshly"):
        prove_coin(proof, Closing(ripe, "", roots), OURS, 1_000)


def test_two_hashes_in_disguise_prove_nothing(told: Told) -> None:
    """A node of the tree, 64 bytes, read as a transaction whose output pays us."""
    body = b"\2\0\0\0\1" + b"\1" * 36 + b"\0" + b"\xff" * 4 + b"\1" + struct.pack("<q", 5_000) + b"\4oooo" + bytes(4)
    assert len(body) == 64
    closing = Closing(50, "", {20: double(body)[::-1].hex()})
    with pytest.raises(ValueError, match="64 bytes"):
        prove_coin(CoinProof(body, 0, 0, 20, (), 0), closing, b"oooo", 1_000)


@given(st.lists(st.integers(1, 1_000), max_size=12, unique=True), st.integers(0, 4_000))
def test_the_cap_is_crossed_by_the_last_coin_only(values: list[int], cap_sats: int) -> None:
    coins = {ProvenCoin(n, "00" * 32, 0, value) for n, value in enumerate(values)}
    running, slow = 0, True
    for value in values:
        slow = slow and (not cap_sats or running < cap_sats)
        running += value
    assert within_cap(coins, cap_sats) is slow


def test_where_the_headers_of_a_proof_begin() -> None:
    """With the ten headers before the opening block, at a change of difficulty."""
    expected = {0: 0, 5: 0, 2_015: 0, 2_016: 0, 2_025: 0, 2_026: 2_016, 840_000: 838_656}
    assert {height: first_height(height) for height in expected} == expected


# Known steps of the main chain: (first time, last time, bits before, bits after).
RETARGETS = [
    (1_231_006_505, 1_233_061_996, 0x1D00FFFF, 0x1D00FFFF),
    (1_261_130_161, 1_262_152_739, 0x1D00FFFF, 0x1D00D86A),
    (1_279_008_237, 1_279_297_671, 0x1C05A3F4, 0x1C0168FD),
    (1_263_163_443, 1_269_211_443, 0x1C387F6F, 0x1D00E1FD),
]


@pytest.mark.parametrize(("first", "last", "before", "after"), RETARGETS)
def test_the_difficulty_follows_the_times(first: int, last: int, before: int, after: int) -> None:
    assert next_bits(first, last, before, "mainnet") == after


@given(st.integers(0, 2**255 - 1))
def test_the_compact_form_loses_the_low_bytes_only(number: int) -> None:
    again = target(compact(number))
    assert again <= number
    assert number - again <= number >> 15
    assert compact(again) == compact(number)


def test_a_difficulty_that_nobody_called_for() -> None:
    def made(bits: int) -> list[Any]:
        times = [600 * n for n in range(4_033)]
        return [
            read_header(struct.pack("<i32s32sIII", 1, bytes(32), bytes(32), t, 0x1C387F6F if n < 2_016 else bits, 0))
            for n, t in enumerate(times)
        ]

    right = next_bits(0, 2_015 * 600, 0x1C387F6F, "mainnet")
    check_retargets(made(right)[:4_000], 2_016, "mainnet")
    for wrong in (right + 1, 0x1C387F6F, 0x1D00FFFF):
        with pytest.raises(ValueError, match="call for"):
            check_retargets(made(wrong)[:4_000], 2_016, "mainnet")
    check_retargets(made(0x1D00FFFF), 2_016, "testnet4")
    with pytest.raises(ValueError, match="begin where"):
        check_retargets(made(right), 2_017, "mainnet")
