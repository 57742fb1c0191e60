"""A campaign's dashboard: who sees it, what it shows, its exports, and own money declared; on a chain on paper."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask

from crowdfund import create_app
from crowdfund.accounts.people import create_token
from crowdfund.audit import form, rules
from crowdfund.audit.bundle import build_bundle
from crowdfund.campaigns import overview, recording, service
from crowdfund.campaigns.models import Campaign, Pledge
from crowdfund.campaigns.progress import Step
from crowdfund.web import chart, openapi
from crowdfund.web.spreadsheet import plain
from support.described import fits
from support.paper import REFUND, START, Paper, coin
from support.site import Visitor, field_error, sentences
from web.test_talk import logged_in, operator

MESSAGE = '=HYPERLINK("https://evil.example";"click")'


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
    return logged_in(app, "alice 1")


@pytest.fixture
def bob(app: Flask) -> Visitor:
    return Visitor(app)


def pledged(paper: Paper, campaign: str, sats: int, name: str = "", message: str = "", blocks: int = 1) -> Pledge:
    """A pledge with its words, paid and confirmed."""
    found = service.open_pledge(paper.database, paper.settings, campaign, sats, REFUND, name, message)
    with paper.database.reading() as session:
        pledge = session.get_one(Pledge, found)
    paper.mine([coin(pledge, sats, f"coin {found}")], blocks=blocks)
    return pledge


def test_only_its_creator_sees_it(paper: Paper, app: Flask, alice: Visitor, bob: Visitor, campaign: str) -> None:
    mallory = Visitor(app)
    mallory.sign_up("mallory")
    for name in ("dashboard", "pledges.csv", "pledges.json"):
        path = f"/campaigns/{campaign}/{name}"
        assert bob.get(path).location == f"/login?next={path}"
        assert mallory.get(path).status_code == 404 and alice.get(path).status_code == 200
    assert f"/campaigns/{campaign}/dashboard" in alice.get("/dashboard").text
    assert mallory.post(f"/campaigns/{campaign}/own-money", {"number": "0", "own": "yes"}).status_code == 404


def test_it_is_there_before_anything_came(alice: Visitor, campaign: str) -> None:
    said = sentences(alice.get(f"/campaigns/{campaign}/dashboard"))
    for sentence in ("Nothing counts yet.", "Too early to tell", "There is nothing to send back yet.", "0.0 %"):
        assert sentence in said


def test_the_figures_of_a_running_campaign(paper: Paper, alice: Visitor, campaign: str) -> None:
    pledges = [pledged(paper, campaign, sats, f"Backer {sats}") for sats in (300_000, 50_000, 50_000, 40_000, 30_000)]
    pledges.append(pledged(paper, campaign, 30_000, message="Los!"))
    paper.pledge(campaign)
    answer = alice.get(f"/campaigns/{campaign}/dashboard")
    said = sentences(answer)
    assert "500,000 sat count, which is 50 % of the goal; they came on one day." in said
    assert "from the largest pledge 60.0 % 300 000 sat" in said and "from the five largest 94.0 %" in said
    assert "in the last 24 hours 100.0 %" in said and "1 pledge has an address and no payment so far" in said
    assert "would go back to 6 pledges, in one transaction" in said and "Los!" in said and "2026-11-22" in said
    for pledge in pledges:
        assert pledge.id not in answer.text and pledge.refund_address not in answer.text
    assert 'role="img" aria-label="500,000 sat count' in answer.text


def test_the_rehearsal_is_what_failing_does(paper: Paper, campaign: str) -> None:
    for sats in (100_000, 200_000):
        pledged(paper, campaign, sats)
    found = overview.rehearse(paper.snapshot(campaign), 2)
    assert found is not None and found.back_sats + found.fee_sats == 300_000
    assert (found.transactions, found.refunded, found.left, found.left_sats) == (1, 2, 0, 0)
    dear = overview.rehearse(paper.snapshot(campaign), 10_000)
    assert dear is not None and (dear.transactions, dear.left, dear.left_sats) == (0, 2, 300_000)


def test_the_exports_hold_every_pledge_and_no_formula(paper: Paper, alice: Visitor, campaign: str) -> None:
    first = pledged(paper, campaign, 100_000, "=1+1", MESSAGE)
    pledged(paper, campaign, 50_000, "Zoë", '+49; "and", so on')
    answer = alice.get(f"/campaigns/{campaign}/pledges.csv")
    assert answer.content_type == "text/csv; charset=utf-8" and "attachment" in answer.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.get_data().decode("utf-8-sig"), newline="")))
    assert [plain(row["name"]) for row in rows] == ["=1+1", "Zoë"] and plain(rows[0]["message"]) == MESSAGE
    assert not re.search(r'(^|",)"[=+\-@\t\r]', answer.text, re.M)
    assert (rows[0]["number"], rows[0]["counted_sats"], rows[0]["state"]) == ("0", "100000", "confirmed")
    assert rows[0]["own_money"] == "no"
    told = alice.get(f"/campaigns/{campaign}/pledges.json")
    assert first.id not in answer.text + told.text and REFUND not in answer.text + told.text
    assert told.json is not None and told.json["pledges"][0]["message"] == MESSAGE


def test_the_api_tells_them_to_the_owners_token_alone(paper: Paper, bob: Visitor, campaign: str) -> None:
    pledge = pledged(paper, campaign, 100_000, "Zoë")
    path = f"/api/v1/campaigns/{campaign}/pledges"
    with paper.database.transaction() as session:
        tokens = {name: create_token(session, name, START) for name in ("alice 1", "mallory")}
    headers = {name: {"Authorization": f"Bearer {token}"} for name, token in tokens.items()}
    assert bob.get(path).status_code == 401
    assert bob.get(path, headers=headers["mallory"]).status_code == 404
    answer = bob.get(path, headers=headers["alice 1"])
    assert answer.json is not None and fits(answer.json, "PledgeRows")
    (row,) = answer.json["pledges"]
    assert fits(row, "PledgeRow") and row["name"] == "Zoë" and row["counted_sats"] == 100_000
    assert set(row) == set(openapi.SCHEMAS["PledgeRow"]["properties"]) and pledge.id not in answer.text
    body = {"amount_sats": 50_000, "refund_address": REFUND, "own_money": True}
    assert bob.client.post(path, json=body).status_code == 401
    assert bob.client.post(path, json=body, headers=headers["mallory"]).status_code == 404
    wrong = bob.client.post(path, json={**body, "own_money": "yes"}, headers=headers["alice 1"])
    assert wrong.status_code == 400 and "true or false" in wrong.text
    made = bob.client.post(path, json=body, headers=headers["alice 1"])
    assert made.status_code == 201 and made.json is not None
    with paper.database.reading() as session:
        paper.mine([coin(session.get_one(Pledge, made.json["id"]), 50_000, "own")])
    told = bob.get(f"/api/v1/campaigns/{campaign}").json
    assert told is not None and told["own_money"] == {"own_sats": 50_000, "without_sats": 100_000}


def test_creators_are_asked_whether_it_is_their_own_money(
    paper: Paper, alice: Visitor, bob: Visitor, campaign: str
) -> None:
    path = f"/campaigns/{campaign}/pledge"
    assert "Is this your own money?" in alice.get(path).text and "own money?" not in bob.get(path).text
    pledge = {"amount": "100000", "amount_unit": "sat", "refund_address": REFUND}
    refused = alice.send(path, pledge)
    assert refused.status_code == 422 and "say whether this is your own money" in sentences(refused)
    assert REFUND in refused.text and paper.snapshot(campaign).campaign.next_index == 0
    worse = alice.send(path, {**pledge, "amount": "x", "refund_address": "y"})
    assert field_error(worse, "amount") and field_error(worse, "refund_address")
    mine = alice.send(path, {**pledge, "own": "Yes"}).location.rsplit("/", 1)[1]
    other = alice.send(path, {**pledge, "own": "No"}).location.rsplit("/", 1)[1]
    assert bob.send(path, {**pledge, "own": "Yes"}).status_code == 303, "a visitor's word is worth nothing"
    with paper.database.reading() as session:
        paper.mine([coin(session.get_one(Pledge, name), 100_000, name) for name in (mine, other)])
    said = sentences(bob.get(f"/campaigns/{campaign}"))
    assert "The creator declares 100 000 sat of this to be their own money." in said
    assert "Without it, 100 000 sat count, 10% of the goal." in said and "the creator’s own money" in said


def test_own_money_is_declared_afterwards_and_taken_back_in_the_open(
    paper: Paper, alice: Visitor, bob: Visitor, campaign: str
) -> None:
    pledged(paper, campaign, 100_000)
    pledged(paper, campaign, 60_000)
    path = f"/campaigns/{campaign}/own-money"
    for own, sats in (("yes", 60_000), ("yes", 60_000), ("no", 0), ("yes", 60_000)):
        assert alice.post(path, {"number": "1", "own": own}).status_code == 303
        assert overview.own_share(paper.snapshot(campaign)).own_sats == sats
    for number in ("7", "-1", "x", "", "9" * 20, "9" * 5000):
        assert alice.post(path, {"number": number, "own": "yes"}).status_code == 404
    assert "It is not mine" in alice.get(f"/campaigns/{campaign}/dashboard").text
    assert paper.summary(campaign).counted_sats == 160_000, "it changes no sum"


def test_the_bundle_says_it_as_a_statement(paper: Paper, alice: Visitor, campaign: str) -> None:
    for sats in (100_000, 60_000, 30_000):
        pledged(paper, campaign, sats)
    before = build_bundle(paper.snapshot(campaign), "regtest")
    assert "statements" not in before
    for number in ("2", "0"):
        alice.post(f"/campaigns/{campaign}/own-money", {"number": number, "own": "yes"})
    bundle = build_bundle(paper.snapshot(campaign), "regtest")
    assert bundle == {**before, "statements": {"own_money": [0, 2]}}
    terms = paper.snapshot(campaign).terms
    claims = form.read(bundle)
    assert terms is not None and claims.own_money == (0, 2)
    assert list(rules.statement_problems(claims)) == [] and rules.own_sats(claims, terms) == 130_000
    assert list(rules.statement_problems(replace(claims, own_money=(0, 9)))) == [
        "Address 9 is said to hold the creator's own money, and holds none."
    ]
    for wrong in ([], [2, 0], [0, 0], [-1], ["0"], [True], 0, None):
        with pytest.raises(form.FormError):
            form.read({**bundle, "statements": {"own_money": wrong}})
    others: tuple[object, ...] = ({}, None, [], {"own_money": [0], "more": 1})
    for other in others:
        with pytest.raises(form.FormError):
            form.read({**bundle, "statements": other})


def test_a_funded_campaign_and_a_decided_one(paper: Paper, alice: Visitor, campaign: str) -> None:
    pledged(paper, campaign, 1_200_000)
    said = sentences(alice.get(f"/campaigns/{campaign}/dashboard"))
    assert "The goal is reached with what counts today." in said and "it would be funded" in said
    paper.mine(blocks=70)
    assert "The deadline has passed" in sentences(alice.get(f"/campaigns/{campaign}/dashboard"))


def test_many_steps_are_thinned_and_the_last_is_kept() -> None:
    steps = [Step(START + n * timedelta(minutes=10), n, 1, n + 1) for n in range(5_000)]
    drawn = chart.course_svg(steps, 10_000, START, steps[-1].at, steps[-1].at, 'a "label"')
    assert 600 < drawn.count("V") < 900 and "a &#34;label&#34;" in drawn
    top = chart.HEIGHT - 5_000 * chart.HEIGHT // 10_800
    assert f"V{top}H" in drawn and f'"M0 {chart.HEIGHT - 10_000 * chart.HEIGHT // 10_800}H' in drawn


def test_no_view_of_the_chain_is_no_trouble(paper: Paper, alice: Visitor, campaign: str) -> None:
    with paper.database.transaction() as session:
        recording.set_view(session, "node unreachable since 2026-11-22 20:50 UTC", "", None, START)
        assert session.get_one(Campaign, campaign).title
    assert alice.get(f"/campaigns/{campaign}/dashboard").status_code == 200
    assert operator(paper, "list") == "0 "
