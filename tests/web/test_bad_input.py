"""What people type wrongly: each time one clear sentence at the field, what was typed is kept, nothing is stored."""

from __future__ import annotations

import html
import re
from datetime import timedelta

import pytest
from flask import Flask

from crowdfund.campaigns import service
from support.node import new_address
from support.site import Visitor, draft_form, draft_json, field_error, sentences, stored, token_of
from support.world import World

# (amount, unit, a part of the sentence)
AMOUNTS = (
    ("", "sat", "write an amount"),
    ("0", "sat", "more than zero"),
    ("-1", "sat", "more than zero"),
    ("1", "sat", "10000 sat"),
    ("21000001", "BTC", "21 million"),
    ("2100000000000001", "sat", "21 million"),
    ("1e3", "sat", "digits 0 to 9"),
    ("NaN", "sat", "digits 0 to 9"),
    ("Infinity", "BTC", "digits 0 to 9"),
    ("0.1+0.2", "BTC", "digits 0 to 9"),
    ("\u0661\u0662\u0663\u0664\u0665\u0666", "sat", "digits 0 to 9"),  # Arabic digits
    ("1,000,000", "sat", "leave out"),
    ("1 000 000", "sat", "leave out"),
    ("0,5", "BTC", "leave out"),
    ("0.123456789", "BTC", "eight decimal places"),
    ("50000.5", "sat", "whole number"),
    ("9" * 300, "sat", "too long"),
    ("20000\x00", "sat", "digits 0 to 9"),
    ("0x10000", "sat", "digits 0 to 9"),
    ("50000", "ETH", "sat or BTC"),
    ("50000", "", "sat or BTC"),
)
ADDRESSES = (
    ("", "give an address"),
    ("bc1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysn4v0345", "mainnet"),
    ("tb1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysnl25zw8", "a test network"),
    ("112D2adLM3UKy4Z4giRbReR6gjWuvHUqB", "mainnet"),
    ("31h38a54tFMrR8kzBnP2241MFD2EUHtGha", "mainnet"),
    ("LKDyUEtTR1HXamkiEphisSiBJu6o3ZPE34", "can be paid in bitcoin"),  # another coin's
    ("bcrt1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysnard0ex", "checksum"),
    ("mfWyW5fc9NUj75YAnFgoRLrjxgLDn2MMti", "typing error"),
    ("bcrt1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysnard0EW", "mixes capital and small"),
    ("bcrt1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0s8e87e4", "BIP 350"),  # version 1 in bech32
    ("bcrt1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysnglaruv", "BIP 350"),  # version 0 in bech32m
    ("bcrt1zqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0s6cwaju", "not in use"),  # version 2
    ("bcrt1sqqqsq0cn3a", "not in use"),  # version 16
    ("bcrt1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnrp2g38", "not in use"),  # version 1, 20 bytes
    ("bob@example.org", "not a bitcoin address"),
    ("1" * 500, "not a bitcoin address"),
    ("bcrt1\x00qqqsyq", "checksum"),
    ("<script>alert(1)</script>", "not a bitcoin address"),
)


@pytest.mark.parametrize(("amount", "unit", "part"), AMOUNTS)
def test_an_amount_that_cannot_be_pledged(
    town: World, campaign: str, bob: Visitor, amount: str, unit: str, part: str
) -> None:
    before = stored(town)
    form = {"amount": amount, "amount_unit": unit, "refund_address": new_address(town.node), "message": "Für alle"}
    answer = bob.send(f"/campaigns/{campaign}/pledge", form)
    assert answer.status_code == 422
    assert part in field_error(answer, "amount") + field_error(answer, "amount_unit"), sentences(answer)
    page = html.unescape(answer.get_data(as_text=True))
    assert form["refund_address"] in page and "Für alle" in page
    assert amount.strip() in page
    assert stored(town) == before


@pytest.mark.parametrize(("amount", "unit", "part"), [case for case in AMOUNTS if case[0] != "1"])
def test_a_goal_that_cannot_be_asked_for(town: World, alice: Visitor, amount: str, unit: str, part: str) -> None:
    before = stored(town)
    answer = alice.send("/drafts/new", draft_form(town, goal=amount, goal_unit=unit, title="Kept title"))
    assert answer.status_code == 422
    assert part in field_error(answer, "goal") + field_error(answer, "goal_unit"), sentences(answer)
    assert "Kept title" in answer.get_data(as_text=True)
    assert stored(town) == before


@pytest.mark.parametrize(("address", "part"), ADDRESSES)
def test_an_address_that_cannot_be_paid(
    town: World, app: Flask, campaign: str, alice: Visitor, bob: Visitor, address: str, part: str
) -> None:
    before = stored(town)
    pledge = {"amount": "50000", "amount_unit": "sat", "refund_address": address}
    refused = bob.send(f"/campaigns/{campaign}/pledge", pledge)
    assert refused.status_code == 422 and part in field_error(refused, "refund_address"), sentences(refused)
    draft = alice.send("/drafts/new", draft_form(town, payout_address=address))
    assert draft.status_code == 422 and part in field_error(draft, "payout_address"), sentences(draft)
    api = app.test_client().post(
        f"/api/v1/campaigns/{campaign}/pledges", json={"amount_sats": 50_000, "refund_address": address}
    )
    assert api.status_code == 400 and api.json is not None
    assert [problem["field"] for problem in api.json["errors"]] == ["refund_address"]
    assert stored(town) == before


def test_an_address_of_a_pledge_here_is_no_refund_address_and_no_payout_address(
    town: World, campaign: str, alice: Visitor, bob: Visitor
) -> None:
    ours = str(town.pledge(campaign, 50_000).address)
    before = stored(town)
    for spelling in (ours, ours.upper()):
        form = {"amount": "50000", "amount_unit": "sat", "refund_address": spelling}
        answer = bob.send(f"/campaigns/{campaign}/pledge", form)
        assert answer.status_code == 422 and "your own wallet" in field_error(answer, "refund_address")
        draft = alice.send("/drafts/new", draft_form(town, payout_address=spelling))
        assert draft.status_code == 422 and "your own wallet" in field_error(draft, "payout_address")
    assert stored(town) == before


@pytest.mark.parametrize(
    ("deadline", "part"),
    [
        ("", "date and a time"),
        ("tomorrow", "date and a time"),
        ("2026-13-45T99:99", "date and a time"),
        ("0001-01-01T00:00+23:59", "date and a time"),
        ("9999-12-31T23:59-23:59", "date and a time"),
        ("2020-01-01T00:00", "in the past"),
        ("1e9", "date and a time"),
        ("\u0662\u0660\u0662\u0666-12-01T18:00", "date and a time"),
        ("hours=1", "two hours"),
        ("days=3650", "within a year"),
    ],
)
def test_a_deadline_that_cannot_be_kept(town: World, alice: Visitor, deadline: str, part: str) -> None:
    name, _, count = deadline.partition("=")
    if count:
        deadline = f"{town.chain_now() + timedelta(**{name: int(count)}):%Y-%m-%dT%H:%M}"
    before = stored(town)
    answer = alice.send("/drafts/new", draft_form(town, deadline=deadline))
    assert answer.status_code == 422 and part in field_error(answer, "deadline"), sentences(answer)
    assert stored(town) == before


@pytest.mark.parametrize(
    ("field", "value", "part"),
    [
        ("title", "", "write a title"),
        ("title", "x" * 81, "at most 80"),
        ("title", "\u202e\x00\u2066", "write a title"),
        ("summary", " \n ", "write a summary"),
        ("summary", "x" * 201, "at most 200"),
        ("story", "", "Tell the story"),
        ("story", "x" * 50_001, "at most 50000"),
        ("project_url", "javascript:alert(1)", "https://"),
        ("project_url", "https://", "https://"),
        ("project_url", "https://exa mple.org", "https://"),
        ("project_url", "https://[::1", "https://"),
        ("project_url", "data:text/html,x", "https://"),
        ("license", "", "SPDX"),
        ("license", "CC-BY-NC-4.0", "not an open licence"),
        ("license", "LicenseRef-Mine", "SPDX"),
        ("license", "MIT AND", "SPDX"),
        ("license", "(" * 150, "SPDX"),
    ],
)
def test_a_draft_that_cannot_stand(town: World, alice: Visitor, field: str, value: str, part: str) -> None:
    before = stored(town)
    answer = alice.send("/drafts/new", draft_form(town, **{field: value}))
    assert answer.status_code == 422 and part in field_error(answer, field), sentences(answer)
    assert draft_form(town)["project_url"] in answer.get_data(as_text=True) or field == "project_url"
    assert stored(town) == before


def test_many_faults_at_once_are_told_at_once_and_nothing_typed_is_lost(town: World, alice: Visitor) -> None:
    typed = draft_form(town, title="", goal="1,000", payout_address="here", license="mine", story="Kept & safe")
    answer = alice.send("/drafts/new", typed)
    assert answer.status_code == 422
    assert all(field_error(answer, name) for name in ("title", "goal", "payout_address", "license")), sentences(answer)
    page = html.unescape(answer.get_data(as_text=True))
    assert all(value in page for value in typed.values())


def test_several_faults_of_a_pledge_are_told_at_once(campaign: str, bob: Visitor) -> None:
    form = {"amount": "many", "amount_unit": "sat", "refund_address": "home", "message": "x" * 281}
    answer = bob.send(f"/campaigns/{campaign}/pledge", form)
    assert all(field_error(answer, name) for name in ("amount", "refund_address", "message")), sentences(answer)


EVIL_STORY = """<script>alert(1)</script> <img src=x onerror=alert(1)>
![x](javascript:alert(1)) ![y](https://a.example/y.png)

[run](javascript:alert(1)) [run](data:text/html;base64,PHNjcmlwdD4=)
[run]( java\tscript:alert(1))
<a href="javascript:1">x</a>
[ok](https://example.org/good) <https://example.org/auto> [rel](/p/x)

<iframe src="https://a.example"></iframe><style>body{display:none}</style><form action=/logout method=post>

# A heading
"""


def test_markdown_that_would_like_to_run(town: World, app: Flask, alice: Visitor) -> None:
    page = Visitor(app).get(f"/campaigns/{town.campaign(story=EVIL_STORY)}").get_data(as_text=True)
    story = page[page.index('<div class="story">') : page.index("What becomes open")]
    for bad in ("<script", "<img", "<iframe", "<style", "<form", '<a href="javascript', '<a href="data', "<h1"):
        assert bad not in story, bad
    assert "<p>&lt;script&gt;alert(1)" in story
    assert 'href="https://example.org/good" rel="nofollow noopener ugc"' in story
    tags = re.findall(r"<[^>]*>", story)
    assert tags and not any(f" {name}=" in tag for tag in tags for name in ("onerror", "onclick", "style"))


def test_a_title_in_html_stays_text_everywhere(town: World, app: Flask, bob: Visitor) -> None:
    title = '<b onclick="x">"Bold" & \'brash\'</b>'
    campaign = town.campaign(title=title, summary=f"In short: {title}")
    pledge = town.pledge(campaign, 50_000, name="<i>Zoë</i>")
    pages = ("/", f"/campaigns/{campaign}", f"/campaigns/{campaign}/audit", f"/p/{pledge.id}")
    for path in pages:
        answer = bob.get(path)
        assert "<b onclick" not in answer.get_data(as_text=True) and "<i>Zoë" not in answer.get_data(as_text=True)
        assert title in html.unescape(answer.get_data(as_text=True))


def test_a_story_beyond_all_measure_is_refused_with_a_sentence(town: World, app: Flask, alice: Visitor) -> None:
    before, token = stored(town), token_of(town, "Alice of the web")
    for length, code, api_code, part in (
        (1_000_000, 422, 400, "at most 50000 fit"),
        (3_000_000, 413, 413, "too large"),
    ):
        answer = alice.send("/drafts/new", draft_form(town, title="Kept", story="x" * length))
        assert answer.status_code == code and part in sentences(answer)[:2_000] + field_error(answer, "story")
        assert code == 413 or ('value="Kept"' in answer.get_data(as_text=True) and len(answer.data) > length)
        body = draft_json(town, story="x" * length)
        api = app.test_client().post("/api/v1/campaigns", json=body, headers=token)
        assert api.status_code == api_code and api.content_type == "application/problem+json"
        assert api.json is not None and part in api.json["detail"]
    assert stored(town) == before


def test_what_does_not_take_pledges(town: World, app: Flask, bob: Visitor) -> None:
    with town.database.transaction() as db:
        draft = service.save_draft(db, town.settings, town.creator(), town.draft()).id
    closed = town.campaign(deadline_at=town.chain_now() + timedelta(hours=3))
    town.close(closed)
    before = stored(town)
    form = {"amount": "50000", "amount_unit": "sat", "refund_address": new_address(town.node)}
    body = {"amount_sats": 50_000, "refund_address": form["refund_address"]}
    for campaign, code, api_code, part in (
        (draft, 404, 404, "no such campaign"),
        (closed, 422, 400, "deadline"),
        ("nothere", 404, 404, "no such campaign"),
    ):
        answer = bob.post(f"/campaigns/{campaign}/pledge", form)
        assert answer.status_code == code, sentences(answer)
        api = app.test_client().post(f"/api/v1/campaigns/{campaign}/pledges", json=body)
        assert api.status_code == api_code and api.json is not None and part in api.json["detail"]
    assert "takes no more pledges" in sentences(bob.get(f"/campaigns/{closed}/pledge"))
    assert stored(town) == before


@pytest.mark.parametrize(
    ("name", "password", "field"),
    [
        ("", "long enough it is", "name"),
        ("a", "long enough it is", "name"),
        ("x" * 41, "long enough it is", "name"),
        ("a\x00b", "long enough it is", "name"),
        ("a\u202eb", "long enough it is", "name"),
        ("somebody", "short", "password"),
        ("somebody", "x" * 1001, "password"),
        ("ALICE OF THE WEB", "long enough it is", "name"),
    ],
)
def test_an_account_that_cannot_be_made(
    town: World, alice: Visitor, bob: Visitor, name: str, password: str, field: str
) -> None:
    before = stored(town)
    answer = bob.send("/signup", {"name": name, "password": password})
    assert answer.status_code == 422 and field_error(answer, field), sentences(answer)
    assert stored(town) == before


def test_a_wrong_password_and_an_unknown_name_sound_the_same(alice: Visitor, bob: Visitor) -> None:
    said = {
        field_error(bob.send("/login", {"name": name, "password": "not the password"}), "password")
        for name in ("Alice of the web", "nobody at all", "", "a\x00")
    }
    assert said == {"Name and password do not fit together."}
