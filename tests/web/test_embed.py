"""The card in a frame and oEmbed: for everybody alike, from our addresses alone, to the letter of the standard."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pytest
from flask import Flask
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from crowdfund.campaigns.service import save_draft
from crowdfund.web.security import CONTENT_SECURITY_POLICY
from support.details import GOOD, detailed_campaign, more_accounts, paper_site
from support.paper import Paper, coin
from support.site import Visitor, sentences

BASE = "https://fund.example.org"
TITLE = 'Seed "drill" <b>& co'


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paper]:
    with Paper(tmp_path_factory.mktemp("paper")) as made:
        more_accounts(made)
        yield made


@pytest.fixture(scope="module")
def app(paper: Paper) -> Iterator[Flask]:
    with paper_site(paper, base_url=BASE) as running:
        yield running


@pytest.fixture(scope="module")
def campaign(paper: Paper) -> str:
    made = detailed_campaign(paper, GOOD, title=TITLE)
    paper.mine([coin(paper.pledge(made, 250_000), 250_000, "a")])
    return made


def test_the_card_says_how_it_stands_and_leads_to_the_page(paper: Paper, app: Flask, campaign: str) -> None:
    answer = Visitor(app).get(f"/embed/{campaign}")
    page = answer.get_data(as_text=True)
    assert answer.status_code == 200
    assert "25% of 1 000 000 sat confirmed" in sentences(answer)
    assert f'<a href="{BASE}/campaigns/{campaign}" target="_blank" rel="noopener">' in page
    assert "Seed &#34;drill&#34; &lt;b&gt;&amp; co" in page and "<b>&" not in page
    assert f"as of block {paper.tip}" in sentences(answer) and "Until " in sentences(answer)
    assert "<script" not in page and "<form" not in page and " style=" not in page and "<iframe" not in page


def test_it_is_the_same_for_everybody_and_touches_no_session(paper: Paper, campaign: str) -> None:
    path = f"/embed/{campaign}"
    with paper_site(paper) as site:  # without HTTPS, as the test's client is
        ann = Visitor(site)
        ann.sign_up("Ann of the frame")
        here, elsewhere = ann.get(path), Visitor(site).get(path)
        again = ann.get(path, headers={"If-None-Match": here.headers["ETag"]})
    assert ann.client.get_cookie("session") is not None and again.status_code == 304
    assert here.data == elsewhere.data and "Ann of the frame" not in here.get_data(as_text=True)
    for answer in (here, elsewhere):
        assert "Set-Cookie" not in answer.headers and "Cookie" not in answer.headers.get("Vary", "")
        assert answer.headers["Cache-Control"] == "public, max-age=60"
        assert answer.headers["X-Robots-Tag"] == "noindex"


def test_it_speaks_the_language_of_its_address_or_of_the_browser(app: Flask, campaign: str) -> None:
    def page(query: str, asked: str) -> str:
        return Visitor(app).get(f"/embed/{campaign}{query}", headers={"Accept-Language": asked}).get_data(as_text=True)

    for query, asked, spoken in (
        ("", "en", "en"),
        ("", "es", "es"),
        ("?lang=de", "es", "de"),
        ("?lang=xx", "es", "es"),
    ):
        found = page(query, asked)
        assert f'<html lang="{spoken}" dir="ltr">' in found
        assert {"en": "Until ", "es": "Hasta ", "de": "Bis "}[spoken] in found
    assert "Set-Cookie" not in Visitor(app).get(f"/embed/{campaign}?lang=de").headers


def test_it_alone_may_be_framed_and_it_may_do_the_least(app: Flask, campaign: str) -> None:
    policy = Visitor(app).get(f"/embed/{campaign}").headers["Content-Security-Policy"]
    assert policy == (
        "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; form-action 'none'; base-uri 'none'; "
        "frame-ancestors *"
    )
    for path in ("/embed/nothere", "/", f"/campaigns/{campaign}", f"/campaigns/{campaign}/elsewhere", "/oembed"):
        assert Visitor(app).get(path).headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert "frame-ancestors 'none'" in CONTENT_SECURITY_POLICY and "unsafe" not in CONTENT_SECURITY_POLICY


def test_a_draft_has_no_card(paper: Paper, app: Flask) -> None:
    creator = paper.creator()
    with paper.database.transaction() as session:
        draft = save_draft(session, paper.settings, creator, paper.draft()).id
    bob = Visitor(app)
    for name in (draft, "nothere"):
        assert bob.get(f"/embed/{name}").status_code == 404
        assert asked(app, f"{BASE}/campaigns/{name}").status_code == 404


def asked(app: Flask, url: str, **more: object) -> Any:
    return Visitor(app).get("/oembed", query_string={"url": url, **more})


def test_oembed_by_the_letter(app: Flask, campaign: str) -> None:
    page = f"{BASE}/campaigns/{campaign}"
    answer = asked(app, page)
    assert answer.content_type == "application/json; charset=utf-8"
    assert answer.headers["Access-Control-Allow-Origin"] == "*" and "Set-Cookie" not in answer.headers
    told = json.loads(answer.data)
    assert (told["version"], told["type"], told["title"]) == ("1.0", "rich", TITLE)
    assert (told["width"], told["height"]) == (480, 320) and told["provider_url"] == f"{BASE}/"
    frame = told["html"]
    assert frame.startswith(f'<iframe src="{BASE}/embed/{campaign}" width="480" height="320" ')
    assert 'title="Seed &#34;drill&#34; &lt;b&gt;&amp; co"' in frame and frame.endswith("></iframe>")
    assert told["thumbnail_url"] == f"{page}/card.png"
    assert (told["thumbnail_width"], told["thumbnail_height"]) == (1200, 630)
    tree = ElementTree.fromstring(asked(app, page, format="xml").data)
    assert tree.tag == "oembed" and {node.tag: node.text for node in tree} == {k: str(v) for k, v in told.items()}
    assert asked(app, page, format="xml").content_type == "text/xml; charset=utf-8"


def test_oembed_keeps_the_language_of_the_page_that_was_named(app: Flask, campaign: str) -> None:
    page = f"{BASE}/campaigns/{campaign}"
    for query, ending in (("?lang=de", "?lang=de"), ("?a=1&lang=es#x", "?lang=es"), ("?lang=%22%3E%3Cb%3E", "")):
        told = asked(app, page + query).get_json()
        assert f'src="{BASE}/embed/{campaign}{ending}"' in told["html"]
        assert told["thumbnail_url"] == f"{page}/card.png{ending}"
    found = Visitor(app).get(f"/campaigns/{campaign}?lang=de").get_data(as_text=True)
    links = re.findall(r'type="application/json\+oembed"[^>]* href="([^"]+)"', found)
    assert [parse_qs(urlsplit(unescape(link)).query)["url"] for link in links] == [[f"{page}?lang=de"]]


@pytest.mark.parametrize(
    ("bounds", "kind", "width", "thumbnail"),
    [
        ({"maxwidth": 300}, "rich", 300, False),
        ({"maxwidth": 240, "maxheight": 320}, "rich", 240, False),
        ({"maxwidth": 239}, "link", None, False),
        ({"maxheight": 319}, "link", None, False),
        ({"maxwidth": 4000, "maxheight": 4000}, "rich", 480, True),
        ({"maxwidth": 1200, "maxheight": 629}, "rich", 480, False),
    ],
)
def test_it_takes_no_more_room_than_there_is(
    app: Flask, campaign: str, bounds: dict[str, int], kind: str, width: int | None, thumbnail: bool
) -> None:
    told = asked(app, f"{BASE}/campaigns/{campaign}", **bounds).get_json()
    assert (told["type"], told.get("width"), "thumbnail_url" in told) == (kind, width, thumbnail)
    assert ("html" in told) == (kind == "rich") == ("height" in told)
    if width:
        assert f'width="{width}"' in told["html"]


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "x", "", "\u0664\u0662", "9" * 30])
def test_a_bound_that_is_none(app: Flask, campaign: str, value: str) -> None:
    for name in ("maxwidth", "maxheight"):
        answer = asked(app, f"{BASE}/campaigns/{campaign}", **{name: value})
        assert answer.status_code == 400 and f"{name} must be a whole number" in sentences(answer)


@pytest.mark.parametrize("form", ["yaml", "JSON", "", "json "])
def test_a_format_that_is_not_made_here(app: Flask, campaign: str, form: str) -> None:
    answer = asked(app, f"{BASE}/campaigns/{campaign}", format=form)
    assert answer.status_code == 501 and "json and xml" in sentences(answer)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=40))
@example("https://fund.example.org.evil.example/campaigns/{id}")
@example("https://fund.example.org@evil.example/campaigns/{id}")
@example("https://user@fund.example.org/campaigns/{id}")
@example("http://fund.example.org/campaigns/{id}")
@example("https://fund.example.org:443/campaigns/{id}")
@example("https://FUND.example.org/campaigns/{id}")
@example("//fund.example.org/campaigns/{id}")
@example("/campaigns/{id}")
@example("https://fund.example.org/campaigns/{id}/audit")
@example("https://fund.example.org//campaigns/{id}")
@example("https://fund.example.org/campaigns/{id}%2Faudit")
@example("https://fund.example.org/x/../campaigns/{id}")
@example("https://fund.example.org/p/{id}")
@example("https://[fund.example.org/campaigns/{id}")
def test_every_other_address_is_unknown(app: Flask, campaign: str, url: str) -> None:
    assert asked(app, url.replace("{id}", campaign)).status_code == 404


@pytest.mark.parametrize("more", ["", "/", "?utm_source=x", "#backers", "/?a=b#c"])
def test_what_people_copy_from_the_address_bar(app: Flask, campaign: str, more: str) -> None:
    assert asked(app, f"{BASE}/campaigns/{campaign}{more}").status_code == 200


def test_a_site_below_a_path_answers_for_that_path_alone(paper: Paper, campaign: str) -> None:
    with paper_site(paper, base_url=f"{BASE}/fund") as below:
        assert asked(below, f"{BASE}/fund/campaigns/{campaign}").status_code == 200
        for other in ("", "/fun", "/fundx"):
            assert asked(below, f"{BASE}{other}/campaigns/{campaign}").status_code == 404


def test_sites_find_it_by_themselves(app: Flask, campaign: str) -> None:
    page = Visitor(app).get(f"/campaigns/{campaign}").get_data(as_text=True).partition("</head>")[0]
    found = dict(re.findall(r'<link rel="alternate" type="(\w+/\w+\+oembed)" title="[^"]*" href="([^"]+)">', page))
    assert set(found) == {"application/json+oembed", "text/xml+oembed"}
    for kind, address in found.items():
        assert address.startswith(f"{BASE}/oembed?")
        answer = Visitor(app).get(address.replace("&amp;", "&").removeprefix(BASE))
        assert answer.status_code == 200 and answer.content_type.startswith(kind.removesuffix("+oembed"))


def test_the_snippet_is_shown_as_words_beside_its_preview(app: Flask, campaign: str) -> None:
    page = Visitor(app).get(f"/campaigns/{campaign}/elsewhere").get_data(as_text=True)
    assert "<iframe" not in page and f"&lt;iframe src=&#34;{BASE}/embed/{campaign}&#34;" in page
    assert page.count('<article class="embed">') == 1 and f"/campaigns/{campaign}/poster.pdf" in page
    assert page.count("<h1") == 1
