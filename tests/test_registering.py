"""Refund addresses on their way to the signer: one that it refuses keeps no other one waiting; none is forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from crowdfund.campaigns import settling
from crowdfund.campaigns.models import Campaign, Pledge
from crowdfund.errors import WorldError
from crowdfund.registering import Registrar
from support.paper import Paper

COUNT = 9


class Picky:
    """A signer that refuses some indices, or some campaigns whatever they bring; it counts what it is asked."""

    def __init__(self) -> None:
        self.bad: set[int] = set()
        self.closed: set[int] = set()
        self.away = False
        self.told: dict[int, set[int]] = {}
        self.asked = 0

    def register(self, _terms: str, account: int, refunds: Mapping[int, bytes]) -> None:
        """See the client."""
        self.asked += 1
        if self.away:
            raise WorldError("The signer does not answer.")
        if account in self.closed:
            raise WorldError("The signer refuses: this account serves other terms already.", retryable=False)
        if self.bad & refunds.keys():
            raise WorldError("The signer refuses: another refund address is registered.", retryable=False)
        if refunds:
            self.told.setdefault(account, set()).update(refunds)


@pytest.fixture(scope="module")
def paper() -> Iterator[Paper]:
    with TemporaryDirectory() as folder, Paper(Path(folder)) as made:
        for _ in range(2):
            campaign = made.campaign()
            for _ in range(COUNT):
                made.pledge(campaign)
        yield made


@pytest.fixture
def fresh(paper: Paper) -> Paper:
    anew(paper)
    return paper


def anew(paper: Paper) -> None:
    with paper.database.transaction() as session:
        for pledge in session.scalars(select(Pledge)):
            pledge.registered = False


def registered(paper: Paper) -> dict[int, set[int]]:
    """Account -> indices that are noted as registered."""
    with paper.database.reading() as session:
        rows = session.execute(
            select(Campaign.account_index, Pledge.index)
            .join(Pledge, Pledge.campaign_id == Campaign.id)
            .where(Pledge.registered)
        )
        found: dict[int, set[int]] = {}
        for account, index in rows:
            found.setdefault(account or 0, set()).add(index)
        return found


def registrar(paper: Paper, signer: Any) -> Registrar:
    return Registrar(paper.database, signer)


def trouble(worker: Registrar, tip_hash: str = "tip") -> str:
    try:
        worker.keep(tip_hash)
    except WorldError as error:
        return error.sentence
    return ""


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(0, COUNT - 1)), st.integers(1, 2 * COUNT + 1))
def test_all_but_the_refused_are_registered_and_the_refused_are_told_of(
    paper: Paper, bad: set[int], at_once: int
) -> None:
    anew(paper)
    signer = Picky()
    signer.bad = bad
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settling, "REGISTERED_AT_ONCE", at_once)
        worker = registrar(paper, signer)
        told = trouble(worker)
        good = set(range(COUNT)) - bad
        wanted = {account: good for account in (0, 1) if good}
        assert registered(paper) == signer.told == wanted
        assert bool(told) == bool(bad)
        if bad:
            assert f"pledge {min(bad)} of campaign" in told and "another refund address is registered" in told
            assert f"with {2 * len(bad) - 1} more" in told
        asked = signer.asked
        assert trouble(worker) == told and signer.asked == asked, "it stands, and nobody is asked again at this tip"
        signer.bad = set()
        assert trouble(worker, "next tip") == "" and registered(paper) == {a: set(range(COUNT)) for a in (0, 1)}


def test_one_bad_pledge_costs_few_questions(fresh: Paper) -> None:
    signer = Picky()
    signer.bad = {4}
    assert "pledge 4" in trouble(registrar(fresh, signer))
    assert signer.asked <= 2 * (2 + 2 * COUNT.bit_length())


def test_a_campaign_that_is_refused_as_a_whole_is_not_taken_apart(fresh: Paper) -> None:
    signer = Picky()
    signer.closed = {0}
    told = trouble(registrar(fresh, signer))
    assert "pledge 0 of campaign" in told and "serves other terms" in told and f"with {COUNT - 1} more" in told
    assert registered(fresh) == {1: set(range(COUNT))} and signer.asked == 3


def test_a_signer_that_is_away_is_not_taken_for_one_that_refuses(fresh: Paper) -> None:
    signer = Picky()
    signer.away = True
    worker = registrar(fresh, signer)
    assert trouble(worker) == "The signer does not answer." and signer.asked == 1
    signer.away = False
    assert trouble(worker) == "" and registered(fresh) == {a: set(range(COUNT)) for a in (0, 1)}


def test_new_pledges_do_not_wait_for_refused_ones(fresh: Paper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "REGISTERED_AT_ONCE", 2)
    signer = Picky()
    signer.bad = set(range(COUNT))
    worker = registrar(fresh, signer)
    assert trouble(worker) and registered(fresh) == {}
    campaign = fresh.campaign(title="A third")
    signer.bad -= {0}  # the first of the new one; the old ones are not asked about at this tip
    fresh.pledge(campaign)
    assert "not registered" in trouble(worker) and registered(fresh) == {2: {0}}


def test_without_a_signer_here_nothing_is_asked(fresh: Paper) -> None:
    assert trouble(registrar(fresh, None)) == "" and registered(fresh) == {}
