"""Where a project's files may lie: on the default branch of its own repository, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdfund.errors import UserError, WorldError
from crowdfund.projects.forges import LIMIT, bounded, candidates, gather, is_below, places
from crowdfund.projects.urls import LOCAL, Fetched, NoFile

SHA = "0123456789abcdef0123456789abcdef01234567"
BASES = {
    "https://github.com/ada/drill": ["https://raw.githubusercontent.com/ada/drill/HEAD/"],
    "http://www.github.com/ada/drill.git": ["https://raw.githubusercontent.com/ada/drill/HEAD/"],
    "https://github.com/ada/drill/": ["https://raw.githubusercontent.com/ada/drill/HEAD/"],
    "https://github.com/ada/drill?tab=readme#top": ["https://raw.githubusercontent.com/ada/drill/HEAD/"],
    f"https://github.com/ada/drill/tree/{SHA}/x": ["https://raw.githubusercontent.com/ada/drill/HEAD/"],
    f"https://raw.githubusercontent.com/ada/drill/{SHA}/funding.json": [
        "https://raw.githubusercontent.com/ada/drill/HEAD/"
    ],
    "https://github.com/ada/.github": ["https://raw.githubusercontent.com/ada/.github/HEAD/"],
    "https://github.com/ada": [
        "https://raw.githubusercontent.com/ada/ada/HEAD/",
        "https://raw.githubusercontent.com/ada/.github/HEAD/",
    ],
    "https://github.com/": [],
    "https://github.com/wiki/ada": [],
    "https://github.com/eve/../ada/drill": [],
    "https://github.com/ada/%2e%2e/drill": [],
    "https://github.com/ada//drill": [],
    "https://github.com/ada/...git": [],
    "https://github.com/ada/..git": [],
    "https://github.com/ada/.git": [],
    "https://gitlab.com/group/sub/drill": ["https://gitlab.com/group/sub/drill/-/raw/HEAD/"],
    "https://gitlab.com/ada/drill.git": ["https://gitlab.com/ada/drill/-/raw/HEAD/"],
    f"https://gitlab.com/ada/drill/-/blob/{SHA}/x": ["https://gitlab.com/ada/drill/-/raw/HEAD/"],
    f"https://gitlab.com/ada/drill/raw/{SHA}/x": ["https://gitlab.com/ada/drill/-/raw/HEAD/"],
    "https://gitlab.com/ada": [],
    "https://gitlab.com/-/snippets/1": [],
    "https://gitlab.example.org/ada/drill": ["https://gitlab.example.org/ada/drill/-/raw/HEAD/"],
    "https://code.example.org/a/b/c/-/tree/main": [
        "https://code.example.org/",
        "https://code.example.org/a/b/c/-/raw/HEAD/",
    ],
    "https://codeberg.org/ada/drill": ["https://codeberg.org/ada/drill/raw/branch/HEAD/"],
    f"https://codeberg.org/ada/drill/src/commit/{SHA}": ["https://codeberg.org/ada/drill/raw/branch/HEAD/"],
    "https://gitea.example.org/ada/drill": ["https://gitea.example.org/ada/drill/raw/branch/HEAD/"],
    "https://git.sr.ht/~ada/drill": ["https://git.sr.ht/~ada/drill/blob/HEAD/"],
    "https://git.sr.ht/~ada/drill/tree/main/item/x": ["https://git.sr.ht/~ada/drill/blob/HEAD/"],
    "https://bitbucket.org/ada/drill/src/main": ["https://bitbucket.org/ada/drill/raw/HEAD/"],
    "https://example.org": ["https://example.org/"],
    "http://example.org/drill/index.html?x": [
        "https://example.org/",
        "https://example.org/drill/index.html/raw/branch/HEAD/",
        "https://example.org/drill/index.html/-/raw/HEAD/",
    ],
    f"https://git.example.org/ada/drill/raw/commit/{SHA}/x": [
        "https://git.example.org/",
        "https://git.example.org/ada/drill/raw/branch/HEAD/",
        "https://git.example.org/ada/drill/-/raw/HEAD/",
    ],
    "https://github.com.example.org/ada/drill": [
        "https://github.com.example.org/",
        "https://github.com.example.org/ada/drill/raw/branch/HEAD/",
        "https://github.com.example.org/ada/drill/-/raw/HEAD/",
    ],
}


@pytest.mark.parametrize("url", BASES)
def test_the_places_of_a_project(url: str) -> None:
    found = places(url)
    assert [place.base for place in found] == BASES[url]
    assert all(place.base.startswith(place.area) for place in found)
    assert SHA not in repr(found), "a commit may be anybody's"


def test_what_is_looked_for() -> None:
    urls = [one.url for one in candidates("https://github.com/ada/drill")]
    for name in ("funding.json", ".well-known/funding-manifest-urls", "okh.toml", "okh.yml", "okh.json",
                 "publiccode.yml", "codemeta.json", ".github/FUNDING.yml"):  # fmt: skip
        assert f"https://raw.githubusercontent.com/ada/drill/HEAD/{name}" in urls
    assert len(urls) == 9
    site = candidates("https://example.org/drill/okh.yaml")
    assert (site[0].kind, site[0].url) == ("okh", "https://example.org/drill/okh.yaml")
    assert "https://example.org/.well-known/funding-manifest-urls" in [one.url for one in site]
    assert not any("FUNDING.yml" in one.url for one in candidates("https://example.org/"))


PARTS = st.sampled_from(["ada", "drill", "-", "raw", "src", SHA, "..", ".", "", ".git", "~ada", "%2e%2e", "x.git"])
HOSTS = ["github.com", "gitlab.com", "codeberg.org", "git.sr.ht", "bitbucket.org", "example.org", "gitea.example.org"]


@given(st.sampled_from(HOSTS), st.lists(PARTS, max_size=6))
def test_no_address_leads_out_of_its_own_repository(host: str, parts: list[str]) -> None:
    url = f"https://{host}/{'/'.join(parts)}"
    found = candidates(url)
    assert len(found) <= LIMIT and len(set(found)) == len(found)
    for place in places(url):
        assert is_below(f"{place.base}x", place.area)
        path = place.base.removeprefix("https://").split("/", 1)[1]
        assert not {"..", "."} & {*path.split("/")} and "%" not in path
        if place.repository:
            owner, name, *_ = path.split("/")
            assert place.base == f"{place.area}HEAD/", "a commit may be of somebody else's fork"
            start = [part.removesuffix(".git") for part in parts if part][:2]
            assert [owner, name] == start or (host == "github.com" and owner == start[0])


@pytest.mark.parametrize("url", ["", "example.org", "ftp://example.org/x", "https://127.0.0.1/x", "https://u@e.org"])
def test_what_is_no_address_gets_a_sentence(url: str) -> None:
    with pytest.raises(UserError):
        candidates(url)


def test_the_private_network_keeps_http() -> None:
    assert places("http://localhost:3000/ada/drill", LOCAL)[1].base == (
        "http://localhost:3000/ada/drill/raw/branch/HEAD/"
    )


def test_one_file_of_each_kind_is_gathered_and_a_host_that_fails_is_left() -> None:
    asked: list[str] = []
    there = {"okh.yml": b"a", "okh.json": b"b", ".well-known/funding-manifest-urls": b"c"}

    def fetch(url: str) -> Fetched:
        asked.append(url)
        for name, body in there.items():
            if url.endswith(f"HEAD/{name}"):
                return Fetched(url, (), "text/plain", body)
        raise NoFile("No.")

    found = gather("https://codeberg.org/ada/drill", fetch)
    assert {kind: one.body for kind, one in found.items()} == {"okh": b"a", "funding-manifest-urls": b"c"}
    assert not any(url.endswith("okh.json") for url in asked), "there is one already"

    def away(url: str) -> Fetched:
        asked.append(url)
        raise WorldError("Away.")

    asked.clear()
    with pytest.raises(WorldError, match="Away"):
        gather("https://git.example.org/ada/drill", away)
    assert len(asked) == 1


def test_looking_ends_with_the_time() -> None:
    now = [0.0]

    def fetch(url: str) -> Fetched:
        now[0] += 6
        raise NoFile(url)

    in_time = bounded(fetch, 10, lambda: now[0])
    for _ in range(2):
        with pytest.raises(NoFile):
            in_time("https://example.org/")
    with pytest.raises(WorldError, match="too long"):
        in_time("https://example.org/")
    assert now == [12.0]
