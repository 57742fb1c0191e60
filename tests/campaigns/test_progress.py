"""The course of a campaign, its concentration and its forecast: examples by hand, and what holds for any coins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdfund.campaigns.progress import (
    DAY,
    Arrival,
    Forecast,
    Verdict,
    by_day,
    concentration,
    course,
    forecast,
    shares,
)

OPENED = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def arrival(day: float, sats: int, pledge: int = 0) -> Arrival:
    """A coin so many days after the opening, in a block of its own."""
    return Arrival(OPENED + day * DAY, int(day * 144), pledge, sats)


def daily(*sats: int) -> list[Arrival]:
    """A coin at noon of each day, each by another backer."""
    return [arrival(day + 0.5, each, day) for day, each in enumerate(sats)]


arrivals_ = st.lists(
    st.builds(
        arrival, st.integers(0, 40 * 24).map(lambda hours: hours / 24), st.integers(1, 10**12), st.integers(0, 20)
    ),
    max_size=40,
)


def told(arrivals: list[Arrival], now_day: int, end_day: int, goal_sats: int) -> Forecast:
    """A forecast at the beginning of a day."""
    return forecast(arrivals, OPENED, OPENED + now_day * DAY, OPENED + end_day * DAY, goal_sats)


@pytest.mark.parametrize(
    ("sats", "goal", "verdict", "low", "middle", "high"),
    [
        # six days, six more to come: the slower three brought 10 a day, all 20, the faster three 30
        ((10, 10, 10, 30, 30, 30), 150, Verdict.ON_COURSE, 180, 240, 300),
        ((30, 10, 30, 10, 30, 10), 200, Verdict.OPEN, 180, 240, 300),
        ((10, 10, 10, 30, 30, 30), 301, Verdict.SHORT, 180, 240, 300),
        ((10, 10, 10, 30, 30, 30), 300, Verdict.OPEN, 180, 240, 300),
    ],
)
def test_the_last_days_are_carried_on(
    sats: tuple[int, ...], goal: int, verdict: Verdict, low: int, middle: int, high: int
) -> None:
    assert told(daily(*sats), 6, 12, goal) == Forecast(verdict, 6, 20, low, middle, high)


def test_what_there_is_nothing_to_say_of() -> None:
    many = daily(10, 10, 10, 10, 10, 10)
    assert told(many, 12, 12, 1_000) == Forecast(Verdict.ENDED)
    assert told(many, 6, 12, 60) == Forecast(Verdict.REACHED)
    assert told(many[:2], 2, 12, 1_000) == Forecast(Verdict.TOO_EARLY), "two days"
    assert told(many[:4], 6, 12, 1_000) == Forecast(Verdict.TOO_EARLY), "four pledges"
    one = [arrival(day + 0.5, 10, 7) for day in range(6)]
    assert told(one, 6, 12, 1_000) == Forecast(Verdict.TOO_EARLY), "six payments of one pledge"
    assert told(many[:5], 5, 12, 1_000).verdict is Verdict.SHORT


def test_of_an_odd_number_of_days_the_middle_one_is_in_neither_half() -> None:
    found = told(daily(30, 10, 50, 20, 40), 5, 7, 10**6)
    assert (found.low_sats, found.middle_sats, found.high_sats) == (150 + 30, 150 + 60, 150 + 90)


def test_only_the_last_fourteen_days_speak() -> None:
    found = told([*daily(*[0] * 5), arrival(1, 10**9, 99), *daily(*[10] * 20)[6:]], 20, 21, 10**10)
    assert found.days == 14 and found.rate_sats == 10


@given(arrivals_, st.integers(0, 45), st.integers(0, 60), st.integers(1, 10**13))
def test_a_range_holds_its_middle(arrivals: list[Arrival], now_day: int, end_day: int, goal_sats: int) -> None:
    came = [each for each in arrivals if each.at <= OPENED + now_day * DAY]
    found, total_sats = told(came, now_day, end_day, goal_sats), sum(each.sats for each in came)
    if found.days:
        assert total_sats <= found.low_sats <= found.middle_sats <= found.high_sats
        assert found.days >= 3 and total_sats < goal_sats
        assert (found.verdict is Verdict.ON_COURSE) == (found.low_sats >= goal_sats)
        assert (found.verdict is Verdict.SHORT) == (found.high_sats < goal_sats)
    else:
        assert found == Forecast(found.verdict)
    assert told(came[::-1], now_day, end_day, goal_sats) == found, "in whatever order they are told"


@given(arrivals_)
def test_the_course_ends_with_all_there_is(arrivals: list[Arrival]) -> None:
    steps, total_sats = course(arrivals), sum(each.sats for each in arrivals)
    assert [step.height for step in steps] == sorted({each.height for each in arrivals})
    assert sum(step.sats for step in steps) == total_sats == (steps[-1].total_sats if steps else 0)
    days = by_day(steps)
    assert [day.day for day in days] == sorted({each.at.date() for each in arrivals})
    assert sum(day.sats for day in days) == total_sats == (days[-1].total_sats if days else 0)


@given(arrivals_)
def test_concentration_is_of_pledges_and_not_of_coins(arrivals: list[Arrival]) -> None:
    found = concentration(arrivals, OPENED + 20 * DAY)
    assert found.largest_sats <= found.five_largest_sats <= found.total_sats == sum(each.sats for each in arrivals)
    by_pledge = {p: sum(a.sats for a in arrivals if a.pledge == p) for p in {a.pledge for a in arrivals}}
    assert found.largest_sats == max(by_pledge.values(), default=0)
    if len(by_pledge) <= 5:
        assert found.five_largest_sats == found.total_sats


def test_the_last_day_is_24_hours() -> None:
    now = OPENED + 5 * DAY
    edge = [Arrival(now - DAY, 1, 0, 7), Arrival(now - DAY + HOUR, 2, 1, 11), Arrival(now, 3, 2, 13)]
    assert concentration(edge, now).last_day_sats == 24
    assert shares({"a": 24, "b": 0}, 31) == {"a": 774, "b": 0}
    assert shares({"a": 0}, 0) == {"a": 0}
