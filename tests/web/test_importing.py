"""Bringing a project along: from files of every kind, from an address, from a hostile world; nothing typed is lost."""

from __future__ import annotations

import html
import io
import json
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart

from crowdfund.campaigns.models import Campaign
from crowdfund.errors import UserError
from crowdfund.projects.fetching import Fetcher, fetcher_of
from crowdfund.projects.manifests.syntax import SIZE_LIMIT
from crowdfund.projects.models import Project
from crowdfund.web.outside import FETCH, LIMITER
from support.details import PROJECT, begun, details, member, paper_site, row
from support.internet import Authority, Internet, Server, files, http, redirect, saying, serving
from support.paper import Paper
from support.site import Visitor, field_error, sentences

MANIFESTS = Path(__file__).parents[1] / "projects" / "manifests"
EXPECTED: dict[str, dict[str, Any]] = json.loads((MANIFESTS / "expected.json").read_text())
NAMES = {
    "funding_json": "funding.json",
    "publiccode": "publiccode.yml",
    "codemeta": "codemeta.json",
    "funding_yml": "FUNDING.yml",
}
START = "/drafts/start"
OKH = b"""okhv = "OKH-LOSHv1.0"
name = "Seed drill"
repo = "https://drill.example.org/drill"
license = "CERN-OHL-S-2.0"
licensor = "Ada"
function = "Sows in rows."
technology-readiness-level = "OTRL-4"
documentation-readiness-level = "ODRL-2"
bom = "https://drill.example.org/parts.csv"
source = ["https://drill.example.org/drill.fcstd"]
"""
CODEMETA = (
    b'{"@context": "https://w3id.org/codemeta/3.0", "@type": "SoftwareSourceCode", "name": "Drill software", '
    b'"description": "Steers the drill.", "license": "https://spdx.org/licenses/MIT"}'
)
PUBLIC, OTHER = "93.184.215.14", "151.101.1.69"


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paper]:
    with Paper(tmp_path_factory.mktemp("paper")) as made:
        yield made


@pytest.fixture(scope="module")
def app(paper: Paper) -> Iterator[Flask]:
    with paper_site(paper) as running:
        yield running


@pytest.fixture(scope="module")
def alice(app: Flask) -> Visitor:
    return member(app, "alice")


@pytest.fixture(scope="module")
def token(alice: Visitor) -> str:
    return alice.csrf_token(START)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> ssl.SSLContext:
    return authority.server("example.org", "*.example.org", "raw.githubusercontent.com")


@pytest.fixture
def net(app: Flask, authority: Authority) -> Iterator[Internet]:
    """The internet that the site sees."""
    made, before = Internet(), app.extensions[FETCH]
    made.name("drill.example.org", PUBLIC)
    made.name("raw.githubusercontent.com", OTHER)
    client = authority.client()
    app.extensions[FETCH] = Fetcher(resolve=made.resolve, connect=made.connect, context=client, timeout_s=3).fetch
    yield made
    app.extensions[FETCH] = before


def send(
    visitor: Visitor,
    form: dict[str, str],
    upload: tuple[str, bytes] | None = None,
    path: str = START,
    token: str = "",
) -> TestResponse:
    """As the browser sends the page's form."""
    sent: dict[str, object] = {"csrf_token": token or visitor.csrf_token(START), **form}
    if upload is not None:
        sent["file"] = FileStorage(io.BytesIO(upload[1]), upload[0])
    boundary, body = encode_multipart(sent)
    return visitor.client.post(path, data=body, content_type=f"multipart/form-data; boundary={boundary}")


def fields_of(answer: TestResponse, do: str) -> dict[str, str]:
    """The inputs of the form with the button that does this, as it would be sent; `take` has the ticks, with commas."""
    page = answer.get_data(as_text=True)
    form = next(part for part in re.findall(r"<form.*?</form>", page, re.S) if f'value="{do}"' in part)
    found, ticks = {"do": do}, []
    for tag in re.findall(r"<input[^>]*>", form):
        name, value = (re.search(rf' {key}="([^"]*)"', tag) for key in ("name", "value"))
        if name is None or name[1] == "do":
            continue
        text = html.unescape(value[1]) if value else ""
        if 'type="checkbox"' in tag:
            ticks += [text] if " checked" in tag else []
        else:
            found[name[1]] = text
    return {**found, "take": ",".join(ticks)}


def take(visitor: Visitor, page: TestResponse, ticks: set[str] | None = None, path: str = START) -> TestResponse:
    """Press “Take what is ticked”, or what is in `ticks` by where it goes."""
    form = fields_of(page, "take")
    chosen = form.pop("take").split(",") if form["take"] else form.pop("take") and []
    if ticks is not None:
        keys = {key: value for key, value in form.items() if key.startswith("offer-") and key.endswith("-key")}
        chosen = [key.split("-")[1] for key, value in keys.items() if value in ticks]
    return visitor.client.post(path, data={**form, "take": chosen})


def offered(answer: TestResponse) -> dict[str, list[str]]:
    """The values on the page, by where they would go."""
    form, found = fields_of(answer, "take"), dict[str, list[str]]()
    for key, value in form.items():
        if key.startswith("offer-") and key.endswith("-key"):
            found.setdefault(value, []).append(form[key.removesuffix("key") + "value"])
    return found


def counts(paper: Paper) -> tuple[int, int]:
    with paper.database.reading() as session:
        return tuple(session.scalar(select(func.count()).select_from(t)) or 0 for t in (Project, Campaign))  # type: ignore[return-value]


# -- fifty files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXPECTED)
def test_each_manifest_through_the_page(paper: Paper, alice: Visitor, token: str, path: str) -> None:
    expected, folder = EXPECTED[path], Path(path).parent.name
    name = NAMES.get(folder, "okh" + Path(path).suffix)
    before = counts(paper)
    typed = {"do": "look", "summary": "Typed before"}
    answer = send(alice, typed, (name, (MANIFESTS / path).read_bytes()), token=token)
    text = sentences(answer)
    if "error" in expected:
        assert answer.status_code == 422
        assert " ".join(expected["error"].split()) in " ".join(field_error(answer, "file").split())
        assert "Typed before</textarea>" in answer.get_data(as_text=True)
    else:
        assert answer.status_code == 200
        found = offered(answer)
        for field, key in (
            ("title", "project.name"),
            ("repository_url", "project.repository_url"),
            ("license", "project.license"),
            ("kind", "project.kind"),
            ("description", "campaign.story"),
        ):
            if field in expected:
                value, place = expected[field]
                assert found[key] == [value], key
                assert place in text, f"the page says where {field} was"
        assert len(found.get("lines.deliverables", [])) == len(expected.get("outputs", []))
        assert all(one["sentence"] in text for one in expected.get("refused", []))
        assert all(" ".join(warning.split()) in text for warning in expected.get("warnings", []))
        assert all(choice["title"] in text for choice in expected.get("choices", []))
        assert fields_of(answer, "take")["summary"] == "Typed before"
    page = answer.get_data(as_text=True)
    assert not re.search(r"<(script|svg|img|b|iframe)\b[^>]*(alert|onload|onerror)", page), "it is text and no more"
    assert counts(paper) == before, "nothing is kept by looking"


def test_a_file_of_several_projects_asks_which(alice: Visitor) -> None:
    data = (MANIFESTS / "funding_json/several-projects.json").read_bytes()
    titles = [choice["title"] for choice in EXPECTED["funding_json/several-projects.json"]["choices"]]
    page = send(alice, {"do": "look", "name": "Mine"}, ("funding.json", data))
    assert "project.name" not in offered(page)
    form = fields_of(page, "look")
    form.pop("take")
    again = send(alice, {**form, "which": "1"})
    assert again.status_code == 200 and offered(again)["project.name"] == [titles[1]], "without the file once more"
    assert fields_of(again, "take")["name"] == "Mine"
    assert "choose one" in field_error(send(alice, {**form, "which": "77"}), "file")


# -- taking ----------------------------------------------------------------------------------------------------


def test_from_a_file_to_a_draft(paper: Paper, alice: Visitor) -> None:
    page = send(alice, {"do": "look"}, ("okh.toml", OKH))
    text = sentences(page)
    assert "Seed drill from okh.toml, name" in text and "OTRL-4" in text and "Sows in rows." in text
    answer = take(alice, page)
    assert answer.status_code == 303, sentences(answer)
    draft = answer.location.split("/")[2]
    with paper.database.reading() as session:
        project = session.get_one(Project, row(paper, draft).project_id)
    assert (project.name, project.kind, project.license) == ("Seed drill", "hardware", "CERN-OHL-S-2.0")
    assert (project.technology_readiness, project.documentation_readiness) == (4, 2)
    assert project.bom_url == "https://drill.example.org/parts.csv"
    campaign, found = row(paper, draft), details(paper, draft)
    assert (campaign.title, campaign.summary, campaign.story) == ("", "Sows in rows.", "Sows in rows.")
    assert campaign.project_url == project.repository_url and campaign.license == project.license
    assert found.about == "Made by Ada." and [line.title for line in found.deliverables] == ["Design files"]
    assert found.deliverables[0].url == "https://drill.example.org/drill.fcstd"


def test_only_what_is_ticked(paper: Paper, alice: Visitor) -> None:
    page = send(alice, {"do": "look", **PROJECT, "name": "Written by hand"}, ("okh.toml", OKH))
    text = page.get_data(as_text=True)
    assert "If you tick it, it takes the place of what you have: “Written by hand”" in html.unescape(text)
    answer = take(alice, page, {"project.repository_url", "campaign.title"})
    campaign = row(paper, answer.location.split("/")[2])
    with paper.database.reading() as session:
        project = session.get_one(Project, campaign.project_id)
    assert (project.name, project.summary) == ("Written by hand", PROJECT["summary"]), "typed, and not asked for"
    assert project.repository_url == "https://drill.example.org/drill"
    assert (campaign.title, campaign.summary, details(paper, campaign.id).about) == ("Seed drill", "", "")


def test_what_a_project_still_lacks_is_asked_for_and_the_rest_waits(paper: Paper, alice: Visitor) -> None:
    lacking = OKH.replace(b'license = "CERN-OHL-S-2.0"\n', b'license = "CC-BY-NC-4.0"\n')
    page = send(alice, {"do": "look"}, ("okh.toml", lacking))
    assert "Not taken" in sentences(page) and "“CC-BY-NC-4.0” is not an open licence" in sentences(page)
    before = counts(paper)
    answer = take(alice, page)
    assert answer.status_code == 422 and counts(paper) == before
    assert "name the licence" in field_error(answer, "license")
    assert 'value="Seed drill"' in answer.get_data(as_text=True)
    assert "What you ticked for the campaign is kept" in sentences(answer)
    mended = {**fields_of(answer, "save"), "kind": "hardware", "license": "CERN-OHL-P-2.0", "summary": "A drill."}
    waiting = re.findall(r'name="take" value="(\d+)"', answer.get_data(as_text=True))
    mended.pop("file", None)
    done = alice.client.post(START, data={**mended, "take": waiting})
    assert done.status_code == 303, sentences(done)
    draft = done.location.split("/")[2]
    assert row(paper, draft).story == "Sows in rows." and details(paper, draft).about == "Made by Ada."
    assert row(paper, draft).license == "CERN-OHL-P-2.0"


def test_bringing_more_into_a_draft_adds_and_never_writes_over_unasked(paper: Paper, alice: Visitor) -> None:
    draft = begun(alice, name="There already")
    alice.send(f"/drafts/{draft}/write/story", {"title": "T", "summary": "Mine", "about": "We two."})
    assert f"/drafts/{draft}/import" in alice.get(f"/drafts/{draft}/write/story").get_data(as_text=True)
    path = f"/drafts/{draft}/import"
    page = send(alice, {"do": "look"}, ("okh.toml", OKH), path=path)
    ticked = fields_of(page, "take")["take"].split(",")
    kept = {fields_of(page, "take")[f"offer-{n}-key"] for n in ticked}
    assert "campaign.story" in kept and not kept & {"campaign.summary", "project.name", "project.repository_url"}
    assert take(alice, page, path=path).status_code == 303
    assert (row(paper, draft).summary, row(paper, draft).story) == ("Mine", "Sows in rows.")
    assert details(paper, draft).about == "We two.\n\nMade by Ada."
    again = send(alice, {"do": "look"}, ("okh.toml", OKH), path=path)
    assert "campaign.story" not in offered(again), "what is there is not offered again"
    assert take(alice, again, {"campaign.summary", "project.name"}, path).status_code == 303
    assert row(paper, draft).summary == "Sows in rows.", "asked for"
    with paper.database.reading() as session:
        assert session.get_one(Project, row(paper, draft).project_id).name == "Seed drill"
    assert len(details(paper, draft).deliverables) == 1


def test_two_ticks_for_one_field(paper: Paper, alice: Visitor, net: Internet, certificate: ssl.SSLContext) -> None:
    there = {"/ada/drill/HEAD/okh.toml": http(OKH), "/ada/drill/HEAD/codemeta.json": http(CODEMETA)}
    with serving(files(there), certificate) as server:
        net.at(OTHER, server)
        page = send(alice, {"do": "look", "address": "github.com/ada/drill"})
    assert offered(page)["project.name"] == ["Seed drill", "Drill software"]
    before = counts(paper)
    answer = take(alice, page, {"project.name"})
    assert answer.status_code == 422 and counts(paper) == before
    assert "You have ticked 2 values for “Name of the project”" in sentences(answer)
    assert offered(answer) == offered(page), "nothing is lost"
    assert take(alice, answer, set(), START).status_code == 422, "no project without a name"


def test_a_draft_refuses_what_cannot_be_kept_as_a_whole(paper: Paper, alice: Visitor) -> None:
    draft = begun(alice, name="Whole")
    path = f"/drafts/{draft}/import"
    form = fields_of(send(alice, {"do": "look"}, ("okh.toml", OKH), path=path), "take")
    number = next(key.split("-")[1] for key, value in form.items() if value == "campaign.story")
    form.pop("take")
    answer = alice.client.post(path, data={**form, f"offer-{number}-value": "x" * 50_001, "take": list("01234567")})
    assert answer.status_code == 422 and "at most 50000 fit" in sentences(answer)
    assert row(paper, draft).summary == "" and details(paper, draft).about == ""
    assert "Nothing is ticked" in sentences(alice.client.post(path, data={**form, "take": []}))
    forged = {**form, "offer-0-key": "campaign.payout_address", "offer-0-value": "evil", "take": ["0"]}
    assert alice.client.post(path, data=forged).status_code == 422 and row(paper, draft).payout_address == ""


# -- by address ------------------------------------------------------------------------------------------------


def test_everything_at_an_address(alice: Visitor, net: Internet, certificate: ssl.SSLContext) -> None:
    there = {
        "/ada/drill/HEAD/okh.toml": http(OKH),
        "/ada/drill/HEAD/publiccode.yml": http(b"not: [closed"),
        "/ada/drill/HEAD/.github/FUNDING.yml": http(b"custom: ['https://pay.example.org/ada']\n"),
    }
    with serving(files(there), certificate) as server:
        net.at(OTHER, server)
        page = send(alice, {"do": "look", "address": " https://github.com/ada/drill/tree/main/x "})
        asked = len(server.requests)
    found, text = offered(page), sentences(page)
    assert found["project.name"] == ["Seed drill"]
    assert found["campaign.about"] == ["Made by Ada.", "Also funded at https://pay.example.org/ada."]
    assert "https://raw.githubusercontent.com/ada/drill/HEAD/okh.toml" in text and "publiccode.yml: " in text
    assert 5 < asked <= 24 and set(net.connected) == {OTHER}


def test_a_manifest_elsewhere_that_the_site_names_and_one_by_its_own_name(
    alice: Visitor, net: Internet, certificate: ssl.SSLContext
) -> None:
    manifest = (MANIFESTS / "funding_json/one-project.json").read_bytes()
    there = {
        "/.well-known/funding-manifest-urls": http(b"\nhttps://drill.example.org/elsewhere.json\n"),
        "/elsewhere.json": http(manifest),
        "/x/my-okh.toml": http(OKH),
    }
    with serving(files(there), certificate) as server:
        net.at(PUBLIC, server)
        page = send(alice, {"do": "look", "address": "https://drill.example.org"})
        assert "https://drill.example.org/elsewhere.json" in sentences(page)
    with serving(files({"/x/my-okh.toml": http(OKH)}), certificate) as server:
        net.at(PUBLIC, server)
        page = send(alice, {"do": "look", "address": "drill.example.org/x/my-okh.toml"})
        assert offered(page)["project.name"] == ["Seed drill"]


def test_the_address_itself_where_no_file_says_one(alice: Visitor, net: Internet, certificate: ssl.SSLContext) -> None:
    there = {"/ada/drill/HEAD/codemeta.json": http(CODEMETA), "/codemeta.json": http(CODEMETA)}
    with serving(files(there), certificate) as server:
        net.at(OTHER, server)
        net.at(PUBLIC, server)
        page = send(alice, {"do": "look", "address": "github.com/ada/drill"})
        assert offered(page)["project.repository_url"] == ["https://github.com/ada/drill"]
        assert "the address that you gave" in sentences(page)
        page = send(alice, {"do": "look", "address": "https://drill.example.org/"})
        assert offered(page)["project.site_url"] == ["https://drill.example.org/"]


BAD_ADDRESSES = (
    ("", "Paste the address"),
    ("not an address", "no web address"),
    ("ftp://drill.example.org/", "must begin with https://"),
    ("https://ada:secret@drill.example.org/", "no user name"),
    ("https://127.0.0.1/", "not a number"),
    ("https://localhost/", "full name of a host"),
    ("https://inside.example.org/", "We cannot get a file from inside.example.org"),
    ("https://metadata.example.org/", "We cannot get a file from metadata.example.org"),
    ("https://unknown.example.org/", "We cannot get a file from unknown.example.org"),
    ("https://away.example.org/", "We cannot get a file from away.example.org"),
    ("https://github.com/", "no repository and no site"),
    (
        "https://drill.example.org/",
        "what the project is. We looked for funding.json, publiccode.yml",
    ),
)


@pytest.mark.parametrize(("address", "part"), BAD_ADDRESSES)
def test_an_address_that_gives_nothing(
    paper: Paper, alice: Visitor, net: Internet, certificate: ssl.SSLContext, address: str, part: str
) -> None:
    net.name("inside.example.org", "10.0.0.7")
    net.name("metadata.example.org", ["93.184.215.14", "169.254.169.254"])
    net.name("away.example.org", "93.184.216.99")
    before = counts(paper)
    with serving(files({}), certificate) as server:
        net.at(PUBLIC, server)
        answer = send(alice, {"do": "look", "address": address, "name": "Für alle", "license": "MIT"})
    assert answer.status_code == 422 and part in field_error(answer, "address"), field_error(answer, "address")
    page = html.unescape(answer.get_data(as_text=True))
    assert f'value="{address}"' in page and 'value="Für alle"' in page and 'value="MIT"' in page
    assert counts(paper) == before
    assert set(net.connected) <= {PUBLIC, OTHER, "93.184.216.99"}


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (http(b"x", "503 Busy"), "no time for us"),
        (http(b"x" * (512 * 1024 + 1)), "We found no file"),
        (http(b"<html>", more="Content-Type: text/html\r\n"), "We found no file"),
        (redirect("https://10.0.0.7/funding.json"), "We found no file"),
        (http(b"{", length=99), "broke off"),
        (http(b"x" * (SIZE_LIMIT + 1)), "a manifest is a small file"),
        (http(b"\xff\xfe"), "not a text in UTF-8"),
        (http(b"{"), "not valid JSON"),
    ],
)
def test_a_host_that_answers_badly(
    alice: Visitor, net: Internet, certificate: ssl.SSLContext, answer: bytes, part: str
) -> None:
    with serving(saying(answer), certificate) as server:
        net.at(PUBLIC, server)
        page = send(alice, {"do": "look", "address": "https://drill.example.org/", "name": "Kept"})
    assert page.status_code == 422 and part in field_error(page, "address"), field_error(page, "address")
    assert 'value="Kept"' in page.get_data(as_text=True)


def test_a_host_that_keeps_us_waiting(
    alice: Visitor, app: Flask, net: Internet, authority: Authority, certificate: ssl.SSLContext
) -> None:
    client = authority.client()
    app.extensions[FETCH] = Fetcher(resolve=net.resolve, connect=net.connect, context=client, timeout_s=0.4).fetch

    def silent(sock: socket.socket, _request: str) -> None:
        sock.recv(1)

    server = Server(silent, certificate)
    net.at(PUBLIC, server)
    page = send(alice, {"do": "look", "address": "https://drill.example.org/"})
    server.close()
    assert page.status_code == 422 and "took too long" in field_error(page, "address")


@pytest.mark.parametrize(
    ("name", "data", "part"),
    [
        ("okh.toml", b"", "empty"),
        ("okh.toml", OKH * 2_000, "a manifest is a small file"),
        ("okh.toml", b"x" * 3_000_000, "a manifest is a small file"),
        ("../../etc/passwd", b"root:x:0:0", "no manifest"),
        ("photo.jpg", b"\xff\xd8\xff", "not a text in UTF-8"),
        ("x" * 300, b'{"a": 1}', "none of the manifests"),
    ],
)
def test_a_file_that_gives_nothing(alice: Visitor, name: str, data: bytes, part: str) -> None:
    answer = send(alice, {"do": "look", "name": "Kept"}, (name, data))
    assert answer.status_code == 422 and part in field_error(answer, "file"), sentences(answer)
    assert 'value="Kept"' in answer.get_data(as_text=True)


# -- the box and what is written beside it ---------------------------------------------------------------------


def test_enter_means_what_was_just_written(paper: Paper, alice: Visitor) -> None:
    assert "Paste the address" in field_error(send(alice, {"do": ""}), "address")
    answer = send(alice, {"do": "", **PROJECT, "name": "By enter"})
    assert answer.status_code == 303, "an empty box stands aside"
    assert "We cannot get" in field_error(
        send(alice, {"do": "", "address": "https://unknown.invalid-name.example.org/"}), "address"
    )
    typed = {**PROJECT, "name": "Going on", "site_url": "https://a.example.org"}
    page = send(alice, {"do": "write", **typed})
    assert page.status_code == 200 and 'value="Going on"' in page.get_data(as_text=True)
    saved = send(alice, {"do": "save", "address": "https://unused.example.org", **typed})
    assert saved.status_code == 303, "saving looks nowhere"


def test_where_fetching_is_off_only_a_file_is_taken(paper: Paper) -> None:
    with paper_site(paper, fetching="off") as closed:
        carol = member(closed, "carol")
        page = carol.get(START)
        assert 'name="address"' not in page.get_data(as_text=True) and "its operator has not let it out" in sentences(
            page
        )
        answer = send(carol, {"do": "look", "address": "https://github.com/ada/drill"})
        assert answer.status_code == 422 and "upload the file instead" in sentences(answer)
        assert send(carol, {"do": "look"}, ("okh.toml", OKH)).status_code == 200


def test_on_the_private_network_a_server_of_ones_own(paper: Paper) -> None:
    with paper_site(paper, fetching="local") as near, serving(files({"/funding.json": http(b"{}")})) as server:
        dan = member(near, "dan")
        here = f"http://127.0.0.1:{server.port}/"
        assert "Nothing in this funding.json" in field_error(send(dan, {"do": "look", "address": here}), "address")
        assert server.requests[0].startswith("GET /funding.json")


def test_one_fetcher_for_the_process_and_its_limits(app: Flask, alice: Visitor, net: Internet) -> None:
    asked: list[str] = []

    def limiter(what: str) -> None:
        asked.append(what)
        raise UserError("Too often. Wait a minute.")

    app.extensions[LIMITER] = limiter
    try:
        answer = send(alice, {"do": "look", "address": "https://drill.example.org/", "name": "Kept"})
    finally:
        del app.extensions[LIMITER]
    assert answer.status_code == 422 and "Too often" in field_error(answer, "address") and asked == ["import"]
    assert net.asked == [] and 'value="Kept"' in answer.get_data(as_text=True)


def test_strangers_and_published_campaigns(app: Flask, paper: Paper, alice: Visitor) -> None:
    draft = begun(alice, name="Not yours")
    assert Visitor(app).get(f"/drafts/{draft}/import").status_code == 303
    assert member(app, "eve").get(f"/drafts/{draft}/import").status_code == 404
    assert fetcher_of(paper.settings) is not None
