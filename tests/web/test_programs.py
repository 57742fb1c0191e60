"""Programs at the API: what their tokens may do, what they make once though they ask twice, how they page through
lists, and what they are told when something is refused. On both kinds of database, without a node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from schemathesis.specs.openapi import definitions
from sqlalchemy import delete, func, select
from werkzeug.test import TestResponse

from crowdfund.accounts import kept_answers, people, tokens
from crowdfund.accounts.models import KeptAnswer
from crowdfund.campaigns import service
from crowdfund.campaigns.detail_models import RewardClaim
from crowdfund.campaigns.models import ApiToken, Campaign, Pledge
from crowdfund.web import openapi, problems
from support.described import judge
from support.details import api_body, detailed_campaign, more_accounts, paper_site
from support.paper import REFUND, Paper, coin
from support.postgres import DATABASES, database_of
from support.site import Visitor, sentences

PLEDGE = {"amount_sats": 50_000, "refund_address": REFUND}


@dataclass
class Shop:
    """The site, and programs with tokens."""

    app: Flask
    paper: Paper
    campaign: str

    def token(self, *scopes: str, name: str = "robot", ends: datetime | None = None) -> dict[str, str]:
        """The header of a new one."""
        with self.paper.database.transaction() as db:
            made = people.create_token(db, name, datetime.now(UTC), scopes or tokens.EVERYTHING, "", ends)
        return {"Authorization": f"Bearer {made}"}

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> TestResponse:
        """A request by a program of its own."""
        return self.app.test_client(use_cookies=False).open(f"/api/v1{path}", method=method, json=body, headers=headers)

    def pledge(self, key: str, **changes: Any) -> TestResponse:
        """A pledge under a key."""
        path = f"/campaigns/{self.campaign}/pledges"
        return self.send("POST", path, PLEDGE | changes, **{"Idempotency-Key": key})

    def shown_pledges(self) -> int:
        """How many pledges have an address."""
        with self.paper.database.reading() as db:
            return db.scalar(select(func.count()).select_from(Pledge).where(Pledge.address.is_not(None))) or 0


@pytest.fixture(scope="module", params=DATABASES)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    with (
        database_of(request.param, folder / "deep") as url,
        Paper(folder, database_url=url) as paper,
        paper_site(paper, mail_from="site@fund.example.org", limit_factor=10) as app,
    ):
        more_accounts(paper)
        yield Shop(app, paper, detailed_campaign(paper))


def told(answer: TestResponse, code: int, kind: str) -> Any:
    """A problem document of this kind."""
    body = answer.get_json()
    assert answer.status_code == code and answer.content_type == "application/problem+json", body
    assert judge("Problem").is_valid(body), body
    assert body["type"].endswith(f"/api#problem-{kind}") if kind else body["type"] == "about:blank"
    return body


# Tokens


def draft(shop: Shop) -> str:
    """A draft of robot's; its id."""
    title = f"Draft {datetime.now(UTC).isoformat()}"
    answer = shop.send("POST", "/campaigns", api_body(shop.paper, title=title), **shop.token("write"))
    assert answer.status_code == 201, answer.get_json()
    return str(answer.get_json()["id"])


@pytest.mark.parametrize(
    ("scope", "method", "path", "body"),
    [
        ("read", "GET", "/me", None),
        ("read", "GET", "/me/campaigns", None),
        ("read", "GET", "/projects", None),
        ("write", "POST", "/campaigns", {}),
        ("write", "PATCH", "/campaigns/x", {}),
        ("write", "POST", "/campaigns/x/updates", {}),
        ("publish", "POST", "/campaigns/x/publish", None),
        ("publish", "POST", "/campaigns/x/cancellation", {}),
        ("notices", "GET", "/webhooks", None),
        ("notices", "DELETE", "/me/mail", None),
    ],
)
def test_a_token_without_the_scope_is_told_which_one(shop: Shop, scope: str, method: str, path: str, body: Any) -> None:
    others = [each for each in tokens.SCOPES if each != scope]
    answer = shop.send(method, path, body, **shop.token(*others))
    assert told(answer, 403, "scope")["scope"] == scope
    assert f'scope="{scope}"' in answer.headers["WWW-Authenticate"]
    assert shop.send(method, path, body, **shop.token(scope)).status_code not in (401, 403)
    assert told(shop.send(method, path, body), 401, "token")


def test_another_payout_address_takes_the_right_to_publish(shop: Shop) -> None:
    path = f"/campaigns/{draft(shop)}"
    told(shop.send("PATCH", path, {"payout_address": REFUND}, **shop.token("write")), 403, "scope")
    same = shop.send("GET", path, **shop.token("read")).get_json()
    assert same["payout_address"] != REFUND
    assert shop.send("PATCH", path, {"summary": "Better."}, **shop.token("write")).get_json()["summary"] == "Better."
    changed = shop.send("PATCH", path, {"payout_address": REFUND}, **shop.token("write", "publish"))
    assert changed.get_json()["payout_address"] == REFUND


def test_a_change_is_kept_as_a_whole_or_not_at_all(shop: Shop) -> None:
    path, token = f"/campaigns/{draft(shop)}", shop.token()
    before = shop.send("GET", path, **token).get_json()
    wrong = {"title": "Better", "license": "mine", "goal_sats": "many", "colour": "red"}
    assert told(shop.send("PATCH", path, wrong, **token), 400, "fields")["errors"][0]["field"] == "colour"
    del wrong["colour"]
    assert told(shop.send("PATCH", path, wrong, **token), 400, "fields")["errors"][0]["field"] == "goal_sats"
    del wrong["goal_sats"]
    assert told(shop.send("PATCH", path, wrong, **token), 400, "fields")["errors"][0]["field"] == "license"
    assert shop.send("GET", path, **token).get_json() == before


def test_a_draft_is_not_there_for_a_token_that_may_not_read(shop: Shop) -> None:
    path = f"/campaigns/{draft(shop)}"
    assert shop.send("GET", path, **shop.token("read")).status_code == 200
    told(shop.send("GET", path, **shop.token("write")), 404, "")
    told(shop.send("GET", path), 404, "")


def test_a_token_ends_and_is_taken_back(shop: Shop) -> None:
    header = shop.token("read", ends=datetime.now(UTC) + timedelta(hours=1))
    assert shop.send("GET", "/me", **header).get_json() == {"name": "robot", "scopes": ["read"]}
    with shop.paper.database.transaction() as db:
        row = db.scalars(select(ApiToken).order_by(ApiToken.id.desc())).first()
        assert row is not None and row.last_used_at is not None
        assert tokens.caller(db, header["Authorization"][7:], datetime.now(UTC) + timedelta(hours=2)) is None
        tokens.revoke(db, row.creator_id, row.id)
    told(shop.send("GET", "/me", **header), 401, "token")


def test_tokens_on_the_account_page(shop: Shop) -> None:
    alice = Visitor(shop.app)
    alice.sign_up(f"Alice of {shop.campaign}")
    page = "/account/tokens"
    refused = alice.send(page, {"token_name": "export", "days": "0"})
    assert refused.status_code == 422 and "number of days" in sentences(refused)
    assert alice.send(page, {"token_name": "export", "scopes": "everything"}).status_code == 422
    made = alice.send(page, {"token_name": "export", "scopes": "read", "days": "30"})
    token = sentences(made).split("show it again. ")[1].split()[0]
    assert made.status_code == 201 and len(token) > 40
    answer = shop.send("GET", "/me", Authorization=f"Bearer {token}")
    assert answer.get_json()["scopes"] == ["read"]
    listed = alice.get(page).get_data(as_text=True)
    assert token not in listed and token[:6] in listed and "export" in listed and "last used" in listed
    number = listed.split("/account/tokens/")[1].split("/")[0]
    other = Visitor(shop.app)
    other.sign_up(f"Bob of {shop.campaign}")
    assert other.post(f"{page}/{number}/revoke").status_code == 404
    assert alice.post(f"{page}/{number}/revoke").status_code == 303
    told(shop.send("GET", "/me", Authorization=f"Bearer {token}"), 401, "token")
    assert "taken back: export" in sentences(alice.get("/account"))


# Once


def test_a_pledge_is_made_once(shop: Shop) -> None:
    before = shop.shown_pledges()
    first, again = shop.pledge("k1"), shop.pledge('"k1"')
    assert first.status_code == again.status_code == 201 and first.data == again.data
    assert "Idempotency-Replayed" not in first.headers and again.headers["Idempotency-Replayed"] == "true"
    assert shop.shown_pledges() == before + 1
    told(shop.pledge("k1", amount_sats=60_000), 422, "idempotency")
    assert shop.pledge("k2").get_json()["id"] != first.get_json()["id"]


def test_the_first_answer_stays_though_the_pledge_goes_on(shop: Shop) -> None:
    first = shop.pledge("stays")
    with shop.paper.database.reading() as db:
        row = db.get_one(Pledge, first.get_json()["id"])
    shop.paper.mine([coin(row, 50_000, f"paid {shop.campaign}")])
    assert shop.pledge("stays").data == first.data
    assert shop.send("GET", f"/pledges/{row.id}").get_json()["state"] == "confirmed"


def test_what_was_refused_can_be_mended_under_the_same_key(shop: Shop) -> None:
    told(shop.pledge("mended", refund_address="x"), 400, "fields")
    assert shop.pledge("mended").status_code == 201


def test_a_key_belongs_to_whoever_sends_it(shop: Shop) -> None:
    mine, other = shop.token(name="robot"), shop.token(name="another robot")
    key = {"Idempotency-Key": "mine"}
    body = api_body(shop.paper, title="Mine once")
    first, again = (shop.send("POST", "/campaigns", body, **mine, **key) for _ in range(2))
    assert first.status_code == 201 and first.data == again.data
    assert shop.send("POST", "/campaigns", body, **other, **key).get_json()["creator"] == "another robot"
    for path in ("questions", "followers"):
        told(shop.send("POST", f"/campaigns/{shop.campaign}/{path}", {}, **mine, **key), 400, "fields")


@pytest.mark.parametrize("key", ["", '""', "a b", "x" * 256, '"a', 'a"b', "é"])
def test_what_is_no_key(shop: Shop, key: str) -> None:
    told(shop.pledge(key), 400, "idempotency")


def test_two_at_once_make_one(shop: Shop) -> None:
    before = shop.shown_pledges()
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: shop.pledge("at-once", reward=0), range(6)))
    made = [answer.data for answer in answers if answer.status_code == 201]
    for answer in answers:
        if answer.status_code != 201:
            told(answer, 409, "idempotency")
            assert answer.headers["Retry-After"] == "1"
    assert made and set(made) == {shop.pledge("at-once", reward=0).data}
    assert shop.shown_pledges() == before + 1
    with shop.paper.database.reading() as db:
        held = db.scalar(select(func.count()).select_from(RewardClaim).where(RewardClaim.freed_at.is_(None)))
    assert held == 1


def test_other_things_at_once_are_made_once(shop: Shop) -> None:
    token, body = shop.token(), api_body(shop.paper, title="All at once")
    key = {"Idempotency-Key": "drafts", **token}
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: shop.send("POST", "/campaigns", body, **key), range(6)))
    assert {answer.status_code for answer in answers} == {201} and len({answer.data for answer in answers}) == 1


def test_what_a_crash_left_at_work_is_free_after_a_minute(shop: Shop) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "open_pledge", lambda *_: 1 / 0)
        told(shop.pledge("at-work"), 500, "")
    told(shop.pledge("at-work"), 409, "idempotency")
    with shop.paper.database.transaction() as db:
        keyed, now = kept_answers.Keyed("somebody", "a key", b"a request"), datetime.now(UTC)
        keyed.begin(db, now)
        other = kept_answers.Keyed("somebody", "a key", b"a request")
        with pytest.raises(kept_answers.InProgress):
            other.find(db, now)
        assert other.find(db, now + kept_answers.AT_WORK) is None
        db.execute(delete(KeptAnswer).where(KeptAnswer.status == kept_answers.WORKING))
    assert shop.pledge("at-work").status_code == 201


def test_a_crash_leaves_both_or_neither(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    before = shop.shown_pledges()
    whole = kept_answers.Keyed.keep

    def dies(*args: Any) -> None:
        whole(*args)
        raise RuntimeError("the power is gone")

    monkeypatch.setattr(kept_answers.Keyed, "keep", dies)
    shop.app.config["PROPAGATE_EXCEPTIONS"] = False
    told(shop.pledge("crash"), 500, "")
    assert shop.shown_pledges() == before
    monkeypatch.setattr(kept_answers.Keyed, "keep", whole)
    later = shop.pledge("crash")
    told(later, 409, "idempotency")
    with shop.paper.database.transaction() as db:  # as after a minute
        db.execute(delete(KeptAnswer).where(KeptAnswer.status == kept_answers.WORKING))
    assert shop.pledge("crash").data == shop.pledge("crash").data
    assert shop.shown_pledges() == before + 1


def test_keys_are_forgotten_after_a_day_and_bounded(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    first = shop.pledge("old")
    with shop.paper.database.transaction() as db:
        rows = db.scalars(select(KeptAnswer)).all()
        kept = [(row.owner_sha256, row.key_sha256, row.request_sha256, row.status, row.body) for row in rows]
        db.query(KeptAnswer).delete()
        ended = datetime.now(UTC) - timedelta(seconds=1)
        names = ("owner_sha256", "key_sha256", "request_sha256", "status", "body")
        db.add_all(KeptAnswer(**dict(zip(names, row, strict=True)), expires_at=ended) for row in kept)
    assert shop.pledge("old").get_json()["id"] != first.get_json()["id"]
    with shop.paper.database.reading() as db:
        assert db.scalar(select(func.count()).select_from(KeptAnswer)) == 1
    monkeypatch.setattr(kept_answers, "MOST", 1)
    full = shop.pledge("one-too-many")
    told(full, 429, "too-often")
    assert int(full.headers["Retry-After"]) > 80_000


# Lists


def pages(shop: Shop, path: str, name: str, between: Callable[[], object] | None = None, **headers: str) -> list[Any]:
    """All pages of a list; something may happen between two of them."""
    found: list[Any] = []
    while True:
        answer = shop.send("GET", path, **headers)
        body = answer.get_json()
        assert answer.status_code == 200, body
        found += body[name]
        if body["next"] is None:
            assert "Link" not in answer.headers
            return found
        assert answer.headers["Link"] == f'<{body["next"]}>; rel="next"'
        path = body["next"].partition("/api/v1")[2]
        if between:
            between()


def test_pages_leave_nothing_out_and_tell_nothing_twice(shop: Shop) -> None:
    for _ in range(3):
        detailed_campaign(shop.paper, title=f"Paged {datetime.now(UTC).isoformat()}")
    with shop.paper.database.transaction() as db:  # several in one moment
        newest = db.scalars(select(Campaign.id).where(Campaign.terms.is_not(None))).all()
    before = {each["id"] for each in pages(shop, "/campaigns", "campaigns")}
    assert before == set(newest) and len(before) >= 4

    def another() -> None:
        detailed_campaign(shop.paper, title=f"Between {datetime.now(UTC).isoformat()}")

    found = [each["id"] for each in pages(shop, "/campaigns?limit=2", "campaigns", another)]
    assert set(found) == before and len(found) == len(before), "what came between stands before the first page"


def test_lists_by_words_and_state(shop: Shop) -> None:
    title = "Zwölf Pflüge_%"
    wanted = detailed_campaign(shop.paper, title=title)
    for query in ("q=Pfl%C3%BCge_%25", "q=zw%C3%B6lf+pfl%C3%BCge", "q=Pfl&state=open", "q=Pfl&license=MIT"):
        assert [c["id"] for c in pages(shop, f"/campaigns?{query}", "campaigns")] == [wanted], query
    for query in ("q=Pfl_ge", "q=Pfl&state=released", "q=Pfl&license=mit", "q=Pfl&project=nowhere", "q=%01"):
        assert pages(shop, f"/campaigns?limit=1&{query}", "campaigns") == [], query


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "limit=", "limit=-1", "cursor=x", "cursor=", "cursor=WzFd", "state=x",
              "cursor=WyJ4IiwieCJd", "cursor=WyIyMDI2LTAxLTAxIiwiXHUwMDAwIl0"],
)  # fmt: skip
def test_what_is_no_page(shop: Shop, query: str) -> None:
    field = told(shop.send("GET", f"/campaigns?{query}"), 400, "fields")["errors"][0]["field"]
    assert field == query.partition("=")[0]


def test_updates_and_talk_come_in_pages(shop: Shop) -> None:
    with shop.paper.database.transaction() as db:
        row = db.get_one(Campaign, shop.campaign)
        owner = people.create_token(db, row.creator.name, datetime.now(UTC))
    header = {"Authorization": f"Bearer {owner}"}
    path = f"/campaigns/{shop.campaign}"
    for number in range(1, 4):
        sent = {"title": f"Update {number}", "text": "It grows."}
        assert shop.send("POST", f"{path}/updates", sent, **header).get_json()["number"] == number
        assert shop.send("POST", f"{path}/comments", {"text": f"Comment {number}"}, **header).status_code == 201
        asked = shop.send("POST", f"{path}/questions", {"text": f"Question {number}?"}).get_json()
        answered = f"{path}/questions/{asked['number']}/answers"
        assert shop.send("POST", answered, {"text": f"Answer {number}."}, **header).status_code == 201
    assert [u["number"] for u in pages(shop, f"{path}/updates?limit=2", "updates")] == [3, 2, 1]
    assert len(pages(shop, f"{path}/talk?limit=4", "questions")) == 3
    assert [c["text"] for c in pages(shop, f"{path}/talk?limit=1", "comments")] == [f"Comment {n}" for n in (3, 2, 1)]


# Problems, limits, browsers


def test_every_refusal_is_a_problem_document(shop: Shop) -> None:
    client, path = shop.app.test_client(use_cookies=False), f"/api/v1/campaigns/{shop.campaign}/pledges"
    told(client.get("/api/v1/nothing"), 404, "")
    wrong_way = client.delete(path)
    assert "POST" in wrong_way.headers["Allow"]
    told(wrong_way, 405, "")
    told(client.post(path, data="x", content_type="text/plain"), 415, "media-type")
    told(client.post(path, data="{", content_type="application/json"), 400, "")
    told(client.post(path, data=b"x" * 3_000_000, content_type="application/json"), 413, "")


def test_kinds_of_problems_are_explained_where_they_point_to(shop: Shop) -> None:
    page = shop.app.test_client().get("/api").get_data(as_text=True)
    for kind in problems.KINDS:
        assert f'id="problem-{kind}"' in page


def test_limits_are_told_before_they_are_met(shop: Shop) -> None:
    with paper_site(shop.paper, limit_factor=1) as app:
        client = app.test_client(use_cookies=False)
        path, left = f"/api/v1/campaigns/{shop.campaign}/offers", []
        for _ in range(31):
            answer = client.post(path, json={"need": 0, "amount": 1, "name": "Z", "contact": "c", "message": ""})
            assert answer.headers["RateLimit-Policy"] == '"words";q=30;w=600'
            left.append(int(answer.headers["RateLimit"].split(";")[1].removeprefix("r=")))
            if answer.status_code == 429:
                break
    told(answer, 429, "too-often")
    assert left[:2] == [29, 28] or (left[0] < 29 and left == sorted(left, reverse=True))
    assert left[-1] == 0 and 0 < int(answer.headers["Retry-After"]) <= 600
    assert answer.headers["RateLimit"].endswith(f";t={answer.headers['Retry-After']}")


def test_pages_of_others_may_read_what_everybody_may(shop: Shop) -> None:
    read = shop.send("GET", f"/campaigns/{shop.campaign}")
    assert read.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in read.headers
    for answer in (shop.send("GET", "/me", **shop.token()), shop.pledge("from-elsewhere"), shop.send("OPTIONS", "/me")):
        assert "Access-Control-Allow-Origin" not in answer.headers


# The description


def test_the_description_is_openapi_3_1() -> None:
    document = openapi.document("https://fund.example.org", "A site")
    assert document["openapi"] == "3.1.0"
    faults = [f"{e.instance_path}: {e.message}" for e in definitions.OPENAPI_31_VALIDATOR.iter_errors(document)]
    assert not faults, faults
    broken = {**document, "paths": {"nowhere": {}}}
    assert not definitions.OPENAPI_31_VALIDATOR.is_valid(broken)
    names = [op.described()["operationId"] for _, op in openapi.operations()]
    assert len(set(names)) == len(names)


def test_every_example_is_what_it_is_an_example_of() -> None:
    shown = {name: schema["examples"] for name, schema in openapi.SCHEMAS.items() if "examples" in schema}
    assert {op.body for _, op in openapi.operations() if op.body} <= set(shown), "each body has an example"
    for name, examples in shown.items():
        for example in examples:
            assert judge(name).is_valid(example), (name, list(judge(name).iter_errors(example)))
