"""Who may see and do what: visitors, creators, other creators, programs; and what stays secret from all of them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from flask import Flask

from crowdfund.db import ROOT
from support.node import new_address
from support.site import Visitor, draft_form, sentences, site_of, stored, token_of
from support.world import PASSWORD, World

CREATORS_PAGES = ("/dashboard", "/drafts/new", "/drafts/{draft}/edit", "/drafts/{draft}/preview")


@pytest.fixture(scope="module")
def draft(town: World, alice: Visitor) -> str:
    """Alice's draft."""
    answer = alice.send("/drafts/new", draft_form(town, title="Alice's secret draft"))
    assert answer.status_code == 303, sentences(answer)
    return answer.location.split("/")[2]


def is_draft(town: World, campaign_id: str) -> bool:
    return town.snapshot(campaign_id).terms is None


@pytest.mark.parametrize("path", CREATORS_PAGES)
def test_a_visitor_is_sent_to_the_log_in_and_back(draft: str, bob: Visitor, alice: Visitor, path: str) -> None:
    path = path.format(draft=draft)
    answer = bob.get(path)
    assert answer.status_code == 303 and answer.location == f"/login?next={path}"
    answer = bob.send(answer.location, {"name": "Alice of the web", "password": PASSWORD})
    assert answer.status_code == 303 and answer.location == path
    assert bob.get(path).status_code == 200


def test_what_can_only_be_posted_is_no_page_to_come_back_to(town: World, draft: str, bob: Visitor) -> None:
    answer = bob.post(f"/drafts/{draft}/publish")
    assert answer.status_code == 303 and answer.location == "/login"
    assert is_draft(town, draft)


def test_a_draft_is_seen_through_the_api_with_its_creators_token_only(town: World, app: Flask, draft: str) -> None:
    client = app.test_client()
    path = f"/api/v1/campaigns/{draft}"
    own, other = token_of(town, "Alice of the web"), token_of(town, "mallory")
    assert client.get(path, headers=own).status_code == 200
    for verb, address, code in (("GET", path, 404), ("POST", f"{path}/publish", 401)):
        for header in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic YTpi"}):
            assert client.open(address, method=verb, headers=header).status_code == code
        assert client.open(address, method=verb, headers=other).status_code == 404
    assert client.get(f"{path}/audit", headers=own).status_code == 404
    assert draft not in client.get("/api/v1/campaigns").get_data(as_text=True)
    assert is_draft(town, draft)


def test_a_published_campaign_cannot_be_edited(town: World, app: Flask) -> None:
    carol = Visitor(app)
    carol.sign_up("carol who publishes")
    campaign = carol.send("/drafts/new", draft_form(town)).location.split("/")[2]
    assert carol.post(f"/drafts/{campaign}/publish").location == f"/campaigns/{campaign}"
    frozen = town.snapshot(campaign).campaign.terms
    answer = carol.post(f"/drafts/{campaign}/edit", draft_form(town, title="Changed"))
    assert answer.location == f"/campaigns/{campaign}"
    assert "cannot change" in sentences(carol.get(answer.location))
    assert carol.get(f"/drafts/{campaign}/preview").location == f"/campaigns/{campaign}"
    assert carol.post(f"/drafts/{campaign}/publish").location == f"/campaigns/{campaign}"  # twice is once
    assert town.snapshot(campaign).campaign.terms == frozen


def test_a_form_from_elsewhere_is_refused_with_a_sentence(
    town: World, campaign: str, draft: str, alice: Visitor
) -> None:
    before = stored(town)
    pledge = {"amount": "50000", "amount_unit": "sat", "refund_address": new_address(town.node)}
    for path, data in (
        (f"/campaigns/{campaign}/pledge", pledge),
        ("/drafts/new", draft_form(town)),
        (f"/drafts/{draft}/publish", {}),
        ("/signup", {"name": "eve", "password": PASSWORD}),
        ("/login", {"name": "Alice of the web", "password": PASSWORD}),
        ("/logout", {}),
        ("/bench/mine", {}),
    ):
        for token in ({}, {"csrf_token": "made-up"}, {"csrf_token": Visitor(alice.client.application).csrf_token("/")}):
            answer = alice.client.post(path, data={**data, **token})
            assert answer.status_code == 400 and "reload it" in sentences(answer), path
    assert stored(town) == before and is_draft(town, draft)
    assert alice.get("/dashboard").status_code == 200  # still logged in


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "javascript:alert(1)",
        "evil.example",
        "/%0d%0aSet-Cookie:a=b\r\nX: y",
        "",
    ],
)
def test_nobody_is_led_away_from_the_site(alice: Visitor, bob: Visitor, target: str) -> None:
    form = {"name": "Alice of the web", "password": PASSWORD}
    answer = bob.client.post(
        "/login", query_string={"next": target}, data={**form, "csrf_token": bob.csrf_token("/login")}
    )
    assert answer.status_code == 303 and answer.location == "/dashboard"
    mined = bob.post("/bench/mine", {"blocks": "none", "back": target})
    assert mined.status_code == 303 and mined.location == "/"


def test_the_host_header_is_believed_nowhere(town: World, campaign: str, app: Flask, bob: Visitor) -> None:
    pledge = town.pledge(campaign, 50_000)
    paths = (
        "/",
        f"/campaigns/{campaign}",
        f"/p/{pledge.id}",
        "/api/v1/campaigns",
        "/api",
        f"/api/v1/pledges/{pledge.id}",
    )
    for path in paths:
        answer = bob.get(path, headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"})
        assert answer.status_code == 200 and "evil.example" not in answer.get_data(as_text=True)
    answer = bob.get("/dashboard", headers={"Host": "evil.example"})
    assert answer.location.startswith("/login")


def test_a_session_ends_with_the_log_out(app: Flask, alice: Visitor, bob: Visitor) -> None:
    bob.send("/login", {"name": "ALICE of the web", "password": PASSWORD})
    before = bob.csrf_token("/dashboard")
    assert bob.post("/logout", page="/dashboard").status_code == 303
    assert bob.get("/dashboard").location.startswith("/login")
    assert bob.client.post("/drafts/new", data={"csrf_token": before}).status_code == 400
    cookie = Visitor(app).get("/login").headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie


def test_the_cookie_is_secure_where_the_site_is(world: World) -> None:
    with site_of(world, base_url="https://seedbed.example") as app:
        assert "Secure" in Visitor(app).get("/login").headers["Set-Cookie"]


def test_a_pledges_id_is_on_its_own_page_only(town: World, app: Flask, bob: Visitor) -> None:
    campaign = town.campaign()
    pledges = [
        town.paid(campaign, 300_000),
        town.paid(campaign, 900_000, confirmed=False),
        town.pledge(campaign, 20_000),
    ]
    ids = [pledge.id for pledge in pledges]

    def look() -> None:
        for path in (
            "/",
            f"/campaigns/{campaign}",
            f"/campaigns/{campaign}/audit",
            f"/campaigns/{campaign}/audit.json",
            f"/campaigns/{campaign}/terms.json",
            f"/campaigns/{campaign}/pledge",
            "/api/v1/campaigns",
            f"/api/v1/campaigns/{campaign}",
            f"/api/v1/campaigns/{campaign}/audit",
            "/metrics",
            "/healthz",
        ):
            text = bob.get(path).get_data(as_text=True)
            assert not [secret for secret in ids if secret in text], path

    look()
    town.node.mine()
    town.close(campaign)
    town.node.mine()
    town.sync()
    look()
    own = bob.get(f"/p/{ids[0]}").get_data(as_text=True)
    assert ids[0] in own and ids[1] not in own and 'content="noindex"' in own
    assert len({len(i) for i in ids}) == 1 and len(ids[0]) >= 26


def test_the_test_bench_is_not_there_where_it_is_off(town: World) -> None:
    campaign = town.campaign()
    pledge = town.pledge(campaign, 50_000)
    height = town.node.status()["height"]
    with site_of(town, test_bench=False) as app:
        bob = Visitor(app)
        for path in ("/bench/mine", f"/bench/pay/{pledge.id}", f"/bench/jump/{campaign}"):
            assert bob.post(path).status_code == 404
        for path in ("/", f"/campaigns/{campaign}", f"/p/{pledge.id}", "/about"):
            text = bob.get(path).get_data(as_text=True)
            assert "bench" not in text.replace("workbench", "") and "Mine a block" not in text
    assert town.node.status()["height"] == height


def test_the_test_bench_says_what_it_cannot_do(town: World, bob: Visitor) -> None:
    campaign = town.campaign()
    pledge = town.pledge(campaign, 50_000)
    for path, data, part in (
        ("/bench/mine", {"blocks": "0"}, "Between 1 and"),
        ("/bench/mine", {"blocks": "9999"}, "Between 1 and"),
        ("/bench/mine", {"blocks": "\u0661"}, "Between 1 and"),
        (f"/bench/pay/{pledge.id}", {"amount_sats": "much"}, "not an amount"),
        (f"/bench/pay/{pledge.id}", {"amount_sats": "1"}, "1 sat"),
    ):
        answer = bob.post(path, {**data, "back": f"/campaigns/{campaign}"})
        assert answer.status_code == 303 and answer.location == f"/campaigns/{campaign}"
        assert part in sentences(bob.get(answer.location))
    assert bob.post("/bench/pay/unknown").status_code == 404
    assert bob.post("/bench/jump/unknown").status_code == 404


def test_the_web_process_never_loads_the_signer(tmp_path: Path) -> None:
    code = (
        "import sys, wsgi; client = wsgi.app.test_client(); assert client.get('/').status_code == 200;"
        "bad = [m for m in sys.modules if m in ('crowdfund.wallet.signer', 'crowdfund.wallet.keystore')];"
        "assert not bad, bad; print('clean')"
    )
    env = {k: v for k, v in os.environ.items() if not k.startswith("CROWDFUND_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**env, "CROWDFUND_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and done.stdout == "clean\n", done.stderr


def test_the_source_can_be_had_and_holds_no_secret(town: World, bob: Visitor) -> None:
    answer = bob.get("/source.tar.gz")
    assert answer.status_code == 200 and answer.content_type == "application/gzip"
    secrets = [
        town.settings.secret_key or "none",
        (town.folder / "signer" / "seed").read_text(),
        town.node.cookie_file.read_text(),
    ]
    with tarfile.open(fileobj=io.BytesIO(answer.data)) as archive:
        members = archive.getmembers()
        names = {member.name for member in members}
        assert {"crowdfund/crowdfund/web/public.py", "crowdfund/wsgi.py", "crowdfund/static/site.css"} <= names
        assert not [n for n in names if n.startswith(("/", "..")) or n.endswith((".sqlite", ".pyc", ".log", ".env"))]
        assert not [n for n in names if {"secret_key", "seed", ".cookie", ".git", ".venv"} & set(n.split("/"))]
        for member in members:
            assert member.isfile() or member.isdir(), f"{member.name} is a link"
            assert (member.uname, member.gname, member.uid) == ("", "", 0)
            file = archive.extractfile(member)
            text = file.read().decode(errors="replace") if file else ""
            # The key of the tests stands in the tests; nothing else of this installation stands anywhere.
            found = [s for s in secrets if s in text and not member.name.startswith("crowdfund/tests/")]
            assert not found, member.name
    assert bob.get("/").status_code == 200
