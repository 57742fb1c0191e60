"""What the worker tells of itself, and what it does while a second backend contradicts the first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crowdfund.campaigns import incidents
from crowdfund.campaigns.models import ChainView
from crowdfund.chain.core import CoreBackend
from crowdfund.chain.port import Unreachable, WrongAnswer
from crowdfund.errors import WorldError
from crowdfund.worker import Worker
from support.world import World


class Second(CoreBackend):
    """The world's node once more, as a second backend that may be away or see other blocks."""

    def __init__(self, world: World) -> None:
        super().__init__(world.settings.bitcoind_url, world.settings.bitcoind_cookie_file)
        self.fault: WorldError | None = None
        self.other: dict[int, str | None] = {}
        self.asked = 0

    def block_hash(self, height: int) -> str | None:
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        return self.other[height] if height in self.other else super().block_hash(height)


@pytest.fixture
def second(world: World) -> Iterator[Second]:
    """The world's worker decides nothing without this one."""
    made = Second(world)
    world.worker = with_second(world, made, 0)
    yield made
    made.close()


def with_second(world: World, second: Second, every_s: float) -> Worker:
    worker = world.new_worker()
    worker.second, worker.second_every_s = second, every_s
    return worker


def view(world: World) -> ChainView:
    with world.database.reading() as session:
        return session.get_one(ChainView, 1)


def log_of(world: World, campaign: str) -> list[tuple[int, bool]]:
    """(height, has it ended) of each line of the campaign's public log."""
    with world.database.reading() as session:
        return [(v.height, v.ended_at is not None) for v in incidents.of_campaign(session, campaign)]


def test_where_both_agree_the_decision_is_as_quick_as_with_one(world: World, second: Second) -> None:
    campaign = world.campaign(goal_sats=400_000)
    world.paid(campaign, 400_000)
    assert second.asked == 0, "it is asked only when something is to be decided"
    world.close(campaign)
    assert world.summary(campaign).state == "releasing" and view(world).pause == ""
    assert log_of(world, campaign) == []


def test_while_two_servers_contradict_each_other_nothing_is_decided(world: World, second: Second) -> None:
    campaign = world.campaign(goal_sats=400_000)
    world.paid(campaign, 400_000)
    second.other = dict.fromkeys(range(5_000), "ee" * 32)
    world.close(campaign)
    closing = world.snapshot(campaign).closing
    assert closing is not None and world.snapshot(campaign).decision is None
    assert world.summary(campaign).state == "closing"
    assert "has another block" in view(world).pause and view(world).state == "live"
    assert log_of(world, campaign) == [(closing.height, False)]
    world.sync()
    assert log_of(world, campaign) == [(closing.height, False)], "it is told once"
    second.other = {}
    world.sync()
    assert world.summary(campaign).state == "releasing" and view(world).pause == ""
    assert log_of(world, campaign) == [(closing.height, True)]


@pytest.mark.parametrize("fault", [Unreachable("The second one does not answer."), None])
def test_a_second_backend_that_is_away_or_behind_is_waited_for(
    fault: WorldError | None, world: World, second: Second
) -> None:
    campaign = world.campaign(goal_sats=400_000)
    world.paid(campaign, 400_000)
    second.fault = fault
    second.other = dict.fromkeys(range(5_000))
    world.close(campaign)
    assert world.snapshot(campaign).decision is None and view(world).pause.startswith("The decision waits")
    assert log_of(world, campaign) == [], "nothing is disputed"
    second.fault, second.other = None, {}
    world.sync()
    assert world.summary(campaign).state == "releasing" and view(world).pause == ""


def test_it_is_not_asked_over_and_over(world: World, second: Second) -> None:
    campaign = world.campaign()
    second.fault = Unreachable("The second one does not answer.")
    world.worker = with_second(world, second, 1_000)
    world.close(campaign)
    asked = second.asked
    assert asked == 1
    for _ in range(5):
        world.worker.round()
    assert second.asked == asked


def test_other_campaigns_go_on_while_one_waits(world: World, second: Second) -> None:
    paid = world.campaign(goal_sats=400_000)
    world.paid(paid, 400_000)
    world.close(paid)
    waiting = world.campaign(goal_sats=400_000)
    second.fault = Unreachable("The second one does not answer.")
    world.close(waiting)
    world.node.mine()
    world.sync()
    assert world.summary(paid).state == "released", "a payout under way needs no second opinion"
    assert world.snapshot(waiting).decision is None


def test_how_far_it_has_come_is_told_while_it_catches_up(world: World) -> None:
    world.node.mine(230)
    texts = []
    while world.worker.round():
        texts.append(view(world).state)
    assert texts[:2] == ["catching up 100 of 230 blocks", "catching up 200 of 230 blocks"]
    assert view(world).state == "live"
    world.node.mine(101)
    world.worker.round()
    assert view(world).state == "catching up 100 of 101 blocks", "counted anew"
    world.sync()


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (Unreachable("The node does not answer."), "node unreachable since 20"),
        (WrongAnswer("The node sent a damaged block."), "watching stopped since 20"),
        (WorldError("The disk is full."), "watching stopped since 20"),
    ],
)
def test_since_when_nobody_watches_is_told_and_stays(world: World, error: WorldError, state: str) -> None:
    world.worker.note_trouble(error)
    first = view(world)
    assert first.state.startswith(state) and first.state.endswith(" UTC") and first.trouble == error.sentence
    world.worker.note_trouble(error)
    assert view(world).state == first.state
    world.sync()
    assert (view(world).state, view(world).trouble) == ("live", "")
