"""What went out of the ordinary, for everyone to read; and why a decision waits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from flask import Flask

from crowdfund import create_app
from crowdfund.campaigns import incidents, recording
from crowdfund.web import openapi
from support.paper import Paper, coin
from support.site import Visitor, sentences

PAUSE = "The decision waits: a second server has another block 161 than we have."


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[Paper]:
    with Paper(tmp_path, confirmations=3) as chain:
        show(chain)
        yield chain


@pytest.fixture
def bob(paper: Paper) -> Iterator[Visitor]:
    app: Flask = create_app(paper.settings)
    yield Visitor(app)
    app.extensions["crowdfund"].database.close()


def show(paper: Paper, pause: str = "", state: str = "live") -> None:
    with paper.database.transaction() as session:
        recording.set_view(session, state, pause, 2, datetime.now(UTC), pause)


def test_nothing_so_far(paper: Paper, bob: Visitor) -> None:
    campaign = paper.campaign()
    said = sentences(bob.get("/incidents"))
    assert "Nothing so far." in said and "Nothing is lost by it" in said
    assert "Out of the ordinary" in sentences(bob.get("/about"))  # in the footer
    assert 'id="incidents"' not in bob.get(f"/campaigns/{campaign}").text
    for path in ("/api/v1/incidents", f"/api/v1/campaigns/{campaign}/incidents"):
        assert bob.get(path).json == {"incidents": [], "next": None}
    assert bob.get("/api/v1/campaigns/nothere/incidents").status_code == 404


def test_a_reorganisation_is_told_where_it_mattered(paper: Paper, bob: Visitor) -> None:
    mine, other = paper.campaign(), paper.campaign()
    paid = coin(paper.pledge(mine), 100_000)
    paper.mine([paid])
    height = paper.tip
    paper.fork(1)
    sentence = f"1 pledge un-confirmed by a reorganisation of 1 block at height {height}, not confirmed again yet."
    assert sentence in sentences(bob.get(f"/campaigns/{mine}"))
    paper.mine([paid], branch="b")
    sentence = f"1 pledge un-confirmed by a reorganisation of 1 block at height {height}, confirmed again at {height}."
    assert sentence in sentences(bob.get(f"/campaigns/{mine}")) and sentence in sentences(bob.get("/incidents"))
    assert 'id="incidents"' not in bob.get(f"/campaigns/{other}").text
    answer = bob.get(f"/api/v1/campaigns/{mine}/incidents").json
    assert answer is not None and answer == bob.get("/api/v1/incidents").json
    (told,) = answer["incidents"]
    assert set(told) == set(openapi.SCHEMAS["Incident"]["required"])
    assert told["kind"] == "reorganisation" and told["height"] == height and told["depth"] == 1
    assert told["sentence"] == sentence and told["ended_at"] == told["began_at"]
    assert 'crowdfund_incidents{kind="reorganisation"} 1.0' in bob.get("/metrics").text


def test_many_incidents_fit_on_one_page_newest_first(paper: Paper, bob: Visitor) -> None:
    campaign = paper.campaign()
    coins = [coin(paper.pledge(campaign), 20_000, name=f"many {n}") for n in range(5)]
    for number in range(incidents.SHOWN + 20):
        paper.mine(coins, branch=f"b{number}")
        paper.fork(1)
        paper.mine(branch=f"c{number}")
    answer = bob.get("/incidents")
    assert answer.status_code == 200 and f"These are the newest {incidents.SHOWN}." in sentences(answer)
    assert answer.text.count("un-confirmed by a reorganisation") == incidents.SHOWN
    first = bob.get("/api/v1/incidents").get_json()
    told = first["incidents"] + bob.get(first["next"]).get_json()["incidents"]
    heights = [each["height"] for each in told]
    assert len(heights) == incidents.SHOWN and heights == sorted(heights, reverse=True)


def test_a_dispute_and_what_waits_for_it(paper: Paper, bob: Visitor) -> None:
    campaign = paper.campaign()
    show(paper, PAUSE)
    path = f"/campaigns/{campaign}"
    assert PAUSE not in sentences(bob.get(path)), "nothing waits while the campaign is open"
    paper.mine(blocks=61)
    with paper.database.transaction() as session:
        incidents.begin_dispute(session, campaign, 161, datetime.now(UTC))
    assert f"{PAUSE} Nothing is lost by waiting." in sentences(bob.get(path))
    assert "The decision waits until they agree." in sentences(bob.get("/incidents"))
    answers = bob.get(f"/api/v1{path}").json, bob.get("/healthz").json, bob.get(f"/api/v1{path}/incidents").json
    assert answers[0] and answers[0]["state"] == "closing" and answers[0]["paused"] == PAUSE
    assert answers[1] and answers[1]["pause"] == PAUSE
    assert answers[2] and answers[2]["incidents"][0]["ended_at"] is None
    assert "crowdfund_decisions_paused 1.0" in bob.get("/metrics").text
    show(paper)
    assert PAUSE not in sentences(bob.get(path))
    after = bob.get(f"/api/v1{path}").json
    assert after and after["paused"] is None
    assert "crowdfund_decisions_paused 0.0" in bob.get("/metrics").text


@pytest.mark.parametrize(
    ("state", "hint"),
    [
        ("catching up 812 of 4000 blocks", "they follow block by block"),
        ("node catching up 812 of 4000 blocks", "they follow block by block"),
        ("node unreachable since 2026-11-22 20:50 UTC", "once the node answers again"),
        ("watching stopped since 2026-11-22 20:50 UTC", "whoever runs this site has to look after it"),
    ],
)
def test_how_the_chain_is_watched_is_told_on_every_page(paper: Paper, bob: Visitor, state: str, hint: str) -> None:
    show(paper, state=state)
    said = sentences(bob.get(f"/campaigns/{paper.campaign()}"))
    assert f"These numbers may be old: {state}. Money already sent is safe" in said and hint in said
    assert at_the_foot(said, state)
    health = bob.get("/healthz")
    assert health.status_code == 503 and health.json is not None and health.json["node"] == state
    figures = bob.get("/metrics").text
    assert "crowdfund_up 0.0" in figures and "crowdfund_seen_age_seconds" in figures


def at_the_foot(said: str, state: str) -> bool:
    """The foot of the page says the same."""
    return f": {state}." in said.rpartition("As of block")[2]
