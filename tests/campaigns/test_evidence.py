"""What shows where coins are is kept of every block, however many coins it holds, and replaced when it moves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from crowdfund import proving
from crowdfund.campaigns import evidence
from crowdfund.chain.inclusion import Inclusion
from crowdfund.errors import WorldError
from crowdfund.proving import Prover
from support.paper import Paper, coin, txid
from support.simchain import SimChain


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[Paper]:
    with Paper(tmp_path) as made:
        yield made


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Heights whose blocks the server lacks; of all others it knows every transaction."""
    heights: set[int] = set()

    def inclusions(_backend: object, items: Iterable[tuple[str, int]]) -> list[Inclusion]:
        wanted = list(items)
        if any(height in heights for _, height in wanted):
            raise WorldError("The server has no such block.")
        return [Inclusion(name, height, b"raw %d" % height, ("ab" * 32, "cd" * 32), 2) for name, height in wanted]

    monkeypatch.setattr(proving, "inclusions", inclusions)
    monkeypatch.setattr(evidence, "AT_ONCE", 2)
    return heights


def held(paper: Paper, *items: tuple[str, int]) -> set[tuple[str, int]]:
    """Those of these (name, height) that are kept, each as the server told it."""
    with paper.database.reading() as session:
        found = evidence.held(session, [(txid(name), height) for name, height in items])
    for (name, height), one in found.items():
        assert one == Inclusion(name, height, b"raw %d" % height, ("ab" * 32, "cd" * 32), 2)
    return {(name, height) for name, height in items if (txid(name), height) in found}


def test_every_coin_of_a_full_block_is_kept_at_once(paper: Paper, missing: set[int]) -> None:
    pledge = paper.pledge(paper.campaign())
    paper.mine([coin(pledge, 50_000, name) for name in "abcde"])
    paper.mine([coin(pledge, 50_000, name) for name in "fg"])
    items = [*((name, paper.tip - 1) for name in "abcde"), *((name, paper.tip) for name in "fg")]
    Prover(paper.database, SimChain(0)).keep("tip")
    assert held(paper, *items) == set(items)


def test_what_a_server_lacks_now_holds_nothing_up_and_is_kept_later(paper: Paper, missing: set[int]) -> None:
    pledge = paper.pledge(paper.campaign())
    paper.mine([coin(pledge, 50_000, name) for name in "abc"])
    paper.mine([coin(pledge, 50_000, "d")])
    first = [(name, paper.tip - 1) for name in "abc"]
    missing.add(paper.tip - 1)
    prover = Prover(paper.database, SimChain(0))
    prover.keep("tip")
    assert held(paper, *first, ("d", paper.tip)) == {("d", paper.tip)}
    missing.clear()
    prover.keep("next tip")
    assert held(paper, *first) == set(first)


def test_a_coin_that_another_block_holds_is_shown_there(paper: Paper, missing: set[int]) -> None:
    pledge = paper.pledge(paper.campaign())
    paper.mine([coin(pledge, 50_000, name) for name in "abc"])
    before = [(name, paper.tip) for name in "abc"]
    prover = Prover(paper.database, SimChain(0))
    prover.keep("tip")
    paper.fork(1)
    paper.mine(branch="other")
    paper.mine([coin(pledge, 50_000, name) for name in "ab"], branch="other")
    after = [(name, paper.tip) for name in "ab"]
    assert held(paper, *before, *after) == set()
    prover.keep("another tip")
    assert held(paper, *before, *after) == set(after)
