"""Exports: what a spreadsheet reads is text and numbers, never a formula, and the texts can be had back."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crowdfund.web.spreadsheet import cell, plain, to_csv

FORMULA = ("=", "+", "-", "@", "\t", "\r")
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
nasty = st.builds(lambda sign, rest: sign + rest, st.sampled_from([*FORMULA, "\n", "'", '"', ",", ";", "＝"]), texts)  # noqa: RUF001


def read(text: str) -> list[list[str]]:
    """As a program reads it."""
    return list(csv.reader(io.StringIO(text, newline="")))


@given(st.lists(st.tuples(texts | nasty, texts | nasty, st.integers(0, 21 * 10**14), st.booleans())))
@example([('=HYPERLINK("https://evil.example","x")', "a;=1+1", 1, True)])
def test_nothing_is_a_formula_and_nothing_is_lost(rows: list[tuple[str, str, int, bool]]) -> None:
    header, *found = read(to_csv(("a", "b", "c", "d"), rows))
    assert header == ["a", "b", "c", "d"] and len(found) == len(rows)
    for wanted, got in zip(rows, found, strict=True):
        assert len(got) == 4 and not any(one.startswith(FORMULA) for one in got)
        assert (plain(got[0]), plain(got[1])) == wanted[:2]
        assert (int(got[2]), got[3]) == (wanted[2], "yes" if wanted[3] else "no")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+1", "'=1"])  # noqa: RUF001
def test_such_a_cell_gets_an_apostrophe(text: str) -> None:
    assert cell(text) == f"'{text}" and plain(cell(text)) == text


@pytest.mark.parametrize("text", ["", "bob", "1-2", "a=b", " =1", "Zoë"])
def test_any_other_stays_as_it_is(text: str) -> None:
    assert cell(text) == text


def test_every_cell_is_quoted() -> None:
    assert to_csv(("a",), [("x;=1",), (5,)]) == '"a"\r\n"x;=1"\r\n"5"\r\n'
