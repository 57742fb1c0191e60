"""Every state of a pledge and of a settlement, under reorganisations of every depth up to two beyond what is final.

Each case brings one thing into its state, puts a longer branch in place of the last blocks, and looks: the books are
the chain, every satoshi has its bucket, what is undecided follows the new branch, what is decided stays and is paid
once. Impossible combinations are not made: a block that holds nothing of ours has nothing to leave out, a coinbase
cannot be in another branch, and a depth that undoes more than the state is about belongs to the state before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Self

import pytest

from crowdfund import create_app
from crowdfund.campaigns import attempts
from crowdfund.campaigns.attempts import Job
from crowdfund.campaigns.ledger import Bucket
from crowdfund.campaigns.models import ChainView
from crowdfund.chain.port import NodeStatus
from crowdfund.chain.regtest import RegtestNode
from crowdfund.errors import WorldError
from crowdfund.wallet.signer_client import SignerClient
from crowdfund.worker import Worker
from support.rivals import block, orphan, payment
from support.truth import even
from support.turns import long_unless
from support.world import DAY, World

K = 3
DEPTHS = range(1, K + 3)
QUICK = (1, K + 2)  # by turns; the depths in between, where no rule changes, are played with the long tests
SATS = 400_000
CREATOR = 1
CASES_IN_A_HOUSE = 8


@pytest.fixture(scope="module")
def houses(node: RegtestNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Houses]:
    """On one node."""
    with Houses(node, tmp_path_factory) as held:
        yield held


@pytest.fixture
def world(houses: Houses) -> World:
    """An installation in which some cases have been before: each is a campaign of its own."""
    return houses.next()


class Houses:
    """One installation after the other. Use as a context manager.

    All books are read over and over, those of every campaign: so there is a new house before there are too many.
    """

    def __init__(self, node: RegtestNode, folders: pytest.TempPathFactory) -> None:
        self._node, self._folders, self._visits = node, folders, 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def next(self) -> World:
        """The house for the next case."""
        if self._visits % CASES_IN_A_HOUSE == 0:
            self._stack.close()
            world = World(self._node, self._folders.mktemp("house"), CONFIRMATIONS=str(K))
            self._world = self._stack.enter_context(world)
            assert world.creator() == CREATOR
        self._visits += 1
        return self._world


def branch(node: RegtestNode, depth: int, contents: Mapping[int, Sequence[str]]) -> None:
    """In place of the last `depth` blocks, one more than those: the n-th from below holds `contents[n]`."""
    first = int(node.rpc("getblockcount")) - depth + 1
    node.rpc("invalidateblock", node.rpc("getblockhash", first))
    for n in range(depth + 1):
        block(node, *contents.get(n, ()))


def trouble(world: World) -> str:
    """What the operator reads."""
    with world.database.reading() as session:
        return session.get_one(ChainView, 1).trouble


# Pledges: state before, what its blocks hold, and the state on a branch that keeps, leaves out or contradicts it.
PAID = {"confirmed": SATS, "short": SATS - 1, "over": SATS + 1, "dust": 900}
SHOWN = {"dust": "short"}
AFTER = {
    ("awaiting", "same"): "awaiting",
    ("seen", "same"): "seen",
    ("seen", "conflicting"): "double_spent",
    **{(state, "same"): SHOWN.get(state, state) for state in PAID},
    **{(state, "left out"): "seen" for state in PAID},
    **{(state, "conflicting"): "double_spent" for state in PAID},
    ("late", "same"): "late",
    ("late", "left out"): "seen",
    ("late", "conflicting"): "double_spent",
    ("maturing", "left out"): "evicted",
    ("replaced", "same"): "replaced",
    ("replaced", "original instead"): "confirmed",
    ("replaced", "conflicting"): "double_spent",
    ("double_spent", "same"): "double_spent",
    ("double_spent", "left out"): "replaced",
    ("double_spent", "original instead"): "confirmed",
    ("evicted", "same"): "evicted",
    ("evicted", "original instead"): "confirmed",
}


def quick_depth(state: str, turn: int) -> int:
    """The one that the normal run plays."""
    return 1 if state == "late" else QUICK[turn % 2]


# A late coin K deep, also on the new branch, which is one block longer, is planned: that is a settlement.
PLEDGE_CASES = [
    pytest.param(
        state, depth, how, id=f"{state}, {depth} deep, {how}", marks=long_unless(depth == quick_depth(state, turn))
    )
    for turn, (state, how) in enumerate(AFTER)
    for depth in DEPTHS
    if state != "late" or depth + 1 < K
]


class Stage:
    """One campaign with one pledge, brought into a state whose blocks are the last `depth` ones."""

    def __init__(self, world: World, state: str, depth: int) -> None:
        self.world, self.node, self.state, self.depth = world, world.node, state, depth
        self.campaign = world.campaign(CREATOR, goal_sats=10**9, deadline_at=world.chain_now() + 40 * DAY)
        self.pledge = world.pledge(self.campaign, SATS)
        self.paid = payment(self.node, str(self.pledge.address), PAID.get(state, SATS))
        self.original = [self.paid.raw]
        self.held: list[str] = []
        getattr(self, f"_make_{state}", self._make_in_a_block)()
        for _ in range(depth - bool(self.held)):
            block(self.node)
        even(world)
        assert world.pledge_state(self.pledge) == SHOWN.get(state, state)

    def _make_in_a_block(self) -> None:
        self._send(self.paid.raw)
        self._hold(self.paid.txid)

    def _make_awaiting(self) -> None:
        """Nobody has paid."""

    def _make_seen(self) -> None:
        self._send(self.paid.raw)

    def _make_late(self) -> None:
        beyond_deadline(self.world, self.campaign, 6)
        self._make_in_a_block()

    def _make_maturing(self) -> None:
        self.held = [str(self.node.rpc("generatetoaddress", 1, str(self.pledge.address))[0])]

    def _make_replaced(self) -> None:
        self._send(self.paid.raw)
        self._send(self.paid.rival)

    def _make_double_spent(self) -> None:
        self._make_replaced()
        self._hold(self.paid.rival)

    def _make_evicted(self) -> None:
        """It spends a payment that is double spent: what it needs is gone, and nothing stands in its own place."""
        before, raw = orphan(self.node, str(self.pledge.address), SATS)
        self.world.sync()
        self._send(raw)
        self._send(before.rival)
        self.original = [before.raw, raw]

    def _send(self, raw: str) -> None:
        self.node.rpc("sendrawtransaction", raw)
        self.world.sync()

    def _hold(self, held: str) -> None:
        block(self.node, held)
        self.held = [held]

    def contents(self, how: str) -> dict[int, list[str]]:
        """What the new branch holds in its first block."""
        held = {
            "same": self.held,
            "left out": [],
            "conflicting": [self.paid.rival],
            "original instead": self.original,
        }
        return {0: held[how]}


@pytest.mark.parametrize(("state", "depth", "how"), PLEDGE_CASES)
def test_a_pledge(world: World, state: str, depth: int, how: str) -> None:
    stage = Stage(world, state, depth)
    branch(world.node, depth, stage.contents(how))
    even(world)
    assert world.pledge_state(stage.pledge) == AFTER[(state, how)]
    summary = world.summary(stage.campaign)
    there = [c for c in world.snapshot(stage.campaign).coins if c.height is not None]
    assert summary.received_sats == sum(c.value_sats for c in there)
    if state != "late":
        assert summary.counted_sats == sum(c.value_sats for c in there if c.value_sats >= 1_000)
    world.node.mine()


def test_a_payment_of_a_lost_block_that_is_then_double_spent(world: World) -> None:
    """A node that indexes transactions still finds it in the block that was undone; it is gone all the same."""
    stage = Stage(world, "confirmed", 1)
    branch(world.node, 1, {})
    even(world)
    world.node.rpc("sendrawtransaction", stage.paid.rival)
    even(world)
    assert world.pledge_state(stage.pledge) == "replaced"
    world.node.mine()


def beyond_deadline(world: World, campaign: str, blocks: int) -> None:
    """So many empty blocks after the deadline by their own clock; the sixth is the closing block."""
    set_clock_past(world, campaign)
    for _ in range(blocks):
        block(world.node)


def set_clock_past(world: World, campaign: str) -> None:
    """From now on blocks are later than the deadline, by their own clock."""
    terms = world.snapshot(campaign).terms
    assert terms is not None
    world.node.rpc("setmocktime", int(terms.deadline.timestamp()) + 1)


# Settlements. How deep the payment's block lies, and the settlement's, when a state is reached; None: in no block.
OUTCOMES, WAYS = ("funded", "failed"), ("same", "left out", "conflicting")
UNDECIDED, DECIDED = ("open", "closing"), ("planned", "signed", "sent", "confirmed", "final")
STATES = (*UNDECIDED, *DECIDED)
PAYMENT_DEPTH = {"planned": K + 1, "signed": K + 1, "sent": K + 1, "confirmed": K + 2, "final": 2 * K + 1}
SETTLEMENT_DEPTH = {"confirmed": 1, "final": K}


def takes_payment(state: str, depth: int) -> bool:
    """Is the payment in one of the last `depth` blocks? Before the decision it is in the first of them, if it can."""
    return depth >= {"open": 1, "closing": 2, **PAYMENT_DEPTH}[state]


def ways(state: str, depth: int) -> Iterator[str]:
    """What another branch can do here."""
    yield "same"
    if takes_payment(state, depth) or depth >= SETTLEMENT_DEPTH.get(state, depth + 1):
        yield "left out"
    if takes_payment(state, depth):
        yield "conflicting"


def is_quick(outcome: str, state: str, depth: int, how: str) -> bool:
    """Depths at which a rule changes: K blocks, and the first that takes the payment; the outcomes by turns."""
    turn = STATES.index(state) + WAYS.index(how)
    deep_enough = depth == K or (depth == PAYMENT_DEPTH.get(state) and how != "same")
    return deep_enough and outcome == OUTCOMES[turn % 2]


SETTLEMENT_CASES = [
    pytest.param(
        outcome,
        state,
        depth,
        how,
        id=f"{outcome}, {state}, {depth} deep, {how}",
        marks=long_unless(is_quick(outcome, state, depth, how)),
    )
    # Payments lost for good come last: their alarms stay, and what comes after them must go on all the same.
    for last in (False, True)
    for outcome in OUTCOMES
    for state in STATES
    for depth in DEPTHS
    for how in ways(state, depth)
    if last == (how == "conflicting" and state in DECIDED)
]


def unsent(_job: Job, _raw: bytes, _status: NodeStatus) -> str | None:
    """In the place of sending: as if the worker died before."""
    raise WorldError("Nothing is sent for now.")


class Case:
    """A campaign with one pledge, brought into a state of its settlement."""

    def __init__(self, world: World, outcome: str, state: str, depth: int) -> None:
        self.world, self.node, self.state, self.depth = world, world.node, state, depth
        self.campaign = world.campaign(CREATOR, goal_sats=SATS if outcome == "funded" else SATS + 1)
        self.pledge = world.pledge(self.campaign, SATS)
        self.paid = payment(self.node, str(self.pledge.address), SATS)
        self.top: list[list[str]] = []
        world.worker = world.new_worker()
        world.sync()
        getattr(self, f"_make_{state}", self._make_decided)()
        even(world)

    def hold(self, *held: str, empty: int = 0) -> None:
        """A block with these, then so many with nothing."""
        for contents in (held, *[()] * empty):
            block(self.node, *contents)
            self.top.append(list(contents))

    def _make_open(self) -> None:
        self.hold(self.paid.raw, empty=self.depth - 1)

    def _make_closing(self) -> None:
        """The last block is the closing block."""
        before = max(2, self.depth)
        beyond_deadline(self.world, self.campaign, 6 - before)
        self.hold(self.paid.raw, empty=before - 1)

    def _make_decided(self) -> None:
        world = self.world
        beyond_deadline(world, self.campaign, 4)
        if self.state == "planned":
            world.worker = Worker(world.database, world.backend, SignerClient(world.folder / "nobody"), "regtest")
        if self.state == "signed":
            world.worker = Worker(world.database, world.backend, world.worker.signer, "regtest")
            vars(world.worker._payer)["_send"] = unsent
        self.hold(self.paid.raw, empty=K)
        world.sync()
        if self.state in SETTLEMENT_DEPTH:
            self.hold(str(self.attempt()[1]), empty=SETTLEMENT_DEPTH[self.state] - 1)
            world.sync()
        (batch,) = world.snapshot(self.campaign).batches
        assert world.snapshot(self.campaign).batch_state(batch) == self.state

    def reorganise(self, how: str) -> None:
        old = self.top[-self.depth :]
        if how == "left out":
            old = []
        if how == "conflicting":
            old = [[self.paid.rival] if held == [self.paid.raw] else [] for held in old]
        branch(self.node, self.depth, dict(enumerate(old)))

    def attempt(self) -> tuple[str, str | None]:
        """Txid and bytes of the only attempt there ever was."""
        ((only,),) = [batch.attempts for batch in self.world.snapshot(self.campaign).batches]
        return only.txid, only.raw.hex() if only.raw else None

    def decision(self) -> tuple[str, int, str]:
        decision = self.world.snapshot(self.campaign).decision
        assert decision is not None
        return decision.outcome, decision.counted_sats, decision.closing_hash

    def go_on(self, blocks: int) -> None:
        for _ in range(blocks):
            self.node.mine()
            self.world.sync()

    def ends(self, bucket: Bucket | None, state: str) -> None:
        """All that was paid went one way, once."""
        even(self.world)
        summary = self.world.summary(self.campaign)
        assert summary.state == state
        went = {b: sats for b, sats in summary.buckets.items() if sats and b is not Bucket.MINER_FEE}
        fee_sats = summary.buckets[Bucket.MINER_FEE]
        assert went == ({} if bucket is None else {bucket: SATS - fee_sats})
        for coin in self.world.snapshot(self.campaign).coins:
            assert coin.spent_by == (None if bucket in (None, Bucket.IN_SETTLEMENT) else self.attempt()[0])


@pytest.mark.parametrize(("outcome", "state", "depth", "how"), SETTLEMENT_CASES)
def test_a_settlement(world: World, outcome: str, state: str, depth: int, how: str) -> None:
    case = Case(world, outcome, state, depth)
    if state in UNDECIDED:
        follows_the_new_branch(case, outcome, how)
    else:
        stays_decided(case, how)


def follows_the_new_branch(case: Case, outcome: str, how: str) -> None:
    case.reorganise(how)
    even(case.world)
    assert case.world.snapshot(case.campaign).decision is None
    if case.state == "open":
        beyond_deadline(case.world, case.campaign, 6)
    for _ in range(K - 1):
        block(case.node)
    case.world.sync()
    expected = outcome if how == "same" else "failed"
    assert case.decision()[:2] == (expected, SATS if how == "same" else 0)
    case.go_on(2 * K + 1)
    bucket = Bucket.PAID_OUT if expected == "funded" else Bucket.REFUNDED
    case.ends(None if how == "conflicting" else bucket, "released" if expected == "funded" else "refunded")


def stays_decided(case: Case, how: str) -> None:
    world, before = case.world, (case.decision(), case.attempt()[0])
    case.reorganise(how)
    even(world)
    assert (case.decision(), case.attempt()[0]) == before
    lost = how != "same" and takes_payment(case.state, case.depth)
    (batch,) = world.snapshot(case.campaign).batches
    assert (world.snapshot(case.campaign).batch_state(batch) == "input lost") is lost
    world.worker = world.new_worker()
    world.sync()
    assert ("A reorganisation has taken" in trouble(world)) is bool(lost or lost_before(world, case))
    if lost:
        assert world.summary(case.campaign).state in ("releasing", "refunding")
    case.go_on(1)
    if lost and how == "left out":
        assert world.summary(case.campaign).state in ("releasing", "refunding"), "not before it is final"
    case.go_on(K + 1)
    assert (case.decision(), case.attempt()[0]) == before
    funded = before[0][0] == "funded"
    if how == "conflicting":
        case.ends(None, "releasing" if funded else "refunding")
        assert "A reorganisation has taken" in trouble(world)
    else:
        case.ends(Bucket.PAID_OUT if funded else Bucket.REFUNDED, "released" if funded else "refunded")
        assert lost_before(world, case) or not trouble(world)


def lost_before(world: World, case: Case) -> bool:
    """Has a case before this one lost its payment?"""
    with world.database.reading() as session:
        lost = {txid for _, txid in attempts.lost_inputs(session)}
    return bool(lost - {case.attempt()[0]})


@pytest.mark.parametrize(("goal_sats", "state"), [(2 * SATS, "released"), (10 * SATS, "refunded")])
def test_a_payment_lost_for_good_keeps_nobody_elses_waiting(world: World, goal_sats: int, state: str) -> None:
    campaign = world.campaign(CREATOR, goal_sats=goal_sats)
    pledges = [world.pledge(campaign, SATS) for _ in range(2)]
    world.worker = world.new_worker()
    world.sync()
    beyond_deadline(world, campaign, 3)
    stays = payment(world.node, str(pledges[0].address), SATS)
    block(world.node, stays.raw)
    goes = payment(world.node, str(pledges[1].address), SATS)
    for held in ([goes.raw], *[[]] * K):
        block(world.node, *held)
    even(world)
    (whole,) = world.snapshot(campaign).batches
    branch(world.node, K + 1, {K + 1: [goes.rival]})
    for deep in range(1, K):
        even(world)
        snapshot = world.snapshot(campaign)
        assert [snapshot.batch_state(b) for b in snapshot.batches] == ["input lost"], f"the rival is {deep} deep"
        assert world.pledge_state(pledges[1]) == "in_settlement", "another reorganisation may bring it back"
        assert lost_of(world, whole.attempts[0].txid)
        block(world.node)
    even(world)
    _, rest = world.snapshot(campaign).batches
    assert [i.coin.txid for i in rest.inputs] == [stays.txid] and not lost_of(world, whole.attempts[0].txid)
    for held in ([(rest.attempts[0].raw or b"").hex()], *[[]] * (K - 1)):
        assert world.summary(campaign).state == ("releasing" if state == "released" else "refunding")
        block(world.node, *held)
        even(world)
    assert world.summary(campaign).state == state
    ends = "paid_out" if state == "released" else "refunded"
    assert [world.pledge_state(p) for p in pledges] == [ends, "double_spent"]
    with create_app(world.settings).test_client() as client:
        page = client.get(f"/p/{pledges[1].id}").text
    assert "Your payment cannot arrive any more" in page and "spends the same money" in page
    buckets = world.summary(campaign).buckets
    assert buckets[Bucket.PAID_OUT] + buckets[Bucket.REFUNDED] + buckets[Bucket.MINER_FEE] == SATS
    assert buckets[Bucket.IN_SETTLEMENT] == 0


def lost_of(world: World, txid: str) -> bool:
    """Is the operator told that a coin of this attempt is lost?"""
    with world.database.reading() as session:
        return txid in {attempt for _, attempt in attempts.lost_inputs(session)}
