"""Draws the creator's two charts as inline SVG: the course of the money, and shares. Pure; the words stand beside it.

Colours come from the stylesheet. The drawing is stretched to the width of the page, so it holds no text.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from markupsafe import Markup

from crowdfund.campaigns.progress import Step

WIDTH, HEIGHT = 1000, 300
MOST_STEPS = 400

_CHART = Markup(
    '<svg class="course" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
)
_AREA = Markup('<path class="area" d="{}"/>')
_LINE = Markup('<path class="line" d="{}"/>')
_GOAL = Markup('<path class="goal" d="M0 {}H{}"/>')
_NOW = Markup('<path class="today" d="M{} 0V{}"/>')
_SHARE = Markup('<svg class="share" aria-hidden="true"><rect class="track" width="100%" height="100%"/>{}</svg>')
_PART = Markup('<rect class="c0" width="{}.{}%" height="100%"/>')


def course_svg(
    steps: Sequence[Step], goal_sats: int, start: datetime, now: datetime, end: datetime, label: str
) -> Markup:
    """The counted sum from `start` to `now` as a stair, on an axis that ends with the deadline or later, under the line
    of the goal. `label` is the text equivalent."""
    last = max([end, now, *(step.at for step in steps[-1:])])
    top_sats = max([goal_sats, *(step.total_sats for step in steps[-1:])]) * 108 // 100 or 1
    begin = min([start, *(step.at for step in steps[:1])])
    span_s = max(int((last - begin).total_seconds()), 1)

    def x(at: datetime) -> int:
        return int((at - begin).total_seconds()) * WIDTH // span_s

    def y(sats: int) -> int:
        return HEIGHT - sats * HEIGHT // top_sats

    stair = "".join(f"H{x(step.at)}V{y(step.total_sats)}" for step in _thinned(steps))
    here = max([now, *(step.at for step in steps[-1:])])
    line = f"M0 {HEIGHT}{stair}H{x(here)}"
    parts = (
        _AREA.format(f"{line}V{HEIGHT}Z"),
        _LINE.format(line),
        _NOW.format(x(here), HEIGHT),
        _GOAL.format(y(goal_sats), WIDTH),
    )
    return _CHART.format(WIDTH, HEIGHT, label, Markup().join(parts))


def share_svg(per_mille: int) -> Markup:
    """A part of a whole as a bar; the figure stands beside it."""
    held = min(max(per_mille, 0), 1000)
    return _SHARE.format(_PART.format(held // 10, held % 10))


def _thinned(steps: Sequence[Step]) -> Sequence[Step]:
    """So many steps as can be seen; the last of them is always there."""
    if len(steps) <= MOST_STEPS:
        return steps
    return [steps[(n + 1) * len(steps) // MOST_STEPS - 1] for n in range(MOST_STEPS)]
