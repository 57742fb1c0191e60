"""The poster: one page of A4 that leads to a campaign, for a wall or a table.

Paper grows old, so there are no figures on it that change: no bar and no sum, only what the terms have frozen.
"""

from __future__ import annotations

from dataclasses import dataclass

from crowdfund.projects.pixels import Pixels
from crowdfund.web.prints import letters
from crowdfund.web.prints.card import SPACING, line, lines, mark, middled
from crowdfund.web.prints.sheet import Box, Code, Part, Pattern, Photo, Sheet, Words

WIDTH, HEIGHT = 595.28, 841.89
MARGIN, BAND = 51.0, 262.0
ROOM = WIDTH - 2 * MARGIN
TITLE_SIZES = (42.0, 38.0, 34.0, 30.0, 26.0, 22.0)
CODE = 212.0
SCAN_SIZES = (12.5, 11.5, 10.5, 9.5)
CODE_Y = HEIGHT - MARGIN - 62 - CODE


@dataclass(frozen=True)
class PosterFacts:
    """What a poster says, in the language of whoever asks for it.

    `address` is the page's, for the code; `shown` is the same as people type it. `seed` and `picture` are as on a card.
    """

    site: str
    title: str
    summary: str
    goal: tuple[str, str]
    ends: tuple[str, str]
    promise: str
    how: str
    scan: str
    address: str
    shown: str
    foot: str
    seed: bytes
    alt: str = ""
    picture: str = ""


def poster(facts: PosterFacts, photo: Pixels | None = None) -> Sheet:
    """The poster of a campaign. `photo` is its first picture, if it has one."""
    band = (0.0, 0.0, WIDTH, BAND)
    parts: list[Part] = [Box(0, 0, WIDTH, HEIGHT, "paper")]
    parts.append(Photo(*band, photo, facts.alt) if photo else Pattern(*band, facts.seed, 12))
    parts += middled(facts.title, TITLE_SIZES, MARGIN, ROOM, BAND + 26, BAND + 158)
    parts += lines(facts.summary, "text", (15.5, 14.0, 13.0), (MARGIN, BAND + 182), ROOM, 64.0)
    parts += _code(facts)
    parts += _words(facts)
    parts += _foot(facts)
    return Sheet(WIDTH, HEIGHT, parts)


def _code(facts: PosterFacts) -> list[Part]:
    left, below = WIDTH - MARGIN - CODE, CODE_Y + CODE
    size, _ = letters.fitted(facts.scan, "bold", SCAN_SIZES, CODE, 18.0, SPACING)
    scan = line(left + CODE / 2, CODE_Y - 11, facts.scan, "bold", size, align="middle")
    return [*scan, Code(left, CODE_Y, CODE, facts.address, facts.shown), Box(left, below, CODE, 3, "commons")]


def _words(facts: PosterFacts) -> list[Part]:
    """What is said beside the code."""
    room, y = ROOM - CODE - 28, CODE_Y + 10
    parts: list[Part] = []
    for (label, value), face in ((facts.goal, "mono"), (facts.ends, "bold")):
        parts += line(MARGIN, y, label, "text", 12, "soft")
        parts += lines(value, face, (19.0, 16.0, 13.0), (MARGIN, y + 21), room, 25.0)
        y += 52
    for text in (facts.promise, facts.how):
        found = lines(text, "text", (12.5, 11.5), (MARGIN, y), room, 84.0)
        parts += found
        y = found[-1].y + 25 if found else y
    return parts


def _foot(facts: PosterFacts) -> list[Part]:
    y = HEIGHT - MARGIN + 4
    size, shown = letters.fitted(facts.shown, "mono", (11.0, 10.0, 9.0, 8.0, 7.0), 330.0, 15.0, SPACING)
    return [
        Box(MARGIN, y - 32, ROOM, 0.8, "line"),
        *mark(MARGIN - 2, y + 1, 19),
        *lines(facts.site, "display", (14.0, 11.0), (MARGIN + 21, y), ROOM - 350, 19.0),
        *lines(facts.foot, "text", (9.5,), (MARGIN + 21, y + 15), ROOM - 21, 13.0, "soft"),
        Words(WIDTH - MARGIN, y, shown[0], "mono", size, "ink", "right"),
    ]
