"""What holds for every answer: headers, the pages for what went wrong, problem documents for programs."""

from __future__ import annotations

import json
import re
import threading
import time
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from crowdfund.campaigns import recording
from crowdfund.campaigns.models import ChainView
from crowdfund.web import live
from support.browsing import wait_until
from support.site import Visitor, field_error, sentences, site_of
from support.world import World

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
BROKEN = "public.about", "api.campaigns"
# What every stream begins with: when to come back, and how often its heart beats.
HELLO = b"retry: 3000\n\nevent: beat\ndata: 15000\n\n"


EMBED_CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors *"
)
# What others may keep, for how many seconds.
KEPT = {
    "badge.svg": 60, "card.png": 300, "robots.txt": 3600, "sitemap.xml": 3600, "sitemap-1.xml": 3600,
}  # fmt: skip


def assert_headers(answer: TestResponse, path: str) -> None:
    headers = answer.headers
    embed = path.startswith("/embed/") and answer.status_code == 200
    assert headers.get_all("Content-Security-Policy") == [EMBED_CSP if embed else CSP], path
    assert "X-Frame-Options" not in headers, path
    assert headers["X-Content-Type-Options"] == "nosniff", path
    assert headers["Referrer-Policy"] == "same-origin", path
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin", path
    seconds = 60 if embed else KEPT.get(path.rpartition("/")[2])
    if seconds and answer.status_code == 200:
        assert headers["Cache-Control"] == f"public, max-age={seconds}", path
        assert "Set-Cookie" not in headers and "Cookie" not in headers.get("Vary", ""), path
    elif "ETag" in headers and not path.startswith("/static/"):
        assert headers["Cache-Control"] == "private, no-cache", path
    elif not path.startswith("/static/"):
        assert "no-store" in headers["Cache-Control"], path


def path_of(rule: Rule, campaign: str, pledge: str) -> str:
    values = {
        "campaign_id": campaign,
        "pledge_id": pledge,
        "scope": "campaign",
        "key": campaign,
        "filename": "site.css",
        "kind": "update",
        "unit": "btc",
        "number": 1,
        "page": 1,
        "question_id": 1,
        "subscription_id": "1",
        "token": "none",
        "hook_id": "1",
        "notice_id": "1",
        "slug": "seed-drill",
        "step": "story",
        "picture_id": "1",
        "sha256": "0" * 64,
        "ending": "webp",
        "passkey_id": "1",
        "session_id": "1",
        "token_id": "1",
        "offer": "1",
    }
    return re.sub(r"<(?:[^:>]*:)?([^>]*)>", r"{\1}", rule.rule).format(**values)


def test_every_address_answers_with_the_same_headers(
    town: World, app: Flask, campaign: str, alice: Visitor, bob: Visitor
) -> None:
    pledge = town.pledge(campaign, 50_000).id
    seen = 0
    for rule in app.url_map.iter_rules():
        path = path_of(rule, campaign, pledge)
        for who in (bob, alice):
            for verb in sorted((rule.methods or set()) - {"OPTIONS"}):
                answer = who.client.open(path, method=verb)
                assert answer.status_code < 500, f"{verb} {path}"
                assert_headers(answer, path)
                answer.close()
                seen += 1
    assert seen > 60
    assert bob.get("/", headers={"Accept": "text/html"}).headers["Content-Type"] == "text/html; charset=utf-8"


def test_no_page_holds_a_script_or_a_style_of_its_own(town: World, campaign: str, alice: Visitor) -> None:
    pledge = town.pledge(campaign, 50_000).id
    paths = (
        "/",
        f"/campaigns/{campaign}",
        f"/campaigns/{campaign}/audit",
        f"/campaigns/{campaign}/dashboard",
        f"/campaigns/{campaign}/talk",
        f"/campaigns/{campaign}/updates",
        f"/campaigns/{campaign}/moderation",
        f"/p/{pledge}",
        "/about",
        "/api",
        "/dashboard",
    )
    for path in (*paths, "/drafts/new", "/nowhere"):
        page = alice.get(path).get_data(as_text=True)
        assert " style=" not in page and "<style" not in page and " onclick=" not in page, path
        assert all("src=" in tag.split(">")[0] for tag in page.split("<script")[1:]), path


@pytest.mark.parametrize(
    ("verb", "path", "code", "part"),
    [
        ("GET", "/nowhere", 404, "no page at this address"),
        ("GET", "/campaigns/nothere", 404, "no such campaign"),
        ("GET", "/p/nothere", 404, "no such pledge"),
        ("GET", "/mail/off/99999999999999999999/x", 404, "no page at this address"),
        ("GET", "/mail/off/9/x", 404, "This link is used up"),
        ("GET", "/campaigns/%00", 404, "no such campaign"),
        ("GET", "/live/nonsense/x", 404, "no page at this address"),
        ("GET", "/logout", 405, "does not take that kind"),
        ("PUT", "/", 405, "does not take that kind"),
        ("GET", "/bench/mine", 405, "does not take that kind"),
        ("GET", "/static/../wsgi.py", 404, "no page at this address"),
        ("GET", "/static/%2e%2e/pyproject.toml", 404, "no page at this address"),
    ],
)
def test_a_page_for_what_is_not_there(bob: Visitor, verb: str, path: str, code: int, part: str) -> None:
    answer = bob.client.open(path, method=verb)
    assert answer.status_code == code and part in sentences(answer)
    assert "See the campaigns" in sentences(answer)
    assert_headers(answer, "/")


@pytest.mark.parametrize(
    ("verb", "path", "code"),
    [
        ("GET", "/api/v1/nowhere", 404),
        ("GET", "/api/v1/campaigns/nothere", 404),
        ("GET", "/api/v1/campaigns/nothere/audit", 404),
        ("GET", "/api/v1/pledges/nothere", 404),
        ("DELETE", "/api/v1/campaigns", 405),
        ("GET", "/api/v1/campaigns/nothere/publish", 405),
        ("POST", "/api/v1/campaigns", 400),
    ],
)
def test_a_problem_document_for_programs(bob: Visitor, verb: str, path: str, code: int) -> None:
    answer = bob.client.open(path, method=verb)
    assert answer.status_code == code
    assert answer.content_type == "application/problem+json"
    problem = json.loads(answer.data)
    assert problem["status"] == code and problem["type"] == "about:blank"
    assert problem["title"] and problem["detail"].endswith(".")
    assert_headers(answer, path)


def boom() -> str:
    raise ZeroDivisionError("a secret of the inside")


def test_a_mistake_of_ours_is_admitted_without_its_insides(
    app: Flask, bob: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for endpoint in BROKEN:
        monkeypatch.setitem(app.view_functions, endpoint, boom)
    page = bob.get("/about")
    assert page.status_code == 500 and "on our side" in sentences(page)
    problem = bob.get("/api/v1/campaigns")
    assert problem.status_code == 500 and problem.content_type == "application/problem+json"
    for answer in (page, problem):
        assert "secret of the inside" not in answer.get_data(as_text=True)
        assert "Traceback" not in answer.get_data(as_text=True)
        assert_headers(answer, "/")


def test_a_stream_says_only_that_something_changed(town: World, campaign: str, bob: Visitor) -> None:
    answer = bob.get(f"/live/campaign/{campaign}", buffered=False)
    assert answer.content_type.startswith("text/event-stream")
    parts = answer.iter_encoded()
    assert next(parts) == HELLO
    town.node.mine()
    town.sync()
    event = next(parts).decode()
    assert re.match(r"event: changed\nid: (\d+)\ndata: \1\n\n", event)
    answer.close()


def test_what_happened_between_the_page_and_its_stream_is_told_at_once(
    town: World, campaign: str, bob: Visitor
) -> None:
    page = bob.get(f"/campaigns/{campaign}").get_data(as_text=True)
    found = re.search(r'data-live="(/live/[^"]+)" data-changes="(\d+)"', page)
    assert found is not None
    town.node.mine()
    town.sync()
    for query, header in ((f"?since={found[2]}", ""), ("?since=999999", found[2])):
        answer = bob.get(found[1] + query, headers={"Last-Event-ID": header}, buffered=False)
        parts = answer.iter_encoded()
        said = next(parts)
        while b"event: changed\nid: " not in said:
            said += next(parts)
        assert said.startswith(HELLO)
        answer.close()
    for nonsense in ("?since=-1", "?since=x", "?since=" + "9" * 99, "?since=\u0661"):
        answer = bob.get(found[1] + nonsense, buffered=False)
        assert answer.status_code == 200
        answer.close()


def test_each_step_of_a_settlement_is_told_to_open_pages(town: World) -> None:
    campaign = town.campaign(goal_sats=20_000, deadline_at=town.chain_now() + timedelta(hours=3))
    town.paid(campaign, 50_000)
    terms = town.snapshot(campaign).terms
    assert terms is not None
    town.node.jump_to(int(terms.deadline.timestamp()))
    status = town.backend.status()
    assert town.worker.watch(status)  # the block is recorded, and pages are told of it …
    before = changes(town)
    town.worker.settle(status)  # … and only then is anything decided, planned, signed and sent
    assert town.summary(campaign).state == "releasing"
    assert changes(town) >= before + 3


def changes(town: World) -> int:
    with town.database.reading() as db:
        return db.scalars(select(ChainView.changes)).one()


def test_too_many_viewers_are_told_and_a_place_comes_free_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_WITH_THREADS", 2)
    with site_of(world) as app:
        bob = Visitor(app)
        held = [bob.get("/live/site/all", buffered=False) for _ in range(2)]
        starts = [next(stream.iter_encoded()) for stream in held]
        assert starts == [HELLO] * 2
        assert bob.get("/live/site/all").status_code == 503
        assert bob.get("/").status_code == 200
        held[0].close()
        wait_until(lambda: app.extensions["crowdfund-live"].streams.viewers == 1, "a place")
        again = bob.get("/live/site/all", buffered=False)
        assert again.status_code == 200
        again.close()
        held[1].close()


def test_a_field_with_a_fault_is_named_for_screen_readers(campaign: str, bob: Visitor) -> None:
    answer = bob.send(f"/campaigns/{campaign}/pledge", {"amount": "x", "amount_unit": "sat", "refund_address": "y"})
    page = answer.get_data(as_text=True)
    assert '<div class="summary" role="alert"' in page and 'href="#refund_address"' in page
    assert 'aria-invalid="true"' in page and "refund_address-error" in page
    assert "<title>Error: " in page
    assert field_error(answer, "amount")


def test_with_the_last_viewer_the_watch_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PRESENCE_S", 0.02)
    with site_of(world) as app:
        answer = app.test_client().get("/live/site/all", buffered=False)
        assert next(answer.iter_encoded()) == HELLO
        assert any(thread.name == "live" for thread in threading.enumerate())
        answer.close()
        wait_until(lambda: not any(thread.name == "live" for thread in threading.enumerate()), "the watch to end")


def test_an_event_follows_its_commit_within_milliseconds(town: World, bob: Visitor) -> None:
    answer = bob.get("/live/site/all", buffered=False)
    parts = answer.iter_encoded()
    next(parts)
    took = []
    for _ in range(20):
        time.sleep(0.02)
        with town.database.transaction() as db:
            recording.tell_pages(db)
        since = time.monotonic()
        assert next(parts).startswith(b"event: changed")
        took.append(time.monotonic() - since)
    answer.close()
    assert sorted(took)[10] < 0.03, took
