"""Proof that a project is somebody's: asked for on a page, looked for elsewhere, shown as long as it is seen."""

from __future__ import annotations

import html
import re
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from sqlalchemy import select

from crowdfund.campaigns import service
from crowdfund.campaigns.models import Campaign, Creator
from crowdfund.config import Settings
from crowdfund.errors import UserError
from crowdfund.processes import _looking_again
from crowdfund.projects import looking, rechecking, writing
from crowdfund.projects.fetching import Fetcher
from crowdfund.projects.models import Project
from crowdfund.projects.proof import Way
from crowdfund.projects.proof_models import ProjectProof
from crowdfund.projects.rechecking import Looker
from crowdfund.projects.urls import Fetch, Fetched, NoFile
from crowdfund.web.outside import LIMITER
from support.details import PROJECT, begun, member, more_accounts, paper_site, written
from support.internet import Authority, Internet, Server, files, http, serving
from support.paper import Paper
from support.site import Visitor, sentences

REPO = "https://github.com/ada/{}"
RAW = "/ada/{}/HEAD/"
DAY = timedelta(days=1)
ADDRESS = "151.101.1.69"


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


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> ssl.SSLContext:
    return authority.server("raw.githubusercontent.com", "drill.example.org")


class House:
    """A site, what looks for it, and the repositories of the world."""

    def __init__(self, paper: Paper, server: Server, there: dict[str, bytes], fetch: Fetch) -> None:
        self.paper, self.server, self.there = paper, server, there
        self.looker = Looker(paper.database, paper.settings, fetch)
        self.base = paper.settings.base_url

    def look(self, now: datetime | None = None) -> int:
        return self.looker.step(threading.Event(), now)

    def text(self, visitor: Visitor, slug: str, way: str) -> str:
        """What the page tells to write."""
        page = visitor.get(f"/projects/{slug}/proof").get_data(as_text=True)
        return dict(zip(("list", "yml", "token", "comment"), copied(page), strict=True))[way]

    def rows(self, slug: str) -> list[ProjectProof]:
        with self.paper.database.reading() as session:
            own = select(ProjectProof).where(ProjectProof.project_id == writing.by_slug(session, slug).id)
            return list(session.scalars(own.order_by(ProjectProof.id)))


def copied(page: str) -> list[str]:
    """The texts that the buttons copy."""
    return [html.unescape(text) for text in re.findall(r'data-copy="([^"]*)"', page)]


@pytest.fixture
def house(
    paper: Paper, authority: Authority, certificate: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> Iterator[House]:
    monkeypatch.setattr(rechecking, "BETWEEN_S", 0)
    monkeypatch.setattr(looking, "ASK_AGAIN", timedelta(0))
    net, there = Internet(), dict[str, bytes]()
    net.name("raw.githubusercontent.com", ADDRESS)
    net.name("drill.example.org", ADDRESS)
    with serving(files(there), certificate) as server:
        net.at(ADDRESS, server)
        fetcher = Fetcher(resolve=net.resolve, connect=net.connect, context=authority.client(), timeout_s=3)
        yield House(paper, server, there, fetcher.fetch)


def project(visitor: Visitor, name: str, **more: str) -> str:
    """A new project with a repository of its own; its slug."""
    begun(visitor, name=name, repository_url=REPO.format(name), **more)
    return name


def ask(visitor: Visitor, slug: str) -> None:
    answer = visitor.send(f"/projects/{slug}/proof", {})
    assert answer.status_code == 303, sentences(answer)


# -- the three ways --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "path", "outcome"),
    [
        ("list", ".well-known/funding-manifest-urls", Way.MANIFEST_URLS),
        ("yml", ".github/FUNDING.yml", Way.FUNDING_YML),
        ("token", ".well-known/crowdfund-challenge", Way.CHALLENGE),
        ("comment", "README.md", Way.CHALLENGE),
    ],
)
def test_the_text_that_the_page_tells_to_write_proves_it(
    house: House, app: Flask, alice: Visitor, way: str, path: str, outcome: Way
) -> None:
    slug = project(alice, f"by-{way}")
    assert "Nobody has looked yet." in sentences(alice.get(f"/projects/{slug}/proof"))
    ask(alice, slug)
    page = alice.get(f"/projects/{slug}/proof")
    assert "Asked for on" in sentences(page) and 'http-equiv="refresh"' in page.get_data(as_text=True)
    assert house.server.hits == 0, "the page itself fetches nothing"
    text = house.text(alice, slug, way)
    house.there[RAW.format(slug) + path] = http(text.encode())
    assert house.look() == 1 and house.look() == 0
    asked, seen = house.rows(slug)
    assert (asked.outcome, seen.outcome, seen.way) == ("asked", "shown", outcome) and seen.asked_by == asked.asked_by
    assert seen.url == f"https://raw.githubusercontent.com{RAW.format(slug)}{path}" and seen.line in text
    told = sentences(alice.get(f"/projects/{slug}/proof"))
    assert f"Verified by the repository on {seen.looked_at.day} " in told and seen.line in told and seen.sha256 in told
    public = sentences(Visitor(app).get(f"/projects/{slug}"))
    assert "✓ verified by the repository" in public and seen.url in public and seen.line in public


def test_what_is_not_there_is_said_and_proves_nothing(house: House, app: Flask, alice: Visitor) -> None:
    slug, other = project(alice, "nothing-there"), project(alice, "another")
    house.there[RAW.format(slug) + "README.md"] = http(house.text(alice, other, "comment").encode())
    house.there[RAW.format(slug) + ".github/FUNDING.yml"] = http(house.text(alice, other, "yml").encode())
    ask(alice, slug)
    house.look()
    row = house.rows(slug)[-1]
    assert row.outcome == "absent" and "Nothing that we found" in row.sentence
    assert "Nothing that we found" in sentences(alice.get(f"/projects/{slug}/proof"))
    assert "verified" not in sentences(Visitor(app).get(f"/projects/{slug}"))


def test_a_site_counts_where_the_repository_shows_nothing(house: House, app: Flask, alice: Visitor) -> None:
    slug = project(alice, "by-site", site_url="https://drill.example.org/")
    house.there["/.well-known/crowdfund-challenge"] = http(house.text(alice, slug, "token").encode())
    ask(alice, slug)
    house.look()
    assert [row.outcome for row in house.rows(slug)] == ["asked", "absent", "shown"]
    assert "✓ verified by the site" in sentences(Visitor(app).get(f"/projects/{slug}"))


def test_a_repository_is_called_one_wherever_its_address_stands(house: House, app: Flask, alice: Visitor) -> None:
    begun(alice, name="as-site", repository_url="", site_url=REPO.format("as-site"))
    house.there[RAW.format("as-site") + "README.md"] = http(house.text(alice, "as-site", "comment").encode())
    ask(alice, "as-site")
    house.look()
    assert "✓ verified by the repository" in sentences(Visitor(app).get("/projects/as-site"))


# -- day by day ------------------------------------------------------------------------------------------------


def proven(house: House, alice: Visitor, name: str) -> str:
    slug = project(alice, name)
    house.there[RAW.format(slug) + "README.md"] = http(house.text(alice, slug, "comment").encode())
    ask(alice, slug)
    house.look()
    return slug


def later(house: House, slug: str, days: float) -> None:
    """All looks of a project were so much earlier. Only a test can do that: the tables forbid it."""
    with house.paper.database.engine.begin() as connection:
        triggers = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").all()
        own = [(n, s) for n, s in triggers if "project_proofs" in n]
        for name, _ in own:
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        for row in house.rows(slug):
            moved = ProjectProof.__table__.update().where(ProjectProof.id == row.id)  # type: ignore[attr-defined]
            connection.execute(moved.values(looked_at=row.looked_at - timedelta(days=days)))
        for _, sql in own:
            connection.exec_driver_sql(sql)


def test_it_is_looked_at_again_each_day_and_stands_some_days_without(house: House, app: Flask, alice: Visitor) -> None:
    slug = proven(house, alice, "by-the-day")
    visitor = Visitor(app)
    later(house, slug, 0.5)
    assert house.look() == 0, "half a day is not over yet"
    later(house, slug, 1)
    assert house.look() == 1
    assert [row.outcome for row in house.rows(slug)] == ["asked", "shown", "shown"]
    assert house.rows(slug)[-1].asked_by is None
    del house.there[RAW.format(slug) + "README.md"]
    later(house, slug, 1.2)
    house.look()
    told = sentences(visitor.get(f"/projects/{slug}"))
    assert "✓ verified by the repository" in told and "we did not see it: Nothing that we found" in told
    later(house, slug, 2)
    told = sentences(visitor.get(f"/projects/{slug}"))
    assert "✓ verified" not in told and "Not verified any more." in told and "we have not seen it again" in told
    later(house, slug, 40)
    assert house.look() == 0, "nobody is looked at for ever"


def test_nobody_who_looks_is_no_proof_either(house: House, app: Flask, alice: Visitor) -> None:
    slug = proven(house, alice, "looker-away")
    later(house, slug, 3.01)
    told = sentences(Visitor(app).get(f"/projects/{slug}"))
    assert "✓ verified" not in told and "Not verified any more." in told


def test_a_host_that_is_away_takes_nothing_at_once(house: House, app: Flask, alice: Visitor) -> None:
    slug = proven(house, alice, "host-away")
    house.server.close()
    later(house, slug, 1.2)
    house.look()
    row = house.rows(slug)[-1]
    assert row.outcome == "unsure" and "We cannot get a file" in row.sentence
    told = sentences(Visitor(app).get(f"/projects/{slug}"))
    assert "✓ verified" in told and "We cannot get a file" in told


def test_a_fault_keeps_no_other_from_a_look(house: House, alice: Visitor, caplog: pytest.LogCaptureFixture) -> None:
    bad, good = project(alice, "bad"), project(alice, "good")
    ask(alice, bad)
    ask(alice, good)
    right = house.looker.fetch

    def fetch(url: str) -> Fetched:
        if "/bad/" in url:
            raise ZeroDivisionError(url)
        return right(url)

    house.looker.fetch = fetch
    assert house.look() == 1 and house.rows(good)[-1].outcome == "absent"
    assert house.rows(bad)[-1].outcome == "asked" and "has met a fault" in caplog.text
    caplog.clear()
    assert house.look() == 0 and not caplog.text, "not again and again"
    house.looker.fetch, house.looker._again_at = right, {}
    assert house.look() == 1


def test_two_who_look_write_it_down_once(house: House, alice: Visitor) -> None:
    slug = project(alice, "twice-looked")
    ask(alice, slug)
    with house.paper.database.reading() as session:
        project_id = writing.by_slug(session, slug).id

    def nothing(_url: str) -> Fetched:
        raise NoFile("There is none.")

    def fetch(url: str) -> Fetched:
        if len(house.rows(slug)) == 1:
            assert looking.look(house.paper.database, house.base, project_id, nothing, datetime.now(UTC))
        return nothing(url)

    assert not looking.look(house.paper.database, house.base, project_id, fetch, datetime.now(UTC))
    assert [row.outcome for row in house.rows(slug)] == ["asked", "absent"]


def test_the_address_of_before_proves_nothing_for_the_new_one(house: House, app: Flask, alice: Visitor) -> None:
    slug = proven(house, alice, "moves-away")
    changed = {**PROJECT, "name": "moves-away", "repository_url": "https://github.com/eve/moves-away"}
    assert alice.send(f"/projects/{slug}/edit", changed).status_code == 303
    assert "verified" not in sentences(Visitor(app).get(f"/projects/{slug}"))


def test_it_is_looked_at_in_the_process_that_tells_people(paper: Paper, alice: Visitor) -> None:
    near = Settings.from_env({**paper.settings.to_env(), "CROWDFUND_FETCHING": "local"})
    with serving(files({})) as server:
        slug = "near-by"
        begun(alice, name=slug, repository_url=f"http://127.0.0.1:{server.port}/ada/near")
        ask(alice, slug)
        stop = threading.Event()
        thread = _looking_again(near, paper.database, stop)
        assert thread is not None
        for _ in range(100):
            with paper.database.reading() as session:
                waiting = looking.waiting_since(session, writing.by_slug(session, slug).id)
            if waiting is None:
                break
            threading.Event().wait(0.1)
        stop.set()
        thread.join(5)
        assert waiting is None and not thread.is_alive() and server.hits > 3
    assert (
        _looking_again(Settings.from_env({**near.to_env(), "CROWDFUND_FETCHING": "off"}), paper.database, stop) is None
    )


# -- on campaigns ----------------------------------------------------------------------------------------------


def test_on_the_page_of_a_campaign_only_what_is_frozen_counts(
    house: House, paper: Paper, app: Flask, alice: Visitor
) -> None:
    name = "with-campaign"
    draft = written(alice, name=name, repository_url=REPO.format(name))
    with paper.database.transaction() as session:
        campaign = session.get_one(Campaign, draft)
        campaign.project_url = REPO.format(name)
        owner = session.scalars(select(Creator.id).where(Creator.key == "alice")).one()
        service.publish(session, paper.settings, owner, draft)
    house.there[RAW.format(name) + ".github/FUNDING.yml"] = http(f"custom: {house.base}/campaigns/{draft}\n".encode())
    ask(alice, name)
    house.look()
    public = sentences(Visitor(app).get(f"/campaigns/{draft}"))
    assert "✓ verified by the repository" in public and f"{house.base}/campaigns/{draft}" in public
    changed = {**PROJECT, "name": name, "repository_url": "https://github.com/ada/other"}
    assert alice.send(f"/projects/{name}/edit", changed).status_code == 303
    house.there["/ada/other/HEAD/README.md"] = http(house.text(alice, name, "comment").encode())
    ask(alice, name)
    house.look()
    assert "✓ verified" in sentences(Visitor(app).get(f"/projects/{name}"))
    assert "✓ verified" not in sentences(Visitor(app).get(f"/campaigns/{draft}"))


# -- who may ask, and how often --------------------------------------------------------------------------------


def test_who_may_ask_and_how_often(house: House, app: Flask, alice: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    slug = project(alice, "whose")
    path = f"/projects/{slug}/proof"
    assert f'href="{path}"' in alice.get(f"/projects/{slug}").get_data(as_text=True)
    assert Visitor(app).get(path).status_code == 303
    eve = member(app, "eve of the proofs")
    assert eve.get(path).status_code == 404 and eve.post(path).status_code == 404
    assert f'href="{path}"' not in eve.get(f"/projects/{slug}").get_data(as_text=True)
    monkeypatch.setattr(looking, "ASK_AGAIN", timedelta(seconds=30))
    ask(alice, slug)
    answer = alice.send(path, {})
    assert answer.status_code == 422 and "wait half a minute" in sentences(answer) and len(house.rows(slug)) == 1

    def limiter(what: str) -> None:
        raise UserError(f"Too often: {what}.")

    app.extensions[LIMITER] = limiter
    try:
        answer = alice.send(path, {})
    finally:
        del app.extensions[LIMITER]
    assert answer.status_code == 422 and "Too often: look." in sentences(answer)


def test_the_token_is_the_projects_own_and_stays(paper: Paper, alice: Visitor) -> None:
    project(alice, "token-one")
    project(alice, "token-two")
    with paper.database.reading() as session:
        one, two = (writing.by_slug(session, slug) for slug in ("token-one", "token-two"))
        tokens = {looking.token_of(one), looking.token_of(two), looking.token_of(session.get_one(Project, one.id))}
    assert len(tokens) == 2 and all(token.startswith("crowdfund-") for token in tokens)
