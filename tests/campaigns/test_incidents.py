"""The public log: one true sentence for each reorganisation and each dispute, and nobody else's business."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from crowdfund.campaigns import incidents
from crowdfund.campaigns.incidents import IncidentView, reorganisation_sentence
from crowdfund.campaigns.models import ChainView, Incident
from crowdfund.chain.follow import BlockFacts, Changes
from support.paper import START, Paper, coin


@pytest.fixture
def paper(tmp_path: Path, database_url: str) -> Iterator[Paper]:
    with Paper(tmp_path, database_url=database_url) as made:
        yield made


def of_campaign(paper: Paper, campaign: str) -> list[IncidentView]:
    with paper.database.reading() as session:
        return incidents.of_campaign(session, campaign)


def of_site(paper: Paper) -> list[IncidentView]:
    with paper.database.reading() as session:
        return incidents.of_site(session)


def sentences(views: Sequence[IncidentView]) -> list[str]:
    return [view.sentence for view in views]


BY = "by a reorganisation of"


@pytest.mark.parametrize(
    ("depth", "heights", "sentence"),
    [
        (1, [], "A reorganisation of 1 block at height 1,234; no pledge was concerned."),
        (2, [], "A reorganisation of 2 blocks at height 1,234; no pledge was concerned."),
        (1, [("a", None)], f"1 pledge un-confirmed {BY} 1 block at height 1,234, not confirmed again yet."),
        (
            3,
            [("a", 1235)],
            f"1 pledge un-confirmed {BY} 3 blocks at height 1,234, confirmed again at 1,235.",
        ),
        (
            1,
            [("a", 1236), ("b", 1235), ("a", 1235), ("c", 1240)],
            f"3 pledges un-confirmed {BY} 1 block at height 1,234, confirmed again at 1,235, 1,236 and 1,240.",
        ),
        (
            1,
            [("a", 1235), ("b", None), ("c", None), ("c", None)],
            f"3 pledges un-confirmed {BY} 1 block at height 1,234, confirmed again at 1,235, "
            "2 pledges not confirmed again yet.",
        ),
        (
            1,
            [("a", 1235), ("a", None)],
            f"1 pledge un-confirmed {BY} 1 block at height 1,234, not confirmed again yet.",
        ),
        (
            1_000,
            [(str(n), None) for n in range(2_000)],
            f"2,000 pledges un-confirmed {BY} 1,000 blocks at height 1,234, not confirmed again yet.",
        ),
    ],
)
def test_what_a_reorganisation_reads_like(depth: int, heights: list[tuple[str, int | None]], sentence: str) -> None:
    assert reorganisation_sentence(1234, depth, heights) == sentence


def test_a_reorganisation_is_told_and_the_line_follows_what_happens_since(paper: Paper) -> None:
    campaign = paper.campaign()
    first, second = paper.pledge(campaign), paper.pledge(campaign)
    moved, lost = coin(first, 5_000), coin(second, 6_000, "b")
    paper.mine([moved])
    paper.mine([lost])
    assert of_campaign(paper, campaign) == of_site(paper) == []
    paper.fork(2)
    (view,) = of_campaign(paper, campaign)
    assert (view.kind, view.height, view.depth) == ("reorganisation", 101, 2)
    assert view.ended_at == view.began_at
    line = "2 pledges un-confirmed by a reorganisation of 2 blocks at height 101, "
    assert view.sentence == line + "not confirmed again yet."
    paper.mine([moved], branch="other")
    assert sentences(of_campaign(paper, campaign)) == [
        line + "confirmed again at 101, 1 pledge not confirmed again yet."
    ]
    paper.mine([lost], branch="other")
    assert sentences(of_campaign(paper, campaign)) == [line + "confirmed again at 101 and 102."]
    paper.fork(1)
    assert sentences(of_site(paper)) == [
        "1 pledge un-confirmed by a reorganisation of 1 block at height 102, not confirmed again yet.",
        line + "confirmed again at 101, 1 pledge not confirmed again yet.",
    ]


def test_a_campaign_reads_of_its_own_coins_only_and_the_site_of_all(paper: Paper) -> None:
    one, two, three = paper.campaign(), paper.campaign(title="Two"), paper.campaign(title="Three")
    paper.mine([coin(paper.pledge(one), 5_000), coin(paper.pledge(two), 5_000, "b")])
    paper.fork(1)
    paper.mine(branch="other")
    paper.fork(1)
    assert len(of_site(paper)) == 2
    assert of_site(paper)[0].sentence == "A reorganisation of 1 block at height 101; no pledge was concerned."
    assert of_site(paper)[1].sentence.startswith("2 pledges")
    assert [len(of_campaign(paper, c)) for c in (one, two, three)] == [1, 1, 0]
    assert of_campaign(paper, one)[0].sentence.startswith("1 pledge un-confirmed")


def test_unconfirmed_and_settled_coins_below_the_fork_are_no_part_of_it(paper: Paper) -> None:
    campaign = paper.campaign()
    paper.mine([coin(paper.pledge(campaign), 5_000)])
    paper.mempool([coin(paper.pledge(campaign), 6_000, "b")])
    paper.mine()
    paper.fork(1)
    assert of_campaign(paper, campaign) == [] and len(of_site(paper)) == 1


def test_one_write_that_forks_and_grows_is_one_line(paper: Paper) -> None:
    campaign = paper.campaign()
    paid = coin(paper.pledge(campaign), 5_000)
    paper.mine([paid])
    blocks = (BlockFacts(paper.ref(101, "x"), (), ()), BlockFacts(paper.ref(102, "x"), (paid,), ()))
    paper.write(Changes(100, blocks, (), 102, True))
    assert sentences(of_campaign(paper, campaign)) == [
        "1 pledge un-confirmed by a reorganisation of 1 block at height 101, confirmed again at 102."
    ]


def begin(paper: Paper, campaign: str, height: int = 1_160) -> None:
    with paper.database.transaction() as session:
        incidents.begin_dispute(session, campaign, height, START)


def end(paper: Paper, campaign: str) -> None:
    with paper.database.transaction() as session:
        incidents.end_dispute(session, campaign, START + timedelta(hours=1))


def changes(paper: Paper) -> int:
    with paper.database.reading() as session:
        return session.scalars(select(ChainView.changes)).one()


def in_dispute(paper: Paper, campaign: str) -> bool:
    with paper.database.reading() as session:
        return incidents.in_dispute(session, campaign)


def test_a_dispute_begins_and_ends(paper: Paper) -> None:
    one, two = paper.campaign(), paper.campaign(title="Two")
    assert not in_dispute(paper, one)
    before = changes(paper)
    begin(paper, one)
    assert changes(paper) == before + 1, "open pages are told"
    assert in_dispute(paper, one) and not in_dispute(paper, two)
    (view,) = of_campaign(paper, one)
    assert (view.kind, view.height, view.began_at, view.ended_at) == ("disagreement", 1_160, START, None)
    told = "Two servers gave different blocks at height 1,160."
    assert view.sentence == f"{told} The decision waits until they agree."
    assert of_campaign(paper, two) == [] and of_site(paper) == [view]
    end(paper, two)
    assert in_dispute(paper, one), "another campaign's end is not its own"
    end(paper, one)
    assert not in_dispute(paper, one)
    (view,) = of_campaign(paper, one)
    assert view.sentence == f"{told} They agree again." and view.ended_at == START + timedelta(hours=1)
    end(paper, one)
    assert of_campaign(paper, one) == [view], "what has ended stays as it is"
    begin(paper, one, 1_170)
    assert [(v.height, v.ended_at is None) for v in of_campaign(paper, one)] == [(1_170, True), (1_160, False)]
    end(paper, one)
    assert not in_dispute(paper, one)


def test_only_so_many_lines_are_shown_and_the_newest_first(paper: Paper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incidents, "SHOWN", 3)
    campaign = paper.campaign()
    for height in range(10):
        begin(paper, campaign, height)
    assert [v.height for v in of_site(paper)] == [v.height for v in of_campaign(paper, campaign)] == [9, 8, 7]


def test_what_was_told_cannot_be_untold(paper: Paper) -> None:
    campaign = paper.campaign()
    begin(paper, campaign)
    end(paper, campaign)
    with pytest.raises(IntegrityError, match="only an end"), paper.database.transaction() as session:
        session.scalars(select(Incident)).one().ended_at = None
    with pytest.raises(IntegrityError, match="kept for ever"), paper.database.transaction() as session:
        session.delete(session.scalars(select(Incident)).one())
