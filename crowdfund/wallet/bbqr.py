"""BBQr: a file in a series of QR codes, for machines that share nothing but a screen and a camera. Pure.

Each part: "B$", the encoding, the file type, the number of parts and this part's place (two base-36 digits each),
then its share of the text. Encodings: H is hex, 2 is base 32, Z is base 32 of the raw deflated bytes.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Iterable

import qrcode

from crowdfund.errors import UserError

PSBT = "P"
PART_LETTERS = 800  # a multiple of eight, so that each part is whole base 32; read well from a screen
MAX_PARTS = 36 * 36 - 1
MAX_BYTES = 4 * 1024 * 1024
QUIET_ZONE = 4
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def split(data: bytes, file_type: str = PSBT, part_letters: int = PART_LETTERS) -> list[str]:
    """The texts of the QR codes for `data`. Raises UserError where it would take too many."""
    packed = _deflate(data)
    encoding, text = ("Z", _base32(packed)) if len(packed) < len(data) else ("2", _base32(data))
    shares = [text[at : at + part_letters] for at in range(0, len(text), part_letters)] or [""]
    if len(shares) > MAX_PARTS:
        raise UserError(f"This would take more than {MAX_PARTS} QR codes; carry the file instead.")
    return [f"B${encoding}{file_type}{_two(len(shares))}{_two(n)}{share}" for n, share in enumerate(shares)]


def join(parts: Iterable[str]) -> tuple[str, bytes]:
    """File type and bytes of a series, in any order, repeated or not. Raises UserError where a part is missing."""
    held: dict[int, str] = {}
    heads = set()
    for part in parts:
        if not part.startswith("B$") or len(part) < 8:
            raise UserError("This is no part of a BBQr series.")
        heads.add((part[2], part[3], _number(part[4:6])))
        if held.setdefault(_number(part[6:8]), part[8:]) != part[8:]:
            raise UserError("These QR codes belong to different series.")
    if len(heads) != 1:
        raise UserError("These QR codes belong to different series.")
    encoding, file_type, total = heads.pop()
    missing = [str(n + 1) for n in range(total) if n not in held]
    if missing or len(held) != total:
        raise UserError(f"Of {total} QR codes some are missing: {', '.join(missing[:9]) or 'none fits'}.")
    return file_type, _decoded(encoding, [held[n] for n in range(total)])


def qr_png(text: str, scale: int = 4) -> bytes:
    """A QR code as a PNG picture, level L: a part that is misread comes round again."""
    code = qrcode.QRCode(border=QUIET_ZONE, error_correction=qrcode.constants.ERROR_CORRECT_L)
    code.add_data(text)
    rows = [b"\x00" + b"".join((b"\x00" if dark else b"\xff") * scale for dark in row) for row in code.get_matrix()]
    size = len(rows) * scale
    pixels = b"".join(row for row in rows for _ in range(scale))
    header = struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _decoded(encoding: str, shares: list[str]) -> bytes:
    try:
        if encoding == "H":
            return bytes.fromhex("".join(shares))
        data = b"".join(base64.b32decode(share + "=" * (-len(share) % 8)) for share in shares)
        if encoding == "2":
            return data
        if encoding == "Z":
            return _inflate(data)
    except (ValueError, binascii.Error, zlib.error) as error:
        raise UserError("These QR codes are damaged.") from error
    raise UserError("These QR codes have an encoding that is not known here.")


def _deflate(data: bytes) -> bytes:
    maker = zlib.compressobj(9, wbits=-10)
    return maker.compress(data) + maker.flush()


def _inflate(data: bytes) -> bytes:
    reader = zlib.decompressobj(wbits=-15)
    found = reader.decompress(data, MAX_BYTES)
    if not reader.eof:
        raise UserError("These QR codes are damaged, or hold too much.")
    return found


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=")


def _two(n: int) -> str:
    return _DIGITS[n // 36] + _DIGITS[n % 36]


def _number(text: str) -> int:
    if any(letter not in _DIGITS for letter in text):
        raise UserError("This is no part of a BBQr series.")
    return int(text, 36)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
