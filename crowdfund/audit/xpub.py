"""Is a text an account's extended public key (BIP 32)? Pure, in plain arithmetic.

Stands between a bundle that anyone may have made up and the libraries that derive addresses.
"""

from __future__ import annotations

from hashlib import sha256

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
VERSIONS = {0: "0488b21e", 1: "043587cf"}  # by SLIP 44 coin type: xpub, tpub
SIZE = 78
ACCOUNT_DEPTH = 3
HARDENED = 2**31
FIELD = 2**256 - 2**32 - 977  # of secp256k1


def check_account_xpub(text: str, coin_type: int, account_index: int) -> None:
    """Raise ValueError, with a sentence, unless `text` is the key of this hardened account."""
    payload = _base58check(text)
    if payload[:4].hex() != VERSIONS[coin_type]:
        raise ValueError("The account's key in the descriptor is no public key of this network.")
    if payload[4] != ACCOUNT_DEPTH or int.from_bytes(payload[9:13], "big") != HARDENED + account_index:
        raise ValueError("The account's key in the descriptor is of another account.")
    if not _is_point(payload[45:]):
        raise ValueError("The account's key in the descriptor is not a point of the curve.")


def _base58check(text: str) -> bytes:
    """The 78 bytes of an extended key; none begins with a zero byte, so leading ones need no care."""
    number = 0
    for letter in text:
        number = number * 58 + ALPHABET.index(letter)
    if number.bit_length() > (SIZE + 4) * 8:
        raise ValueError("The account's key in the descriptor is too long.")
    raw = number.to_bytes(SIZE + 4, "big")
    if sha256(sha256(raw[:SIZE]).digest()).digest()[:4] != raw[SIZE:]:
        raise ValueError("The account's key in the descriptor has a typing error: its checksum does not fit.")
    return raw[:SIZE]


def _is_point(compressed: bytes) -> bool:
    x = int.from_bytes(compressed[1:], "big")
    return compressed[0] in (2, 3) and x < FIELD and pow(x**3 + 7, (FIELD - 1) // 2, FIELD) == 1
