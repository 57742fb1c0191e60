"""Pictures as strangers send them: honest ones with secrets in them, and those that would like to hurt."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import Any

import cv2
import numpy as np
import zxingcpp
from PIL import Image, ImageCms, TiffImagePlugin

# Planted wherever a file can hold words: no byte of it may come out.
MARKER = "PLANTED-IN-THE-FILE"
PLANTED = MARKER.encode()
SCRIPT = b"<html><script>alert('" + PLANTED + b"')</script></html>"
SIZE = (640, 400)
RED, BLUE = (220, 20, 20), (20, 20, 220)


def halves(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    """Red on the left, blue on the right: whoever turns it, shows it."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    return image.convert(mode)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """The bytes of a file."""
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def pixel(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    """The colour at a place of a picture in colours."""
    found = image.getpixel((x, y))
    assert isinstance(found, tuple)
    return found


def codes_in(png: bytes) -> list[str]:
    """What the QR codes of a picture say, as two programs read them, one after the other."""
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return [cv2.QRCodeDetector().detectAndDecode(pixels)[0], *(each.text for each in zxingcpp.read_barcodes(pixels))]


def exif(orientation: int = 1) -> Image.Exif:
    """A camera, a place and an owner."""
    found = Image.Exif()
    found[0x0112] = orientation
    found[0x010E] = found[0x010F] = found[0x8298] = MARKER
    degrees = (TiffImagePlugin.IFDRational(60), TiffImagePlugin.IFDRational(23), TiffImagePlugin.IFDRational(4))
    found.get_ifd(0x8825).update({1: "N", 2: degrees, 3: "E", 4: degrees, 27: PLANTED})
    return found


def xmp() -> bytes:
    """XMP with words."""
    return b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><place>' + PLANTED + b"</place></x:xmpmeta>"


def profile(kind: str = "sRGB") -> bytes:
    """A colour profile with words behind it."""
    made = ImageCms.createProfile(kind)  # type: ignore[arg-type]
    return ImageCms.ImageCmsProfile(made).tobytes() + PLANTED


def chunk(name: bytes, body: bytes) -> bytes:
    """A part of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, rows: bytes, *more: bytes, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG of these rows, packed already, with `more` parts before them."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def gif(width: int, height: int, frames: int) -> bytes:
    """A GIF of `frames` small frames, claiming a size."""
    one = encoded(Image.new("P", (40, 40)), "GIF")
    head, frame = one[: one.index(b"\x2c")], one[one.index(b"\x2c") : -1]
    return head[:6] + struct.pack("<HH", width, height) + head[10:] + frame * frames + b"\x3b"


def jpeg_claiming(width: int, height: int) -> bytes:
    """A small JPEG whose header claims another size."""
    data = bytearray(encoded(halves(), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def zipped() -> bytes:
    """A ZIP archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("run.js", SCRIPT)
    return out.getvalue()


def animated(form: str) -> bytes:
    """Three frames, red first."""
    frames = [Image.new("RGB", SIZE, colour) for colour in (RED, BLUE, "white")]
    return encoded(frames[0], form, save_all=True, append_images=frames[1:], duration=50)


def honest() -> dict[str, bytes]:
    """Name -> a file that shows something, whatever else is in it: each is made anew."""
    rgb = halves()
    see_through = halves("RGBA")
    see_through.putalpha(Image.linear_gradient("L").resize(SIZE))
    palette = halves("P")
    texts = [chunk(b"tEXt", b"Comment\0" + PLANTED), chunk(b"zTXt", b"Comment\0\0" + zlib.compress(PLANTED * 9)),
             chunk(b"iTXt", b"Comment\0\0\0\0\0" + PLANTED), chunk(b"prVt", PLANTED)]  # fmt: skip
    told = {"exif": exif(), "icc_profile": profile()}
    jpeg = encoded(rgb, "JPEG", **told, xmp=xmp(), comment=PLANTED)
    plain = encoded(rgb, "PNG")
    at = jpeg.index(b"\xff\xdb")
    iptc = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\x20" + b"\x1c\x02\x05\0\x13" + PLANTED
    return {
        "JPEG with everything": jpeg,
        "JPEG with IPTC": jpeg[:at] + b"\xff\xed" + struct.pack(">H", len(iptc) + 2) + iptc + jpeg[at:],
        "JPEG, progressive": encoded(rgb, "JPEG", progressive=True, comment=PLANTED),
        "JPEG, grey": encoded(halves("L"), "JPEG", comment=PLANTED),
        "JPEG, CMYK": encoded(halves("CMYK"), "JPEG", comment=PLANTED),
        "JPEG and HTML": encoded(rgb, "JPEG") + SCRIPT,
        "JPEG and a page in its comment": encoded(rgb, "JPEG", comment=SCRIPT),
        "JPEG with a profile of another space": encoded(rgb, "JPEG", icc_profile=profile("LAB")),
        "JPEG with a profile of noise": encoded(rgb, "JPEG", icc_profile=PLANTED * 50),
        "MPO, as phones make it": encoded(rgb, "MPO", save_all=True, append_images=[rgb], exif=exif()),
        "PNG with everything": encoded(rgb, "PNG", **told),
        "PNG with words": plain[:33] + b"".join(texts) + plain[33:],
        "PNG, 16 bits": encoded(Image.new("I;16", SIZE, 40_000), "PNG"),
        "PNG, 16 bits a colour": png(64, 64, zlib.compress((b"\0" + b"\x80\0" * 3 * 64) * 64), depth=16, colour=2),
        "PNG, one bit": encoded(halves("1"), "PNG"),
        "PNG, palette with transparency": encoded(palette, "PNG", transparency=palette.getpixel((20, 20))),
        "PNG, grey and see-through": encoded(see_through.convert("LA"), "PNG"),
        "PNG, see-through": encoded(see_through, "PNG"),
        "PNG and ZIP": plain + zipped(),
        "PNG, animated": animated("PNG"),
        "PNG, a bomb behind its rows": png(64, 64, zlib.compress(bytes(30_000_000), 9)),
        "JPEG of few bytes that claims 6,000 by 6,000": jpeg_claiming(6_000, 6_000),
        "WebP with everything": encoded(rgb, "WEBP", **told, xmp=xmp()),
        "WebP, animated": animated("WEBP"),
        "WebP, see-through, lossless": encoded(see_through, "WEBP", lossless=True, exif=exif()),
        "GIF": encoded(palette, "GIF", comment=PLANTED),
        "GIF, animated": animated("GIF"),
        "GIF and JavaScript": encoded(palette, "GIF").replace(b"GIF87a", b"GIF89a") + b"=1;alert('" + PLANTED + b"')",
        "GIF with 10,000 frames": gif(40, 40, 10_000),
        "AVIF with everything": encoded(rgb, "AVIF", **told, xmp=xmp()),
        "AVIF, animated": animated("AVIF"),
    }  # fmt: skip


def hostile() -> dict[str, tuple[bytes, str]]:
    """Name -> a file that is refused, and a part of the sentence."""
    rgb = halves()
    jpeg, plain, webp = encoded(rgb, "JPEG"), encoded(rgb, "PNG"), encoded(rgb, "WEBP")
    noise = encoded(Image.effect_noise(SIZE, 90), "PNG")
    few = zlib.compress(bytes(1_000), 9)
    words = zlib.compress(bytes(30_000_000), 9)
    wrong = "not a picture"
    huge_webp = bytearray(encoded(rgb, "WEBP", lossless=True))
    huge_webp[21:25] = struct.pack("<I", 16_383 - 1 | (16_383 - 1) << 14)
    return {
        "nothing": (b"", "Choose a picture"),
        "too many bytes": (jpeg + bytes(8 * 1024 * 1024), "more than 8 MB"),
        "PNG of 50,000 by 50,000": (png(50_000, 50_000, few), "too many pixels"),
        "PNG of 2³¹ by 2³¹": (png(2**31 - 1, 2**31 - 1, few), "too many pixels"),
        "PNG of 12,001 by 3,100": (png(12_001, 3_100, few), "12001 × 3100"),
        "PNG of 7,000 by 6,000": (png(7_000, 6_000, few), "too many pixels"),
        "PNG of nothing": (png(0, 0, few), "damaged"),
        "PNG, too few rows": (png(6_000, 6_000, few), "damaged"),
        "PNG with a bomb of words": (png(64, 64, few, chunk(b"zTXt", b"a\0\0" + words)), "damaged"),
        "PNG with many bombs of words": (
            png(64, 64, few, *[chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(900_000)))] * 200), "damaged",
        ),
        "PNG with a bomb of a profile": (png(64, 64, few, chunk(b"iCCP", b"a\0\0" + words)), "damaged"),
        "PNG, cut off": (noise[: len(noise) // 2], "damaged"),
        "PNG, a speck": (encoded(rgb.resize((8, 8)), "PNG"), "too small"),
        "PNG, a strip": (encoded(rgb.resize((2_000, 40)), "PNG"), "four times"),
        "JPEG of 65,535 by 65,535": (jpeg_claiming(65_535, 65_535), "too many pixels"),
        "JPEG, cut off": (jpeg[: len(jpeg) // 2], "damaged"),
        "JPEG, its head alone": (jpeg[:4], "damaged"),
        "JPEG with noise in it": (jpeg[:300] + bytes(range(256)) * 4 + jpeg[1_000:], "damaged"),
        "GIF of 65,535 by 65,535": (gif(65_535, 65_535, 1), "too many pixels"),
        "GIF without a frame": (gif(64, 64, 0), "damaged"),
        "GIF, cut off": (encoded(Image.effect_noise(SIZE, 90), "GIF")[:9_000], "damaged"),
        "WebP of 16,383 by 16,383": (bytes(huge_webp), "too many pixels"),
        "WebP, cut off": (webp[: len(webp) // 2], "damaged"),
        "AVIF, cut off": (encoded(rgb, "AVIF")[:300], "damaged"),
        "AVIF, its head alone": (b"\0\0\0\x1cftypavif" + bytes(16), "damaged"),
        "PDF": (b"%PDF-1.7\n" + SCRIPT, wrong),
        "PDF in front of a JPEG": (b"%PDF-1.7\n" + jpeg, wrong),
        "SVG with a script": (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", wrong),
        "SVG after XML": (b"<?xml version='1.0'?><svg onload='alert(1)'/>", wrong),
        "HTML": (SCRIPT, wrong),
        "JavaScript": (b"alert(1)", wrong),
        "ZIP": (zipped(), wrong),
        "ZIP in front of a PNG": (zipped() + plain, wrong),
        "BMP": (encoded(rgb, "BMP"), wrong),
        "TIFF": (encoded(rgb, "TIFF"), wrong),
        "ICO": (encoded(rgb, "ICO"), wrong),
        "PPM": (encoded(rgb, "PPM"), wrong),
        "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(run) system\n", wrong),
        "HEIC": (b"\0\0\0\x18ftypheic" + bytes(64), wrong),
        "a JPEG's first bytes before HTML": (b"\xff\xd8\xff" + SCRIPT, "damaged"),
        "a GIF's first bytes before JavaScript": (b"GIF89a=1;alert(1)" + bytes(200), "damaged"),
        "noise": (bytes(range(256)) * 9, wrong),
    }  # fmt: skip
