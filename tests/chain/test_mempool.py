"""Unconfirmed payments: listed seldom where there are many, missed only by two answers, and what took their place."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from crowdfund.chain.follow import BlockFollower, FoundCoin, Mempool, Rival, mempool_rivals
from crowdfund.chain.port import Outpoint, Spender
from support.made_up import OURS, THEIRS, Chain, Records, gathered, transaction, txid_of

COIN = ("ab" * 32, 1)
OTHER = ("cd" * 32, 2)


@pytest.fixture
def chain() -> Chain:
    made = Chain()
    for _ in range(5):
        made.mine()
    return made


@dataclass
class Watcher:
    """A follower with its chain and its records."""

    chain: Chain
    records: Records
    follower: BlockFollower

    def look(self) -> tuple[set[str], tuple[Rival, ...]]:
        """What has left the mempool, and what took the place of what."""
        changes = gathered(self.follower, self.chain, self.records)
        return set(changes.left), (*changes.rivals, *(r for facts in changes.blocks for r in facts.rivals))


@pytest.fixture
def watcher(chain: Chain) -> Watcher:
    made = Watcher(chain, Records(), BlockFollower(chain, "regtest"))
    made.look()
    return made


def pay(*spends: Outpoint, sats: int = 7) -> bytes:
    return transaction((OURS, sats), spends=spends or (COIN,))


def taking_back(*spends: Outpoint, salt: int = 0) -> bytes:
    return transaction((THEIRS, 6), spends=spends or (COIN,), salt=salt)


def test_what_leaves_without_a_trace_has_no_rival(watcher: Watcher) -> None:
    watcher.chain.take(tx := pay())
    assert watcher.look() == (set(), ())
    watcher.chain.mempool.clear()
    assert watcher.look() == ({txid_of(tx)}, ())
    assert watcher.look() == (set(), ()), "once gone it is not missed again"


def test_what_takes_its_place_in_the_mempool_is_named(watcher: Watcher) -> None:
    watcher.chain.take(tx := pay(OTHER, COIN))
    watcher.look()
    watcher.chain.mempool.clear()
    watcher.chain.take(back := taking_back())
    assert watcher.look() == ({txid_of(tx)}, (Rival(txid_of(tx), txid_of(back), None),))
    watcher.chain.mine(back)
    height = len(watcher.chain.branch) - 1
    assert watcher.look() == (set(), (Rival(txid_of(tx), txid_of(back), height),)), "and when a block decides it"


def test_a_block_that_spends_what_a_payment_would_spend_names_it_at_once(watcher: Watcher) -> None:
    watcher.chain.take(tx := pay(COIN, OTHER), second := pay(OTHER, sats=8))
    watcher.look()
    watcher.chain.mempool.clear()
    watcher.chain.mine(back := taking_back(OTHER, COIN))
    left, rivals = watcher.look()
    assert left == {txid_of(tx), txid_of(second)}
    assert set(rivals) == {Rival(txid_of(t), txid_of(back), 5) for t in (tx, second)}
    assert len(rivals) == 2, "each is named once, however many coins they share"


def test_a_payment_that_was_confirmed_is_no_rival_of_itself(watcher: Watcher) -> None:
    watcher.chain.take(tx := pay())
    watcher.look()
    watcher.chain.mine(tx)
    assert watcher.look() == (set(), ())


def test_a_confirmed_payment_whose_block_is_undone_can_lose_to_another(watcher: Watcher) -> None:
    watcher.chain.mine(tx := pay())
    watcher.look()
    del watcher.chain.branch[-1]
    watcher.chain.mine(back := taking_back(), salt=9)
    assert watcher.look() == (set(), (Rival(txid_of(tx), txid_of(back), 5),))
    del watcher.chain.branch[-1]
    watcher.chain.mine(tx, salt=8)
    assert watcher.look() == (set(), ()), "its rival was never a payment to us"


def test_a_payment_that_replaces_another_to_the_same_address_is_found(watcher: Watcher) -> None:
    watcher.chain.take(first := pay(sats=7))
    watcher.look()
    watcher.chain.mempool.clear()
    watcher.chain.take(second := pay(sats=8))
    changes = gathered(watcher.follower, watcher.chain, watcher.records)
    assert [c.txid for c in changes.mempool_coins] == [txid_of(second)]
    assert changes.rivals == (Rival(txid_of(first), txid_of(second), None),)


def test_two_answers_must_agree_before_a_payment_is_missed(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher.chain.take(tx := pay())
    watcher.look()
    monkeypatch.setattr(watcher.chain, "mempool_txids", list)
    assert watcher.look() == (set(), ()), "the listing lacks it, and yet it can be had"
    monkeypatch.undo()
    held, watcher.chain.mempool = watcher.chain.mempool, {}
    monkeypatch.setattr(watcher.chain, "mempool_txids", lambda: list(held))
    assert watcher.look() == (set(), ()), "the listing has it, though it cannot be had"
    monkeypatch.undo()
    assert watcher.look() == ({txid_of(tx)}, ())


def test_while_blocks_are_caught_up_with_nothing_is_missed(watcher: Watcher) -> None:
    watcher.chain.take(tx := pay())
    watcher.look()
    watcher.chain.mempool.clear()
    for _ in range(150):
        watcher.chain.mine()
    watcher.chain.asked.clear()
    assert watcher.look() == (set(), ()) and "mempool_txids" not in watcher.chain.asked
    assert watcher.look() == ({txid_of(tx)}, ())


class Spending(Chain):
    """A backend that says of spenders what the test says."""

    def __init__(self, told: dict[Outpoint, Spender]) -> None:
        super().__init__()
        self.told = told

    def spenders(self, outpoints: object) -> dict[Outpoint, Spender]:
        return self.told


def test_of_several_rivals_the_one_in_a_block_counts() -> None:
    payment = "11" * 32
    records = Records(inputs={payment: (COIN, OTHER)})
    unconfirmed, confirmed = Spender("22" * 32, None), Spender("33" * 32, 9)

    def rivals(told: dict[Outpoint, Spender]) -> tuple[Rival, ...]:
        return mempool_rivals(Spending(told), {payment}, records)

    assert rivals({COIN: unconfirmed, OTHER: confirmed}) == (Rival(payment, "33" * 32, 9),)
    assert rivals({COIN: confirmed, OTHER: unconfirmed}) == (Rival(payment, "33" * 32, 9),)
    assert rivals({COIN: unconfirmed}) == (Rival(payment, "22" * 32, None),)
    assert rivals({COIN: Spender(payment, None)}) == (), "it spends its own"
    assert rivals({}) == ()


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def crowd(chain: Chain, count: int) -> None:
    """So many unconfirmed transactions that the next listing has to wait."""
    chain.mempool |= {f"{n:064x}": b"" for n in range(count)}


@pytest.mark.parametrize(("count", "pause_s"), [(0, 0), (19_999, 0), (20_000, 1), (90_000, 4)])
def test_a_large_mempool_is_listed_less_often(
    count: int, pause_s: int, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, records = Clock(), Records()
    mempool = Mempool(chain, clock)
    crowd(chain, count)
    monkeypatch.setattr(chain, "mempool_transactions", lambda txids: {})
    listing, _ = mempool.look(records, ())
    assert listing is not None and len(listing) == count
    if pause_s:
        clock.now += pause_s - 0.01
        assert mempool.look(records, ()) == (None, ())
        clock.now += 0.02
    assert mempool.look(records, ())[0] == listing


def test_between_two_listings_what_was_heard_of_is_looked_at_once(chain: Chain) -> None:
    clock, records = Clock(), Records()
    mempool = Mempool(chain, clock)
    mempool._list_again_at = clock.now + 5
    chain.take(tx := pay(), quiet := pay(OTHER, sats=9))

    def found(*heard: str) -> list[FoundCoin]:
        listing, coins = mempool.look(records, heard)
        assert listing is None
        return list(coins)

    assert found() == [] and chain.fetched == []
    assert [c.value_sats for c in found(txid_of(tx), "ee" * 32)] == [7]
    assert found(txid_of(tx)) == [] and chain.fetched.count(txid_of(tx)) == 1
    clock.now += 6
    assert [c.txid for c in mempool.look(records, ())[1]] == [txid_of(quiet)]
    assert chain.fetched.count(txid_of(tx)) == 1
    mempool._list_again_at = clock.now + 5
    mempool.forget()
    listing, coins = mempool.look(records, ())
    assert listing is not None and [c.txid for c in coins] == [txid_of(quiet)], "what the last look found, at once"
    mempool.look(records, ())
    mempool.forget()
    assert mempool.look(records, ())[1] == (), "the last look found nothing"


def test_while_nothing_is_listed_nothing_has_left(chain: Chain, watcher: Watcher) -> None:
    chain.take(tx := pay())
    watcher.look()
    chain.mempool.clear()
    clock = Clock()
    mempool = Mempool(chain, clock)
    mempool._list_again_at = clock.now + 5
    watcher.follower._mempool = mempool
    assert watcher.look() == (set(), ())
    clock.now += 5
    assert watcher.look() == ({txid_of(tx)}, ())


def test_a_payment_whose_block_comes_and_goes_between_two_listings_is_found_again(watcher: Watcher) -> None:
    watcher.chain.take(tx := pay())
    watcher.look()
    watcher.follower._mempool._list_again_at = float("inf")
    watcher.chain.mine(tx)
    watcher.look()
    del watcher.chain.branch[-1]
    watcher.chain.mine(salt=9)
    watcher.chain.take(tx)
    watcher.look()
    assert watcher.records.in_mempool == set()
    watcher.follower._mempool._list_again_at = 0
    watcher.look()
    assert watcher.records.in_mempool == {txid_of(tx)}


def test_a_payment_heard_of_is_found_before_the_next_listing(chain: Chain, watcher: Watcher) -> None:
    watcher.follower._mempool._list_again_at = float("inf")
    chain.take(tx := pay())
    assert gathered(watcher.follower, chain, watcher.records).mempool_coins == ()
    changes = gathered(watcher.follower, chain, watcher.records, [txid_of(tx)])
    assert [c.txid for c in changes.mempool_coins] == [txid_of(tx)] and changes.is_news
