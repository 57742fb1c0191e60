"""What is seen of a picture, as plain values. Pure: nothing is opened here."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Pixels:
    """Three bytes a pixel, red, green and blue, row by row from the top."""

    width: int
    height: int
    rows: bytes = field(repr=False)
