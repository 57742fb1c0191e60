"""What a backer reads before paying, and where their money is: units, hints, indications, transactions of many."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from crowdfund.campaigns import settling
from crowdfund.campaigns.lifecycle import Outcome
from crowdfund.web.fiat import Rate, read_rate, words
from crowdfund.web.hints import time_hint
from crowdfund.web.site import AsOf
from support.paper import PAYOUT, Paper, coin
from support.site import Visitor, sentences, site_of

NOON = datetime(2026, 12, 1, 12, 30, tzinfo=UTC)
CLOSING_BLOCK = 61


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[Paper]:
    with Paper(tmp_path) as chain:
        yield chain


@pytest.fixture
def bob(paper: Paper) -> Iterator[Visitor]:
    with site_of(paper) as app:
        yield Visitor(app)


def test_the_reader_chooses_the_unit_and_stays_on_the_page(paper: Paper, bob: Visitor) -> None:
    pledge = paper.pledge(paper.campaign(), 123_456)
    path = f"/p/{pledge.id}"
    paper.mine([coin(pledge, 23_456)])
    assert "counted for the goal 23 456 sat" in sentences(bob.get(path))
    answer = bob.get(f"/unit/btc?to={path}")
    assert answer.status_code == 303 and answer.headers["Location"] == path
    assert "HttpOnly" in answer.headers["Set-Cookie"] and "SameSite=Lax" in answer.headers["Set-Cookie"]
    shown = bob.get(path)
    assert "counted for the goal 0.00 023 456 BTC" in sentences(shown)
    assert "0.00 100 000 BTC 100 000 sat" in sentences(shown)  # what is due stands there in both
    assert f"{pledge.address}?amount=0.00100000" in shown.text  # and the payment is what it was
    assert "0.00 023 456 BTC" in sentences(bob.get(f"/campaigns/{pledge.campaign_id}"))
    assert "23456" in bob.get(f"/api/v1/pledges/{pledge.id}").text
    bob.get(f"/unit/sat?to={path}")
    assert "counted for the goal 23 456 sat" in sentences(bob.get(path))


@pytest.mark.parametrize("path", ["//evil.example", "https://evil.example/", "/\\evil.example", ""])
def test_the_choice_never_leads_away(bob: Visitor, path: str) -> None:
    assert bob.get("/unit/btc", query_string={"to": path}).headers["Location"] == "/"


def test_what_is_no_unit_changes_nothing(bob: Visitor) -> None:
    assert bob.get("/unit/eur?to=/").status_code == 404
    bob.client.set_cookie("unit", "<script>")
    assert "<script>" not in bob.get("/").text.replace("<script src", "") and 'aria-current="true">sat</a>' in (
        bob.get("/").text
    )


def test_a_form_that_is_shown_again_offers_no_link_that_would_lose_it(paper: Paper, bob: Visitor) -> None:
    path = f"/campaigns/{paper.campaign()}/pledge"
    assert "/unit/btc" in bob.get(path).text
    answer = bob.send(path, {"amount": "3", "amount_unit": "sat"})
    assert answer.status_code == 422 and "/unit/btc" not in answer.text


def view(left: timedelta) -> AsOf:
    return AsOf(1_000, "aa" * 32, NOON - left, "live", True, 7, NOON, "")


@pytest.mark.parametrize(
    "left, urgency, block",
    [
        (timedelta(days=2), 0, "1<i></i>288"),
        (timedelta(days=1), 1, "1<i></i>144"),
        (timedelta(hours=3, seconds=1), 1, "1<i></i>018"),
        (timedelta(hours=3), 2, "1<i></i>018"),
        (timedelta(seconds=1), 2, "1<i></i>001"),
    ],
)
def test_the_hint_grows_louder_as_the_deadline_comes(bob: Visitor, left: timedelta, urgency: int, block: str) -> None:
    with bob.client.application.test_request_context():
        hint = time_hint(NOON, view(left))
    assert hint is not None and (hint.urgency, block in hint.text, "7 sat/vB" in hint.text) == (urgency, True, True)
    assert ("sent back" in hint.text) == (urgency == 2)
    assert time_hint(NOON, None) is None


def test_hints_stand_on_the_form_and_beside_the_code(paper: Paper, bob: Visitor) -> None:
    campaign = paper.campaign()
    pledge = paper.pledge(campaign)
    for path in (f"/campaigns/{campaign}/pledge", f"/p/{pledge.id}"):
        told = sentences(bob.get(path))
        assert "Less than a day is left." in told and "Withdraw the amount and their fee together." in told
    assert "A fresh address for each pledge" in sentences(bob.get(f"/campaigns/{campaign}/pledge"))
    assert "has been paid already" not in sentences(bob.get(f"/p/{pledge.id}"))
    paper.mine([coin(pledge, 40_000)])
    assert "has been paid already. What you pay now is added" in sentences(bob.get(f"/p/{pledge.id}"))
    paper.mine(blocks=CLOSING_BLOCK)
    assert "Paying from an exchange" not in sentences(bob.get(f"/p/{pledge.id}"))


def test_a_refund_address_that_is_the_payout_address_is_told(paper: Paper, bob: Visitor) -> None:
    pledge = paper.pledge(paper.campaign(), refund_address=PAYOUT)
    assert "your money goes to the project, also if the goal is missed" in sentences(bob.get(f"/p/{pledge.id}"))


def test_a_reorganisation_is_told_until_another_block_has_the_payment(paper: Paper, bob: Visitor) -> None:
    pledge = paper.pledge(paper.campaign())
    paid = coin(pledge, 100_000)
    paper.mine([paid])
    paper.fork(1)
    paper.mempool([paid])
    told = sentences(bob.get(f"/p/{pledge.id}"))
    assert "the network replaced its blocks from 101 on" in told and "counts again once it is in one" in told
    paper.mine([paid], branch="b")
    told = sentences(bob.get(f"/p/{pledge.id}"))
    assert "the network replaced" not in told and "Your pledge counts" in told


def test_money_on_its_way_says_in_which_transaction_of_how_many(paper: Paper, bob: Visitor) -> None:
    campaign = paper.campaign()
    pledges, late = [paper.pledge(campaign) for _ in range(3)], paper.pledge(campaign)
    paper.mine([coin(p, 50_000, str(p.index)) for p in pledges])
    paper.mine(blocks=CLOSING_BLOCK)
    with paper.database.transaction() as session:
        settling.decide_campaign(session, campaign, 2)
    told = sentences(bob.get(f"/p/{pledges[0].id}"))
    assert paper.snapshot(campaign).outcome is Outcome.FAILED
    assert "Transaction 1 of 1 of the refunds. It is made up and waits for its signature." in told
    paper.mine([coin(late, 30_000, "late")])
    with paper.database.transaction() as session:
        settling.plan_campaign(session, campaign, 2)
    assert "Transaction 2 of 2 of the refunds." in sentences(bob.get(f"/p/{late.id}"))
    assert "Transaction 1 of 2 of the refunds." in sentences(bob.get(f"/p/{pledges[0].id}"))


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "[]", "nonsense", '{"currency": "EUR", "per_btc": 0, "at": "2026-12-01T12:30:00Z"}',
        '{"currency": "EUR", "per_btc": NaN, "at": "2026-12-01T12:30:00Z"}',
        '{"currency": "<b>", "per_btc": 1, "at": "2026-12-01T12:30:00Z"}',
        '{"currency": "EUR", "per_btc": 41000, "at": "2026-12-01T12:30:00"}',
        '{"currency": "EUR", "per_btc": 41000, "at": "2026-12-01T11:30:00Z"}',
        '{"currency": "EUR", "per_btc": 41000, "at": "2026-12-01T12:36:00Z"}',
        " " * 1_001,
    ],
)  # fmt: skip
def test_a_rate_that_makes_no_sense_or_is_old_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "rate.json").write_text(text)
    assert read_rate(tmp_path / "rate.json", NOON) is None
    assert read_rate(tmp_path / "missing.json", NOON) is None and read_rate(None, NOON) is None


def test_a_rate_is_an_indication_with_its_time(paper: Paper, tmp_path: Path) -> None:
    path, now = tmp_path / "rate.json", datetime.now(UTC)
    pledge = paper.pledge(paper.campaign())
    with site_of(paper, fiat_file=path) as app:
        bob = Visitor(app)
        assert "indication" not in sentences(bob.get(f"/p/{pledge.id}"))
        path.write_text(json.dumps({"currency": "EUR", "per_btc": 41_000, "at": now.isoformat()}))
        assert f"about 41 €, indication of {now:%H:%M} UTC" in sentences(bob.get(f"/p/{pledge.id}"))
        old = now - timedelta(hours=1)
        path.write_text(json.dumps({"currency": "EUR", "per_btc": 41_000, "at": old.isoformat()}))
        assert "indication" not in sentences(bob.get(f"/p/{pledge.id}"))
        with app.test_request_context():
            assert words(1_000, Rate("CHF", Decimal(39_000), NOON)).startswith("about 0.39 CHF")
