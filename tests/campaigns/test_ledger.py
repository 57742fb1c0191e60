"""The books: whatever the chain does, the buckets sum to what it has confirmed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from crowdfund.campaigns.ledger import (
    AT_ADDRESS,
    LABELS,
    Bucket,
    Movement,
    Posted,
    Settled,
    coin_bucket,
    coin_place,
    fee_shares,
    movements,
    place_of,
    seal,
    standing_transfers,
)
from crowdfund.campaigns.lifecycle import (
    COINBASE_MATURITY,
    UNCONFIRMED,
    CoinFacts,
    Kind,
    Outcome,
    Standing,
    decide,
    depth,
    over_cap,
    owed_kind,
    standing,
)
from crowdfund.campaigns.settlement import Batch, SpendableCoin, plan_refunds, plan_release

SCRIPT = b"\x00\x14" + bytes(20)
DUST = 1_000


def test_every_bucket_has_a_name_for_people() -> None:
    assert set(LABELS) == set(Bucket) and len(set(LABELS.values())) == len(Bucket)


def test_a_seal_is_the_same_for_ever() -> None:
    """The hash of the columns as they stand in ledgers of old: another spelling would break every chain of hashes."""
    moment = datetime(2026, 11, 22, 13, 0, 0, 5, tzinfo=timezone(timedelta(hours=1)))
    row = {
        "id": 7, "campaign_id": "é", "coin_id": 3, "key": "aa:0#1", "from_account": "outside", "to_account": "counted",
        "amount_sats": 50_000, "what": "confirmed in a block: counted", "height": 101, "block_hash": "bb", "at": moment,
        "reverses": None, "prev_hash": "0" * 64,
    }  # fmt: skip
    assert seal(row) == "6cb954b58d96526ec84af6e3cca3c8b68ecb582f7c182190f8dbe06731f6f6b3"
    assert seal({**row, "at": moment.astimezone(UTC)}) == seal(row)
    assert seal({**row, "at": moment + timedelta(microseconds=1)}) != seal(row)


def test_the_bucket_of_a_coin() -> None:
    for outcome in (None, *Outcome):
        for unconfirmed in UNCONFIRMED:
            assert coin_bucket(unconfirmed, outcome, False) is coin_bucket(unconfirmed, outcome, True) is None
        assert coin_bucket(Standing.MATURING, outcome, False) is Bucket.MATURING
        assert coin_bucket(Standing.DUST, outcome, False) is Bucket.DUST
        assert coin_bucket(Standing.LATE, outcome, False) is Bucket.LATE
        assert coin_bucket(Standing.OVER_CAP, outcome, False) is Bucket.OVER_CAP
        for value in (Standing.COUNTED, Standing.LATE, Standing.OVER_CAP):
            assert coin_bucket(value, outcome, True) is Bucket.IN_SETTLEMENT
    assert coin_bucket(Standing.COUNTED, None, False) is Bucket.COUNTED
    assert coin_bucket(Standing.COUNTED, Outcome.FAILED, False) is Bucket.UNCLAIMED


def posted(number: int, giver: str, taker: str, sats: int, block: str = "b", reverses: int | None = None) -> Posted:
    return Posted(number, giver, taker, sats, 5, block, reverses)


IN = posted(1, "outside", "counted", 10)
PLANNED = posted(2, "counted", "in_settlement", 10)
PAID = posted(3, "in_settlement", "paid_out", 9)
FEE = posted(4, "in_settlement", "miner_fee", 1)
UNDONE = posted(5, "in_settlement", "counted", 10, reverses=2)


def test_where_transfers_have_put_a_coin() -> None:
    assert place_of([]) == {}
    assert place_of([IN]) == {"counted": 10}
    assert place_of([IN, PLANNED, PAID]) == {"in_settlement": 1, "paid_out": 9}
    assert place_of([IN, PLANNED, PAID, FEE]) == {"miner_fee": 1, "paid_out": 9}
    assert standing_transfers([IN, PLANNED, UNDONE]) == [IN]
    assert standing_transfers([IN, PLANNED]) == [IN, PLANNED]


def test_a_coin_moves_by_the_fewest_transfers() -> None:
    settled = {"paid_out": 9, "miner_fee": 1}
    assert movements([], {"counted": 10}, "b") == [Movement("outside", "counted", 10)]
    assert movements([], settled, "b") == [Movement("outside", "miner_fee", 1), Movement("outside", "paid_out", 9)]
    assert movements([IN], {"counted": 10}, "b") == movements([], {}, "b") == movements([], {}, None) == []
    assert movements([IN, PLANNED], settled, "b") == [
        Movement("in_settlement", "miner_fee", 1), Movement("in_settlement", "paid_out", 9)
    ]  # fmt: skip
    assert movements([IN, PLANNED, PAID, FEE], {"refunded": 10}, "b") == [
        Movement("miner_fee", "refunded", 1), Movement("paid_out", "refunded", 9)
    ]  # fmt: skip


def test_givers_and_takers_come_in_order_and_give_until_nothing_is_left() -> None:
    letters = "abcdefg"
    spread = [posted(n, "outside", letter, 2) for n, letter in enumerate(letters, 1)]
    assert movements(spread, {"z": 14}, "b") == [Movement(letter, "z", 2) for letter in letters]
    together = [posted(1, "outside", "z", 14)]
    assert movements(together, dict.fromkeys(reversed(letters), 2), "b") == [Movement("z", each, 2) for each in letters]
    two = [posted(1, "outside", "a", 5), posted(2, "outside", "b", 5)]
    assert movements(two, {"x": 3, "y": 4, "z": 3}, "b") == [
        Movement("a", "x", 3), Movement("a", "y", 2), Movement("b", "y", 2), Movement("b", "z", 3)
    ]  # fmt: skip
    three = [posted(n, "outside", letter, 5) for n, letter in enumerate("abc", 1)]
    assert movements(three, {"w": 4, "x": 2, "y": 5, "z": 4}, "b") == [
        Movement("a", "w", 4), Movement("a", "x", 1), Movement("b", "x", 1),
        Movement("b", "y", 4), Movement("c", "y", 1), Movement("c", "z", 4),
    ]  # fmt: skip
    uneven = [posted(1, "outside", "a", 4), posted(2, "outside", "b", 3)]
    assert movements(uneven, {"x": 4, "y": 1, "z": 2}, "b") == [
        Movement("a", "x", 4), Movement("b", "y", 1), Movement("b", "z", 2)
    ]  # fmt: skip
    ten = [posted(1, "outside", "a", 10)]
    assert movements(ten, {"w": 1, "x": 2, "y": 3, "z": 4}, "b") == [
        Movement("a", "w", 1), Movement("a", "x", 2), Movement("a", "y", 3), Movement("a", "z", 4)
    ]  # fmt: skip


def test_what_a_reorganisation_undoes_is_undone_in_reverse() -> None:
    back = [Movement("miner_fee", "in_settlement", 1, FEE), Movement("paid_out", "in_settlement", 9, PAID)]
    whole = [IN, PLANNED, PAID, FEE]
    assert movements(whole, {"in_settlement": 10}, "b") == back
    assert movements(whole, {"counted": 10}, "b") == [*back, Movement("in_settlement", "counted", 10, PLANNED)]
    gone = [*back, Movement("in_settlement", "counted", 10, PLANNED), Movement("counted", "outside", 10, IN)]
    assert movements(whole, {}, "b") == movements(whole, {}, None) == gone
    assert movements(whole, {"late": 10}, "c") == [*gone, Movement("outside", "late", 10)]
    assert movements([IN, PLANNED, UNDONE], {"counted": 10}, "b") == []
    assert movements([IN, PLANNED, UNDONE], {}, None) == [Movement("counted", "outside", 10, IN)]


def test_the_latest_time_that_a_coin_was_there_is_kept() -> None:
    there_again = [IN, PLANNED, posted(3, "in_settlement", "counted", 10)]
    assert movements(there_again, {"counted": 10}, "b") == []


def test_a_movement_in_words() -> None:
    assert Movement("outside", "late", 1).what == "confirmed in a block: late"
    assert Movement("maturing", "counted", 1).what == "now counted"
    assert Movement("in_settlement", "paid_out", 1).what == "paid out to the project"
    assert Movement("counted", "in_settlement", 1).what == "planned to be spent by a settlement"
    assert "undone" in Movement("counted", "outside", 1, undoes=IN).what


def test_the_place_of_a_coin_and_its_part_of_the_fee() -> None:
    assert coin_place(10, Bucket.LATE, None) == {"late": 10} and coin_place(0, Bucket.DUST, None) == {}
    assert coin_place(10, None, None) == {}
    assert coin_place(10, Bucket.LATE, Settled(Kind.RELEASE, 3)) == {"paid_out": 7, "miner_fee": 3}
    assert coin_place(10, None, Settled(Kind.REFUND, 10)) == {"miner_fee": 10}
    assert fee_shares([60, 40], 90) == [6, 4] and fee_shares([1, 1, 1], 1) == [1, 1, 0]
    assert set(Bucket) - AT_ADDRESS == {
        Bucket.PAID_OUT, Bucket.REFUNDED, Bucket.MINER_FEE, Bucket.FOREIGN_SPEND
    }  # fmt: skip


def test_a_seal_is_the_hash_of_canonical_json_with_times_in_utc() -> None:
    at = datetime(2026, 11, 22, 13, tzinfo=timezone(timedelta(hours=1)))
    text = '{"at":"2026-11-22T12:00:00+00:00","id":1,"what":null}'
    assert seal({"what": None, "id": 1, "at": at}) == sha256(text.encode()).hexdigest()
    with pytest.raises(TypeError, match="no column of"):
        seal({"what": b""})


@dataclass
class Held:
    """A coin of the made-up chain."""

    coin: SpendableCoin
    height: int | None
    batch: int | None = None
    coinbase: bool = False


@dataclass
class Planned:
    batch: Batch
    confirmed: int | None = None
    members: list[Held] = field(default_factory=list)


class Books(RuleBasedStateMachine):
    """A campaign's whole life in random order, with reorganisations, and the books after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.tip, self.closing, self.outcome = 100, None, None  # type: int, int | None, Outcome | None
        self.coins: list[Held] = []
        self.plans: list[Planned] = []
        self.cap_sats = 0

    @initialize(cap_sats=st.sampled_from([0, 1, 100_000, 300_000]))
    def open(self, cap_sats: int) -> None:
        self.cap_sats = cap_sats

    @rule(value=st.integers(1, 200_000), index=st.integers(0, 5))
    def pay(self, value: int, index: int) -> None:
        number = len(self.coins)
        self.coins.append(Held(SpendableCoin(f"{number:064x}", 0, value, index, SCRIPT), None))

    @rule(blocks=st.sampled_from([1, 98, 99, 100]))
    def mine(self, blocks: int = 1) -> None:
        for held in self.coins:
            held.height = self.tip + 1 if held.height is None and not held.coinbase else held.height
        self.tip += blocks

    @rule(value=st.integers(1, 200_000), index=st.integers(0, 5))
    def mine_to_a_pledge(self, value: int, index: int) -> None:
        """A reorganisation takes it for ever."""
        self.mine()
        number = len(self.coins)
        self.coins.append(Held(SpendableCoin(f"{number:064x}", 0, value, index, SCRIPT), self.tip, coinbase=True))

    @precondition(lambda self: self.closing is None)
    @rule()
    def close(self) -> None:
        self.mine()
        self.closing = self.tip

    @rule(depth=st.integers(1, 3))
    def reorganise(self, depth: int) -> None:
        self.tip -= depth
        for plan in self.plans:
            plan.confirmed = None if plan.confirmed and plan.confirmed > self.tip else plan.confirmed
        for held in self.coins:
            held.height = None if held.height and held.height > self.tip else held.height
        if self.closing and self.closing > self.tip and self.outcome is None:
            self.closing = None

    @precondition(lambda self: self.closing is not None and self.outcome is None)
    @rule(goal=st.integers(1, 300_000))
    def decide(self, goal: int) -> None:
        decision = decide(goal, DUST, map(facts, self.coins), self.closing, self.tip, 1, self.cap_sats)
        self.outcome = decision.outcome if decision else None

    @precondition(lambda self: self.outcome is not None)
    @rule(feerate=st.sampled_from([1, 20, 300]))
    def plan(self, feerate: int) -> None:
        assert self.outcome
        owed: dict[Kind, list[SpendableCoin]] = {Kind.RELEASE: [], Kind.REFUND: []}
        for held in self.coins:
            kind = owed_kind(self.standing(held), self.outcome)
            if kind and held.batch is None and not (held.coinbase and self.age(held) < COINBASE_MATURITY):
                owed[kind].append(held.coin)
        batches = plan_release(owed[Kind.RELEASE], SCRIPT, feerate, 4) + plan_refunds(owed[Kind.REFUND], feerate, 4)
        for batch in batches:
            members = [h for h in self.coins if h.coin in batch.inputs]
            assert all(h.batch is None for h in members) and len(members) == len(batch.inputs)
            for held in members:
                held.batch = len(self.plans)
            self.plans.append(Planned(batch, None, members))

    @rule()
    def confirm(self) -> None:
        self.mine()
        for plan in self.plans:
            if plan.confirmed is None and all(h.height is not None and h.height < self.tip for h in plan.members):
                plan.confirmed = self.tip

    def age(self, held: Held) -> int:
        return depth(held.height, self.tip) if held.height is not None else 0

    def standing(self, held: Held) -> Standing:
        if facts(held).outpoint in over_cap(map(facts, self.coins), self.closing, DUST, self.tip, self.cap_sats):
            return Standing.OVER_CAP
        return standing(facts(held), self.closing, DUST, self.tip)

    @invariant()
    def the_buckets_sum_to_what_was_received(self) -> None:
        sums: dict[str, int] = {}
        for held in self.coins:
            plan = None if held.batch is None else self.plans[held.batch]
            settled = None
            if plan is not None and plan.confirmed is not None:
                settled = Settled(plan.batch.kind, self.fee(plan, held))
            bucket = coin_bucket(self.standing(held), self.outcome, plan is not None)
            for account, sats in coin_place(held.coin.value_sats, bucket, settled).items():
                assert sats > 0
                sums[account] = sums.get(account, 0) + sats
        assert sum(sums.values()) == sum(h.coin.value_sats for h in self.coins if h.height is not None)
        done = [plan.batch for plan in self.plans if plan.confirmed is not None]
        assert sums.get(Bucket.MINER_FEE, 0) == sum(batch.fee_sats for batch in done)
        for kind, account in ((Kind.RELEASE, Bucket.PAID_OUT), (Kind.REFUND, Bucket.REFUNDED)):
            assert sums.get(account, 0) == sum(o.value_sats for b in done if b.kind is kind for o in b.outputs)

    def fee(self, plan: Planned, held: Held) -> int:
        index = None if plan.batch.kind is Kind.RELEASE else held.coin.index
        own = [h for h in plan.members if index in (None, h.coin.index)]
        back = sum(o.value_sats for o in plan.batch.outputs if o.index == index)
        return fee_shares([h.coin.value_sats for h in own], back)[own.index(held)]


def facts(held: Held) -> CoinFacts:
    outpoint = held.coin.txid, held.coin.vout
    return CoinFacts(held.coin.value_sats, held.height, held.coinbase, held.height is None, None, outpoint)


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
