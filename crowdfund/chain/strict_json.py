"""Reading JSON that a stranger's server sent: whole numbers, truth values and hashes, or ValueError. Pure.

No number becomes a float, and what is large is judged before it becomes many objects.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, NoReturn

from crowdfund.wallet.merkle import is_hash

MOST_SATS = 21_000_000 * 100_000_000
PIECE = 67  # a hash in a list, with its quotes and the comma


def read_json(body: bytes) -> Any:
    """Numbers with a point are Decimal. Raises ValueError, ArithmeticError or RecursionError for what is no JSON."""
    return json.loads(body, parse_float=Decimal, parse_constant=_no_number)


def whole(value: object, most: int = MOST_SATS) -> int:
    """`value` if it is a whole number from 0 to `most`."""
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError("a number is none, or too great")
    return value


def truth(value: object) -> bool:
    """`value` if it is true or false."""
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")
    return value


def hash_in(value: object) -> str:
    """`value` if it is a hash in hex."""
    if not isinstance(value, str) or not is_hash(value):
        raise ValueError("no hash")
    return value


def hash_list(body: bytes) -> list[str]:
    """A JSON list of hashes and nothing else, however long: it takes little more memory than the hashes do."""
    text = b"".join(body.split()).decode("ascii")
    if text == "[]":
        return []
    if text[:1] != "[" or text[-1:] != "]" or len(text) % PIECE != 1:
        raise ValueError("no list of hashes")
    text = text[:-1] + ","
    pieces = (text[i : i + PIECE] for i in range(1, len(text), PIECE))
    return [_hash_of(piece) for piece in pieces]


def _hash_of(piece: str) -> str:
    if piece[0] != '"' or piece[65:] != '",':
        raise ValueError("no list of hashes")
    return hash_in(piece[1:65])


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")
