"""Draws the two pictures of the site as inline SVG: a campaign's pattern and its bar.

Pure: the same terms and the same coins give the same picture. It may not read the database, the clock
or the request. Colours come from the stylesheet (classes), so that both pictures follow light and dark; words come from
whoever has the picture drawn.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

CELL = 4
# Thousandths of a percent of the bar's width.
# Three hundred stripes are drawn at most: narrower neighbours share one.
SEPARATOR_MIN, STRIPE_MIN, STRIPE_MIN_COMPACT, FLAG_ROOM = 600, 334, 1_000, 15_000

_PATTERN = Markup('<svg class="pattern{}" viewBox="0 0 {} {}" preserveAspectRatio="xMidYMid slice" {}>{}</svg>')
_BAR = Markup('<svg class="bar{}" role="img" aria-label="{}">{}</svg>')
_RECT = Markup('<rect {} x="{}" y="{}" width="{}" height="{}"/>')
_LINE = Markup('<line class="goal" x1="{0}" y1="{1}" x2="{0}" y2="{2}"/>')
_OPTIMUM = Markup('<line class="optimum" x1="{0}" y1="14" x2="{0}" y2="62"/>')
_PIN = Markup('<svg class="pin" x="{}">{}</svg>')
_FLAG_LEFT = Markup('<path d="M0 2H-14L-9 7.5L-14 13H0z"/><text x="-20" y="13" text-anchor="end">{}</text>')
_FLAG_RIGHT = Markup('<path d="M0 2H14L9 7.5L14 13H0z"/><text x="20" y="13">{}</text>')
_SEEN = Markup('class="seen{}" fill="url(#hatch)"')
_COUNTED = Markup('class="c{}{}"')


def pattern_svg(terms_hash_hex: str | None, label: str | None = None, columns: int = 12, rows: int = 8) -> Markup:
    """Quarter-circle tiles turned and coloured by the bits of a terms hash: a campaign's own picture.

    A draft has no hash yet (None) and gets a pale picture. Without `label` the picture is decoration
    and hidden from screen readers. Raises ValueError when the hash is not hexadecimal.
    """
    seed = pattern_seed(terms_hash_hex)
    layers: dict[str, list[str]] = {}
    for arc in pattern_arcs(seed, columns, rows):
        layers.setdefault(arc.name, []).append(_path(arc))
    drawn = Markup().join(
        Markup('<path class="{}" d="{}"/>').format(name, "".join(parts)) for name, parts in sorted(layers.items())
    )
    role = Markup('role="img" aria-label="{}"').format(label) if label else Markup('aria-hidden="true"')
    return _PATTERN.format("" if terms_hash_hex else " pale", columns * CELL, rows * CELL, role, drawn)


@dataclass(frozen=True)
class Arc:
    """A stroke of a pattern: a quarter of a circle round (x, y) in the tile to the right of and below that corner, or
    to the left, or above; a dot there where the radius is 0. Lengths are quarters of a tile's side."""

    name: str
    x: int
    y: int
    radius: int
    left: bool = False
    above: bool = False


def pattern_seed(terms_hash_hex: str | None) -> bytes:
    """What a pattern is drawn from. Raises ValueError when the hash is not hexadecimal."""
    return bytes.fromhex(terms_hash_hex) if terms_hash_hex else b"draft"


def pattern_arcs(seed: bytes, columns: int, rows: int) -> Iterable[Arc]:
    """The strokes of a pattern, whoever draws them: threads are named t, the seeds between them s, in four hues."""
    for index, byte in enumerate(hashlib.shake_256(seed).digest(columns * rows)):
        yield from _tile(index % columns * CELL, index // columns * CELL, byte)


@dataclass(frozen=True)
class BarWords:
    """What stands in the bar and beside it. `text` is what it shows, in words; `shared` is said after that where small
    pledges share a stripe."""

    goal: str
    text: str
    shared: str


@dataclass(frozen=True)
class Stripe:
    """A piece of the bar: where it begins and how long it is, in thousandths of a percent of the bar."""

    start: int
    share: int
    confirmed: bool


def bar_stripes(
    stripes: Sequence[tuple[int, bool]], goal_sats: int, least: int, optimum_sats: int = 0
) -> tuple[list[Stripe], int]:
    """(the pieces of the bar, where the goal stands), whoever draws them. `least` is how long a piece must be."""
    span = _span(stripes, goal_sats, optimum_sats)
    found, position = [], 0
    for sats, confirmed in _merged(stripes, span, least):
        found.append(Stripe(_share(position, span), _share(sats, span), confirmed))
        position += sats
    return found, _share(goal_sats, span)


def bar_svg(
    stripes: Sequence[tuple[int, bool]], goal_sats: int, words: BarWords, compact: bool = False, optimum_sats: int = 0
) -> Markup:
    """The progress bar: one stripe per pledge, solid when confirmed, hatched while only seen, and the goal.

    `stripes` holds (satoshi, confirmed) in the order of drawing. Widths are percentages, so the hatch is
    never stretched. The hatch itself stands once in base.html under the id "hatch". `compact` draws the
    low bar of a card, without the word at the goal line. `optimum_sats` (0 is none) is marked by a dashed line.
    """
    top, height = ("0", "100%") if compact else ("22", "34")
    parts = [_RECT.format(Markup('class="track"'), "0", top, "100%", height)]
    pieces, goal = bar_stripes(stripes, goal_sats, STRIPE_MIN_COMPACT if compact else STRIPE_MIN, optimum_sats)
    for number, piece in enumerate(pieces):
        look = _look(number, piece.share, piece.confirmed)
        parts.append(_RECT.format(look, _percent(piece.start), top, _percent(piece.share), height))
    parts.append(_goal(goal, compact, words.goal))
    if optimum_sats:
        parts.append(_OPTIMUM.format(_percent(_share(optimum_sats, _span(stripes, goal_sats, optimum_sats)))))
    text = f"{words.text} {words.shared}" if len(pieces) < len(stripes) else words.text
    return _BAR.format(" compact" if compact else "", text, Markup().join(parts))


def bar_percents(stripes: Sequence[tuple[int, bool]], goal_sats: int) -> tuple[int, int]:
    """How many percent of the goal are confirmed, and how many more are only seen."""
    goal = max(goal_sats, 1)
    counted = sum(sats for sats, confirmed in stripes if confirmed) * 100 // goal
    seen = sum(sats for sats, confirmed in stripes if not confirmed) * 100 // goal
    return counted, seen


def _tile(x: int, y: int, byte: int) -> Iterable[Arc]:
    """The strokes of one tile: threads (t) or the seed between them (s), in four hues."""
    hue, half, quarter = byte & 3, CELL // 2, CELL // 4
    corners = ((0, 0), (1, 1)) if byte & 4 else ((1, 0), (0, 1))
    seeded, ringed = byte >> 3 & 7 == 0, bool(byte & 64)
    for right, bottom in corners:
        corner_x, corner_y = x + right * CELL, y + bottom * CELL
        for radius in (half, quarter) if ringed else (half,):
            yield Arc(f"t{hue}", corner_x, corner_y, radius, left=bool(right), above=bool(bottom))
    if seeded:
        yield Arc(f"s{(hue + 1) % 4}", x + half, y + half, 0)


def _path(arc: Arc) -> str:
    """A stroke in SVG."""
    x, y, radius = arc.x, arc.y, arc.radius
    if not radius:
        return f"M{x} {y}h0"
    dx, dy = (-radius if arc.left else radius), (-radius if arc.above else radius)
    return f"M{x + dx} {y}A{radius} {radius} 0 0 {int(arc.left == arc.above)} {x} {y + dy}"


def _span(stripes: Sequence[tuple[int, bool]], goal_sats: int, optimum_sats: int = 0) -> int:
    """How much the whole bar stands for, in satoshi."""
    total = sum(sats for sats, _ in stripes)
    return max(goal_sats * 108 // 100, total * 104 // 100, optimum_sats * 102 // 100, 1)


def _merged(stripes: Sequence[tuple[int, bool]], span: int, least: int) -> Iterable[tuple[int, bool]]:
    """Joins neighbours until each stripe can be seen, so that a big campaign stays a small page."""
    for confirmed, group in groupby(stripes, key=lambda stripe: stripe[1]):
        held = 0
        for sats, _ in group:
            held += sats
            if _share(held, span) >= least:
                yield held, confirmed
                held = 0
        if held:
            yield held, confirmed


def _look(number: int, share: int, confirmed: bool) -> Markup:
    """Colour or hatch; a thin stripe has no gap, because the gap would be all that remained of it."""
    thin = " thin" if share < SEPARATOR_MIN else ""
    return _COUNTED.format(number % 2, thin) if confirmed else _SEEN.format(thin)


def _goal(share: int, compact: bool, word: str) -> Markup:
    """The goal: a line across the bar and, on the large bar, a flag with its name on the side with room."""
    x = _percent(share)
    if compact:
        return _LINE.format(x, "0", "100%")
    return _LINE.format(x, "2", "62") + _PIN.format(x, (_FLAG_LEFT if share > FLAG_ROOM else _FLAG_RIGHT).format(word))


def _share(part: int, whole: int) -> int:
    """`part` of `whole` in thousandths of a percent."""
    return part * 100_000 // whole


def _percent(share: int) -> str:
    return f"{share // 1000}.{share % 1000:03d}%"
