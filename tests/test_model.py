"""Watching and deciding against a model: stories that hypothesis makes up, over a chain in memory with real bytes.

A story that fails is told again as short as hypothesis can make it, with a blob that replays it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from crowdfund.campaigns import queries
from crowdfund.chain import follow
from support.story import Story

SEED = int(os.environ.get("MODEL_SEED") or 20260107)  # make test-long SEED=n
FEW, MANY, STEPS = 3, 300, 40


def profile(examples: int) -> settings:
    """How many stories, and how long they are."""
    return settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        print_blob=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(params=[3, 100], ids=["a few blocks a round", "all blocks at once"], autouse=True)
def parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """How many blocks are taken in one round."""
    monkeypatch.setattr(follow, "MAX_BLOCKS_AT_ONCE", request.param)
    yield


@pytest.fixture
def story() -> Iterator[Story]:
    """One that the test itself tells."""
    told = Story()
    yield told
    told.teardown()


def test_the_books_are_what_the_model_says() -> None:
    """The same stories each time, so that a failure is about what was changed; new ones are told in the long run."""
    run_state_machine_as_test(seed(SEED)(Story), settings=profile(FEW))


@pytest.mark.long
def test_the_books_are_what_the_model_says_in_many_stories() -> None:
    run_state_machine_as_test(seed(SEED)(Story), settings=profile(MANY))


def test_an_output_of_no_satoshi_at_all(story: Story) -> None:
    story.a_payment(who=0, how="nothing", where=0, mined=True)
    story.the_books_are_true()
    assert story.books.states() == {"short": 1, "awaiting": 2}


def test_coins_that_come_when_the_cap_is_reached(story: Story) -> None:
    """The first campaign accepts 50,000 sat: what is paid to it beyond that counts no more, in whatever order."""
    for _ in range(8):
        for who in (0, 1):
            story.a_payment(who=who, how="right", where=0, mined=True)
            story.the_books_are_true()
    promise = story.books.promises[0]
    with story.books.database.reading() as session:
        snapshot = queries.load(session, promise.id)
        assert snapshot.cap_reached and snapshot.over_cap
    story.reorganise(9, 0, 0, "backwards", remember=False)
    story.the_books_are_true()
    story.blocks(blocks=14, seconds=12 * 3_600)
    story.the_books_are_true()


def test_a_settlement_whose_coins_a_reorganisation_takes_is_still_owed(story: Story) -> None:
    story.a_payment(who=2, how="right", where=0, mined=True)
    story.blocks(blocks=4, seconds=12 * 3_600)
    story.blocks(blocks=14, seconds=600)
    story.the_books_are_true()
    assert len(story.books.decided) == 2
    story.reorganise(20, -20, 0, "none", remember=False)
    story.the_books_are_true()
    assert story.books.states() == {"awaiting": 2, "in_settlement": 1}
