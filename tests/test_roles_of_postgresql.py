"""On PostgreSQL the web process can log in as somebody who may do what visitors do, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pyotp
import pytest
from click.testing import CliRunner
from sqlalchemy import delete, make_url, select, text
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.orm import Session

from crowdfund.accounts import history, limits, passkeys, second, sessions, ways
from crowdfund.accounts.history import Visit
from crowdfund.accounts.models import PasskeyChallenge
from crowdfund.accounts.people import close, log_in, rename, sign_up
from crowdfund.campaigns import (
    delivery,
    gallery,
    helping,
    moderation,
    own_money,
    posts,
    queries,
    review,
    service,
    updates,
)
from crowdfund.campaigns.models import Campaign, Creator
from crowdfund.cli import main
from crowdfund.db import Database
from crowdfund.notices import hooks, outbox, subscribing
from crowdfund.notices.models import Notice, Subscription
from crowdfund.notices.posting import PinnedPoster
from crowdfund.notices.sender import Sender
from crowdfund.postgresql import grants
from crowdfund.projects import looking, people, writing
from crowdfund.projects.models import Project
from crowdfund.projects.pictures import PictureFile
from crowdfund.projects.proof_models import ProjectProof
from crowdfund.projects.roles import Role
from crowdfund.projects.urls import Fetched, NoFile
from support.details import GOOD
from support.paper import REFUND, START, Paper, coin
from support.passkeys import SoftKey
from support.postgres import new_database, shared

ROLE = "web_of_the_tests"
PASSWORD = "correct horse battery"
BEYOND = (
    "DELETE FROM pledges",
    "DELETE FROM campaigns",
    "UPDATE pledges SET registered = true",
    "UPDATE pledges SET refund_script = script",
    "TRUNCATE pledges CASCADE",
    "UPDATE posts SET text = 'x'",
    "DELETE FROM moderation",
    "UPDATE moderation SET reason = 'x'",
    "DELETE FROM update_versions",
    "UPDATE own_money SET own = false",
    "UPDATE coins SET spent_by = 'x', spent_height = 1",
    "INSERT INTO decisions VALUES ('x', 'funded', 1, 1, 'x', 1)",
    "UPDATE watched_scripts SET id = 9",
    "INSERT INTO accounts VALUES (9, 'x', 'x')",
    "UPDATE accounts SET xpub = 'x'",
    "INSERT INTO review_verdicts VALUES (1, true, '', now())",
    "UPDATE rewards SET stock = 9",
    "UPDATE reward_claims SET reserved_at = now()",
    "UPDATE project_members SET joined_at = now()",
    "DELETE FROM help_offers",
    "UPDATE creators SET created_at = now()",
    "DELETE FROM creators",
    "UPDATE passkeys SET public_key = 'x'",
    "UPDATE account_events SET kind = 'x'",
    "ALTER TABLE pledges DISABLE TRIGGER ALL",
    "CREATE TABLE decisions_too (x int)",
    "DROP TABLE coins CASCADE",
    "UPDATE picture_files SET data = ''",
    "UPDATE pictures SET sha256 = 'x'",
    "TRUNCATE pictures CASCADE",
    "DROP FUNCTION pledges_kept() CASCADE",
    "SET session_replication_role = replica",
    "INSERT INTO happenings VALUES (9, 'x', 'x', NULL, NULL, NULL, now(), now(), '{}')",
    "UPDATE happenings SET detail = 'x'",
    "UPDATE notices SET state = 'queued'",
    "DELETE FROM notices",
    "UPDATE subscriptions SET email = 'x'",
    "UPDATE subscriptions SET language = 'de'",
    "UPDATE webhooks SET url = 'x'",
    "UPDATE project_proofs SET outcome = 'shown'",
    "DELETE FROM project_proofs",
)


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paper]:
    """An installation of the owner's; the role has got what `db grants` says."""
    with new_database() as url, Paper(tmp_path_factory.mktemp("paper"), database_url=url) as made:
        shared().execute(f"CREATE ROLE {ROLE} LOGIN")
        answer = CliRunner().invoke(main, ["db", "grants", "--role", ROLE])
        assert answer.exit_code == 0, answer.output
        with made.database.engine.begin() as connection:
            for statement in answer.output.splitlines():
                connection.execute(text(statement))
        yield made
        with made.database.engine.begin() as connection:
            connection.execute(text(f"DROP OWNED BY {ROLE}"))
            connection.execute(text(f"DROP ROLE {ROLE}"))


@pytest.fixture(scope="module")
def web(paper: Paper) -> Iterator[Database]:
    """The same database, as the web process sees it."""
    url = make_url(paper.settings.database_url).set(username=ROLE)
    database = Database(url.render_as_string(hide_password=False))
    yield database
    database.close()


def fill_account(session: Session, creator_id: int) -> None:
    """Do what a person does with an account, from adding ways in to closing another one."""
    visit = Visit("192.0.2.7", "Firefox/140", datetime.now(UTC))
    key, site = SoftKey(), passkeys.Site("localhost", "http://localhost:8000", "Seedbed")
    asked = passkeys.ask_for_new(session, site, "add", "guest", creator_id, visit.now)
    handle = session.get_one(PasskeyChallenge, asked.challenge).user_handle
    question = passkeys.Asked(asked.challenge, creator_id, handle)
    made = passkeys.add(session, site, question, creator_id, key.make(asked.options), "Phone", visit.now)
    shown = passkeys.ask_for_known(session, site, "log_in", None, visit.now)
    passkeys.show(session, site, passkeys.Asked(shown.challenge, None, None), key.show(shown.options), visit.now)
    session.execute(delete(PasskeyChallenge))
    ways.rename_passkey(session, creator_id, made.id, "Old phone", visit)
    app = pyotp.TOTP(second.begin_app(session, creator_id, visit.now).secret)
    second.confirm_app(session, creator_id, app.at(visit.now), visit.now)
    codes = second.new_codes(session, creator_id, visit.now)
    second.activate_codes(session, creator_id, codes[0])
    assert second.use_code(session, creator_id, codes[1], visit.now)
    sessions.begin(session, creator_id, "password", visit)
    sessions.rotate(session, sessions.of_creator(session, creator_id)[0].id, visit.now, proven=True)
    for _ in range(2):
        history.note(session, creator_id, "failed", visit)
        limits.count(session, limits.FAILED, "guest", visit.now)
    ways.remove_app(session, creator_id, visit)
    ways.remove_passkey(session, creator_id, made.id, visit)
    leaver = sign_up(session, "leaver", PASSWORD, visit.now)
    rename(session, leaver.id, "leaver for good")
    writing.find_or_make(session, leaver.id, "https://example.org/leaver", "MIT")
    close(session, leaver.id)


def test_the_web_process_can_do_its_work(paper: Paper, web: Database) -> None:
    web.upgrade()
    with web.transaction() as session:
        creator = sign_up(session, "bob", PASSWORD, START)
        draft = service.save_draft(session, paper.settings, creator.id, paper.draft())
        service.save_draft(session, paper.settings, creator.id, paper.draft(title="Better"), draft.id)
        for name in ("a", "b"):
            gallery.add(session, creator.id, draft.id, [PictureFile("webp", 9, 9, name.encode())], name)
        first, second = gallery.of_campaign(session, draft.id)
        gallery.move(session, creator.id, draft.id, second.id, gallery.Move.FIRST)
        gallery.describe(session, creator.id, draft.id, second.id, "Better")
        gallery.remove(session, creator.id, draft.id, first.id)
        campaign = service.publish(session, paper.settings, creator.id, draft.id).id
        assert log_in(session, "bob", PASSWORD).id == creator.id
    found = service.open_pledge(web, paper.settings, campaign, 50_000, REFUND)
    with web.transaction() as session:
        project = session.get_one(Campaign, campaign).project_id or ""
        token = people.invite(session, creator.id, project, Role.EDITOR)
        guest = sign_up(session, "guest", PASSWORD, START)
        fill_account(session, guest.id)
        people.accept(session, guest.id, token)
        people.change_role(session, creator.id, project, guest.id, Role.TREASURER)
        people.leave(session, guest.id, project, guest.id)
        detailed = service.save_draft(session, paper.settings, creator.id, paper.draft(title="More"), details=GOOD)
        review.ask(session, creator.id, detailed)
        more = service.publish(session, paper.settings, creator.id, detailed.id).id
        delivery.report(session, creator.id, more, 0, "there", "https://example.org")
        offer = helping.offer(session, more, 0, 1, "Bob", "bob", "I weld.")
        helping.answer(session, creator.id, more, offer.id, "accepted", "Thanks.")
    service.open_pledge(web, paper.settings, more, 50_000, REFUND, reward=0)
    with web.reading() as session:
        pledge = queries.load_by_pledge(session, found)[1]
    paper.mine([coin(pledge, 50_000)])
    now = datetime.now(UTC)
    with web.transaction() as session:
        owner, snapshot = session.get_one(Creator, creator.id), queries.load(session, campaign)
        for number in (None, 1):
            updates.write(session, owner, snapshot.campaign, "News", f"Text {number}", now, number)
        question = posts.ask(session, snapshot.campaign, "", "Why?", now)
        posts.approve(session, snapshot.campaign, question.id, moderation.CREATOR, now)
        posts.comment_as_backer(session, snapshot, snapshot.pledges[0], "", "Go on!", now)
        moderation.hide(session, snapshot.campaign, moderation.Target.update(1), moderation.CREATOR, "Why not", now)
        own_money.declare(session, owner, snapshot.pledges[0], True, now)
    with web.reading() as session, web.watching() as watch:
        assert queries.summarise(queries.load(session, campaign)).received_sats == 50_000
        assert not watch.wait(0)


def test_the_web_process_keeps_addresses_and_the_sender_does_the_rest(paper: Paper, web: Database) -> None:
    campaign = paper.campaign()
    now = datetime.now(UTC)
    with web.transaction() as session:
        one = subscribing.follow_campaign(session, campaign, "dora@example.org", now, "es")
        subscribing.confirm(one, now)
        creator = session.get_one(Campaign, campaign).creator_id
        hook = hooks.register(session, creator, "https://example.org/", ["campaign.decided"], now)
    shared_role = "notify_of_the_tests"
    with paper.database.engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {shared_role} LOGIN"))
        for statement in grants(shared_role, "notify"):
            connection.execute(text(statement))
    url = make_url(paper.settings.database_url).set(username=shared_role)
    database = Database(url.render_as_string(hide_password=False))
    sender = Sender(database, paper.settings, None, PinnedPoster(timeout_s=0.1))
    assert sender.note() > 0 and sender.step("webhook")
    for statement in (
        "UPDATE coins SET value_sats = 1",
        "DELETE FROM pledges",
        "INSERT INTO webhooks VALUES (9)",
        "SELECT secret FROM authenticators",
        "SELECT address FROM sessions",
    ):
        with pytest.raises(ProgrammingError, match="permission denied"), database.transaction() as session:
            session.execute(text(statement))
    database.close()
    with web.transaction() as session:
        project = session.get_one(Project, session.get_one(Campaign, campaign).project_id)
        looking.ask(session, creator, project, now)
    look_as = Database(url.render_as_string(hide_password=False))
    assert looking.look(look_as, "https://fund.example.org", project.id, _no_file, now)
    look_as.close()
    with web.reading() as session:
        assert [row.outcome for row in session.scalars(select(ProjectProof))] == ["asked", "absent"]
    with web.transaction() as session:
        outbox.ask_again(session, session.scalars(select(Notice.id)).first() or 0, now)
        hooks.remove(session, creator, hook.id)
        session.delete(session.get_one(Subscription, one.id))


def _no_file(_url: str) -> Fetched:
    raise NoFile("There is none.")


@pytest.mark.parametrize("statement", BEYOND)
def test_the_web_process_can_do_nothing_else(statement: str, web: Database) -> None:
    with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"), web.transaction() as session:
        session.execute(text(statement))


def test_a_table_of_ones_own_does_not_answer_for_ours(paper: Paper) -> None:
    """A trigger asks the decisions, and a temporary table of that name says what its maker likes."""
    campaign = paper.campaign()
    with paper.database.engine.begin() as connection:
        connection.execute(text("CREATE TEMPORARY TABLE decisions AS SELECT * FROM public.decisions"))
        connection.execute(text(f"INSERT INTO decisions (campaign_id, outcome) VALUES ('{campaign}', 'funded')"))
        assert connection.scalar(text("SELECT count(*) FROM decisions")) == 1
        with pytest.raises(IntegrityError, match="release_only_when_funded"):
            connection.execute(text(f"INSERT INTO batches (campaign_id, kind) VALUES ('{campaign}', 'release')"))
        connection.rollback()


@pytest.mark.parametrize("name", ["", "Web", "web; DROP TABLE coins", 'web"', "9web", "w" * 64])
def test_a_role_without_a_plain_name_is_refused(name: str) -> None:
    answer = CliRunner().invoke(main, ["db", "grants", "--role", name])
    assert answer.exit_code == 1 and "name of a role" in answer.output
