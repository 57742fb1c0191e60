"""Where the files that describe a project may lie, from the address of its repository or site. Pure.

Always on the default branch (HEAD), never at a commit that the address names: forges show the commits of everybody's
forks below the original repository, so a commit says nothing about whose it is.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile

from crowdfund.errors import WorldError
from crowdfund.projects.urls import STRICT, Fetch, Fetched, NoFile, Rules, Target, target_of

MANIFEST_URLS = ".well-known/funding-manifest-urls"
FUNDING_YML = ".github/FUNDING.yml"
# path in a repository -> what kind of file it is
FILES = {
    "funding.json": "funding.json",
    "okh.toml": "okh",
    "okh.yml": "okh",
    "okh.yaml": "okh",
    "okh.json": "okh",
    "publiccode.yml": "publiccode",
    "codemeta.json": "codemeta",
    FUNDING_YML: "FUNDING.yml",
    MANIFEST_URLS: "funding-manifest-urls",
}
ON_SITES = ("funding.json", "publiccode.yml", "codemeta.json", MANIFEST_URLS)
LIMIT = 24
WITHIN_S = 20.0

GITHUB = ("github.com", "www.github.com", "raw.githubusercontent.com")
GITLABS = ("gitlab.com", "framagit.org", "0xacab.org", "salsa.debian.org", "invent.kde.org")
GITEAS = ("codeberg.org", "gitea.com")
# What stands between a repository and a path in it.
REF_WORDS = frozenset(
    ("-", "archive", "blob", "branch", "commit", "commits", "media", "plain", "raw", "src", "tag", "tags", "tree")
)
NOT_OWNERS = frozenset(("wiki", "orgs", "sponsors"))

_SEGMENT = re.compile(r"~?[A-Za-z0-9_.-]+", re.ASCII)


@dataclass(frozen=True)
class Place:
    """A folder that holds a project's files: `base` with a path behind it is the address of one.

    What lies below `area` is written by the owners of the project alone; an answer from elsewhere is not theirs.
    """

    base: str
    area: str
    repository: bool


@dataclass(frozen=True)
class Candidate:
    """An address where a file of some kind may lie."""

    kind: str
    url: str


def candidates(url: str, rules: Rules = STRICT) -> tuple[Candidate, ...]:
    """At most `LIMIT` addresses, the likeliest first. Raises UserError for an address that is none."""
    target = _target(url, rules)
    found = list(_named(target))
    for place in places(url, rules):
        names = FILES if place.repository else ON_SITES
        found += [Candidate(FILES[name], place.base + name) for name in names]
    return tuple(dict.fromkeys(found))[:LIMIT]


def gather(url: str, fetch: Fetch, rules: Rules = STRICT, within_s: float = WITHIN_S) -> dict[str, Fetched]:
    """The first file of each kind that there is. Asks nothing more of a host that fails, or after `within_s` seconds.

    Raises UserError for an address that is none, WorldError where no host answers at all.
    """
    fetch, found, failed, answered = bounded(fetch, within_s), dict[str, Fetched](), dict[str, WorldError](), False
    for one in candidates(url, rules):
        origin = target_of(one.url, rules).origin
        if one.kind in found or origin in failed:
            continue
        try:
            found[one.kind] = fetch(one.url)
        except NoFile:
            pass
        except WorldError as error:
            failed[origin] = error
            continue
        answered = True
    if failed and not answered:
        raise next(iter(failed.values()))
    return found


def bounded(fetch: Fetch, within_s: float, clock: Callable[[], float] = time.monotonic) -> Fetch:
    """The same, begun within so many seconds from now only; later calls raise WorldError."""
    ends_at = clock() + within_s

    def in_time(url: str) -> Fetched:
        if clock() > ends_at:
            raise WorldError("It took too long to look through the project's files; please try again later.")
        return fetch(url)

    return in_time


def places(url: str, rules: Rules = STRICT) -> tuple[Place, ...]:
    """Where the files of the project at `url` may lie. Raises UserError for an address that is none."""
    target = _target(url, rules)
    host, segments = str(target.host), _segments(target)
    if host in GITHUB:
        return tuple(_github(segments))
    if host in GITLABS or host.startswith("gitlab."):
        return tuple(_gitlab(target, segments))
    if host in GITEAS or host.startswith(("gitea.", "forgejo.")):
        return tuple(_gitea(target, segments))
    if host == "git.sr.ht":
        return tuple(_simple(target, segments, "blob/HEAD/", "blob/"))
    if host == "bitbucket.org":
        return tuple(_simple(target, segments, "raw/HEAD/", "raw/"))
    return (_site(target), *_guesses(target, segments))


def page_of(url: str) -> str:
    """The address in the repository itself of a file that a forge hands out from another host; else the same."""
    raw = "https://raw.githubusercontent.com/"
    owner, _, rest = url.removeprefix(raw).partition("/")
    name, _, path = rest.partition("/")
    return f"https://github.com/{owner}/{name}/blob/{path}" if url.startswith(raw) and path else url


def _target(url: str, rules: Rules) -> Target:
    """Projects may be linked by http; their files are asked for by https."""
    if not rules.http and url.strip().lower().startswith("http://"):
        url = "https" + url.strip()[4:]
    return target_of(url, rules)


def _segments(target: Target) -> list[str]:
    """Of the path. Empty where it could be read in two ways: then it names no repository."""
    path = target.path.partition("?")[0]
    segments = [s.removesuffix(".git") for s in path.strip("/").split("/")]
    plain = all(_SEGMENT.fullmatch(s) and s not in (".", "..") for s in segments)
    return segments if plain and "//" not in path else []


def _named(target: Target) -> Iterator[Candidate]:
    """The address itself, where it names one of the files on a site of its own."""
    path = target.path.partition("?")[0]
    for name, kind in FILES.items():
        if path.endswith(f"/{name}") and not _is_forge(target):
            yield Candidate(kind, target.url)


def _is_forge(target: Target) -> bool:
    host = str(target.host)
    known = (*GITHUB, *GITLABS, *GITEAS, "git.sr.ht", "bitbucket.org")
    return host in known or host.startswith(("gitlab.", "gitea.", "forgejo."))


def _site(target: Target) -> Place:
    return Place(f"{target.origin}/", f"{target.origin}/", repository=False)


def _github(segments: list[str]) -> Iterator[Place]:
    """A repository; or, for the address of a person or an organisation, the two that speak for it."""
    if not segments or segments[0].lower() in NOT_OWNERS:
        return
    owner, names = segments[0], segments[1:2] or [segments[0], ".github"]
    for name in names:
        area = f"https://raw.githubusercontent.com/{owner}/{name}/"
        yield Place(f"{area}HEAD/", area, repository=True)


def _gitlab(target: Target, segments: list[str]) -> Iterator[Place]:
    """Groups lie in groups, so a project is all that stands before the first word of a ref."""
    project = [*segments[:2], *takewhile(lambda s: s not in REF_WORDS, segments[2:])]
    if len(project) >= 2 and "-" not in project:
        base = _base(target, project)
        yield Place(f"{base}/-/raw/HEAD/", f"{base}/-/raw/", repository=True)


def _gitea(target: Target, segments: list[str]) -> Iterator[Place]:
    yield from _simple(target, segments, "raw/branch/HEAD/", "raw/branch/")


def _simple(target: Target, segments: list[str], raw: str, area: str) -> Iterator[Place]:
    if len(segments) >= 2 and "-" not in segments[:2]:
        base = _base(target, segments[:2])
        yield Place(f"{base}/{raw}", f"{base}/{area}", repository=True)


def _guesses(target: Target, segments: list[str]) -> Iterator[Place]:
    """A host that nobody knows: its addresses may show what it runs, else both of the usual ones are tried."""
    if "-" in segments:
        yield from _gitlab(target, segments)
    elif len(segments) >= 2:
        yield from _gitea(target, segments)
        yield from _gitlab(target, segments)


def _base(target: Target, segments: Iterable[str]) -> str:
    return f"{target.origin}/{'/'.join(segments)}"


def is_below(url: str, area: str) -> bool:
    """Does the address lie in that part of the host, read in its one way?"""
    below = url[len(area) :]
    return url.startswith(area) and "%" not in below and not {".", "..", ""} & {*below.partition("?")[0].split("/")}
