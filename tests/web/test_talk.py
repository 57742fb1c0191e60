"""What people say on the site, who may say it, and what is hidden; on a chain on paper."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner
from flask import Flask
from sqlalchemy import select

from crowdfund import create_app
from crowdfund.accounts import limits
from crowdfund.campaigns import posts, service
from crowdfund.campaigns.models import Campaign, Pledge
from crowdfund.campaigns.talk_models import Moderation, Post
from crowdfund.cli import main
from support.described import fits
from support.paper import REFUND, Paper, coin
from support.site import Visitor, field_error, sentences, site_of

PASSWORD = "correct horse battery"
EVIL = '<script>alert(1)</script> & "quotes"'


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[Paper]:
    with Paper(tmp_path) as chain:
        yield chain


@pytest.fixture
def app(paper: Paper) -> Iterator[Flask]:
    made = create_app(paper.settings)
    yield made
    made.extensions["crowdfund"].database.close()


@pytest.fixture
def campaign(paper: Paper) -> str:
    return paper.campaign()


@pytest.fixture
def alice(app: Flask, campaign: str) -> Visitor:
    """The campaign's creator."""
    return logged_in(app, "alice 1")


@pytest.fixture
def bob(app: Flask) -> Visitor:
    """Anybody."""
    return Visitor(app)


@pytest.fixture
def mallory(app: Flask) -> Visitor:
    """A creator, but not of this campaign."""
    visitor = Visitor(app)
    visitor.sign_up("mallory")
    return visitor


def logged_in(app: Flask, name: str) -> Visitor:
    visitor = Visitor(app)
    assert visitor.send("/login", {"name": name, "password": PASSWORD}).status_code == 303
    return visitor


def paid(paper: Paper, campaign: str, sats: int = 100_000, name: str = "a") -> Pledge:
    pledge = paper.pledge(campaign, sats)
    paper.mine([coin(pledge, sats, name)])
    return pledge


def written(paper: Paper) -> list[Post]:
    with paper.database.reading() as session:
        return list(session.scalars(select(Post).order_by(Post.id)))


def test_an_update_is_published_at_once_and_edited_in_the_open(alice: Visitor, bob: Visitor, campaign: str) -> None:
    path = f"/campaigns/{campaign}"
    assert 'id="updates"' not in bob.get(path).text
    for number in (1, 2, 3):
        answer = alice.send(
            f"{path}/updates/new", {"title": f"Week {number}", "text": f"It **grows** {number}. {EVIL}"}
        )
        assert answer.status_code == 303 and answer.location == f"{path}/updates/{number}"
    page = bob.get(path).text
    assert "Week 3" in page and "Week 2" in page and "Week 1" not in page, "the newest two"
    assert "<strong>grows</strong>" in page and "<script>alert" not in page
    assert [f"Week {n}" in bob.get(f"{path}/updates").text for n in (1, 2, 3)] == [True] * 3
    edit = f"{path}/updates/2/edit"
    assert "Week 2" in alice.get(edit).text
    assert alice.send(edit, {"title": "Week two", "text": "Better."}).status_code == 303
    said = sentences(bob.get(f"{path}/updates/2"))
    assert "Week two" in said and "Better." in said and "2 versions" in said and "It grows 2." in said
    assert alice.send(edit, {"title": "Week two", "text": "Better."}).status_code == 303
    told = bob.get(f"/api/v1{path}/updates").json
    assert told is not None and fits(told, "Updates")
    assert [(u["number"], len(u["versions"])) for u in told["updates"]] == [(3, 1), (2, 2), (1, 1)], "no empty edit"
    newest = told["updates"][1]["versions"][0]
    assert newest["sha256"] == sha256(b"Week two\n\nBetter.").hexdigest()


def test_only_the_creator_writes_updates(bob: Visitor, mallory: Visitor, alice: Visitor, campaign: str) -> None:
    path, update = f"/campaigns/{campaign}/updates/new", {"title": "t", "text": "t"}
    assert bob.get(path).location == f"/login?next={path}"
    assert bob.post(path, update).status_code == 303
    assert mallory.get(path).status_code == 404 and mallory.post(path, update).status_code == 404
    assert bob.get(f"/campaigns/{campaign}/updates/1").status_code == 404
    alice.send(path, update)
    assert mallory.get(f"/campaigns/{campaign}/updates/1/edit").status_code == 404
    assert mallory.post(f"/campaigns/{campaign}/updates/1/edit", update).status_code == 404
    page = alice.get(f"/campaigns/{campaign}/updates/1").text
    assert "/updates/1/edit" in page and "/updates/1/edit" not in bob.get(f"/campaigns/{campaign}/updates/1").text


@pytest.mark.parametrize(
    ("field", "text", "sentence"),
    [
        ("title", " ", "Please write a title."),
        ("title", "x" * 121, "The title has 121 characters; at most 120 fit."),
        ("text", "", "Please write a text."),
        ("text", "x" * 20_001, "The text has 20001 characters; at most 20000 fit."),
    ],
)
def test_a_bad_update_comes_back_whole(alice: Visitor, campaign: str, field: str, text: str, sentence: str) -> None:
    answer = alice.send(f"/campaigns/{campaign}/updates/new", {"title": "kept 1", "text": "kept 2", field: text})
    assert answer.status_code == 422 and field_error(answer, field) == sentence
    assert ("kept 2" if field == "title" else "kept 1") in answer.text


def test_a_question_waits_for_its_answer(alice: Visitor, bob: Visitor, campaign: str) -> None:
    path = f"/campaigns/{campaign}"
    answer = bob.send(f"{path}/talk", {"name": "Zoë", "text": f"Who\nbuilds it? {EVIL}"})
    assert answer.status_code == 303
    for page in (bob.get(path), bob.get(f"{path}/talk")):
        assert "builds it?" not in page.text and "1 question waits for an answer" in sentences(page)
    assert "builds it?" in sentences(alice.get(f"{path}/talk"))
    assert "builds it?" in sentences(alice.get(f"{path}/talk/1/answer"))
    assert alice.send(f"{path}/talk/1/answer", {"text": "A smith."}).status_code == 303
    for page in (bob.get(path), bob.get(f"{path}/talk")):
        said = sentences(page)
        assert "Who builds it?" in said and "A smith." in said and "waits" not in said and EVIL in said
        assert "<script>alert" not in page.text
    told = bob.get(f"/api/v1{path}/talk").json
    assert told is not None and fits(told, "Talk")
    (question,) = told["questions"]
    assert fits(question, "Thread") and question["answers"][0]["role"] == "creator"
    assert question["name"] == "Zoë" and question["role"] == "visitor" and told["waiting_questions"] == 0


def test_a_question_may_be_shown_without_an_answer(
    alice: Visitor, mallory: Visitor, bob: Visitor, campaign: str
) -> None:
    path = f"/campaigns/{campaign}/talk"
    bob.send(path, {"text": "Why?"})
    for visitor, code in ((bob, 303), (mallory, 404)):
        assert visitor.post(f"{path}/1/approve").status_code == code
        assert visitor.post(f"{path}/1/answer", {"text": "x"}).status_code == code
    assert "Why?" not in bob.get(path).text
    for _ in range(2):
        assert alice.post(f"{path}/1/approve").status_code == 303
    assert "Why?" in bob.get(path).text
    assert alice.post(f"{path}/9/approve").status_code == 404
    assert alice.get(f"{path}/9/answer").status_code == 404


def test_a_flood_of_questions_ends(bob: Visitor, campaign: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posts, "MOST_WAITING", 2)
    path = f"/campaigns/{campaign}/talk"
    assert [bob.send(path, {"text": "Why?"}).status_code for _ in range(3)] == [303, 303, 422]
    assert "no more are taken" in sentences(bob.send(path, {"text": "Why?"}))


def test_one_address_says_only_so_much(paper: Paper, campaign: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WORDS", limits.Rule("words", 2, 86_400))
    with site_of(paper, limit_factor=1) as app:
        bob, path = Visitor(app), f"/campaigns/{campaign}/talk"
        assert [bob.send(path, {"text": "Why?"}).status_code for _ in range(3)] == [303, 303, 429]
        refused = bob.send(path, {"text": "Why not?"})
        assert "tried too often" in sentences(refused) and "Why not?" in refused.text
        assert int(refused.headers["Retry-After"]) > 0 and len(written(paper)) == 2
        elsewhere = {"environ_base": {"REMOTE_ADDR": "192.0.2.9"}}
        assert bob.post(path, {"text": "Why?"}, page=path, **elsewhere).status_code == 303


def test_backers_comment_once_their_money_counts(paper: Paper, bob: Visitor, alice: Visitor, campaign: str) -> None:
    pledge = paper.pledge(campaign)
    path, talk = f"/p/{pledge.id}/comment", f"/campaigns/{campaign}/talk"
    assert "once a payment of this pledge counts" in sentences(bob.get(path))
    assert bob.post(path, {"text": "first"}).status_code == 422 and not written(paper)
    paid_coin = coin(pledge, 100_000)
    paper.mine([paid_coin])
    assert f"{path}" in bob.get(f"/p/{pledge.id}").text
    assert bob.send(path, {"name": "Carol", "text": "Go on!"}).status_code == 303
    said = bob.get(talk)
    assert "Carol has pledged" in sentences(said) and "Go on!" in said.text
    for page in (said, bob.get(f"/campaigns/{campaign}"), bob.get(f"/api/v1/campaigns/{campaign}/talk")):
        assert pledge.id not in page.text and pledge.refund_address not in page.text
    paper.fork(1)
    assert "Carol pledge does not count now" in sentences(bob.get(talk)), "a reorganisation takes the mark away"
    assert alice.send(f"{talk}/comment", {"text": "Thank you."}).status_code == 303
    assert "alice 1 creator" in sentences(bob.get(talk))
    assert bob.get("/p/nothere/comment").status_code == 404


def test_a_pledge_has_only_so_many_comments(
    paper: Paper, bob: Visitor, campaign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posts, "MOST_OF_ONE_PLEDGE", 1)
    path = f"/p/{paid(paper, campaign).id}/comment"
    assert [bob.send(path, {"text": "x"}).status_code for _ in range(2)] == [303, 422]


def test_what_is_hidden_leaves_its_place_its_reason_and_its_fingerprint(
    paper: Paper, alice: Visitor, bob: Visitor, campaign: str
) -> None:
    path = f"/campaigns/{campaign}"
    alice.send(f"{path}/updates/new", {"title": "Secret title", "text": "secret text"})
    bob.send(f"{path}/talk", {"name": "Secret name", "text": "secret question"})
    alice.send(f"{path}/talk/1/answer", {"text": "An answer."})
    for kind, prints in (("update", "Secret title\n\nsecret text"), ("post", "secret question")):
        form = f"{path}/hide/{kind}/1"
        assert alice.send(form, {"reason": " "}).status_code == 422
        assert alice.send(form, {"reason": f"A {EVIL} reason"}).status_code == 303
        log = bob.get(f"{path}/moderation")
        assert f"A {EVIL} reason" in sentences(log) and sha256(prints.encode()).hexdigest() in log.text
    pages = [path, f"{path}/updates", f"{path}/updates/1", f"{path}/talk", f"{path}/moderation", "/moderation"]
    pages += [f"/api/v1{path}/{name}" for name in ("updates", "talk", "moderation")]
    for page in pages:
        answer = bob.get(page)
        assert "ecret" not in answer.text and "reason" in answer.text, page
    with paper.database.reading() as session:
        (thread,) = posts.talk_of(session, paper.snapshot(campaign)).threads
    assert (thread.question.name, thread.question.text) == ("", ""), "no page can show what it does not get"
    told = bob.get(f"/api/v1{path}/moderation").json
    assert told is not None and fits(told, "ModerationLog")
    assert all(fits(line, "ModerationLine") for line in told["moderation"])
    assert [line["kind"] for line in told["moderation"]] == ["question", "update"]
    assert alice.get(f"{path}/updates/1/edit").status_code == 400
    assert alice.send(f"{path}/hide/update/1", {"reason": "A mistake"}).status_code == 303
    assert "secret text" in bob.get(f"{path}/updates/1").text
    again = bob.get(f"/api/v1{path}/moderation").json
    assert again is not None and [line["action"] for line in again["moderation"]] == ["show", "hide", "hide"]


def test_nobody_hides_in_anothers_campaign(mallory: Visitor, bob: Visitor, paper: Paper, campaign: str) -> None:
    bob.send(f"/campaigns/{campaign}/talk", {"text": "Why?"})
    paid(paper, campaign)
    for kind, number in (("post", 1), ("pledge", 0)):
        path = f"/campaigns/{campaign}/hide/{kind}/{number}"
        assert bob.get(path).status_code == 303 and mallory.get(path).status_code == 404
        assert mallory.post(path, {"reason": "x"}).status_code == 404
    with paper.database.reading() as session:
        assert session.scalars(select(Moderation)).all() == []


@pytest.mark.parametrize("number", ["0", "99", "2147483648", "9" * 30, "9" * 5000, "-1", "x", "١"])  # noqa: RUF001
def test_a_number_that_is_none_is_nothing_here(alice: Visitor, campaign: str, number: str) -> None:
    for path in ("updates/{}", "updates/{}/edit", "talk/{}/answer", "hide/post/{}", "hide/update/{}", "hide/pledge/{}"):
        assert alice.get(f"/campaigns/{campaign}/{path.format(number)}").status_code == 404, path
    assert alice.post(f"/campaigns/{campaign}/talk/{number}/approve").status_code == 404


def test_nothing_of_another_campaign_is_hidden(alice: Visitor, bob: Visitor, paper: Paper, campaign: str) -> None:
    other = paper.campaign()
    bob.send(f"/campaigns/{other}/talk", {"text": "Why?"})
    for path in ("hide/post/1", "hide/update/1", "hide/pledge/0", "hide/creator/1", "talk/1/answer"):
        assert alice.get(f"/campaigns/{campaign}/{path}").status_code == 404, path


def test_a_backers_name_and_message_can_be_hidden(paper: Paper, alice: Visitor, bob: Visitor, campaign: str) -> None:
    body = {"amount_sats": 50_000, "refund_address": REFUND, "name": "Buyer", "message": "my things"}
    made = bob.client.post(f"/api/v1/campaigns/{campaign}/pledges", json=body).json
    assert made is not None
    with paper.database.reading() as session:
        paper.mine([coin(session.get_one(Pledge, made["id"]), 50_000)])
    path = f"/campaigns/{campaign}"
    assert "my things" in bob.get(path).text
    assert alice.send(f"{path}/hide/pledge/0", {"reason": "advertising"}).status_code == 303
    page, log = bob.get(path), bob.get(f"{path}/moderation")
    assert "my things" not in page.text and "Buyer" not in page.text and "name hidden" in page.text
    assert "a backer’s name and message, by the creator" in sentences(log)
    assert sha256(b"Buyer\n\nmy things").hexdigest() in log.text and made["id"] not in log.text
    assert "my things" in alice.get(f"{path}/dashboard").text


def operator(paper: Paper, *words: str) -> str:
    """What `crowdfund moderate` answers."""
    settings = paper.settings
    env = {"CROWDFUND_DATA_DIR": str(settings.data_dir), "CROWDFUND_DATABASE_URL": settings.database_url}
    answer = CliRunner().invoke(main, ["moderate", *words], env=env)
    return f"{answer.exit_code} {answer.output.strip()}"


def test_the_operator_hides_and_shows_by_the_command_line(
    paper: Paper, alice: Visitor, bob: Visitor, campaign: str
) -> None:
    talk = f"/campaigns/{campaign}/talk"
    bob.send(talk, {"text": "Why so dear?"})
    post = (campaign, "post", "1", "--reason")
    assert operator(paper, "show", *post, "a fair question") == "0 Shown."
    assert "Why so dear?" in bob.get(talk).text, "a creator cannot sit on a question for ever"
    assert operator(paper, "hide", *post, "an insult") == "0 Hidden."
    assert operator(paper, "hide", *post, "again").startswith("1") and "Why so dear?" not in bob.get(talk).text
    refused = alice.send(f"/campaigns/{campaign}/hide/post/1", {"reason": "I want it back"})
    assert refused.status_code == 422 and "only the operator can show it again" in sentences(refused)
    listed = operator(paper, "list")
    assert f"{campaign} a question number 1: hidden by the operator: an insult" in listed
    assert operator(paper, "list", campaign) == listed
    assert operator(paper, "show", *post, "a mistake") == "0 Shown."
    assert "Why so dear?" in bob.get(talk).text
    for words in (
        ("hide", "nothere", "post", "1"),
        ("hide", campaign, "update", "7"),
        ("hide", campaign, "pledge", "7"),
    ):
        assert operator(paper, *words, "--reason", "x").startswith("1 Error: There is n"), words
    assert operator(paper, "hide", campaign, "post", "1", "--reason", " ").startswith("1 Error: Please give a reason")


def test_a_draft_has_no_such_pages(paper: Paper, app: Flask, campaign: str) -> None:
    alice = logged_in(app, "alice 1")
    with paper.database.transaction() as session:
        owner = session.get_one(Campaign, campaign).creator_id
        draft = service.save_draft(session, paper.settings, owner, paper.draft(title="Later")).id
    for path in ("updates", "updates/new", "talk", "talk/comment", "moderation", "dashboard", "pledges.csv"):
        assert alice.get(f"/campaigns/{draft}/{path}").status_code == 404, path
    for path in ("updates", "talk", "moderation"):
        assert alice.get(f"/api/v1/campaigns/{draft}/{path}").status_code == 404, path
    assert alice.post(f"/campaigns/{draft}/talk", {"text": "x"}).status_code == 404
