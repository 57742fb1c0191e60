"""What a reader finds in a PDF of ours: its pages, fonts and words. It knows no more of the format than they use."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

STREAM = re.compile(rb"(\d+) 0 obj\n<<((?:(?!endobj).)*?)>>\nstream\n(.*?)\nendstream", re.S)
SHOWN = re.compile(rb"/F(\d+) [\d.]+ Tf|\(((?:[^()\\]|\\.)*)\) Tj", re.S)
ESCAPES = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"b": b"\b", b"f": b"\f"}


@dataclass(frozen=True)
class Read:
    """Sizes of the pages in points, names of fonts with how many of them the file holds, the lines of text."""

    sizes: list[tuple[float, float]]
    fonts: set[str]
    embedded: int
    lines: list[str]


def read_pdf(data: bytes) -> Read:
    """Raises AssertionError for what is no PDF."""
    assert data.startswith(b"%PDF-") and data.rstrip().endswith(b"%%EOF")
    streams = {int(number): _inflated(head, body) for number, head, body in STREAM.findall(data)}
    boxes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", data)
    count = re.search(rb"/Count (\d+)", data)
    assert count is not None and int(count[1]) == len(re.findall(rb"/Type /Page\n", data))
    fonts = {name.decode() for name in re.findall(rb"/BaseFont /[A-Z]{6}\+(\w+)", data)}
    files = set(re.findall(rb"/FontFile2 (\d+) 0 R", data))
    content = b"".join(body for body in streams.values() if b" Tj" in body)
    return Read([(float(w), float(h)) for w, h in boxes], fonts, len(files), _lines(content, _maps(data, streams)))


def _maps(data: bytes, streams: dict[int, bytes]) -> dict[int, dict[int, str]]:
    """Number of a font -> what its glyphs mean, as the file says for whoever copies text out of it."""
    found = {}
    for font, number in re.findall(rb"/F(\d+) (\d+) 0 R", data):
        head = re.search(rb"\n" + number + rb" 0 obj\n(.*?)endobj", data, re.S)
        assert head is not None
        unicode = re.search(rb"/ToUnicode (\d+) 0 R", head[1])
        assert unicode is not None
        pairs = re.findall(rb"<([0-9A-F]{4})> <([0-9A-F]+)>", streams[int(unicode[1])].partition(b"beginbfchar")[2])
        found[int(font)] = {int(glyph, 16): bytes.fromhex(text.decode()).decode("utf-16-be") for glyph, text in pairs}
    return found


def _lines(content: bytes, maps: dict[int, dict[int, str]]) -> list[str]:
    font, lines = 0, []
    for number, shown in SHOWN.findall(content):
        if number:
            font = int(number)
            continue
        plain = re.sub(rb"\\(.)", lambda hit: ESCAPES.get(hit[1], hit[1]), shown, flags=re.S)
        glyphs = [int.from_bytes(plain[at : at + 2], "big") for at in range(0, len(plain), 2)]
        lines.append("".join(maps[font][glyph] for glyph in glyphs))
    return lines


def _inflated(head: bytes, body: bytes) -> bytes:
    return zlib.decompress(body) if b"/FlateDecode" in head else body
