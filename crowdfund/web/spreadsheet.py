"""Tables for spreadsheets: CSV in which no cell can be taken for a formula. Pure.

A cell that a spreadsheet would run begins with one of a few signs. Such a cell gets an apostrophe in front, as people
put one there by hand; so does a cell that begins with an apostrophe, so that the text can be had back.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

# Full-width forms are signs of a formula, too, where such letters are usual.
DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'")  # noqa: RUF001


def to_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The table as CSV (RFC 4180); every cell is in quotes, so that no other separator cuts one in two."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows([cell(value) for value in row] for row in rows)
    return out.getvalue()


def cell(value: object) -> str:
    """A value as a cell that is text or a number of satoshi, never a formula."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    text = str(value)
    return f"'{text}" if text.startswith(DANGEROUS) else text


def plain(text: str) -> str:
    """The text of a cell again."""
    return text[1:] if text.startswith("'") else text
