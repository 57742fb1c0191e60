"""The settlement is killed at every one of its steps, and again while it recovers: everybody is paid exactly once.

The steps are not listed here: a dry run finds them. Each case is a campaign of its own on one real node, with real
processes that get SIGKILL; see support/crash_cases.py for the play and support/crash_judge.py for the verdict.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import zip_longest
from pathlib import Path

import pytest

from crowdfund.chain.regtest import RegtestNode
from support.crash_cases import (
    CANCELLED,
    FIRST_SATS,
    LATE_SATS,
    PLANNING,
    SECOND_SATS,
    STAGES,
    VERY_LATE_SATS,
    Case,
    Kill,
    Play,
)
from support.crash_judge import ChainRecord, judge
from support.crash_store import Databases, Files, Store
from support.node import new_node
from support.nursery import Nursery
from support.postgres import shared

SEED = int(os.environ.get("CRASH_SEED") or 20260107)  # make test-long SEED=n
CORES = 2
CASES_AT_ONCE = 120
PAYMENTS = [*FIRST_SATS, SECOND_SATS, LATE_SATS, VERY_LATE_SATS]
ENDINGS = ("funded", "failed")
LEAST = {"worker": 16, "signer": 3}  # steps in the settling stage; fewer would mean that the counting is broken


class Stage:
    """A node and nurseries for plays, and what the dry run found."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.counts = self._dry_run()

    def _dry_run(self) -> dict[tuple[str, str, str], list[str]]:
        """(ending, stage, who) -> labels of the steps of an undisturbed life."""
        cases = [Case(f"dry-{ending}", ending, {}) for ending in ENDINGS]
        self.perform(cases)
        return {
            (case.ending, stage, who): case.steps[(stage, 0, who)]
            for case in cases
            for stage in STAGES
            for who in LEAST
        }

    def perform(self, cases: Sequence[Case]) -> None:
        """Play all cases and judge each."""
        for first in range(0, len(cases), CASES_AT_ONCE):
            part = cases[first : first + CASES_AT_ONCE]
            chain = ChainRecord.read(self.play.node, self.play.run(part))
            for case in part:
                judge(case, chain, PAYMENTS)

    def steps(self, ending: str, stage: str, who: str) -> range:
        """The numbers of the steps there."""
        return range(1, len(self.counts[(ending, stage, who)]) + 1)

    def singles(self, ending: str, every: int = 1) -> list[Case]:
        """Cases that together are killed at every step of worker and signer, once in each stage; or at every second
        one, the other ending at the others."""
        first = ENDINGS.index(ending) % every
        by_stage = {s: [[Kill(w, n)] for w in LEAST for n in self.steps(ending, s, w)[first::every]] for s in STAGES}
        return cases_of(f"{ending}-single-{every}", ending, by_stage)


def cases_of(
    name: str,
    ending: str,
    by_stage: dict[str, list[list[Kill]]],
    *,
    sleeps: bool = False,
    every_statement: bool = False,
) -> list[Case]:
    """As few cases as it takes: each takes the next series of kills of every stage."""
    rows = zip_longest(*by_stage.values(), fillvalue=())
    kills = [{s: k for s, k in zip(by_stage, row, strict=True) if k} for row in rows]
    return [Case(f"{name}-{n + 1}", ending, k, sleeps, every_statement) for n, k in enumerate(kills)]


def one_of(many: int, chance: random.Random, last: int) -> list[int]:
    """The first step, the last one, and between them one of every so many."""
    return [1, *(min(n + chance.randrange(many), last - 1) for n in range(2, last, many)), last]


def hit(cases: Iterable[Case], life: int) -> set[tuple[str, str, str, int]]:
    """(ending, stage, who, step) of every kill that happened in the given life of a stage (0: the first)."""
    return {(c.ending, stage, k.who, k.step) for c in cases for stage, n, k, _ in c.hits if n == life}


@contextmanager
def opened(folder: Path, store: Store) -> Iterator[Stage]:
    with ExitStack() as stack:
        node: RegtestNode = stack.enter_context(new_node(folder / "node"))
        nurseries = [stack.enter_context(Nursery()) for _ in range(CORES)]
        yield Stage(Play(node, folder / "play", nurseries, store))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with opened(tmp_path_factory.mktemp("stage"), Files()) as made:
        yield made


def test_the_dry_run_finds_the_steps(stage: Stage) -> None:
    for ending in ENDINGS:
        for who, least in LEAST.items():
            assert len(stage.counts[(ending, "settle", who)]) >= least
    labels = {label for found in stage.counts.values() for label in found}
    for wanted in (
        "_watch: before the commit of",
        "after the commit of INSERT INTO transfers",
        "signer: the release is signed, not stored",
        "signer: the refund is signed, not stored",
        "after the commit of UPDATE attempts raw",
        "after the commit of UPDATE attempts sent_at",
        "broadcast: the node has it, its answer is not seen",
        "after the commit of UPDATE attempts refusal",
        "log: the refund is written, nothing signed",
        "answer: register is done, not answered",
    ):
        assert any(wanted in label for label in labels), wanted


@pytest.mark.parametrize("every", [2, pytest.param(1, marks=pytest.mark.long)])
def test_killed_once_at_every_step(stage: Stage, every: int) -> None:
    """In the normal run at the odd ones on the way to a payout, at the even ones on the way to refunds: steps come in
    pairs that leave the same things behind (after one thing, before the next)."""
    cases = [case for ending in ENDINGS for case in stage.singles(ending, every)]
    stage.perform(cases)
    every_step = {
        (ending, s, who, n)
        for first, ending in enumerate(ENDINGS)
        for s in STAGES
        for who in LEAST
        for n in stage.steps(ending, s, who)[first % every :: every]
    }
    assert hit(cases, life=0) == every_step


def test_a_few_are_killed_on_postgresql(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The long test below kills at every step; these two deaths say that the play is the same one there."""
    chance = random.Random(SEED)
    play = Play(stage.play.node, tmp_path_factory.mktemp("few"), stage.play.nurseries, Databases(shared()))
    cases = [
        Case(f"{ending}-{s}", ending, {s: [Kill("worker", chance.choice(stage.steps(ending, s, "worker")))]})
        for ending, s in zip(ENDINGS, PLANNING, strict=True)
    ]
    chain = ChainRecord.read(play.node, play.run(cases))
    for case in cases:
        judge(case, chain, PAYMENTS)
    assert len(hit(cases, life=0)) == len(cases)


@pytest.mark.long
def test_killed_once_at_every_step_on_postgresql(tmp_path: Path) -> None:
    with opened(tmp_path, Databases(shared())) as stage:
        cases = [case for ending in ENDINGS for case in stage.singles(ending)]
        stage.perform(cases)
        every_step = {(e, s, who, n) for e in ENDINGS for s in STAGES for who in LEAST for n in stage.steps(e, s, who)}
        assert hit(cases, life=0) == every_step


def test_killed_again_while_it_recovers(stage: Stage) -> None:
    """At one of every eight steps, then at one of the recovery's, chosen by a seed. All: the long test below."""
    chance = random.Random(SEED)
    cases = []
    for ending in ENDINGS:
        by_stage = {}
        for name in STAGES:
            last = len(stage.steps(ending, name, "worker"))
            firsts = one_of(8, chance, last)
            by_stage[name] = [[Kill("worker", n), Kill("worker", chance.randint(1, last - n + 1))] for n in firsts]
        cases += cases_of(f"{ending}-double", ending, by_stage)
    stage.perform(cases)
    assert len(hit(cases, life=1)) > len(STAGES) * len(ENDINGS), "no crash during recovery was hit"


@pytest.mark.parametrize("many", [8, pytest.param(2, marks=pytest.mark.long)])
def test_dead_while_the_chain_goes_on(stage: Stage, many: int) -> None:
    """Killed in the middle of a settlement, and started again only when the next block is there."""
    chance = random.Random(SEED)
    cases = []
    for ending in ENDINGS:
        steps = {s: one_of(many, chance, len(stage.steps(ending, s, "worker"))) for s in PLANNING}
        by_stage = {s: [[Kill("worker", n)] for n in numbers] for s, numbers in steps.items()}
        cases += cases_of(f"{ending}-asleep-{many}", ending, by_stage, sleeps=True)
    stage.perform(cases)


def _cancelled_steps(stage: Stage) -> dict[str, int]:
    """How many steps worker and signer take in an undisturbed life in which the campaign is cancelled and refunded."""
    dry = Case("dry-cancelled", CANCELLED, {})
    stage.perform([dry])
    labels = [label for who in LEAST for label in dry.steps[("settle", 0, who)]]
    for wanted in (
        "log: the cancellation is written",
        "answer: prove_cancelled is done, not answered",
        "signer: the refund is signed, not stored",
    ):
        assert any(wanted in label for label in labels), wanted
    return {who: len(dry.steps[("settle", 0, who)]) for who in LEAST}


def _cancelled_cases(counts: dict[str, int], picked: dict[str, Iterable[int]]) -> list[Case]:
    kills = [[Kill(who, n)] for who in LEAST for n in picked[who] if n <= counts[who]]
    return cases_of("cancelled-single", CANCELLED, {"settle": kills})


def test_killed_at_a_few_steps_of_a_cancellation(stage: Stage) -> None:
    """While it is recorded, decided, proven, signed and sent; at every step: the long test below."""
    chance, counts = random.Random(SEED), _cancelled_steps(stage)
    picked = {who: sorted(chance.sample(range(1, n + 1), min(n, 3))) for who, n in counts.items()}
    stage.perform(cases := _cancelled_cases(counts, dict(picked)))
    assert len(hit(cases, life=0)) == len(cases) >= 5


@pytest.mark.long
def test_killed_once_at_every_step_of_a_cancellation(stage: Stage) -> None:
    counts = _cancelled_steps(stage)
    stage.perform(cases := _cancelled_cases(counts, {who: range(1, n + 1) for who, n in counts.items()}))
    assert len(hit(cases, life=0)) == sum(counts.values())


@pytest.mark.long
def test_killed_at_every_step_of_every_recovery(stage: Stage) -> None:
    singles = [case for ending in ENDINGS for case in stage.singles(ending)]
    stage.perform(singles)
    cases = []
    for ending in ENDINGS:
        by_stage: dict[str, list[list[Kill]]] = {name: [] for name in STAGES}
        for case in (c for c in singles if c.ending == ending):
            for name, (first,) in case.kills.items():
                recovery = case.steps[(name, 1, "worker")]
                by_stage[name] += [[first, Kill("worker", m + 1)] for m in range(len(recovery))]
        cases += cases_of(f"{ending}-pair", ending, by_stage)
    stage.perform(cases)
    planned = sum(len(kills) - 1 for case in cases for kills in case.kills.values())
    assert sum(1 for case in cases for _, life, _, _ in case.hits if life == 1) == planned > 0


@pytest.mark.long
def test_killed_at_every_statement(stage: Stage) -> None:
    """Between any two writes of a transaction too: an unfinished one leaves nothing behind."""
    dry = [Case(f"statements-dry-{ending}", ending, {}, every_statement=True) for ending in ENDINGS]
    stage.perform(dry)
    cases = []
    for case in dry:
        by_stage = {s: [[Kill("worker", n + 1)] for n in range(len(case.steps[(s, 0, "worker")]))] for s in STAGES}
        cases += cases_of(f"{case.ending}-statement", case.ending, by_stage, every_statement=True)
    stage.perform(cases)
    assert len(hit(cases, life=0)) == sum(len(case.steps[(s, 0, "worker")]) for case in dry for s in STAGES)


@pytest.mark.long
def test_killed_at_random_over_and_over(stage: Stage) -> None:
    """Up to six deaths in each stage, of worker and signer in turn, chosen by a seed."""
    chance = random.Random(SEED)
    cases = []
    for n in range(2 * CASES_AT_ONCE):
        ending = ENDINGS[n % 2]
        kills = {
            name: [
                Kill(who, chance.randint(1, len(stage.steps(ending, name, who)) or 1))
                for who in chance.choices(tuple(LEAST), k=chance.randint(1, 6))
            ]
            for name in STAGES
        }
        cases.append(Case(f"{ending}-random-{n}", ending, kills))
    stage.perform(cases)
    assert sum(len(case.hits) for case in cases) > 1_000
