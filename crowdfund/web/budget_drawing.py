"""Draws a budget as inline SVG: its lines as parts of one bar, with a mark at the minimum and one at the optimum.

Colours come from the stylesheet, as in `drawing`, and what is drawn stands in words beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

from flask_babel import gettext as _
from markupsafe import Markup

from crowdfund.campaigns.details import BUDGET_KINDS, NEEDED, BudgetLine, Details

_DRAWING = Markup('<svg class="budget" role="img" aria-label="{}">{}</svg>')
_PART = Markup('<rect class="b-{} {}" x="{}" y="22" width="{}" height="30"><title>{}: {} sat</title></rect>')
_MARK = Markup('<line class="goal" x1="{0}" y1="14" x2="{0}" y2="60"/><svg class="pin" x="{0}">{1}</svg>')
_WORD = Markup('<text x="0" y="{}" text-anchor="{}">{}</text>')
ABOVE, BELOW = 10, 74


def budget_svg(details: Details) -> Markup:
    """The bar of a budget; empty where there is none. Needed lines come first, then optional ones, kind by kind."""
    total = details.optimum_sats
    if not total:
        return Markup()
    parts, position = [], 0
    for line in in_order(details.budget):
        if line.sats:
            look = "needed" if line.need == NEEDED else "optional"
            x, width = _percent(position, total), _percent(line.sats, total)
            parts.append(_PART.format(line.kind, look, x, width, line.title, line.sats))
        position += line.sats
    minimum = details.minimum_sats
    if minimum < total:
        parts.append(_mark(minimum, total, _("minimum"), BELOW))
    parts.append(_mark(total, total, _("optimum") if minimum < total else _("goal"), ABOVE))
    return _DRAWING.format(budget_text(details), Markup().join(parts))


def budget_text(details: Details) -> str:
    """What the bar shows, in words."""
    optional = details.optimum_sats - details.minimum_sats
    if not optional:
        return _("%(needed)s sat are needed.", needed=details.minimum_sats)
    return _(
        "%(needed)s sat are needed, and %(more)s sat more would make it better.",
        needed=details.minimum_sats,
        more=optional,
    )


def in_order(lines: Sequence[BudgetLine]) -> list[BudgetLine]:
    """Needed before optional, tasks before material before infrastructure."""
    known = {kind: n for n, kind in enumerate(BUDGET_KINDS)}
    return sorted(lines, key=lambda line: (line.need != NEEDED, known.get(line.kind, 9)))


def _mark(sats: int, total: int, word: str, y: int) -> Markup:
    """A line across the bar; the words are above and below, so that two that are close do not cover each other."""
    return _MARK.format(_percent(sats, total), _WORD.format(y, "end" if sats * 2 > total else "start", word))


def _percent(part: int, whole: int) -> str:
    share = part * 100_000 // whole
    return f"{share // 1000}.{share % 1000:03d}%"
