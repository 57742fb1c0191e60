"""Projects on their pages, on a chain on paper: people and roles, rewards, help, history and lineage."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask import Flask
from sqlalchemy import delete, select
from werkzeug.test import TestResponse

from crowdfund.accounts import limits
from crowdfund.accounts.models import AttemptWindow
from crowdfund.accounts.people import create_token
from crowdfund.campaigns.models import Campaign, Creator, Pledge
from crowdfund.projects import people
from crowdfund.projects.models import Project, ProjectMember
from crowdfund.projects.roles import ALLOWED, Action, Role, may
from support.details import (
    GOOD,
    MONEY,
    PROJECT,
    STORY,
    api_body,
    begun,
    detailed_campaign,
    member,
    more_accounts,
    paper_site,
    row,
    written,
)
from support.paper import PAYOUT, REFUND, START, Paper
from support.site import Visitor, field_error, sentences, site_of


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paper]:
    with Paper(tmp_path_factory.mktemp("paper")) as made:
        more_accounts(made)
        yield made


@pytest.fixture(scope="module")
def app(paper: Paper) -> Iterator[Flask]:
    with paper_site(paper) as running:
        yield running


@pytest.fixture(scope="module")
def alice(app: Flask) -> Visitor:
    return member(app, "alice")


# -- people ----------------------------------------------------------------------------------------------------


def invited(app: Flask, owner: Visitor, slug: str, role: str, name: str) -> Visitor:
    """A new person who came in by a link."""
    path = f"/projects/{slug}/people"
    page = owner.post(path, {"deed": "invite", "role": role}, page=path).get_data(as_text=True)
    link = re.search(r"/join/[\w-]+", page)
    assert link is not None
    guest = member(app, name)
    assert role in sentences(guest.get(link[0]))
    assert guest.post(link[0], page=link[0]).location == f"/projects/{slug}"
    late = member(app, f"{name} who comes late")
    assert late.get(link[0]).status_code == 404 and late.post(link[0]).status_code == 404, "a link works once"
    return guest


def payout_form(draft: str, sats: str = "1000000") -> dict[str, str]:
    return {**MONEY, "deadline": "2026-11-22T20:00", "goal": sats, "payout_address": REFUND}


OF_PUBLISHED = {
    Action.ANSWER,
    Action.UPDATE,
    Action.MODERATE,
    Action.DASHBOARD,
    Action.OWN_MONEY,
    Action.CANCEL,
}


def test_every_role_may_do_what_the_table_says_and_nothing_else(paper: Paper, app: Flask) -> None:
    owner = member(app, "olga the owner")
    draft = written(owner, name="Roles of all")
    slug = "roles-of-all"
    cast: dict[Role | None, Visitor] = {
        Role.OWNER: owner,
        Role.EDITOR: invited(app, owner, slug, "editor", "eddie the editor"),
        Role.TREASURER: invited(app, owner, slug, "treasurer", "tess the treasurer"),
        None: member(app, "nobody at all"),
    }
    changes = iter(f"Title number {n}" for n in range(100))
    for role, visitor in cast.items():

        def attempt(action: Action, visitor: Visitor = visitor) -> bool:
            """Try it through the pages; whether it was done."""
            if action is Action.SEE_DRAFTS:
                return visitor.get(f"/drafts/{draft}/preview").status_code == 200
            if action is Action.WRITE:
                title = next(changes)
                visitor.post(f"/drafts/{draft}/write/story", {**STORY, "title": title})
                return row(paper, draft).title == title
            if action is Action.PAYOUT:
                with paper.database.transaction() as session:
                    session.get_one(Campaign, draft).payout_address = PAYOUT
                visitor.post(f"/drafts/{draft}/write/money", payout_form(draft))
                return row(paper, draft).payout_address == REFUND
            if action is Action.PROJECT:
                name = next(changes)
                visitor.post(f"/projects/{slug}/edit", {**PROJECT, "name": name})
                with paper.database.reading() as session:
                    return session.scalar(select(Project.name).where(Project.slug == slug)) == name
            if action is Action.PEOPLE:
                answer = visitor.post(f"/projects/{slug}/people", {"deed": "invite", "role": "editor"})
                return "/join/" in answer.get_data(as_text=True)
            raise AssertionError(action)

        for action in set(Action) - {Action.PUBLISH, *OF_PUBLISHED}:
            assert attempt(action) is may(role, action), (role, action)
    with paper.database.transaction() as session:
        draft_row = session.get_one(Campaign, draft)
        draft_row.deadline_at = draft_row.deadline_at.replace(second=33)
    sent = payout_form(draft)
    for role, done in ((Role.EDITOR, 422), (Role.TREASURER, 303)):
        answer = cast[role].post(f"/drafts/{draft}/write/money", sent)
        assert answer.status_code == done, "who changes nothing but the payout address needs no more than that right"
    order = [None, Role.EDITOR, Role.TREASURER]
    for role in order:
        cast[role].post(f"/drafts/{draft}/publish")
        assert (row(paper, draft).terms is not None) is may(role, Action.PUBLISH), role
    for n, role in enumerate((None, Role.TREASURER, Role.EDITOR, Role.OWNER)):
        url = f"https://example.org/{n}"
        answer = cast[role].post(f"/campaigns/{draft}/deliverables", {"number": "0", "state": "there", "url": url})
        assert (answer.status_code == 303) is may(role, Action.ANSWER), role
        answer = cast[role].post(f"/campaigns/{draft}/updates/new", {"title": f"News {n}", "text": "It sows."})
        assert (answer.status_code == 303) is may(role, Action.UPDATE), role
        assert (cast[role].get(f"/campaigns/{draft}/dashboard").status_code == 200) is may(role, Action.DASHBOARD), role
    text = sentences(owner.get(f"/campaigns/{draft}/deliverables"))
    assert "https://example.org/2" in text and "https://example.org/3" in text and "org/1" not in text


def test_the_table_of_roles_is_complete() -> None:
    assert set(ALLOWED) == set(Action) and all(Role.OWNER in who for who in ALLOWED.values())
    assert not may(Role.EDITOR, Action.PUBLISH) and not may(Role.EDITOR, Action.PAYOUT)
    assert may(Role.TREASURER, Action.PUBLISH) and not may(Role.TREASURER, Action.WRITE)
    assert not any(may(None, action) for action in Action)


def test_an_editor_cannot_bring_a_payout_address_in_by_the_short_form_or_the_api(paper: Paper, app: Flask) -> None:
    owner = member(app, "olga of the short form")
    draft = written(owner, name="Short form")
    editor = invited(app, owner, "short-form", "editor", "eddie of the short form")
    typed = {**STORY, **payout_form(draft), "license": "MIT", "project_url": PROJECT["repository_url"]}
    answer = editor.send(f"/drafts/{draft}/edit", typed)
    assert answer.status_code == 422 and "editor of this project" in field_error(answer, "payout_address")
    assert row(paper, draft).payout_address == PAYOUT
    with paper.database.transaction() as session:
        token = create_token(session, "eddie of the short form", START)
    body = api_body(paper, project_url=PROJECT["repository_url"])
    answer = app.test_client().post("/api/v1/campaigns", json=body, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 400 and answer.json is not None
    assert answer.json["errors"][0]["field"] == "payout_address"


def test_the_last_owner_cannot_leave(paper: Paper, app: Flask) -> None:
    owner = member(app, "olga the last")
    begun(owner, name="Last owner")
    editor = invited(app, owner, "last-owner", "editor", "eddie the last")
    with paper.database.reading() as session:
        ids = {c.name: c.id for c in session.scalars(select(Creator).where(Creator.name.like("%the last")))}
        project = session.scalars(select(Project).where(Project.slug == "last-owner")).one()
    path = "/projects/last-owner/people"

    def deed(who: Visitor, name: str, member_id: int, role: str = "") -> str:
        answer = who.post(path, {"deed": name, "member": str(member_id), "role": role}, page=path)
        return sentences(who.get(answer.location))

    assert "last owner" in deed(owner, "leave", ids["olga the last"])
    assert "last owner" in deed(owner, "role", ids["olga the last"], "editor")
    deed(owner, "role", ids["eddie the last"], "owner")
    assert "left the project" in deed(owner, "leave", ids["olga the last"])
    with paper.database.reading() as session:
        assert people.role_of(session, ids["olga the last"], project.id) is None
        assert session.get_one(ProjectMember, (project.id, ids["olga the last"])).left_at is not None
    assert owner.get(path).status_code == 404 and editor.get(path).status_code == 200


# -- pledging with rewards, help, the project's page -----------------------------------------------------------


def test_nobody_keeps_all_rewards_from_others_for_nothing(paper: Paper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RESERVE", limits.Rule("reserve", 1, 172_800))
    monkeypatch.setattr(limits, "RESERVE_ALL", limits.Rule("reserve_all", 2, 86_400))
    plenty = replace(GOOD, rewards=(replace(GOOD.rewards[0], stock=9), GOOD.rewards[1]))
    campaign, other = (detailed_campaign(paper, plenty, title=f"Drill {n}") for n in "ab")
    form = {"amount": "50000", "amount_unit": "sat", "refund_address": REFUND}
    body = {"amount_sats": 50_000, "refund_address": REFUND, "reward": 0}
    with paper.database.transaction() as session:
        session.execute(delete(AttemptWindow))

    with site_of(paper, limit_factor=1) as app:

        def pledge(reward: str, address: str = "127.0.0.1", campaign: str = campaign, **changes: str) -> TestResponse:
            where, path = {"REMOTE_ADDR": address}, f"/campaigns/{campaign}/pledge"
            return Visitor(app).post(path, {**form, "reward": reward, **changes}, page=path, environ_base=where)

        assert pledge("0", amount="1").status_code == 422, "what was not reserved is not counted"
        assert pledge("0").status_code == 303
        refused = pledge("0")
        assert refused.status_code == 429 and "wait" in field_error(refused, "reward")
        assert REFUND in refused.text and int(refused.headers["Retry-After"]) > 0
        problem = app.test_client().post(f"/api/v1/campaigns/{campaign}/pledges", json=body)
        assert problem.status_code == 429 and problem.get_json()["errors"][0]["field"] == "reward"
        with paper.database.reading() as session:
            kept = session.scalars(select(Pledge).where(Pledge.campaign_id == campaign)).all()
        assert len(kept) == 1, "nothing is kept of what was refused"
        assert pledge("1").status_code == 303 and pledge("").status_code == 303, "what has no end is not limited"
        assert pledge("0", campaign=other).status_code == 303, "nor another campaign"
        assert pledge("0", "2001:db8::1").status_code == 303
        assert pledge("0", "2001:db8::2").status_code == 429, "one network of somebody's"
        assert pledge("0", "192.0.2.1").status_code == 429, "all addresses together"


def test_a_pledge_chooses_a_reward(paper: Paper, app: Flask) -> None:
    campaign, bob = detailed_campaign(paper), Visitor(app)
    path = f"/campaigns/{campaign}/pledge"
    page = bob.get(f"{path}?reward=0").get_data(as_text=True)
    assert 'id="reward-0" value="0" checked' in page
    assert "kept for 48 hours of chain time" in sentences(bob.get(path)), "the rule is said before"
    form = {"amount": "50000", "amount_unit": "sat", "refund_address": REFUND, "reward": "0"}
    small = bob.send(path, {**form, "amount": "49999"})
    assert small.status_code == 422 and "at least 50000 sat" in field_error(small, "amount")
    for _ in range(2):
        answer = bob.send(path, form)
        assert answer.status_code == 303, sentences(answer)
    text = sentences(bob.get(answer.location))
    assert "Your reward: A seed plate" in text and "One is kept for you until 24 November 2026, 12:00 UTC" in text
    gone = bob.send(path, form)
    assert gone.status_code == 422 and "just been taken" in field_error(gone, "reward")
    assert "none left of 2" in sentences(bob.get(f"/campaigns/{campaign}"))
    for strange in ("99", "x", "-1"):
        assert bob.send(path, {**form, "reward": strange}).status_code == 422
    assert bob.send(path, {**form, "reward": ""}).status_code == 303


def test_help_is_offered_accepted_and_shown(paper: Paper, app: Flask, alice: Visitor) -> None:
    draft = written(alice, name="Helped")
    assert alice.get(f"/campaigns/{draft}/help").status_code == 404
    alice.post(f"/drafts/{draft}/publish")
    bob, path = Visitor(app), f"/campaigns/{draft}/help"
    typed = {"need": "0", "amount": "2", "name": "Bob", "contact": "bob@example.org", "message": "I weld."}
    for field, value in (("need", "7"), ("amount", "4"), ("name", ""), ("contact", ""), ("message", "")):
        answer = bob.send(path, {**typed, field: value})
        assert answer.status_code == 422 and field_error(answer, field), field
    for name in ("Bob", "Carol"):
        assert bob.send(path, {**typed, "name": name}).status_code == 303
    public = sentences(bob.get(f"/campaigns/{draft}"))
    assert "bob@example.org" not in public and "0 of 3 people" in public
    offers = f"/campaigns/{draft}/offers"
    assert bob.get(offers).status_code == 303 and member(app, "nosy").get(offers).status_code == 404
    page = alice.get(offers).get_data(as_text=True)
    assert "bob@example.org" in page
    second, first = re.findall(r'name="offer" value="(\d+)"', page)
    alice.post(offers, {"offer": first, "state": "accepted", "answer": "Great!"}, page=offers)
    alice.post(offers, {"offer": second, "state": "declined", "answer": "Next year."}, page=offers)
    public = sentences(bob.get(f"/campaigns/{draft}"))
    assert "2 of 3 people" in public and "Bob ( Great! )" in public and "Carol" not in public
    again = alice.post(offers, {"offer": second, "state": "accepted"}, page=offers)
    assert "answered already" in sentences(alice.get(again.location)) and "2 of 3" in sentences(
        bob.get(f"/campaigns/{draft}")
    )


def test_a_projects_page_has_its_history_and_its_lineage(paper: Paper, app: Flask, alice: Visitor) -> None:
    draft = written(alice, name="Parent drill", repository_url="https://example.org/parent.git")
    alice.post(f"/drafts/{draft}/publish")
    begun(alice, name="Child drill", forks_of="http://127.0.0.1:8000/projects/parent-drill")
    begun(alice, name="Cousin drill", forks_of="https://example.org/parent.git")
    begun(alice, name="Stranger", forks_of="https://example.com/else")
    bob = Visitor(app)
    parent, child = sentences(bob.get("/projects/parent-drill")), sentences(bob.get("/projects/child-drill"))
    for part in ("Six drills", "Running 1", "Funded 0", "alice owner", "OTRL-4 of 6", "Child drill , Cousin drill"):
        assert part in parent, part
    assert "Fork of Parent drill" in child and "None is published yet." in child
    assert "https://example.com/else" in sentences(bob.get("/projects/stranger"))
    assert "Change this page" not in parent and bob.get("/projects/nothing").status_code == 404
    assert "no fork of itself" in field_error(
        alice.send("/projects/parent-drill/edit", {**PROJECT, "forks_of": "/projects/parent-drill"}), "forks_of"
    )
