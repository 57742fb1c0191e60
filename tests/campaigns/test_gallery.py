"""The pictures of a campaign: at most nine, in an order, each with words; frozen with the terms on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from crowdfund.campaigns import gallery, service
from crowdfund.campaigns.details import Details
from crowdfund.campaigns.gallery import Move
from crowdfund.campaigns.models import Campaign
from crowdfund.campaigns.picture_models import Picture, PictureRow
from crowdfund.errors import NotFound, UserError
from crowdfund.projects import people
from crowdfund.projects.pictures import PictureFile
from crowdfund.projects.roles import Role
from support.paper import Paper
from support.postgres import spoken


def files(name: str) -> list[PictureFile]:
    return [
        PictureFile("webp", 960, 600, f"{name} 960".encode()),
        PictureFile("webp", 480, 300, f"{name} 480".encode()),
    ]


@pytest.fixture
def paper(database_url: str, tmp_path: Path) -> Iterator[Paper]:
    with Paper(tmp_path, database_url=database_url) as made:
        yield made


@pytest.fixture
def owner(paper: Paper) -> int:
    return paper.creator()


@pytest.fixture
def draft(paper: Paper, owner: int) -> str:
    with paper.database.transaction() as session:
        return service.save_draft(session, paper.settings, owner, paper.draft()).id


@pytest.fixture
def three(paper: Paper, owner: int, draft: str) -> list[int]:
    """Ids of three pictures: a, b, c."""
    with paper.database.transaction() as session:
        return [gallery.add(session, owner, draft, files(name), f"The {name}").id for name in "abc"]


def words(paper: Paper, draft: str) -> list[str]:
    with paper.database.reading() as session:
        return [picture.alt for picture in gallery.of_campaign(session, draft)]


def test_pictures_have_an_order_and_words(paper: Paper, owner: int, draft: str, three: list[int]) -> None:
    assert words(paper, draft) == ["The a", "The b", "The c"]
    for picture, to, wanted in (
        (2, Move.FIRST, "cab"), (0, Move.LATER, "cba"), (0, Move.LATER, "cba"), (1, Move.EARLIER, "bca"),
        (1, Move.EARLIER, "bca"),
    ):  # fmt: skip
        with paper.database.transaction() as session:
            gallery.move(session, owner, draft, three[picture], to)
        assert words(paper, draft) == [f"The {name}" for name in wanted]
    with paper.database.transaction() as session:
        gallery.describe(session, owner, draft, three[0], "  A\nhand  ")
        gallery.remove(session, owner, draft, three[2])
    assert words(paper, draft) == ["The b", "A hand"]
    with paper.database.transaction() as session:
        gallery.add(session, owner, draft, files("d"), "The d")
    assert words(paper, draft) == ["The b", "A hand", "The d"]
    with paper.database.reading() as session:
        assert len(session.scalars(select(PictureRow)).all()) == 6, "the bytes of what was removed are gone"
        assert gallery.of_campaigns(session, [draft, "nothing"]).keys() == {draft}


@pytest.mark.parametrize(
    ("alt", "part"),
    [("", "Say what"), (" \n", "Say what"), ("\u200b\u202e\u3164", "Say what"), ("x" * 251, "250 characters")],
)
def test_words_that_say_nothing_or_too_much(paper: Paper, owner: int, draft: str, alt: str, part: str) -> None:
    with pytest.raises(UserError, match=part) as refused, paper.database.transaction() as session:
        gallery.add(session, owner, draft, files("a"), alt)
    assert refused.value.field == "alt" and words(paper, draft) == []


def test_nine_fit_and_each_once(paper: Paper, owner: int, draft: str) -> None:
    with paper.database.transaction() as session:
        for number in range(9):
            gallery.add(session, owner, draft, files(str(number)), "x")
            if not number:
                with pytest.raises(UserError, match="already"):
                    gallery.add(session, owner, draft, files("0"), "y")
    with pytest.raises(UserError, match="at most 9"), paper.database.transaction() as session:
        gallery.add(session, owner, draft, files("more"), "x")
    assert len(words(paper, draft)) == 9
    with pytest.raises(IntegrityError, match="so_many"), paper.database.transaction() as session:
        session.add(Picture(campaign_id=draft, position=20, sha256="0" * 64, alt="x"))
        session.flush()


def test_anothers_pictures_are_not_there(paper: Paper, owner: int, draft: str, three: list[int]) -> None:
    stranger = paper.creator()
    with paper.database.transaction() as session:
        other = service.save_draft(session, paper.settings, stranger, paper.draft()).id
    for creator, campaign in ((stranger, draft), (stranger, other)):
        with pytest.raises(NotFound), paper.database.transaction() as session:
            gallery.remove(session, creator, campaign, three[0])
    with pytest.raises(NotFound), paper.database.transaction() as session:
        gallery.add(session, stranger, draft, files("z"), "x")
    assert len(words(paper, draft)) == 3


def test_a_draft_s_bytes_are_for_its_creator_until_it_is_published(
    paper: Paper, owner: int, draft: str, three: list[int]
) -> None:
    name = files("a")[1].sha256
    with paper.database.reading() as session:
        assert gallery.drafted(session, "webp", name, owner) == b"a 480"
        assert gallery.published(session, "webp", name) is None
        for kind, digest, creator in (("webp", name, owner + 1), ("jpeg", name, owner), ("webp", "0", owner)):
            with pytest.raises(NotFound):
                gallery.drafted(session, kind, digest, creator)
    with paper.database.transaction() as session:
        service.publish(session, paper.settings, owner, draft)
    with paper.database.reading() as session:
        assert gallery.published(session, "webp", name) == b"a 480"


def test_after_publishing_nothing_changes(paper: Paper, owner: int, draft: str, three: list[int]) -> None:
    with paper.database.transaction() as session:
        service.publish(session, paper.settings, owner, draft)
        told = words(paper, draft)
    for change in (
        lambda db: gallery.add(db, owner, draft, files("d"), "x"),
        lambda db: gallery.describe(db, owner, draft, three[0], "x"),
        lambda db: gallery.move(db, owner, draft, three[0], Move.LATER),
        lambda db: gallery.remove(db, owner, draft, three[0]),
    ):
        with pytest.raises(UserError, match="cannot change any more"), paper.database.transaction() as session:
            change(session)
    one = three[0]
    for edit in (
        f"INSERT INTO pictures (campaign_id, position, sha256, alt) VALUES ('{draft}', 9, '{'0' * 64}', 'x')",
        f"INSERT INTO picture_files VALUES ({one}, 'webp', 20, 20, 'x', x'00')",
        f"UPDATE pictures SET alt = 'x' WHERE id = {one}",
        f"UPDATE pictures SET position = 30 WHERE id = {one}",
        f"UPDATE picture_files SET data = x'00' WHERE picture_id = {one}",
        f"DELETE FROM picture_files WHERE picture_id = {one}",
        f"DELETE FROM pictures WHERE id = {one}",
    ):
        with pytest.raises(IntegrityError), paper.database.transaction() as session:
            session.execute(text(spoken(paper.database, edit)))
    assert words(paper, draft) == told == ["The a", "The b", "The c"]


def test_the_terms_name_the_pictures_by_their_hash(paper: Paper, owner: int, draft: str, three: list[int]) -> None:
    with paper.database.transaction() as session:
        gallery.move(session, owner, draft, three[2], Move.FIRST)
        seen = service.terms_preview(session, paper.settings, service.own_campaign(session, owner, draft))
        service.publish(session, paper.settings, owner, draft)
    frozen = paper.snapshot(draft)
    details = Details.parse(frozen.campaign.details)
    assert [(p.sha256, p.alt) for p in details.pictures] == [(files(n)[0].sha256, f"The {n}") for n in "cab"]
    assert frozen.terms is not None and seen.details_sha256 == frozen.terms.details_sha256 == details.sha256


def test_bytes_and_their_name_never_change_not_even_in_a_draft(paper: Paper, three: list[int]) -> None:
    for edit in (
        "UPDATE picture_files SET data = x'00'",
        f"UPDATE pictures SET sha256 = '{'0' * 64}'",
        f"INSERT INTO picture_files VALUES ({three[0]}, 'svg', 20, 20, 'x', x'00')",
        f"INSERT INTO picture_files VALUES ({three[0]}, 'webp', 9999, 20, 'x', x'00')",
        f"INSERT INTO picture_files VALUES ({three[0]}, 'webp', 20, 20, 'x', x'')",
        f"UPDATE pictures SET alt = '' WHERE id = {three[0]}",
    ):
        with pytest.raises(IntegrityError), paper.database.transaction() as session:
            session.execute(text(spoken(paper.database, edit)))


def test_pictures_follow_the_roles_of_the_project(paper: Paper, owner: int, draft: str, three: list[int]) -> None:
    """Editors change them, treasurers see them, and whoever has left does neither."""
    treasurer, editor = paper.creator(), paper.creator()
    small = files("a")[1].sha256
    with paper.database.transaction() as session:
        project = session.get_one(Campaign, draft).project_id or ""
        people.add_member(session, project, treasurer, Role.TREASURER)
        people.add_member(session, project, editor, Role.EDITOR)
    with paper.database.transaction() as session, pytest.raises(UserError, match="treasurer"):
        gallery.remove(session, treasurer, draft, three[0])
    with paper.database.transaction() as session:
        assert gallery.drafted(session, "webp", small, treasurer) == gallery.drafted(session, "webp", small, editor)
        gallery.describe(session, editor, draft, three[0], "Another a")
        people.leave(session, owner, project, editor)
    assert words(paper, draft)[0] == "Another a"
    with paper.database.transaction() as session:
        with pytest.raises(NotFound):
            gallery.describe(session, editor, draft, three[0], "Mine")
        with pytest.raises(NotFound):
            gallery.drafted(session, "webp", small, editor)
