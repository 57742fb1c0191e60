"""Settlements against everything: stories that hypothesis makes up, judged after every step; see `support.payday`.

A story that fails is told again as short as hypothesis can make it, with a blob that replays it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from support.payday import TALLY, Payday
from support.payhouse import prepared

SEED = int(os.environ.get("PAYDAY_SEED") or os.environ.get("MODEL_SEED") or 20261128)
STEPS = int(os.environ.get("PAYDAY_STEPS") or 1_000_000)
PARTS = 40
STORY = 60
FEW_STEPS = 1_200


def told(steps: int, number: int, shrink: bool = True) -> None:
    """Stories until so many steps were taken; each with a seed of its own, so that one alone can be told again."""
    begun, since = time.monotonic(), TALLY["steps"]
    while (done := TALLY["steps"] - since) < steps:
        profile = settings(
            max_examples=max(1, min(40, (steps - done) // STORY)),
            stateful_step_count=STORY,
            deadline=None,
            print_blob=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        )
        run_state_machine_as_test(seed(SEED + 1_000_003 * number + done)(Payday), settings=profile)
    seconds = time.monotonic() - begun
    assert TALLY["steps"] - since >= steps
    print(f"part {number}: {TALLY['steps'] - since} steps, {int((TALLY['steps'] - since) / seconds)} a second; {dict(TALLY)}")


@pytest.fixture(autouse=True)
def parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The chain's own time, and so on."""
    prepared(monkeypatch)
    yield


def test_everybody_is_paid_once() -> None:
    told(FEW_STEPS, 0)


@pytest.mark.long
@pytest.mark.parametrize("part", range(1, PARTS + 1))
def test_everybody_is_paid_once_in_a_million_steps(part: int) -> None:
    told(-(-STEPS // PARTS), part)
