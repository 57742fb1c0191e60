"""Cards and posters at their addresses: kept by others for a while, drawn once, never of a draft."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from html import unescape

import pytest
from flask import Flask
from PIL import Image

from crowdfund.campaigns import updates
from crowdfund.campaigns.models import Campaign
from crowdfund.campaigns.service import save_draft
from crowdfund.errors import TooMany
from crowdfund.web import printing
from crowdfund.web.pace import Pace
from crowdfund.web.prints.kept import Kept
from support.details import GOOD, detailed_campaign, more_accounts, paper_site
from support.images import codes_in
from support.paper import Paper, coin
from support.pdf import read_pdf
from support.site import Visitor

BASE = "https://fund.example.org"


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paper]:
    with Paper(tmp_path_factory.mktemp("paper")) as made:
        more_accounts(made)
        yield made


@pytest.fixture(scope="module")
def app(paper: Paper) -> Iterator[Flask]:
    with paper_site(paper, base_url=BASE, site_name="The <Site> & co") as running:
        yield running


@pytest.fixture(scope="module")
def campaign(paper: Paper) -> str:
    return detailed_campaign(paper, GOOD, title='Seed "drill" <b>& co', summary="Six of <them>.")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is drawn during a test; nothing is kept from before."""
    monkeypatch.setattr(printing, "_kept", Kept(4))
    found: list[str] = []
    for name in ("png", "pdf"):
        real = getattr(printing, name)

        def noted(*args: object, name: str = name, real: object = real) -> object:
            found.append(name)
            return real(*args)  # type: ignore[operator]

        monkeypatch.setattr(printing, name, noted)
    return found


def test_a_card_is_drawn_once_for_each_block_and_may_be_kept(
    paper: Paper, app: Flask, campaign: str, drawn: list[str]
) -> None:
    bob, path = Visitor(app), f"/campaigns/{campaign}/card.png"
    answer = bob.get(path)
    assert (answer.status_code, answer.content_type) == (200, "image/png")
    assert Image.open(io.BytesIO(answer.data)).size == (1200, 630)
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert "Set-Cookie" not in answer.headers and "Vary" not in answer.headers
    assert Visitor(app).get(path).data == answer.data and drawn == ["png"]
    assert bob.get(path, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    printing._kept = Kept(4)  # undone with `drawn`
    assert bob.get(path, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    assert drawn == ["png"], "whoever has it already makes no work"
    paper.mine([coin(paper.pledge(campaign, 400_000), 400_000, "d")])
    after = bob.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert after.status_code == 200 and after.data != answer.data and drawn == ["png", "png"]


def test_the_card_of_the_site(app: Flask, drawn: list[str]) -> None:
    for _ in range(2):
        answer = Visitor(app).get("/card.png")
        assert answer.status_code == 200 and Image.open(io.BytesIO(answer.data)).size == (1200, 630)
    assert drawn == ["png"]


def test_a_card_speaks_the_language_of_its_address_and_of_nothing_else(
    app: Flask, campaign: str, drawn: list[str]
) -> None:
    path, german = f"/campaigns/{campaign}/card.png", {"Accept-Language": "de", "Cookie": "lang=de"}
    english, again = (Visitor(app).get(path, headers=headers) for headers in ({}, german))
    assert again.data == english.data and drawn == ["png"], "what others keep is the same for everybody"
    cards = [Visitor(app).get(f"{path}?lang={language}", headers=german) for language in ("de", "es", "en", "xx")]
    assert drawn == ["png"] * 3, "each is kept under its language"
    assert [card.data == english.data for card in cards] == [False, False, True, True]
    assert len({card.headers["ETag"] for card in cards}) == 3 and cards[0].data != cards[1].data
    assert Visitor(app).get("/card.png?lang=de").data != Visitor(app).get("/card.png").data


def test_pages_lead_to_pictures_and_posters_in_their_own_language(app: Flask, campaign: str) -> None:
    page = f"{BASE}/campaigns/{campaign}"
    tags = _tags(app, f"/campaigns/{campaign}?lang=de")
    assert tags["og:image"] == f"{page}/card.png?lang=de" and "von 1.000.000 sat" in tags["og:image:alt"]
    assert tags["canonical"] == tags["og:url"] == f"{page}?lang=de", "so that it is shown in German elsewhere, too"
    assert _tags(app, "/?lang=es")["og:image"] == f"{BASE}/card.png?lang=es"
    found = Visitor(app).get(f"/campaigns/{campaign}/elsewhere?lang=de").get_data(as_text=True)
    for file, times in (("poster.pdf", 2), ("poster.png", 2), ("card.png", 1)):
        assert found.count(f'"/campaigns/{campaign}/{file}?lang=de"') == times


def test_a_poster_in_german(app: Flask, campaign: str) -> None:
    lines = read_pdf(Visitor(app).get(f"/campaigns/{campaign}/poster.pdf?lang=de").data).lines
    text = " ".join(lines)
    assert "Ziel" in lines and "1.000.000 sat" in lines and re.search(r"\d+\. November 2026, \d\d:\d\d UTC", text)
    assert "Alles oder nichts" in text and not re.search(r"\b(the|you|your|Goal|Ends|Scan to)\b", text)


def test_posters_lead_to_the_page_of_the_campaign(app: Flask, campaign: str) -> None:
    bob, address = Visitor(app), f"{BASE}/campaigns/{campaign}"
    picture = bob.get(f"/campaigns/{campaign}/poster.png")
    assert (picture.status_code, picture.content_type) == (200, "image/png")
    assert codes_in(picture.data) == [address, address]
    paper = bob.get(f"/campaigns/{campaign}/poster.pdf")
    assert paper.content_type == "application/pdf"
    assert paper.headers["Content-Disposition"] == f"inline; filename=poster-{campaign}.pdf"
    read = read_pdf(paper.data)
    assert read.sizes == [(595.28, 841.89)] and read.embedded == len(read.fonts)
    for line in ('Seed "drill" <b>& co', "Six of <them>.", "1,000,000 sat", "The <Site> & co", "regtest: play money",
                 address.removeprefix("https://")):  # fmt: skip
        assert line in read.lines
    assert re.search(r"\d+ November 2026, \d\d:\d\d UTC", " ".join(read.lines))


def test_a_draft_has_neither(paper: Paper, app: Flask, drawn: list[str]) -> None:
    creator = paper.creator()
    with paper.database.transaction() as session:
        draft = save_draft(session, paper.settings, creator, paper.draft()).id
    for name in (draft, "nothere"):
        for file in ("card.png", "poster.pdf", "poster.png"):
            answer = Visitor(app).get(f"/campaigns/{name}/{file}")
            assert answer.status_code == 404 and answer.headers["Cache-Control"] == "no-store"
    assert not drawn


def test_drawing_is_counted_and_what_is_kept_is_not(
    paper: Paper, app: Flask, campaign: str, drawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(printing, "_pace", Pace(2, 600))
    with paper_site(paper, base_url=BASE, limit_factor=1) as strict:
        bob = Visitor(strict)
        paths = ("/card.png", f"/campaigns/{campaign}/card.png", f"/campaigns/{campaign}/poster.png")
        assert [bob.get(path).status_code for path in (*paths, *paths)] == [200, 200, 429, 200, 200, 429]
        assert int(bob.get(paths[2]).headers["Retry-After"]) <= 600
        elsewhere = bob.get(paths[2], environ_overrides={"REMOTE_ADDR": "192.0.2.9"})
        assert elsewhere.status_code == 200, "another address"


def test_a_pace_starts_anew_and_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000.0]
    monkeypatch.setattr("crowdfund.web.pace.time.monotonic", lambda: now[0])
    steps = Pace(1, 100, room=1)
    steps.take("a")
    steps.take("b")  # there is no room to count it
    with pytest.raises(TooMany) as refused:
        steps.take("a")
    assert refused.value.retry_after_s == 100
    steps.take("a", factor=0)
    now[0] += 100
    steps.take("a")


def test_other_sites_are_told_what_to_show(paper: Paper, app: Flask, campaign: str) -> None:
    page = f"{BASE}/campaigns/{campaign}"
    tags = _tags(app, f"/campaigns/{campaign}")
    assert tags["canonical"] == tags["og:url"] == page
    assert (tags["og:title"], tags["og:description"]) == ('Seed "drill" <b>& co', "Six of <them>.")
    assert tags["og:image"] == f"{page}/card.png" and tags["twitter:card"] == "summary_large_image"
    assert (tags["og:image:width"], tags["og:image:height"]) == ("1200", "630")
    assert tags["og:image:alt"].startswith('Seed "drill" <b>& co: ') and "of 1,000,000 sat" in tags["og:image:alt"]
    front = _tags(app, "/")
    assert (front["canonical"], front["og:image"]) == (f"{BASE}/", f"{BASE}/card.png")
    assert front["og:site_name"] == "The <Site> & co"
    assert "?" not in _tags(app, f"/campaigns/{campaign}?from=elsewhere")["canonical"]


def test_an_update_is_shown_with_its_own_title(paper: Paper, app: Flask) -> None:
    campaign_id = detailed_campaign(paper, GOOD)
    with paper.database.transaction() as session:
        row = session.get_one(Campaign, campaign_id)
        updates.write(session, row.creator, row, "The first plate", "It works.", datetime.now(UTC))
    tags = _tags(app, f"/campaigns/{campaign_id}/updates/1")
    assert tags["og:title"] == "The first plate"
    assert tags["canonical"] == f"{BASE}/campaigns/{campaign_id}/updates/1"
    assert tags["og:image"] == f"{BASE}/campaigns/{campaign_id}/card.png"


def _tags(app: Flask, path: str) -> dict[str, str]:
    page = Visitor(app).get(path).get_data(as_text=True).partition("</head>")[0]
    found = re.findall(r'<meta (?:property|name)="([^"]+)" content="([^"]*)">', page)
    (canonical,) = re.findall(r'<link rel="canonical" href="([^"]+)">', page)
    return {name: unescape(value) for name, value in (*found, ("canonical", canonical))}
