"""What the site says of itself to others: its manifests by the rules of the standard, and snippets that work."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from markdown_it import MarkdownIt
from sqlalchemy import select

from crowdfund.campaigns import service
from crowdfund.campaigns.models import Campaign, Creator
from crowdfund.projects.manifests import read_manifest
from crowdfund.projects.models import Project
from crowdfund.projects.proof import Way
from crowdfund.projects.proof_models import SHOWN, ProjectProof
from support.details import GOOD, detailed_campaign, member, more_accounts, paper_site
from support.paper import Paper
from support.site import Visitor, sentences
from support.standard import check_manifest

MAIL = {"mail_from": "site@fund.example.org", "base_url": "https://fund.example.org"}
REPO = "https://github.com/ada/drill"
RAW = "https://raw.githubusercontent.com/ada/drill/HEAD/.well-known/funding-manifest-urls"


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paper]:
    with Paper(tmp_path_factory.mktemp("paper")) as made:
        more_accounts(made)
        yield made


@pytest.fixture(scope="module")
def app(paper: Paper) -> Iterator[Flask]:
    with paper_site(paper, **MAIL) as running:
        yield running


@pytest.fixture(scope="module")
def campaign(paper: Paper) -> str:
    return detailed_campaign(paper, GOOD, project_url=REPO, title='Seed "drill" <b>&')


def told(visitor: Visitor, path: str) -> dict[str, Any]:
    answer = visitor.get(path)
    assert answer.status_code == 200, sentences(answer)
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    found: dict[str, Any] = json.loads(answer.data)
    check_manifest(found)
    return found


def test_no_manifest_before_the_first_campaign(tmp_path: Path) -> None:
    with Paper(tmp_path) as fresh, paper_site(fresh, **MAIL) as site:
        answer = Visitor(site).get("/funding.json")
        assert answer.status_code == 404 and "no campaign here yet" in sentences(answer)


def test_the_manifest_of_a_campaign(paper: Paper, app: Flask, campaign: str) -> None:
    page = f"https://fund.example.org/campaigns/{campaign}"
    found = told(Visitor(app), f"/campaigns/{campaign}/funding.json")
    (project,), funding = found["projects"], found["funding"]
    assert project["name"] == 'Seed "drill" <b>&' and project["webpageUrl"] == {"url": page}
    assert project["repositoryUrl"] == {"url": REPO}
    assert [channel["address"] for channel in funding["channels"]] == [page]
    (plan,) = funding["plans"]
    assert plan["status"] == "active" and "1000000 satoshi by" in plan["description"]
    entity = found["entity"]
    assert entity["email"] == "site@fund.example.org" and "regtest, with play money" in entity["description"]
    data = Visitor(app).get(f"/campaigns/{campaign}/funding.json").data
    again = read_manifest("funding.json", data)
    assert again.title and again.title.value == 'Seed "drill" <b>&'


def test_the_manifest_of_the_site_and_the_list_behind_it(paper: Paper, app: Flask, campaign: str) -> None:
    other = detailed_campaign(paper, GOOD, title="Loom")
    found = told(Visitor(app), "/funding.json")
    urls = [project["webpageUrl"]["url"] for project in found["projects"]]
    assert {url.rpartition("/")[2] for url in urls} >= {campaign, other}
    listed = Visitor(app).get("/.well-known/funding-manifest-urls")
    assert listed.data == b"https://fund.example.org/funding.json\n"
    assert listed.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("line", "where", "named"),
    [
        (
            "{page}/funding.json",
            RAW,
            True,
        ),
        ("{page}", RAW, False),
        ("{page}/funding.json", "https://elsewhere.example.org/.well-known/funding-manifest-urls", False),
    ],
)
def test_a_repository_that_lists_this_very_manifest_is_named_as_its_witness(
    paper: Paper, app: Flask, line: str, where: str, named: bool
) -> None:
    witnessed = detailed_campaign(paper, GOOD, project_url=REPO, title=f"Witnessed {line[:8]} {where[8:20]}")
    page = f"https://fund.example.org/campaigns/{witnessed}"
    with paper.database.transaction() as session:
        session.add(
            ProjectProof(
                project_id=session.get_one(Campaign, witnessed).project_id, looked_at=datetime.now(UTC), address=REPO,
                outcome=SHOWN, way=Way.MANIFEST_URLS, url=where, line=line.format(page=page), sha256="0" * 64,
            )
        )  # fmt: skip
    found = told(Visitor(app), f"/campaigns/{witnessed}/funding.json")
    repository = found["projects"][0]["repositoryUrl"]
    blob = f"{REPO}/blob/HEAD/.well-known/funding-manifest-urls"
    assert repository == ({"url": REPO, "wellKnown": blob} if named else {"url": REPO})
    in_all = told(Visitor(app), "/funding.json")
    assert all("wellKnown" not in one["repositoryUrl"] for one in in_all["projects"])


def test_drafts_and_sites_without_an_address_have_none(paper: Paper, app: Flask, campaign: str) -> None:
    with paper.database.transaction() as session:
        owner = session.scalars(select(Creator.id)).first() or 0
        draft = service.save_draft(session, paper.settings, owner, paper.draft(title="A draft")).id
    for path in (f"/campaigns/{draft}/funding.json", f"/campaigns/{draft}/elsewhere", "/campaigns/none/funding.json"):
        assert Visitor(app).get(path).status_code == 404
    assert draft not in Visitor(app).get("/funding.json").get_data(as_text=True)
    for address in ("", "site@localhost"):
        with paper_site(paper, mail_from=address) as silent:
            answer = Visitor(silent).get("/funding.json")
            assert answer.status_code == 404 and "asks for a mail address" in sentences(answer)
            page = sentences(Visitor(silent).get(f"/campaigns/{campaign}/elsewhere"))
            assert "this site’s operator has given none" in page


def test_what_is_copied_shows_the_badge(paper: Paper, app: Flask, campaign: str) -> None:
    visitor, base = Visitor(app), f"https://fund.example.org/campaigns/{campaign}"
    page = visitor.get(f"/campaigns/{campaign}/elsewhere").get_data(as_text=True)
    copied = [html.unescape(text) for text in re.findall(r'data-copy="([^"]*)"', page)]
    shown = [html.unescape(text) for text in re.findall(r"<pre[^>]*><code>(.*?)</code></pre>", page, re.S)]
    assert copied == shown, "what is copied is what is seen"
    markdown, html_, rst, adoc, frame, yml, manifest, address = copied
    assert f'src="https://fund.example.org/embed/{campaign}"' in frame
    for text in (MarkdownIt().render(markdown), html_):
        assert f'href="{base}"' in text and f'src="{base}/badge.svg"' in text and "<b>" not in text
    assert f":target: {base}\n" in rst and f'link="{base}"' in adoc
    assert yml == f'custom: ["{base}"]\n' and (manifest, address) == (f"{base}/funding.json", base)
    badge = visitor.get(f"/campaigns/{campaign}/badge.svg")
    assert badge.status_code == 200 and badge.headers["Content-Type"].startswith("image/svg+xml")
    assert f'src="/campaigns/{campaign}/badge.svg"' in page


def test_the_page_is_linked_where_it_is_looked_for(paper: Paper, app: Flask) -> None:
    ann = member(app, "ann of the badges")
    with paper.database.transaction() as session:
        owner = session.scalars(select(Creator.id).where(Creator.key == "ann of the badges")).one()
        draft = service.save_draft(session, paper.settings, owner, paper.draft(title="Linked"), details=GOOD)
        own = service.publish(session, paper.settings, owner, draft.id).id
        slug = session.get_one(Project, session.get_one(Campaign, own).project_id).slug
    for path in (f"/campaigns/{own}", "/dashboard", f"/campaigns/{own}/dashboard"):
        assert f'href="/campaigns/{own}/elsewhere"' in ann.get(path).get_data(as_text=True), path
    listed = html.unescape(ann.get(f"/projects/{slug}/proof").get_data(as_text=True))
    assert f"https://fund.example.org/campaigns/{own}/funding.json" in listed


def test_a_campaign_that_is_over_is_no_longer_active(paper: Paper, app: Flask) -> None:
    """The last of this file: it moves the chain beyond the deadlines."""
    over = detailed_campaign(paper, GOOD, title="Over")
    with paper.database.reading() as session:
        deadline = session.get_one(Campaign, over).deadline_at
    missing = int(deadline.timestamp()) - paper.ref(paper.tip).median_time_past
    paper.mine(blocks=missing // 600 + 1)
    found = told(Visitor(app), f"/campaigns/{over}/funding.json")
    assert [plan["status"] for plan in found["funding"]["plans"]] == ["inactive"]
    assert "Show it elsewhere" in sentences(Visitor(app).get(f"/campaigns/{over}"))
