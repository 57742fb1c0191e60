"""Writing down what the chain did: facts appear, go and come back, and no coin is forgotten or counted twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from crowdfund.campaigns import recording
from crowdfund.campaigns.models import Block, ChainView, Coin, Pledge
from crowdfund.campaigns.recording import RecordedChain, RecordedWatch, closing_block, is_news, set_view
from crowdfund.chain.follow import BlockFacts, Changes, FoundSpend
from support.paper import BLOCK_TIME, START, Paper, coin


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[Paper]:
    with Paper(tmp_path) as made:
        yield made


@pytest.fixture
def pledge(paper: Paper) -> Pledge:
    return paper.pledge(paper.campaign())


def rows(paper: Paper) -> list[tuple[int, int | None, bool, str | None]]:
    with paper.database.reading() as session:
        found = session.scalars(select(Coin).order_by(Coin.id)).all()
        return [(c.value_sats, c.height, c.in_mempool, c.spent_by) for c in found]


def test_a_coin_goes_from_the_mempool_into_a_block(paper: Paper, pledge: Pledge) -> None:
    paid = coin(pledge, 5_000)
    paper.mempool([paid])
    assert rows(paper) == [(5_000, None, True, None)]
    paper.mine([paid])
    assert rows(paper) == [(5_000, 101, False, None)]
    paper.mempool([])
    assert rows(paper) == [(5_000, 101, False, None)]
    paper.mempool([paid])
    assert rows(paper) == [(5_000, 101, False, None)], "a block counts for more than a mempool"


def test_a_coin_that_leaves_the_mempool_is_gone_and_comes_back(paper: Paper, pledge: Pledge) -> None:
    paid = coin(pledge, 5_000)
    paper.mempool([paid])
    paper.mempool([])
    assert rows(paper) == [(5_000, None, False, None)]
    paper.mempool([paid])
    assert rows(paper) == [(5_000, None, True, None)]
    paper.mempool([], txids=[paid.txid])
    assert rows(paper) == [(5_000, None, True, None)], "seen before, and still there"


def test_two_outputs_of_one_transaction_are_two_coins(paper: Paper, pledge: Pledge) -> None:
    both = [coin(pledge, 5_000), coin(pledge, 6_000, vout=1)]
    paper.mempool(both)
    paper.mine(both)
    assert [r[:2] for r in rows(paper)] == [(5_000, 101), (6_000, 101)]


def test_a_reorganisation_takes_coins_and_spends_back(paper: Paper, pledge: Pledge) -> None:
    first, second = coin(pledge, 5_000), coin(pledge, 6_000, "b")
    paper.mine([first])
    paper.mine([second], [FoundSpend(first.txid, 0, "spender")])
    assert rows(paper) == [(5_000, 101, False, "spender"), (6_000, 102, False, None)]
    paper.fork(1)
    assert rows(paper) == [(5_000, 101, False, None), (6_000, None, False, None)]
    paper.mine([second], branch="other")
    assert rows(paper) == [(5_000, 101, False, None), (6_000, 102, False, None)]
    paper.fork(2)
    assert rows(paper) == [(5_000, None, False, None), (6_000, None, False, None)]


def test_a_coin_made_and_spent_in_one_block(paper: Paper, pledge: Pledge) -> None:
    paid = coin(pledge, 5_000)
    paper.mine([paid], [FoundSpend(paid.txid, 0, "spender")])
    assert rows(paper) == [(5_000, 101, False, "spender")]


def test_a_reorganisation_and_its_new_blocks_are_one_write(paper: Paper, pledge: Pledge) -> None:
    """The coin moves by one block; the mempool of that moment no longer holds it."""
    paid = coin(pledge, 5_000)
    paper.mine([paid])
    facts = (
        BlockFacts(paper.ref(101, "other"), (), ()),
        BlockFacts(paper.ref(102, "other"), (paid,), ()),
    )
    paper.write(Changes(100, facts, (), frozenset(), 102, True))
    assert rows(paper) == [(5_000, 102, False, None)]
    with paper.database.reading() as session:
        chain = RecordedChain(session)
        assert [chain.hash_at(h) for h in (100, 101, 102, 103)] == [
            paper.ref(100).hash,
            paper.ref(101, "other").hash,
            paper.ref(102, "other").hash,
            None,
        ]
        assert chain.tip() == paper.ref(102, "other")


def test_our_scripts_and_coins_are_found_among_many(paper: Paper, pledge: Pledge) -> None:
    paid = coin(pledge, 5_000)
    paper.mine([paid])
    noise = {n.to_bytes(22, "big") for n in range(12_000)}
    with paper.database.reading() as session:
        watch = RecordedWatch(session)
        script = bytes(pledge.script or b"")
        assert watch.scripts_among(noise | {script}) == {script}
        assert watch.scripts_among(set()) == set()
        many = {(f"{n:064x}", 0) for n in range(12_000)}
        assert watch.coins_among(many | {(paid.txid, 0), (paid.txid, 1)}) == {(paid.txid, 0)}
        later = paper.pledge(pledge.campaign_id)
        assert watch.scripts_among({bytes(later.script or b"")}), "each question reads the newest state"


def test_only_what_changes_is_news(paper: Paper, pledge: Pledge) -> None:
    paid = coin(pledge, 5_000)

    def news(changes: Changes) -> bool:
        with paper.database.reading() as session:
            return is_news(session, changes)

    quiet = Changes(None, (), (), frozenset({"t"}), paper.tip, True)
    assert not news(quiet)
    assert news(Changes(None, (), (paid,), frozenset({paid.txid}), paper.tip, True))
    assert news(Changes(99, (), (), frozenset(), paper.tip, True))
    assert news(Changes(None, (BlockFacts(paper.ref(101), (), ()),), (), frozenset(), 101, False))
    paper.mempool([paid])
    assert not news(Changes(None, (), (), frozenset({paid.txid}), paper.tip, True))
    assert news(quiet), "an unconfirmed coin has left"
    assert not news(Changes(None, (), (), frozenset(), paper.tip, False)), "while catching up nobody looked"


def test_the_closing_block_is_the_first_after_the_deadline(paper: Paper) -> None:
    deadline = START + 5 * BLOCK_TIME

    def closing() -> Block | None:
        with paper.database.reading() as session:
            return closing_block(session, deadline)

    paper.mine(blocks=5)
    assert closing() is None, "a median time past equal to the deadline is not later"
    paper.mine()
    found = closing()
    assert found is not None and found.height == 106
    paper.mine(blocks=3)
    later = closing()
    assert later is not None and later.height == 106
    paper.fork(4)
    assert closing() is None


def test_the_view_counts_what_a_page_could_show(paper: Paper) -> None:
    def view() -> tuple[str, str, int, int]:
        with paper.database.reading() as session:
            row = session.get_one(ChainView, 1)
            return row.state, row.trouble, row.feerate_sat_vb, row.changes

    def show(state: str, trouble: str, feerate: int | None) -> None:
        with paper.database.transaction() as session:
            set_view(session, state, trouble, feerate, datetime.now(UTC) + timedelta(seconds=1))

    before = view()[3]
    show("live", "", None)
    assert view() == ("live", "", 2, before), "nothing to show, and the feerate is kept"
    show("node unreachable", "", 9)
    assert view() == ("node unreachable", "", 9, before + 1)
    show("live", "trouble", None)
    assert view() == ("live", "trouble", 9, before + 2)
    paper.mine()
    assert view()[3] == before + 3


def test_a_failed_write_changes_nothing(paper: Paper, pledge: Pledge, monkeypatch: pytest.MonkeyPatch) -> None:
    paper.mine([coin(pledge, 5_000)])
    before = rows(paper)

    def torn(*_: object) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr(recording, "_record_mempool", torn)
    facts = (BlockFacts(paper.ref(101, "other"), (coin(pledge, 7_000, "c"),), ()),)
    with pytest.raises(RuntimeError, match="power cut"):
        paper.write(Changes(100, facts, (), frozenset(), 101, True))
    assert rows(paper) == before
    with paper.database.reading() as session:
        assert RecordedChain(session).tip() == paper.ref(101)
