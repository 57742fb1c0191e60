"""Finding campaigns on the site: the front page's choice, the search page and its addresses; and that no page asks the
database more often because there is more in it."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import event

from crowdfund.campaigns import figures
from crowdfund.campaigns.models import Pledge
from support.details import paper_site
from support.paper import BLOCK_TIME, START, Paper, coin

GOAL = 1_000_000


@contextmanager
def asked(client: FlaskClient) -> Iterator[list[str]]:
    """Every statement that is executed inside."""
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith(("PRAGMA", "BEGIN")):
            statements.append(statement)

    engine = client.application.extensions["crowdfund"].database.engine
    event.listen(engine, "before_cursor_execute", note)
    yield statements
    event.remove(engine, "before_cursor_execute", note)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Paper, FlaskClient, list[str]]]:
    """Fourteen campaigns, so that there are two pages; the first one has 76 % of its goal."""
    folder: Path = tmp_path_factory.mktemp("discover")
    with Paper(folder) as paper, paper_site(paper) as app:
        ids = [paper.campaign(title=f"Loom {n}", license="MIT" if n % 2 else "ODbL-1.0") for n in range(8)]
        paper.mine([coin(paper.pledge(ids[0], 760_000), 760_000, "a")])
        keep(paper)
        yield paper, app.test_client(), ids


def keep(paper: Paper) -> None:
    """As the worker does."""
    with paper.database.transaction() as session:
        figures.keep(session)


def page(client: FlaskClient, address: str) -> str:
    """A page that is there."""
    answer = client.get(address)
    assert answer.status_code == 200, address
    return answer.get_data(as_text=True)


def shown(text: str) -> list[str]:
    """The titles of the cards, in their order."""
    return re.findall(r"<h3><a [^>]*>([^<]*)</a></h3>", text)


def test_the_front_page_shows_some_and_leads_to_all(site: tuple[Paper, FlaskClient, list[str]]) -> None:
    text = page(site[1], "/")
    assert shown(text) == ["Loom 0", *(f"Loom {n}" for n in (7, 6, 5, 4, 3))], "who lacks little comes first"
    assert 'action="/campaigns"' in text and 'name="q"' in text and 'href="/campaigns"' in text
    assert "If it falls short, your bitcoin comes back." in text


def test_words_filters_and_orders_are_in_the_address(site: tuple[Paper, FlaskClient, list[str]]) -> None:
    client = site[1]
    assert len(shown(page(client, "/campaigns"))) == 8
    text = page(client, "/campaigns?q=loom+3&license=MIT&show=open&order=ending")
    assert shown(text) == ["Loom 3"] and "1 campaign found" in text and 'value="loom 3"' in text
    assert shown(page(client, "/campaigns?show=nearly")) == ["Loom 0"]
    assert len(shown(page(client, "/campaigns?license=MIT"))) == 4


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("q=nothing", "No campaign is like that."),
        ("license=none", "No campaign is like that."),
        ("hands=1", "No campaign is like that."),
        ("show=x", "There is no such selection"),
        ("order=x", "There is no such order"),
        ("kind=x", "There is no such kind"),
        ("page=0", "There is no such page"),
        ("page=-1", "There is no such page"),
        ("page=²", "There is no such page"),
        ("page=9999999999999999999999", "There is no such page"),
        ("page=77", "The list ends on page 1"),
        ("q=%00&license=%00", "8 campaigns"),
        ("q=" + "x" * 5_000, "No campaign is like that."),
        ("q=<script>", "&lt;script&gt;"),
    ],
)
def test_whatever_is_asked_is_answered_kindly(
    site: tuple[Paper, FlaskClient, list[str]], query: str, says: str
) -> None:
    text = page(site[1], f"/campaigns?{query}")
    assert says in text and "<script>" not in text


def test_pages_follow_each_other(site: tuple[Paper, FlaskClient, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crowdfund.web.discovering.ON_A_PAGE", 3)
    client, address, walked = site[1], "/campaigns?q=loom", list[str]()
    while address:
        text = page(client, address)
        walked += shown(text)
        found = re.search(r'rel="next" href="([^"]*)"', text)
        address = found[1].replace("&amp;", "&") if found else ""
    assert walked == [f"Loom {n}" for n in range(7, -1, -1)]
    assert "Page 3 of 3" in text


def test_no_page_asks_more_often_because_there_is_more(tmp_path: Path) -> None:
    """With 3 and with 30 of each; what one caches between requests is warm both times."""
    with Paper(tmp_path) as paper, paper_site(paper) as app:
        client = app.test_client()
        first = paper.campaign(title="Loom")
        pledges = [paper.pledge(first, 20_000)]
        addresses = ("/", "/campaigns", f"/campaigns/{first}", f"/p/{pledges[0].id}", "/campaigns?q=loom&order=funded")
        counts = []
        for many in (3, 30):
            pledges += [paper.pledge(first, 20_000) for _ in range(many - len(pledges))]
            pay(paper, pledges)
            keep(paper)
            if many > 3:
                copies(paper, first, many)
            counts.append([number_of(client, address) for address in addresses])
        assert counts[0] == counts[1]
        assert min(counts[1]) > 4 and max(counts[1]) <= 40, counts


def pay(paper: Paper, pledges: list[Pledge]) -> None:
    """A block with a coin for each pledge, and one more that waits."""
    paper.mine([coin(each, 20_000, f"{each.id} {paper.tip}") for each in pledges])
    paper.mempool([coin(pledges[0], 30_000, f"waits {paper.tip}")])


def number_of(client: FlaskClient, address: str) -> int:
    """How many statements a page takes, warm; under another address, as pages are kept by theirs."""
    page(client, address)
    with asked(client) as statements:
        page(client, f"{address}{'&' if '?' in address else '?'}again=1")
    return len(statements)


def copies(paper: Paper, first: str, many: int) -> None:
    """More campaigns, as many as there are accounts."""
    for number in range(min(many, 6)):
        made = paper.campaign(title=f"Loom {number}", deadline_at=START + 70 * BLOCK_TIME)
        paper.mine([coin(paper.pledge(made, 900_000), 900_000, made)])
    keep(paper)


def test_style_sheets_and_scripts_are_packed(site: tuple[Paper, FlaskClient, list[str]]) -> None:
    client, packed = site[1], {"Accept-Encoding": "gzip"}
    with client.get("/static/site.css") as plain, client.get("/static/site.css", headers=packed) as small:
        sheet, sent = plain.get_data(), small.get_data()
        assert gzip.decompress(sent) == sheet and len(sent) < len(sheet) / 3
        assert small.headers["Content-Encoding"] == "gzip" and small.headers["ETag"] != plain.headers["ETag"]
        assert "Accept-Encoding" in small.headers["Vary"] and "Content-Encoding" not in plain.headers
