"""Finding campaigns: what each filter, order and cursor gives, on both kinds of database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import text

from crowdfund.campaigns import discovering, figures, service
from crowdfund.campaigns.discovering import Filters, FoundCampaign, Order, Stage
from crowdfund.campaigns.lifecycle import CampaignState
from crowdfund.errors import UserError
from support.paper import BLOCK_TIME, START, Paper, coin
from support.postgres import DATABASES, database_of

GOAL = 1_000_000
HOUR = timedelta(hours=1)
MADE = (
    ("A seed drill", "Drawings für Äcker", 8 * HOUR, 0, "MIT"),
    ("A loom", "100% wool_by hand", 9 * HOUR, 760_000, "CERN-OHL-S-2.0"),
    ("A map of wells", "Open data", 10 * 24 * HOUR, 1_200_000, "ODbL-1.0"),
    ("A songbook", "Old songs", 4 * HOUR, 1_000_000, "CC-BY-SA-4.0"),
)


@pytest.fixture(scope="module", params=DATABASES)
def paper(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paper]:
    """Four campaigns; the last one has ended well."""
    folder: Path = tmp_path_factory.mktemp("discover")
    with database_of(request.param, folder / "deep") as url, Paper(folder, database_url=url) as made:
        for title, summary, lasts, paid_sats, licence in MADE:
            campaign_id = made.campaign(
                title=title, summary=summary, license=licence, goal_sats=GOAL, deadline_at=START + lasts,
                project_url=f"https://example.org/{title.split()[-1]}",
            )  # fmt: skip
            if paid_sats:
                made.mine([coin(made.pledge(campaign_id, paid_sats), paid_sats, title)])
        made.mine(blocks=4 * HOUR // BLOCK_TIME)
        with made.database.transaction() as session:
            figures.keep(session)
        yield made


def found(paper: Paper, filters: Filters = Filters(), order: Order = Order.NEWEST) -> list[FoundCampaign]:  # noqa: B008
    with paper.database.reading() as session:
        now = service.chain_now(session, "regtest")
        rows = discovering.discover(session, filters, order, now=now)
        assert discovering.count(session, filters, now) == len(rows)
        return rows


def titles(paper: Paper, filters: Filters = Filters(), order: Order = Order.NEWEST) -> list[str]:  # noqa: B008
    return [one.title.split()[-1] for one in found(paper, filters, order)]


def test_each_order(paper: Paper) -> None:
    assert titles(paper) == ["songbook", "wells", "loom", "drill"]
    assert titles(paper, order=Order.ENDING) == ["drill", "loom", "wells", "songbook"]
    assert titles(paper, order=Order.FUNDED) == ["wells", "songbook", "loom", "drill"]
    assert titles(paper, order=Order.CLOSEST) == ["loom", "drill", "songbook", "wells"]


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        (Filters(stage=Stage.OPEN), ["wells", "loom", "drill"]),
        (Filters(stage=Stage.NEARLY), ["wells", "loom"]),
        (Filters(stage=Stage.SOON), ["loom", "drill"]),
        (Filters(stage=Stage.FINISHED), ["songbook"]),
        (Filters(stage=Stage.FUNDED), []),
        (Filters(state=CampaignState.CLOSING), ["songbook"]),
        (Filters(license="MIT"), ["drill"]),
        (Filters(kind="data"), ["wells"]),
        (Filters(hands=True), []),
        (Filters(words="drawings SEED"), ["drill"]),
        (Filters(words="fur acker"), ["drill"]),
        (Filters(words="ÄCKER"), ["drill"]),
        (Filters(words="100%"), ["loom"]),
        (Filters(words="wool_by"), ["loom"]),
        (Filters(words="l_b"), ["loom"]),
        (Filters(words="w__l"), []),
        (Filters(words="alice 3"), ["wells"]),
        (Filters(words="songs loom"), []),
        (Filters(words="'; DROP TABLE campaigns --"), []),
        (Filters(words="\\"), []),
        (Filters(words="a " * 5_000), ["songbook", "wells", "loom", "drill"]),
    ],
)
def test_each_filter(paper: Paper, filters: Filters, wanted: list[str]) -> None:
    assert titles(paper, filters) == wanted


@pytest.mark.parametrize("order", Order)
def test_cursors_walk_through_all_once(paper: Paper, order: Order) -> None:
    whole, walked, after = found(paper, order=order), list[FoundCampaign](), ""
    with paper.database.reading() as session:
        while part := discovering.discover(session, Filters(), order, after, limit=1):
            walked, after = walked + part, part[-1].cursor
        assert walked == whole and len({one.cursor for one in whole}) == 4
        assert discovering.discover(session, Filters(), order, skip=2, limit=2) == whole[2:]
    assert all(a.cursor != b.cursor for a, b in pairwise(whole))


@pytest.mark.parametrize(
    "cursor", ["x", "é", "bnVsbA", "W10", "WyJuZXdlc3QiLDEsMl0", "WyJuZXdlc3QiLCIyMDI2IiwieCJd", "W" * 9_999]
)
def test_a_cursor_of_nowhere_is_refused(paper: Paper, cursor: str) -> None:
    with paper.database.reading() as session, pytest.raises(UserError, match="no place in this list"):
        discovering.discover(session, Filters(), Order.NEWEST, cursor)


def test_a_cursor_of_another_order_is_refused(paper: Paper) -> None:
    cursor = found(paper)[0].cursor
    with paper.database.reading() as session, pytest.raises(UserError):
        discovering.discover(session, Filters(), Order.FUNDED, cursor)


def test_figures_say_what_is_derived(paper: Paper) -> None:
    by_title = {one.title: one for one in found(paper)}
    loom, songs = by_title["A loom"], by_title["A songbook"]
    assert (loom.state, loom.counted_sats, loom.percent, loom.pledge_count) == (CampaignState.OPEN, 760_000, 76, 1)
    assert (songs.state, songs.percent, songs.creator_name) == (CampaignState.CLOSING, 100, "alice 4")
    with paper.database.reading() as session:
        assert figures.differing(session) == []
        assert discovering.licenses(session)[0][1] == 1


def test_figures_that_somebody_changed_are_found(paper: Paper) -> None:
    with paper.database.transaction() as session:
        session.execute(text("UPDATE campaign_figures SET pledge_count = 7 WHERE percent = 76"))
        assert len(figures.differing(session)) == 1
        session.rollback()
