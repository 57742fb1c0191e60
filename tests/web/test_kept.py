"""Pages that are rendered once for many: never an old one, never to the wrong person, never with somebody's token."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask, render_template
from sqlalchemy import select

from crowdfund.campaigns import moderation, own_money, posts, recording, updates
from crowdfund.campaigns.models import Campaign, Pledge
from crowdfund.db import Database
from crowdfund.web import kept, public
from crowdfund.web.kept import KeptPages, Moments, Page
from support import fresh
from support.paper import START, Paper, coin
from support.site import Visitor, site_of
from support.world import PASSWORD

Write = Callable[[Paper, str], object]


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paper]:
    with Paper(tmp_path_factory.mktemp("paper")) as chain:
        yield chain


@pytest.fixture(scope="module")
def app(paper: Paper) -> Iterator[Flask]:
    """A real site: without a test bench."""
    with site_of(paper, test_bench=False) as running:
        yield running


@pytest.fixture(scope="module")
def campaign(paper: Paper) -> str:
    """A campaign with a pledge that counts and a question that waits."""
    found = paper.campaign()
    paper.mine([coin(paper.pledge(found), 100_000, "first")])
    with paper.database.transaction() as db:
        posts.ask(db, db.get_one(Campaign, found), "Bob", "Why a drill?", START)
    return found


@pytest.fixture
def bob(app: Flask) -> Visitor:
    return Visitor(app)


@pytest.fixture
def renderings(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The templates that the public pages were made from, as it happens; nothing is kept yet, and no time passes."""
    made: list[str] = []
    app.extensions["crowdfund-kept"].moments.close()

    def note(name: str, **more: Any) -> str:
        made.append(name)
        return render_template(name, **more)

    monkeypatch.setattr(public, "render_template", note)
    monkeypatch.setattr(kept, "KEPT_S", 3_600)
    yield made


def test_a_page_is_rendered_once_for_all_who_are_not_known(app: Flask, campaign: str, renderings: list[str]) -> None:
    pages = [Visitor(app).get(f"/campaigns/{campaign}").text for _ in range(3)]
    fronts = [Visitor(app).get("/").text for _ in range(3)]
    assert len(set(pages)) == len(set(fronts)) == 1 and pages[0] != fronts[0]
    assert sorted(renderings) == ["campaign.html", "front.html"]


def the(paper: Paper, found: str, act: Callable[..., object], *values: object) -> None:
    """Do something to the campaign as its creator, in one transaction."""
    with paper.database.transaction() as db:
        row = db.get_one(Campaign, found)
        act(db, row.creator, row, *values)


def hide_the_name(paper: Paper, found: str, how: Callable[..., None]) -> None:
    with paper.database.transaction() as db:
        pledge = db.scalars(select(Pledge).where(Pledge.campaign_id == found).order_by(Pledge.index)).first()
        assert pledge is not None
        target = moderation.Target.pledge(pledge.id)
        how(db, db.get_one(Campaign, found), target, moderation.OPERATOR, "Somebody asked for it.", START)


def declare(paper: Paper, found: str) -> None:
    with paper.database.transaction() as db:
        pledge = db.scalars(select(Pledge).where(Pledge.campaign_id == found).order_by(Pledge.index)).first()
        assert pledge is not None
        own_money.declare(db, pledge.campaign.creator, pledge, True, START)


WRITES: dict[str, Write] = {
    "a block": lambda paper, _: paper.mine(),
    "a payment that is seen": lambda paper, found: paper.mempool([coin(paper.pledge(found), 70_000, "seen")]),
    "an update": lambda paper, found: the(paper, found, updates.write, "Wheels", "They turn.", START),
    "an update's new version": lambda paper, found: the(paper, found, updates.write, "Wheels", "Still.", START, 1),
    "a question": lambda paper, found: the(
        paper, found, lambda db, _, row: posts.ask(db, row, "Carol", "And the seeds?", START)
    ),
    "an answer": lambda paper, found: the(
        paper, found, lambda db, alice, row: posts.answer(db, alice, row, 1, "To sow.", START)
    ),
    "a comment": lambda paper, found: the(paper, found, posts.comment_as_creator, "Thank you all.", START),
    "a thing hidden": lambda paper, found: hide_the_name(paper, found, moderation.hide),
    "a thing shown again": lambda paper, found: hide_the_name(paper, found, moderation.show),
    "own money": declare,
    "another view of the chain": lambda paper, _: trouble(paper),
}


def trouble(paper: Paper) -> None:
    with paper.database.transaction() as db:
        recording.set_view(db, "the node is away", "", 2, datetime.now(UTC))


@pytest.mark.parametrize("what", WRITES)
def test_whatever_is_written_shows_at_once(
    paper: Paper, app: Flask, campaign: str, what: str, renderings: list[str]
) -> None:
    address = f"/campaigns/{campaign}"
    before = Visitor(app).get(address)
    assert Visitor(app).get(address).text == before.text and renderings == ["campaign.html"]
    WRITES[what](paper, campaign)
    after = Visitor(app).get(address)
    assert after.text != before.text and after.headers["ETag"] != before.headers["ETag"]
    assert renderings == ["campaign.html"] * 2


def test_time_passes_on_kept_pages_too(bob: Visitor, renderings: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    bob.get("/")
    monkeypatch.setattr(kept, "KEPT_S", 0)
    bob.get("/")
    assert renderings == ["front.html"] * 2


def test_who_is_logged_in_neither_gets_nor_leaves_a_kept_page(
    app: Flask, paper: Paper, bob: Visitor, renderings: list[str]
) -> None:
    alice = Visitor(app)
    paper.creator()
    alice.sign_up("Alice who is in")
    alice.get("/")  # the flash of welcome is shown
    renderings.clear()
    for _ in range(2):
        page = alice.get("/")
        assert "Alice who is in" in page.text and page.headers["Cache-Control"] == "no-store"
        assert "ETag" not in page.headers
    assert "Alice who is in" not in bob.get("/").text
    assert "Alice who is in" in alice.get("/").text
    assert renderings == ["front.html"] * 4
    assert PASSWORD not in bob.get("/").text


def test_what_somebody_is_told_is_told_to_nobody_else(app: Flask, bob: Visitor, renderings: list[str]) -> None:
    bob.get("/")
    with bob.client.session_transaction() as session:
        session["_flashes"] = [("good", "For Bob alone.")]
    assert "For Bob alone." in bob.get("/").text
    assert "For Bob alone." not in Visitor(app).get("/").text
    assert "For Bob alone." not in bob.get("/").text
    assert renderings == ["front.html"] * 2


def test_who_has_only_looked_at_a_form_is_still_nobody(app: Flask, bob: Visitor, renderings: list[str]) -> None:
    assert bob.csrf_token("/login")
    renderings.clear()
    assert bob.get("/").text == Visitor(app).get("/").text
    assert renderings == ["front.html"]


def test_languages_cookies_hosts_and_queries_have_pages_of_their_own(
    app: Flask, renderings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = ["en"]
    monkeypatch.setattr(kept, "language", lambda: chosen[0])
    asked: list[dict[str, Any]] = [
        {},
        {"query_string": "q=drill"},
        {"headers": {"Host": "other.example.org"}},
        {"headers": {"Cookie": "units=btc"}},
        {"headers": {"Cookie": "units=sat"}},
    ]
    for language in ("en", "de"):
        chosen[0] = language
        for more in asked * 2:
            assert app.test_client(use_cookies=False).get("/", **more).status_code == 200
    assert len(renderings) == 2 * len(asked)
    # What other programs put there tells nobody apart.
    app.test_client(use_cookies=False).get("/", headers={"Cookie": "_other=1; session=broken"})
    assert len(renderings) == 2 * len(asked)


def test_an_unchanged_page_is_not_sent_twice(paper: Paper, bob: Visitor, campaign: str) -> None:
    address = f"/campaigns/{campaign}"
    first = bob.get(address)
    assert first.headers["Cache-Control"] == "private, no-cache"
    assert {"Cookie", "Accept-Language"} <= set(first.headers["Vary"].split(", "))
    known = {"If-None-Match": first.headers["ETag"]}
    again = bob.get(address, headers=known)
    assert again.status_code == 304 and again.data == b"" and "Content-Security-Policy" in again.headers
    with paper.database.transaction() as db:
        recording.tell_pages(db)  # something changed elsewhere: this page shows what it showed
    assert bob.get(address, headers=known).status_code == 304
    paper.mine()
    assert bob.get(address, headers=known).status_code == 200


def test_only_a_page_that_is_the_same_for_everybody_is_packed(
    paper: Paper, app: Flask, bob: Visitor, campaign: str
) -> None:
    """How well a page with somebody's token can be packed would tell of the token."""
    packed, address = {"Accept-Encoding": "gzip"}, f"/campaigns/{campaign}"
    whole, small = bob.get(address), bob.get(address, headers=packed)
    assert gzip.decompress(small.data) == whole.data and len(small.data) < len(whole.data) / 3
    assert small.headers["Content-Encoding"] == "gzip" and "Content-Encoding" not in whole.headers
    assert "Accept-Encoding" in small.headers["Vary"] and "Accept-Encoding" in whole.headers["Vary"]
    assert bob.get(address, headers=packed | {"If-None-Match": small.headers["ETag"]}).status_code == 304
    alice = Visitor(app)
    paper.creator()
    alice.sign_up("Alice who sends forms")
    bob.get(f"{address}/pledge")  # from here on there is a token of his
    with site_of(paper, test_bench=True) as bench:
        pages = [alice.get("/", headers=packed), Visitor(bench).get(address, headers=packed)]
        pages.append(bob.get(f"{address}/pledge", headers=packed))
    assert all(b"csrf_token" in page.data and "Content-Encoding" not in page.headers for page in pages)


def test_a_page_with_forms_holds_each_visitors_own_token(paper: Paper, campaign: str) -> None:
    with site_of(paper, test_bench=True) as app:
        made: list[Visitor] = [Visitor(app) for _ in range(2)]
        pages = [visitor.get(f"/campaigns/{campaign}") for visitor in made]
        tokens = {visitor.csrf_token(f"/campaigns/{campaign}") for visitor in made}
        assert len(tokens) == 2 and all(kept.TOKEN_MARK not in page.text for page in pages)
        assert all("ETag" not in page.headers and page.headers["Cache-Control"] == "no-store" for page in pages)
        form = {"csrf_token": made[0].csrf_token("/"), "blocks": "0", "back": "/"}
        assert made[0].client.post("/bench/mine", data=form).status_code != 400
        assert made[1].client.post("/bench/mine", data=form).status_code == 400


def test_one_renders_and_the_others_wait() -> None:
    pages, gate, began = _pages(), threading.Event(), threading.Event()
    made: list[int] = []
    found: list[Page | None] = []

    def render(moment: int) -> Page:
        made.append(moment)
        began.set()
        assert gate.wait(5)
        return _page(moment)

    asking = [threading.Thread(target=lambda: found.append(pages.get(("/",), 0, render))) for _ in range(8)]
    for thread in asking:
        thread.start()
    assert began.wait(5)
    gate.set()
    for thread in asking:
        thread.join(5)
    assert made == [1] and len(found) == 8 and len(set(map(id, found))) == 1


def test_who_comes_after_a_commit_is_not_content_with_what_was_begun_before_it() -> None:
    pages = _pages()
    gate, began = threading.Event(), threading.Event()

    def slow(moment: int) -> Page:
        began.set()
        assert gate.wait(5)
        return _page(moment)

    first = threading.Thread(target=lambda: pages.get(("/",), 0, slow))
    first.start()
    assert began.wait(5)
    _clock(pages).number = 2  # somebody commits
    found: list[Page | None] = []
    second = threading.Thread(target=lambda: found.append(pages.get(("/",), 0, _page)))
    second.start()
    gate.set()
    for thread in (first, second):
        thread.join(5)
    assert found[0] is not None and found[0].moment == 2


def test_a_rendering_that_fails_or_cannot_be_shared_holds_up_nobody() -> None:
    pages = _pages()

    def fails(_: int) -> Page:
        raise LookupError

    for _ in range(2):
        with pytest.raises(LookupError):
            pages.get(("/",), 0, fails)
    assert pages.get(("/",), 0, lambda _: None) is None
    assert pages.get(("/",), 0, _page) is not None


def test_who_was_told_of_a_change_gets_no_page_from_before_it() -> None:
    pages = _pages()
    pages.get(("/",), 0, lambda moment: _page(moment, changes=4))
    newer = pages.get(("/",), 5, lambda moment: _page(moment, changes=5))
    assert newer is not None and newer.changes == 5
    assert pages.get(("/",), 5, lambda _: pytest.fail("it is kept")) is newer


def test_few_pages_are_kept_and_while_nobody_can_tell_what_is_written_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MAX_PAGES", 3)
    monkeypatch.setattr(kept, "MAX_LETTERS", 10)
    pages = _pages()
    for n in range(5):
        pages.get((str(n),), 0, lambda moment: _page(moment, text="12345"))
    assert list(pages._pages) == [("3",), ("4",)] and pages._letters == 10
    _clock(pages).number = None
    assert pages.get(("4",), 0, _page) is None


def test_moments_grow_with_the_commits_of_others(database_url: str) -> None:
    with closing(fresh.database(database_url)) as ours, closing(Database(database_url)) as theirs:
        moments = Moments(ours)
        before = moments.now()
        assert before is not None and moments.now() == before
        with theirs.transaction() as db:
            recording.set_view(db, "live", "", 2, START)
        give_up = time.monotonic() + 5
        while moments.now() == before and time.monotonic() < give_up:
            time.sleep(0.01)
        after = moments.now()
        assert after is not None and after > before
        ours.close()  # as at the end of a process
        assert moments._watch is None
        assert moments.now() != after


class SetClock:
    """Moments as a test says them."""

    def __init__(self) -> None:
        self.number: int | None = 1

    def now(self) -> int | None:
        return self.number


def _pages() -> KeptPages:
    return KeptPages(SetClock())


def _clock(pages: KeptPages) -> SetClock:
    assert isinstance(pages.moments, SetClock)
    return pages.moments


def _page(moment: int, changes: int = 0, text: str = "text") -> Page:
    return Page(text, "etag", moment, changes, time.monotonic())
