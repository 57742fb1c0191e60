"""What comes in from outside: whatever the chain does, a coin's entries sum to its value or to nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import select

from crowdfund.campaigns import recording
from crowdfund.campaigns.ledger import OUTSIDE
from crowdfund.campaigns.ledger_models import Transfer
from crowdfund.campaigns.models import Coin, Pledge
from crowdfund.chain.follow import BlockFacts, Changes, FoundCoin, FoundSpend, Rival
from support.paper import Paper, coin, txid

Entry = tuple[int, int, str]


@pytest.fixture
def paper(tmp_path: Path, database_url: str) -> Iterator[Paper]:
    with Paper(tmp_path, database_url=database_url) as made:
        yield made


@pytest.fixture
def pledge(paper: Paper) -> Pledge:
    return paper.pledge(paper.campaign())


def entries(paper: Paper) -> dict[str, list[Entry]]:
    """The entries of each coin, by its transaction, in the order in which they were made."""
    with paper.database.reading() as session:
        found: dict[str, list[Entry]] = {each.txid: [] for each in session.scalars(select(Coin))}
        rows = session.execute(select(Coin.txid, Transfer).join(Coin).order_by(Transfer.id))
        for name, moved in rows:
            if OUTSIDE in (moved.from_account, moved.to_account):
                sign = 1 if moved.from_account == OUTSIDE else -1
                found[name].append((sign * moved.amount_sats, moved.height, moved.block_hash))
        return found


def test_each_confirmation_is_an_entry_and_losing_it_a_contra_entry(paper: Paper, pledge: Pledge) -> None:
    paid = coin(pledge, 5_000)
    first, other = paper.ref(101), paper.ref(101, "other")
    paper.mempool([paid])
    assert entries(paper) == {paid.txid: []}
    paper.mine([paid])
    expected = [(5_000, 101, first.hash)]
    assert entries(paper) == {paid.txid: expected}
    paper.mine(blocks=2)
    paper.fork(3)
    expected.append((-5_000, 101, first.hash))
    assert entries(paper) == {paid.txid: expected}
    paper.mine([paid], [FoundSpend(paid.txid, 0, "spender")], branch="other")
    expected.append((5_000, 101, other.hash))
    assert entries(paper) == {paid.txid: expected}, "a spend is none of its business"


def test_a_coin_that_moves_to_another_block_in_one_write_has_both_entries(paper: Paper, pledge: Pledge) -> None:
    paid = coin(pledge, 5_000)
    paper.mine([paid])
    paper.write(Changes(100, (BlockFacts(paper.ref(101, "other"), (paid,), ()),), (), 101, True))
    old, new = paper.ref(101).hash, paper.ref(101, "other").hash
    assert entries(paper)[paid.txid] == [(5_000, 101, old), (-5_000, 101, old), (5_000, 101, new)]


def test_the_same_block_told_again_makes_no_entry(paper: Paper, pledge: Pledge) -> None:
    paid = coin(pledge, 5_000)
    paper.mine([paid])
    with paper.database.transaction() as session:
        recording.record_late(session, [BlockFacts(paper.ref(101), (paid,), ())], datetime.now(UTC))
    with paper.database.transaction() as session:
        recording.record_late(session, [BlockFacts(paper.ref(101, "other"), (paid,), ())], datetime.now(UTC))
    old, new = paper.ref(101).hash, paper.ref(101, "other").hash
    assert entries(paper)[paid.txid] == [(5_000, 101, old), (-5_000, 101, old), (5_000, 101, new)]


def test_a_coin_of_nothing_has_no_entries(paper: Paper, pledge: Pledge) -> None:
    nothing = coin(pledge, 0)
    paper.mine([nothing])
    paper.fork(1)
    assert entries(paper) == {nothing.txid: []}


@dataclass
class Known:
    """A coin of the made-up chain; a freshly mined one is lost for ever with its block."""

    found: FoundCoin
    height: int | None = None
    dead: bool = field(default=False)


class Journal(RuleBasedStateMachine):
    """Everything that `record` can be told, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.paper = Paper(Path(self.folder.name))
        self.pledge = self.paper.pledge(self.paper.campaign())
        self.coins: list[Known] = []
        self.seen: dict[str, list[Entry]] = {}
        self.branch = 0

    def teardown(self) -> None:
        self.paper.__exit__()
        self.folder.cleanup()

    def new(self, value_sats: int, coinbase: bool = False) -> Known:
        name = f"tx {len(self.coins)}"
        inputs = [] if coinbase else [(txid(f"before {name}"), 0)]
        self.coins.append(Known(coin(self.pledge, value_sats, name, coinbase=coinbase, inputs=inputs)))
        return self.coins[-1]

    def waiting(self) -> list[Known]:
        return [c for c in self.coins if c.height is None and not c.dead]

    def facts(self, height: int, chosen: Sequence[Known], lost: Sequence[Known] = ()) -> BlockFacts:
        for each in chosen:
            each.height = height
        rivals = tuple(Rival(c.found.txid, txid(f"rival {c.found.txid}"), height) for c in lost)
        coins = tuple(c.found for c in chosen)
        return BlockFacts(self.paper.ref(height, str(self.branch)), coins, (), rivals)

    @rule(value=st.integers(0, 10_000))
    def see(self, value: int) -> None:
        self.paper.mempool([*(c.found for c in self.waiting()), self.new(value).found])

    @precondition(lambda self: self.waiting())
    @rule(data=st.data())
    def miss(self, data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from(self.waiting())).found.txid
        here = {c.found.txid for c in self.waiting()} - {gone}
        rivals = [Rival(gone, txid("rival"), None)] if data.draw(st.booleans()) else []
        self.paper.mempool([], txids=here, rivals=rivals)

    @rule(data=st.data(), fresh=st.booleans(), value=st.integers(0, 10_000))
    def mine(self, data: st.DataObject, fresh: bool, value: int) -> None:
        chosen = [c for c in self.waiting() if data.draw(st.booleans())]
        chosen += [self.new(value, coinbase=True)] if fresh else []
        lost = [c for c in self.waiting() if c not in chosen and data.draw(st.booleans())]
        self.paper.tip += 1
        self.paper.write(Changes(None, (self.facts(self.paper.tip, chosen, lost),), (), self.paper.tip, True))

    @precondition(lambda self: self.paper.tip > 101)
    @rule(data=st.data(), depth=st.integers(1, 4), growth=st.integers(0, 3))
    def reorganise(self, data: st.DataObject, depth: int, growth: int) -> None:
        """In one write: blocks are lost, and others come with some of the coins."""
        fork = max(100, self.paper.tip - depth)
        for each in self.coins:
            if each.height is not None and each.height > fork:
                each.height, each.dead = None, each.found.coinbase
        self.branch += 1
        blocks = []
        for height in range(fork + 1, fork + growth + 1):
            blocks.append(self.facts(height, [c for c in self.waiting() if data.draw(st.booleans())]))
        self.paper.tip = fork + growth
        self.paper.write(Changes(fork, tuple(blocks), (), self.paper.tip, True))

    @precondition(lambda self: self.waiting())
    @rule(data=st.data())
    def tell_late(self, data: st.DataObject) -> None:
        each = data.draw(st.sampled_from(self.waiting()))
        height = data.draw(st.integers(100, self.paper.tip))
        with self.paper.database.reading() as session:
            held = recording.RecordedChain(session).hash_at(height)
        each.height = height
        ref = self.paper.ref(height)
        facts = BlockFacts(type(ref)(height, held or "", "", 0, 0), (each.found,), ())
        self.paper.write(Changes(None, (), (), self.paper.tip, True, late=(facts,)))

    @invariant()
    def the_entries_say_what_is_confirmed(self) -> None:
        found = entries(self.paper)
        assert found.keys() == {c.found.txid for c in self.coins}
        for each in self.coins:
            own = found[each.found.txid]
            assert sum(sats for sats, _, _ in own) == (each.found.value_sats if each.height is not None else 0)
            assert own[: len(self.seen.get(each.found.txid, []))] == self.seen.get(each.found.txid, [])
            for (before, *was), (after, *now) in pairwise(own):
                assert after == -before and (was == now if after < 0 else True), "an entry, its contra entry, and so on"
            if each.height is not None and own:
                assert own[-1][:2] == (each.found.value_sats, each.height)
        self.seen = found

    @invariant()
    def the_rows_say_the_same(self) -> None:
        with self.paper.database.reading() as session:
            rows = {c.txid: c.height for c in session.scalars(select(Coin))}
        assert rows == {c.found.txid: c.height for c in self.coins}


TestJournal = Journal.TestCase
TestJournal.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)
