"""What a site says of itself: its funding.json against the rules of the standard, and snippets as markup reads them."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from crowdfund.errors import NotFound, UserError
from crowdfund.projects.manifests import read_manifest
from crowdfund.projects.manifests.publishing import (
    Instance,
    PublishedCampaign,
    funding_json,
    funding_yml_snippet,
    license_names,
    readme_badge_snippet,
)
from support.standard import check_manifest, check_project

SITE = Instance("Open Fund", "hello@fund.example", "All-or-nothing crowdfunding.", "https://fund.example")


def campaign(number: int = 1, **changes: Any) -> PublishedCampaign:
    given_: dict[str, Any] = {
        "id": f"abc{number}",
        "title": "Seed drill",
        "summary": "A seed drill for small farms.",
        "url": f"https://fund.example/campaigns/abc{number}",
        "repository_url": "https://github.com/example/seed-drill",
        "license": "CERN-OHL-S-2.0 AND CC-BY-SA-4.0",
        "goal_sats": 2_500_000,
        "deadline": "2027-03-01T12:00:00Z",
        "is_open": True,
        "tags": ("Agriculture", "3D printing"),
    }
    return PublishedCampaign(**(given_ | changes))


def test_each_campaign_is_a_project_a_channel_and_a_plan() -> None:
    manifest = funding_json(SITE, [campaign(1, is_open=False), campaign(2, title="Loom")])
    check_manifest(manifest)
    assert [project["name"] for project in manifest["projects"]] == ["Loom", "Seed drill"]
    assert manifest["projects"][0]["licenses"] == ["spdx:CERN-OHL-S-2.0", "spdx:CC-BY-SA-4.0"]
    assert manifest["projects"][0]["tags"] == ["agriculture", "d-printing", "crowdfunding"]
    assert manifest["projects"][0]["repositoryUrl"] == {"url": "https://github.com/example/seed-drill"}
    channel, plan = manifest["funding"]["channels"][0], manifest["funding"]["plans"][0]
    assert (channel["type"], channel["address"]) == ("other", "https://fund.example/campaigns/abc2")
    assert plan["guid"] == channel["guid"] == "campaign-abc2"
    assert "2500000 satoshi by 2027-03-01" in plan["description"]
    assert [plan["status"] for plan in manifest["funding"]["plans"]] == ["active", "inactive"]


def test_our_own_manifest_can_be_read_here() -> None:
    found = read_manifest("funding.json", json.dumps(funding_json(SITE, [campaign()])).encode())
    assert found.title and found.title.value == "Seed drill"
    assert found.license and found.license.value == "CERN-OHL-S-2.0 AND CC-BY-SA-4.0"
    assert found.funding_urls[0].value == campaign().url
    assert "known here" not in " ".join(found.warnings)


def test_a_proven_repository_says_where_the_proof_is() -> None:
    proof = "https://github.com/example/seed-drill/blob/main/.well-known/funding-manifest-urls"
    project = funding_json(SITE, [campaign(well_known_url=proof)])["projects"][0]
    assert project["repositoryUrl"]["wellKnown"] == proof
    check_project(project)


def test_only_thirty_are_told_of_and_open_ones_first() -> None:
    many = [campaign(n, is_open=n > 40) for n in range(50)]
    manifest = funding_json(SITE, many)
    check_manifest(manifest)
    assert len(manifest["projects"]) == 30
    assert [plan["status"] for plan in manifest["funding"]["plans"]].count("active") == 9


def test_ids_that_look_alike_stay_apart() -> None:
    manifest = funding_json(SITE, [campaign(1, id="x" * 60), campaign(2, id="x" * 61), campaign(3, id="é")])
    check_manifest(manifest)
    assert len({project["guid"] for project in manifest["projects"]}) == 3


def test_lengths_are_counted_in_bytes() -> None:
    manifest = funding_json(SITE, [campaign(title="\U0001f33e" * 80, summary="\u00e4" * 1_500)])
    check_manifest(manifest)
    assert manifest["projects"][0]["name"] == "\U0001f33e" * 62


def test_what_cannot_be_said_is_not_said() -> None:
    with pytest.raises(NotFound):
        funding_json(SITE, [])
    for wrong in (
        Instance("x", "no mail", "d", "https://e.org"),
        Instance("x", "a@b.org", "d", "ftp://e.org"),
        Instance("x", "a@b.org", "d", "https://e.org", "company"),
    ):
        with pytest.raises(ValueError, match=r"entity|email|web address"):
            funding_json(wrong, [campaign()])


@given(
    st.lists(st.tuples(st.text(max_size=90), st.text(max_size=300), st.text(max_size=9)), min_size=1, max_size=5),
    st.lists(st.text(max_size=40), max_size=12),
    st.text(max_size=300),
)
def test_whatever_people_write_the_manifest_is_valid(
    texts: list[tuple[str, str, str]], tags: list[str], name: str
) -> None:
    campaigns = [
        campaign(n, title=title, summary=summary, id=id_, tags=tuple(tags), repository_url=summary)
        for n, (title, summary, id_) in enumerate(texts)
    ]
    manifest = funding_json(Instance(name, "a@b.org", name, "https://fund.example"), campaigns)
    check_manifest(manifest)


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("MIT", ["MIT"]),
        ("(MIT OR Apache-2.0) AND MIT", ["MIT", "Apache-2.0"]),
        ("GPL-2.0-only WITH Classpath-exception-2.0 AND CC0-1.0", ["GPL-2.0-only", "CC0-1.0"]),
    ],
)
def test_licences_are_named_one_by_one(expression: str, names: list[str]) -> None:
    assert license_names(expression) == names


def test_the_snippet_for_funding_yml_is_what_github_reads() -> None:
    snippet = funding_yml_snippet("https://fund.example/c/abc?x=1#y")
    assert yaml.safe_load(snippet) == {"custom": ["https://fund.example/c/abc?x=1#y"]}
    found = read_manifest("FUNDING.yml", snippet.encode())
    assert [url.value for url in found.funding_urls] == ["https://fund.example/c/abc?x=1#y"]
    with pytest.raises(UserError):
        funding_yml_snippet("javascript:alert(1)")


class _Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


BADGE, PAGE = "https://fund.example/b/abc.svg", "https://fund.example/c/abc"


@given(st.text(max_size=60))
def test_a_badge_is_one_image_in_one_link_whatever_the_title(title: str) -> None:
    snippets = readme_badge_snippet(title, BADGE, PAGE)
    for text in (snippets.html, MarkdownIt().render(snippets.markdown)):
        seen = [(tag, attrs) for tag, attrs in _Tags(text).seen if tag != "p"]
        assert [tag for tag, _ in seen] == ["a", "img"]
        assert (seen[0][1]["href"], seen[1][1]["src"]) == (PAGE, BADGE)
        assert seen[1][1]["alt"]
    assert re.fullmatch(rf'image:{BADGE}\["[^"\[\]{{}}*_`#^~<>|\\]+",link="{PAGE}"\]\n', snippets.asciidoc)
    assert re.fullmatch(rf"\.\. image:: {BADGE}\n   :target: {PAGE}\n   :alt: .+\n", snippets.restructuredtext)
    assert len(snippets.restructuredtext.splitlines()) == 3


def test_badges_look_like_this() -> None:
    snippets = readme_badge_snippet("Seed [drill] “2” & *more*", BADGE, PAGE)
    assert snippets.markdown == f"[![Seed \\[drill\\] “2” \\& \\*more\\*]({BADGE})]({PAGE})\n"
    assert snippets.html == f'<a href="{PAGE}"><img src="{BADGE}" alt="Seed [drill] “2” &amp; *more*"></a>\n'
    assert snippets.asciidoc == f'image:{BADGE}["Seed drill “2” & more",link="{PAGE}"]\n'
    assert snippets.restructuredtext.splitlines()[2] == "   :alt: Seed [drill] “2” & *more*"


def test_an_address_cannot_break_out_of_the_markup() -> None:
    snippets = readme_badge_snippet("x", "https://e.org/a)b]'(c", PAGE)
    assert "https://e.org/a%29b%5D%27%28c" in snippets.markdown
    with pytest.raises(UserError):
        readme_badge_snippet("x", BADGE, 'https://e.org/"><script>')
