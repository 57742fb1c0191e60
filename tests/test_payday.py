"""Settlements against everything: stories that hypothesis makes up, judged after every step; see `support.payday`.

A story that fails is told again as short as hypothesis can make it, with a blob that replays it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy.exc import SQLAlchemyError

from crowdfund.errors import WorldError
from support.payday import TALLY, Payday
from support.payhouse import HOUR, beginning, prepared
from support.sabotage import QUICK, SLOW, Patch

SEED = int(os.environ.get("PAYDAY_SEED") or os.environ.get("MODEL_SEED") or 20261128)
STEPS = int(os.environ.get("PAYDAY_STEPS") or 1_000_000)
PARTS = 40
STORY = 120
FEW_STEPS = 360
ENOUGH_STEPS = 6_000


def told(steps: int, part: int, shrink: bool = True) -> None:
    """Stories until so many steps were taken. What is printed is shown with a failure, and tells how to see it again;
    so does the blob below it, on top of `test_everybody_is_paid_once`."""
    begun, since = time.process_time(), TALLY["steps"]
    print(f"Told again by PAYDAY_SEED={SEED} PAYDAY_STEPS={STEPS}, part {part}.")
    while (done := TALLY["steps"] - since) < steps:
        profile = settings(
            max_examples=max(1, min(40, (steps - done) // STORY)),
            stateful_step_count=STORY,
            deadline=None,
            print_blob=True,
            database=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        )
        run_state_machine_as_test(seed(SEED + 1_000_003 * part + done)(Payday), settings=profile)
    taken, seconds = TALLY["steps"] - since, time.process_time() - begun
    assert taken >= steps
    print(f"{taken} steps, {int(taken / seconds)} in a second of processor time; {dict(TALLY)}")


@pytest.fixture(autouse=True)
def parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The chain's own time, and so on."""
    prepared(monkeypatch)
    yield


def test_everybody_is_paid_once() -> None:
    told(FEW_STEPS, 0)


@pytest.mark.parametrize("seconds", [1, 5 * HOUR], ids=["closes later", "closes before anything is paid"])
def test_what_was_decided_while_the_signer_was_away_is_settled_on_another_chain(seconds: int) -> None:
    """A reorganisation deeper than the terms foresee: no coin would count any more, but nobody's money is stuck."""
    story = Payday()
    story.it_begins("over", poor=0)
    story.the_deadline_passes(full=False)
    story.vault.away, story.signer_back_in = True, 10
    story.work(3)
    decided = story.judge.shelf.decisions()
    assert [one.outcome for one in decided.values()] == ["failed", "funded", "funded"]
    assert not story.judge.signed
    story.reorganise(18, 1, 0, "none", remember=True, seconds=seconds)
    story.blocks(3, 600, full=True)
    story.work(3)
    story.nothing_is_wrong()
    for name, terms in story.judge.terms.items():
        now = story.judge.verdict(story.chain.tip.hash, terms)
        assert now is None or now.closing_hash != decided[name].closing_hash
    story.teardown()
    assert story.judge.decided == decided
    for coin in story.judge.coins(story.chain.tip.hash):
        name = coin.given.campaign
        assert coin.spent_by is not None and coin.height > decided[name].closing_height
        counted = coin.outpoint in story.judge.counted[name]
        assert story.judge.signed[coin.spent_by].kind == ("release" if counted else "refund")


@pytest.mark.long
@pytest.mark.parametrize("part", range(1, PARTS + 1))
def test_everybody_is_paid_once_in_a_million_steps(part: int) -> None:
    told(-(-STEPS // PARTS), part)
    wanted = ("deaths", "deaths in recovery", "thefts refused", "coins settled by release", "coins settled by refund")
    assert STEPS < 100_000 or all(TALLY[name] for name in wanted), "the stories were not about what they should be"


def is_found(fault: Callable[[Patch], None], patch: Patch) -> None:
    beginning()
    fault(patch)
    with pytest.raises((AssertionError, SQLAlchemyError, WorldError)):
        told(ENOUGH_STEPS, 0, shrink=False)


@pytest.mark.parametrize("fault", QUICK, ids=lambda fault: fault.__name__.strip("_"))
def test_a_fault_is_found(fault: Callable[[Patch], None], monkeypatch: Patch) -> None:
    is_found(fault, monkeypatch)


@pytest.mark.long
@pytest.mark.parametrize("fault", SLOW, ids=lambda fault: fault.__name__.strip("_"))
def test_another_fault_is_found(fault: Callable[[Patch], None], monkeypatch: Patch) -> None:
    is_found(fault, monkeypatch)
