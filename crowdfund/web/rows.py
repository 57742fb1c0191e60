"""Lines of a draft's details on a form: `budget-0-sats` is a cell. From cells to lines, and back; empty rows go."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from crowdfund.campaigns.details import LINES, Details, line_of
from crowdfund.errors import UserError
from crowdfund.wallet.amounts import parse_amount

Row = dict[str, str]

BLANKS = 2
MOST_ROWS = 60
# What has a value before anybody writes anything: a row with nothing but these is empty.
CHOSEN = {"state", "kind", "need", "amount", "unit"}
_CELL = re.compile(r"([a-z]+)-([0-9]{1,3})-([a-z_]+)", re.ASCII)


def typed_rows(form: Mapping[str, str], name: str) -> list[Row]:
    """The rows of one kind as they were typed, without those that are empty."""
    known = {field.name for field in fields(LINES[name])}
    by_number: dict[int, Row] = {}
    for key, text in form.items():
        cell = _CELL.fullmatch(key)
        if cell and cell[1] == name and cell[3] in known:
            by_number.setdefault(int(cell[2]), {})[cell[3]] = text.replace("\x00", "")
    rows = [row for _, row in sorted(by_number.items())]
    return [row for row in rows if any(text.strip() for key, text in row.items() if key not in CHOSEN)][:MOST_ROWS]


def stored_rows(details: Details, name: str) -> list[Row]:
    """The rows of one kind as the draft has them."""
    return [{key: _shown(value) for key, value in vars(line).items()} for line in getattr(details, name)]


def blank_row(name: str) -> Row:
    """A row to write in."""
    return {key: _shown(value) for key, value in vars(LINES[name]()).items()}


def read_rows(name: str, rows: list[Row]) -> tuple[tuple[Any, ...], dict[str, str]]:
    """The lines in these rows, and a sentence for each cell that cannot be read; such a cell is taken as empty."""
    problems: dict[str, str] = {}
    lines = []
    for number, row in enumerate(rows):
        values: dict[str, object] = {}
        for key, default in vars(LINES[name]()).items():
            text = row.get(key, "").strip() if isinstance(default, int) else row.get(key, "")
            try:
                values[key] = _number(key, text, f"{name}-{number}-{key}") if isinstance(default, int) else text
            except UserError as error:
                problems[f"{name}-{number}-{key}"] = error.sentence
                values[key] = 0
        lines.append(line_of(LINES[name], values))
    return tuple(lines), problems


def _number(key: str, text: str, field: str) -> int:
    if not text:
        return 0
    if key.endswith("sats"):
        return parse_amount(text, "sat", field)
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UserError("Write a whole number, with the digits 0 to 9.", field)
    return int(text)


def _shown(value: str | int) -> str:
    return value if isinstance(value, str) else str(value or "")
