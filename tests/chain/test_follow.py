"""Following a chain that this test makes up: reorganisations, moving tips, lies and damaged bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from crowdfund.chain.follow import FIRST_BLOCKS, MAX_BLOCKS_AT_ONCE, BlockFacts, BlockFollower
from crowdfund.chain.port import UnspentCoin, WrongAnswer
from crowdfund.errors import WorldError
from support.made_up import OURS, THEIRS, Chain, Records, gathered, transaction, txid_of


@pytest.fixture
def chain() -> Chain:
    made = Chain()
    for _ in range(5):
        made.mine()
    return made


def paid(facts: Sequence[BlockFacts]) -> list[int]:
    return [c.value_sats for f in facts for c in f.coins]


def test_the_first_look_takes_the_last_blocks_and_the_mempool(chain: Chain) -> None:
    chain.mempool = {txid_of(t): t for t in (transaction((OURS, 7), (OURS, 8)), transaction((THEIRS, 9), salt=1))}
    changes = gathered(BlockFollower(chain, "regtest"), chain, records := Records())
    assert [f.block.height for f in changes.blocks] == [0, 1, 2, 3, 4]
    assert [(c.value_sats, c.vout) for c in changes.mempool_coins] == [(7, 0), (8, 1)]
    assert changes.complete and changes.fork_height is None and not changes.left
    again = gathered(BlockFollower(chain, "regtest"), chain, records)
    assert again.blocks == () and again.fork_height is None


def test_a_long_way_is_taken_in_parts(chain: Chain) -> None:
    records = Records()
    gathered(follower := BlockFollower(chain, "regtest"), chain, records)
    for _ in range(MAX_BLOCKS_AT_ONCE * 2 + 1):
        chain.mine()
    parts = [gathered(follower, chain, records) for _ in range(3)]
    assert [len(p.blocks) for p in parts] == [MAX_BLOCKS_AT_ONCE, MAX_BLOCKS_AT_ONCE, 1]
    assert [p.complete for p in parts] == [False, False, True]
    fresh = gathered(BlockFollower(chain, "regtest"), chain, Records())
    assert len(fresh.blocks) == FIRST_BLOCKS and fresh.complete


def test_a_transaction_is_fetched_once_and_again_after_forgetting(chain: Chain) -> None:
    tx = transaction((OURS, 7))
    chain.mempool = {txid_of(tx): tx}
    follower, records = BlockFollower(chain, "regtest"), Records()
    assert len(gathered(follower, chain, records).mempool_coins) == 1
    follower.forget()
    assert len(gathered(follower, chain, records).mempool_coins) == 1, "the last look may not have been written down"
    assert len(gathered(follower, chain, records).mempool_coins) == 0
    follower.forget()
    assert len(gathered(follower, chain, records).mempool_coins) == 0, "what was found before was"
    chain.mempool = {}
    gathered(follower, chain, records)
    chain.mempool = {txid_of(tx): tx}
    assert len(gathered(follower, chain, records).mempool_coins) == 1, "it had left and is back"
    assert chain.fetched == [txid_of(tx)] * 4, "once more when it was missed: two answers must agree"


def test_coins_and_their_spends_in_one_block_and_later(chain: Chain) -> None:
    records = Records()
    gathered(follower := BlockFollower(chain, "regtest"), chain, records)
    pay = transaction((OURS, 7), (THEIRS, 1), (OURS, 8))
    spend = transaction((THEIRS, 6), spends=[(txid_of(pay), 0), (txid_of(pay), 1)])
    chain.mine(pay, spend)
    chain.mine(later := transaction((THEIRS, 7), spends=[(txid_of(pay), 2)], salt=3))
    facts = gathered(follower, chain, records).blocks
    assert paid(facts) == [7, 8]
    assert [(s.vout, s.spent_by) for f in facts for s in f.spends] == [(0, txid_of(spend)), (2, txid_of(later))]
    chain.mine(last := transaction((THEIRS, 7), spends=[(txid_of(pay), 2)], salt=4))
    assert [s.spent_by for s in gathered(follower, chain, records).blocks[0].spends] == [txid_of(last)]


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("growth", [-1, 0, 3])
def test_a_reorganisation_names_the_fork_and_brings_the_new_branch(depth: int, growth: int, chain: Chain) -> None:
    records = Records()
    gathered(follower := BlockFollower(chain, "regtest"), chain, records)
    fork = len(chain.branch) - depth - 1
    del chain.branch[fork + 1 :]
    for _ in range(depth + growth):
        chain.mine(transaction((OURS, 5)), salt=77)
    changes = gathered(follower, chain, records)
    assert changes.fork_height == fork
    assert [f.block.hash for f in changes.blocks] == chain.branch[fork + 1 :]
    assert [records.hash_at(h) for h in range(len(chain.branch))] == chain.branch
    assert records.hash_at(len(chain.branch)) is None


def test_another_chain_is_refused(chain: Chain) -> None:
    records = Records()
    gathered(BlockFollower(chain, "regtest"), chain, records)
    other = Chain()
    for _ in range(9):
        other.mine(salt=5)
    with pytest.raises(WorldError, match="shares no block") as refused:
        BlockFollower(other, "regtest").gather(other.status(), records, records)
    assert refused.value.retryable


@pytest.mark.parametrize("moment", ["block_hash", "headers", "block", "mempool_txids", "mempool_transactions"])
@pytest.mark.parametrize("kind", ["block", "reorganisation"])
def test_a_tip_that_moves_meanwhile_starts_it_over(moment: str, kind: str, chain: Chain) -> None:
    """A transaction that a new block takes from the mempool must not look as if it had vanished."""
    records = Records()
    follower = BlockFollower(chain, "regtest")
    gathered(follower, chain, records)
    chain.mine()
    tx = transaction((OURS, 7))
    chain.mempool = {txid_of(tx): tx}
    moved: list[str] = []

    def move(method: str) -> None:
        if method == moment and not moved:
            moved.append(method)
            if kind == "reorganisation":
                del chain.branch[-1]
                chain.mine(salt=9)
            chain.mine(tx)

    status = chain.status()
    chain.before = move
    assert follower.gather(status, records, records) is None
    assert moved
    changes = gathered(follower, chain, records)
    assert paid(changes.blocks) == [7] and changes.mempool_coins == ()


def test_an_address_stored_while_the_blocks_are_fetched_is_watched(chain: Chain) -> None:
    """The payment may be there as soon as the address is: the scripts are asked for last."""
    records = Records(scripts=set())
    tx, other = transaction((OURS, 7)), transaction((OURS, 8), salt=2)
    chain.mine(tx)
    chain.mempool = {txid_of(other): other}

    def late(method: str) -> None:
        if method == "mempool_transactions":
            records.stored = {OURS}

    chain.before = late
    changes = gathered(BlockFollower(chain, "regtest"), chain, records)
    assert paid(changes.blocks) == [7] and [c.value_sats for c in changes.mempool_coins] == [8]


def test_a_transaction_that_leaves_while_it_is_fetched_is_looked_at_again(chain: Chain) -> None:
    tx = transaction((OURS, 7))
    chain.mempool = {txid_of(tx): tx}
    chain.before = lambda method: chain.mempool.clear() if method == "mempool_transactions" else None
    follower, records = BlockFollower(chain, "regtest"), Records()
    assert gathered(follower, chain, records).mempool_coins == ()
    chain.before = lambda _: None
    chain.mempool = {txid_of(tx): tx}
    assert len(gathered(follower, chain, records).mempool_coins) == 1


def test_damaged_blocks_are_refused(chain: Chain) -> None:
    tip = chain.mine(transaction((OURS, 7)))
    good = chain.raw[tip]
    follower, records = BlockFollower(chain, "regtest"), Records()
    for where in range(len(good)):
        chain.raw[tip] = good[:where] + bytes([good[where] ^ 1]) + good[where + 1 :]
        with pytest.raises(WrongAnswer, match=r"damaged|Another block"):
            follower.gather(chain.status(), records, records)
    for raw in (b"", good[:80], good[:-1], good + b"\0", chain.raw[chain.branch[2]], good[:80] + b"\0"):
        chain.raw[tip] = raw
        with pytest.raises(WrongAnswer, match=r"damaged|Another block"):
            follower.gather(chain.status(), records, records)
    chain.raw[tip] = good
    assert paid(gathered(follower, chain, records).blocks) == [7]


def test_damaged_unconfirmed_transactions_are_refused(chain: Chain) -> None:
    tx, other = transaction((OURS, 7)), transaction((OURS, 8), salt=1)
    for raw in (b"", tx[:-1], tx + b"\0", other, tx[:-1] + b"\xff"):
        chain.mempool = {txid_of(tx): raw}
        with pytest.raises(WrongAnswer, match=r"damaged|Another transaction"):
            BlockFollower(chain, "regtest").gather(chain.status(), Records(), Records())


def test_a_believed_backends_blocks_must_still_have_the_right_header_and_be_whole(chain: Chain) -> None:
    tip = chain.mine(transaction((OURS, 7)))
    good = chain.raw[tip]
    chain.believed = True
    follower, records = BlockFollower(chain, "regtest"), Records()
    for where in range(80):
        chain.raw[tip] = good[:where] + bytes([good[where] ^ 1]) + good[where + 1 :]
        with pytest.raises(WrongAnswer, match="Another block"):
            follower.gather(chain.status(), records, records)
    for raw in (b"", good[:79], good[:80], good[:-1], good + b"\0", chain.raw[chain.branch[2]]):
        chain.raw[tip] = raw
        with pytest.raises(WrongAnswer, match=r"damaged|Another block"):
            follower.gather(chain.status(), records, records)
    chain.raw[tip] = good
    assert paid(gathered(follower, chain, records).blocks) == [7]


def test_headers_that_do_not_follow_each_other_are_not_taken(chain: Chain) -> None:
    records = Records()
    follower = BlockFollower(chain, "regtest")
    gathered(follower, chain, records)
    first = chain.mine()
    chain.mine()
    chain.header[first] = chain.header[first][:-1] + b"\1"
    with pytest.raises(WrongAnswer, match="does not follow"):
        follower.gather(chain.status(), records, records)
    chain.header[first] = chain.header[first][:-1]
    with pytest.raises(WrongAnswer, match="80 bytes"):
        follower.gather(chain.status(), records, records)


def test_a_tip_that_its_headers_do_not_end_in_is_looked_at_again(chain: Chain) -> None:
    """The answers come from two moments; nothing is written."""
    records = Records()
    follower = BlockFollower(chain, "regtest")
    gathered(follower, chain, records)
    chain.mine()
    status = chain.status()
    chain.header[chain.branch[-1]] = chain.header[chain.branch[-1]][:-1] + b"\1"
    assert follower.gather(status, records, records) is None
    assert follower.gather(replace(status, height=status.height + 1), records, records) is None, "fewer than told of"


@pytest.mark.parametrize("lie", [None, "ff" * 32], ids=["none", "another"])
@pytest.mark.parametrize("grown", [0, 1, 3])
def test_a_wrong_answer_does_not_look_like_a_reorganisation(
    lie: str | None, grown: int, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One block's hash is told wrongly; the headers that follow are those recorded already."""
    records = Records()
    follower = BlockFollower(chain, "regtest")
    gathered(follower, chain, records)
    for _ in range(grown):
        chain.mine()
    truth, lies = chain.block_hash, [lie]
    status = chain.status()
    monkeypatch.setattr(chain, "block_hash", lambda height: lies.pop() if lies else truth(height))
    changes = follower.gather(status, records, records)
    assert changes is None or changes.fork_height is None
    lies.clear()
    assert gathered(follower, chain, records).fork_height is None
    assert [records.hash_at(h) for h in range(len(chain.branch))] == chain.branch


def test_coins_that_are_older_than_their_address_are_read_from_their_blocks(chain: Chain) -> None:
    pay = transaction((THEIRS, 1), (OURS, 7), salt=1)
    chain.mine(pay)
    height = len(chain.branch) - 1
    chain.mine(other := transaction((OURS, 8), salt=2))
    follower = BlockFollower(chain, "regtest")
    coins = [
        UnspentCoin(txid_of(pay), 1, 7, OURS, False, height),
        UnspentCoin(txid_of(other), 0, 8, OURS, False, height + 1),
    ]
    facts = follower.early(coins)
    assert [(f.block.height, f.block.hash) for f in facts] == list(enumerate(chain.branch))[height:]
    assert paid(facts) == [7, 8] and facts[0].coins[0].inputs == ((f"{2:064x}", 0),)
    for lie in (
        replace(coins[0], value_sats=8),
        replace(coins[0], script=THEIRS),
        replace(coins[0], vout=0),
        replace(coins[0], height=height + 1),
        replace(coins[0], txid="00" * 32),
    ):
        with pytest.raises(WrongAnswer, match="is not what was told"):
            follower.early([lie])
    with pytest.raises(WrongAnswer, match="another block"):
        follower.early([replace(coins[0], height=height + 9)])


def test_a_coin_that_a_block_makes_for_us(chain: Chain) -> None:
    """A freshly mined coin is told as such, and spends nothing."""
    records = Records()
    gathered(follower := BlockFollower(chain, "regtest"), chain, records)
    chain.mine(to=OURS)
    (coin,) = gathered(follower, chain, records).blocks[0].coins
    assert coin.coinbase and coin.inputs == () and coin.value_sats == 1


def test_only_what_changes_is_news(chain: Chain) -> None:
    records = Records()
    follower = BlockFollower(chain, "regtest")
    assert gathered(follower, chain, records).is_news
    chain.asked.clear()
    quiet = gathered(follower, chain, records)
    assert not quiet.is_news and chain.asked == ["mempool_txids"], "an idle round costs one question"
    chain.take(tx := transaction((OURS, 7)))
    assert gathered(follower, chain, records).is_news
    assert not gathered(follower, chain, records).is_news
    chain.mempool.pop(txid_of(tx))
    assert gathered(follower, chain, records).is_news, "a payment has left"
    assert not gathered(follower, chain, records).is_news
    fork = replace(quiet, fork_height=3)
    facts = BlockFacts(records.chain[4], (), ())
    for news in (fork, replace(quiet, blocks=(facts,)), replace(quiet, late=(facts,))):
        assert news.is_news
