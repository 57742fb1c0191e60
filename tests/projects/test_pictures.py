"""Every picture is refused with a sentence, or what is kept is ours from the first byte to the last."""

from __future__ import annotations

import io
import json
import os
import sys
import zlib
from hashlib import sha256
from pathlib import Path
from subprocess import run

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crowdfund.errors import UserError
from crowdfund.projects import picture_decoder as decoder
from crowdfund.projects import pictures
from crowdfund.projects.pictures import PictureFile, make_anew, pixels_of
from support.images import BLUE, PLANTED, RED, SIZE, encoded, exif, halves, honest, hostile, png, profile, xmp

HONEST, HOSTILE = honest(), hostile()
LEFT_OVER = (PLANTED, b"EXIF", b"Exif", b"XMP ", b"ICCP", b"ICC_PROFILE", b"Photoshop", b"<script", b"PK\x03\x04")


def opened(file: PictureFile) -> Image.Image:
    return Image.open(io.BytesIO(file.data))


def close(pixel: object, colour: tuple[int, int, int]) -> bool:
    return isinstance(pixel, tuple) and all(abs(a - b) < 40 for a, b in zip(pixel, colour, strict=False))


@pytest.mark.parametrize("name", HONEST)
def test_a_picture_is_made_anew_and_nothing_else_of_the_file_is_left(name: str) -> None:
    files = make_anew(HONEST[name])
    assert files[0].kind == "webp" and files == sorted(files, key=lambda f: (f.kind != "webp", -f.width))
    for file in files:
        assert not [left for left in LEFT_OVER if left in file.data]
        image = opened(file)
        image.load()
        assert (image.format, image.size) == (file.kind.upper(), (file.width, file.height))
        assert not image.getexif() and not {"icc_profile", "xmp", "comment", "exif"} & image.info.keys()
        assert getattr(image, "n_frames", 1) == 1


@pytest.mark.parametrize("name", HOSTILE)
def test_what_would_hurt_is_refused_with_a_sentence(name: str) -> None:
    data, part = HOSTILE[name]
    with pytest.raises(UserError) as refused:
        make_anew(data)
    assert part in refused.value.sentence and refused.value.field == "picture"


def test_the_planted_words_are_there_before() -> None:
    """The test above must not pass because nothing was planted."""
    planted = [name for name, data in HONEST.items() if PLANTED in data]
    assert len(planted) > 12 and b"Exif" in HONEST["JPEG with everything"] and b"PK\x03\x04" in HONEST["PNG and ZIP"]
    told = Image.open(io.BytesIO(HONEST["JPEG with everything"]))
    assert told.getexif().get_ifd(0x8825)[2] == (60, 23, 4) and told.info["xmp"] == xmp()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_held_in_any_way_gives_the_picture_upright(form: str, orientation: int) -> None:
    """The upright picture is red on the left; the file holds it as the sensor saw it."""
    back = {5: "TRANSPOSE", 7: "TRANSVERSE", 6: "ROTATE_90", 8: "ROTATE_270"}
    same = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM"}
    turn = {**back, **same}.get(orientation)
    seen = halves() if turn is None else halves().transpose(Image.Transpose[turn])
    widest = opened(make_anew(encoded(seen, form, exif=exif(orientation)))[0])
    assert widest.size == SIZE
    assert close(widest.getpixel((20, 200)), RED) and close(widest.getpixel((620, 200)), BLUE)


def test_sizes_are_those_of_the_pages_and_nothing_is_enlarged() -> None:
    def sizes(width: int, height: int) -> list[tuple[str, int, int]]:
        return [(f.kind, f.width, f.height) for f in make_anew(encoded(Image.new("RGB", (width, height)), "PNG"))]

    assert sizes(3200, 2000) == [("webp", 1600, 1000), ("webp", 960, 600), ("webp", 480, 300), ("jpeg", 1200, 630)]
    assert sizes(700, 350) == [("webp", 700, 350), ("webp", 480, 240)]
    assert sizes(300, 1200) == [("webp", 300, 1200)]
    assert sizes(12_000, 3_000)[0] == ("webp", 1600, 400)
    assert sizes(1_500, 6_000) == [("webp", 600, 2400), ("webp", 480, 1920)]


def test_the_largest_that_fits_is_opened_in_time() -> None:
    """Forty megapixels, once plain and once as the deepest and most transparent PNG that there is."""
    smooth = Image.linear_gradient("L").resize((7_700, 5_190)).convert("RGB")
    assert make_anew(encoded(smooth, "JPEG"))[0].width == 1600
    row = b"\0" + bytes(8 * 7_700)

    packer = zlib.compressobj(1)
    rows = b"".join([*(packer.compress(row) for _ in range(5_190)), packer.flush()])
    assert make_anew(png(7_700, 5_190, rows, depth=16, colour=6))[0].width == 1600


def test_noise_is_made_to_fit() -> None:
    noise = Image.merge("RGB", [Image.effect_noise((1_600, 1_600), 200) for _ in range(3)])
    files = make_anew(encoded(noise, "JPEG"))
    assert all(len(file.data) <= decoder.MAX_FILE_BYTES for file in files)


def test_colours_come_out_as_their_profile_says() -> None:
    """In a profile with red and green exchanged, red pixels are green."""
    plain = make_anew(encoded(halves(), "PNG"))[0]
    same = make_anew(encoded(halves(), "PNG", icc_profile=profile()))[0]
    assert close(opened(plain).getpixel((20, 20)), RED) and close(opened(same).getpixel((20, 20)), RED)
    data = bytearray(profile())
    tags = {bytes(data[i : i + 4]): i for i in range(132, 132 + 12 * int.from_bytes(data[128:132], "big"), 12)}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    turned = opened(make_anew(encoded(halves(), "PNG", icc_profile=bytes(data)))[0])
    pixel = turned.convert("RGB").getpixel((20, 20))
    assert isinstance(pixel, tuple) and pixel[1] > 150 > pixel[0]


def test_what_can_be_seen_through_stays_so() -> None:
    for name in ("PNG, see-through", "PNG, palette with transparency", "PNG, grey and see-through"):
        assert opened(make_anew(HONEST[name])[0]).mode == "RGBA", name
    assert opened(make_anew(encoded(halves("RGBA"), "PNG"))[0]).mode == "RGB"


def test_a_grey_of_sixteen_bits_is_the_grey_that_it_is() -> None:
    assert close(opened(make_anew(HONEST["PNG, 16 bits"])[0]).convert("RGB").getpixel((9, 9)), (156, 156, 156))


def test_the_first_frame_is_shown() -> None:
    for name in ("GIF, animated", "WebP, animated", "PNG, animated", "AVIF, animated"):
        assert close(opened(make_anew(HONEST[name])[0]).convert("RGB").getpixel((600, 200)), RED), name


def test_the_same_picture_has_the_same_name() -> None:
    first, again = (make_anew(HONEST["JPEG with everything"]) for _ in range(2))
    assert [f.sha256 for f in first] == [f.sha256 for f in again] == [sha256(f.data).hexdigest() for f in first]


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "AVIF"]), st.data())
def test_damaged_in_any_place_it_is_refused_or_made_anew(form: str, data: st.DataObject) -> None:
    file = bytearray(encoded(halves(size=(64, 48)), form))
    for _ in range(data.draw(st.integers(1, 5))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert make_anew(bytes(file))[0].kind == "webp"
    except UserError as error:
        assert error.sentence and error.field == "picture"


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.abort()",
        "print('nonsense')",
        "import json; print(json.dumps({'files': [['webp', 9, 9, 4]]})); print('RIFF')",
        "import json; print(json.dumps({'files': [['webp', 9, 9, 10**12]]}))",
        "import json; print(json.dumps({'files': []}))",
        "import json; print(json.dumps({'refused': 'never heard of it', 'numbers': []}))",
        "import json; print(json.dumps({'refused': 'size', 'numbers': ['<b>', 1]}))",
        "import json; print('[' * 100_000)",
    ],
)
def test_whatever_a_decoder_does_it_does_to_itself(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that a picture has taken over answers as it likes."""
    taken_over(f"{code}; return", tmp_path, monkeypatch)
    with pytest.raises(UserError, match="too much work"):
        make_anew(encoded(halves(), "PNG"))


@pytest.mark.parametrize(
    "code",
    [
        "bytearray(1 << 30)",
        "while True: pass",
        "sys.stdout.write('x' * 9_000_000), sys.stdout.flush(), sys.stdout.seek(0), sys.stdout.truncate()",
        "held = [open('/dev/null') for _ in range(100)]",
    ],
)
def test_no_decoder_takes_more_than_its_share(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would go on to do its work: only the limits stand in the way."""
    taken_over(code, tmp_path, monkeypatch)
    with pytest.raises(UserError, match="too much work"):
        make_anew(encoded(halves(), "PNG"))


def taken_over(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder runs this first, once its limits are set; it has less time than usual."""
    taken, before = folder / "taken.py", "    set_limits()\n"
    source = Path(decoder.__file__).read_text().replace("CPU_S = 20", "CPU_S = 1")
    assert before in source
    taken.write_text(source.replace(before, f"{before}    {code}\n"))
    monkeypatch.setattr(decoder, "__file__", str(taken))


def test_one_that_sleeps_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asleep = tmp_path / "asleep.py"
    asleep.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(decoder, "__file__", str(asleep))
    monkeypatch.setattr(pictures, "WALL_S", 0.2)
    with pytest.raises(UserError, match="too much work"):
        make_anew(encoded(halves(), "PNG"))


def test_who_waits_too_long_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "WAIT_S", 0)
    for _ in range(pictures.AT_ONCE):
        assert pictures._turns.acquire(timeout=1)
    try:
        with pytest.raises(UserError, match="in a minute"):
            make_anew(encoded(halves(), "PNG"))
    finally:
        for _ in range(pictures.AT_ONCE):
            pictures._turns.release()
    assert make_anew(encoded(halves(), "PNG"))


def test_the_decoder_knows_nothing_of_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = tmp_path / "spy.py"
    seen = tmp_path / "seen"
    spy.write_text(
        "import json, os, sys\n"
        f"open({str(seen)!r}, 'w').write(json.dumps([dict(os.environ), os.listdir('/proc/self/fd'), sys.argv[1:]]))\n"
    )
    monkeypatch.setenv("CROWDFUND_SECRET_KEY", "a secret of ours")
    monkeypatch.setattr(decoder, "__file__", str(spy))
    with pytest.raises(UserError), (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        make_anew(encoded(halves(), "PNG"))
    environment, files, arguments = json.loads(seen.read_text())
    assert not [name for name in environment if name.startswith("CROWDFUND")] and arguments == ["PNG"]
    assert len(files) <= 5, "its three, the listing, and the file that it writes here"


def test_what_is_seen_of_a_picture_is_handed_over_as_plain_pixels() -> None:
    shared = next(file for file in make_anew(encoded(halves(size=(1_300, 700)), "PNG")) if file.kind == "jpeg")
    seen = pixels_of(shared.data)
    assert (seen.width, seen.height, len(seen.rows)) == (1_200, 630, 1_200 * 630 * 3)
    assert seen.rows[0] > 200 > 100 > seen.rows[2] and seen.rows[-1] > 200 > 100 > seen.rows[-3], "red, then blue"
    small = pixels_of(encoded(halves("RGBA", size=(100, 60)), "PNG"))
    assert (small.width, small.height) == (100, 60), "never enlarged"


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff\xd9", b"nothing", encoded(halves(), "PNG")[:200]])
def test_what_cannot_be_opened_has_no_pixels(data: bytes) -> None:
    with pytest.raises(UserError):
        pixels_of(data)


@pytest.mark.parametrize(
    "answer",
    [
        '{"size": [2, 1]}\nsix by', '{"size": [2, 1]}\nfive!', '{"size": [0, 0]}\n', '{"size": [-1, -2]}\nsix by',
        '{"size": [9999, 9999]}\n', '{"size": 6}\nsix by', '{"size": ["2", null]}\nsix by', "[]\n", "", "\n" * 9,
        '{"refused": "damaged", "numbers": []}\n',
    ],
)  # fmt: skip
def test_pixels_are_counted(answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lying = tmp_path / "lying.py"
    lying.write_text(f"import sys; sys.stdout.write({answer!r})")
    monkeypatch.setattr(decoder, "__file__", str(lying))
    if answer.endswith("six by") and "[2, 1]" in answer:
        assert pixels_of(b"x").rows == b"six by"
    else:
        with pytest.raises(UserError):
            pixels_of(b"x")


def test_this_process_never_loads_a_decoder_of_pictures() -> None:
    code = "import sys, crowdfund.web.pictures; sys.exit(any(name.split('.')[0] == 'PIL' for name in sys.modules))"
    assert run([sys.executable, "-c", code], check=False).returncode == 0
