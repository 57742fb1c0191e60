"""On PostgreSQL the web process can log in as somebody who may do what visitors do, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from click.testing import CliRunner
from sqlalchemy import make_url, text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from crowdfund.accounts.people import log_in, sign_up
from crowdfund.campaigns import queries, service
from crowdfund.cli import main
from crowdfund.db import Database
from support.paper import REFUND, START, Paper, coin
from support.postgres import new_database, shared

ROLE = "web_of_the_tests"
PASSWORD = "correct horse battery"
BEYOND = (
    "DELETE FROM pledges",
    "DELETE FROM campaigns",
    "UPDATE pledges SET registered = true",
    "UPDATE pledges SET refund_script = script",
    "TRUNCATE pledges CASCADE",
    "UPDATE coins SET spent_by = 'x', spent_height = 1",
    "INSERT INTO decisions VALUES ('x', 'funded', 1, 1, 'x', 1)",
    "UPDATE watched_scripts SET id = 9",
    "INSERT INTO accounts VALUES (9, 'x', 'x')",
    "UPDATE accounts SET xpub = 'x'",
    "UPDATE creators SET created_at = now()",
    "DELETE FROM creators",
    "UPDATE passkeys SET public_key = 'x'",
    "UPDATE account_events SET kind = 'x'",
    "ALTER TABLE pledges DISABLE TRIGGER ALL",
    "CREATE TABLE decisions_too (x int)",
    "DROP TABLE coins CASCADE",
    "DROP FUNCTION pledges_kept() CASCADE",
    "SET session_replication_role = replica",
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


def test_the_web_process_can_do_its_work(paper: Paper, web: Database) -> None:
    web.upgrade()
    with web.transaction() as session:
        creator = sign_up(session, "bob", PASSWORD, START)
        draft = service.save_draft(session, paper.settings, creator.id, paper.draft())
        service.save_draft(session, paper.settings, creator.id, paper.draft(title="Better"), draft.id)
        campaign = service.publish(session, paper.settings, creator.id, draft.id).id
        assert log_in(session, "bob", PASSWORD).id == creator.id
    found = service.open_pledge(web, paper.settings, campaign, 50_000, REFUND)
    with web.reading() as session:
        pledge = queries.load_by_pledge(session, found)[1]
    paper.mine([coin(pledge, 50_000)])
    with web.reading() as session, web.watching() as watch:
        assert queries.summarise(queries.load(session, campaign)).received_sats == 50_000
        assert not watch.wait(0)


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
