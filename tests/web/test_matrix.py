"""Everybody at every address of the site, with the things of everybody else: what `support.access` says, and no more.

The addresses come from the application itself, so that a new one fails here until a line says who may use it. What is
refused changes nothing in the database, what is allowed does; no answer holds a secret of somebody else.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from crowdfund.projects.roles import Role, may
from crowdfund.web import hooks as hook_pages
from crowdfund.web import public
from crowdfund.web.security import protect
from support.access import ACCOUNT, ANYBODY, HOLDER, INVITED, LINK, MEMBERS, OFF, TABLE, Line, Need
from support.cast import STATES, Estate, Person, Stored, estates, persons, ways_in
from support.details import more_accounts, paper_site
from support.images import encoded, halves
from support.paper import Paper
from support.site import sentences

NAMES = ("nobody", "stranger", "owner of A", "editor of A", "treasurer of A", "leaver of A", "owner of B")
PICTURE = encoded(halves(size=(100, 100)), "PNG")
# Parts of addresses and forms that belong to one project, and of which another's may be named in their place.
CHILDREN = ("question_id", "picture_id", "notice_id", "offer", "member", "confirm", "off")
NUMBERS = {
    "question_id", "picture_id", "notice_id", "hook_id", "subscription_id", "number", "passkey_id", "session_id",
    "token_id",
}  # fmt: skip
MADE_UP = {
    "campaign_id": "2222222222", "pledge_id": "2" * 26, "hook_id": "999", "notice_id": "999", "question_id": "999",
    "picture_id": "999", "subscription_id": "999", "passkey_id": "999", "session_id": "999", "token_id": "999",
    "sha256": "0" * 64, "invitation": "x" * 32, "confirm": "0" * 40,
    "off": "0" * 40, "offer": "999", "member": "999",
}  # fmt: skip


@dataclass(frozen=True)
class Try:
    """One request: a line of the table, by somebody, about somebody's things in one state."""

    line: Line
    who: Person
    whose: Estate
    state: str

    def __str__(self) -> str:
        by, what = "a token" if self.who.bearer else "a browser", self.state or "things"
        return f"{self.line}: {self.who.name} with {by}, about the {what} of {self.whose.letter}"


class Town:
    """The site with all its people and things."""

    def __init__(self, app: Flask, paper: Paper) -> None:
        self.app = app
        self.estates = estates(paper)
        self.persons = persons(app, paper, self.estates)
        ways_in(paper, self.estates)
        self.stored = Stored(paper)
        self.rules = {(r.endpoint, m): r for r in app.url_map.iter_rules() for m in _methods(r)}
        self._secrets = {s.text: (each, s) for each in self.estates.values() for s in each.secrets}
        self._client = app.test_client(use_cookies=False)

    def things(self, tried: Try) -> dict[str, str]:
        """What stands in the address and the form."""
        things = tried.whose.about(tried.state)
        return things | {name: value.format(**things) for name, value in tried.line.names.items()}

    def send(self, tried: Try, things: Mapping[str, str], token: str | None = None) -> TestResponse:
        """The request. `token` is what the form has for one against forgery; by default that of its sender."""
        line, rule = tried.line, self.rules[tried.line.endpoint, tried.line.method]
        path = line.path(rule, things)
        sends = {k: v.format(**things) if isinstance(v, str) else v for k, v in line.sends.items()}
        if is_api(rule):
            more: dict[str, Any] = {"json": sends} if line.method != "GET" else {}
        else:
            if "picture" in sends:
                sends["picture"] = (io.BytesIO(PICTURE), "drill.png")
            given = tried.who.csrf_token if token is None else token
            more = {"data": sends | ({"csrf_token": given} if line.csrf else {})} if line.method == "POST" else {}
        answer = self._client.open(path, method=line.method, headers=tried.who.headers(), buffered=False, **more)
        if answer.content_type == "text/event-stream":
            answer.close()
            answer.response = []
        return answer

    def faults(self, tried: Try, things: Mapping[str, str], codes: set[int], changes: bool | None) -> Iterator[str]:
        """What is wrong with the answer, and with what it leaves behind. Afterwards nothing has happened."""
        answer = self.send(tried, things)
        changed = self.stored.changes()
        if answer.status_code not in codes:
            yield f"{tried} is answered with {answer.status_code}, not {codes}"
        elif answer.status_code == 303 and not tried.who.known and tried.line.visitor == 303:
            yield from self._led(tried, answer)
        if changes is not None and bool(changed) is not changes:
            yield f"{tried} changes {changed or 'nothing'}"
        yield from self._told(tried, things, answer)
        answer.close()
        if self.stored.touched():
            self.stored.put_back()

    def _led(self, tried: Try, answer: TestResponse) -> Iterator[str]:
        open_to_all = tried.line.needs in (ANYBODY, LINK)
        if answer.location.startswith("/login") == open_to_all:
            yield f"{tried} leads to {answer.location}"

    def _told(self, tried: Try, things: Mapping[str, str], answer: TestResponse) -> Iterator[str]:
        """Secrets in the answer that are not for this reader. Whoever has sent one has it."""
        text = answer.get_data().decode(errors="replace") + " ".join(answer.headers.values())
        held = set(things.values()) if tried.line.needs in (LINK, INVITED) else set()
        for found in (each for each in self._secrets if each in text and each not in held):
            owner, secret = self._secrets[found]
            behind_link = tried.line.needs is LINK and owner is tried.whose and not secret.readers
            reads = fits(tried, self) and tried.who.roles.get(owner.letter) in secret.readers
            if not reads and not (behind_link and secret.what in OF_A_LINK):
                yield f"{tried} is told {secret.what} of {owner.letter}"


# What a pledge's page shows to who has its link.
OF_A_LINK = ("a refund address", "a receipt", "a refund")


def _methods(rule: Rule) -> set[str]:
    return (rule.methods or set()) - {"HEAD", "OPTIONS"}


def is_api(rule: Rule) -> bool:
    """Is it for programs, which have a token and no session?"""
    return rule.rule.startswith("/api/v1")


def fits(tried: Try, town: Town) -> bool:
    """Does the site know who that is? Programs have tokens, people have sessions, and neither does for the other."""
    rule = town.rules[tried.line.endpoint, tried.line.method]
    return tried.who.known and bool(tried.who.bearer) == is_api(rule)


def expected(tried: Try, known: bool) -> tuple[set[int], bool | None]:
    """(the answers that are right, whether the database is changed by it)."""
    line, role = tried.line, tried.who.roles.get(tried.whose.letter) if known else None
    there = not tried.state or tried.state in line.on
    good = ({line.good}, line.changes) if there else ({line.elsewhere.get(tried.state, 404)}, False)
    refused = ({line.refused} if there else {line.refused, *good[0]}, False)
    if line.needs is OFF:
        return {404}, False
    if line.needs in (ANYBODY, LINK):
        return good
    if line.needs is MEMBERS:
        return good if tried.state != "draft" or role else ({404}, False)
    if not known:
        return {line.visitor}, False
    if line.needs is ACCOUNT:
        return good
    if line.needs is INVITED:
        return {line.good}, bool(line.changes) and role is None
    if line.needs is HOLDER:
        return good if role is Role.OWNER else ({404}, False)
    assert not isinstance(line.needs, Need)
    if role is None:
        return {line.stranger}, False
    return good if may(role, line.needs) else refused


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with (
        Paper(tmp_path_factory.mktemp("paper")) as paper,
        paper_site(paper, mail_from="site@fund.example.org") as app,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(hook_pages, "_poster", Anywhere)
        patch.setattr(public, "SOURCES", ("wsgi.py",))  # the whole source takes a second each time
        more_accounts(paper)
        town = Town(app, paper)
        yield town
        town.stored.close()


class Anywhere:
    """A poster that looks nothing up."""

    def check(self, url: str) -> str:
        return url


def tries(town: Town, lines: tuple[Line, ...], who: Person) -> Iterator[Try]:
    """All that one person can try: about everybody's things, with campaigns in each state."""
    for line in lines:
        rule = town.rules[line.endpoint, line.method]
        about = rule.arguments - {"filename", "scope", "key"} or any("{" in str(v) for v in line.sends.values())
        alike = line.needs in (ANYBODY, LINK) or not who.roles
        for whose in [town.estates["A"]] if alike or not about else town.estates.values():
            # How a campaign ended is nothing to strangers: one of them, and its people, see that.
            states = STATES if whose.letter in who.roles or not who.known else STATES[:2]
            for state in states if "campaign_id" in rule.arguments else ("",):
                yield Try(line, who, whose, state)


def test_every_address_has_its_line(town: Town) -> None:
    lines = {(line.endpoint, line.method) for line in TABLE}
    missing = [
        f"{method} {rule.rule}: no line of tests/support/access.py says who may do this ({endpoint!r})."
        for (endpoint, method), rule in town.rules.items()
        if (endpoint, method) not in lines
    ]
    assert not missing, "\n".join(missing)
    assert not (gone := lines - town.rules.keys()), f"there is no such address any more: {gone}"
    unknown = [
        f"{rule.rule}: tests/support/cast.py has nothing for its part {part!r}."
        for line in TABLE
        for rule in [town.rules[line.endpoint, line.method]]
        for part in rule.arguments - line.names.keys() - town.estates["A"].things.keys() - {"campaign_id", "number"}
    ]
    assert not unknown, "\n".join(unknown)


@pytest.mark.parametrize("name", NAMES)
def test_everybody_may_do_what_the_table_says_and_nothing_else(town: Town, name: str) -> None:
    faults: list[str] = []
    for who in (each for each in town.persons if each.name == name):
        lines = [line for line in TABLE if who.cookie or is_api(town.rules[line.endpoint, line.method])]
        for tried in tries(town, tuple(lines), who):
            faults += town.faults(tried, town.things(tried), *expected(tried, fits(tried, town)))
    assert not faults, "\n".join(faults)


def test_nobody_reaches_anothers_things_by_way_of_their_own(town: Town) -> None:
    """An own campaign or webhook in the address, and in its middle or in the form the number of another's thing."""
    own, other = town.estates["A"], town.estates["B"]
    faults: list[str] = []
    seen: set[str] = set()
    owners = [each for each in town.persons if each.name == "owner of A"]  # at a browser, and with a program
    for tried in (each for who in owners for each in tries(town, TABLE, who) if fits(each, town)):
        named = own.things | {"token": ""}
        for child in CHILDREN:
            things = town.things(tried)
            swapped = things | {child: other.things[child]}
            if tried.whose is not own or not _names(town, tried, child) or swapped == named:
                continue
            seen.add(child)
            faults += town.faults(tried, swapped, {303, 404, 422} if child in ("member", "offer") else {404}, False)
    assert not faults, "\n".join(faults)
    assert seen == set(CHILDREN)


def test_what_is_hidden_looks_like_what_is_not_there(town: Town) -> None:
    """Drafts, webhooks and pictures of others are answered word for word as made-up ones: nobody learns of them."""
    faults: list[str] = []
    outsiders = [each for each in town.persons if each.name in ("nobody", "stranger", "leaver of A", "owner of B")]
    hidden = [
        line
        for line in TABLE
        if not isinstance(line.needs, Need) or line.needs in (HOLDER, MEMBERS) or line.on != STATES
        if not {"slug"} & _parts(town, line)
    ]
    for who in outsiders:
        for tried in tries(town, tuple(hidden), who):
            if tried.whose.letter == "B" or tried.state not in ("", "draft") or who.known is not fits(tried, town):
                continue
            things = town.things(tried)
            there, nowhere = ({**things, **made_up} for made_up in ({}, MADE_UP))
            answers = [_words(town.send(tried, each), each) for each in (there, nowhere)]
            assert answers[0][0] < 500
            if answers[0] != answers[1]:
                faults.append(f"{tried} is answered with {answers[0]},\n  what is not there with {answers[1]}")
    assert not faults, "\n".join(faults)
    assert not town.stored.changes()


def test_a_link_is_good_as_a_whole_only(town: Town) -> None:
    faults: list[str] = []
    owner = town.persons[NAMES.index("owner of A")]
    for tried in tries(town, tuple(each for each in TABLE if each.needs in (LINK, INVITED)), owner):
        if tried.whose.letter == "B":
            continue
        for part in _parts(town, tried.line) & {"pledge_id", "invitation", "confirm", "off"}:
            whole = tried.whose.things[part]
            for broken in (whole[:-1], whole[:-1] + ("3" if whole[-1] == "2" else "2"), whole.swapcase()):
                faults += town.faults(tried, town.things(tried) | {part: broken}, {404}, False)
    assert not faults, "\n".join(faults)


def test_a_number_that_fits_no_database_is_no_address(town: Town) -> None:
    faults: list[str] = []
    owner = town.persons[NAMES.index("owner of A")]
    for tried in tries(town, TABLE, owner):
        for part in NUMBERS & town.rules[tried.line.endpoint, tried.line.method].arguments - tried.line.names.keys():
            faults += town.faults(tried, town.things(tried) | {part: "9" * 30}, {404, 405}, False)
    assert not faults, "\n".join(faults)


def test_a_form_without_its_token_is_refused_for_those_who_may_send_it(town: Town) -> None:
    """Every address that changes something, but those that the table says are for programs."""
    faults: list[str] = []
    owner, other = (town.persons[NAMES.index(name)] for name in ("owner of A", "owner of B"))
    for tried in tries(town, tuple(line for line in TABLE if line.csrf), owner):
        if tried.whose.letter == "A" and tried.line.needs is not OFF:
            for token in ("", "made up", other.csrf_token):
                answer = town.send(tried, town.things(tried), token)
                if answer.status_code != 400 or "reload it" not in answer.get_data(as_text=True):
                    faults.append(f"{tried} is answered with {answer.status_code} for the token {token!r}")
    assert not faults, "\n".join(faults)
    assert not town.stored.changes()


def test_only_programs_need_no_token(town: Town) -> None:
    app = town.app
    exempt = {
        endpoint
        for endpoint, view in app.view_functions.items()
        if app.blueprints.get(endpoint.partition(".")[0]) in vars(protect)["_exempt_blueprints"]
        or f"{view.__module__}.{view.__name__}" in vars(protect)["_exempt_views"]
    }
    told = {line.endpoint for line in TABLE if line.method != "GET" and not line.csrf}
    sent = {endpoint for endpoint, method in town.rules if method != "GET"}
    assert exempt & sent == told


def _parts(town: Town, line: Line) -> set[str]:
    """What the address and the form name."""
    spoken = " ".join(str(value) for value in (*line.sends.values(), *line.names.values()))
    return set(town.rules[line.endpoint, line.method].arguments) | set(re.findall(r"{(\w+)}", spoken))


def _names(town: Town, tried: Try, child: str) -> bool:
    return child in _parts(town, tried.line) and (not tried.state or tried.state in tried.line.on)


def _words(answer: TestResponse, things: Mapping[str, str]) -> tuple[int, str, str]:
    """The answer without what differs from one asking to the next: what was asked for, and tokens."""
    asked = "|".join(re.escape(things[part]) for part in ("campaign_id", "sha256") if things[part])
    where, text = (re.sub(asked + r"|(?<=/)\d+", "…", each) for each in (answer.location or "", sentences(answer)))
    return answer.status_code, where, text
