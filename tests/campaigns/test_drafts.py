"""Drafts: every field is checked, all faults are told at once, and nothing invisible stays."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdfund.campaigns import terms as t
from crowdfund.campaigns.drafts import Draft, check_draft, clean_text
from crowdfund.errors import Problems

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
GOOD = Draft("A title", "A summary", "A story", 1_000_000, NOW + timedelta(days=3), ADDRESS, "https://e.org", "MIT")


def problems(**changes: Any) -> dict[str, str]:
    try:
        check_draft(replace(GOOD, **changes), "regtest", NOW)
    except Problems as error:
        return error.by_field
    return {}


def test_a_good_draft_is_tidied_up() -> None:
    messy = replace(
        GOOD, title="  A\t title \n", story=" one\r\ntwo\x00 ", payout_address=f" {ADDRESS.upper()} ", license="mit"
    )
    tidy = check_draft(messy, "regtest", NOW)
    assert (tidy.title, tidy.story, tidy.payout_address, tidy.license) == ("A title", "one\ntwo", ADDRESS, "MIT")
    assert check_draft(tidy, "regtest", NOW) == tidy


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("title", "", "title"),
        ("title", " \x00\u202e ", "title"),
        ("title", "x" * (t.TITLE_LIMIT + 1), "title"),
        ("summary", "", "summary"),
        ("summary", "x" * (t.SUMMARY_LIMIT + 1), "summary"),
        ("story", " \n ", "story"),
        ("story", "x" * (t.STORY_LIMIT + 1), "story"),
        ("goal_sats", 19_999, "goal"),
        ("goal_sats", 21_000_000 * 10**8 + 1, "goal"),
        ("cap_sats", 999_999, "cap"),
        ("cap_sats", -1, "cap"),
        ("cap_sats", 21_000_000 * 10**8 + 1, "cap"),
        ("cap_sats", 1_000_000, ""),
        ("cap_sats", 0, ""),
        ("deadline_at", NOW, "deadline"),
        ("payout_address", "nowhere", "payout_address"),
        ("payout_address", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "payout_address"),
        ("license", "Proprietary", "license"),
        ("license", "()", "license"),
        ("project_url", "", "project_url"),
        ("project_url", "ftp://e.org", "project_url"),
        ("project_url", "javascript:alert(1)", "project_url"),
        ("project_url", "https://", "project_url"),
        ("project_url", "https://e.org/a b", "project_url"),
        ("project_url", "https://e.org/\n", ""),
        ("project_url", "https://e.org/\x00", "project_url"),
        ("project_url", "https://[::1", "project_url"),
        ("project_url", "https://\u0435.org", "project_url"),
        ("project_url", "https://e.org/" + "x" * 300, "project_url"),
        ("title", "x" * t.TITLE_LIMIT, ""),
        ("summary", "x" * t.SUMMARY_LIMIT, ""),
        ("story", "x" * t.STORY_LIMIT, ""),
        ("goal_sats", 20_000, ""),
    ],
)  # fmt: skip
def test_each_field_is_checked_by_itself(field: str, value: object, named: str) -> None:
    assert list(problems(**{field: value})) == ([named] if named else [])


def test_all_faults_are_told_at_once() -> None:
    empty = dict.fromkeys(("title", "summary", "story", "payout_address", "license", "project_url"), "")
    found = problems(**empty, goal_sats=0, deadline_at=NOW)
    assert set(found) == {"title", "summary", "story", "goal", "deadline", "payout_address", "license", "project_url"}
    assert all(sentence.endswith(".") for sentence in found.values())


@given(st.text(max_size=80))
def test_no_control_character_stays(text: str) -> None:
    clean = clean_text(text)
    clean.encode()
    assert not any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n" for c in clean)
    assert not set(clean) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert clean_text(clean) == clean


@given(st.text(max_size=100), st.text(max_size=100), st.text(max_size=100))
def test_any_text_is_taken_or_refused_with_sentences(title: str, url: str, license_: str) -> None:
    found = problems(title=title, summary=title, story=title, project_url=url, license=license_, payout_address=url)
    assert all(sentence.endswith(".") for sentence in found.values())
