"""Only the project itself can prove that it stands behind a campaign, and only in exactly the agreed words."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdfund.errors import UserError, WorldError
from crowdfund.projects.proof import CHALLENGE, Proof, Verdict, Way, challenge_token, check
from crowdfund.projects.urls import LOCAL, Fetched, NoFile, target_of

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OURS = "https://fund.example.org/campaigns/abc"
ALSO = "https://fund.example.org/projects/seed-drill"
SECRET = b"a secret of the installation"
TOKEN = challenge_token(SECRET, "project-1")
REPO = "https://github.com/ada/drill"
RAW = "https://raw.githubusercontent.com/ada/drill/HEAD/"
URLS = ".well-known/funding-manifest-urls"


def verdict(files: Mapping[str, str | bytes], project: str = REPO, token: str = TOKEN) -> Verdict:
    """What is found where these files are the only ones in the world."""

    def fetch(url: str) -> Fetched:
        if target_of(url).url != url or url not in files:
            raise NoFile("There is none.")
        body = files[url]
        return Fetched(url, (), "text/plain", body if isinstance(body, bytes) else body.encode())

    return check(project, [OURS, ALSO], token, fetch, NOW)


@pytest.mark.parametrize(
    ("way", "name", "text", "line"),
    [
        (Way.MANIFEST_URLS, URLS, OURS, OURS),
        (Way.MANIFEST_URLS, URLS, f"https://other.example.org/\r\n\r\n  {ALSO}/ \r\n", f"{ALSO}/"),
        (Way.MANIFEST_URLS, URLS, f"\ufeff{OURS}\n", OURS),
        (Way.MANIFEST_URLS, URLS, "https://Fund.Example.org:443/campaigns/abc", None),
        (Way.FUNDING_YML, ".github/FUNDING.yml", f"custom: {OURS}", OURS),
        (Way.FUNDING_YML, ".github/FUNDING.yml", f"github: ada\ncustom: ['https://x.org', \"{OURS}\"]\n", OURS),
        (Way.FUNDING_YML, ".github/FUNDING.yml", f"custom:\n  - https://x.org\n  - {ALSO} # here\n", ALSO),
        (Way.CHALLENGE, CHALLENGE, TOKEN, TOKEN),
        (Way.CHALLENGE, CHALLENGE, f"# others\nother\n{TOKEN}\n", TOKEN),
        (Way.CHALLENGE, "README.md", f"# Drill\n\n<!-- {TOKEN} -->\n", f"<!-- {TOKEN} -->"),
        (Way.CHALLENGE, "README.rst", f"Drill\n=====\n\n{TOKEN}\n", TOKEN),
        (Way.CHALLENGE, "README", TOKEN, TOKEN),
    ],
)
def test_each_way_proves(way: Way, name: str, text: str, line: str | None) -> None:
    found = verdict({RAW + name: text})
    seal = hashlib.sha256(text.encode()).hexdigest()
    assert found == Verdict(Proof(way, RAW + name, line or text, seal, NOW))


@pytest.mark.parametrize(
    "line",
    [
        "https://fund.example.org.evil.org/campaigns/abc",
        "https://evil.org/https://fund.example.org/campaigns/abc",
        "https://evil.org/?https://fund.example.org/campaigns/abc",
        "https://fund.example.org@evil.org/campaigns/abc",
        "https://evil.org#https://fund.example.org/campaigns/abc",
        "https://xfund.example.org/campaigns/abc",
        "https://fund.example.org:8443/campaigns/abc",
        "https://www.fund.example.org/campaigns/abc",
        "https://example.org/campaigns/abc",
        "https://fund.ex\u0430mple.org/campaigns/abc",
        "http://fund.example.org/campaigns/abc",
        "https://fund.example.org/campaigns/abcd",
        "https://fund.example.org/campaigns/ab",
        "https://fund.example.org/campaigns/ABC",
        "https://fund.example.org/campaigns/abc/updates",
        "https://fund.example.org/campaigns/abc//",
        "https://fund.example.org/campaigns/x/../abc",
        "https://fund.example.org/campaigns/%61bc",
        "https://fund.example.org/campaigns/abc?x",
        "https://fund.example.org/campaigns/abc?",
        "https://fund.example.org/campaigns/abc#x",
        "https://fund.example.org//campaigns/abc",
        "https://fund.example.org/",
        "https://fund.example.org/campaigns/",
        "https://fund.example.org/projects/other",
        "//fund.example.org/campaigns/abc",
        "fund.example.org/campaigns/abc",
        f"not {OURS}",
        f"{OURS} is a fraud",
        f"# {OURS}",
        f"x{OURS}",
        f"{OURS}x",
        f"{OURS},{ALSO}",
        f"{OURS}\u2028{OURS}",
        f"{OURS}\x0b{OURS}",
        TOKEN,
        "",
    ],
)
def test_what_is_like_our_address_is_not_ours(line: str) -> None:
    quoted = "'" + line.replace("'", "''") + "'"
    for files in (
        {RAW + URLS: line},
        {RAW + ".github/FUNDING.yml": f"custom: {quoted}"},
        {RAW + ".github/FUNDING.yml": f"custom:\n- {quoted}\n"},
        {RAW + ".github/FUNDING.yml": line},
    ):
        found = verdict(files)
        assert found.proof is None and found.why_not.startswith("Nothing that we found") and not found.unsure


@pytest.mark.parametrize(
    "text",
    [
        f"github: {OURS}",
        f"patreon: [{OURS}]",
        f"x:\n  custom: {OURS}",
        f"custom:\n  x: {OURS}",
        f"custom: [[{OURS}]]",
        f"custom: [ {OURS}",
        f"# custom: {OURS}",
        f"custom: | \n  see\n  {OURS}",
        f"- custom: {OURS}",
        "custom:",
        "custom: 1",
        "[" * 4_000,
        "{" * 3_000 + "a",
        f"a: &a [{OURS}]\n<<: *a\n",
        "custom: !!python/object/apply:os.system [true]",
        "a: &a [x]\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)),
        b"custom: \xff",
        f"custom: {OURS}\n#" + "x" * 4_096,
    ],
)
def test_only_an_entry_of_custom_counts(text: str | bytes) -> None:
    assert verdict({RAW + ".github/FUNDING.yml": text}).proof is None


@pytest.mark.parametrize(
    "text",
    [
        TOKEN[:-1],
        TOKEN[1:],
        f"{TOKEN}x",
        f"x{TOKEN}",
        TOKEN.upper(),
        f"the token is {TOKEN}",
        f"`{TOKEN}`",
        f"<!-- {TOKEN}",
        f"<!-- not {TOKEN} -->",
        f"{TOKEN} {TOKEN}",
        challenge_token(SECRET, "project-2"),
        challenge_token(b"a secret of another installation", "project-1"),
        OURS,
        b"\xff\n" + TOKEN.encode(),
    ],
)
def test_what_is_like_the_token_is_not_the_token(text: str | bytes) -> None:
    assert verdict({RAW + CHALLENGE: text, RAW + "README.md": text}).proof is None


def test_a_file_made_to_be_slow_is_not_read() -> None:
    start = time.process_time()
    for text in ("[" * 4_000, "{" * 3_000, "[{" * 2_000, "- " * 2_000, "? " * 2_000, "x: [" * 1_000):
        assert verdict({RAW + ".github/FUNDING.yml": text}).proof is None
    assert time.process_time() - start < 0.5


def test_no_token_is_no_proof() -> None:
    assert verdict({RAW + CHALLENGE: "\n\n<!--  -->\n"}, token="").proof is None


def test_lines_far_below_are_not_read() -> None:
    for count, fine in ((99, True), (100, False)):
        for name, line in ((URLS, OURS), (CHALLENGE, TOKEN)):
            assert (verdict({RAW + name: "x\n" * count + line}).proof is not None) is fine


@pytest.mark.parametrize(
    "place",
    [
        "https://raw.githubusercontent.com/eve/drill/HEAD/",
        "https://raw.githubusercontent.com/ada/drill2/HEAD/",
        "https://raw.githubusercontent.com/ada/ada/HEAD/",
        "https://raw.githubusercontent.com/ada/.github/HEAD/",
        "https://raw.githubusercontent.com/ada/drill/main/",
        "https://raw.githubusercontent.com/ada/drill/0123456789abcdef0123456789abcdef01234567/",
        "https://raw.githubusercontent.com/ada/drill/HEAD/eve/",
        "https://raw.githubusercontent.com/",
        "https://github.com/",
        "https://github.com/ada/drill/",
        "https://ada.github.io/drill/",
    ],
)
def test_files_in_other_places_prove_nothing(place: str) -> None:
    files = {URLS: OURS, ".github/FUNDING.yml": f"custom: {OURS}", CHALLENGE: TOKEN, "README.md": TOKEN}
    assert verdict({place + name: text for name, text in files.items()}).proof is None


@pytest.mark.parametrize(
    ("project", "proves", "not_"),
    [
        ("https://example.org/drill", "https://example.org/", "https://example.org/drill/"),
        ("https://example.org/~ada/drill", "https://example.org/", "https://example.org/~eve/"),
        ("https://example.org", "https://example.org/", "https://www.example.org/"),
        ("http://example.org", "https://example.org/", "https://example.org.evil.org/"),
        ("https://gitlab.com/a/b/c", "https://gitlab.com/a/b/c/-/raw/HEAD/", "https://gitlab.com/a/b/-/raw/HEAD/"),
        ("https://codeberg.org/ada/d", "https://codeberg.org/ada/d/raw/branch/HEAD/", "https://codeberg.org/"),
        ("https://git.sr.ht/~ada/d", "https://git.sr.ht/~ada/d/blob/HEAD/", "https://git.sr.ht/~eve/d/blob/HEAD/"),
    ],
)
def test_the_file_of_the_host_or_of_the_repository(project: str, proves: str, not_: str) -> None:
    for name, text in ((URLS, OURS), (CHALLENGE, TOKEN)):
        assert verdict({proves + name: text}, project).proof is not None
        assert verdict({not_ + name: text}, project).proof is None


@pytest.mark.parametrize(
    ("project", "hops", "last", "fine"),
    [
        ("https://codeberg.org/ada/d", [], "https://codeberg.org/ada/d/raw/branch/main/" + URLS, True),
        ("https://codeberg.org/ada/d", [], "https://codeberg.org/eve/d/raw/branch/main/" + URLS, False),
        ("https://codeberg.org/ada/d", [], "https://codeberg.org/ada/d/raw/branch/../../../../eve/x", False),
        ("https://codeberg.org/ada/d", [], "https://codeberg.org/ada/d/raw/branch/%2e%2e/x", False),
        ("https://codeberg.org/ada/d", [], "https://codeberg.org/ada/d/raw/commit/0123/" + URLS, False),
        ("https://example.org", [], "https://example.org/urls.txt", True),
        ("https://example.org", [], "https://www.example.org/" + URLS, False),
        ("https://example.org", [], "https://example.org.evil.org/" + URLS, False),
        ("https://example.org", ["https://evil.org/x"], "https://example.org/" + URLS, False),
        ("https://gitlab.com/ada/d", [], "https://gitlab.com/users/sign_in", False),
    ],
)
def test_a_redirect_must_stay_with_the_project(project: str, hops: list[str], last: str, fine: bool) -> None:
    def fetch(url: str) -> Fetched:
        if not url.endswith(URLS):
            raise NoFile("There is none.")
        return Fetched(last, (url, *hops), "text/plain", OURS.encode())

    assert (check(project, [OURS], TOKEN, fetch, NOW).proof is not None) is fine


def test_a_host_that_does_not_answer_says_nothing() -> None:
    asked: list[str] = []

    def away(url: str) -> Fetched:
        asked.append(url)
        raise WorldError("It is away.")

    assert check(REPO, [OURS], TOKEN, away, NOW) == Verdict(None, "It is away.", unsure=True)
    assert len(asked) == 1

    def off(_url: str) -> Fetched:
        raise UserError("Switched off.")

    assert check(REPO, [OURS], TOKEN, off, NOW) == Verdict(None, "Switched off.", unsure=True)


def test_at_most_twenty_files_are_asked_for() -> None:
    asked: list[str] = []

    def none(url: str) -> Fetched:
        asked.append(url)
        raise NoFile("There is none.")

    for project in ("https://git.example.org/a/b", REPO, "https://github.com/ada", "https://example.org"):
        asked.clear()
        found = check(project, [OURS], TOKEN, none, NOW)
        assert 2 <= len(asked) <= 20 and len(set(asked)) == len(asked)
        assert "Nothing that we found" in found.why_not and asked[0] in found.why_not
    asked.clear()
    for project in ("https://github.com/", "https://github.com/a/../b", "https://gitlab.com/a", "nothing"):
        assert check(project, [OURS], TOKEN, none, NOW).why_not.endswith(".")
    assert asked == []


def test_on_the_private_network_our_address_has_a_port() -> None:
    ours = "http://127.0.0.1:8000/campaigns/abc"

    def fetch(url: str) -> Fetched:
        return Fetched(url, (), "text/plain", f"http://127.0.0.1/campaigns/abc\n{ours}".encode())

    found = check("http://localhost:3000/x", [ours], TOKEN, fetch, NOW, LOCAL).proof
    assert found is not None and found.line == ours


@given(st.text(max_size=20), st.text(max_size=20))
def test_each_project_has_its_own_token(one: str, other: str) -> None:
    try:
        token = challenge_token(SECRET, one)
    except UnicodeEncodeError:
        return
    assert token == challenge_token(SECRET, one) and token != challenge_token(SECRET + b"x", one)
    assert len(token) == 42 and token.isascii() and token.islower()
    if one != other and other.isascii():
        assert token != challenge_token(SECRET, other)


def test_a_short_secret_makes_no_token() -> None:
    with pytest.raises(ValueError, match="too short"):
        challenge_token(b"short", "project-1")


@given(st.binary(max_size=200) | st.text("custom:-[]{}&*!'\"# \n|>?@ah\t", max_size=200).map(str.encode))
def test_any_file_is_read_without_an_error(body: bytes) -> None:
    files = {RAW + name: body for name in (URLS, ".github/FUNDING.yml", CHALLENGE, "README.md")}
    assert verdict(files).proof is None
