"""Stories about being paid or refunded exactly once, which hypothesis makes up: people, miners, a node, a worker and a
signer with all that can befall them. After every step the judge looks; at the end everybody must have their money.

Everything runs in this process, over a chain in memory; time is the chain's own.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy.exc import DBAPIError

from crowdfund.campaigns import service
from crowdfund.errors import UserError, WorldError
from crowdfund.wallet.addresses import address_of
from crowdfund.worker import Worker
from support.model import Block, Outpoint, Tx
from support.paybooks import Given, Shelf
from support.payhouse import AMOUNTS, DISK, HOUR, IDS, REFUNDS, beginning, opened
from support.payjudge import Judge
from support.payparts import Clock, Killed, NearClient, Steps, Vault
from support.simchain import NOBODY
from support.thieves import thefts

POISONED = REFUNDS[1]
MOST_ROUNDS, MOST_BLOCKS, BLOCKS_AT_ONCE = 60, 200, 8
NUMBERS = st.integers(0, 2**10)
FEW = st.integers(1, 3)
SECONDS = st.sampled_from([600, 600, 2 * HOUR, 1, -900])
PAYMENTS = ("right", "right", "right", "short", "over", "two coins", "many coins", "dust", "small", "change", "to two")
WAYS = ("same", "none", "some", "others", "backwards")
CHANCES = ("headers", "block", "block_hash", "mempool_txids", "unspent", "broadcast", "feerate_sat_vb", "status")
EVENTS = ("block", "reorganisation", "forgets", "second worker")

TALLY: Counter[str] = Counter()
"""What the stories of this process came to."""


class Payday(RuleBasedStateMachine):
    """See above. Whatever is thrown at it, nobody is paid twice, nobody wrongly, and in the end nobody too little."""

    def __init__(self) -> None:
        super().__init__()
        begun = beginning()
        self.settings = begun.settings
        self.chain = begun.chain.copy()
        self.steps = Steps()
        DISK.steps, DISK.full = self.steps, False
        IDS.given = 10**6
        chain = self.chain
        Clock.seconds = staticmethod(lambda: chain.tip.time)
        self.path = begun.folder / "story.sqlite"
        self._copy()
        self.databases = [opened(self.path, number) for number in range(2)]
        for database in self.databases:
            database.steps = self.steps
        self.shelf = Shelf(str(self.path), self.databases[0])
        self.judge = Judge(self.chain, self.shelf, self.shelf.terms())
        self.vault = Vault(begun.folder / "vault", self.steps, DISK, self.judge.seen)
        self.chain.received = self.judge.received
        self.chain.before = self.interrupt
        self.interruption: tuple[str, Callable[[], None]] | None = None
        self.disturbed = False
        self.node_back_in = self.signer_back_in = 0
        self.workers = [self.new_worker(0), self.new_worker(1)]
        self.old_tips: list[str] = []

    def _copy(self) -> None:
        begun = beginning()
        for ending in ("-wal", "-shm"):
            self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
        shutil.copy(begun.database, self.path)
        shutil.rmtree(begun.folder / "vault", ignore_errors=True)
        shutil.copytree(begun.folder / "new vault", begun.folder / "vault")

    def new_worker(self, number: int) -> Worker:
        """A worker that knows what the database says and nothing else. Number 1 is a second one, which must not be."""
        return Worker(self.databases[number], self.chain, NearClient(self.vault), "regtest")

    def teardown(self) -> None:
        """All faults end, blocks come, and everybody gets what they are owed."""
        try:
            self.all_is_well()
            self.settle()
        finally:
            self.chain.before = lambda _: None
            self.shelf.close()
            for database in self.databases:
                database.close()
            TALLY["stories"] += 1
            TALLY.update({f"died {label}": times for label, times in self.steps.died.items()})

    @invariant()
    def nothing_is_wrong(self) -> None:
        """After every step."""
        TALLY["steps"] += 1
        self.judge.check()

    @initialize(stage=st.sampled_from(("fresh", "paid", "paid", "over", "over", "decided")), poor=st.integers(0, 3))
    def it_begins(self, stage: str, poor: int) -> None:
        """Early or late in the life of the campaigns; one of them is poor, or none."""
        if stage == "fresh":
            return
        for number in range(3):
            if number != poor:
                self.a_crowd_pays(number)
        if stage != "paid":
            self.the_deadline_passes(full=True)
        if stage == "decided":
            self.work(3)

    # What people do

    @rule(
        campaign=st.integers(0, 2),
        amount=st.sampled_from(AMOUNTS),
        refund=st.sampled_from(REFUNDS),
        dies=st.none() | FEW,
    )
    def a_pledge(self, campaign: int, amount: int, refund: bytes, dies: int | None) -> None:
        """Somebody promises; the web process may die over it."""
        name = list(self.judge.terms)[campaign]
        self.steps.left = dies
        with suppress(UserError, Killed):
            service.open_pledge(self.databases[0], self.settings, name, amount, address_of(refund, "regtest"))
        self.steps.left = None

    @rule(who=NUMBERS, how=st.sampled_from(PAYMENTS), where=NUMBERS, mined=st.booleans())
    def a_payment(self, who: int, how: str, where: int, mined: bool) -> None:
        """Somebody pays, into the mempool or straight into a block."""
        spends = [self.change(where)] if how == "change" else [self.chain.fresh_coin()]
        tx = self.chain.tx(spends, self.outputs(who, how))
        if mined:
            self.chain.mine([*self.chain.pool.values(), tx], 600)
        else:
            self.chain.send(tx)

    another_payment = a_payment

    @rule(campaign=st.integers(0, 2))
    def a_crowd_pays(self, campaign: int) -> None:
        """Every pledge of a campaign is paid at once."""
        name = list(self.judge.terms)[campaign]
        for given in [g for g in self.judge.given.values() if g.campaign == name]:
            self.chain.send(self.chain.tx([self.chain.fresh_coin()], [(given.amount_sats, given.script)]))
        self.chain.mine(list(self.chain.pool.values()), 600)

    @precondition(lambda self: self.waiting())
    @rule(which=NUMBERS, how=st.sampled_from(("same", "short", "over", "none", "other")), mined=st.booleans())
    def a_double_spend(self, which: int, how: str, mined: bool) -> None:
        """What a waiting payment spends is spent otherwise: in the mempool, or in a block out of the blue."""
        rival = self.rival(which, how)
        if mined:
            self.chain.mine([rival], 600)
        else:
            self.chain.send(rival)

    # What miners do

    @rule(mask=NUMBERS, seconds=SECONDS, old_first=st.booleans(), miner=st.none() | NUMBERS)
    def a_block(self, mask: int, seconds: int, old_first: bool, miner: int | None) -> None:
        """A block with some of what was ever sent or signed; where two conflict, the older or the newer one. Once in a
        while the miner pledges the fresh coin."""
        there = self.candidates()
        chosen = [tx for n, tx in enumerate(there) if mask >> n % 10 & 1]
        to = (50, NOBODY)
        if miner is not None and miner % 16 == 0:
            given = self.pledge_of(miner)
            to = (given.amount_sats, given.script)
        self.chain.mine(chosen if old_first else chosen[::-1], seconds, to)

    @rule(blocks=st.sampled_from([1, 2, 3, 4, 7]), seconds=SECONDS, full=st.booleans())
    def blocks(self, blocks: int, seconds: int, full: bool) -> None:
        """Blocks with all that waits, or with nothing."""
        for _ in range(blocks):
            self.chain.mine(list(self.chain.pool.values()) if full else [], seconds)

    @rule(full=st.booleans())
    def the_deadline_passes(self, full: bool) -> None:
        """Six hours in eight blocks."""
        for _ in range(8):
            self.chain.mine(list(self.chain.pool.values()) if full else [], HOUR)

    @rule(campaign=st.integers(0, 2), mask=NUMBERS, chance=st.integers(0, 5))
    def the_time_locks_open(self, campaign: int, mask: int, chance: int) -> None:
        """Once in a while nobody does anything until backers may take their coins back by themselves; some do."""
        height = list(self.judge.terms.values())[campaign].timelock_height
        if chance == 5:
            while self.chain.tip.height < height:
                self.chain.mine([], 600)
            self.chain.mine(self.some(mask, self.held_refunds()), 600)

    @rule(depth=st.integers(1, 6), length=st.integers(-2, 3), mask=NUMBERS, way=st.sampled_from(WAYS),
          remember=st.booleans(), seconds=SECONDS)  # fmt: skip
    def a_reorganisation(self, depth: int, length: int, mask: int, way: str, remember: bool, seconds: int) -> None:
        """Another branch wins, with the same, none, some or others of the transactions."""
        self.reorganise(depth, length, mask, way, remember, seconds)

    @precondition(lambda self: self.old_tips)
    @rule(which=NUMBERS, remember=st.booleans())
    def an_old_branch_again(self, which: int, remember: bool) -> None:
        """A branch that had lost wins after all."""
        tip = self.old_tips[which % len(self.old_tips)]
        self.old_tips.append(self.chain.tip.hash)
        self.chain.go_to(tip, remember)

    # What a node does

    @rule(estimate=st.sampled_from([2, 2, 1, 10, 50, 100, 500, 2_500, None]), floor=st.sampled_from([1, 1, 1, 3, 100]))
    def fees_jump(self, estimate: int | None, floor: int) -> None:
        """Everybody wants into the next block, or nobody."""
        self.chain.estimate_sat_vb = estimate
        self.chain.raise_floor(floor)

    @rule(which=st.none() | NUMBERS)
    def the_node_forgets(self, which: int | None) -> None:
        """One transaction of the mempool, or all of them."""
        for txid in [txid for n, txid in enumerate(self.chain.pool) if which is None or n == which % 8]:
            self.chain.evict(txid)

    @rule(what=st.sampled_from(["is away", "answers are lost", "is choosy", "is not choosy"]), number=FEW)
    def the_node(self, what: str, number: int) -> None:
        """It is away for some rounds, takes transactions and its answer is lost, or dislikes a script."""
        if what == "is away":
            self.node_back_in, self.chain.away = number, True
        elif what == "answers are lost":
            self.chain.replies_lost = number
        else:
            self.chain.poison = {POISONED} if what == "is choosy" else set()

    @rule(moment=st.sampled_from(CHANCES), what=st.sampled_from(EVENTS), number=NUMBERS)
    def a_chance(self, moment: str, what: str, number: int) -> None:
        """Something happens while the worker looks, right before this answer of the node."""

        def happen() -> None:
            if what == "block":
                self.chain.mine(self.some(number, self.candidates()), 600)
            elif what == "reorganisation":
                self.reorganise(1 + number % 4, number % 3, number, "some", remember=True)
            elif what == "forgets":
                self.chain.pool.clear()
            else:
                self.second_acts()

        self.interruption = (moment, happen)

    # What the worker and the signer do

    @rule(rounds=st.integers(1, 4))
    def the_worker(self, rounds: int) -> None:
        """Looks at the chain and does what is due."""
        self.work(rounds)

    the_worker_again = the_worker_once_more = the_worker_after_all = the_worker

    @rule(rounds=st.integers(1, 2))
    def a_second_worker(self, rounds: int) -> None:
        """One that should not be there, and knows only what was true long ago."""
        self.work(rounds, number=1)

    @rule(step=st.integers(0, 12))
    def a_second_worker_in_between(self, step: int) -> None:
        """It acts between two side effects of the first one."""
        countdown = iter(range(step, -1, -1))

        def act() -> None:
            if next(countdown, 0) == 0:
                self.second_acts()
            else:
                self.steps.between = act

        self.steps.between = act
        self.work(2)
        self.steps.between = None

    @rule(step=st.integers(0, 30), again=st.integers(0, 20), alone=st.booleans(), rounds=FEW)
    def a_crash(self, step: int, again: int, alone: bool, rounds: int) -> None:
        """The power goes at a side effect, and again while everything starts anew. `alone`: where it is the signer's
        own, only the signer dies."""
        self.vault.dies_alone = alone
        for number, after in enumerate((step, again)):
            self.steps.left = after
            try:
                self.work(rounds + 2)
            except Killed:
                TALLY["deaths in recovery" if number else "deaths"] += 1
                self.restart()
            self.steps.left = None
            self.judge.check()
        self.vault.dies_alone = False

    a_crash_too = a_crash

    @rule()
    def everything_restarts(self) -> None:
        """Worker, signer and database, from disk."""
        self.restart()

    @rule(what=st.sampled_from(["is away", "has a full disk", "is well", "restarts"]), number=FEW)
    def the_signer(self, what: str, number: int) -> None:
        """It is away, cannot write, or starts anew."""
        if what == "is well":
            self.vault.away = DISK.full = False
        elif what == "restarts":
            self.vault.restart()
        else:
            self.signer_back_in = number
            self.vault.away, DISK.full = what == "is away", what != "is away"

    @rule(which=NUMBERS)
    def a_thief(self, which: int) -> None:
        """Asks the signer for everything that nobody should get."""
        coins = self.judge.coins(self.chain.tip.hash)
        if coins and not self.vault.away:
            coin = coins[which % len(coins)]
            others = [c for c in coins if c.given.campaign == coin.given.campaign]
            for name, message in thefts(self.judge, coin, others).items():
                assert "error" in self.vault.answer(message), f"the signer has given {name}: {message}"
                TALLY["thefts refused"] += 1

    # What the rules are made of

    def work(self, rounds: int, number: int = 0) -> None:
        """Rounds until nothing changes, at most so many; trouble is noted as the loop in the worker's process does."""
        worker = self.workers[number]
        for _ in range(rounds):
            self.disturbed = False
            self._time_heals()
            again = self.look(worker)
            if not again:
                return

    def look(self, worker: Worker) -> bool:
        """One round; True if another one should follow."""
        try:
            return worker.round()
        except WorldError as error:
            worker.note_trouble(error)
            return False
        except DBAPIError as error:
            assert self.disturbed, f"the database refuses what a lone worker writes: {error.orig}"
            worker.note_fault()
            return True

    def second_acts(self) -> None:
        """The other worker has a round, at a moment that the first one knows nothing of."""
        self.work(1, number=1)
        self.disturbed = True

    def _time_heals(self) -> None:
        self.node_back_in -= 1
        self.signer_back_in -= 1
        if self.node_back_in < 0:
            self.chain.away = False
        if self.signer_back_in < 0:
            self.vault.away = DISK.full = False

    def interrupt(self, moment: str) -> None:
        """Called before each answer of the chain."""
        if self.interruption is not None and self.interruption[0] == moment:
            happen, self.interruption = self.interruption[1], None
            happen()

    def restart(self) -> None:
        """All processes are new; the disk is what it was."""
        for database in self.databases:
            database.close()
        self.vault.restart()
        self.workers = [self.new_worker(0), self.new_worker(1)]

    def all_is_well(self) -> None:
        """Every fault ends."""
        self.disturbed = False
        self.interruption = self.steps.left = self.steps.between = None
        self.chain.away, self.chain.replies_lost = False, 0
        self.chain.estimate_sat_vb, self.chain.floor_sat_vb = 2, 1
        self.vault.away = self.vault.dies_alone = DISK.full = False
        self.restart()

    def settle(self) -> None:
        """Liveness: blocks come until everything owed is settled. What one script is disliked for keeps nobody else
        waiting."""
        self._settle_all_but(lambda: self.judge.disliked() | self.judge.too_small())
        if self.chain.poison:
            self.chain.poison = set()
            self._settle_all_but(self.judge.too_small)
        self._count(self.judge.blocked())

    def _settle_all_but(self, excused: Callable[[], set[Outpoint]]) -> None:
        for number in range(MOST_BLOCKS // BLOCKS_AT_ONCE):
            for _ in range(MOST_ROUNDS):
                if not self.look(self.workers[0]):
                    break
            else:
                raise AssertionError("the worker never comes to rest")
            self.judge.check()
            decided = self.judge.decided.keys() == self.judge.terms.keys()
            if decided and not self.judge.unsettled().keys() - excused():
                return
            for _ in range(BLOCKS_AT_ONCE):
                waiting = [*self.chain.pool.values(), *self.chain.strangers.values()]
                self.chain.mine(waiting, HOUR if number < 2 else 600)
        assert decided, "a campaign is not decided"
        unpaid = self.judge.unsettled().keys() - self.judge.blocked() - excused()
        coins = {c.outpoint: c for c in self.judge.coins(self.chain.tip.hash)}
        why = self.workers[0].view.in_the_way
        assert not unpaid, f"still owed ({why}): {[(coins[o], self.judge.planned.get(o)) for o in unpaid]}"

    def _count(self, blocked: set[Outpoint]) -> None:
        TALLY["blocked coins"] += len(blocked)
        for coin in self.judge.coins(self.chain.tip.hash):
            if coin.spent_by in self.judge.timelocked:
                TALLY["coins taken back"] += 1
            elif coin.spent_by is not None:
                kind = self.judge.signed[coin.spent_by].kind
                assert kind == self.judge.planned[coin.outpoint].kind
                TALLY[f"coins settled by {kind}"] += 1

    def reorganise(self, depth: int, length: int, mask: int, way: str, remember: bool, seconds: int = 600) -> None:
        """The last `depth` blocks are replaced by `depth` + `length` others; the story's first blocks stay."""
        depth = min(depth, self.chain.tip.height - beginning().chain.tip.height)
        if depth <= 0:
            return
        self.old_tips.append(self.chain.tip.hash)
        lost = self.chain.branch(self.chain.tip.hash)[-depth:]
        self.chain.go_to(lost[0].prev, remember)
        for number in range(max(0, depth + length)):
            self.chain.mine(self.chosen(lost, number, way, mask), seconds)

    def chosen(self, lost: Sequence[Block], number: int, way: str, mask: int) -> list[Tx]:
        """What goes into a block of the new branch."""
        held = [list(block.txs[1:]) for block in lost]
        if way == "same":
            return held[number] if number < len(held) else []
        if way == "backwards":
            return held[-1 - number][::-1] if number < len(held) else []
        if way == "some":
            return self.some(mask >> number, [tx for txs in held for tx in txs])
        if way == "others" and number < len(held):
            ours = self.judge.signed | self.judge.timelocked
            paid = [tx for tx in held[number] if tx.txid not in ours]
            return [self.chain.tx(tx.spends, [(9_000, NOBODY)]) for tx in paid] + self.some(mask, self.candidates())
        return []

    def candidates(self) -> list[Tx]:
        """All that a miner may hold: what waits, all that was ever signed, and payments that were lost."""
        signed = [made.sealed.tx for made in self.judge.signed.values()] + self.held_refunds()
        waiting = [tx for tx in self.chain.pool.values() if tx.txid not in self.judge.signed]
        return [*signed, *waiting, *list(self.chain.strangers.values())[-6:]]

    def held_refunds(self) -> list[Tx]:
        """Time-locked refunds that backers have. They get them from the database; one whose signature was lost on the
        way there was nobody's."""
        held = self.judge.shelf.held_refunds()
        return [made.sealed.tx for txid, made in self.judge.timelocked.items() if txid in held]

    def some(self, mask: int, there: Sequence[Tx]) -> list[Tx]:
        """Some of these."""
        return [tx for n, tx in enumerate(there) if mask >> n % 10 & 1]

    def waiting(self) -> list[Tx]:
        """Strangers' payments in the mempool."""
        return [tx for tx in self.chain.pool.values() if tx.txid in self.chain.strangers]

    def pledge_of(self, who: int) -> Given:
        """One of the pledges."""
        return list(self.judge.given.values())[who % len(self.judge.given)]

    def change(self, where: int) -> Outpoint:
        """An output that pays nobody we know, of a payment that waits or is in a block."""
        found = [(tx.txid, n) for tx in self.chain.strangers.values()
                 for n, (_, script) in enumerate(tx.outputs) if script == NOBODY]  # fmt: skip
        return found[where % len(found)] if found else self.chain.fresh_coin()

    def outputs(self, who: int, how: str) -> list[tuple[int, bytes]]:
        """What a payment pays, its change last."""
        pledge, other = self.pledge_of(who), self.pledge_of(who + 1)
        sats, change = pledge.amount_sats, (70_000, NOBODY)
        if how in ("two coins", "many coins"):
            number = 2 if how == "two coins" else 7
            return [*[(sats // number, pledge.script)] * number, change]
        if how == "to two":
            return [(sats, pledge.script), (other.amount_sats, other.script), change]
        paid = {"short": sats - 1, "over": sats + 1, "dust": 999, "small": 1_000}.get(how, sats)
        return [(paid, pledge.script), change]

    def rival(self, which: int, how: str) -> Tx:
        """A transaction that spends what a waiting one spends, and something more."""
        waiting = self.waiting()
        tx = waiting[which % len(waiting)]
        outputs: list[tuple[int, bytes]] = [(70_000, NOBODY)]
        if how == "other":
            outputs += self.outputs(which, "right")
        elif how != "none":
            more = {"short": -1, "over": 1}.get(how, 0)
            outputs = [(max(0, sats + more), script) for sats, script in tx.outputs]
        return self.chain.tx([*tx.spends[:1], self.chain.fresh_coin()], outputs)
