"""The badge at its address: for everybody, for a minute, with the figures of the campaign's page."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crowdfund import create_app
from crowdfund.campaigns.lifecycle import CampaignState
from crowdfund.campaigns.service import save_draft
from crowdfund.web.badges import days_left
from crowdfund.web.security import CONTENT_SECURITY_POLICY
from support.paper import Paper, coin
from support.site import Visitor

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[Paper]:
    with Paper(tmp_path) as chain:
        yield chain


@pytest.fixture
def bob(paper: Paper) -> Iterator[Visitor]:
    app = create_app(paper.settings)
    yield Visitor(app)
    app.extensions["crowdfund"].database.close()


def said(bob: Visitor, campaign: str) -> str:
    root = ET.fromstring(bob.get(f"/campaigns/{campaign}/badge.svg").data)
    return root.findtext("{http://www.w3.org/2000/svg}title") or ""


def test_it_follows_the_chain(paper: Paper, bob: Visitor) -> None:
    campaign = paper.campaign(title="Drill & <sow>")
    assert said(bob, campaign) == f"Drill & <sow>: 0% of 1,000,000 sat · last day · block {paper.tip}"
    paid = coin(paper.pledge(campaign, 630_000), 630_000)
    paper.mempool([paid])
    assert "0% of" in said(bob, campaign), "what is only seen is not counted"
    paper.mine([paid])
    assert said(bob, campaign) == f"Drill & <sow>: 63% of 1,000,000 sat · last day · block {paper.tip}"
    paper.mine(blocks=70)
    assert f"63% of 1,000,000 sat · closed, being counted · block {paper.tip}" in said(bob, campaign)


def test_it_may_be_kept_for_a_minute_and_shown_elsewhere(paper: Paper, bob: Visitor) -> None:
    path = f"/campaigns/{paper.campaign()}/badge.svg"
    answer = bob.get(path)
    assert (answer.status_code, answer.content_type) == (200, "image/svg+xml; charset=utf-8")
    assert answer.headers["Cache-Control"] == "public, max-age=60"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert "Set-Cookie" not in answer.headers and "Vary" not in answer.headers
    assert bob.get(path, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    paper.mine()
    assert bob.get(path, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 200


def test_a_draft_has_none(paper: Paper, bob: Visitor) -> None:
    creator = paper.creator()
    with paper.database.transaction() as session:
        draft = save_draft(session, paper.settings, creator, paper.draft()).id
    for name in (draft, "nothere"):
        answer = bob.get(f"/campaigns/{name}/badge.svg")
        assert answer.status_code == 404 and answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("state", "left", "days"),
    [
        (CampaignState.OPEN, timedelta(days=9, hours=23), 9),
        (CampaignState.OPEN, timedelta(hours=5), 0),
        (CampaignState.OPEN, timedelta(0), 0),
        (CampaignState.OPEN, timedelta(seconds=-1), None),
        (CampaignState.CLOSING, timedelta(days=9), None),
        (CampaignState.RELEASED, timedelta(days=9), None),
    ],
)
def test_days_that_are_left(state: CampaignState, left: timedelta, days: int | None) -> None:
    assert days_left(state, NOW + left, NOW) == days
