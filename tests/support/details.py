"""Good details for a campaign of a million satoshi, and a site on paper that shows them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from flask import Flask

from crowdfund import create_app
from crowdfund.campaigns import service
from crowdfund.campaigns.details import BudgetLine, Deliverable, Details, Need, Return, Reward
from crowdfund.campaigns.models import Campaign
from crowdfund.db import Database
from crowdfund.web.site import Site
from support.paper import ACCOUNTS, PAYOUT, Paper
from support.signing import STORE, offered_accounts
from support.site import Visitor, sentences

GOOD = Details(
    deliverables=(
        Deliverable("Drawings", "CERN-OHL-S-2.0", "https://example.org/drawings", "planned"),
        Deliverable("Films", "CC-BY-SA-4.0"),
    ),
    budget=(
        BudgetLine("Steel & wheels", "material", "needed", 400_000),
        BudgetLine("A welder", "task", "needed", 600_000),
        BudgetLine("A second season", "infrastructure", "optional", 500_000),
    ),
    rewards=(
        Reward("A seed plate", "Printed, in your colour.", 50_000, 2),
        Reward("Your name on the wall", "", 20_000, 0),
    ),
    returns=(Return("A workshop", "Open to all.", "CC-BY-4.0"),),
    needs=(Need("Welders", "skill", 3, "people"), Need("A lathe", "tool", 1, "lathe")),
    risks="The plate **wears out**.",
    about="Two farmers and a welder.",
)


def detailed_campaign(paper: Paper, details: Details = GOOD, **changes: Any) -> str:
    """A published campaign with details; its id."""
    creator_id = paper.creator()
    with paper.database.transaction() as session:
        draft = service.save_draft(session, paper.settings, creator_id, paper.draft(**changes), details=details)
        return service.publish(session, paper.settings, creator_id, draft.id).id


def database_again(paper: Paper) -> Database:
    """The same database, by an engine of one's own."""
    return Database(paper.settings.database_url)


@contextmanager
def paper_site(paper: Paper, **settings: Any) -> Iterator[Flask]:
    """The web application on it."""
    app = create_app(
        replace(paper.settings, test_bench=False, secret_key="a key for tests only, of thirty-two", **settings)
    )
    yield app
    site: Site = app.extensions["crowdfund"]
    site.database.close()


def more_accounts(paper: Paper) -> None:
    """Enough for a whole module of campaigns."""
    with paper.database.transaction() as session:
        service.store_accounts(session, offered_accounts(STORE, range(ACCOUNTS, 3 * ACCOUNTS)))


# What a browser sends from each step of the wizard.
PROJECT = {
    "name": "Seed drill",
    "kind": "hardware",
    "repository_url": "https://example.org/drill.git",
    "site_url": "",
    "license": "CERN-OHL-S-2.0",
    "summary": "A drill.",
    "technology_readiness": "4",
    "documentation_readiness": "2",
    "bom_url": "https://example.org/parts",
}
STORY = {
    "title": "Six drills",
    "summary": "For six villages.",
    "story": "By hand.",
    "about": "Two farmers.",
    "risks": "Rain.",
}
OPEN = {
    "license": "CERN-OHL-S-2.0",
    "project_url": "https://example.org/drill.git",
    "deliverables-0-title": "Drawings",
    "deliverables-0-license": "CERN-OHL-S-2.0",
    "deliverables-0-state": "planned",
    "deliverables-0-url": "https://example.org/drawings",
    "deliverables-1-state": "planned",
    "returns-0-title": "A workshop",
    "returns-0-license": "CC-BY-4.0",
}
BUDGET = {
    "budget-0-title": "Steel",
    "budget-0-kind": "material",
    "budget-0-need": "needed",
    "budget-0-sats": "400000",
    "budget-1-title": "A welder",
    "budget-1-kind": "task",
    "budget-1-need": "needed",
    "budget-1-sats": "600000",
    "budget-2-title": "A film",
    "budget-2-kind": "task",
    "budget-2-need": "optional",
    "budget-2-sats": "250000",
}
REWARDS = {
    "rewards-0-title": "A plate",
    "rewards-0-minimum_sats": "50000",
    "rewards-0-stock": "3",
    "needs-0-title": "Welders",
    "needs-0-kind": "skill",
    "needs-0-amount": "3",
    "needs-0-unit": "people",
}
MONEY = {"goal": "1000000", "goal_unit": "sat", "cap": "", "cap_unit": "sat", "payout_address": PAYOUT}


def member(app: Flask, name: str) -> Visitor:
    visitor = Visitor(app)
    visitor.sign_up(name)
    return visitor


def begun(visitor: Visitor, **project: str) -> str:
    """A new project and an empty draft in it; the draft's id."""
    answer = visitor.send("/drafts/start", {**PROJECT, **project})
    assert answer.status_code == 303, sentences(answer)
    return answer.location.split("/")[2]


def written(visitor: Visitor, **project: str) -> str:
    """A draft written to the end, step by step."""
    draft = begun(visitor, **project)
    for step, data in (
        ("story", STORY),
        ("open", OPEN),
        ("budget", BUDGET),
        ("rewards", REWARDS),
        ("money", {**MONEY, "deadline": "2026-11-22T20:00"}),
    ):
        answer = visitor.send(f"/drafts/{draft}/write/{step}", data)
        assert answer.status_code == 303, (step, sentences(answer))
    return draft


def row(paper: Paper, campaign_id: str) -> Campaign:
    with paper.database.reading() as session:
        return session.get_one(Campaign, campaign_id)


def details(paper: Paper, campaign_id: str) -> Details:
    return Details.parse(row(paper, campaign_id).details)


def api_body(paper: Paper, **changes: Any) -> dict[str, Any]:
    draft = paper.draft()
    return {
        "title": draft.title,
        "summary": draft.summary,
        "story": draft.story,
        "goal_sats": draft.goal_sats,
        "deadline_at": f"{draft.deadline_at:%Y-%m-%dT%H:%M:%SZ}",
        "payout_address": draft.payout_address,
        "project_url": draft.project_url,
        "license": draft.license,
        **changes,
    }
