"""Does whoever writes a project's files stand behind a campaign? Three ways to show it. Pure: what is fetched comes in.

A way counts only where the file is the project's own, and says exactly our address or exactly the token, on a line of
its own. Whatever is like it (a longer address, another host, a word within a sentence) says nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import yaml

from crowdfund.errors import UserError, WorldError
from crowdfund.projects.forges import FUNDING_YML, MANIFEST_URLS, WITHIN_S, Place, bounded, is_below, places
from crowdfund.projects.urls import LOCAL, STRICT, Fetch, Fetched, NoFile, Rules, target_of

CHALLENGE = ".well-known/crowdfund-challenge"
READMES = ("README.md", "README.rst", "README")
MAX_LINES = 100
MAX_README_LINES = 5000
MAX_YAML_BYTES = 4 * 1024
MAX_BRACKETS = 50  # the time that the reader takes grows with the square of how deep they lie


class Way(StrEnum):
    """How a project stands behind a campaign."""

    MANIFEST_URLS = "funding-manifest-urls"
    FUNDING_YML = "FUNDING.yml"
    CHALLENGE = "challenge"


@dataclass(frozen=True)
class Proof:
    """What was seen: the line, in which file (`url`, `sha256`), and when."""

    way: Way
    url: str
    line: str
    sha256: str
    seen_at: datetime


@dataclass(frozen=True)
class Verdict:
    """A proof, or the sentence of why there is none. `unsure`: a host did not answer, so nothing is said about it."""

    proof: Proof | None
    why_not: str = ""
    unsure: bool = False


@dataclass(frozen=True)
class _Look:
    """One file to look into. `line_of` finds the line that shows it, or nothing."""

    way: Way
    url: str
    area: str
    line_of: Callable[[bytes], str]


def challenge_token(secret: bytes, project_id: str) -> str:
    """The token of one project, always the same, that nobody can make who does not know the secret.

    Raises ValueError for a secret of less than 16 bytes.
    """
    if len(secret) < 16:
        raise ValueError("the secret is too short")
    seal = hmac.digest(secret, b"crowdfund: challenge of a project\0" + project_id.encode(), hashlib.sha256)
    return "crowdfund-" + base64.b32encode(seal[:20]).decode().lower()


def check(
    project_url: str, our_urls: Collection[str], token: str, fetch: Fetch, now: datetime, rules: Rules = STRICT
) -> Verdict:
    """Look into the project's files, one after another, until one shows that it stands behind `our_urls`.

    `our_urls` are the addresses of the campaign, of its project here and of its manifest. Never raises for what the
    world does: the verdict says it. At most twenty files are asked for, in half a minute.
    """
    try:
        looks = list(_looks(project_url, frozenset(filter(None, map(_same, our_urls))), token, rules))
    except UserError as error:
        return Verdict(None, error.sentence)
    fetch, failed = bounded(fetch, WITHIN_S), dict[str, str]()
    for look in looks:
        origin = target_of(look.url, rules).origin
        if origin in failed:
            continue
        try:
            found = fetch(look.url)
        except NoFile:
            continue
        except (UserError, WorldError) as error:
            failed[origin] = error.sentence
            continue
        line = look.line_of(found.body) if _is_theirs(found, look.area) else ""
        if line:
            return Verdict(Proof(look.way, found.url, line, found.sha256, now))
    return _nothing(looks, failed)


def _nothing(looks: list[_Look], failed: dict[str, str]) -> Verdict:
    if failed:
        return Verdict(None, next(iter(failed.values())), unsure=True)
    if not looks:
        return Verdict(None, "This address is no repository and no site of your own; link the repository itself.")
    return Verdict(
        None,
        f"Nothing that we found shows that the project stands behind this campaign. We looked for {MANIFEST_URLS}, "
        f"{FUNDING_YML}, {CHALLENGE} and a README, the first of them at {looks[0].url}.",
    )


def _looks(project_url: str, ours: frozenset[str], token: str, rules: Rules) -> Iterator[_Look]:
    for place in places(project_url, rules):
        yield _look(place, Way.MANIFEST_URLS, MANIFEST_URLS, lambda body: _listed(body, ours))
        if place.repository:
            yield _look(place, Way.FUNDING_YML, FUNDING_YML, lambda body: _custom(body, ours))
        yield _look(place, Way.CHALLENGE, CHALLENGE, lambda body: _token_in(body, token, MAX_LINES))
        if place.repository:
            for name in READMES:
                yield _look(place, Way.CHALLENGE, name, lambda body: _token_in(body, token, MAX_README_LINES))


def _look(place: Place, way: Way, name: str, line_of: Callable[[bytes], str]) -> _Look:
    return _Look(way, place.base + name, place.area, line_of)


def _is_theirs(found: Fetched, area: str) -> bool:
    """The file, and every address on the way to it, lies where only the project writes."""
    return all(is_below(url, area) for url in (*found.hops, found.url))


def _listed(body: bytes, ours: frozenset[str]) -> str:
    return next((line for line in _lines(body, MAX_LINES) if _same(line) in ours), "")


def _custom(body: bytes, ours: frozenset[str]) -> str:
    """The entry of `custom` that is ours. Everything is read as text: no dates, no merging of maps."""
    if len(body) > MAX_YAML_BYTES or body.count(b"[") + body.count(b"{") > MAX_BRACKETS:
        return ""
    try:
        told = yaml.load(body.decode("utf-8-sig"), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return ""
    custom = told.get("custom") if isinstance(told, dict) else None
    entries = custom if isinstance(custom, list) else [custom]
    return next((one for one in entries if isinstance(one, str) and _same(one) in ours), "")


def _token_in(body: bytes, token: str, limit: int) -> str:
    """The line that is the token, bare or as a comment that a README does not show."""
    return next((line for line in _lines(body, limit) if token and line in (token, f"<!-- {token} -->")), "")


def _lines(body: bytes, limit: int) -> list[str]:
    """The first lines, without what stands around them; none of a file that is no text."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return []
    return [line.strip(" \t\r") for line in text.split("\n", limit)[:limit]]


def _same(url: str) -> str:
    """The one spelling of an address that names a page of ours; empty for one with anything that ours never have."""
    try:
        target = target_of(url, LOCAL)
    except UserError:
        return ""
    if "#" in url or "?" in url or "%" in url:
        return ""
    return target.url.removesuffix("/")
