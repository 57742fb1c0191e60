"""The figures of lists are what is derived, whatever happens; and lines say what rows say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from crowdfund.campaigns import attempts, figures, lines, queries, settling
from crowdfund.campaigns.figure_models import CampaignFigures
from crowdfund.campaigns.models import Coin, Pledge
from crowdfund.campaigns.overview import own_share
from crowdfund.chain.follow import FoundCoin, FoundSpend
from support.paper import Paper, coin
from support.postgres import DATABASES, database_of

STEPS = 36
AMOUNTS = (999, 40_000, 90_000, 200_000)


@pytest.fixture(params=DATABASES)
def paper(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Paper]:
    with database_of(request.param, tmp_path / "deep") as url, Paper(tmp_path, 2, database_url=url) as made:
        yield made


class Tale:
    """What happens on a chain of paper, by chance: payments, blocks, reorganisations, endings, settlements."""

    def __init__(self, paper: Paper, chance: Random) -> None:
        self.paper, self.chance = paper, chance
        self.campaigns = [paper.campaign(goal_sats=300_000), paper.campaign(goal_sats=200_000, cap_sats=250_000)]
        self.pledges = [paper.pledge(campaign, 40_000) for campaign in self.campaigns for _ in range(3)]
        self.number = 0
        self.waiting: list[FoundCoin] = []
        paper.mine(blocks=20)
        self.made: list[FoundCoin] = []

    def step(self) -> None:
        """One thing more."""
        chance, self.number = self.chance, self.number + 1
        if self.number == STEPS // 2:  # what is not over by now comes to its end
            self.paper.mine(blocks=max(1, 165 - self.paper.tip), branch=str(self.number))
        deed = chance.choice(("pay", "pay", "mine", "mine", "blocks", "fork", "lose", "settle", "send", "steal"))
        if deed == "pay":
            self.waiting.append(self.payment())
            self.paper.mempool(self.waiting)
        elif deed == "mine":
            took = self.waiting[:2]
            fresh = [self.payment(coinbase=True)] if chance.random() < 0.2 else []
            self.paper.mine([*took, *fresh], branch=str(self.number))
            self.waiting, self.made = self.waiting[2:], self.made + took
        elif deed == "blocks":
            self.paper.mine(blocks=chance.choice((1, 9, 20)), branch=str(self.number))
        elif deed == "fork" and self.paper.tip > 110:
            self.paper.fork(chance.randint(1, 4))
        elif deed == "lose":
            self.waiting = self.waiting[1:]
            self.paper.mempool(self.waiting)
        elif deed == "settle":
            self.settle()
        elif deed == "send":
            self.spend(ours=True)
        elif deed == "steal" and chance.random() < 0.2:
            self.spend(ours=False)

    def payment(self, coinbase: bool = False) -> FoundCoin:
        return coin(self.chance.choice(self.pledges), self.chance.choice(AMOUNTS), f"t{self.number}", coinbase=coinbase)

    def settle(self) -> None:
        """As the worker does at a tip."""
        for campaign_id in self.campaigns:
            with self.paper.database.transaction() as session:
                settling.decide_campaign(session, campaign_id, 2)
            with self.paper.database.transaction() as session:
                settling.plan_campaign(session, campaign_id, 2)

    def spend(self, ours: bool) -> None:
        """A block that holds a settlement, or a theft."""
        with self.paper.database.reading() as session:
            jobs = [attempts.job(session, batch_id) for batch_id in attempts.open_batches(session)]
        if ours and jobs:
            job = self.chance.choice(jobs)
            spends = [FoundSpend(i.txid, i.vout, job.txid) for i in job.tx.inputs]
            self.paper.mine(spends=spends, branch=str(self.number))
        elif not ours and self.made:
            stolen = self.made[0]
            self.paper.mine(
                spends=[FoundSpend(stolen.txid, stolen.vout, f"{self.number:064x}")], branch=str(self.number)
            )


def compare(session: Session, campaign_id: str, pledges: list[Pledge]) -> None:
    """Rows, lines, a pledge's own snapshot and the stored figures must all say the same."""
    rows, plain = queries.load(session, campaign_id), lines.load(session, campaign_id)
    assert queries.summarise(rows) == queries.summarise(plain)
    assert own_share(rows) == own_share(plain) and rows.over_cap == plain.over_cap
    assert queries.settlement_preview(rows, 3) == queries.settlement_preview(plain, 3)
    assert [rows.batch_state(b) for b in rows.batches] == [plain.batch_state(b) for b in plain.batches]
    said = {p.id: queries.pledge_summary(plain, p) for p in plain.pledges}
    for pledge in rows.pledges:
        assert queries.pledge_summary(rows, pledge) == said[pledge.id]
        assert [rows.shown_bucket(c) for c in pledge.coins] == [
            plain.shown_bucket(c) for c in said_coins(plain, pledge)
        ]
    for pledge in pledges:
        own, found = queries.load_by_pledge(session, pledge.id)
        if pledge.id in said:
            assert queries.pledge_summary(own, found) == said[pledge.id]
            assert own.cap_reached == rows.cap_reached
    stored = session.get_one(CampaignFigures, campaign_id)
    summary = queries.summarise(rows)
    assert (stored.state, stored.counted_sats, stored.seen_sats, stored.pledge_count) == (
        summary.state, summary.counted_sats, summary.seen_sats, summary.pledge_count,
    )  # fmt: skip


def said_coins(snapshot: queries.Snapshot, pledge: Pledge) -> list[Coin]:
    """The same pledge's coins in another snapshot."""
    return next(p.coins for p in snapshot.pledges if p.id == pledge.id)


@pytest.mark.parametrize("seed", range(2))
def test_after_every_step_all_say_the_same(paper: Paper, seed: int) -> None:
    tale, states = Tale(paper, Random(seed)), set[str]()
    for _ in range(STEPS):
        tale.step()
        with paper.database.transaction() as session:
            figures.keep(session)
            assert figures.differing(session) == []
            for campaign_id in tale.campaigns:
                own = [pledge for pledge in tale.pledges if pledge.campaign_id == campaign_id]
                compare(session, campaign_id, own)
                states.add(session.get_one(CampaignFigures, campaign_id).state)
    assert len(states) > 1, "a tale in which nothing ends says little"


def test_rows_come_back_from_facts(paper: Paper) -> None:
    campaign_id = paper.campaign()
    paper.mine([coin(paper.pledge(campaign_id), 100_000)])
    with paper.database.transaction() as session:
        figures.forget_all(session)
        assert figures.differing(session) == [campaign_id]
    assert (figures.fill(paper.database), figures.fill(paper.database)) == (1, 0)
    with paper.database.reading() as session:
        assert session.get_one(CampaignFigures, campaign_id).counted_sats == 100_000
        assert figures.differing(session) == []


def test_a_large_campaign_is_not_derived_at_each_payment(paper: Paper, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes long waits, and is made up for later; what was touched stays marked until then."""
    campaign_id, now = paper.campaign(), [100.0]
    pledge, keeper = paper.pledge(campaign_id), figures.Keeper()
    monkeypatch.setattr("crowdfund.campaigns.figures.time.monotonic", lambda: now[0])
    refresh = figures.refresh

    def slow(session: Session, each: str) -> bool:
        now[0] += 2.0
        return refresh(session, each)

    monkeypatch.setattr(figures, "refresh", slow)

    def kept(name: str) -> tuple[bool, int]:
        paper.mempool([coin(pledge, 50_000, name)])
        with paper.database.transaction() as session:
            return keeper.keep(session), session.get_one(CampaignFigures, campaign_id).seen_sats

    assert kept("a") == (True, 50_000)
    paper.mine([coin(pledge, 50_000, "a")])
    assert kept("b")[0] is False
    now[0] += 2.0 * figures.SPARED
    with paper.database.transaction() as session:
        assert keeper.keep(session) is True
        assert figures.differing(session) == [] and figures.touched(session) == []


@pytest.mark.parametrize(
    "change",
    [
        "percent = 7", "state = 'draft'", "seen_sats = -1", "pledge_count = -1", "goal_sats = 2", "search = 'x'",
        "published_at = '2020-01-01 00:00:00'", "state = 'closing', is_full = TRUE",
    ],
)  # fmt: skip
def test_what_no_figure_can_be_is_refused(paper: Paper, change: str) -> None:
    paper.campaign()
    with pytest.raises(IntegrityError), paper.database.transaction() as session:
        session.execute(text(f"UPDATE campaign_figures SET {change}"))


def test_texts_are_searched_without_case_and_accents() -> None:
    assert figures.plain("  Größe \n ÉTÉ ﬁn ") == "grosse ete fin"
