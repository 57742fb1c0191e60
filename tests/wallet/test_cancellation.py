"""What is a cancellation and what is none, to the byte."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdfund.wallet import cancellation as c
from crowdfund.wallet.blocks import ParsedTx, parse_tx
from crowdfund.wallet.cancellation import check_cancels, mark, marks, read_mark, reason_hash, spending, spends_from
from support.made_up import transaction

Outputs = Iterable[tuple[int, bytes]]


def raw_tx(spends: Sequence[tuple[str, int]], outputs: Outputs) -> bytes:
    return transaction(*((script, sats) for sats, script in outputs), spends=spends)


def parsed(spends: Sequence[tuple[str, int]], outputs: Outputs) -> ParsedTx:
    return parse_tx(raw_tx(spends, outputs))


TERMS, OTHER, REASON = b"\x11" * 32, b"\x22" * 32, b"\x33" * 32
PAYOUT, ELSEWHERE = b"\x00\x14" + b"\xaa" * 20, b"\x00\x14" + b"\xbb" * 20
SPENT = raw_tx([("01" * 32, 0)], [(5_000, ELSEWHERE), (9_000, PAYOUT)])
SPENT_TXID = parse_tx(SPENT).txid
hashes = st.binary(min_size=32, max_size=32)


def test_the_mark_is_a_single_push_of_sixty_eight_bytes() -> None:
    script = mark(TERMS, REASON)
    assert script == b"\x6a\x44cxl1" + TERMS + REASON
    assert len(script) == 70 == c.SCRIPT_SIZE
    assert read_mark(script) == (TERMS, REASON)
    assert reason_hash("Ich bin krank – Ærø") == sha256("Ich bin krank – Ærø".encode()).digest()


@given(hashes, hashes)
def test_what_is_written_is_read_back(terms_hash: bytes, reason: bytes) -> None:
    assert read_mark(mark(terms_hash, reason)) == (terms_hash, reason)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_hash_of_another_length_is_not_written(size: int) -> None:
    for pair in ((bytes(size), REASON), (TERMS, bytes(size))):
        with pytest.raises(ValueError, match="32 bytes"):
            mark(*pair)


@given(st.integers(0, 69), st.integers(1, 255))
def test_one_byte_that_differs_in_front_makes_no_mark_and_one_behind_names_something_else(at: int, turned: int) -> None:
    script = bytearray(mark(TERMS, REASON))
    script[at] ^= turned
    read = read_mark(bytes(script))
    assert (read is None) == (at < len(c.START))
    assert read != (TERMS, REASON)


@given(st.binary(max_size=80))
def test_any_script_is_read_without_a_fault(script: bytes) -> None:
    read = read_mark(script)
    assert read is None or mark(*read) == script


@pytest.mark.parametrize(
    "script",
    [
        b"",
        mark(TERMS, REASON)[:-1],
        mark(TERMS, REASON) + b"\x00",
        b"\x6a\x4c\x44cxl1" + TERMS + REASON,  # the same push, spelt longer
        b"\x6a\x44cxl2" + TERMS + REASON,
        b"\x44cxl1" + TERMS + REASON,
    ],
)
def test_what_is_spelt_otherwise_is_no_mark(script: bytes) -> None:
    assert read_mark(script) is None


def test_a_transaction_may_name_several_campaigns_and_its_first_word_counts() -> None:
    outputs = [(1_000, PAYOUT), (0, mark(TERMS, REASON)), (0, mark(OTHER, REASON)), (0, mark(TERMS, OTHER))]
    assert marks(parsed([(SPENT_TXID, 1)], outputs)) == {TERMS: REASON, OTHER: REASON}
    assert marks(parsed([(SPENT_TXID, 1)], outputs[:1])) == {}


def cancelling(vout: int = 1, txid: str = SPENT_TXID, terms_hash: bytes = TERMS) -> bytes:
    return raw_tx([("44" * 32, 7), (txid, vout)], [(8_000, PAYOUT), (0, mark(terms_hash, REASON))])


def test_it_spends_an_output_of_the_payout_script_and_names_the_terms() -> None:
    tx, spent = parse_tx(cancelling()), parse_tx(SPENT)
    assert check_cancels(tx, spent, PAYOUT, TERMS) == REASON
    assert spends_from(tx, spent, PAYOUT) and not spends_from(tx, spent, ELSEWHERE)
    assert spending(tx, [cancelling(), SPENT], PAYOUT) == SPENT
    assert spending(tx, [cancelling()], PAYOUT) is None


@pytest.mark.parametrize(
    ("raw", "script", "terms_hash", "why"),
    [
        (cancelling(vout=0), PAYOUT, TERMS, "payout address"),
        (cancelling(vout=2), PAYOUT, TERMS, "payout address"),
        (cancelling(txid="55" * 32), PAYOUT, TERMS, "payout address"),
        (cancelling(), ELSEWHERE, TERMS, "payout address"),
        (cancelling(), PAYOUT, OTHER, "does not name the terms"),
        (cancelling(terms_hash=OTHER), PAYOUT, TERMS, "does not name the terms"),
        (raw_tx([(SPENT_TXID, 1)], [(8_000, PAYOUT)]), PAYOUT, TERMS, "does not name the terms"),
        (raw_tx([("00" * 32, 1)], [(0, mark(TERMS, REASON))]), PAYOUT, TERMS, "payout address"),  # a coinbase
    ],
)
def test_what_lacks_one_of_the_two_cancels_nothing(raw: bytes, script: bytes, terms_hash: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_cancels(parse_tx(raw), parse_tx(SPENT), script, terms_hash)


outpoints = st.tuples(st.sampled_from([SPENT_TXID, "66" * 32]), st.integers(0, 3))
scripts = st.sampled_from([PAYOUT, ELSEWHERE, mark(TERMS, REASON), mark(OTHER, REASON)])


@given(st.lists(outpoints, min_size=1, max_size=4, unique=True), st.lists(scripts, min_size=1, max_size=4))
def test_both_conditions_and_nothing_else(spends: list[tuple[str, int]], paid: list[bytes]) -> None:
    tx = parsed(spends, [(1_000, script) for script in paid])
    right = (SPENT_TXID, 1) in spends and mark(TERMS, REASON) in paid
    try:
        check_cancels(tx, parse_tx(SPENT), PAYOUT, TERMS)
        assert right
    except ValueError:
        assert not right
