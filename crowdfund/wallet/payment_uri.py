"""Payment URIs (BIP 321, which replaces BIP 21) and their QR codes as SVG. Pure but for the qrcode library."""

from __future__ import annotations

import qrcode

from crowdfund.wallet.amounts import format_btc

QUIET_ZONE = 4


def payment_uri(address: str, amount_sats: int) -> str:
    """`bitcoin:<address>?amount=<BTC>`, for links."""
    return f"bitcoin:{address}?amount={format_btc(amount_sats)}"


def qr_text(address: str, amount_sats: int) -> str:
    """The same for a QR code: a bech32 address in capitals, which needs fewer modules; base58 stays as it is."""
    shown = address.upper() if address.lower().startswith(("bc1", "tb1", "bcrt1")) else address
    return payment_uri(shown, amount_sats)


def qr_svg(text: str) -> str:
    """An SVG of the QR code: level M, four modules of quiet zone, black on white whatever the page's colours."""
    rows = qr_rows(text)
    path = "".join(_row_path(y, row) for y, row in enumerate(rows))
    size = len(rows)
    return (
        f'<svg class="qr" viewBox="0 0 {size} {size}" shape-rendering="crispEdges" aria-hidden="true">'
        f'<rect width="{size}" height="{size}" fill="#fff"/><path d="{path}" fill="#000"/></svg>'
    )


def qr_rows(text: str) -> list[list[bool]]:
    """The modules of the QR code, row by row, with its quiet zone: level M; True is black."""
    code = qrcode.QRCode(border=QUIET_ZONE, error_correction=qrcode.constants.ERROR_CORRECT_M)
    code.add_data(text)
    return code.get_matrix()


def _row_path(y: int, row: list[bool]) -> str:
    """Runs of dark modules as one stroke each: a tenth of the bytes of a square per module."""
    parts, x = [], 0
    while x < len(row):
        run = 1
        while x + run < len(row) and row[x + run] == row[x]:
            run += 1
        if row[x]:
            parts.append(f"M{x} {y}h{run}v1h-{run}z")
        x += run
    return "".join(parts)
