"""What shows where coins are is kept of every block, however many coins it holds, and replaced when it moves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from crowdfund import proving
from crowdfund.campaigns import evidence
from crowdfund.campaigns.models import Pledge
from crowdfund.chain.inclusion import Inclusion
from crowdfund.errors import WorldError
from crowdfund.proving import Prover
from crowdfund.wallet.blocks import merkle_root
from crowdfund.wallet.headers import Header
from crowdfund.wallet.merkle import branches_of
from support.paper import Paper, coin, txid
from support.simchain import SimChain


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[Paper]:
    with Paper(tmp_path) as made:
        yield made


class Blocks:
    """What a server tells of blocks: it knows all but those at the heights that are `missing`, and of a `damaged` one
    it tells branches that lead elsewhere."""

    def __init__(self, paper: Paper) -> None:
        self.paper, self.txids, self.branch = paper, dict[int, list[str]](), ""
        self.missing, self.damaged = set[int](), set[int]()

    def mine(self, pledge: Pledge, names: str) -> list[tuple[str, int]]:
        """A block with a coin for each name; returns (name, height) of each."""
        self.paper.mine([coin(pledge, 50_000, name) for name in names], branch=self.branch)
        self.txids[self.paper.tip] = [txid(name) for name in names]
        return [(name, self.paper.tip) for name in names]

    def inclusions(self, _backend: object, items: Iterable[tuple[str, int]]) -> list[Inclusion]:
        """In the place of `proving.inclusions`."""
        found = []
        for name, height in items:
            if height in self.missing:
                raise WorldError("The server has no such block.")
            txids = self.txids[height]
            place = txids.index(name)
            branch = branches_of([*reversed(txids)] if height in self.damaged else txids, [place])[place]
            found.append(Inclusion(name, height, b"raw %d" % height, branch, place))
        return found

    def header(self, raw: bytes) -> Header:
        """In the place of `proving.read_header`; `raw` is the height."""
        height = int(raw)
        return Header(self.paper.ref(height, self.branch).hash, "", merkle_root(self.txids[height]), 0, 0)


@pytest.fixture
def blocks(paper: Paper, monkeypatch: pytest.MonkeyPatch) -> Blocks:
    """Two coins are looked for at once."""
    made = Blocks(paper)
    monkeypatch.setattr(proving, "inclusions", made.inclusions)
    monkeypatch.setattr(proving, "headers_from", lambda _backend, height, _last: b"%d" % height)
    monkeypatch.setattr(proving, "read_header", made.header)
    monkeypatch.setattr(evidence, "AT_ONCE", 2)
    return made


def held(paper: Paper, items: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
    """Those of these (name, height) that are kept."""
    with paper.database.reading() as session:
        found = evidence.held(session, [(txid(name), height) for name, height in items])
    return {(name, height) for name, height in items if (txid(name), height) in found}


def keep(paper: Paper, tip: str) -> None:
    Prover(paper.database, SimChain(0)).keep(tip)


def test_every_coin_of_a_full_block_is_kept_at_once(paper: Paper, blocks: Blocks) -> None:
    pledge = paper.pledge(paper.campaign())
    items = blocks.mine(pledge, "abcde") + blocks.mine(pledge, "fg")
    keep(paper, "tip")
    assert held(paper, items) == set(items)
    with paper.database.reading() as session:
        (one,) = evidence.held(session, [(txid("d"), paper.tip - 1)]).values()
    assert one == blocks.inclusions(None, [(txid("d"), paper.tip - 1)])[0]


@pytest.mark.parametrize("fault", ["missing", "damaged"])
def test_what_does_not_come_well_holds_nothing_up_and_is_kept_later(paper: Paper, blocks: Blocks, fault: str) -> None:
    pledge = paper.pledge(paper.campaign())
    first, second = blocks.mine(pledge, "abcd"), blocks.mine(pledge, "e")
    getattr(blocks, fault).add(paper.tip - 1)
    prover = Prover(paper.database, SimChain(0))
    prover.keep("tip")
    assert held(paper, [*first, *second]) == set(second)
    getattr(blocks, fault).clear()
    prover.keep("next tip")
    assert held(paper, first) == set(first)


def test_a_coin_that_another_block_holds_is_shown_there(paper: Paper, blocks: Blocks) -> None:
    pledge = paper.pledge(paper.campaign())
    before = blocks.mine(pledge, "abc")
    keep(paper, "tip")
    paper.fork(1)
    blocks.branch = "other"
    paper.mine(branch="other")
    after = blocks.mine(pledge, "ab")
    assert held(paper, [*before, *after]) == set()
    keep(paper, "another tip")
    assert held(paper, [*before, *after]) == set(after)


def test_nothing_is_kept_of_another_block_than_the_recorded_one(paper: Paper, blocks: Blocks) -> None:
    items = blocks.mine(paper.pledge(paper.campaign()), "ab")
    blocks.branch = "other"  # the server is there already
    keep(paper, "tip")
    assert held(paper, items) == set()
