"""Details and projects in the API: from JSON to values, and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy.orm import Session

from crowdfund.campaigns import delivery, stock, wanted
from crowdfund.campaigns.details import LINES, Details, line_of
from crowdfund.campaigns.models import Campaign, Pledge
from crowdfund.errors import Problems
from crowdfund.projects.writing import page_path

TEXTS = ("risks", "about")


def read_details(body: dict[str, Any]) -> Details | None:
    """The details in a request; None where it has none. Raises Problems."""
    if not any(body.get(name) is not None for name in (*LINES, *TEXTS)):
        return None
    problems: dict[str, str] = {}
    found: dict[str, Any] = {}
    for name, kind in LINES.items():
        try:
            found[name] = tuple(line_of(kind, _object(each)) for each in _list(body.get(name)))
        except ValueError as error:
            problems[name] = f"“{name}” must be a list of objects as the API's description has them: {error}."
    for name in TEXTS:
        value = body.get(name)
        if value is not None and not isinstance(value, str):
            problems[name] = f"“{name}” must be a text."
        found[name] = value or ""
    if problems:
        raise Problems(problems)
    return Details(**found)


def details_json(db: Session, campaign: Campaign) -> dict[str, Any]:
    """What the API tells of a campaign beside its money."""
    details = Details.parse(campaign.details)
    shelves = {} if campaign.terms is None else {s.number: s for s in stock.shelves(db, campaign)}
    return {
        "project": _project(campaign),
        "details": campaign.details or None,
        "details_sha256": details.sha256 if campaign.details else None,
        "minimum_sats": details.minimum_sats or campaign.goal_sats,
        "optimum_sats": details.optimum_sats or campaign.goal_sats,
        "budget": [asdict(line) for line in details.budget],
        "deliverables": [
            {**asdict(d.promised), "number": d.number, "state_now": d.state, "url_now": d.url}
            for d in delivery.deliveries(db, campaign)
        ],
        "rewards": [
            {**asdict(reward), "number": n, "left": shelves[n].left if n in shelves else reward.stock or None}
            for n, reward in enumerate(details.rewards)
        ],
        "returns": [asdict(each) for each in details.returns],
        "needs": [
            {**asdict(p.need), "number": p.number, "accepted": p.accepted} for p in wanted.progress(db, campaign)
        ],
        "risks": details.risks,
        "about": details.about,
    }


def reward_json(db: Session, pledge: Pledge) -> dict[str, Any] | None:
    """The reward that a pledge asked for, and how that stands."""
    found = stock.of_pledge(db, pledge)
    return None if found is None else {"title": found[0].title, "state": found[1].value}


def _project(campaign: Campaign) -> dict[str, Any] | None:
    project = campaign.project
    if project is None:
        return None
    return {"slug": project.slug, "name": project.name, "kind": project.kind, "url": page_path(project.slug)}


def _list(value: object) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError("it is no list")
    return value


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError("a line is no object")
    return value
