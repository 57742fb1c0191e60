"""A sheet as PNG. It is painted at twice its size and then made smaller, which is what smooths the edges."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw, ImageOps

from crowdfund.projects.pixels import Pixels
from crowdfund.wallet.payment_uri import qr_rows
from crowdfund.web.drawing import CELL, Arc, pattern_arcs
from crowdfund.web.prints import letters
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

TWICE = 2
STROKE = 0.7  # of a quarter of a tile, as in static/site.css
HATCH = 6.0


def png(sheet: Sheet, scale: float = 1.0) -> bytes:
    """The picture; `scale` is pixels a point."""
    size = (round(sheet.width * scale), round(sheet.height * scale))
    large = Image.new("RGB", (size[0] * TWICE, size[1] * TWICE), COLOURS["paper"])
    painter = _Painter(large, scale * TWICE)
    for part in sheet.parts:
        painter.paint(part)
    small = large.resize(size, Image.Resampling.BOX)
    for part in sheet.parts:  # a code is made of whole pixels, and a camera likes its edges hard
        if isinstance(part, Code):
            _Painter(small, scale).code(part)
    buffer = io.BytesIO()
    small.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def fitted(pixels: Pixels, size: tuple[int, int]) -> Image.Image:
    """A picture that fills this size in pixels. Nothing is opened here that came from anybody."""
    whole = Image.frombytes("RGB", (pixels.width, pixels.height), pixels.rows)
    return ImageOps.fit(whole, size, Image.Resampling.LANCZOS)


class _Painter:
    """Paints on one picture."""

    def __init__(self, picture: Image.Image, scale: float) -> None:
        self.picture, self.scale = picture, scale
        self.draw = ImageDraw.Draw(picture)

    def paint(self, part: Part) -> None:
        match part:
            case Box():
                self.box(part)
            case Words():
                self.words(part)
            case Pattern():
                self.pattern(part)
            case Photo():
                self.photo(part)
            case Shape():
                points = [(x * self.scale, y * self.scale) for x, y in part.points]
                self.draw.polygon(points, fill=COLOURS[part.colour])
            case Code():
                pass  # last, by itself

    def box(self, part: Box) -> None:
        left, top, right, bottom = self._frame(part)
        if right <= left or bottom <= top:
            return
        self.draw.rectangle((left, top, right - 1, bottom - 1), fill=COLOURS[part.colour])
        if part.hatched:
            self._hatch(left, top, right, bottom)

    def words(self, part: Words) -> None:
        x, size = part.x * self.scale, round(part.size * self.scale)
        pieces = [(letters.font(cut.path, size), run) for cut, run in letters.runs(part.text, part.face)]
        whole = sum(font.getlength(run) for font, run in pieces)
        x -= {"left": 0.0, "middle": whole / 2, "right": whole}[part.align]
        for font, run in pieces:
            self.draw.text((x, part.y * self.scale), run, font=font, fill=COLOURS[part.colour], anchor="ls")
            x += font.getlength(run)

    def pattern(self, part: Pattern) -> None:
        left, top, right, bottom = self._frame(part)
        unit = (right - left) / (part.columns * CELL)
        tile = Image.new("RGB", (right - left, bottom - top), COLOURS["card"])
        draw = ImageDraw.Draw(tile)
        for arc in sorted(pattern_arcs(part.seed, part.columns, pattern_rows(part)), key=lambda each: each.name):
            _stroke(draw, arc, unit)
        self.picture.paste(tile, (left, top))

    def photo(self, part: Photo) -> None:
        left, top, right, bottom = self._frame(part)
        self.picture.paste(fitted(part.pixels, (right - left, bottom - top)), (left, top))

    def code(self, part: Code) -> None:
        """Modules of whole pixels, in the middle of a white square."""
        left, top, right, bottom = (round(edge * self.scale) for edge in _edges(part.x, part.y, part.side, part.side))
        self.draw.rectangle((left, top, right - 1, bottom - 1), fill=WHITE)
        rows = qr_rows(part.text)
        module = (right - left) // len(rows)
        spare = (right - left - module * len(rows)) // 2
        for y, row in enumerate(rows):
            for x, dark in enumerate(row):
                if dark:
                    at = (left + spare + x * module, top + spare + y * module)
                    self.draw.rectangle((*at, at[0] + module - 1, at[1] + module - 1), fill=BLACK)

    def _frame(self, part: Box | Pattern | Photo) -> tuple[int, int, int, int]:
        left, top, right, bottom = _edges(part.x, part.y, part.width, part.height)
        return round(left * self.scale), round(top * self.scale), round(right * self.scale), round(bottom * self.scale)

    def _hatch(self, left: int, top: int, right: int, bottom: int) -> None:
        piece = Image.new("RGB", (right - left, bottom - top), COLOURS["money-wash"])
        draw, step, high = ImageDraw.Draw(piece), round(HATCH * self.scale), bottom - top
        for x in range(-high, right - left, step * 2):
            draw.polygon([(x, high), (x + step, high), (x + step + high, 0), (x + high, 0)], fill=COLOURS["seen"])
        self.picture.paste(piece, (left, top))


def _stroke(draw: ImageDraw.ImageDraw, arc: Arc, unit: float) -> None:
    colour, half = COLOURS[HUES[int(arc.name[1])]], STROKE * unit / 2
    x, y, radius = arc.x * unit, arc.y * unit, arc.radius * unit
    if not arc.radius:
        draw.ellipse((x - half, y - half, x + half, y + half), fill=colour)
        return
    start = {(False, False): 0, (True, False): 90, (True, True): 180, (False, True): 270}[arc.left, arc.above]
    out = radius + half
    draw.arc((x - out, y - out, x + out, y + out), start, start + 90, fill=colour, width=max(1, round(2 * half)))


def _edges(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    return x, y, x + width, y + height
