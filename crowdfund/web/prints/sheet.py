"""A sheet: what stands where on a picture or a poster. Values only, whoever paints them.

Lengths are in points of the sheet, measured from its upper left corner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from crowdfund.projects.pixels import Pixels

# The light colours of static/site.css, by the names that they have there.
COLOURS = {
    "paper": "#fbf7ee", "card": "#fffdf8", "ink": "#211d18", "soft": "#675e52", "line": "#e2d9c8", "track": "#ece4d5",
    "commons": "#1c6b50", "commons-deep": "#124a37", "leaf": "#6fa98c", "straw": "#cfb36a",
    "money-ink": "#9a4a07", "money-wash": "#fbead6", "seen": "#e9a25d",
}  # fmt: skip
# What the strokes of a pattern are painted with, thread or seed.
HUES = ("commons", "straw", "commons-deep", "leaf")
WHITE, BLACK = "#ffffff", "#000000"


@dataclass(frozen=True)
class Box:
    """A rectangle in one colour; `hatched` is striped with the colour of what is only seen."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    hatched: bool = False


@dataclass(frozen=True)
class Words:
    """One line of text that stands on `y`. `align` says which end of it is at `x`."""

    x: float
    y: float
    text: str
    face: str
    size: float
    colour: str = "ink"
    align: str = "left"


@dataclass(frozen=True)
class Pattern:
    """A campaign's own picture, from the seed of its terms, cut off at its frame. `columns` tiles fill the width."""

    x: float
    y: float
    width: float
    height: float
    seed: bytes
    columns: int


@dataclass(frozen=True)
class Photo:
    """A picture that fills its frame; what does not fit is cut off."""

    x: float
    y: float
    width: float
    height: float
    pixels: Pixels
    alt: str = ""


@dataclass(frozen=True)
class Code:
    """A QR code with its quiet zone. `alt` says in words what it leads to."""

    x: float
    y: float
    side: float
    text: str
    alt: str = ""


@dataclass(frozen=True)
class Shape:
    """A polygon in one colour."""

    points: tuple[tuple[float, float], ...]
    colour: str


Part = Box | Words | Pattern | Photo | Code | Shape


@dataclass(frozen=True)
class Sheet:
    """Everything on one sheet, painted in this order."""

    width: float
    height: float
    parts: Sequence[Part]


def pattern_rows(part: Pattern) -> int:
    """How many rows of tiles fill the frame."""
    return ceil(part.height / (part.width / part.columns))
