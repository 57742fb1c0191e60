"""Words and bytes: one another's mirror, as two libraries see it; typing errors get help and no seed is repeated."""

from __future__ import annotations

import traceback

import pytest
from embit import bip39
from hypothesis import given
from hypothesis import strategies as st

from crowdfund.errors import UserError
from crowdfund.wallet.bcl import Mnemonic
from crowdfund.wallet.words import LENGTHS, entropy_of, is_word, nearest_word, new_entropy, words_of

ENTROPIES = st.sampled_from((16, 20, 24, 28, 32)).flatmap(lambda size: st.binary(min_size=size, max_size=size))


@given(ENTROPIES)
def test_words_and_bytes_mirror_each_other(entropy: bytes) -> None:
    words = words_of(entropy)
    assert len(words.split()) in LENGTHS
    assert entropy_of(words) == entropy == entropy_of(f"  {words.upper()}\n".replace(" ", "  "))


def test_both_libraries_know_the_same_words() -> None:
    assert Mnemonic().wordlist() == bip39.WORDLIST
    words = words_of(b"\x7f" * 32)
    assert words == Mnemonic().to_mnemonic(b"\x7f" * 32) and words.startswith("legal winner thank year wave")


def test_new_entropy_has_256_bits_and_differs() -> None:
    assert len(new_entropy()) == 32
    assert len({new_entropy() for _ in range(100)}) == 100


@given(ENTROPIES, st.integers(0, 23), st.integers(1, 2047))
def test_a_wrong_word_is_found_or_gives_other_bytes(entropy: bytes, place: int, shift: int) -> None:
    words = words_of(entropy).split()
    at = place % len(words)
    words[at] = bip39.WORDLIST[(bip39.WORDLIST.index(words[at]) + shift) % 2048]
    try:
        assert entropy_of(" ".join(words)) != entropy
    except UserError as error:
        assert "checksum" in error.sentence


@pytest.mark.parametrize("count", [0, 1, 11, 13, 23, 25, 27, 48])
def test_a_wrong_count_is_refused(count: int) -> None:
    with pytest.raises(UserError, match=f"These are {count} words"):
        entropy_of("abandon " * count)


def test_what_is_refused_is_not_repeated() -> None:
    for words, reason in (("zebra " * 12, "checksum"), ("zebra " * 11 + "zebrra", "Word 12")):
        with pytest.raises(UserError, match=reason) as refused:
            entropy_of(words)
        assert "zebra" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(("typed", "meant"), [("abandn", "abandon"), ("Zoo", "zoo"), ("satohsi", "satoshi")])
def test_the_nearest_word_is_offered(typed: str, meant: str) -> None:
    assert nearest_word(typed) == meant and is_word(meant)


def test_where_no_word_is_near_none_is_offered() -> None:
    assert nearest_word("xyzxyz") is None and not is_word("xyzxyz") and not is_word("")
