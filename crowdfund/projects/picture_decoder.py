"""Opens one picture that a stranger sent and writes it anew. A program of its own, run by `pictures` by its path.

Decoders of pictures are large, and every year somebody finds a picture that breaks one. So this runs alone, without
the environment, the database or a key, with little memory and little time: whatever a picture does to it ends with
it. It may import the standard library and Pillow alone, and Pillow only once the limits are set.

Reads the picture from its standard input, a file; its arguments are the format, and `pixels` where no files are wanted
but what is seen. Writes one line of JSON, then the bytes of each file that the line names, or the pixels row by row,
three bytes each; or a line with the key of a refusal.
"""

from __future__ import annotations

import io
import json
import resource
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF")
MAX_PIXELS = 40_000_000
MAX_SIDE = 12_000
MIN_SIDE = 32
# Wider or higher than this it would be a strip on the page, and the smaller sizes would be nothing.
MAX_RATIO = 4
WIDTHS = (480, 960, 1600)
MAX_HEIGHT = 2_400
# What others' pages show of a link (Open Graph): made only where it would not be enlarged.
SHARED_SIZE = (1200, 630)
MAX_FILE_BYTES = 1_000_000
QUALITIES = (80, 60, 40, 20, 5)
MAX_PROFILE_BYTES = 1_000_000

CPU_S = 20
MEMORY_BYTES = 1 << 30
OUTPUT_BYTES = 5 * MAX_FILE_BYTES

# EXIF's eight ways in which a camera was held -> the turns that put the picture upright.
TURNS = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE",
    8: "ROTATE_90",
}  # fmt: skip
SIDEWAYS = (5, 6, 7, 8)


class Refused(Exception):
    """The picture is not taken; the first argument is the key of the sentence, the others are numbers for it."""


def main() -> None:
    """Do the work; a refusal is a normal end."""
    set_limits()
    try:
        if sys.argv[2:] == ["pixels"]:
            image = shown(sys.stdin.buffer, sys.argv[1])
            sys.stdout.buffer.write(json.dumps({"size": image.size}).encode() + b"\n" + image.tobytes())
            return
        files = list(made_anew(sys.stdin.buffer, sys.argv[1]))
    except Refused as refusal:
        print(json.dumps({"refused": refusal.args[0], "numbers": refusal.args[1:]}))
        return
    names = [(kind, width, height, len(data)) for kind, width, height, data in files]
    sys.stdout.buffer.write(json.dumps({"files": names}).encode() + b"\n")
    for *_, data in files:
        sys.stdout.buffer.write(data)


def set_limits() -> None:
    """So little memory, time and output that no picture can hurt anybody else."""
    for kind, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_FSIZE, OUTPUT_BYTES),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def shown(file: BinaryIO, form: str) -> Image:
    """What is seen of the picture, in RGB and no larger than what other sites are shown. Raises Refused."""
    upright = _opened(file, form)
    part = min(1.0, SHARED_SIZE[0] / upright.width, SHARED_SIZE[1] / upright.height)
    return _on_white(upright).resize((max(1, round(upright.width * part)), max(1, round(upright.height * part))))


def made_anew(file: BinaryIO, form: str) -> Iterator[tuple[str, int, int, bytes]]:
    """The files to keep, as (kind, width, height, bytes), the widest WebP first. Raises Refused."""
    upright = _opened(file, form)
    for width in sorted({min(upright.width, w) for w in WIDTHS}, reverse=True):
        yield _webp(_scaled(upright, width))
    if upright.width >= SHARED_SIZE[0] and upright.height >= SHARED_SIZE[1]:
        yield _shared(upright)


def _opened(file: BinaryIO, form: str) -> Image:
    try:
        return _pixels(file, form)
    except Refused:
        raise
    except MemoryError:
        raise Refused("costly") from None
    except Exception:  # whatever a decoder makes of damaged bytes, the answer is the same
        raise Refused("damaged") from None


def _pixels(file: BinaryIO, form: str) -> Image:
    """The picture upright, in sRGB, no larger than the largest size; nothing but pixels is left."""
    from PIL import AvifImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
    from PIL import Image as images

    assert form in FORMATS and all((AvifImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin))
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", images.DecompressionBombWarning)
    images.MAX_IMAGE_PIXELS = MAX_PIXELS
    image: Image
    try:
        opened = images.open(file, formats=[form])
    except (images.DecompressionBombWarning, images.DecompressionBombError):
        raise Refused("pixels") from None
    _check_size(*opened.size)
    turn = _turn(opened)
    profile = opened.info.get("icc_profile")
    # A JPEG can be opened at a half, a quarter or an eighth of its size: that saves most of the work.
    opened.draft(None, (2 * WIDTHS[-1], 2 * WIDTHS[-1]))
    opened.load()
    image = _in_srgb(_fitting(_plain_mode(opened), turn in SIDEWAYS), profile)
    if turn in TURNS:
        image = image.transpose(getattr(images.Transpose, TURNS[turn]))
    return images.frombytes(image.mode, image.size, image.tobytes())  # a new one knows nothing of the old one


def _check_size(width: int, height: int) -> None:
    """By the header alone, before a pixel is unpacked. Raises Refused."""
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise Refused("size", width, height)
    if min(width, height) < MIN_SIDE:
        raise Refused("small", width, height)
    if max(width, height) > MAX_RATIO * min(width, height):
        raise Refused("strip", width, height)


def _turn(image: Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # EXIF that cannot be read says nothing; the pixels may be sound
        return 1


def _plain_mode(image: Image) -> Image:
    """One of L, RGB, RGBA and CMYK, in which a picture can be scaled."""
    if image.mode in ("L", "RGB", "CMYK") and not image.has_transparency_data:
        return image
    if image.mode.startswith("I") or image.mode == "F":  # sixteen bits a pixel: the upper eight are what is seen
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _fitting(image: Image, sideways: bool) -> Image:
    """No wider and no higher than the largest that is shown, once it is upright; never enlarged."""
    most = (MAX_HEIGHT, WIDTHS[-1]) if sideways else (WIDTHS[-1], MAX_HEIGHT)
    part = min(most[0] / image.width, most[1] / image.height)
    if part >= 1:
        return image
    return image.resize((max(1, round(image.width * part)), max(1, round(image.height * part))), reducing_gap=3)


def _in_srgb(image: Image, profile: bytes | None) -> Image:
    """As RGB or RGBA. A colour profile is applied; one that is broken or of another colour space is left aside."""
    from PIL import ImageCms

    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    colours = image.convert("RGB") if alpha else image
    if profile and len(profile) <= MAX_PROFILE_BYTES:
        try:
            theirs = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            ours = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
            colours = ImageCms.profileToProfile(colours, theirs, ours, outputMode="RGB") or colours
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass
    colours = colours.convert("RGB")
    if alpha and alpha.getextrema() != (255, 255):
        colours.putalpha(alpha)
    return colours


def _scaled(image: Image, width: int) -> Image:
    if width == image.width:
        return image
    return image.resize((width, max(1, round(image.height * width / image.width))), reducing_gap=3)


def _webp(image: Image) -> tuple[str, int, int, bytes]:
    for quality in QUALITIES:
        out = io.BytesIO()
        image.save(out, "WEBP", quality=quality, method=4)
        if len(out.getvalue()) <= MAX_FILE_BYTES:
            return "webp", *image.size, out.getvalue()
    raise Refused("costly")


def _shared(image: Image) -> tuple[str, int, int, bytes]:
    """The middle of it on white, as JPEG: what every page that shows links understands."""
    from PIL import ImageOps

    out = io.BytesIO()
    ImageOps.fit(_on_white(image), SHARED_SIZE).save(out, "JPEG", quality=78, optimize=True)
    return "jpeg", *SHARED_SIZE, out.getvalue()


def _on_white(image: Image) -> Image:
    from PIL import Image as images

    if image.mode != "RGBA":
        return image.convert("RGB")
    ground = images.new("RGB", image.size, "white")
    ground.paste(image, mask=image.getchannel("A"))
    return ground


if __name__ == "__main__":
    main()
