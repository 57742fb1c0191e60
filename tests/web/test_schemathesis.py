"""Whatever a program sends, the API answers as its description says, and never with a mistake of its own.

The requests are made up from that description by schemathesis: such as fit it and such as do not, by somebody who may
everything, by somebody who may only read, and by nobody. In two of three, what stands in the address is really there.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from crowdfund.accounts import people
from crowdfund.web import hooks as hook_pages
from crowdfund.web import openapi
from support.access import TABLE
from support.cast import NOW, STATES, Estate, Stored, estates, persons
from support.described import strict
from support.details import more_accounts, paper_site
from support.paper import Paper
from support.postgres import database_of

OPERATIONS = [f"{op.method} {op.path}" for _, op in openapi.operations()]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
EXAMPLES = int(os.environ.get("API_EXAMPLES", "20"))  # for each operation, of each kind
PARTS = 2


@dataclass
class Town:
    """The site, its people's tokens, and its description as what requests are made of."""

    app: Flask
    estate: Estate
    tokens: list[str]
    stored: Stored | None
    schema: Any
    answers: Counter[int] = field(default_factory=Counter)

    def things(self, number: int) -> dict[str, str]:
        """What stands in addresses and bodies; the campaign is in one state after the other."""
        return self.estate.about(STATES[number % len(STATES)])

    def run(self, name: str, mode: GenerationMode, examples: int, part: int | None) -> Counter[int]:
        """Requests for one operation; returns how often each code was the answer. Afterwards nothing has happened."""
        method, path = name.split(" ")
        operation = self.schema[f"/api/v1{path}"][method]
        good = [line for line in TABLE if line.sends and self._rule(line.endpoint, line.method) == (method, path)]
        codes: Counter[int] = Counter()

        @settings(
            max_examples=examples, derandomize=part is None, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            number = sum(codes.values())
            things = self.things(number // 3)
            if number % 3:
                for part_name, value in _parts(path, things).items():
                    case.path_parameters[part_name] = value
            if number % 3 == 1 and good and isinstance(case.body, dict) and case.media_type == "application/json":
                _mostly_good(case, good[number % len(good)].sends, things, number)
            token = self.tokens[number % 4]
            response = case.call(headers={"Authorization": f"Bearer {token}"} if token else {})
            codes[response.status_code] += 1
            case.validate_response(response, checks=CHECKS)
            if response.status_code >= 400:
                assert response.json()["status"] == response.status_code

        (ask if part is None else seed(part)(ask))()
        if self.stored is not None:
            self.stored.put_back()
        self.answers += codes
        return codes

    def _rule(self, endpoint: str, method: str) -> tuple[str, str]:
        rule = next((r for r in self.app.url_map.iter_rules(endpoint) if method in (r.methods or ())), None)
        return (method, "") if rule is None else (method, openapi_path(rule.rule))


NAMES = {"campaign_id": "id", "pledge_id": "id", "slug": "slug", "notice_id": "message"}


def openapi_path(rule: str) -> str:
    """An address as the description writes it."""
    words = [
        "{" + NAMES.get(part.strip("<>").rpartition(":")[2], "number") + "}" if part.startswith("<") else part
        for part in rule.removeprefix("/api/v1").split("/")
    ]
    return "/".join(words)


def _parts(path: str, things: dict[str, str]) -> dict[str, Any]:
    """What is there for the parts of this address."""
    if path.startswith("/webhooks"):
        found: dict[str, Any] = {"number": int(things["hook_id"]), "message": int(things["notice_id"])}
    elif "/questions/" in path:
        found = {"number": int(things["question_id"])}
    elif "/offers/" in path:
        found = {"number": int(things["offer"])}
    else:
        found = {"number": int("/updates/" in path)}
    whose = things["pledge_id"] if path.startswith("/pledges") else things["campaign_id"]
    found |= {"id": whose, "slug": things["slug"]}
    return {name: value for name, value in found.items() if "{" + name + "}" in path}


def _mostly_good(case: Any, sends: Any, things: dict[str, str], number: int) -> None:
    """What is right, but for one field of every other request, which is as it was made up."""
    body = {key: value.format(**things) if isinstance(value, str) else value for key, value in sends.items()}
    changed = sorted(case.body)[:1] if number % 2 else []
    case.body = {**body, **{key: case.body[key] for key in changed}}


@contextmanager
def new_town(folder: Path, kind: str) -> Iterator[Town]:
    """On one of the two kinds of database."""
    generation = GenerationConfig(with_security_parameters=False)
    config = SchemathesisConfig(projects=ProjectsConfig(default=ProjectConfig(generation=generation)))
    with (
        database_of(kind, folder / "deep") as url,
        Paper(folder, database_url=url) as paper,
        paper_site(paper, mail_from="site@fund.example.org", limit_factor=0) as app,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(hook_pages, "_poster", Anywhere)
        more_accounts(paper)
        held = estates(paper)
        owner = next(each for each in persons(app, paper, held) if each.name == "owner of A" and each.bearer)
        with paper.database.transaction() as session:
            reader = people.create_token(session, owner.name, NOW, ["read"])
        schema = schemathesis.openapi.from_dict(strict(), config=config)
        schema.app = app
        stored = Stored(paper) if kind == "sqlite" else None
        yield Town(app, held["A"], [owner.bearer, owner.bearer, reader, ""], stored, schema)
        if stored:
            stored.close()


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with new_town(tmp_path_factory.mktemp("town"), "sqlite") as made:
        yield made


@pytest.fixture(scope="module")
def server_town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """On PostgreSQL, which takes no text that SQLite would; what was made stays."""
    with new_town(tmp_path_factory.mktemp("server"), "postgresql") as made:
        yield made


class Anywhere:
    """A poster that looks nothing up."""

    def check(self, url: str) -> str:
        return url


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_answer_is_described(town: Town, name: str) -> None:
    codes = sum((town.run(name, mode, EXAMPLES, None) for mode in modes(name)), Counter[int]())
    assert any(code < 300 for code in codes) or name in NEVER_BY_CHANCE, codes


def test_the_same_on_postgresql(server_town: Town) -> None:
    for name in OPERATIONS:
        for mode in modes(name):
            server_town.run(name, mode, EXAMPLES // 5, None)
    assert sum(server_town.answers.values()) > len(OPERATIONS) * EXAMPLES // 5


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "\udfff\x00", "\x00"])
def test_text_that_no_database_takes_is_refused_or_mended(server_town: Town, text: str) -> None:
    """In each field of each body, one after the other, and in the lines of a draft."""
    seen = 0
    headers = {"Authorization": f"Bearer {server_town.tokens[0]}"}
    client = server_town.app.test_client(use_cookies=False)
    for line in TABLE:
        rule = next(
            (r for r in server_town.app.url_map.iter_rules(line.endpoint) if line.method in (r.methods or ())), None
        )
        if rule is None or not rule.rule.startswith("/api/v1") or line.method == "GET":
            continue
        things = server_town.things(STATES.index("draft" if "draft" in line.on[:1] and len(line.on) == 1 else "open"))
        good = {k: v.format(**things) if isinstance(v, str) else v for k, v in line.sends.items()}
        wrong: list[dict[str, Any]] = [{**good, name: text} for name in good]
        if line.endpoint in ("drafts_api.change", "api.create"):
            wrong += [{**good, "risks": text}, {**good, "deliverables": [{"title": text, "license": "MIT"}]}]
            wrong += [{**good, "rewards": [{"title": "A plate", "text": text, "minimum_sats": 50_000}]}]
        for body in wrong:
            answer = client.open(line.path(rule, things), method=line.method, json=body, headers=headers)
            assert answer.status_code < 500, (line, body, answer.get_data(as_text=True))
            seen += answer.status_code == 400
    assert seen > 40


def modes(name: str) -> list[GenerationMode]:
    """Requests for this operation can be right, and most can be wrong: not where there is but a text in the address."""
    op = next(op for _, op in openapi.operations() if f"{op.method} {op.path}" == name)
    wrong = op.body or op.pages or op.query or op.made or "{number}" in op.path
    return list(GenerationMode) if wrong else [GenerationMode.POSITIVE]


LONG = 100_000 // (PARTS * sum(len(modes(name)) for name in OPERATIONS)) + 1
# What no made-up request gets: a transaction that is signed; a review on a site that has none. An offer has to fit what
# is wanted: tests/web/test_programs.py makes one.
NEVER_BY_CHANCE = (
    "POST /campaigns/{id}/cancellation/signed", "POST /campaigns/{id}/review", "POST /campaigns/{id}/offers",
)  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_hundred_thousand_requests(town: Town, name: str, part: int) -> None:
    for mode in modes(name):
        town.run(name, mode, LONG, part + int(os.environ.get("FAULT_SEED") or 0) * PARTS)
