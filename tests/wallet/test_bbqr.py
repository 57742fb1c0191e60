"""BBQr: whatever is cut into parts comes back whole, from real pictures too, and nothing else is taken for it."""

from __future__ import annotations

import base64
import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdfund.errors import UserError
from crowdfund.wallet import bbqr
from crowdfund.wallet.payment_uri import QUIET_ZONE
from crowdfund.wallet.qr_png import SCALE, qr_png
from support.camera import camera

NOISE = b"".join(hashlib.sha256(bytes([n])).digest() for n in range(90))


@given(
    data=st.binary(max_size=600),
    kind=st.sampled_from(bbqr.KINDS),
    length=st.integers(8, 200),
    encoding=st.sampled_from("H2Z"),
    order=st.randoms(use_true_random=False),
)
def test_parts_in_any_order_and_more_than_once(
    data: bytes, kind: str, length: int, encoding: str, order: object
) -> None:
    parts = bbqr.encode(data, kind, length, encoding)
    shuffled = parts + parts[::2]
    assert hasattr(order, "shuffle")
    order.shuffle(shuffled)
    assert bbqr.decode(shuffled) == (kind, data)
    payloads = [part[8:] for part in parts]
    assert all(len(p) == len(payloads[0]) <= length for p in payloads[:-1])
    assert len(payloads[-1]) <= length
    assert len(payloads[0]) % (2 if encoding == "H" else 8) == 0 or len(parts) == 1


@given(st.binary(min_size=200, max_size=400), st.data())
def test_a_missing_part_is_named(data: bytes, choice: st.DataObject) -> None:
    parts = bbqr.encode(data, "P", 40, "H")
    gone = choice.draw(st.integers(0, len(parts) - 1))
    with pytest.raises(UserError, match=rf"missing: {gone + 1}\."):
        bbqr.decode(parts[:gone] + parts[gone + 1 :])


@given(st.text(max_size=40).map(lambda text: "B$" + text) | st.from_regex(r"B\$[H2Z][PTJ]0[0-2]0[0-2][0-9A-Z]*"))
def test_any_text_gives_data_or_a_sentence(text: str) -> None:
    try:
        kind, _ = bbqr.decode([text])
        assert kind in bbqr.KINDS
    except UserError as error:
        assert error.sentence.endswith(".")


def test_the_form_is_the_published_one() -> None:
    """Written out by hand from the description of the format."""
    assert bbqr.encode(b"psbt\xff", "P", 8, "H") == ["B$HP020070736274", "B$HP0201FF"]
    assert bbqr.encode(b"0123456789" * 2, "T", 16, "2") == ["B$2T0200GAYTEMZUGU3DOOBZ", "B$2T0201GAYTEMZUGU3DOOBZ"]
    (part,) = bbqr.encode(bytes(500), "J")
    assert part.startswith("B$ZJ0100")
    squeezed = base64.b32decode(part[8:] + "=" * (-len(part[8:]) % 8))
    assert zlib.decompress(squeezed, wbits=-10) == bytes(500)
    assert bbqr.encode(NOISE[:50], "P")[0].startswith("B$2P")
    assert bbqr.encode(bytes(36 * 5), "P", 8, "2")[35] == "B$2P100ZAAAAAAAA"


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [""],
        ["B$"],
        ["B$XP0100"],
        ["B$HU0100"],
        ["B$HP0101AA"],
        ["B$HP0000"],
        ["B$HP01-1AA"],
        ["B$HP0100A"],
        ["B$HP0100XY"],
        ["B$2P0100A"],
        ["B$2P01001111"],
        ["B$ZP0100AAAA"],
        ["B$ZP0100" + base64.b32encode(zlib.compress(b"x", wbits=-10) + b"yyyy").decode().rstrip("=")],
        ["B$HP0200AA", "B$HP0200BB", "B$HP0201AA"],
        ["B$HP0200AA", "B$HT0201AA"],
        ["B$HP0200AA", "B$HP0301AA"],
    ],
)
def test_what_is_refused(parts: list[str]) -> None:
    with pytest.raises(UserError):
        bbqr.decode(parts)


def test_few_bytes_that_stand_for_very_many_are_refused() -> None:
    bomb = zlib.compressobj(9, wbits=-10)
    data = bomb.compress(bytes(bbqr.MAX_BYTES + 1)) + bomb.flush()
    with pytest.raises(UserError):
        bbqr.decode(["B$ZP0100" + base64.b32encode(data).decode().rstrip("=")])


def test_what_is_too_much_is_not_cut() -> None:
    assert len(bbqr.encode(bytes(4 * bbqr.MOST_PARTS), "P", 8, "H")) == bbqr.MOST_PARTS
    with pytest.raises(ValueError, match="more than 1295"):
        bbqr.encode(bytes(4 * bbqr.MOST_PARTS + 1), "P", 8, "H")
    with pytest.raises(ValueError):
        bbqr.encode(b"x", "X")


def test_a_camera_reads_the_pictures() -> None:
    parts = bbqr.encode(NOISE, "P")
    assert len(parts) > 4
    seen = [camera(qr_png(part)) for part in parts]
    assert bbqr.decode(reversed(seen)) == ("P", NOISE)
    width = int.from_bytes(qr_png(parts[0])[16:20], "big")
    assert width == (65 + 2 * QUIET_ZONE) * SCALE
