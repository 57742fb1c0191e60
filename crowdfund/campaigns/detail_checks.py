"""What details must be like before they freeze, and what a draft may leave open: a sentence for each field.

Fields are named as on the form: `budget-0-sats` is the amount of the first line of the budget.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from crowdfund.campaigns import details as d
from crowdfund.campaigns.drafts import clean_text
from crowdfund.campaigns.terms import MIN_PLEDGE_SATS, refund_promise
from crowdfund.errors import Problems, UserError
from crowdfund.projects.licenses import check_license
from crowdfund.projects.links import check_link
from crowdfund.wallet.amounts import MAX_MONEY_SATS

LINES_LIMIT = 50
TITLE_LIMIT = 120
UNIT_LIMIT = 40
TEXT_LIMIT = 2_000
LONG_TEXT_LIMIT = 10_000
STOCK_LIMIT = 1_000_000
AMOUNT_LIMIT = 1_000_000

T = TypeVar("T")


def check_details(details: d.Details, goal_sats: int) -> d.Details:
    """The details tidied up, fit to freeze. Raises Problems."""
    tidied, problems = tidy_details(details, gaps=False)
    if sentence := budget_differs(tidied, goal_sats):
        problems.setdefault("budget", sentence)
    if problems:
        raise Problems(problems)
    return tidied


def budget_differs(details: d.Details, goal_sats: int) -> str:
    """A sentence where the needed lines do not come to the goal; empty where they do, or there is no budget."""
    if not details.budget or details.minimum_sats == goal_sats:
        return ""
    return (
        f"The needed lines of the budget come to {details.minimum_sats} sat and the goal is {goal_sats} sat; "
        "they must be the same, so that nobody wonders where the rest goes."
    )


def tidy_details(details: d.Details, gaps: bool = True) -> tuple[d.Details, dict[str, str]]:
    """The details tidied up, and a sentence for each value that is wrong. With `gaps`, what is empty is not wrong.

    A wrong value stays as it is, so that a draft loses nothing.
    """
    checking = _Checking(gaps)
    lines: dict[str, Any] = {
        name: tuple(check(checking, line, f"{name}-{n}") for n, line in enumerate(getattr(details, name)))
        for name, check in _CHECKS.items()
    }
    for name, found in lines.items():
        if len(found) > LINES_LIMIT:
            checking.problems[name] = f"These are {len(found)} lines; at most {LINES_LIMIT} fit."
    risks = checking.text(details.risks, "risks", LONG_TEXT_LIMIT)
    about = checking.text(details.about, "about", LONG_TEXT_LIMIT)
    return replace(details, risks=risks, about=about, **lines), checking.problems


class _Checking:
    """Gathers sentences while values are tidied up."""

    def __init__(self, gaps: bool) -> None:
        self.gaps = gaps
        self.problems: dict[str, str] = {}

    def tried(self, check: Callable[[], T], otherwise: T) -> T:
        """What `check` returns; `otherwise`, and a sentence, where it refuses."""
        try:
            return check()
        except UserError as error:
            self.problems[error.field or ""] = error.sentence
            return otherwise

    def text(self, text: str, field: str, limit: int) -> str:
        """A text that may be empty."""
        cleaned = clean_text(text)
        if len(cleaned) > limit:
            self.problems[field] = f"This text has {len(cleaned)} characters; at most {limit} fit."
        return cleaned

    def line(self, text: str, field: str, limit: int = TITLE_LIMIT) -> str:
        """A text of one line that must be there in the end."""
        line = self.text(" ".join(text.split()), field, limit)
        if not line and not self.gaps:
            self.problems[field] = "Say in a few words what this is, or empty the whole line."
        return line

    def license(self, text: str, field: str) -> str:
        """An open licence."""
        if not text.strip() and self.gaps:
            return ""
        return self.tried(lambda: check_license(text, field), text)

    def link(self, text: str, field: str) -> str:
        """An address, or nothing."""
        return self.tried(lambda: check_link(text, field), text)

    def number(self, value: int, field: str, low: int, high: int, sentence: str) -> int:
        """A number in a range; 0 is a gap."""
        if not low <= value <= high and not (value == 0 and self.gaps):
            self.problems[field] = sentence
        return value

    def choice(self, value: str, field: str, names: tuple[str, ...]) -> str:
        """One of some words."""
        if value not in names:
            self.problems[field] = f"Choose one of {', '.join(names)}."
        return value


def _deliverable(checking: _Checking, line: d.Deliverable, at: str) -> d.Deliverable:
    url = checking.link(line.url, f"{at}-url")
    if line.state == d.THERE and not url and not checking.gaps:
        checking.problems[f"{at}-url"] = "Say where it is, as it is there already."
    return d.Deliverable(
        checking.line(line.title, f"{at}-title"),
        checking.license(line.license, f"{at}-license"),
        url,
        checking.choice(line.state, f"{at}-state", d.STATES),
    )


def _budget(checking: _Checking, line: d.BudgetLine, at: str) -> d.BudgetLine:
    return d.BudgetLine(
        checking.line(line.title, f"{at}-title"),
        checking.choice(line.kind, f"{at}-kind", d.BUDGET_KINDS),
        checking.choice(line.need, f"{at}-need", d.BUDGET_NEEDS),
        checking.number(line.sats, f"{at}-sats", 1, MAX_MONEY_SATS, "Give the cost of this line in satoshi."),
    )


def _reward(checking: _Checking, line: d.Reward, at: str) -> d.Reward:
    least = f"A reward is for a pledge of at least {MIN_PLEDGE_SATS} sat: {refund_promise(MIN_PLEDGE_SATS)}."
    stock = "Say how many there are, or leave it empty for as many as are asked for."
    return d.Reward(
        checking.line(line.title, f"{at}-title"),
        checking.text(line.text, f"{at}-text", TEXT_LIMIT),
        checking.number(line.minimum_sats, f"{at}-minimum_sats", MIN_PLEDGE_SATS, MAX_MONEY_SATS, least),
        checking.number(line.stock, f"{at}-stock", 0, STOCK_LIMIT, stock),
    )


def _return(checking: _Checking, line: d.Return, at: str) -> d.Return:
    return d.Return(
        checking.line(line.title, f"{at}-title"),
        checking.text(line.text, f"{at}-text", TEXT_LIMIT),
        checking.license(line.license, f"{at}-license"),
    )


def _need(checking: _Checking, line: d.Need, at: str) -> d.Need:
    return d.Need(
        checking.line(line.title, f"{at}-title"),
        checking.choice(line.kind, f"{at}-kind", d.HELP_KINDS),
        checking.number(line.amount, f"{at}-amount", 1, AMOUNT_LIMIT, "Say how much of it is wanted, from 1 on."),
        checking.line(line.unit, f"{at}-unit", UNIT_LIMIT),
    )


_CHECKS: dict[str, Callable[[_Checking, Any, str], Any]] = {
    "deliverables": _deliverable,
    "budget": _budget,
    "rewards": _reward,
    "returns": _return,
    "needs": _need,
}
