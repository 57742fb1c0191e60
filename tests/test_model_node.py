"""The same stories and the same model, on a real node, whose wallet pays, replaces and double-spends."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from support.story_node import NodeStory

SEED = int(os.environ.get("MODEL_SEED") or 20260107)


def test_the_books_of_a_real_node_are_what_the_model_says() -> None:
    profile = settings(
        max_examples=4,
        stateful_step_count=15,
        deadline=None,
        print_blob=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(SEED)(NodeStory), settings=profile)
