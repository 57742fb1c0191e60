"""The operator's side of reviews, on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from crowdfund.campaigns import gallery, review, service
from crowdfund.campaigns.models import Campaign
from crowdfund.campaigns.review import ReviewState
from crowdfund.cli import main
from crowdfund.config import Settings
from crowdfund.errors import UserError
from crowdfund.projects.pictures import PictureFile
from support.paper import Paper


def test_list_return_and_approve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Paper(tmp_path) as paper:
        for name, value in paper.settings.to_env().items():
            monkeypatch.setenv(name, value)
        creator = paper.creator()
        with paper.database.transaction() as session:
            draft = service.save_draft(session, paper.settings, creator, paper.draft()).id

        def run(*arguments: str) -> Result:
            return CliRunner().invoke(main, ["review", *arguments])

        def state() -> tuple[ReviewState, str]:
            with paper.database.reading() as session:
                return review.state_of(session, session.get_one(Campaign, draft))

        def ask() -> None:
            with paper.database.transaction() as session:
                review.ask(session, creator, session.get_one(Campaign, draft))

        assert "No draft waits" in run("list").output
        assert run("approve", draft).exit_code == 1 and state() == (ReviewState.DRAFT, "")
        ask()
        ask()
        listed = run("list").output
        assert listed.count(draft) == 1 and "By hand." in listed and "by alice 1" in listed
        assert run("return", draft).exit_code == 2, "a reason is asked for"
        assert run("return", draft, "--reason", " ").exit_code == 1
        assert run("return", draft, "--reason", "Who welds?").exit_code == 0
        assert state() == (ReviewState.RETURNED, "Who welds?")
        ask()
        assert run("approve", draft).exit_code == 0 and state() == (ReviewState.APPROVED, "")
        assert "No draft waits" in run("list").output
        reviewing = Settings.from_env({**paper.settings.to_env(), "CROWDFUND_REVIEW": "on"})
        with paper.database.transaction() as session:
            session.get_one(Campaign, draft).summary = "Something else."
        assert state() == (ReviewState.DRAFT, "")
        with paper.database.transaction() as session, pytest.raises(UserError, match="ask for review"):
            service.publish(session, reviewing, creator, draft)
        ask()
        run("approve", draft)
        with paper.database.transaction() as session:
            gallery.add(session, creator, draft, [PictureFile("webp", 9, 9, b"x")], "Not seen by the operator")
        assert state() == (ReviewState.DRAFT, ""), "pictures are part of what was approved"
        ask()
        run("approve", draft)
        with paper.database.transaction() as session:
            assert service.publish(session, reviewing, creator, draft).terms is not None


def test_the_setting_is_on_or_off() -> None:
    assert Settings.from_env({"CROWDFUND_REVIEW": "on"}).review
    assert not Settings.from_env({"CROWDFUND_REVIEW": "off"}).review and not Settings.from_env({}).review
    with pytest.raises(UserError, match="CROWDFUND_REVIEW"):
        Settings.from_env({"CROWDFUND_REVIEW": "yes"})
