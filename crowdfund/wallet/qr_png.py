"""QR codes as PNG files, for screens that a camera looks at. Pure but for the qrcode library."""

from __future__ import annotations

import struct
import zlib

import qrcode

from crowdfund.wallet.payment_uri import QUIET_ZONE

SCALE = 6  # pixels a module


def qr_png(text: str) -> bytes:
    """A PNG, black on white, level L: parts of a series are small, and a screen has neither dirt nor folds."""
    code = qrcode.QRCode(border=QUIET_ZONE, error_correction=qrcode.constants.ERROR_CORRECT_L)
    code.add_data(text)
    rows = code.get_matrix()
    size = len(rows) * SCALE
    lines = b"".join(_line(row) * SCALE for row in rows)
    header = struct.pack(">IIBBBBB", size, size, 1, 0, 0, 0, 0)  # one bit a pixel, grey
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _line(row: list[bool]) -> bytes:
    """One line of pixels: a filter byte of zero, then bits, 1 for white, filled up to a whole byte."""
    bits = "".join(("0" if dark else "1") * SCALE for dark in row)
    bits += "0" * (-len(bits) % 8)
    return b"\x00" + int(bits, 2).to_bytes(len(bits) // 8, "big")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
