"""Details: one text for one meaning, gaps in drafts only, and a budget whose needed lines are the goal."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdfund.campaigns.detail_checks import LINES_LIMIT, check_details, tidy_details
from crowdfund.campaigns.details import (
    BUDGET_KINDS,
    BUDGET_NEEDS,
    LINES,
    BudgetLine,
    Deliverable,
    Details,
    Need,
    PictureFact,
    ProjectFacts,
    Return,
    Reward,
)
from crowdfund.errors import Problems
from support.details import GOOD

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = {"str": WORDS, "int": st.integers(0, 2**63)}


def any_line(kind: type[Any]) -> st.SearchStrategy[Any]:
    return st.builds(kind, **{f.name: VALUES[str(f.type)] for f in fields(kind)})


ANY_DETAILS = st.builds(
    Details,
    **{name: st.lists(any_line(kind), max_size=3).map(tuple) for name, kind in LINES.items()},
    risks=WORDS,
    about=WORDS,
    project=any_line(ProjectFacts),
    pictures=st.lists(any_line(PictureFact), max_size=3).map(tuple),
)
BUDGETS = st.lists(
    st.builds(
        BudgetLine,
        title=st.just("x"),
        kind=st.sampled_from(BUDGET_KINDS),
        need=st.sampled_from(BUDGET_NEEDS),
        sats=st.integers(1, 10**9),
    ),
    max_size=12,
).map(tuple)


@given(ANY_DETAILS)
def test_parsing_undoes_canonical(details: Details) -> None:
    text = details.canonical()
    assert Details.parse(text) == details
    assert details.sha256 == sha256(text.encode()).hexdigest()
    assert Details.parse("") == Details()


def test_without_pictures_the_text_is_as_it_was_before_there_were_any() -> None:
    assert "pictures" not in Details().canonical()
    shown = Details(pictures=(PictureFact("ab" * 32, 'A "drill"'),)).canonical()
    assert '"pictures":[{"alt":"A \\"drill\\"","sha256":"' in shown
    with pytest.raises(ValueError, match="canonical"):
        Details.parse(Details().canonical().replace('"project"', '"pictures":[],"project"'))


@given(ANY_DETAILS, st.data())
def test_one_byte_more_less_or_other_is_no_longer_that_text(details: Details, data: st.DataObject) -> None:
    text = details.canonical()
    at = data.draw(st.integers(0, len(text) - 1))
    for changed in (text[:at] + text[at + 1 :], text[:at] + " " + text[at:], text + "\n"):
        if changed == text:
            continue
        assert sha256(changed.encode()).hexdigest() != details.sha256
        try:
            other = Details.parse(changed)
        except ValueError:
            continue
        assert other != details and other.canonical() == changed


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "[]",
        "{}",
        "5",
        '"x"',
        "{",
        GOOD.canonical().replace('"version":1', '"version":2'),
        GOOD.canonical().replace('"version":1', '"version":true'),
        GOOD.canonical().replace('"version":1', '"version":1.0'),
        GOOD.canonical().replace('"sats":400000', '"sats":400000.0'),
        GOOD.canonical().replace('"sats":400000', '"sats":"400000"'),
        GOOD.canonical().replace('"sats":400000', '"sats":true'),
        GOOD.canonical().replace('"stock":2', '"stock":2,"extra":1'),
        GOOD.canonical().replace('"about":"Two', '"about":null,"x":"Two'),
        GOOD.canonical().replace("&", "\\u0026"),
        json.dumps(json.loads(GOOD.canonical())),
        "[" * 100_000,
    ],
    ids=lambda text: repr(text[:30]),
)
def test_what_is_not_exactly_the_text_of_details_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Details.parse(text)


@given(BUDGETS)
def test_the_needed_lines_are_the_minimum_and_all_lines_the_optimum(budget: tuple[BudgetLine, ...]) -> None:
    details = Details(budget=budget)
    optional = sum(line.sats for line in budget if line.need == "optional")
    assert details.optimum_sats == details.minimum_sats + optional
    assert check_details(details, details.minimum_sats) == details
    for goal_sats in (details.minimum_sats + 1, details.minimum_sats - 1):
        if budget:
            with pytest.raises(Problems) as told:
                check_details(details, goal_sats)
            assert list(told.value.by_field) == ["budget"]
        else:
            assert check_details(details, goal_sats) == details


def test_good_details_pass_and_are_tidied_up() -> None:
    assert check_details(GOOD, 1_000_000) == GOOD
    untidy = replace(GOOD, about=" a\u202eb\r\nc ", deliverables=(Deliverable(" The  plans ", "mit"),))
    tidied = check_details(untidy, 1_000_000)
    assert tidied.about == "ab\nc" and tidied.deliverables == (Deliverable("The plans", "MIT"),)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"deliverables": (Deliverable("", "MIT"),)}, "deliverables-0-title"),
        ({"deliverables": (Deliverable("x", "CC-BY-NC-4.0"),)}, "deliverables-0-license"),
        ({"deliverables": (Deliverable("x", "MIT", "ftp://x"),)}, "deliverables-0-url"),
        ({"deliverables": (Deliverable("x", "MIT", "javascript:alert(1)"),)}, "deliverables-0-url"),
        ({"deliverables": (Deliverable("x", "MIT", "", "there"),)}, "deliverables-0-url"),
        ({"deliverables": (Deliverable("x", "MIT", "", "lost"),)}, "deliverables-0-state"),
        ({"budget": (BudgetLine("x", "gift", "needed", 1_000_000),)}, "budget-0-kind"),
        ({"budget": (BudgetLine("x", "task", "wanted", 1_000_000),)}, "budget-0-need"),
        ({"budget": (BudgetLine("x", "task", "needed", 1_000_000), BudgetLine("y"))}, "budget-1-sats"),
        ({"budget": (BudgetLine("x" * 121, "task", "needed", 1_000_000),)}, "budget-0-title"),
        ({"rewards": (Reward("x", "", 9_999, 0),)}, "rewards-0-minimum_sats"),
        ({"rewards": (Reward("x", "", 20_000, -1),)}, "rewards-0-stock"),
        ({"rewards": (Reward("x", "y" * 2_001, 20_000, 0),)}, "rewards-0-text"),
        ({"returns": (Return("x", "", ""),)}, "returns-0-license"),
        ({"needs": (Need("x", "money", 1, "sat"),)}, "needs-0-kind"),
        ({"needs": (Need("x", "time", 0, "hours"),)}, "needs-0-amount"),
        ({"needs": (Need("x", "time", 1, ""),)}, "needs-0-unit"),
        ({"needs": (Need("x"),) * (LINES_LIMIT + 1)}, "needs"),
        ({"risks": "x" * 10_001}, "risks"),
    ],
)
def test_what_cannot_freeze_has_a_sentence_at_its_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Problems) as told:
        check_details(replace(GOOD, **changes), 1_000_000)
    assert field in told.value.by_field


def test_a_draft_may_have_gaps_but_nothing_wrong() -> None:
    gaps = Details(deliverables=(Deliverable(),), budget=(BudgetLine(),), rewards=(Reward(),), needs=(Need(),))
    assert tidy_details(gaps) == (gaps, {})
    wrong = replace(gaps, deliverables=(Deliverable("x", "no licence"),))
    kept, problems = tidy_details(wrong)
    assert kept == wrong and list(problems) == ["deliverables-0-license"], "and nothing of it is lost"
