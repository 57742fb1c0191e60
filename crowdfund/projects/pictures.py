"""Pictures that people send: taken in, made anew, described. What is kept was written by us, pixel by pixel.

Nothing of the file that was sent is kept: no position, no camera, no comment, no profile, no bytes behind the end. It
is opened in a process of its own (`picture_decoder`), never in this one, and what comes back is looked at like what
comes from a stranger. This module knows no database and no web.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import BoundedSemaphore
from typing import IO, Any

from crowdfund.errors import UserError
from crowdfund.projects import picture_decoder as decoder
from crowdfund.projects.pixels import Pixels

FIELD = "picture"
MAX_BYTES = 8 * 1024 * 1024
# Each opening may take a gigabyte: two at a time, the next ones wait their turn.
AT_ONCE = 2
WAIT_S = 30
WALL_S = 60
MAX_LINE_BYTES = 4_096

_turns = BoundedSemaphore(AT_ONCE)
# WebP's parts that hold pixels; the others (EXIF, XMP, ICCP, ANIM) have no business in what we made.
_WEBP_PARTS = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH"}
NOT_A_PICTURE = "This is not a picture that can be shown here. Send a JPEG, PNG, WebP, GIF or AVIF file."
REFUSALS = {
    "damaged": "The picture is damaged or cut off. Save it anew and send it again.",
    "costly": "The picture takes too much work to open. Save it as an ordinary JPEG or PNG and send that.",
    "pixels": "The picture has too many pixels; at most 40 megapixels fit. Save it smaller and send that.",
    "size": "The picture is {0} × {1} pixels; at most 40 megapixels and 12000 pixels a side fit. Save it smaller.",
    "small": "The picture is {0} × {1} pixels, too small to be seen; it needs at least 32 pixels a side.",
    "strip": "The picture is {0} × {1} pixels; at most four times as long as wide fit. Cut it and send that.",
}


@dataclass(frozen=True)
class PictureFile:
    """One size of a picture, as it is served: its kind ("webp" or "jpeg"), width and height in pixels, bytes."""

    kind: str
    width: int
    height: int
    data: bytes

    @property
    def sha256(self) -> str:
        """What names it, in hex."""
        return sha256(self.data).hexdigest()


def make_anew(data: bytes) -> list[PictureFile]:
    """The sizes of a picture that was sent, the widest first. It may take some seconds: hold no transaction meanwhile.

    Raises UserError, at the field `picture`, for whatever is no picture or too much of one.
    """
    if not data:
        raise UserError("Choose a picture first.", FIELD)
    if len(data) > MAX_BYTES:
        raise UserError("The picture has more than 8 MB. Save it smaller and send that.", FIELD)
    form = format_of(data)
    if form is None:
        raise UserError(NOT_A_PICTURE, FIELD)
    return _files(_in_turn(data, form))


def pixels_of(data: bytes) -> Pixels:
    """What is seen of a picture that we made. It may be drawn from, but is opened like any stranger's: elsewhere.

    Raises UserError where it cannot be opened.
    """
    line, _, rows = _in_turn(data, format_of(data) or "", "pixels").partition(b"\n")
    try:
        width, height = map(int, json.loads(line[:MAX_LINE_BYTES])["size"])
        if not (0 < width <= decoder.SHARED_SIZE[0] and 0 < height <= decoder.SHARED_SIZE[1]):
            raise ValueError("not a size of ours")
        if len(rows) != width * height * len("RGB"):
            raise ValueError("not the pixels that were named")
    except (ValueError, LookupError, TypeError, RecursionError):
        raise UserError(REFUSALS["costly"], FIELD) from None
    return Pixels(width, height, rows)


def _in_turn(data: bytes, *arguments: str) -> bytes:
    if not _turns.acquire(timeout=WAIT_S):
        raise UserError("Many pictures are being opened just now. Please send it again in a minute.", FIELD)
    try:
        return _opened_elsewhere(data, *arguments)
    finally:
        _turns.release()


def format_of(data: bytes) -> str | None:
    """The format by its first bytes, whatever a name or a header may claim; None for anything else."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return "AVIF" if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis") else None


def _opened_elsewhere(data: bytes, *arguments: str) -> bytes:
    """What the decoder wrote. Raises UserError where it died: of memory, of time or of the picture.

    Files instead of pipes: neither side can make the other wait, and the limit of their size holds for the output.
    """
    with tempfile.TemporaryFile() as sent, tempfile.TemporaryFile() as answer:
        sent.write(data)
        sent.seek(0)
        if not _runs(sent, answer, *arguments):
            raise UserError(REFUSALS["costly"], FIELD)
        answer.seek(0)
        return answer.read(decoder.OUTPUT_BYTES + 1)


def _runs(sent: IO[bytes], answer: IO[bytes], *arguments: str) -> bool:
    # -I and an empty environment: no path, no secret and no setting of ours is known over there.
    command = [sys.executable, "-I", str(Path(decoder.__file__).resolve()), *arguments]
    with subprocess.Popen(
        command, stdin=sent, stdout=answer, stderr=subprocess.DEVNULL, env={}, cwd="/", start_new_session=True
    ) as child:
        try:
            return child.wait(WALL_S) == 0
        except subprocess.TimeoutExpired:
            child.kill()
            return False


def _files(answer: bytes) -> list[PictureFile]:
    """Read the answer as if it came from the picture itself. Raises UserError."""
    line, _, rest = answer[: MAX_LINE_BYTES + decoder.OUTPUT_BYTES].partition(b"\n")
    try:
        told = json.loads(line[:MAX_LINE_BYTES])
        if "refused" in told:
            raise UserError(REFUSALS[told["refused"]].format(*map(int, told["numbers"])), FIELD)
        files = [_file(rest, told["files"], number) for number in range(len(told["files"]))]
        if len(rest) != sum(len(file.data) for file in files) or not files or files[0].kind != "webp":
            raise ValueError("not the files that were named")
    except (ValueError, LookupError, TypeError, RecursionError):
        raise UserError(REFUSALS["costly"], FIELD) from None
    return files


def _file(rest: bytes, names: Any, number: int) -> PictureFile:
    kind, width, height, length = names[number]
    start = sum(int(name[3]) for name in names[:number])
    data = rest[start : start + length]
    sound = (
        0 < width <= decoder.WIDTHS[-1] and 0 < height <= decoder.MAX_HEIGHT and 0 < length <= decoder.MAX_FILE_BYTES
    )
    if not sound or len(data) != length or not (_is_bare_webp(data) if kind == "webp" else _is_jpeg(kind, data)):
        raise ValueError("not a file of ours")
    return PictureFile(kind, width, height, data)


def _is_bare_webp(data: bytes) -> bool:
    """A WebP of pixels alone, from its first byte to its last."""
    at, end = 12, len(data)
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or int.from_bytes(data[4:8], "little") + 8 != end:
        return False
    while at < end:
        if data[at : at + 4] not in _WEBP_PARTS:
            return False
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    return at == end


def _is_jpeg(kind: str, data: bytes) -> bool:
    return kind == "jpeg" and data.startswith(b"\xff\xd8\xff") and data.endswith(b"\xff\xd9")
