"""How a campaign fills: its course day by day, how concentrated it is, and what it may come to. Pure.

The forecast is a plain one on purpose: it carries on what the last days brought, between the slower and the faster half
of them, and says nothing while there is too little to go by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

DAY = timedelta(days=1)
DAYS_AT_LEAST = 3
DAYS_AT_MOST = 14
PLEDGES_AT_LEAST = 5


@dataclass(frozen=True)
class Arrival:
    """A coin that counts: the chain time and the height of its block, the number of its pledge, its satoshi."""

    at: datetime
    height: int
    pledge: int
    sats: int


@dataclass(frozen=True)
class Step:
    """The sum, in satoshi, from a block on."""

    at: datetime
    height: int
    sats: int
    total_sats: int


@dataclass(frozen=True)
class DayOfIt:
    """What a day (UTC, by chain time) brought, and the sum at its end, in satoshi."""

    day: date
    sats: int
    total_sats: int


class Verdict(StrEnum):
    """What the forecast comes to."""

    ENDED = "ended"
    REACHED = "reached"
    TOO_EARLY = "too_early"
    ON_COURSE = "on_course"
    OPEN = "open"
    SHORT = "short"


@dataclass(frozen=True)
class Forecast:
    """What the campaign may come to at the deadline, in satoshi, from the slower, all, and the faster half of the last
    `days` days. Without figures (all 0) where the verdict is that there is nothing to reckon."""

    verdict: Verdict
    days: int = 0
    rate_sats: int = 0
    low_sats: int = 0
    middle_sats: int = 0
    high_sats: int = 0


@dataclass(frozen=True)
class Concentration:
    """How much of what counts comes from few pledges or from the last 24 hours, in satoshi."""

    total_sats: int
    largest_sats: int
    five_largest_sats: int
    last_day_sats: int


def course(arrivals: Sequence[Arrival]) -> list[Step]:
    """The sum after each block that brought something, in the order of the chain."""
    by_height: Counter[int] = Counter()
    times: dict[int, datetime] = {}
    for each in arrivals:
        by_height[each.height] += each.sats
        times[each.height] = each.at
    steps, total_sats = [], 0
    for height in sorted(by_height):
        total_sats += by_height[height]
        steps.append(Step(times[height], height, by_height[height], total_sats))
    return steps


def by_day(steps: Sequence[Step]) -> list[DayOfIt]:
    """The same, day by day; a day that brought nothing is left out."""
    brought: Counter[date] = Counter()
    total: dict[date, int] = {}
    for step in steps:
        brought[step.at.date()] += step.sats
        total[step.at.date()] = step.total_sats
    return [DayOfIt(day, brought[day], total[day]) for day in brought]


def concentration(arrivals: Sequence[Arrival], now: datetime) -> Concentration:
    """The largest pledges, and the last 24 hours of chain time."""
    by_pledge: Counter[int] = Counter()
    for each in arrivals:
        by_pledge[each.pledge] += each.sats
    largest = sorted(by_pledge.values(), reverse=True)
    recent_sats = sum(each.sats for each in arrivals if each.at > now - DAY)
    return Concentration(sum(largest), sum(largest[:1]), sum(largest[:5]), recent_sats)


def forecast(
    arrivals: Sequence[Arrival], opened_at: datetime, now: datetime, deadline: datetime, goal_sats: int
) -> Forecast:
    """What may come, if it goes on as in the last days: full days back from `now`, at most 14 and at least 3, with 5
    pledges at least."""
    total_sats = sum(each.sats for each in arrivals)
    if now >= deadline:
        return Forecast(Verdict.ENDED)
    if total_sats >= goal_sats:
        return Forecast(Verdict.REACHED)
    days = min((now - opened_at) // DAY, DAYS_AT_MOST)
    if days < DAYS_AT_LEAST or len({each.pledge for each in arrivals}) < PLEDGES_AT_LEAST:
        return Forecast(Verdict.TOO_EARLY)
    daily = _daily(arrivals, now, days)
    half = days // 2
    left = deadline - now
    low, middle, high = (total_sats + _carried_on(part, left) for part in (daily[:half], daily, daily[-half:]))
    verdict = Verdict.ON_COURSE if low >= goal_sats else Verdict.OPEN if high >= goal_sats else Verdict.SHORT
    return Forecast(verdict, days, sum(daily) // days, low, middle, high)


def shares(parts: Mapping[str, int], total_sats: int) -> dict[str, int]:
    """Each part in tenths of a percent of the whole, 0 where the whole is nothing."""
    return {name: sats * 1000 // total_sats if total_sats else 0 for name, sats in parts.items()}


def _daily(arrivals: Sequence[Arrival], now: datetime, days: int) -> list[int]:
    """What each of the last 24-hour spans brought, the poorest first."""
    brought = [0] * days
    for each in arrivals:
        ago = (now - each.at) // DAY
        if 0 <= ago < days:
            brought[ago] += each.sats
    return sorted(brought)


def _carried_on(daily: Sequence[int], left: timedelta) -> int:
    """The mean of these days for as long as is left, in whole satoshi."""
    second = timedelta(seconds=1)
    return sum(daily) * (left // second) // (len(daily) * (DAY // second))
