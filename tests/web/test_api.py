"""The API: its contract, every answer against its own description, and bodies that no honest program sends."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from crowdfund.campaigns.ledger import Bucket
from crowdfund.web import openapi
from support.described import fits, judge
from support.node import new_address
from support.site import Visitor, draft_json, site_of, stored, token_of
from support.world import World

NAMES = {"campaign_id": "id", "pledge_id": "id", "slug": "slug", "notice_id": "message"}


def named(part: re.Match[str]) -> str:
    """A part of an address as the description calls it."""
    return "{" + NAMES.get(part[1], "number") + "}"


def checked(answer: TestResponse, schema: str, code: int = 200) -> Any:
    """The body, once it is known to be what the description says."""
    assert answer.status_code == code, answer.get_data(as_text=True)
    body = answer.get_json()
    assert fits(body, schema), list(judge(schema).iter_errors(body))
    return body


def refused(answer: TestResponse, code: int) -> Any:
    """A problem document's body."""
    assert answer.content_type == "application/problem+json", answer.get_data(as_text=True)
    problem = checked(answer, "Problem", code)
    assert problem["status"] == code and problem["detail"].strip().endswith(".")
    return problem


@pytest.fixture(scope="module")
def client(app: Flask) -> FlaskClient:
    """A program."""
    return app.test_client()


@pytest.fixture(scope="module")
def token(town: World) -> dict[str, str]:
    """Its creator's token."""
    return token_of(town, "robot")


def test_a_campaigns_whole_life_through_the_api(town: World, client: FlaskClient, token: dict[str, str]) -> None:
    draft = checked(client.post("/api/v1/campaigns", json=draft_json(town), headers=token), "CampaignDraft", 201)
    assert draft["state"] == "draft" and draft["terms"] is None and draft["descriptor"] is None
    path = f"/api/v1/campaigns/{draft['id']}"
    campaign = checked(client.post(f"{path}/publish", headers=token), "Campaign")
    assert campaign["state"] == "open" and len(campaign["terms_hash"]) == 64
    assert json.loads(campaign["terms"])["goal_sats"] == campaign["goal_sats"]
    assert set(campaign["buckets"]) == set(Bucket)
    assert set(campaign["as_of"]) >= {"height", "block_hash", "median_time_past"}
    body = {"amount_sats": 1_200_000, "refund_address": new_address(town.node), "name": "Zoë", "message": "Los!"}
    pledge = checked(client.post(f"{path}/pledges", json=body), "Pledge", 201)
    assert pledge["state"] == "awaiting" and pledge["uri"] == f"bitcoin:{pledge['address']}?amount=0.01200000"
    assert pledge["receipt_url"] == f"{town.settings.base_url}/p/{pledge['id']}"
    town.node.pay(pledge["address"], 1_200_000)
    town.sync()
    assert checked(client.get(f"/api/v1/pledges/{pledge['id']}"), "Pledge")["state"] == "seen"
    assert checked(client.get(path), "Campaign")["seen_sats"] == 1_200_000
    town.node.mine()
    town.sync()
    assert checked(client.get(f"/api/v1/pledges/{pledge['id']}"), "Pledge")["state"] == "confirmed"
    town.close(draft["id"])
    closing = checked(client.get(path), "Campaign")
    assert closing["outcome"] == "funded" and closing["settlement"]["kind"] == "release"
    town.node.mine()
    town.sync()
    ended = checked(client.get(path), "Campaign")
    assert ended["state"] == "released" and ended["settlement"]["batches"][0]["state"] == "final"
    assert sum(ended["buckets"].values()) == ended["received_sats"] == 1_200_000
    assert set(ended["settlement"]["batches"][0]) >= {"txid", "state", "fee_sats"}
    paid = checked(client.get(f"/api/v1/pledges/{pledge['id']}"), "Pledge")
    assert paid["state"] == "paid_out" and paid["settled_txid"] == ended["settlement"]["batches"][0]["txid"]
    listed = client.get("/api/v1/campaigns").get_json()["campaigns"]
    assert [fits(c, "CampaignInList") for c in listed] == [True] * len(listed)
    assert client.get(f"{path}/audit").get_json()["terms_hash"] == campaign["terms_hash"]


def test_the_description_names_every_address_of_the_api_and_no_other(app: Flask, client: FlaskClient) -> None:
    document = client.get("/api/v1/openapi.json").get_json()
    assert document["openapi"].startswith("3.1") and document["servers"][0]["url"].startswith("http")
    described = {(path, verb.upper()) for path, verbs in document["paths"].items() for verb in verbs}
    served = {
        (re.sub(r"<(?:\w+:)?(\w+)>", named, rule.rule), verb)
        for rule in app.url_map.iter_rules()
        for verb in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/api/v1/") and not rule.rule.endswith("openapi.json")
    }
    assert described == served | {("/healthz", "GET"), ("/metrics", "GET")}
    text = json.dumps(document)
    for name in openapi.SCHEMAS:
        assert f"#/components/schemas/{name}" in text


def test_a_fault_is_named_by_the_field_that_was_sent(
    town: World, campaign: str, client: FlaskClient, token: dict[str, str]
) -> None:
    pledge = {"amount_sats": 1, "refund_address": "x", "message": "m" * 300}
    problem = refused(client.post(f"/api/v1/campaigns/{campaign}/pledges", json=pledge), 400)
    assert [fault["field"] for fault in problem["errors"]] == ["amount_sats", "refund_address", "message"]
    draft = draft_json(town, goal_sats=1, deadline_at="2020-01-01T00:00:00Z", license="mine", title=" ")
    problem = refused(client.post("/api/v1/campaigns", json=draft, headers=token), 400)
    fields = {fault["field"] for fault in problem["errors"]}
    assert fields == {"goal_sats", "deadline_at", "license", "title"}
    assert fields <= set(openapi.SCHEMAS["Draft"]["properties"])


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer nonsense", "Basic YTpi", "bearer\x00", "Token x"])
def test_without_a_good_token_nothing_is_written(town: World, client: FlaskClient, header: str) -> None:
    before = stored(town)
    answer = client.post("/api/v1/campaigns", json=draft_json(town), headers={"Authorization": header})
    problem = refused(answer, 401)
    assert "Authorization: Bearer" in problem["detail"]
    assert stored(town) == before


def test_a_session_is_no_token(town: World, app: Flask) -> None:
    eve = Visitor(app)
    eve.sign_up("eve of the session")
    refused(eve.client.post("/api/v1/campaigns", json=draft_json(town)), 401)


TEXTS = ("refund_address", "name", "message")
WRONG_TEXTS: tuple[object, ...] = (True, 7, 1.5, [], ["text"], {}, "\ud800", "a\x00b")
WRONG_AMOUNTS: tuple[object, ...] = (
    *(True, 1.5, 50_000.0, [], [50_000], {}, "50000", None, 0, -1),
    *(2**63, 10**30, 21_000_000 * 10**8 + 1),
)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, value) for field in TEXTS for value in WRONG_TEXTS),
        *(("amount_sats", value) for value in WRONG_AMOUNTS),
    ],
)
def test_a_value_of_the_wrong_kind(town: World, campaign: str, client: FlaskClient, field: str, value: object) -> None:
    before = stored(town)
    body = {"amount_sats": 50_000, "refund_address": new_address(town.node), field: value}
    problem = refused(client.post(f"/api/v1/campaigns/{campaign}/pledges", json=body), 400)
    assert problem["errors"][0]["field"] == field and field in problem["detail"]
    assert stored(town) == before


@pytest.mark.parametrize(
    "deadline",
    [
        "2026-12-01",
        "2026-12-01T18:00:00",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "soon",
        "",
        1_796_000_000,
        None,
    ],
)
def test_a_deadline_that_is_no_time(town: World, client: FlaskClient, token: dict[str, str], deadline: object) -> None:
    before = stored(town)
    answer = client.post("/api/v1/campaigns", json=draft_json(town, deadline_at=deadline), headers=token)
    assert refused(answer, 400)["errors"][0]["field"] == "deadline_at"
    assert stored(town) == before


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"null", "application/json"),
        (b'"text"', "application/json"),
        (b"NaN", "application/json"),
        (b"\xff\xfe", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"a":' * 50_000, "application/json"),
        (b'{"amount_sats": ' + b"9" * 10_000 + b"}", "application/json"),
        (b'{"amount_sats": 50000}', "text/plain"),
        (b"amount_sats=50000", "application/x-www-form-urlencoded"),
    ],
)
def test_a_body_that_is_no_object(
    town: World, campaign: str, client: FlaskClient, token: dict[str, str], data: bytes, kind: str
) -> None:
    before = stored(town)
    for path in (f"/api/v1/campaigns/{campaign}/pledges", "/api/v1/campaigns"):
        answer = client.post(path, data=data, content_type=kind, headers=token)
        assert "JSON object" in refused(answer, 400 if kind == "application/json" else 415)["detail"]
    assert stored(town) == before


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from(["\ud800", "\x00", "\u202e", "2026-12-01T18:00:00Z", "MIT", "https://example.org"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
GOOD_DRAFT: dict[str, Any] = {
    "title": "A seed drill",
    "summary": "Drawings for everyone.",
    "story": "Once.",
    "goal_sats": 1_000_000,
    "deadline_at": "2030-01-01T00:00:00Z",
    "payout_address": "bcrt1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysnard0ew",
    "project_url": "https://example.org",
    "license": "MIT",
}
DRAFT_FIELDS = tuple(openapi.SCHEMAS["Draft"]["properties"])
PLEDGE_FIELDS = tuple(openapi.SCHEMAS["PledgeRequest"]["properties"])


@settings(max_examples=120, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from(DRAFT_FIELDS), ANYTHING, min_size=1, max_size=3))
def test_no_draft_makes_the_site_stumble(
    town: World, client: FlaskClient, token: dict[str, str], changes: dict[str, Any]
) -> None:
    body = {**GOOD_DRAFT, **changes}
    answer = client.post("/api/v1/campaigns", data=json.dumps(body), content_type="application/json", headers=token)
    if answer.status_code == 201:
        assert all(isinstance(body[name], (str, int)) for name in DRAFT_FIELDS)
    else:
        refused(answer, 400)


@settings(max_examples=120, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from(PLEDGE_FIELDS), ANYTHING, min_size=1, max_size=3))
def test_no_pledge_makes_the_site_stumble(
    town: World, campaign: str, client: FlaskClient, changes: dict[str, Any]
) -> None:
    body = {"amount_sats": 50_000, "refund_address": GOOD_DRAFT["payout_address"], **changes}
    data = json.dumps(body)
    answer = client.post(f"/api/v1/campaigns/{campaign}/pledges", data=data, content_type="application/json")
    if answer.status_code == 201:
        assert isinstance(body["amount_sats"], int) and body["amount_sats"] >= 10_000
    else:  # whose money it is, only somebody with a token may say
        refused(answer, 401 if isinstance(body.get("own_money"), bool) and answer.status_code == 401 else 400)


def test_the_receipts_address_follows_the_setting(world: World) -> None:
    campaign = world.campaign()
    with site_of(world, base_url="https://seedbed.example") as app:
        body = {"amount_sats": 50_000, "refund_address": new_address(world.node)}
        pledge = app.test_client().post(f"/api/v1/campaigns/{campaign}/pledges", json=body).get_json()
        assert pledge["receipt_url"] == f"https://seedbed.example/p/{pledge['id']}"
