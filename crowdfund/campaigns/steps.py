"""A draft written step by step: what can stand by itself is kept, however much is still missing; and the checklist.

What is wrong is not kept, and a sentence says why; what is empty is only missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime

from sqlalchemy.orm import Session

from crowdfund.campaigns import service
from crowdfund.campaigns import terms as t
from crowdfund.campaigns.detail_checks import budget_differs, tidy_details
from crowdfund.campaigns.details import Details
from crowdfund.campaigns.drafts import (
    NO_DEADLINE,
    NO_GOAL_SATS,
    check_draft,
    check_payout,
    check_project_url,
    clean_line,
    clean_story,
)
from crowdfund.campaigns.models import Campaign
from crowdfund.config import Settings
from crowdfund.errors import Problems, UserError
from crowdfund.projects.licenses import check_license
from crowdfund.wallet.addresses import script_of

STEPS = ("story", "open", "budget", "rewards", "money")
"""Those that change the draft, in the order of writing; before them is the project, after them the look at it all."""

STEP_OF = {
    "title": "story", "summary": "story", "story": "story", "about": "story", "risks": "story",
    "license": "open", "project_url": "open", "deliverables": "open", "returns": "open",
    "budget": "budget", "rewards": "rewards", "needs": "rewards",
    "goal": "money", "cap": "money", "deadline": "money", "payout_address": "money",
}  # fmt: skip

Value = str | int | datetime | None
DETAILS = frozenset(field.name for field in fields(Details)) - {"project"}


@dataclass(frozen=True)
class Item:
    """A line of the checklist. What is not `required` is what backers look for all the same."""

    step: str
    done: bool
    required: bool
    sentence: str


def keep(
    session: Session, settings: Settings, creator_id: int, campaign: Campaign, values: Mapping[str, object]
) -> dict[str, str]:
    """Keep what can stand; returns a sentence for each field that cannot. Raises UserError where the creator's
    role does not allow to change what is changed.

    `values` are columns of the draft, and parts of the details; None is an empty field.
    """
    if campaign.terms is not None:
        raise UserError("This campaign is published: its terms cannot change any more.")
    before = Details.parse(campaign.details)
    details, problems = tidy_details(replace(before, **{k: v for k, v in values.items() if k in DETAILS}))  # type: ignore[arg-type]
    problems = {field: text for field, text in problems.items() if field.partition("-")[0] in values}
    good: dict[str, object] = {}
    if details != before:
        good["details"] = details
    for name, value in values.items():
        if name in DETAILS or (name == "deadline_at" and value == campaign.deadline_at.replace(second=0)):
            continue  # forms have no seconds: to send what they showed is to change nothing
        try:
            good[name] = _checked(session, settings, name, value)
        except UserError as error:
            problems[error.field or name] = error.sentence
    if _follows_budget(campaign, before, values):
        good["goal_sats"] = details.minimum_sats or NO_GOAL_SATS
    service.change_draft(session, creator_id, campaign, good)
    return problems


def checklist(settings: Settings, campaign: Campaign, now: datetime) -> list[Item]:
    """What must still be done before publishing, and what backers look for."""
    details = Details.parse(campaign.details)
    problems = missing(settings, campaign, now)
    found = [Item(_step(field), False, True, sentence) for field, sentence in problems.items()]
    done = [
        ("story", bool(details.about), "Who you are: people give to people."),
        ("story", bool(details.risks), "What could go wrong, said by yourself."),
        ("open", bool(details.deliverables), "What becomes open, piece by piece, each with its licence."),
        ("budget", bool(details.budget), "What the money pays for, line by line."),
        ("rewards", bool(details.needs or details.rewards), "A reward, or another way to help than money."),
    ]
    return found + [Item(step, here, False, sentence) for step, here, sentence in done]


def missing(settings: Settings, campaign: Campaign, now: datetime) -> dict[str, str]:
    """A sentence for each field that keeps the draft from being published."""
    problems: dict[str, str] = {}
    try:
        check_draft(service.draft_of(campaign), settings.network, now)
    except Problems as error:
        problems |= error.by_field
    if campaign.deadline_at == NO_DEADLINE:
        problems["deadline"] = "Say until when the goal must be reached."
    details = Details.parse(campaign.details)
    problems |= tidy_details(details, gaps=False)[1]
    if campaign.goal_sats == NO_GOAL_SATS:
        problems["goal"] = "Say how much is needed."
    elif sentence := budget_differs(details, campaign.goal_sats):
        problems.setdefault("budget", sentence)
    return problems


def _follows_budget(campaign: Campaign, before: Details, values: Mapping[str, object]) -> bool:
    """Does the goal follow the budget? It does while nobody has said another one."""
    same = campaign.goal_sats in (NO_GOAL_SATS, before.minimum_sats)
    return "budget" in values and "goal_sats" not in values and same


def _checked(session: Session, settings: Settings, name: str, value: object) -> object:
    """The value as it is kept. Raises UserError."""
    if value is None or value == "":
        return _EMPTY.get(name, "")
    network = settings.network
    if name == "payout_address":
        address = check_payout(str(value), network)
        service.refuse_own_address(session, script_of(address, network), "payout_address")
        return address
    if name == "deadline_at" and isinstance(value, datetime):
        t.check_deadline(value, service.chain_now(session, network))
        return value
    if name in ("goal_sats", "cap_sats") and isinstance(value, int):
        (t.check_goal if name == "goal_sats" else lambda sats: t.check_cap(sats, 0))(value)
        return value
    return _TEXTS[name](str(value))


_EMPTY: dict[str, object] = {"goal_sats": NO_GOAL_SATS, "cap_sats": 0, "deadline_at": NO_DEADLINE}
_TEXTS: dict[str, Callable[[str], str]] = {
    "title": lambda text: clean_line("title", text, t.TITLE_LIMIT),
    "summary": lambda text: clean_line("summary", text, t.SUMMARY_LIMIT),
    "story": clean_story,
    "project_url": check_project_url,
    "license": lambda text: check_license(text, "license"),
}


def _step(field: str) -> str:
    return STEP_OF.get(field.partition("-")[0], "story")
