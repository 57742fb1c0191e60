"""robots.txt, the map of the site, and security.txt, as programs read them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.robotparser import RobotFileParser
from xml.etree import ElementTree

import pytest
from flask import Flask
from sqlalchemy import event

from crowdfund.campaigns.service import save_draft
from crowdfund.web import wayfinding
from crowdfund.web.site import Site
from support.details import GOOD, detailed_campaign, more_accounts, paper_site
from support.paper import Paper
from support.site import Visitor, sentences

BASE = "https://fund.example.org"
PLACE = f"{{{wayfinding.MAP}}}loc"


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paper]:
    with Paper(tmp_path_factory.mktemp("paper")) as made:
        more_accounts(made)
        yield made


@pytest.fixture(scope="module")
def app(paper: Paper) -> Iterator[Flask]:
    with paper_site(paper, base_url=BASE, security_contact="security@example.org") as running:
        yield running


@pytest.fixture(scope="module")
def campaigns(paper: Paper) -> set[str]:
    return {detailed_campaign(paper, GOOD, title=f"Drill {n}") for n in range(5)}


def places(app: Flask, path: str) -> list[str]:
    answer = Visitor(app).get(path)
    assert (answer.status_code, answer.content_type) == (200, "application/xml; charset=utf-8")
    assert answer.headers["Cache-Control"] == "public, max-age=3600" and "Set-Cookie" not in answer.headers
    return [node.text or "" for node in ElementTree.fromstring(answer.data).iter(PLACE)]


def test_robots_find_what_is_public_and_leave_the_rest(app: Flask, campaigns: set[str]) -> None:
    answer = Visitor(app).get("/robots.txt")
    assert answer.content_type == "text/plain; charset=utf-8"
    reader = RobotFileParser()
    reader.parse(answer.get_data(as_text=True).splitlines())
    assert reader.site_maps() == [f"{BASE}/sitemap.xml"]
    for path in ("/", "/about", f"/campaigns/{min(campaigns)}", f"/campaigns/{min(campaigns)}/card.png", "/feed.atom"):
        assert reader.can_fetch("any", BASE + path)
    for path in ("/drafts/x/edit", "/dashboard", "/account", "/live/site/all"):
        assert not reader.can_fetch("any", BASE + path)


def test_what_is_secret_is_not_named_but_asks_not_to_be_found(paper: Paper, app: Flask, campaigns: set[str]) -> None:
    pledge = paper.pledge(min(campaigns))
    assert "/p/" not in Visitor(app).get("/robots.txt").get_data(as_text=True)
    for path in (f"/p/{pledge.id}", f"/p/{pledge.id}/comment", "/login", "/mail/off/1/x"):
        assert Visitor(app).get(path).headers["X-Robots-Tag"] == "noindex", path
    for path in ("/", f"/campaigns/{min(campaigns)}"):
        assert "X-Robots-Tag" not in Visitor(app).get(path).headers


def test_every_campaign_is_on_the_map_and_no_draft(paper: Paper, app: Flask, campaigns: set[str]) -> None:
    creator = paper.creator()
    with paper.database.transaction() as session:
        draft = save_draft(session, paper.settings, creator, paper.draft()).id
    assert places(app, "/sitemap.xml") == [f"{BASE}/sitemap-1.xml"]
    found = places(app, "/sitemap-1.xml")
    assert {f"{BASE}/campaigns/{each}" for each in campaigns} | {f"{BASE}/", f"{BASE}/about"} <= set(found)
    assert not any(draft in each for each in found) and len(found) == len(set(found))
    for each in found:
        assert Visitor(app).get(each.removeprefix(BASE)).status_code == 200


def test_a_large_map_has_pages(app: Flask, campaigns: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wayfinding, "ON_A_PAGE", 2)
    pages = [place.removeprefix(BASE) for place in places(app, "/sitemap.xml")]
    assert pages == ["/sitemap-1.xml", "/sitemap-2.xml", "/sitemap-3.xml"]
    found = [place for page in pages for place in places(app, page)]
    shown = [place for place in found if "/campaigns/" in place]
    assert sorted(shown) == sorted(f"{BASE}/campaigns/{each}" for each in campaigns)
    for page in ("/sitemap-0.xml", "/sitemap-4.xml", "/sitemap-99999999999.xml", "/sitemap-x.xml"):
        assert Visitor(app).get(page).status_code == 404


def test_a_map_reads_nothing_but_ids(app: Flask, campaigns: set[str]) -> None:
    site: Site = app.extensions["crowdfund"]
    asked: list[str] = []
    event.listen(site.database.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    places(app, "/sitemap-1.xml")
    (query,) = [text for text in asked if "campaigns" in text]
    assert re.match(r"SELECT campaigns\.id\s+FROM campaigns\s+WHERE", query)


def test_whom_to_tell_of_a_hole(app: Flask) -> None:
    answer = Visitor(app).get("/.well-known/security.txt")
    assert answer.content_type == "text/plain; charset=utf-8"
    fields = dict(line.split(": ", 1) for line in answer.get_data(as_text=True).splitlines())
    assert fields["Contact"] == "mailto:security@example.org"
    assert fields["Canonical"] == f"{BASE}/.well-known/security.txt"
    left = datetime.fromisoformat(fields["Expires"]) - datetime.now(UTC)
    assert timedelta(days=80) < left < timedelta(days=365)


def test_where_the_operator_names_nobody_or_a_page(paper: Paper) -> None:
    with paper_site(paper) as silent:
        assert Visitor(silent).get("/.well-known/security.txt").status_code == 404
    with paper_site(paper, security_contact="https://example.org/holes") as other:
        text = Visitor(other).get("/.well-known/security.txt").get_data(as_text=True)
        assert text.startswith("Contact: https://example.org/holes\n")


def test_a_page_that_is_not_there_says_where_to_look(app: Flask) -> None:
    answer = Visitor(app).get("/p/cut-off")
    said = sentences(answer)
    assert answer.status_code == 404 and "Looking for your pledge?" in said and "See the campaigns" in said
    assert "Looking for your pledge?" not in sentences(Visitor(app).get("/logout"))
