"""Payment URIs, and QR codes that a camera reads back to the very text."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from crowdfund.wallet.payment_uri import payment_uri, qr_svg, qr_text

SEGWIT = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
TAPROOT = "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr"
LEGACY = "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn"
SCALE = 6


def drawn(svg: str) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """The picture: the path's runs, each a rectangle one module high, black on white."""
    box = re.search(r'viewBox="0 0 (\d+) (\d+)"', svg)
    path = re.search(r'<path d="([^"]*)" fill="#000"/>', svg)
    assert box and path and box[1] == box[2]
    picture = np.full((int(box[1]), int(box[1])), 255, np.uint8)
    runs = re.findall(r"M(\d+) (\d+)h(\d+)v1h-(\d+)z", path[1])
    assert "".join(f"M{x} {y}h{n}v1h-{m}z" for x, y, n, m in runs) == path[1]
    for x, y, there, back in runs:
        assert there == back
        picture[int(y), int(x) : int(x) + int(there)] = 0
    return np.kron(picture, np.ones((SCALE, SCALE), np.uint8))


@pytest.mark.parametrize("address", [SEGWIT, TAPROOT, LEGACY])
@pytest.mark.parametrize("sats", [1, 10_000, 123_456_789, 2_100_000_000_000_000])
def test_a_camera_reads_the_exact_text(address: str, sats: int) -> None:
    text = qr_text(address, sats)
    picture = drawn(qr_svg(text))
    assert cv2.QRCodeDetector().detectAndDecode(picture)[0] == text
    edge = 4 * SCALE
    for side in (picture[:edge], picture[-edge:], picture[:, :edge], picture[:, -edge:]):
        assert side.min() == 255, "the quiet zone is white"


def test_the_uri_is_that_of_bip_321() -> None:
    assert payment_uri(SEGWIT, 210_000) == f"bitcoin:{SEGWIT}?amount=0.00210000"
    assert qr_text(SEGWIT, 210_000) == f"bitcoin:{SEGWIT.upper()}?amount=0.00210000"
    assert qr_text(LEGACY, 1) == f"bitcoin:{LEGACY}?amount=0.00000001"


def test_the_drawing_keeps_its_own_colours_and_holds_no_text() -> None:
    svg = qr_svg(qr_text(SEGWIT, 5))
    assert 'fill="#fff"' in svg and "currentColor" not in svg
    assert SEGWIT.upper() not in svg and len(svg) < 20_000
