"""Addresses, links in mails, webhooks and feeds, as visitors meet them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from xml.etree import ElementTree

import pytest
from flask import Flask
from sqlalchemy import select

from crowdfund.notices import deriving, outbox, subscribing
from crowdfund.notices.models import Subscription
from crowdfund.web import hooks as hook_pages
from support.site import Visitor, field_error, sentences, site_of
from support.world import World


@pytest.fixture(scope="module")
def app(town: World) -> Iterator[Flask]:
    """The site, and it sends mail."""
    with site_of(town, mail_from="site@fund.example.org") as running:
        yield running


def subscriptions(town: World) -> list[Subscription]:
    with town.database.reading() as db:
        return list(db.scalars(select(Subscription).order_by(Subscription.id)))


def note(town: World) -> None:
    """As the sender does."""
    with town.database.transaction() as db:
        outbox.note(db, deriving.news(db, datetime.now(UTC)), False, datetime.now(UTC))


def test_a_follower_subscribes_confirms_and_leaves_in_one_click(town: World, campaign: str, bob: Visitor) -> None:
    path = f"/campaigns/{campaign}/follow"
    assert path in bob.get(f"/campaigns/{campaign}").get_data(as_text=True)
    wrong = bob.send(path, {"email": "nobody <script>"})
    assert wrong.status_code == 422 and "name@example.org" in field_error(wrong, "email")
    assert "nobody &lt;script&gt;" in wrong.get_data(as_text=True), "what was typed is kept"
    assert bob.send(path, {"email": "dora@example.org"}).status_code == 303
    held = subscriptions(town)[-1]
    confirm = f"/mail/confirm/{held.id}/{subscribing.token(held, 'confirm')}"
    assert "Yes, send me mails" in sentences(bob.get(confirm))
    assert subscriptions(town)[-1].confirmed_at is None, "a program that only looks confirms nothing"
    assert bob.send(confirm, {}).status_code == 303
    assert subscriptions(town)[-1].confirmed_at is not None
    off = f"/mail/off/{held.id}/{subscribing.token(held, 'off')}"
    assert bob.get(f"/mail/off/{held.id}/{subscribing.token(held, 'confirm')}").status_code == 404
    assert "Delete the address" in sentences(bob.get(off)) and subscriptions(town)
    for _ in range(2):
        answer = bob.client.post(off, data={"List-Unsubscribe": "One-Click"})  # RFC 8058: no session, no CSRF token
        assert answer.status_code == 200
    assert held.id not in [each.id for each in subscriptions(town)]


def test_mails_speak_the_language_of_the_page_that_took_the_address(town: World, campaign: str, app: Flask) -> None:
    zoe, pledge = Visitor(app), town.pledge(campaign, 50_000)
    for email, path in (
        ("zoe@example.org", f"/campaigns/{campaign}/follow"),
        ("z@example.org", f"/p/{pledge.id}/mail"),
    ):
        assert "Die Mails kommen in der Sprache dieser Seite." in sentences(zoe.get(f"{path}?lang=de"))
        assert zoe.send(path, {"email": email}).status_code == 303
        assert subscriptions(town)[-1].language == "de", "as it was chosen before"
        assert zoe.send(f"{path}?lang=es", {"email": email}).status_code == 303
        assert subscriptions(town)[-1].language == "es", "not confirmed yet, so asked anew"
    held = subscriptions(town)[-1]
    link = f"/mail/confirm/{held.id}/{subscribing.token(held, 'confirm')}?lang=es"
    assert "Sí, enviadme correos" in sentences(Visitor(app).get(link))
    assert Visitor(app).client.post(link.replace("confirm", "off")).status_code == 404


def test_programs_say_in_which_language(town: World, campaign: str, app: Flask) -> None:
    bob, path = Visitor(app), f"/api/v1/campaigns/{campaign}/followers"
    for language, kept in (({"language": "es"}, "es"), ({}, "en")):
        sent = {"email": f"{kept}@example.org", **language}
        assert bob.client.post(path, json=sent, headers={"Accept-Language": "de"}).status_code == 202
        assert subscriptions(town)[-1].language == kept
    for wrong in ("fr", "", None, 5):
        answer = bob.client.post(path, json={"email": "x@example.org", "language": wrong})
        assert answer.status_code == 400 and [each["field"] for each in answer.get_json()["errors"]] == ["language"]


def test_a_backer_leaves_an_address_and_takes_it_away(town: World, campaign: str, bob: Visitor) -> None:
    pledge = town.pledge(campaign, 50_000)
    path = f"/p/{pledge.id}/mail"
    assert "Have a mail sent" in sentences(bob.get(f"/p/{pledge.id}"))
    assert bob.send(path, {"email": "bob@example.org"}).status_code == 303
    assert "b…@example.org" in sentences(bob.get(path)) and "bob@example.org" not in sentences(
        bob.get(f"/p/{pledge.id}")
    )
    assert bob.send(path, {"email": "other@example.org"}).status_code == 303
    assert [s.email for s in subscriptions(town) if s.pledge_id == pledge.id] == ["other@example.org"]
    assert bob.post(f"{path}/forget", page=path).status_code == 303
    assert not [s for s in subscriptions(town) if s.pledge_id == pledge.id]
    assert bob.get("/p/unknown/mail").status_code == 404


def test_without_a_sender_nobody_is_asked_for_an_address(town: World, campaign: str) -> None:
    with site_of(town) as silent:
        visitor = Visitor(silent)
        assert "by mail" not in sentences(visitor.get(f"/campaigns/{campaign}"))
        assert visitor.get(f"/campaigns/{campaign}/follow").status_code == 404
        visitor.sign_up("Silent")
        assert "sends no mail" in sentences(visitor.get("/dashboard/notices"))


def test_a_creator_registers_a_webhook_and_sees_its_secret_once(
    town: World, alice: Visitor, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, path = "/dashboard/notices", "/dashboard/webhooks"
    everything = {"url": "https://127.0.0.1/hook", "events": "campaign.decided"}
    refused = alice.post(path, everything, page=page)
    assert refused.status_code == 422 and "private network" in field_error(refused, "url")
    assert "https://127.0.0.1/hook" in refused.get_data(as_text=True)
    monkeypatch.setattr(hook_pages, "_poster", _Anywhere)
    missing = alice.post(path, {"url": "https://example.org/hook"}, page=page)
    assert missing.status_code == 422 and "at least one event" in sentences(missing)
    made = alice.post(path, {**everything, "url": "https://example.org/hook"}, page=page)
    secret = re.search(r"whsec_[A-Za-z0-9+/=]{44}", made.get_data(as_text=True))
    assert made.status_code == 201 and secret is not None
    (shown,) = re.findall(r"/dashboard/webhooks/\d+", alice.get(page).get_data(as_text=True))
    note(town)
    assert "webhook.registered" in sentences(alice.get(shown))
    assert secret[0] not in alice.get(shown).get_data(as_text=True)
    mallory = Visitor(app)
    mallory.sign_up("Mallory of the hooks")
    assert mallory.get(shown).status_code == 404
    assert mallory.post(f"{shown}/delete", page=page).status_code == 404
    assert alice.post(f"{shown}/delete", page=shown).status_code == 303
    assert alice.get(shown).status_code == 404


def test_a_creators_address(town: World, alice: Visitor) -> None:
    page = "/dashboard/notices"
    wrong = alice.post("/dashboard/mail", {"email": "x"}, page=page)
    assert wrong.status_code == 422 and field_error(wrong, "email")
    assert alice.post("/dashboard/mail", {"email": "alice@example.org"}, page=page).status_code == 303
    assert "a…@example.org" in sentences(alice.get(page))
    assert alice.post("/dashboard/mail/forget", page=page).status_code == 303
    assert "a…@example.org" not in sentences(alice.get(page))


def test_feeds_are_found_and_hold_what_was_noted(town: World, campaign: str, bob: Visitor) -> None:
    town.paid(campaign, 600_000)
    note(town)
    for page, path in ((f"/campaigns/{campaign}", f"/campaigns/{campaign}/feed.atom"), ("/", "/feed.atom")):
        link = re.search(r'<link rel="alternate" type="application/atom\+xml"[^>]* href="([^"]+)"', bob.get(page).text)
        assert link is not None and link[1] == path
        answer = bob.get(path)
        assert answer.content_type == "application/atom+xml; charset=utf-8"
        root = ElementTree.fromstring(answer.data)
        titles = [node.text or "" for node in root.iter("{http://www.w3.org/2005/Atom}title")]
        assert any("published" in title for title in titles)
        assert any("50% of the goal" in title for title in titles) == (page != "/")
        told = bob.get(path.replace(".atom", ".json"))
        assert told.content_type == "application/feed+json; charset=utf-8"
        assert [item["title"] for item in told.get_json(force=True)["items"]] == titles[1:], "the same entries"
        assert f'type="application/feed+json" title="{titles[0].partition(" · ")[0]}"' in bob.get(page).text
    assert bob.get("/campaigns/unknown/feed.atom").status_code == 404
    assert bob.get("/campaigns/unknown/feed.json").status_code == 404


def test_metrics_tell_how_long_the_queue_is(town: World, bob: Visitor) -> None:
    text = bob.get("/metrics").get_data(as_text=True)
    assert 'crowdfund_notices{channel="mail",state="given_up"} 0.0' in text
    assert 'crowdfund_notices_waiting_seconds{channel="webhook"}' in text


def test_the_api_page_says_how_a_message_is_checked(bob: Visitor) -> None:
    words = sentences(bob.get("/api"))
    assert "webhook-signature" in words and "campaign.goal_reached" in words
    assert "campaign.decided" in bob.get("/api/v1/openapi.json").get_json()["webhooks"]


class _Anywhere:
    """A poster that looks nothing up."""

    def check(self, url: str) -> str:
        return url

    def post(self, url: str, body: bytes, headers: object) -> None:
        raise NotImplementedError
