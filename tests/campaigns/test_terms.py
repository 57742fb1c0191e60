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
from crowdfund.campaigns.terms import (
    CampaignTerms,
    canonical_json,
    check_cap,
    check_deadline,
    check_goal,
    format_time,
    parse_time,
)
from crowdfund.errors import UserError
from crowdfund.wallet.amounts import MAX_MONEY_SATS
from crowdfund.wallet.fees import transaction_vsize

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
    cap_sats=1_200_000,
    receipt_key="02" + "ab" * 32,
    timelock_height=6_000,
    timelock_feerate_sat_vb=10,
    details_sha256="22" * 32,
    cancellable="cxl1",
)
NEW: dict[str, Any] = {
    "cap_sats": 0,
    "receipt_key": "",
    "timelock_height": 0,
    "timelock_feerate_sat_vb": 0,
    "details_sha256": "",
    "cancellable": "",
}
FIRST = replace(TERMS, **NEW, version=1)
SECOND_TERMS = replace(TERMS, details_sha256="", cancellable="", version=2)
SECOND_HASH = "457051df9ce5bde2ff0e34aea88ad51bff688dfcd41c74fb3b92e6be33aa8d39"
FIRST_HASH = "9d7560a1102b8a7df0ea72a79f066606a7b718588a6ef986873975b5358df875"


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
    for terms in (
        replace(FIRST, title=text, goal_sats=number),
        replace(TERMS, title=text, cap_sats=number + 1_000_000),
    ):
        assert CampaignTerms.parse(terms.canonical()) == terms


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers(0, MAX_MONEY_SATS)


@given(st.data(), st.sampled_from([1, 2, 3]))
def test_parsing_undoes_canonical_and_any_change_of_one_field_changes_the_hash(
    data: st.DataObject, version: int
) -> None:
    later = {name for since, names in t.ADDED.items() if since > version for name in names}
    own = [f for f in fields(CampaignTerms) if f.name != "version" and f.name not in later]
    values: dict[str, Any] = {f.name: data.draw(WORDS if str(f.type) == "str" else NUMBERS) for f in own}
    if values.get("cap_sats"):
        values["cap_sats"] = max(values["cap_sats"], values["goal_sats"])
    if "cancellable" in values:
        values["cancellable"] = data.draw(st.sampled_from(["", "cxl1"]))
    terms = CampaignTerms(**values, version=version)
    assert CampaignTerms.parse(terms.canonical()) == terms
    assert list(json.loads(terms.canonical())) == sorted([*values, "version"])
    for field in own:
        old = values[field.name]
        changes: dict[str, Any] = {
            field.name: data.draw((WORDS if isinstance(old, str) else NUMBERS).filter(old.__ne__))
        }
        assert replace(terms, **changes).hash != terms.hash


@pytest.mark.parametrize("name", [f.name for f in fields(CampaignTerms)])
def test_every_field_is_in_the_hash(name: str) -> None:
    old = getattr(TERMS, name)
    changes: dict[str, Any] = {name: old + 1 if isinstance(old, int) else old + "x"}
    assert replace(TERMS, **changes).hash != TERMS.hash


def test_terms_of_the_first_version_keep_their_text_and_their_hash() -> None:
    text = FIRST.canonical()
    assert FIRST.hash.hex() == FIRST_HASH
    assert list(json.loads(text)) == sorted(asdict(TERMS).keys() - NEW.keys())
    assert CampaignTerms.parse(text) == FIRST
    assert (FIRST.cap_sats, FIRST.receipt_key, FIRST.timelock_height) == (0, "", 0), "without what came later"


def test_terms_of_the_second_version_keep_theirs() -> None:
    text = SECOND_TERMS.canonical()
    assert SECOND_TERMS.hash.hex() == SECOND_HASH
    assert list(json.loads(text)) == sorted(asdict(TERMS).keys() - {"details_sha256", "cancellable"})
    assert CampaignTerms.parse(text) == SECOND_TERMS
    with pytest.raises(ValueError, match="no such part"):
        replace(SECOND_TERMS, details_sha256=TERMS.details_sha256)
    with pytest.raises(ValueError, match="no such part"):
        replace(SECOND_TERMS, cancellable=TERMS.cancellable)


def test_terms_of_the_third_version_say_whether_and_how_they_can_be_cancelled() -> None:
    assert '"cancellable":"cxl1"' in TERMS.canonical()
    never = replace(TERMS, cancellable="")
    assert CampaignTerms.parse(never.canonical()) == never != TERMS


@pytest.mark.parametrize("name", NEW)
def test_terms_of_the_first_version_hold_nothing_that_they_do_not_hash(name: str) -> None:
    changes: dict[str, Any] = {name: getattr(TERMS, name)}
    with pytest.raises(ValueError, match="no such part"):
        replace(FIRST, **changes)


def test_a_version_that_does_not_exist_yet_is_refused() -> None:
    for version in (0, 4):
        with pytest.raises(ValueError):
            CampaignTerms.parse(replace(TERMS if version else FIRST, version=version).canonical())


def altered(**changes: object) -> str:
    return dumped({**asdict(TERMS), **changes})


def dumped(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


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
        altered(version=1),
        altered(version=2),
        altered(version=4),
        altered(cap_sats=TERMS.goal_sats - 1),
        altered(cap_sats=-1),
        altered(receipt_key=None),
        altered(cancellable="cxl2"),
        altered(cancellable=None),
        dumped({k: v for k, v in asdict(TERMS).items() if k != "timelock_height"}),
        dumped({**json.loads(FIRST.canonical()), "cap_sats": 0}),
        dumped({**json.loads(FIRST.canonical()), "version": 2}),
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


def test_a_cap_is_none_or_at_least_the_goal() -> None:
    for cap_sats in (0, 50_000, 50_001, MAX_MONEY_SATS):
        check_cap(cap_sats, 50_000)
    for cap_sats, word in ((1, "at least the goal"), (49_999, "at least the goal"), (MAX_MONEY_SATS + 1, "21 million")):
        with pytest.raises(UserError, match=word) as refused:
            check_cap(cap_sats, 50_000)
        assert refused.value.field == "cap"


@pytest.mark.parametrize(
    ("wait", "blocks"),
    [
        (timedelta(0), 0),
        (SECOND, 1),
        (timedelta(minutes=100), 11),
        (timedelta(minutes=100, seconds=1), 12),
        (timedelta(days=30), 4_752),
    ],
)
def test_time_locked_refunds_wait_for_the_deadline_a_tenth_more_and_the_margin(wait: timedelta, blocks: int) -> None:
    assert t.timelock_height(150, NOW, NOW + wait, 4_320) == 150 + blocks + 4_320


@given(st.integers(1, 500))
def test_the_smallest_pledge_returns_at_least_half_at_its_feerate(feerate_sat_vb: int) -> None:
    least_sats = t.smallest_pledge_sats(feerate_sat_vb)
    assert (
        t.refundable_up_to_sat_vb(least_sats) >= feerate_sat_vb > t.refundable_up_to_sat_vb(least_sats - t.ROUND_SATS)
    )
    script = b"\x51\x20" + bytes(32)
    fee_sats = transaction_vsize(1, [script]) * t.refundable_up_to_sat_vb(least_sats)
    assert 2 * fee_sats <= least_sats < 2 * (fee_sats + transaction_vsize(1, [script]))


def test_the_smallest_pledge_and_the_reason_for_it() -> None:
    assert t.MIN_PLEDGE_SATS == 10_000
    assert t.refund_promise(10_000) == "at network fees of up to 40 sat/vB, a refund still returns at least half"
