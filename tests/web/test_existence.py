"""Whether somebody has an account, or an address is known here, is nobody's business: answers and work are alike.

How long an answer takes is told by counting what takes long: passwords that are hashed, transactions that are written.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from argon2 import PasswordHasher
from flask import Flask
from sqlalchemy import event, select

from crowdfund.accounts import passwords
from crowdfund.accounts.models import Passkey
from crowdfund.campaigns.models import Creator
from crowdfund.notices import subscribing
from crowdfund.notices.models import Subscription
from crowdfund.web.site import Site
from support.details import member, paper_site
from support.paper import Paper
from support.site import Visitor, sentences

NAMES = ("Ann has a password", "Kim has passkeys only", "Nobody has this name")
MAIL = "somebody@example.org"


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paper]:
    with Paper(tmp_path_factory.mktemp("paper")) as made:
        yield made


@pytest.fixture(scope="module")
def app(paper: Paper) -> Iterator[Flask]:
    with paper_site(paper, mail_from="site@fund.example.org") as running:
        for name in NAMES[:2]:
            member(running, name)
        with paper.database.transaction() as session:
            kim = session.scalars(select(Creator).where(Creator.name == NAMES[1])).one()
            session.add(
                Passkey(
                    creator_id=kim.id, credential_id=b"k" * 32, public_key=b"x" * 32, user_handle=b"h" * 32,
                    sign_count=0, name="k", created_at=datetime.now(UTC),
                )
            )  # fmt: skip
            session.flush()
            kim.password_hash = ""
        yield running


@pytest.fixture
def work(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """What takes long, by its kind."""
    passwords._nobody()  # made once for each process
    site: Site = app.extensions["crowdfund"]
    done: Counter[str] = Counter()

    class Noted(PasswordHasher):
        def verify(self, *given: Any) -> Any:
            done["passwords"] += 1
            return super().verify(*given)

    def committed(_connection: object) -> None:
        done["transactions"] += 1

    monkeypatch.setattr(passwords, "_hasher", Noted())
    event.listen(site.database.engine, "commit", committed)
    yield done
    event.remove(site.database.engine, "commit", committed)


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/login", {"password": "not the right one"}),
        ("/login/recover", {"password": "not the right one", "app_code": "123456", "recovery_code": "aaaa-bbbb-cccc"}),
    ],
)
def test_coming_in_fails_alike_for_every_name(app: Flask, work: Counter[str], path: str, more: dict[str, str]) -> None:
    answers, costs = [], []
    for name in NAMES:
        visitor = Visitor(app)
        token = visitor.csrf_token(path)
        work.clear()
        answer = visitor.client.post(path, data={"name": name, "csrf_token": token, **more})
        costs.append(dict(work))
        answers.append(
            (answer.status_code, sentences(answer), sorted(answer.headers.keys()), _shape(answer.text, name))
        )
    assert answers[0] == answers[1] == answers[2] and answers[0][0] == 422
    assert costs[0] == costs[1] == costs[2] and costs[0]["passwords"] == 1


def test_asking_for_mails_tells_nobody_that_an_address_is_known(paper: Paper, app: Flask) -> None:
    """Also not by asking until it is too much."""
    campaign = paper.campaign()
    with paper.database.transaction() as session:
        subscribing.follow_campaign(session, campaign, f"known-{MAIL}", datetime.now(UTC))
        session.query(Subscription).filter_by(email=f"known-{MAIL}").one().confirmed_at = datetime.now(UTC)
    first = {f"known-{MAIL}": 1, f"new-{MAIL}": 0}
    told: dict[str, list[tuple[int, str]]] = {}
    for address, asked in first.items():
        visitor, answers = Visitor(app), []
        for _ in range(subscribing.ASKS_OF_ONE_ADDRESS + 1 - asked):
            answer = visitor.send(f"/campaigns/{campaign}/follow", {"email": address})
            answers.append((answer.status_code, answer.location or sentences(answer).replace(address, "…")))
        told[address] = answers
    assert told[f"known-{MAIL}"] == told[f"new-{MAIL}"][1:]
    assert told[f"known-{MAIL}"][-1][0] == 422 and "asked several times" in told[f"known-{MAIL}"][-1][1]


def test_a_pledge_is_found_by_its_whole_link_only(paper: Paper, app: Flask) -> None:
    pledge = paper.pledge(paper.campaign(title="A pledge"))
    shown = {sentences(Visitor(app).get(f"/p/{name}")) for name in (pledge.id[:-1], "z" * 26, pledge.id.upper(), "x")}
    assert len(shown) == 1 and Visitor(app).get(f"/p/{pledge.id}").status_code == 200
    problems = {Visitor(app).get(f"/api/v1/pledges/{name}").data for name in (pledge.id[:-1], "z" * 26, "x")}
    assert len(problems) == 1


def _shape(page: str, name: str) -> str:
    """The page without what was typed and what is new on each page."""
    return re.sub(r'value="[^"]*"', "", page.replace(name, "…"))
