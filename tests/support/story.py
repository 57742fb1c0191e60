"""Stories about payments and reorganisations that hypothesis tells, and the books that must follow them."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from crowdfund.chain.backends import AnyBackend
from crowdfund.wallet.descriptors import derive_script
from support.books import Books, FailingDatabase, Readable, template
from support.model import Block, Outpoint, Promise, PromisedPledge, Tx, confirmed
from support.simchain import NOBODY, SimChain

HOUR = 3_600
BEGUN: dict[str, tuple[SimChain, Path, list[Promise]]] = {}
AMOUNTS = (10_000, 25_000, 60_000)
PAYMENTS = ("right", "change", "short", "over", "dust", "nothing", "twice", "to two", "change")
NUMBERS = st.integers(0, 2**10)
SECONDS = st.sampled_from([600, 1, -900, 2 * HOUR, 30])
MOMENTS = ("headers", "block", "block_hash", "mempool_txids", "mempool_transactions", "spenders", "unspent",
           "feerate_sat_vb")  # fmt: skip


class Chain(Readable, Protocol):
    """What a story does to a chain; see SimChain."""

    before: Callable[[str], None]
    known: dict[str, Block]

    @property
    def pool(self) -> Mapping[str, Tx]:
        """What waits to be confirmed."""

    def fresh_coin(self) -> Outpoint:
        """A coin to pay from."""

    def tx(self, spends: Sequence[Outpoint], outputs: Sequence[tuple[int, bytes]]) -> Tx:
        """A new transaction, not sent yet."""

    def send(self, tx: Tx) -> bool:
        """Into the mempool, if it fits."""

    def evict(self, txid: str) -> None:
        """Out of the mempool."""

    def mine(self, txs: Iterable[Tx], seconds: int, to: tuple[int, bytes] = (50, NOBODY)) -> Block:
        """A block on the tip."""

    def go_to(self, tip_hash: str, remember: bool) -> None:
        """Another block is the tip."""


class Story(RuleBasedStateMachine):
    """After each step the first books look; the second ones only now and then. Both must say what the model says."""

    base = 3

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="crowdfund-story-"))
        self.chain, self.backend, source, self.promises = self.beginning()
        self.books, self.rarely = (self.open_books(source, name) for name in ("often", "rarely"))
        self.away = 0
        self.interruption: tuple[str, Callable[[], None]] | None = None
        self.all_pledges: list[PromisedPledge] = []
        self.old_tips: list[str] = []
        for campaign, amount in zip((0, 0, 1), AMOUNTS, strict=True):
            self.new_pledge(campaign, amount)
        self.chain.before = self.interrupt

    def beginning(self) -> tuple[Chain, AnyBackend, Path, list[Promise]]:
        """A chain, and a database that knows its first blocks and two campaigns."""
        if "begun" not in BEGUN:
            chain = SimChain()
            now = chain.tip.time
            folder = Path(tempfile.mkdtemp(prefix="crowdfund-model-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            BEGUN["begun"] = (chain, *template(folder, chain, (now + 3 * HOUR, now + 5 * HOUR)))
        chain, path, promises = BEGUN["begun"]
        copied = chain.copy()
        return copied, copied, path, promises

    def open_books(self, source: Path, name: str) -> Books:
        """A copy of the database, with a worker of its own."""
        path = self.folder / f"{name}.sqlite"
        shutil.copy(source, path)
        return Books(self.chain, FailingDatabase(f"sqlite:///{path}"), self.backend, self.promises)

    def teardown(self) -> None:
        """At last the second books look, and know the same."""
        self.interruption = None
        try:
            self.books.look()
            self.look_rarely()
            self.compare()
        finally:
            self.books.close()
            self.rarely.close()
            self.end()
            shutil.rmtree(self.folder)

    def end(self) -> None:
        """What else there is to end."""

    # What people do

    @rule(campaign=st.integers(0, 1), amount=st.sampled_from(AMOUNTS))
    def a_pledge(self, campaign: int, amount: int) -> None:
        """Somebody promises."""
        self.new_pledge(campaign, amount)

    @rule(who=NUMBERS, how=st.sampled_from(PAYMENTS), where=NUMBERS, mined=st.booleans())
    def a_payment(self, who: int, how: str, where: int, mined: bool) -> None:
        """Somebody pays, from a coin of old or from the change of a payment that may be unconfirmed; into the mempool,
        or straight into a block."""
        spends = [self.change(where)] if how == "change" else [self.chain.fresh_coin()]
        tx = self.chain.tx(spends, self.outputs(who, how))
        if mined:
            self.chain.mine([*self.chain.pool.values(), tx], 600)
        else:
            self.chain.send(tx)

    another_payment = a_payment

    @precondition(lambda self: self.chain.pool)
    @rule(which=NUMBERS, how=st.sampled_from(("same", "short", "over", "none", "other", "dust")))
    def a_replacement(self, which: int, how: str) -> None:
        """A transaction that waits is replaced by one that pays the same, less, more, nobody or somebody else."""
        self.chain.send(self.rival(which, how))

    @precondition(lambda self: self.chain.pool)
    @rule(which=NUMBERS)
    def an_eviction(self, which: int) -> None:
        """A transaction falls out of the mempool."""
        self.chain.evict(self.waiting(which).txid)

    @precondition(lambda self: self.coins())
    @rule(which=NUMBERS, chance=st.integers(0, 5), mined=st.booleans())
    def a_theft(self, which: int, chance: int, mined: bool) -> None:
        """Once in a while somebody has our keys: a coin of ours is spent."""
        coins = self.coins()
        if chance == 5:
            tx = self.chain.tx([coins[which % len(coins)]], [(500, NOBODY)])
            if mined:
                self.chain.mine([tx], 600)
            else:
                self.chain.send(tx)

    # What miners do

    @rule(mask=NUMBERS, seconds=SECONDS, coin=st.integers(0, 9), who=NUMBERS)
    def a_block(self, mask: int, seconds: int, coin: int, who: int) -> None:
        """A block with some of what waits; its own coin may be a pledge's."""
        to = (12_000 * coin, self.pledge_of(who).script) if coin in (1, 2) else (50, NOBODY)
        self.chain.mine(self.some(mask), seconds, to)

    @rule(blocks=st.sampled_from([2, 3, 4, 6, 9, 14, 101]), seconds=SECONDS)
    def blocks(self, blocks: int, seconds: int) -> None:
        """Blocks with all that waits; a hundred make a miner's coin ripe."""
        for _ in range(blocks):
            self.chain.mine(list(self.chain.pool.values()), seconds if blocks < 100 else 1)

    @precondition(lambda self: self.chain.pool)
    @rule(which=NUMBERS, how=st.sampled_from(("same", "short", "none", "other")))
    def a_conflict_out_of_the_blue(self, which: int, how: str) -> None:
        """A block holds a rival that was in no mempool."""
        self.chain.mine([self.rival(which, how)], 600)

    @rule(
        depth=st.integers(1, 8),
        length=st.integers(-3, 3),
        mask=NUMBERS,
        way=st.sampled_from(("same", "backwards", "some", "none", "conflicts")),
        remember=st.booleans(),
        seconds=SECONDS,
    )
    def a_reorganisation(self, depth: int, length: int, mask: int, way: str, remember: bool, seconds: int) -> None:
        """Another branch wins: longer or shorter, with the same, some, none or the rivals of the transactions."""
        self.reorganise(depth, length, mask, way, remember, seconds)

    @precondition(lambda self: self.old_tips)
    @rule(which=NUMBERS, remember=st.booleans())
    def an_old_branch_again(self, which: int, remember: bool) -> None:
        """A branch that had lost wins after all."""
        tip = self.old_tips[which % len(self.old_tips)]
        self.old_tips.append(self.chain.tip.hash)
        self.chain.go_to(tip, remember)

    # What happens to those who watch

    @rule(what=st.sampled_from(["is off", "looks once", "is restarted", "fails to write"]), number=st.integers(0, 3))
    def the_worker(self, what: str, number: int) -> None:
        """It is off for some steps, does one round of the several that it may take, forgets, or has one of its next
        writes undone."""
        if what == "is off":
            self.away = number + 1
        elif what == "looks once":
            self.books.round()
        elif what == "is restarted":
            self.books.restart()
        else:
            self.books.database.fails_at = number

    @rule(
        moment=st.sampled_from(MOMENTS),
        what=st.sampled_from(("block", "reorganisation", "payment", "pledge", "replacement", "shorter")),
        number=NUMBERS,
    )
    def an_interruption(self, moment: str, what: str, number: int) -> None:
        """Something happens while the worker looks, right before this answer."""

        def happen() -> None:
            if what == "block":
                self.chain.mine(self.some(number), 600)
            elif what == "reorganisation":
                self.reorganise(1 + number % 4, number % 3, number, "some", remember=True)
            elif what == "shorter" and self.chain.tip.height > self.base:
                self.chain.go_to(self.chain.tip.prev, remember=True)
            elif what == "replacement" and self.chain.pool:
                self.chain.send(self.rival(number, "short"))
            elif what in ("payment", "pledge"):
                pledge = self.new_pledge(number % 2, 10_000)
                if what == "payment":
                    self.chain.send(self.chain.tx([self.chain.fresh_coin()], [(10_000, pledge.script)]))
                if number % 3 == 0:
                    self.chain.mine(self.some(1023), 600)

        self.interruption = (moment, happen)

    @rule()
    def the_second_looks(self) -> None:
        """The second books look, too, and must agree."""
        if not self.away:
            self.books.look()
            self.look_rarely()
            self.compare()

    @invariant()
    def the_books_are_true(self) -> None:
        """Unless nobody looks, the first books are read after each step."""
        if self.away:
            self.away -= 1
            self.books.remember()
        else:
            self.books.look()

    # What the rules are made of

    def interrupt(self, moment: str) -> None:
        """Called before each answer of the chain."""
        if self.interruption is not None and self.interruption[0] == moment:
            happen, self.interruption = self.interruption[1], None
            self.books.disturbed = True
            happen()
            self.books.remember()

    def look_rarely(self) -> None:
        """The second books take in the pledges made meanwhile, and look undisturbed."""
        self.chain.before = lambda _: None
        for number, pledge in enumerate(self.all_pledges):
            if pledge not in self.rarely.pledges:
                self.rarely.pledge(pledge, number)
        self.rarely.restart()
        self.rarely.look()
        self.chain.before = self.interrupt

    def compare(self) -> None:
        """What follows from the chain is in both books alike."""
        assert self.books.facts() == self.rarely.facts()

    def new_pledge(self, campaign: int, amount: int) -> PromisedPledge:
        """A pledge in the first books; the second ones hear of it when they look."""
        number = len(self.all_pledges)
        script = derive_script(self.books.descriptor(self.promises[campaign].id), number)
        made = PromisedPledge(f"pledge {number}", self.promises[campaign].id, script, amount)
        self.all_pledges.append(made)
        self.books.pledge(made, number)
        return made

    def reorganise(self, depth: int, length: int, mask: int, way: str, remember: bool, seconds: int = 600) -> None:
        """The last `depth` blocks are replaced by `depth` + `length` others."""
        depth = min(depth, self.chain.tip.height - self.base)
        if depth <= 0:
            return
        self.old_tips.append(self.chain.tip.hash)
        lost = self.chain.branch(self.chain.tip.hash)[-depth:]
        self.chain.go_to(lost[0].prev, remember)
        for number in range(max(0, depth + length)):
            self.chain.mine(self.chosen(lost, number, way, mask), seconds)

    def chosen(self, lost: list[Block], number: int, way: str, mask: int) -> list[Tx]:
        """What goes into a block of the new branch."""
        held = [[tx for tx in block.txs if not tx.coinbase] for block in lost]
        if way == "same":
            return held[number] if number < len(held) else []
        if way == "backwards":
            return held[-1 - number][::-1] if number < len(held) else []
        if way == "some":
            return self.some(mask >> number, [tx for txs in held for tx in txs])
        if way == "conflicts" and number < len(held):
            return [self.chain.tx(tx.spends, [(9_000, NOBODY)]) for tx in held[number]]
        return []

    def some(self, mask: int, lost: list[Tx] | None = None) -> list[Tx]:
        """Some of what waits, and of what a branch has lost."""
        there = [*(lost or []), *self.chain.pool.values()]
        return [tx for n, tx in enumerate(there) if mask >> n % 10 & 1]

    def waiting(self, which: int) -> Tx:
        """A transaction of the mempool."""
        txs = list(self.chain.pool.values())
        return txs[which % len(txs)]

    def pledge_of(self, who: int) -> PromisedPledge:
        """One of the pledges."""
        return self.all_pledges[who % len(self.all_pledges)]

    def coins(self) -> list[Outpoint]:
        """Confirmed coins of ours."""
        branch = self.chain.branch(self.chain.tip.hash)
        return [*confirmed(branch, self.all_pledges)]

    def change(self, where: int) -> Outpoint:
        """An output that pays nobody we know, of a transaction that waits or is in a block."""
        txs = [*self.chain.pool.values(), *(tx for b in self.chain.known.values() for tx in b.txs[1:])]
        found = [(tx.txid, n) for tx in txs for n, (_, script) in enumerate(tx.outputs) if script == NOBODY]
        return found[where % len(found)] if found else self.chain.fresh_coin()

    def outputs(self, who: int, how: str) -> list[tuple[int, bytes]]:
        """What a payment pays, its change last."""
        pledge, other = self.pledge_of(who), self.pledge_of(who + 1)
        sats, change = pledge.amount_sats, (70_000, NOBODY)
        if how == "twice":
            return [(sats // 2, pledge.script), change, (sats - sats // 2, pledge.script)]
        if how == "to two":
            return [(sats, pledge.script), (other.amount_sats, other.script), change]
        paid = {"short": sats - 1, "over": sats + 1, "dust": 999, "nothing": 0}.get(how, sats)
        return [(paid, pledge.script), change]

    def rival(self, which: int, how: str) -> Tx:
        """A transaction that spends what a waiting one spends, and something more."""
        tx = self.waiting(which)
        outputs: list[tuple[int, bytes]] = [(70_000, NOBODY)]
        if how == "other":
            outputs += self.outputs(which, "right")
        elif how in ("same", "short", "over", "dust"):
            more = {"short": -1, "over": 1}.get(how, 0)
            outputs = [(999 if how == "dust" else max(0, sats + more), script) for sats, script in tx.outputs]
        return self.chain.tx([*tx.spends[:1], self.chain.fresh_coin()], outputs)
