"""The most that a campaign accepts, from the form to the page: typed, checked, read once more, frozen, shown."""

from __future__ import annotations

import html
import json
from typing import Any

import pytest
from flask import Flask

from support.site import Visitor, draft_form, draft_json, field_error, sentences, stored, token_of
from support.world import World


def test_a_cap_is_typed_kept_read_once_more_and_frozen(town: World, alice: Visitor) -> None:
    answer = alice.send(
        "/drafts/new", draft_form(town, title="Capped", goal="1", goal_unit="BTC", cap="2", cap_unit="BTC")
    )
    campaign = answer.location.split("/")[2]
    typed = alice.get(f"/drafts/{campaign}/edit").get_data(as_text=True)
    assert 'name="cap" type="text" value="2"' in typed
    preview = sentences(alice.get(f"/drafts/{campaign}/preview"))
    assert "Accepted at most Once 200 000 000 sat are reached, what comes later is sent back." in preview
    assert "Time-locked refunds valid from block" in preview
    alice.send(f"/drafts/{campaign}/edit", draft_form(town, title="Capped", cap="1200001", cap_unit="sat"))
    assert 'name="cap" type="text" value="1200001"' in alice.get(f"/drafts/{campaign}/edit").get_data(as_text=True)
    alice.post(f"/drafts/{campaign}/publish")
    terms = json.loads(alice.get(f"/campaigns/{campaign}/terms.json").get_data(as_text=True))
    assert (terms["version"], terms["cap_sats"]) == (3, 1_200_001)
    assert "Once 1 200 001 sat are reached" in sentences(alice.get(f"/campaigns/{campaign}"))


def test_without_a_cap_any_sum_is_accepted(town: World, alice: Visitor) -> None:
    campaign = alice.send("/drafts/new", draft_form(town, title="Open end", cap="  ")).location.split("/")[2]
    assert 'name="cap" type="text" value=""' in alice.get(f"/drafts/{campaign}/edit").get_data(as_text=True)
    assert "Accepted at most Any sum" in sentences(alice.get(f"/drafts/{campaign}/preview"))
    alice.post(f"/drafts/{campaign}/publish")
    assert "what comes later is sent back" not in sentences(alice.get(f"/campaigns/{campaign}"))


@pytest.mark.parametrize(
    ("cap", "unit", "part"),
    [
        ("999999", "sat", "at least the goal"),
        ("0", "sat", ""),
        ("0.001", "BTC", "at least the goal"),
        ("-5", "sat", ""),
        ("much", "sat", ""),
        ("2000000", "shells", "Choose sat or BTC"),
        ("22000000", "BTC", "21"),
    ],
)
def test_a_cap_that_cannot_stand(town: World, alice: Visitor, cap: str, unit: str, part: str) -> None:
    before = stored(town)
    answer = alice.send("/drafts/new", draft_form(town, cap=cap, cap_unit=unit, title="Kept title"))
    sentence = field_error(answer, "cap")
    assert answer.status_code == 422 and sentence and part in sentence, sentences(answer)
    assert f'value="{cap}"' in html.unescape(answer.get_data(as_text=True)), "nothing typed is lost"
    assert stored(town) == before


def test_programs_set_it_and_read_it(town: World, app: Flask) -> None:
    client, token = app.test_client(), token_of(town, "robot with a cap")
    for sent, cap_sats in (
        ({}, 0),
        ({"cap_sats": None}, 0),
        ({"cap_sats": 0}, 0),
        ({"cap_sats": 1_000_000}, 1_000_000),
    ):
        answer = client.post("/api/v1/campaigns", json=draft_json(town, **sent), headers=token)
        draft: Any = answer.get_json()
        assert answer.status_code == 201 and draft["cap_sats"] == cap_sats
    published = client.post(f"/api/v1/campaigns/{draft['id']}/publish", headers=token).json
    assert published is not None and json.loads(published["terms"])["cap_sats"] == published["cap_sats"] == 1_000_000


@pytest.mark.parametrize("cap", [-1, 1, 999_999, 1.5, "1000000", True, False, [], 21_000_000 * 10**8 + 1])
def test_programs_that_set_it_wrong(town: World, app: Flask, cap: Any) -> None:
    before, token = stored(town), token_of(town, "robot with a cap")
    answer = app.test_client().post("/api/v1/campaigns", json=draft_json(town, cap_sats=cap), headers=token)
    assert answer.status_code == 400 and answer.json is not None
    assert [problem["field"] in ("cap", "cap_sats") for problem in answer.json["errors"]] == [True]
    assert stored(town) == before


def test_programs_are_told_when_there_is_enough(town: World, app: Flask) -> None:
    campaign = town.campaign(goal_sats=50_000, cap_sats=50_000)
    late = town.pledge(campaign, 20_000)
    town.paid(campaign, 50_000)
    body = {"amount_sats": 20_000, "refund_address": late.refund_address}
    refused = app.test_client().post(f"/api/v1/campaigns/{campaign}/pledges", json=body)
    assert refused.status_code == 400 and refused.json is not None
    assert "all that it accepts" in refused.json["detail"]
    town.node.pay(str(late.address), 20_000)
    town.node.mine()
    town.sync()
    pledge = app.test_client().get(f"/api/v1/pledges/{late.id}").json
    assert pledge is not None and (pledge["state"], pledge["counted_sats"]) == ("over_cap", 0)
    assert [coin["bucket"] for coin in pledge["coins"]] == ["over_cap"]


def test_people_are_told_when_there_is_enough(town: World, bob: Visitor) -> None:
    campaign = town.campaign(goal_sats=50_000, cap_sats=50_000)
    form = {"amount": "20000", "amount_unit": "sat", "refund_address": town.pledge(campaign, 20_000).refund_address}
    town.paid(campaign, 50_000)
    before = stored(town)
    answer = bob.send(f"/campaigns/{campaign}/pledge", form)
    assert answer.status_code == 422 and "takes no more pledges" in sentences(answer)
    assert stored(town) == before
