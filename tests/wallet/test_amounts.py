"""Amounts: what people write is read exactly, or refused with a sentence."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdfund.errors import UserError
from crowdfund.wallet.amounts import MAX_MONEY_SATS, btc_to_sats, format_btc, parse_amount

NOT_AMOUNTS = [
    "", " ", "\n", "-1", "-0", "+1", "1e3", "1E3", "NaN", "nan", "sNaN", "inf", "Infinity", "-inf", "0x10", "0b1",
    "0.1+0.2", "1/2", "1_000", "1,000", "1.000,50", "1.000.000", "1'000", "1\u2019000", "1 000", "1\u00a0000",
    "1\u2009000", "1\u202f000", "1\u066c000", "1\u02d9000", "1\uff0c000", "\u0661\u0662\u0663", "\uff11\uff12",
    "\u0967\u0968", "\u00b2", "\u2460", "1\ufe0f\u20e3", ".5", "5.", ".", "..", "1..2", "1.2.3", "one", "1 BTC",
    "1 sat", "\u20bf1", "$1", "1\x00", "\x001", "1\u200b", "\u202e1", "\ud800", "1;2", "<b>1</b>", "0x", "\u221e",
]  # fmt: skip


@pytest.mark.parametrize("unit", ["sat", "BTC"])
@pytest.mark.parametrize("text", NOT_AMOUNTS)
def test_what_is_not_plainly_an_amount_gets_a_sentence(text: str, unit: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_amount(text, unit, "amount")
    assert refused.value.field == "amount"
    assert refused.value.sentence.endswith(".")
    assert len(refused.value.sentence) < 200


@pytest.mark.parametrize(
    ("text", "unit", "word"),
    [
        ("0", "sat", "more than zero"),
        ("000", "sat", "more than zero"),
        ("0", "BTC", "more than zero"),
        ("0.00000000", "BTC", "more than zero"),
        ("0.000000000", "BTC", "more than zero"),
        ("0.5", "sat", "cannot be divided"),
        ("1.1", "sat", "cannot be divided"),
        ("0.000000001", "BTC", "eight decimal places"),
        ("1.123456789", "BTC", "eight decimal places"),
        ("2100000000000001", "sat", "21 million"),
        ("21000000.00000001", "BTC", "21 million"),
        ("99999999999999999999", "BTC", "21 million"),
        ("1,5", "BTC", "use a point"),
        ("1 000", "sat", "leave out spaces"),
        ("-5", "sat", "more than zero"),
    ],
)
def test_the_sentence_names_the_reason(text: str, unit: str, word: str) -> None:
    with pytest.raises(UserError, match=word):
        parse_amount(text, unit)


@pytest.mark.parametrize(
    "text",
    [
        "9" * 1_000_001,
        "1" + "0" * 5_000,
        "0." + "0" * 100_000 + "1",
        "1.00000000000000000000000000000000001",
        "100000000.000000000000000000000000000001",
        "0" * 100_000 + ".1x",
    ],
)
@pytest.mark.parametrize("unit", ["sat", "BTC"])
def test_huge_texts_are_refused_and_never_rounded(text: str, unit: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_amount(text, unit)
    assert len(refused.value.sentence) < 200


@pytest.mark.parametrize(
    ("text", "unit", "sats"),
    [
        ("1", "sat", 1),
        (" 007 ", "sat", 7),
        ("5.0", "sat", 5),
        ("2100000000000000", "sat", MAX_MONEY_SATS),
        ("21000000", "BTC", MAX_MONEY_SATS),
        ("0.00000001", "BTC", 1),
        ("0.1", "BTC", 10_000_000),
        ("0.30000000", "BTC", 30_000_000),
        ("0.300000000000", "BTC", 30_000_000),
    ],
)
def test_plain_amounts_are_read(text: str, unit: str, sats: int) -> None:
    assert parse_amount(text, unit) == sats


@given(st.integers(1, MAX_MONEY_SATS))
def test_what_is_printed_is_read_back(sats: int) -> None:
    text = format_btc(sats)
    assert len(text.partition(".")[2]) == 8
    assert parse_amount(text, "BTC") == sats == parse_amount(str(sats), "sat")
    assert btc_to_sats(Decimal(text)) == sats
    assert format_btc(-sats) == "-" + text


@settings(max_examples=300)
@given(st.text(max_size=60) | st.from_regex(r"[-+]?[0-9]{0,25}[.,]?[0-9]{0,25}", fullmatch=True))
def test_any_text_is_an_exact_amount_or_a_sentence(text: str) -> None:
    for unit, scale in (("sat", 1), ("BTC", 10**8)):
        try:
            sats = parse_amount(text, unit)
        except UserError:
            continue
        whole, _, fraction = text.strip().partition(".")
        assert sats * 10 ** len(fraction) == int(whole + fraction) * scale
        assert 0 < sats <= MAX_MONEY_SATS


def test_a_node_figure_finer_than_a_satoshi_is_no_amount() -> None:
    assert btc_to_sats(3) == 300_000_000
    with pytest.raises(ValueError, match="whole number"):
        btc_to_sats(Decimal("0.000000001"))
