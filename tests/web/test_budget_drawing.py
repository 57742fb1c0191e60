"""The drawing of a budget: its parts fill the bar, its marks stand where the sums are, and nothing in it is code."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from crowdfund.campaigns.details import BUDGET_KINDS, BUDGET_NEEDS, BudgetLine, Details
from crowdfund.web.budget_drawing import budget_svg, budget_text, in_order

BUDGETS = st.lists(
    st.builds(
        BudgetLine,
        title=st.sampled_from(["x", "<script>", '"&']),
        kind=st.sampled_from(BUDGET_KINDS),
        need=st.sampled_from(BUDGET_NEEDS),
        sats=st.integers(1, 10**12),
    ),
    min_size=1,
    max_size=8,
).map(tuple)


@given(BUDGETS)
def test_the_parts_fill_the_bar_and_the_marks_are_at_the_sums(budget: tuple[BudgetLine, ...]) -> None:
    details = Details(budget=budget)
    drawn = str(budget_svg(details))
    widths = [float(w) for w in re.findall(r'width="([0-9.]+)%"', drawn)]
    assert len(widths) == len(budget) and 99.9 < sum(widths) <= 100
    marks = [float(x) for x in re.findall(r'x1="([0-9.]+)%"', drawn)]
    assert marks[-1] == 100 and abs(marks[0] - details.minimum_sats * 100 / details.optimum_sats) < 0.01
    assert len(marks) == (2 if details.minimum_sats < details.optimum_sats else 1)
    assert "<script" not in drawn
    needs = [line.need for line in in_order(budget)]
    assert needs == sorted(needs), "what is needed comes before what is optional"


def test_no_budget_is_no_drawing_and_one_is_said_in_words() -> None:
    assert budget_svg(Details()) == ""
    lines = (BudgetLine("a", "task", "needed", 300), BudgetLine("b", "task", "optional", 200))
    assert budget_text(Details(budget=lines)) == "300 sat are needed, and 200 sat more would make it better."
