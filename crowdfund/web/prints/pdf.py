"""A sheet as a page of PDF: lines stay lines, text stays text, in the site's own fonts, which the file brings along.

Nothing on paper is hatched: what is only seen changes within the hour.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import groupby

from fpdf import FPDF
from fpdf.drawing import PaintedPath
from fpdf.enums import StrokeCapStyle

from crowdfund.wallet.payment_uri import qr_rows
from crowdfund.web.drawing import CELL, Arc, pattern_arcs
from crowdfund.web.prints import letters
from crowdfund.web.prints.png import STROKE, fitted
from crowdfund.web.prints.sheet import (
    BLACK,
    COLOURS,
    HUES,
    WHITE,
    Box,
    Code,
    Part,
    Pattern,
    Photo,
    Shape,
    Sheet,
    Words,
    pattern_rows,
)

# How far the handles of a Bézier curve stand off, so that it looks like a quarter of a circle with radius 1.
ROUND = 0.5523
PHOTO_DPI = 200
POINTS = 72


def pdf(sheet: Sheet, title: str, site: str, language: str, made_at: datetime) -> bytes:
    """The page. `language` is that of the words on it (BCP 47)."""
    paper = FPDF(unit="pt", format=(sheet.width, sheet.height))
    paper.set_auto_page_break(False)
    paper.set_margin(0)
    paper.set_title(title)
    paper.set_author(site)
    paper.set_lang(language)
    paper.set_creation_date(made_at.astimezone(UTC))
    paper.add_page()
    for part in sheet.parts:
        _paint(paper, part)
    return bytes(paper.output())


def _paint(paper: FPDF, part: Part) -> None:
    match part:
        case Box():
            with _filled(paper, COLOURS[part.colour]) as path:
                path.rectangle(part.x, part.y, part.width, part.height)
        case Shape():
            with _filled(paper, COLOURS[part.colour]) as path:
                path.move_to(*part.points[0])
                for point in part.points[1:]:
                    path.line_to(*point)
        case Words():
            _words(paper, part)
        case Pattern():
            _pattern(paper, part)
        case Photo():
            _photo(paper, part)
        case Code():
            _code(paper, part)


def _words(paper: FPDF, part: Words) -> None:
    pieces = list(letters.runs(part.text, part.face))
    wide = []
    for cut, run in pieces:
        _use(paper, cut, part.size)
        wide.append(paper.get_string_width(run))
    x = part.x - {"left": 0.0, "middle": sum(wide) / 2, "right": sum(wide)}[part.align]
    paper.set_text_color(COLOURS[part.colour])
    for (cut, run), width in zip(pieces, wide, strict=True):
        _use(paper, cut, part.size)
        paper.text(x, part.y, run)
        x += width


def _use(paper: FPDF, cut: letters.Cut, size: float) -> None:
    if cut.name not in paper.fonts:
        paper.add_font(cut.name, fname=cut.path)
    paper.set_font(cut.name, size=size)


def _pattern(paper: FPDF, part: Pattern) -> None:
    unit = part.width / (part.columns * CELL)
    arcs = sorted(pattern_arcs(part.seed, part.columns, pattern_rows(part)), key=lambda each: each.name)
    with paper.rect_clip(part.x, part.y, part.width, part.height):
        _paint(paper, Box(part.x, part.y, part.width, part.height, "card"))
        for name, group in groupby(arcs, key=lambda each: each.name):
            with paper.new_path() as path:
                path.style.fill_color = None
                path.style.stroke_color = COLOURS[HUES[int(name[1])]]
                path.style.stroke_width = STROKE * unit
                path.style.stroke_cap_style = StrokeCapStyle.ROUND if name[0] == "s" else StrokeCapStyle.BUTT
                path.style.auto_close = False
                _strokes(path, group, part, unit)


def _strokes(path: PaintedPath, arcs: Iterable[Arc], part: Pattern, unit: float) -> None:
    for arc in arcs:
        x, y, radius = part.x + arc.x * unit, part.y + arc.y * unit, arc.radius * unit
        dx, dy = (-radius if arc.left else radius), (-radius if arc.above else radius)
        path.move_to(x + dx, y)
        if arc.radius:
            path.curve_to(x + dx, y + dy * ROUND, x + dx * ROUND, y + dy, x, y + dy)
        else:
            path.line_to(x + 0.01, y)


def _photo(paper: FPDF, part: Photo) -> None:
    size = round(part.width * PHOTO_DPI / POINTS), round(part.height * PHOTO_DPI / POINTS)
    data = io.BytesIO()
    fitted(part.pixels, size).save(data, "JPEG", quality=88)
    data.seek(0)
    paper.image(data, part.x, part.y, part.width, part.height, alt_text=part.alt or None)


def _code(paper: FPDF, part: Code) -> None:
    rows = qr_rows(part.text)
    module = part.side / len(rows)
    with _filled(paper, WHITE) as path:
        path.rectangle(part.x, part.y, part.side, part.side)
    with _filled(paper, BLACK) as path:
        for y, row in enumerate(rows):
            x = 0
            for dark, group in groupby(row):
                long = len(list(group))
                if dark:
                    path.rectangle(part.x + x * module, part.y + y * module, long * module, module)
                x += long
    paper.link(part.x, part.y, part.side, part.side, part.text, alt_text=part.alt or None)


@contextmanager
def _filled(paper: FPDF, colour: str) -> Iterator[PaintedPath]:
    """A path that becomes a surface in one colour, without an edge."""
    with paper.new_path() as path:
        path.style.fill_color = colour
        path.style.stroke_color = None
        yield path
