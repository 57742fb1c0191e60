"""The terms: one text for one meaning, and a hash that every letter is in."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdfund.campaigns import terms as t
from crowdfund.campaigns.terms import CampaignTerms, canonical_json, check_deadline, check_goal, format_time, parse_time
from crowdfund.errors import UserError
from crowdfund.wallet.amounts import MAX_MONEY_SATS

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TERMS = CampaignTerms(
    network="regtest",
    creator="Ærøskøbing \u5c71 \U0001f331",
    title='A "seed" drill \\ any village',
    summary="Line\u2028separator and \x7f",
    story_sha256="00" * 32,
    project_url="https://example.org/",
    license="MIT",
    goal_sats=1_000_000,
    deadline_at="2026-12-01T18:00:00Z",
    payout_address="bcrt1q",
    payout_script="0014",
    min_pledge_sats=10_000,
    min_coin_sats=1_000,
    confirmations=1,
    opened_height=150,
    opened_hash="11" * 32,
)


def test_the_canonical_text_is_sorted_dense_and_read_back() -> None:
    text = TERMS.canonical()
    assert list(json.loads(text)) == sorted(asdict(TERMS))
    assert '": ' not in text and '", "' not in text and "\\u" not in text
    assert json.loads(text) == asdict(TERMS)
    assert CampaignTerms.parse(text) == TERMS
    assert TERMS.hash == sha256(text.encode()).digest()
    assert TERMS.deadline == datetime(2026, 12, 1, 18, tzinfo=UTC)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), st.integers(0, 2**63))
def test_any_text_goes_through_unchanged(text: str, number: int) -> None:
    terms = replace(TERMS, title=text, goal_sats=number)
    assert CampaignTerms.parse(terms.canonical()) == terms


@pytest.mark.parametrize("name", [f.name for f in fields(CampaignTerms)])
def test_every_field_is_in_the_hash(name: str) -> None:
    old = getattr(TERMS, name)
    changes: dict[str, Any] = {name: old + 1 if isinstance(old, int) else old + "x"}
    assert replace(TERMS, **changes).hash != TERMS.hash


def altered(**changes: object) -> str:
    return json.dumps({**asdict(TERMS), **changes}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "5",
        "{}",
        "{",
        TERMS.canonical() + " ",
        " " + TERMS.canonical(),
        TERMS.canonical().replace(",", ", ", 1),
        TERMS.canonical().replace("Æ", "\\u00c6"),
        TERMS.canonical()[:-1] + ',"version":1}',
        json.dumps(asdict(TERMS)),
        altered(version=2),
        altered(extra=1),
        altered(goal_sats=1.5),
        altered(goal_sats=1e300),
        altered(goal_sats=float("nan")),
        altered(goal_sats="1000000"),
        altered(goal_sats=None),
        altered(goal_sats=True),
        altered(goal_sats=[1]),
        altered(confirmations=1.0),
        altered(title=5),
        altered(title=None),
        altered(title={"a": 1}),
        altered(version=True),
        '{"a":' * 100_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_not_exactly_the_canonical_text_of_terms_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        CampaignTerms.parse(text)


def test_no_float_gets_into_terms() -> None:
    with pytest.raises(TypeError, match="floats"):
        canonical_json({"a": {"b": 1.0}})
    half: Any = 1.0
    with pytest.raises(TypeError, match="floats"):
        replace(TERMS, goal_sats=half).canonical()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-12-01T18:00:00Z", datetime(2026, 12, 1, 18, tzinfo=UTC)),
        ("2026-12-01T18:00:00+02:00", datetime(2026, 12, 1, 16, tzinfo=UTC)),
        ("2026-12-01T18:00:00.999999-00:30", datetime(2026, 12, 1, 18, 30, tzinfo=UTC)),
    ],
)
def test_times_are_read_in_utc_and_whole_seconds(text: str, moment: datetime) -> None:
    assert parse_time(text) == moment and parse_time(text).tzinfo is UTC
    assert parse_time(format_time(moment)) == moment
    assert format_time(moment.astimezone(timezone(timedelta(hours=5)))) == format_time(moment)


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-12-01", "2026-12-01T18:00:00", "2026-13-01T00:00:00Z", "1e9", "\u0662\u0660",
     "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-12-01T25:00:00Z", "2026-12-01T18:00:00+99:00"],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_time(text)


SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("deadline", "word"),
    [
        (NOW, "past"),
        (NOW - SECOND, "past"),
        (NOW + SECOND, "two hours"),
        (NOW + t.MIN_DURATION - SECOND, "two hours"),
        (NOW + t.MIN_DURATION, ""),
        (NOW + t.MAX_DURATION, ""),
        (NOW + t.MAX_DURATION + SECOND, "within a year"),
        (datetime.max.replace(tzinfo=UTC), "within a year"),
    ],
)
def test_deadlines_are_two_hours_to_a_year_away(deadline: datetime, word: str) -> None:
    if not word:
        return check_deadline(deadline, NOW)
    with pytest.raises(UserError, match=word) as refused:
        check_deadline(deadline, NOW)
    assert refused.value.field == "deadline"
    return None


def test_goals_have_a_floor_and_a_ceiling() -> None:
    check_goal(t.MIN_GOAL_SATS)
    check_goal(MAX_MONEY_SATS)
    for goal_sats in (t.MIN_GOAL_SATS - 1, 0, -1, MAX_MONEY_SATS + 1, 2**80):
        with pytest.raises(UserError) as refused:
            check_goal(goal_sats)
        assert refused.value.field == "goal"
