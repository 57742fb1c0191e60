"""The books: whatever the chain does, the buckets sum to what it has confirmed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from crowdfund.campaigns.ledger import LABELS, Bucket, Settled, coin_bucket, coin_place, fee_shares, seal
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
