"""BIP 39 words and the random bytes (entropy) that they stand for. English only. No sentence here repeats a seed.

The bytes are what is kept encrypted; the words are for paper.
"""

from __future__ import annotations

import difflib
import secrets

from embit import bip39

from crowdfund.errors import UserError

ENTROPY_BYTES = 32
LENGTHS = (12, 15, 18, 21, 24)
_WORDS = frozenset(bip39.WORDLIST)


def new_entropy() -> bytes:
    """32 new random bytes, for 24 words."""
    return secrets.token_bytes(ENTROPY_BYTES)


def words_of(entropy: bytes) -> str:
    """The words of 16 to 32 bytes, with one space between each."""
    return str(bip39.mnemonic_from_bytes(entropy))


def entropy_of(words: str) -> bytes:
    """The bytes that these words stand for. Raises UserError for a wrong count, an unknown word, a wrong checksum."""
    given = words.lower().split()
    if len(given) not in LENGTHS:
        raise UserError(f"These are {len(given)} words; a seed has 12, 15, 18, 21 or 24.")
    for number, word in enumerate(given, 1):
        if word not in _WORDS:
            raise UserError(f"Word {number} is not in the list of BIP 39; check its spelling.")
    try:
        return bytes(bip39.mnemonic_to_bytes(" ".join(given)))
    except ValueError:  # its text may name words
        raise UserError("The checksum of these words does not fit: one of them is wrong, or two are swapped.") from None


def is_word(text: str) -> bool:
    """Whether this is one of the 2048 words."""
    return text in _WORDS


def nearest_word(text: str) -> str | None:
    """The word that somebody most likely meant, None if none is near."""
    found = difflib.get_close_matches(text.lower(), bip39.WORDLIST, n=1, cutoff=0.6)
    return found[0] if found else None
