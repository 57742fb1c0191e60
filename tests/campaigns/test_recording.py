"""Writing down what the chain did: facts appear, go and come back, and no coin is forgotten or counted twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, func, select, text

from crowdfund.campaigns import queries, recording
from crowdfund.campaigns.models import Block, ChainView, Coin, PaymentInput, Pledge, RivalRow, WatchedScript
from crowdfund.campaigns.recording import RecordedChain, RecordedWatch, set_view
from crowdfund.campaigns.tip import closing_block
from crowdfund.chain.follow import BlockFacts, Changes, FoundSpend, Rival
from crowdfund.chain.scan import outpoint_key
from support.paper import BLOCK_TIME, START, Paper, coin, txid


@pytest.fixture
def paper(tmp_path: Path, database_url: str) -> Iterator[Paper]:
    with Paper(tmp_path, database_url=database_url) as made:
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
    paper.write(Changes(100, facts, (), 102, True))
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

    monkeypatch.setattr(recording, "tell_pages", torn)
    facts = (BlockFacts(paper.ref(101, "other"), (coin(pledge, 7_000, "c"),), ()),)
    with pytest.raises(RuntimeError, match="power cut"):
        paper.write(Changes(100, facts, (), 101, True))
    assert rows(paper) == before
    with paper.database.reading() as session:
        assert RecordedChain(session).tip() == paper.ref(101)


def rivals(paper: Paper) -> dict[str, tuple[str, int | None]]:
    with paper.database.reading() as session:
        return {row.txid: (row.by, row.height) for row in session.scalars(select(RivalRow))}


def state_of(paper: Paper, pledge: Pledge) -> str:
    with paper.database.reading() as session:
        return queries.pledge_summary(*queries.load_by_pledge(session, pledge.id)).state


def test_a_payment_replaced_in_the_mempool_comes_back(paper: Paper, pledge: Pledge) -> None:
    paid = coin(pledge, 5_000)
    paper.mempool([paid])
    paper.mempool([], rivals=[Rival(paid.txid, txid("rival"), None)])
    assert rows(paper) == [(5_000, None, False, None)] and state_of(paper, pledge) == "replaced"
    paper.mempool([paid])
    assert rivals(paper) == {} and state_of(paper, pledge) == "seen"
    paper.mempool([])
    assert state_of(paper, pledge) == "evicted"


def test_a_double_spend_in_a_block_stays_until_its_block_is_undone(paper: Paper, pledge: Pledge) -> None:
    paid = coin(pledge, 5_000)
    lost = Rival(paid.txid, txid("rival"), 101)
    paper.mempool([paid])
    paper.mine(rivals=[lost])
    assert rows(paper) == [(5_000, None, False, None)] and state_of(paper, pledge) == "double_spent"
    paper.mempool([], rivals=[Rival(paid.txid, txid("another"), None)])
    assert rivals(paper) == {paid.txid: (txid("rival"), 101)}, "what a block holds counts for more"
    paper.fork(1)
    assert rivals(paper) == {paid.txid: (txid("rival"), None)} and state_of(paper, pledge) == "replaced"
    paper.mine([paid], branch="other")
    assert rivals(paper) == {} and rows(paper) == [(5_000, 101, False, None)]


def test_a_reorganisation_can_turn_a_confirmed_payment_into_a_double_spend_and_back(
    paper: Paper, pledge: Pledge
) -> None:
    paid = coin(pledge, 50_000)
    paper.mine([paid])
    paper.tip -= 1
    block = BlockFacts(paper.ref(101, "other"), (), (), (Rival(paid.txid, txid("rival"), 101),))
    paper.write(Changes(100, (block,), (), 101, True))
    assert state_of(paper, pledge) == "double_spent"
    paper.write(Changes(100, (BlockFacts(paper.ref(101), (paid,), ()),), (), 101, True))
    assert state_of(paper, pledge) == "short" and rivals(paper) == {}
    paper.mempool([], rivals=[Rival(paid.txid, txid("rival"), None)])
    assert rivals(paper) == {}, "a payment that a block holds has no rival"


def test_a_second_rival_in_the_mempool_takes_the_place_of_the_first(paper: Paper, pledge: Pledge) -> None:
    paid = coin(pledge, 5_000)
    paper.mempool([paid])
    for name in ("first", "second"):
        paper.mempool([], rivals=[Rival(paid.txid, txid(name), None)])
        assert rivals(paper) == {paid.txid: (txid(name), None)}
    paper.mine(rivals=[Rival(paid.txid, txid("third"), 101)])
    assert rivals(paper) == {paid.txid: (txid("third"), 101)}


def test_a_rival_of_one_payment_says_nothing_of_another(paper: Paper, pledge: Pledge) -> None:
    first, second = coin(pledge, 5_000), coin(pledge, 6_000, "b")
    paper.mempool([first, second])
    paper.mempool([], txids=[second.txid], rivals=[Rival(first.txid, second.txid, None)])
    assert state_of(paper, pledge) == "seen"
    assert rows(paper) == [(5_000, None, False, None), (6_000, None, True, None)]


def test_what_a_payment_spends_is_stored_once(paper: Paper, pledge: Pledge) -> None:
    spent = [(txid("x"), 3), (txid("y"), 0)]
    both = [coin(pledge, 5_000, inputs=spent), coin(pledge, 6_000, vout=1, inputs=spent)]
    mined = coin(pledge, 7_000, "mined", coinbase=True)
    paper.mempool(both)
    paper.mempool([])
    paper.mempool(both)
    paper.mine([*both, mined])
    paper.fork(1)
    paper.mine([*both, mined], branch="other")
    with paper.database.reading() as session:
        stored = [(r.txid, r.prev_txid, r.prev_vout) for r in session.scalars(select(PaymentInput))]
    assert stored == [(both[0].txid, *outpoint) for outpoint in spent]
    watch = RecordedWatch(paper.database)
    assert watch.inputs_of([both[0].txid, mined.txid]) == {both[0].txid: spent, mined.txid: []}
    assert watch.payments_spending([*spent, (txid("x"), 4), (txid("z"), 0)]) == {o: {both[0].txid} for o in spent}
    assert watch.payments_spending([]) == {} and watch.inputs_of([]) == {}


def statements(paper: Paper) -> list[str]:
    """The questions asked from now on."""
    sent: list[str] = []

    def note(_c: object, _k: object, statement: str, *_: object) -> None:
        if statement.startswith("SELECT"):
            sent.append(statement)

    event.listen(paper.database.engine, "before_cursor_execute", note)
    return sent


def test_the_watch_takes_in_only_what_is_new(paper: Paper, pledge: Pledge) -> None:
    watch = RecordedWatch(paper.database)
    watch.refresh()
    assert watch.scripts == {pledge.script} and watch.outpoints == set()
    watch.scripts.clear()
    other = paper.pledge(pledge.campaign_id)
    paid = coin(other, 5_000, inputs=[(txid("x"), 3)])
    assert watch.scripts == set(), "nothing is read until it is asked to"
    watch.refresh()
    assert watch.scripts == {other.script}, "what was read before is not read again"
    paper.mempool([paid])
    watch.refresh()
    assert watch.outpoints == {outpoint_key(paid.txid, 0), outpoint_key(txid("x"), 3)}
    watch.outpoints.clear()
    paper.mine([paid, coin(other, 6_000, "b", inputs=[(txid("z"), 0)])])
    watch.refresh()
    assert watch.outpoints == {outpoint_key(txid("b"), 0), outpoint_key(txid("z"), 0)}
    sent = statements(paper)
    for _ in range(3):
        watch.refresh()
    assert len(sent) == 3 * 5, "four questions, and one for the tip, however much there is"
    fresh = RecordedWatch(paper.database)
    fresh.refresh()
    assert fresh.scripts == {pledge.script, other.script} and len(fresh.outpoints) == 4


def test_what_a_buried_payment_spends_is_watched_no_longer(paper: Paper, pledge: Pledge) -> None:
    early, late = coin(pledge, 5_000, inputs=[(txid("x"), 0)]), coin(pledge, 5_000, "b", inputs=[(txid("y"), 0)])
    paper.mine([early])
    paper.mine([late], blocks=recording.BURIED)

    def watched() -> set[bytes]:
        watch = RecordedWatch(paper.database)
        watch.refresh()
        return watch.outpoints

    coins = {outpoint_key(c.txid, c.vout) for c in (early, late)}
    assert paper.tip == 101 + recording.BURIED
    assert watched() == coins | {outpoint_key(txid("y"), 0)}
    paper.fork(1)
    assert watched() == coins | {outpoint_key(txid(n), 0) for n in "xy"}


def test_addresses_are_watched_however_they_are_stored(paper: Paper, pledge: Pledge) -> None:
    """A trigger sees to it, so that nobody can forget."""
    watch = RecordedWatch(paper.database)
    columns = [c.name for c in Pledge.__table__.columns if c.name not in ("id", "index", "address", "script")]
    names = ", ".join(f'"{c}"' for c in columns)
    insert = f"""INSERT INTO pledges (id, "index", address, script, {names})
        SELECT id || :name, "index" + :n, :address, :script, {names} FROM pledges WHERE id = :id"""
    with paper.database.transaction() as session:
        for n, script in ((100, b"direct"), (101, None)):
            session.execute(
                text(insert), {"name": f"n{n}", "n": n, "address": script and "a", "script": script, "id": pledge.id}
            )
    watch.refresh()
    assert watch.scripts == {pledge.script, b"direct"}, "one that has no address yet is none"
    with paper.database.transaction() as session:
        late = text("UPDATE pledges SET address = 'b', script = :script WHERE script IS NULL")
        session.execute(late, {"script": b"\xaa"})
        session.execute(text("UPDATE pledges SET registered = TRUE"))
    watch.refresh()
    assert watch.scripts == {pledge.script, b"direct", b"\xaa"}
    with paper.database.reading() as session:
        ids = session.scalars(select(WatchedScript.id).order_by(WatchedScript.id)).all()
    assert ids == [1, 2, 3]


def test_questions_about_many_are_answered_exactly(paper: Paper, pledge: Pledge) -> None:
    paid, waiting = coin(pledge, 5_000), coin(pledge, 6_000, "b")
    paper.mine([paid])
    paper.mine([], [FoundSpend(paid.txid, 0, txid("spender"))])
    paper.mempool([waiting])
    watch = RecordedWatch(paper.database)
    many = [(f"{n:064x}", 0) for n in range(12_000)]
    assert watch.coins_among([*many, (paid.txid, 0), (paid.txid, 1)]) == {(paid.txid, 0)}
    found = watch.recorded([*many, *((t, h) for t in (paid.txid, txid("spender"), waiting.txid) for h in (101, 102))])
    assert found == {(paid.txid, 101), (txid("spender"), 102)}
    assert watch.coins_among([]) == watch.recorded([]) == set()
    assert watch.unconfirmed() == {waiting.txid}


def test_what_is_gone_is_asked_after_until_a_block_has_decided(paper: Paper, pledge: Pledge) -> None:
    gone, replaced, lost, held = (coin(pledge, 5_000, name) for name in "abcd")
    paper.mempool([gone, replaced, lost, held])
    paper.mempool([], txids=[held.txid], rivals=[Rival(replaced.txid, txid("r"), None)])
    watch = RecordedWatch(paper.database)
    assert watch.unsettled() == {gone.txid, replaced.txid, lost.txid}
    paper.mine([gone], rivals=[Rival(lost.txid, txid("r"), 101)])
    assert watch.unsettled() == {replaced.txid}
    paper.fork(1)
    assert watch.unsettled() == {gone.txid, replaced.txid, lost.txid}


def test_facts_of_a_block_that_is_recorded_already_are_added(paper: Paper, pledge: Pledge) -> None:
    """A server may be behind with what it tells of a script."""
    early, paid = coin(pledge, 5_000), coin(pledge, 6_000, "b")
    paper.mempool([paid])
    paper.mine(blocks=3)
    late = (
        BlockFacts(paper.ref(101), (paid,), ()),
        BlockFacts(paper.ref(102), (early,), (FoundSpend(paid.txid, 0, "spender"),)),
    )
    paper.write(Changes(None, (), (), paper.tip, True, late=late))
    assert rows(paper) == [(6_000, 101, False, "spender"), (5_000, 102, False, None)]
    with paper.database.reading() as session:
        assert RecordedChain(session).tip() == paper.ref(103), "and the chain is as long as before"
        assert session.scalar(select(func.count()).select_from(Block)) == 4
    paper.write(Changes(None, (), (), paper.tip, True, late=late))
    assert len(rows(paper)) == 2, "told twice is told once"


def test_coins_older_than_their_address_are_added_to_any_block(paper: Paper, pledge: Pledge) -> None:
    old = coin(pledge, 5_000)
    with paper.database.transaction() as session:
        recording.record_late(session, [BlockFacts(paper.ref(50), (old,), ())], datetime.now(UTC))
    assert rows(paper) == [(5_000, 50, False, None)]
    with paper.database.reading() as session:
        assert RecordedChain(session).tip() == paper.ref(100)


def test_a_reorganisation_with_late_facts_is_one_write(paper: Paper, pledge: Pledge) -> None:
    """The late facts are of blocks below the fork."""
    early, moved = coin(pledge, 5_000), coin(pledge, 6_000, "b")
    paper.mine()
    paper.mine([moved])
    late = (BlockFacts(paper.ref(101), (early,), ()),)
    blocks = (BlockFacts(paper.ref(102, "other"), (), ()), BlockFacts(paper.ref(103, "other"), (moved,), ()))
    paper.write(Changes(101, blocks, (), 103, True, late=late))
    assert rows(paper) == [(6_000, 103, False, None), (5_000, 101, False, None)]
