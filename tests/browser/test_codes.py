"""A thousand payments as QR codes, drawn by a browser, read from pictures of its screen by two independent decoders."""

from __future__ import annotations

import random
from decimal import Decimal

import cv2
import numpy as np
import zxingcpp
from playwright.sync_api import Browser

from crowdfund.wallet.addresses import address_of
from crowdfund.wallet.amounts import MAX_MONEY_SATS
from crowdfund.wallet.payment_uri import payment_uri, qr_svg, qr_text
from support.camera import camera

SHEETS, COLUMNS, ROWS, SIDE = 20, 10, 5, 200  # pixels, about what a phone shows
NETWORKS = ("mainnet", "testnet4", "regtest")
LENGTHS = {0: 20, 1: 32}  # the programs that addresses of ours and of rewards in other versions may have


def payments() -> list[tuple[str, int]]:
    """(address, satoshi), the same ones each time; small and large sums alike."""
    dice = random.Random(321)
    found = []
    for number in range(SHEETS * COLUMNS * ROWS):
        version = number % 2
        program = dice.randbytes(LENGTHS[version])
        script = bytes((0x51 if version else 0, len(program))) + program
        found.append((address_of(script, NETWORKS[number % 3]), int(10 ** dice.uniform(0, 15.3))))
    found[0], found[1] = (found[0][0], 1), (found[1][0], MAX_MONEY_SATS)
    return found


def test_a_thousand_codes_are_read_by_two_decoders(browser: Browser) -> None:
    page = browser.new_page(viewport={"width": COLUMNS * SIDE, "height": ROWS * SIDE})
    grid = f"display:grid;grid-template-columns:repeat({COLUMNS},{SIDE}px)"
    style = f"body{{margin:0;{grid}}}svg{{width:{SIDE}px;height:{SIDE}px}}"
    wanted, read_twice = payments(), 0
    for start in range(0, len(wanted), COLUMNS * ROWS):
        sheet = wanted[start : start + COLUMNS * ROWS]
        page.set_content(f"<style>{style}</style>" + "".join(qr_svg(qr_text(*each)) for each in sheet))
        picture = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_GRAYSCALE)
        assert picture is not None
        for place, (address, sats) in enumerate(sheet):
            y, x = place // COLUMNS * SIDE, place % COLUMNS * SIDE
            crop = np.ascontiguousarray(picture[y : y + SIDE, x : x + SIDE])
            for text in (_by_zxing(crop), _by_opencv(crop)):
                assert _means(text, address, sats), (text, address, sats)
                read_twice += 1
    page.close()
    assert read_twice == 2 * 1_000


def _by_zxing(crop: np.ndarray) -> str:
    return "".join(code.text for code in zxingcpp.read_barcodes(crop))


def _by_opencv(crop: np.ndarray) -> str:
    """As the camera of the other tests does it where a plain look is not enough."""
    text = str(cv2.QRCodeDetectorAruco().detectAndDecode(crop)[0])
    if text:
        return text
    done, png = cv2.imencode(".png", crop)
    assert done
    return camera(png.tobytes())


def _means(text: str, address: str, sats: int) -> bool:
    """BIP 321: the scheme in any case, an address of bech32 in one case, the amount in decimal BTC."""
    scheme, _, rest = text.partition(":")
    shown, _, amount = rest.partition("?amount=")
    one_case = shown == shown.upper() and text != payment_uri(address, sats)
    return (
        scheme.lower() == "bitcoin" and one_case and shown.lower() == address and Decimal(amount) * 100_000_000 == sats
    )
