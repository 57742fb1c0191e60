"""The site's own fonts: what they can write, how wide it is, how it is broken into lines.

Nothing is written with the empty boxes that stand for a missing letter. A text in a script that the fonts do not have
is not written at all; signs that are no letters, such as emoji, are left out of a text that can be written.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path

from fontTools.ttLib import TTFont
from PIL import ImageFont

FONTS = Path(__file__).parents[3] / "static" / "fonts"
# face -> its files: a letter is taken from the first one that has it.
FACES = {
    "display": ("fraunces-latin-600-normal", "fraunces-latin-ext-600-normal"),
    "text": ("atkinson-hyperlegible-latin-400-normal", "atkinson-hyperlegible-latin-ext-400-normal"),
    "bold": ("atkinson-hyperlegible-latin-700-normal", "atkinson-hyperlegible-latin-ext-700-normal"),
    "mono": ("atkinson-hyperlegible-mono-latin-400-normal",),
}
LONGEST = 400
MEASURED_AT = 200
# They change how an emoji looks and are no letters, whatever Unicode files them under.
CHANGERS = "\ufe0e\ufe0f\u20e3"


@dataclass(frozen=True)
class Cut:
    """One font file and the signs that it has."""

    name: str
    signs: frozenset[int]

    @property
    def path(self) -> Path:
        """Where it is."""
        return FONTS / f"{self.name}.woff2"


@cache
def cuts(face: str) -> tuple[Cut, ...]:
    """The files of a face."""
    return tuple(_cut(name) for name in FACES[face])


@lru_cache(maxsize=64)
def font(path: Path, size: int, kerned: bool = True) -> ImageFont.FreeTypeFont:
    """A font at a size in pixels."""
    engine = None if kerned else ImageFont.Layout.BASIC
    return ImageFont.truetype(path, size, layout_engine=engine)


def written(text: str, face: str) -> str | None:
    """The text as the face can write it; None where it has not the letters, or nothing would be left."""
    kept = []
    for sign in unicodedata.normalize("NFC", text[:LONGEST]):
        plain = unicodedata.normalize("NFKC", sign)
        if _has(face, sign):
            kept.append(sign)
        elif all(_has(face, each) for each in plain):
            kept.append(plain)
        elif sign not in CHANGERS and unicodedata.category(sign)[0] in "LMN":
            return None
        else:
            kept.append(" ")
    words = " ".join("".join(kept).split())
    return words if any(unicodedata.category(sign)[0] in "LN" for sign in words) else None


def runs(text: str, face: str) -> Iterator[tuple[Cut, str]]:
    """The text in pieces, each with the file that writes it."""
    for cut, signs in groupby(text, key=lambda sign: _cut_for(face, sign)):
        yield cut, "".join(signs)


def width(text: str, face: str, size: float) -> float:
    """How wide a line is, at most: without the kerning that brings letters closer."""
    return sum(_advance(face, sign) for sign in text) * size / MEASURED_AT


def wrapped(text: str, face: str, size: float, room: float) -> tuple[list[str], bool]:
    """(the lines, each within `room`; whether a word had to be broken for that)."""
    lines, line, broken = [], "", False
    for word in text.split():
        longer = f"{line} {word}".strip()
        if width(longer, face, size) <= room:
            line = longer
            continue
        lines += [line] if line else []
        while width(word, face, size) > room and len(word) > 1:
            fits = _fitting(word, face, size, room)
            lines.append(word[:fits])
            word, broken = word[fits:], True
        line = word
    return lines + ([line] if line else []), broken


def fitted(
    text: str, face: str, sizes: Sequence[float], room: float, high: float, spacing: float
) -> tuple[float, list[str]]:
    """(the largest of the sizes at which the text fits into `room` × `high` with no word broken, the lines).

    Where none is small enough, the smallest, with what fits and an ellipsis. Lines are `spacing` sizes apart.
    """
    for size in sizes:
        lines, broken = wrapped(text, face, size, room)
        most = max(1, int(high / (size * spacing)))
        if len(lines) <= most and (not broken or size == sizes[-1]):
            return size, lines
    last = lines[most - 1]
    while last and width(f"{last}…", face, size) > room:
        last = last[:-1].rstrip()
    return size, [*lines[: most - 1], f"{last}…"]


def balanced(lines: Sequence[str], face: str, size: float, room: float) -> list[str]:
    """The same text in as many lines, as even in length as its words allow."""
    text, low, high = " ".join(lines), room / 2, room
    for _ in range(6):
        middle = (low + high) / 2
        found, broken = wrapped(text, face, size, middle)
        low, high = (middle, high) if broken or len(found) > len(lines) else (low, middle)
    found, broken = wrapped(text, face, size, high)
    return list(lines) if broken or len(found) != len(lines) else found


def _fitting(word: str, face: str, size: float, room: float) -> int:
    """How many letters of a word fit; one at least, and an accent stays with its letter."""
    fits = 1
    while fits < len(word) and width(word[: fits + 1], face, size) <= room:
        fits += 1
    while fits > 1 and fits < len(word) and unicodedata.combining(word[fits]):
        fits -= 1
    return fits


@lru_cache(maxsize=4096)
def _advance(face: str, sign: str) -> float:
    return font(_cut_for(face, sign).path, MEASURED_AT, False).getlength(sign)


@cache
def _cut(name: str) -> Cut:
    return Cut(name, frozenset(TTFont(FONTS / f"{name}.woff2").getBestCmap()))


def _has(face: str, sign: str) -> bool:
    return any(ord(sign) in cut.signs for cut in cuts(face))


def _cut_for(face: str, sign: str) -> Cut:
    return next((cut for cut in cuts(face) if ord(sign) in cut.signs), cuts(face)[0])
