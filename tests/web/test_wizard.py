"""Writing a campaign step by step, by the API and under review, on a chain on paper: forms as a browser sends them."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from crowdfund.accounts.people import create_token
from crowdfund.campaigns import review
from crowdfund.campaigns.models import Campaign
from crowdfund.db import Database
from crowdfund.projects.models import Project
from support.details import (
    BUDGET,
    GOOD,
    MONEY,
    OPEN,
    PROJECT,
    STORY,
    api_body,
    begun,
    details,
    member,
    more_accounts,
    paper_site,
    row,
    written,
)
from support.paper import PAYOUT, REFUND, START, Paper
from support.site import Visitor, field_error, sentences


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paper]:
    with Paper(tmp_path_factory.mktemp("paper")) as made:
        more_accounts(made)
        yield made


@pytest.fixture(scope="module")
def app(paper: Paper) -> Iterator[Flask]:
    with paper_site(paper) as running:
        yield running


@pytest.fixture(scope="module")
def alice(app: Flask) -> Visitor:
    return member(app, "alice")


# -- writing ---------------------------------------------------------------------------------------------------


def test_step_by_step_to_a_published_campaign(paper: Paper, app: Flask, alice: Visitor) -> None:
    draft = written(alice)
    found = details(paper, draft)
    assert (found.minimum_sats, found.optimum_sats) == (1_000_000, 1_250_000)
    assert found.deliverables[0].title == "Drawings" and len(found.deliverables) == 1, "empty rows are left out"
    page = alice.get(f"/drafts/{draft}/preview")
    text = sentences(page)
    assert "Nothing is missing." in text and "Lines of the budget 3, word by word" in text
    shown = re.search(r'id="exact-hash">([0-9a-f]{64})<', page.get_data(as_text=True))
    assert shown is not None
    answer = alice.post(f"/drafts/{draft}/publish")
    assert answer.location == f"/campaigns/{draft}", sentences(answer)
    campaign = row(paper, draft)
    assert campaign.terms_hash == shown[1], "what was shown is what froze"
    assert (campaign.terms or "x") in html.unescape(page.get_data(as_text=True))
    terms = json.loads(campaign.terms or "")
    assert terms["details_sha256"] == sha256(campaign.details.encode()).hexdigest()
    told = Visitor(app).get(f"/campaigns/{draft}/details.json")
    assert sha256(told.data).hexdigest() == terms["details_sha256"]
    frozen = details(paper, draft).project
    assert (frozen.name, frozen.technology_readiness, frozen.bom_url) == ("Seed drill", 4, PROJECT["bom_url"])
    public = sentences(Visitor(app).get(f"/campaigns/{draft}"))
    for part in (
        "Drawings",
        "What the money pays for",
        "A welder",
        "3 of 3 left",
        "0 of 3 people",
        "Two farmers.",
        "Rain.",
    ):
        assert part in public, part
    assert 'class="optimum"' in Visitor(app).get(f"/campaigns/{draft}").get_data(as_text=True)


def test_a_draft_is_kept_however_little_of_it_there_is(paper: Paper, alice: Visitor) -> None:
    draft = begun(alice, name="Little")
    answer = alice.send(f"/drafts/{draft}/write/story", {"title": "Only a title", "next": "save"})
    assert answer.location == f"/drafts/{draft}/write/story"
    assert row(paper, draft).title == "Only a title"
    checks = sentences(alice.get(f"/drafts/{draft}/preview"))
    for missing in (
        "Please write a summary.",
        "Say how much is needed.",
        "Say until when",
        "Who you are",
        "What could go wrong",
    ):
        assert missing in checks, missing
    assert "Not complete yet." in sentences(alice.get("/dashboard"))
    refused = alice.post(f"/drafts/{draft}/publish")
    assert refused.location == f"/drafts/{draft}/preview" and row(paper, draft).terms is None


def test_what_is_wrong_is_said_at_its_field_and_the_rest_is_kept(paper: Paper, alice: Visitor) -> None:
    draft = begun(alice, name="Wrong")
    typed = {**OPEN, "deliverables-0-license": "no licence", "license": "CC-BY-NC-4.0"}
    answer = alice.send(f"/drafts/{draft}/write/open", typed)
    assert answer.status_code == 422
    assert "not an SPDX" in field_error(answer, "deliverables-0-license")
    assert "not an open licence" in field_error(answer, "license")
    page = answer.get_data(as_text=True)
    assert 'value="no licence"' in page and 'value="CC-BY-NC-4.0"' in page, "nothing typed is lost"
    assert details(paper, draft).returns[0].title == "A workshop"
    assert row(paper, draft).license == PROJECT["license"], "what was good before stays"
    assert alice.send(f"/drafts/{draft}/write/story", STORY).status_code == 303, "another step has nothing to mend"
    typed = {**OPEN, "deliverables-0-url": "javascript:alert(1)"}
    assert "begins with https" in field_error(alice.send(f"/drafts/{draft}/write/open", typed), "deliverables-0-url")
    assert 'href="javascript' not in alice.get(f"/drafts/{draft}/preview").get_data(as_text=True)
    answer = alice.send(f"/drafts/{draft}/write/budget", {**BUDGET, "budget-1-sats": "1,5"})
    assert answer.status_code == 422 and "leave out" in field_error(answer, "budget-1-sats")
    assert 'value="1,5"' in answer.get_data(as_text=True)
    for bad in ("tomorrow", "2020-01-01T00:00"):
        answer = alice.send(f"/drafts/{draft}/write/money", {**MONEY, "goal": "x", "deadline": bad})
        assert answer.status_code == 422 and field_error(answer, "goal") and field_error(answer, "deadline")
    assert row(paper, draft).payout_address == PAYOUT


def test_the_goal_follows_the_budget_until_somebody_says_another_one(paper: Paper, alice: Visitor) -> None:
    draft = begun(alice, name="Follows")
    alice.send(f"/drafts/{draft}/write/budget", BUDGET)
    assert row(paper, draft).goal_sats == 1_000_000
    alice.send(f"/drafts/{draft}/write/budget", {**BUDGET, "budget-0-sats": "500000"})
    assert row(paper, draft).goal_sats == 1_100_000
    alice.send(f"/drafts/{draft}/write/money", {**MONEY, "goal": "900000", "deadline": "2026-11-22T20:00"})
    alice.send(f"/drafts/{draft}/write/budget", BUDGET)
    assert row(paper, draft).goal_sats == 900_000
    assert "come to 1000000 sat and the goal is 900000 sat" in sentences(alice.get(f"/drafts/{draft}/preview"))


def test_what_is_typed_is_kept_by_itself(paper: Paper, alice: Visitor) -> None:
    draft = begun(alice, name="By itself")
    path = f"/drafts/{draft}/write/story"
    answer = alice.post(path, {"title": "T", "about": "We"}, page=path, headers={"X-Autosave": "1"})
    assert answer.status_code == 200 and answer.json is not None and answer.json["problems"] == {}
    assert "Who we are" in answer.json["preview"] and row(paper, draft).title == "T"
    answer = alice.post(path, {"title": "x" * 81, "about": "You"}, page=path, headers={"X-Autosave": "1"})
    assert answer.json is not None and "at most 80 fit" in answer.json["problems"]["title"]
    assert row(paper, draft).title == "T" and details(paper, draft).about == "You"
    assert alice.client.post(path, data={"title": "U"}, headers={"X-Autosave": "1"}).status_code == 400, "no token"


def test_a_second_campaign_of_a_project_that_is_there(paper: Paper, alice: Visitor) -> None:
    begun(alice, name="Twice")
    answer = alice.send("/drafts/start", {"project": "twice"})
    assert answer.status_code == 303
    with paper.database.reading() as session:
        project = session.scalars(select(Project).where(Project.slug == "twice")).one()
        own = session.scalars(select(Campaign).where(Campaign.project_id == project.id)).all()
    assert len(own) == 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"kind": "magic"}, "kind"),
        ({"repository_url": "", "site_url": ""}, "repository_url"),
        ({"repository_url": "javascript:alert(1)"}, "repository_url"),
        ({"license": "mine"}, "license"),
        ({"technology_readiness": "7"}, "technology_readiness"),
        ({"documentation_readiness": "x"}, "documentation_readiness"),
        ({"bom_url": "here"}, "bom_url"),
        ({"forks_of": "somewhere"}, "forks_of"),
    ],
)
def test_a_project_that_cannot_be(alice: Visitor, changes: dict[str, str], field: str) -> None:
    answer = alice.send("/drafts/start", {**PROJECT, **changes})
    assert answer.status_code == 422 and field_error(answer, field), sentences(answer)


@pytest.fixture(scope="module")
def header(paper: Paper, alice: Visitor) -> dict[str, str]:
    with paper.database.transaction() as session:
        return {"Authorization": f"Bearer {create_token(session, 'alice', START)}"}


LISTS: dict[str, Any] = {
    key: value
    for key, value in json.loads(GOOD.canonical()).items()
    if key in ("deliverables", "budget", "rewards", "returns", "needs", "risks", "about")
}


def test_the_old_request_still_makes_a_complete_draft_and_its_project(
    paper: Paper, app: Flask, header: dict[str, str]
) -> None:
    client = app.test_client()
    found = []
    for title in ("First", "Second"):
        body = api_body(paper, title=title, project_url="https://example.net/tools/pump")
        answer = client.post("/api/v1/campaigns", json=body, headers=header)
        assert answer.status_code == 201 and answer.json is not None
        assert answer.json["state"] == "draft" and answer.json["project"]["slug"] == "pump"
        assert answer.json["budget"] == [] and answer.json["details"] is None
        found.append(answer.json["id"])
    published = client.post(f"/api/v1/campaigns/{found[0]}/publish", headers=header).json
    assert published is not None and json.loads(published["terms"])["version"] == 3
    assert sha256(published["details"].encode()).hexdigest() == published["details_sha256"]


def test_details_go_in_and_come_out_of_the_api(paper: Paper, app: Flask, header: dict[str, str]) -> None:
    client = app.test_client()
    answer = client.post("/api/v1/campaigns", json=api_body(paper, title="Detailed", **LISTS), headers=header)
    assert answer.status_code == 201 and answer.json is not None, answer.json
    made = answer.json
    assert (made["minimum_sats"], made["optimum_sats"]) == (1_000_000, 1_500_000)
    assert made["rewards"][0]["left"] == 2 and made["rewards"][1]["left"] is None
    campaign = client.post(f"/api/v1/campaigns/{made['id']}/publish", headers=header).json
    assert campaign is not None and campaign["budget"] == LISTS["budget"]
    pledge = {"amount_sats": 60_000, "refund_address": REFUND, "reward": 0}
    answer = client.post(f"/api/v1/campaigns/{made['id']}/pledges", json=pledge)
    assert answer.json is not None and answer.json["reward"] == {"title": "A seed plate", "state": "reserved"}
    shown = client.get(f"/api/v1/campaigns/{made['id']}").json
    assert shown is not None and shown["rewards"][0]["left"] == 1 and shown["needs"][0]["accepted"] == 0


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"budget": "much"}, "budget"),
        ({"budget": [5]}, "budget"),
        ({"budget": [{"title": "x", "sats": "1"}]}, "budget"),
        ({"budget": [{"title": "x", "price": 1}]}, "budget"),
        ({"budget": [{"title": "x", "sats": 5}]}, "budget"),
        ({"budget": [{"title": "x", "sats": 10**30}]}, "budget-0-sats"),
        ({"rewards": [{"title": "x", "minimum_sats": 1}]}, "rewards-0-minimum_sats"),
        ({"risks": 5}, "risks"),
        ({"deliverables": [{"title": "x", "license": "mine"}]}, "deliverables-0-license"),
    ],
)
def test_details_that_the_api_cannot_take(
    paper: Paper, app: Flask, header: dict[str, str], changes: dict[str, Any], field: str
) -> None:
    answer = app.test_client().post("/api/v1/campaigns", json=api_body(paper, **changes), headers=header)
    assert answer.status_code == 400 and answer.json is not None
    assert field in [problem["field"] for problem in answer.json["errors"]], answer.json


# -- review ----------------------------------------------------------------------------------------------------


def test_where_the_operator_reads_first(paper: Paper) -> None:
    with paper_site(paper, review=True) as app:
        rita = member(app, "rita of the review")
        draft = written(rita, name="Reviewed")
        preview = f"/drafts/{draft}/preview"
        assert "ask for review first" in sentences(rita.get(preview))
        assert rita.post(f"/drafts/{draft}/publish").location == preview and row(paper, draft).terms is None
        rita.post(f"/drafts/{draft}/review", page=preview)
        assert "in review" in sentences(rita.get(preview))
        decide(paper.database, draft, False, "Who welds?")
        assert "The operator said: Who welds?" in sentences(rita.get(preview))
        rita.send(f"/drafts/{draft}/write/story", {**STORY, "about": "Two farmers and a welder."})
        rita.post(f"/drafts/{draft}/review", page=preview)
        decide(paper.database, draft, True)
        rita.send(f"/drafts/{draft}/write/story", {**STORY, "story": "Something else altogether."})
        rita.post(f"/drafts/{draft}/publish")
        assert row(paper, draft).terms is None, "what was approved was another draft"
        rita.send(f"/drafts/{draft}/write/story", {**STORY, "about": "Two farmers and a welder."})
        assert "approved" in sentences(rita.get(preview))
        assert rita.post(f"/drafts/{draft}/publish").location == f"/campaigns/{draft}"


def decide(database: Database, draft: str, approved: bool, reason: str = "") -> None:
    with database.transaction() as session:
        assert [r.campaign_id for r in review.waiting(session)] == [draft]
        review.decide(session, draft, approved, reason)


def test_nothing_of_a_published_campaign_changes_by_the_steps(paper: Paper, alice: Visitor) -> None:
    draft = written(alice, name="Frozen")
    alice.post(f"/drafts/{draft}/publish")
    before = row(paper, draft).details
    assert alice.post(f"/drafts/{draft}/write/story", {**STORY, "about": "Other"}).location == f"/campaigns/{draft}"
    assert row(paper, draft).details == before
