"""BBQr: a file as a series of QR codes, for signers that see and show and have no wire. Pure.

Each part is `B$`, the encoding, the kind of file, the number of parts and its own number (two digits to base 36
each), then its share of the bytes. H is hex, 2 is base32 (RFC 4648) without padding, Z is the same of a raw deflate
stream with a window of 2^10 bytes. All letters are of the alphanumeric set, which QR codes hold best.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable

from crowdfund.errors import UserError

PSBT, TRANSACTION, JSON = "P", "T", "J"
KINDS = (PSBT, TRANSACTION, JSON)
MAGIC = "B$"
HEADER_LENGTH = 8
MOST_PARTS = 36**2 - 1
PART_LENGTH = 480  # letters of payload in a part: a code of 65 modules, which cameras of small devices still read
WINDOW_BITS = -10  # as the format has it: raw deflate, a window that fits small devices
MAX_BYTES = 16 * 1024 * 1024  # what a part may swell to; a few bytes can stand for very many

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_GROUP = {"H": 2, "2": 8, "Z": 8}  # letters that stand for whole bytes


def encode(data: bytes, kind: str, part_length: int = PART_LENGTH, encoding: str = "Z") -> list[str]:
    """The parts of `data`, each with at most `part_length` letters of payload (8 or more).

    With encoding Z it is sent as it is (2) where that is shorter. Raises ValueError where it takes too many parts.
    """
    if kind not in KINDS or part_length < 8:
        raise ValueError("not a kind of file that is sent, or parts too small")
    if encoding == "Z":
        squeezed = _deflated(data)
        encoding, data = ("Z", squeezed) if len(squeezed) < len(data) else ("2", data)
    text = _text_of(data, encoding)
    length = part_length // _GROUP[encoding] * _GROUP[encoding]
    shares = [text[i : i + length] for i in range(0, len(text), length)] or [""]
    if len(shares) > MOST_PARTS:
        raise ValueError(f"{len(shares)} parts are more than {MOST_PARTS}")
    return [f"{MAGIC}{encoding}{kind}{_base36(len(shares))}{_base36(n)}{share}" for n, share in enumerate(shares)]


def decode(parts: Iterable[str]) -> tuple[str, bytes]:
    """(kind, data) from parts in any order, seen once or more often.

    Raises UserError with one sentence where some are missing, do not belong together or cannot be read.
    """
    found: dict[int, str] = {}
    heads = set()
    for part in parts:
        head, number, share = _read_part(part.strip())
        heads.add(head)
        if found.setdefault(number, share) != share:
            raise UserError(f"part {number + 1} is there twice, and not the same.")
    if len(heads) != 1:
        raise UserError("these parts do not belong to one file." if heads else "there is no part of a BBQr code.")
    ((encoding, kind, count),) = heads
    missing = [str(n + 1) for n in range(count) if n not in found]
    if missing or len(found) != count:
        raise UserError(f"of {count} parts these are missing: {', '.join(missing[:10])}.")
    try:
        data = b"".join(_bytes_of(found[n], encoding) for n in range(count))
        return kind, _inflated(data) if encoding == "Z" else data
    except (ValueError, zlib.error) as error:  # binascii.Error is a ValueError
        raise UserError("a part of the BBQr code is damaged.") from error


def _read_part(part: str) -> tuple[tuple[str, str, int], int, str]:
    """((encoding, kind, number of parts), own number from 0, payload)."""
    encoding, kind, numbers = part[2:3], part[3:4], part[4:HEADER_LENGTH]
    if not part.startswith(MAGIC) or encoding not in _GROUP or kind not in KINDS or len(numbers) != 4:
        raise UserError("this is no part of a BBQr code with a PSBT, a transaction or JSON in it.")
    if any(digit not in _DIGITS for digit in numbers):
        raise UserError("a part of the BBQr code does not say which one it is.")
    count, number = int(numbers[:2], 36), int(numbers[2:], 36)
    if number >= count:
        raise UserError(f"a part says that it is number {number + 1} of {count}.")
    return (encoding, kind, count), number, part[HEADER_LENGTH:]


def _base36(number: int) -> str:
    return _DIGITS[number // 36] + _DIGITS[number % 36]


def _text_of(data: bytes, encoding: str) -> str:
    return data.hex().upper() if encoding == "H" else base64.b32encode(data).decode("ascii").rstrip("=")


def _bytes_of(text: str, encoding: str) -> bytes:
    if encoding == "H":
        return binascii.unhexlify(text)
    return base64.b32decode(text + "=" * (-len(text) % 8))


def _deflated(data: bytes) -> bytes:
    squeezer = zlib.compressobj(level=9, wbits=WINDOW_BITS)
    return squeezer.compress(data) + squeezer.flush()


def _inflated(data: bytes) -> bytes:
    swell = zlib.decompressobj(wbits=WINDOW_BITS)
    whole = swell.decompress(data, MAX_BYTES)
    if not swell.eof or swell.unused_data:
        raise ValueError("too long, too short, or with something behind it")
    return whole
