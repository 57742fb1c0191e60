"""The card: what other sites show where somebody names a campaign, or this site. 1200 × 630 pixels, always light."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import cos, pi, sin

from crowdfund.projects.pixels import Pixels
from crowdfund.web.drawing import STRIPE_MIN_COMPACT, bar_stripes
from crowdfund.web.prints import letters
from crowdfund.web.prints.sheet import Box, Part, Pattern, Photo, Shape, Sheet, Words

WIDTH, HEIGHT = 1200, 630
MARGIN, PANEL = 64, 416
ROOM = WIDTH - PANEL - 2 * MARGIN
TITLE_SIZES = (68.0, 60.0, 52.0, 46.0, 40.0, 34.0)
SPACING, TIGHT = 1.35, 1.1
BAR_Y, BAR_HEIGHT = 432.0, 46.0
WHOLE = 100_000
STEPS, NOTE = 12, 22.0


@dataclass(frozen=True)
class CardFacts:
    """What a card says. `title` may be in any script; `stripes` are those of the bar, (satoshi, confirmed) each.

    `note` says where the money is not real. `figure` and `beside` stand under the bar, large and small; `left` and
    `right` at the foot. `picture` is the SHA-256 of the campaign's first picture, or empty: then its pattern is drawn
    from `seed`. `instead` stands in the place of a title that our fonts cannot write.
    """

    site: str
    note: str
    title: str
    instead: str
    stripes: tuple[tuple[int, bool], ...]
    goal_sats: int
    figure: str
    beside: str
    left: str
    right: str
    seed: bytes
    picture: str = ""


@dataclass(frozen=True)
class SiteFacts:
    """What the card of the site says."""

    site: str
    note: str
    title: str
    line: str
    seed: bytes


def card(facts: CardFacts, photo: Pixels | None = None) -> Sheet:
    """The card of a campaign. `photo` is its first picture, if it has one."""
    parts: list[Part] = [Box(0, 0, WIDTH, HEIGHT, "paper"), _panel(facts.seed, photo), *_mark(facts.site, facts.note)]
    place = (MARGIN, ROOM, 132.0, BAR_Y - 46)
    parts += middled(facts.title, TITLE_SIZES, *place) or middled(facts.instead, TITLE_SIZES, *place)
    parts += bar(facts.stripes, facts.goal_sats, MARGIN, BAR_Y, ROOM, BAR_HEIGHT)
    parts += _figures(facts.figure, facts.beside)
    parts += _foot(facts.left, facts.right)
    return Sheet(WIDTH, HEIGHT, parts)


def site_card(facts: SiteFacts) -> Sheet:
    """The card of the site."""
    parts: list[Part] = [Box(0, 0, WIDTH, HEIGHT, "paper"), _panel(facts.seed, None), *_mark(facts.site, facts.note)]
    parts += middled(facts.title, TITLE_SIZES, MARGIN, ROOM, 140.0, 470.0)
    parts += lines(facts.line, "text", (28.0, 24.0), (MARGIN, 520.0), ROOM, 80.0, "soft")
    return Sheet(WIDTH, HEIGHT, parts)


def bar(
    stripes: tuple[tuple[int, bool], ...], goal_sats: int, x: float, y: float, width: float, height: float
) -> list[Part]:
    """The bar of a campaign, with a flag at its goal."""
    pieces, goal = bar_stripes(stripes, goal_sats, STRIPE_MIN_COMPACT)
    parts: list[Part] = [Box(x, y, width, height, "track")]
    for number, piece in enumerate(pieces):
        start, long = x + piece.start * width / WHOLE, piece.share * width / WHOLE
        gap = 1.5 if long > 6 else 0.0
        colour = ("commons", "commons-deep")[number % 2]
        parts.append(Box(start, y, long - gap, height, colour, hatched=not piece.confirmed))
    at = x + goal * width / WHOLE
    flag = tuple((at + dx, y + dy) for dx, dy in ((0, -22), (-26, -22), (-18, -13.5), (-26, -5), (0, -5)))
    return [*parts, Box(at - 2, y - 22, 4, height + 34, "ink"), Shape(flag, "ink")]


def mark(x: float, y: float, side: float) -> list[Part]:
    """The site's plant, with its foot at the left end of `y`."""
    unit = side / 32
    left = tuple((x + px * unit, y + (py - 30) * unit) for px, py in _leaf(16, 17, 5, 6))
    right = tuple((x + px * unit, y + (py - 30) * unit) for px, py in _leaf(16, 21, 27, 10))
    stem = Box(x + 14.7 * unit, y - 15 * unit, 2.6 * unit, 15 * unit, "ink")
    return [stem, Shape(left, "commons"), Shape(right, "commons-deep")]


def lines(
    text: str, face: str, sizes: tuple[float, ...], at: tuple[float, float], room: float, high: float,
    colour: str = "ink", spacing: float = SPACING,
) -> list[Words]:  # fmt: skip
    """The text from the baseline at (x, y) downwards, in as many lines as `high` has room for; nothing where the fonts
    have not its letters."""
    plain = letters.written(text, face)
    if plain is None:
        return []
    (x, y), (size, found) = at, letters.fitted(plain, face, sizes, room, high, spacing)
    return [Words(x, y + number * size * spacing, line, face, size, colour) for number, line in enumerate(found)]


def line(x: float, y: float, text: str, face: str, size: float, colour: str = "ink", align: str = "left") -> list[Part]:
    """A short text of ours on one line; nothing where it is empty, or in a script that the fonts do not have."""
    plain = letters.written(text, face)
    return [] if plain is None else [Words(x, y, plain, face, size, colour, align)]


def middled(text: str, sizes: tuple[float, ...], x: float, room: float, top: float, bottom: float) -> list[Part]:
    """A title in the middle between two heights, as large as it fits there."""
    found = lines(text, "display", sizes, (x, 0), room, bottom - top, spacing=TIGHT)
    if not found:
        return []
    size = found[0].size
    even = letters.balanced([each.text for each in found], "display", size, room)
    first = (top + bottom - size * TIGHT * len(found)) / 2 + size * 0.86  # from the top of a line down to its foot
    return [replace(each, y=first + each.y, text=line) for each, line in zip(found, even, strict=True)]


def _panel(seed: bytes, photo: Pixels | None) -> Part:
    frame = (WIDTH - PANEL, 0, PANEL, HEIGHT)
    return Photo(*frame, photo) if photo else Pattern(*frame, seed, 8)


def _mark(site: str, note: str) -> list[Part]:
    """Whose card it is; `note` stands at the other end."""
    beside = letters.width(note, "text", NOTE) if note else 0.0
    name = lines(site, "display", (30.0, 24.0), (MARGIN + 46, 82.0), ROOM - 62 - beside, 41.0)
    return [*mark(MARGIN - 6, 86.0, 42), *name, *line(MARGIN + ROOM, 81.0, note, "text", NOTE, "money-ink", "right")]


def _figures(figure: str, beside: str) -> list[Part]:
    large = 46.0
    at = MARGIN + letters.width(figure, "bold", large) + 16
    return [
        *line(MARGIN, BAR_Y + BAR_HEIGHT + 62, figure, "bold", large, "money-ink"),
        *lines(beside, "text", (27.0, 23.0, 20.0), (at, BAR_Y + BAR_HEIGHT + 60), MARGIN + ROOM - at, 37.0),
    ]


def _foot(left: str, right: str) -> list[Part]:
    y = HEIGHT - 38.0
    return [
        *line(MARGIN, y, left, "text", 23, "soft"),
        *line(MARGIN + ROOM, y, right, "text", 23, "soft", "right"),
    ]


def _leaf(x: float, y: float, tip_x: float, tip_y: float) -> list[tuple[float, float]]:
    """A leaf from (x, y) to its tip and back: two quarters of a circle, as the site's mark has them."""
    across, up, points = tip_x - x, tip_y - y, []
    for step in range(STEPS + 1):
        angle = step * pi / 2 / STEPS
        points.append((x + across * sin(angle), tip_y - up * cos(angle)))
    for step in range(STEPS + 1):
        angle = step * pi / 2 / STEPS
        points.append((tip_x - across * sin(angle), y + up * cos(angle)))
    return points
