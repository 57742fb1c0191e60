"""Coming in: what is asked for, what a failure tells, and that recovery is not the weakest door."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pyotp
import pytest
from argon2 import PasswordHasher
from sqlalchemy import delete, event, select
from sqlalchemy.exc import IntegrityError

from crowdfund.accounts import entering, history, passwords, people, second, sessions, tokens, ways
from crowdfund.accounts.history import Visit
from crowdfund.accounts.models import AccountEvent, Passkey, WebSession
from crowdfund.campaigns import gallery
from crowdfund.campaigns.models import Campaign, Creator
from crowdfund.campaigns.picture_models import Picture
from crowdfund.db import Database
from crowdfund.errors import NotFound, UserError
from crowdfund.notices import hooks, subscribing
from crowdfund.notices.models import Subscription, Webhook
from crowdfund.projects import people as teams
from crowdfund.projects import writing
from crowdfund.projects.models import Project
from crowdfund.projects.pictures import PictureFile
from crowdfund.projects.roles import Role
from support.together import together

PASSWORD = "correct horse battery"
OWN_COST = f"m={passwords._hasher.memory_cost},"  # test_people.py says what that is outside of tests


@pytest.fixture
def app(database: Database, visit: Visit, alice: int) -> pyotp.TOTP:
    """Alice's app."""
    before = visit.now - timedelta(minutes=5)
    with database.transaction() as session:
        made = pyotp.TOTP(second.begin_app(session, alice, before).secret)
        second.confirm_app(session, alice, made.at(before), before)
    return made


@pytest.fixture
def codes(database: Database, visit: Visit, alice: int) -> list[str]:
    """Alice's recovery codes."""
    with database.transaction() as session:
        made = second.new_codes(session, alice, visit.now)
        second.activate_codes(session, alice, made[0])
    return made


def row(database: Database, token: str, visit: Visit) -> WebSession:
    with database.reading() as session:
        found = sessions.find(session, token, visit.now)
    assert found is not None
    return found


def kinds(database: Database, creator_id: int) -> list[tuple[str, int]]:
    with database.reading() as session:
        return [(e.kind, e.times) for e in history.latest(session, creator_id)]


def test_a_password_alone_is_enough_where_there_is_nothing_else(database: Database, visit: Visit, alice: int) -> None:
    entered = entering.by_password(database, " ALICE ", PASSWORD, visit)
    assert (entered.creator_id, entered.second_due) == (alice, False)
    assert row(database, entered.token, visit).way == "password"


def test_with_an_app_it_asks_for_a_code(database: Database, visit: Visit, alice: int, app: pyotp.TOTP) -> None:
    entered = entering.by_password(database, "Alice", PASSWORD, visit)
    assert entered.second_due
    half = row(database, entered.token, visit)
    with pytest.raises(UserError, match="not right"):
        entering.finish_with_app(database, half, "000000", visit)
    whole = entering.finish_with_app(database, half, app.at(visit.now), visit)
    assert not row(database, whole.token, visit).second_due and whole.token != entered.token
    with database.reading() as session:
        assert sessions.find(session, entered.token, visit.now) is None, "the half session has ended"
    assert kinds(database, alice) == [("logged_in", 1), ("second_failed", 1)]
    with pytest.raises(UserError):
        entering.finish_with_app(database, half, app.at(visit.now), visit)


def test_a_half_session_is_finished_once(database: Database, visit: Visit, alice: int, app: pyotp.TOTP) -> None:
    half = row(database, entering.by_password(database, "Alice", PASSWORD, visit).token, visit)
    entering.finish_with_app(database, half, app.at(visit.now), visit)
    later = replace(visit, now=visit.now + timedelta(seconds=60))
    with pytest.raises(NotFound):
        entering.finish_with_app(database, half, app.at(later.now), later)


def test_eight_threads_come_in_with_one_code_once(
    database: Database, visit: Visit, alice: int, app: pyotp.TOTP
) -> None:
    halves = [row(database, entering.by_password(database, "Alice", PASSWORD, visit).token, visit) for _ in range(8)]

    def finish(number: int) -> bool:
        try:
            entering.finish_with_app(database, halves[number], app.at(visit.now), visit)
        except UserError:
            return False
        return True

    assert sum(together(finish)) == 1


@pytest.mark.parametrize("name", ["Alice", "Nobody", "", "closed\n1"])
def test_a_failure_costs_and_tells_the_same_for_everybody(
    database: Database, visit: Visit, alice: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified, commits = [], []
    real = PasswordHasher.verify

    def counted(self: PasswordHasher, kept: str, password: str) -> bool:
        verified.append(kept.split("$")[:4])
        return real(self, kept, password)

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    event.listen(database.engine, "commit", lambda _: commits.append(1))
    with pytest.raises(UserError) as refused:
        entering.by_password(database, name, "wrong password", visit)
    assert refused.value.sentence == people.WRONG and refused.value.field == "password"
    assert len(verified) == 1 and OWN_COST in "".join(verified[0]) and len(commits) == 1


def test_a_hash_of_older_costs_is_made_anew(database: Database, visit: Visit, alice: int) -> None:
    with database.transaction() as session:
        session.get_one(Creator, alice).password_hash = PasswordHasher(time_cost=1, memory_cost=1024).hash(PASSWORD)
    with pytest.raises(UserError):
        entering.by_password(database, "Alice", "wrong password", visit)
    for _ in range(2):
        entering.by_password(database, "Alice", PASSWORD, visit)
        with database.reading() as session:
            kept = session.get_one(Creator, alice).password_hash
        assert OWN_COST in kept and not passwords.outdated(kept)


def recover(database: Database, visit: Visit, code: str, password: str = "", app_code: str = "") -> int:
    return entering.recover(database, "alice", password, app_code, code, visit).creator_id


def test_a_code_stands_in_for_a_forgotten_password(
    database: Database, visit: Visit, alice: int, codes: list[str]
) -> None:
    assert recover(database, visit, codes[1]) == alice
    with pytest.raises(UserError, match="do not fit together"):
        recover(database, visit, codes[1])
    assert [k for k, _ in kinds(database, alice)] == ["recovery_failed", "recovered"]
    with database.reading() as session:
        assert ways.of_creator(session, alice) == ways.Ways(password=True, app=False, passkeys=0, codes=9)


def test_where_two_things_are_asked_for_a_code_replaces_one(
    database: Database, visit: Visit, alice: int, app: pyotp.TOTP, codes: list[str]
) -> None:
    for password, app_code in (("", ""), ("wrong password", ""), ("", "000000")):
        with pytest.raises(UserError, match="do not fit together"):
            recover(database, visit, codes[1], password, app_code)
    for password, app_code in ((PASSWORD, ""), ("", app.at(visit.now))):
        with pytest.raises(UserError, match="do not fit together"):
            recover(database, visit, "x" * 16, password, app_code)
    later = replace(visit, now=visit.now + timedelta(seconds=60))
    assert recover(database, visit, codes[1], PASSWORD) == alice, "a code that did not let in is not used up"
    assert recover(database, later, codes[2], "", app.at(later.now)) == alice
    with database.reading() as session:
        found = ways.of_creator(session, alice)
        assert (found.password, found.app, found.codes) == (True, True, 8), "nothing is removed"


def test_a_half_session_has_shown_the_password(
    database: Database, visit: Visit, alice: int, app: pyotp.TOTP, codes: list[str]
) -> None:
    entered = entering.by_password(database, "Alice", PASSWORD, visit)
    half = row(database, entered.token, visit)
    with pytest.raises(UserError):
        entering.recover(database, "", "", "", "nonsense", visit, half)
    whole = entering.recover(database, "", "", "", codes[1], visit, half)
    assert whole.creator_id == alice and row(database, whole.token, visit).way == "recovery"


@pytest.mark.parametrize("name", ["nobody", "", "closed\n1"])
def test_recovery_tells_nothing_of_accounts(database: Database, visit: Visit, name: str) -> None:
    with pytest.raises(UserError) as refused:
        entering.recover(database, name, PASSWORD, "000000", "x", visit)
    assert refused.value.sentence == entering.WRONG_RECOVERY


def test_confirming_asks_for_all_that_the_log_in_does(
    database: Database, visit: Visit, alice: int, codes: list[str]
) -> None:
    token = entering.by_password(database, "Alice", PASSWORD, visit).token
    mine = row(database, token, visit)
    later = replace(visit, now=visit.now + timedelta(hours=13))
    assert not sessions.fresh(mine, later.now) and not sessions.awake(mine, later.now)
    with pytest.raises(UserError, match="does not fit"):
        entering.confirm_by_password(database, mine, "Alice", "wrong password", "", later)
    fresh = row(database, entering.confirm_by_password(database, mine, "Alice", PASSWORD, "", later), later)
    assert sessions.fresh(fresh, later.now) and sessions.awake(fresh, later.now) and fresh.id == mine.id
    with database.reading() as session:
        assert sessions.find(session, token, later.now) is None, "the token before is worth nothing"
    with database.transaction() as session:
        app = pyotp.TOTP(second.begin_app(session, alice, later.now).secret)
        second.confirm_app(session, alice, app.at(later.now), later.now)
    with pytest.raises(UserError, match="does not fit"):
        entering.confirm_by_password(database, fresh, "Alice", PASSWORD, "", later)
    last = replace(later, now=later.now + timedelta(minutes=1))
    assert entering.confirm_by_password(database, fresh, "Alice", PASSWORD, app.at(last.now), last)


def test_sessions_end_by_themselves_and_sleep(database: Database, visit: Visit, alice: int) -> None:
    token = entering.by_password(database, "Alice", PASSWORD, visit).token
    for hours, awake in ((11, True), (22, True), (33, True), (46, False), (47, False)):
        now = visit.now + timedelta(hours=hours)
        mine = row(database, token, replace(visit, now=now))
        assert sessions.awake(mine, now) is awake
        with database.transaction() as session:
            sessions.touch(session, mine.id, now)
    with database.reading() as session:
        assert sessions.find(session, token, visit.now + sessions.LIFE - timedelta(seconds=1)) is not None
        assert sessions.find(session, token, visit.now + sessions.LIFE) is None
        for wrong in (None, "", token[:-1], token.swapcase()):
            assert sessions.find(session, wrong, visit.now) is None


def test_sessions_are_ended_by_their_owner_only(database: Database, visit: Visit, alice: int) -> None:
    mine, other = (row(database, entering.by_password(database, "Alice", PASSWORD, visit).token, visit) for _ in "ab")
    with database.transaction() as session:
        bob = people.sign_up(session, "Bob", PASSWORD, visit.now).id
        with pytest.raises(NotFound):
            sessions.end(session, bob, mine.id)
        assert sessions.end_others(session, alice, mine.id) == 1
        assert [s.id for s in sessions.of_creator(session, alice)] == [mine.id] != [other.id]


def test_a_new_password_ends_all_other_sessions(database: Database, visit: Visit, alice: int) -> None:
    mine, _ = (row(database, entering.by_password(database, "Alice", PASSWORD, visit).token, visit) for _ in "ab")
    with database.transaction() as session:
        assert ways.set_password(session, alice, mine.id, passwords.hashed("a whole new sentence"), visit) == 1
    with pytest.raises(UserError):
        entering.by_password(database, "Alice", PASSWORD, visit)
    assert entering.by_password(database, "Alice", "a whole new sentence", visit).creator_id == alice


def test_tokens_are_kept_as_hashes(database: Database, visit: Visit, alice: int) -> None:
    token = entering.by_password(database, "Alice", PASSWORD, visit).token
    assert len(token) >= 43 and token not in row(database, token, visit).token_sha256


def test_the_log_counts_up_instead_of_filling_up(database: Database, visit: Visit, alice: int) -> None:
    for minutes in (0, 10, 20, 90):
        with pytest.raises(UserError):
            entering.by_password(database, "Alice", "wrong", replace(visit, now=visit.now + timedelta(minutes=minutes)))
    assert kinds(database, alice) == [("failed", 1), ("failed", 3)]
    with database.transaction() as session:
        history.note(session, alice, "logged_in", replace(visit, now=visit.now + history.KEPT + timedelta(hours=2)))
    assert kinds(database, alice) == [("logged_in", 1)]


def test_the_log_cannot_be_rewritten(database: Database, visit: Visit, alice: int) -> None:
    with database.transaction() as session:
        history.note(session, alice, "failed", visit)
    for change in ({"kind": "logged_in"}, {"happened_at": visit.now + timedelta(1)}, {"times": 0}, {"address": "x"}):
        with pytest.raises(IntegrityError), database.transaction() as session:
            session.query(AccountEvent).update(change)  # type: ignore[arg-type]


def draft(database: Database, creator_id: int, visit: Visit, terms: str | None) -> None:
    with database.transaction() as session:
        project = writing.find_or_make(session, creator_id, "https://example.org/alice", "MIT")
        session.add(
            Campaign(
                id=f"c{terms}", creator_id=creator_id, title="t", summary="s", story="s", goal_sats=5, license="MIT",
                deadline_at=visit.now, payout_address="a", project_url="u", created_at=visit.now, terms=terms,
                details='{"about":"me"}', project_id=project.id,
            )
        )  # fmt: skip


def test_a_name_changes_until_terms_hold_it(database: Database, visit: Visit, alice: int) -> None:
    with database.transaction() as session:
        people.sign_up(session, "Bob", PASSWORD, visit.now)
    draft(database, alice, visit, None)
    with database.transaction() as session:
        assert people.rename(session, alice, " Alice of the seeds ") == "Alice of the seeds"
    with pytest.raises(UserError, match="taken"), database.transaction() as session:
        people.rename(session, alice, "BOB")
    draft(database, alice, visit, "{}")
    with pytest.raises(UserError, match="cannot change"), database.transaction() as session:
        people.rename(session, alice, "Somebody else")
    with pytest.raises(IntegrityError, match="cannot change"), database.transaction() as session:
        session.get_one(Creator, alice).name = "By hand"
    with pytest.raises(UserError, match="cannot be closed"), database.transaction() as session:
        people.close(session, alice)


def test_a_closed_account_leaves_nothing_but_its_number(
    database: Database, visit: Visit, alice: int, app: pyotp.TOTP, codes: list[str]
) -> None:
    entering.by_password(database, "Alice", PASSWORD, visit)
    draft(database, alice, visit, None)
    with database.transaction() as session:
        token = people.create_token(session, "Alice", visit.now)
        gallery.add(session, alice, "cNone", [PictureFile("webp", 9, 9, b"x")], "A picture")
        hooks.register(session, alice, "https://example.org/", ["campaign.decided"], visit.now)
        subscribing.follow_creator(session, alice, "alice@example.org", visit.now)
        people.close(session, alice)
    with database.transaction() as session:
        assert tokens.caller(session, token, visit.now) is None
        assert sessions.of_creator(session, alice) == [] and history.latest(session, alice) == []
        kept = session.get_one(Creator, alice)
        assert kept.name == f"Closed account {alice}" and kept.password_hash == ""
        found = session.scalars(select(Campaign)).one()
        assert (found.title, found.story, found.payout_address, found.details) == ("", "", "", "")
        project = session.scalars(select(Project)).one()
        assert (project.name, project.site_url + project.repository_url) == ("Closed project", "")
        assert not session.scalars(select(Subscription)).all() and not session.scalars(select(Webhook)).all()
        assert not session.scalars(select(Picture)).all()
        assert people.sign_up(session, "Alice", PASSWORD, visit.now).id != alice, "the name is free"
    for name in (f"Closed account {alice}", f"closed\n{alice}"):
        with pytest.raises(UserError):
            entering.by_password(database, name, "", visit)


def test_what_others_work_at_stays_when_an_account_is_closed(database: Database, visit: Visit, alice: int) -> None:
    draft(database, alice, visit, None)
    with database.transaction() as session:
        bob = people.sign_up(session, "Bob", PASSWORD, visit.now).id
        project = session.scalars(select(Project)).one()
        teams.add_member(session, project.id, bob, Role.EDITOR)
    with pytest.raises(UserError, match="last owner"), database.transaction() as session:
        people.close(session, alice)
    with database.transaction() as session:
        teams.change_role(session, alice, project.id, bob, Role.OWNER)
        people.close(session, alice)
    with database.reading() as session:
        assert session.scalars(select(Campaign)).one().title == "t"
        assert [m.creator_id for m in teams.members_of(session, project.id)] == [bob]


def test_nobody_leaves_backers_alone_by_closing_an_account(database: Database, visit: Visit, alice: int) -> None:
    with database.transaction() as session:
        bob = people.sign_up(session, "Bob", PASSWORD, visit.now).id
    draft(database, bob, visit, "{}")
    with database.transaction() as session:
        project = session.scalars(select(Project)).one()
        teams.add_member(session, project.id, alice, Role.OWNER)
        teams.leave(session, bob, project.id, bob)
    with pytest.raises(UserError, match="backers need you"), database.transaction() as session:
        people.close(session, alice)


def test_knocking_at_the_door_pushes_nothing_out_of_the_log(database: Database, visit: Visit, alice: int) -> None:
    with database.transaction() as session:
        history.note(session, alice, "recovered", replace(visit, address="198.51.100.66"), "9 codes left")
        for number in range(80):
            history.note(session, alice, "failed", replace(visit, address=f"203.0.113.{number}"))
        shown = history.latest(session, alice)
    assert [line.kind for line in shown] == ["failed"] * 15 + ["recovered"]
    assert shown[0].address == "203.0.113.79"


def test_the_tables_let_nobody_remove_the_last_way_in(database: Database, alice: int) -> None:
    with pytest.raises(IntegrityError, match="way_in"), database.transaction() as session:
        session.get_one(Creator, alice).password_hash = ""
    with database.transaction() as session:
        session.execute(delete(Passkey))
